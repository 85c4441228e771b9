//! What a frame shows, asked of the first server that answers; the next one is asked when that goes away.

use base::{Code, Fault, Result};
use proto::admin::{
    GetModeRequest, GetModeResponse, HealthRequest, HealthResponse, ListAsksRequest, ListAsksResponse,
    ListFailuresRequest, ListFailuresResponse, ListLoadRequest, ListLoadResponse, ListNodesRequest, ListNodesResponse,
    ListWorkersRequest, ListWorkersResponse, WatchEventsRequest, WatchEventsResponse,
};
use proto::planning::{Job, ListJobsRequest};
use std::time::Duration;
use tonic::Streaming;

use crate::client::{Connection, Servers, call};

/// A screen that is looked at cannot wait longer.
const LIMIT: Duration = Duration::from_secs(5);
/// Rows that are asked for; more do not fit a screen.
const MOST: u32 = 200;

/// The cluster at one moment.
#[derive(Clone, Debug)]
pub struct Picture {
    pub nodes: ListNodesResponse,
    pub workers: ListWorkersResponse,
    pub health: HealthResponse,
    pub mode: GetModeResponse,
    pub asks: ListAsksResponse,
    pub load: ListLoadResponse,
    pub failures: ListFailuresResponse,
    /// Why there are none, where the node keeps none.
    pub jobs: std::result::Result<Vec<Job>, String>,
}

/// Asks for pictures.
pub struct Looker<'a> {
    servers: &'a Servers,
    connection: Option<Connection>,
    watches: bool,
}

impl<'a> Looker<'a> {
    /// Asks these servers.
    pub fn new(servers: &'a Servers) -> Self {
        Self { servers, connection: None, watches: false }
    }

    /// The next picture.
    pub async fn look(&mut self) -> Result<Picture> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.watches = false;
                self.servers.connect().await?
            }
        };
        let picture = picture(&connection).await?;
        // Only what answered is asked again.
        self.connection = Some(connection);
        Ok(picture)
    }

    /// Events of the server that answered last, once for each connection.
    pub async fn take_events(&mut self) -> Option<Streaming<WatchEventsResponse>> {
        let connection = self.connection.as_ref().filter(|_| !self.watches)?;
        let events = call(LIMIT, connection.admin().watch_events(WatchEventsRequest {})).await.ok();
        self.watches = events.is_some();
        events
    }
}

async fn picture(connection: &Connection) -> Result<Picture> {
    let admin = || connection.admin();
    let (mut one, mut two, mut three, mut four, mut five, mut six, mut seven) =
        (admin(), admin(), admin(), admin(), admin(), admin(), admin());
    let mut planning = connection.planning();
    let (nodes, workers, health, mode, asks, load, failures, jobs) = tokio::join!(
        call(LIMIT, one.list_nodes(ListNodesRequest {})),
        call(LIMIT, two.list_workers(ListWorkersRequest {})),
        call(LIMIT, three.health(HealthRequest {})),
        call(LIMIT, four.get_mode(GetModeRequest {})),
        call(LIMIT, five.list_asks(ListAsksRequest { limit: MOST })),
        call(LIMIT, six.list_load(ListLoadRequest {})),
        call(LIMIT, seven.list_failures(ListFailuresRequest { limit: MOST })),
        call(LIMIT, planning.list_jobs(ListJobsRequest::default())),
    );
    Ok(Picture {
        nodes: nodes?,
        workers: workers?,
        health: health?,
        mode: mode?,
        asks: asks?,
        load: load?,
        failures: failures?,
        jobs: told(jobs.map(|response| response.jobs))?,
    })
}

/// Jobs are the store's; without it everything else is still worth a look.
fn told(jobs: Result<Vec<Job>>) -> Result<std::result::Result<Vec<Job>, String>> {
    match jobs {
        Ok(jobs) => Ok(Ok(jobs)),
        Err(fault) if matches!(fault.code, Code::Unreachable | Code::Unauthenticated) => Err(fault),
        Err(fault) => Ok(Err(Fault::full_message(&fault))),
    }
}
