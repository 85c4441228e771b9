//! Begins a job and follows it to its end: progress on stderr, Ctrl-C cancels it, a lost server is replaced by the next.
//!
//! The job lives in the cluster, not here. So nothing is lost with a connection, and a watch is simply begun again.

use std::time::Duration;

use base::{Code, Fault, Result, time};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use proto::planning::{CancelJobRequest, Job, StartRequest, WatchJobRequest};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{CALL_LIMIT, Connection, PATIENCE, Patience, Servers, call, is_worth_another_server, told};
use crate::progress::{Live, News, PAUSE};
use crate::screen::{Ended, Screen};
use crate::text::{self, visible};

/// A server that says nothing for so long is asked anew; that costs nothing, and finds out whether it is still there.
const SILENCE: Duration = Duration::from_secs(60);

/// How a job is begun.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct How {
    /// Who plans: models where there are any, models only, or the rules of the structural planner
    #[arg(long, value_parser = ["auto", "model", "structural"], default_value = "auto")]
    planner: String,
    #[command(flatten)]
    begin: Begin,
}

/// How work is begun that becomes a job, whatever it is.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Begin {
    /// A word of yours: asked again with it, the job is not begun a second time
    #[arg(long, value_name = "KEY")]
    once: Option<String>,
    /// Only begin it; `tmctl jobs watch` shows it later
    #[arg(long)]
    no_wait: bool,
}

impl Begin {
    /// The key of the job. It is always there, so that asking another server begins nothing twice.
    pub fn key(&self) -> String {
        let made = || format!("tmctl-{}-{:08x}", time::unix_ms(), fastrand::u32(..));
        self.once.clone().unwrap_or_else(made)
    }

    /// Begins the job by the first server that takes it, and follows it; `None` when it was only to be begun, which is told.
    /// `put` asks a server for the job, and gives its id.
    pub async fn run(
        &self,
        servers: &Servers,
        screen: &mut Screen,
        put: impl AsyncFn(Connection) -> Result<String>,
    ) -> Result<Option<Job>, Ended> {
        let id = match put(servers.connect().await?).await {
            Err(fault) if is_worth_another_server(fault.code) && servers.count() > 1 => {
                put(servers.connect().await?).await?
            }
            id => id?,
        };
        if self.no_wait {
            let text = format!("began {id}; `tmctl jobs watch {id}` shows how far it is\n");
            screen.show(|_| visible(&text), &Begun { job: &id })?;
            return Ok(None);
        }
        follow(servers, screen, &mut Watch::of_process()?, &id).await.map(Some)
    }
}

/// What interrupts a watch, and how long a lost server is waited for.
pub struct Watch {
    interrupts: BoxStream<'static, ()>,
    patience: Patience,
}

impl Watch {
    /// Ctrl-C of this process.
    pub fn of_process() -> Result<Self> {
        let interrupt = signal(SignalKind::interrupt())
            .map_err(|error| Fault::internal("could not listen for Ctrl-C").because(error).hint("use --no-wait"))?;
        let interrupts =
            stream::unfold(interrupt, |mut interrupt| async { interrupt.recv().await.map(|()| ((), interrupt)) });
        Ok(Self::new(interrupts.boxed(), PATIENCE))
    }

    /// These interrupts, and this patience.
    pub const fn new(interrupts: BoxStream<'static, ()>, patience: Patience) -> Self {
        Self { interrupts, patience }
    }
}

/// Begins the job and follows it; `None` when it was only to be begun, which is told.
pub async fn start(
    servers: &Servers,
    screen: &mut Screen,
    how: &How,
    request: StartRequest,
) -> Result<Option<Job>, Ended> {
    let request = StartRequest { planner: how.planner.clone(), once: how.begin.key(), ..request };
    let put =
        async |connection: Connection| Ok(call(CALL_LIMIT, connection.planning().start(request.clone())).await?.job);
    how.begin.run(servers, screen, put).await
}

#[derive(Serialize)]
struct Begun<'a> {
    job: &'a str,
}

/// Shows how far a job is until it is done; a failed or cancelled one is a fault.
pub async fn follow(servers: &Servers, screen: &mut Screen, watch: &mut Watch, id: &str) -> Result<Job, Ended> {
    let live = screen.progress(PAUSE);
    let mut following = Following { servers, live, watch, id, last: None, is_cancelled: false };
    Ok(good(following.run().await?)?)
}

/// One job that is followed.
struct Following<'a> {
    servers: &'a Servers,
    live: Live<'a>,
    watch: &'a mut Watch,
    id: &'a str,
    /// As it was told last. Each watch begins with the job as it is, which is no news by itself.
    last: Option<Job>,
    is_cancelled: bool,
}

impl Following<'_> {
    async fn run(&mut self) -> Result<Job, Ended> {
        let mut fruitless = 0;
        for server in 0.. {
            let mut has_news = false;
            let fault = match self.attempt(server, &mut has_news).await {
                Ok(Some(job)) => return Ok(job),
                Ok(None) => continue,
                Err(Ended::Fault(fault)) if is_worth_another_server(fault.code) => fault,
                Err(ended) => return Err(ended),
            };
            fruitless = if has_news { 1 } else { fruitless + 1 };
            if fruitless >= self.watch.patience.rounds * self.servers.count() {
                let hint = format!("the job may go on without us: `tmctl jobs watch {}` looks again", self.id);
                return Err(fault.hint(hint).into());
            }
            self.live.note(&format!("{}; asking another server\n", fault.full_message()));
            if fruitless % self.servers.count() == 0 {
                let round = u32::try_from(fruitless / self.servers.count()).unwrap_or(u32::MAX);
                let pause = self.watch.patience.pause.delay(round - 1, fastrand::f64());
                if tokio::time::timeout(pause, self.watch.interrupts.next()).await == Ok(Some(())) {
                    self.interrupted().await?;
                }
            }
        }
        Err(Fault::internal("no server is left").hint("name one with --server").into())
    }

    /// One stream of one server, to the job's end; nothing when the server fell silent.
    async fn attempt(&mut self, server: usize, has_news: &mut bool) -> Result<Option<Job>, Ended> {
        let connection = self.servers.connect_to(server).await?;
        let request = WatchJobRequest { id: self.id.to_owned() };
        let mut news = call(CALL_LIMIT, connection.planning().watch_job(request)).await?;
        loop {
            let job = tokio::select! {
                told = tokio::time::timeout(SILENCE, news.message()) => match told {
                    Err(_) => return Ok(None),
                    Ok(told) => told_job(&connection.server, told)?,
                },
                Some(()) = self.watch.interrupts.next() => {
                    self.interrupted().await?;
                    continue;
                }
            };
            *has_news |= self.last.as_ref() != Some(&job);
            if matches!(job.state.as_str(), "done" | "failed" | "cancelled") {
                return Ok(Some(job));
            }
            self.show(&job);
            self.last = Some(job);
        }
    }

    fn show(&mut self, job: &Job) {
        let (status, figures) = (status(job), figures(job));
        self.live.show(&News { status: &status, done: job.done.into(), whole: job.total.into(), figures });
    }

    /// The first time the job is cancelled, the second time it is left to itself.
    async fn interrupted(&mut self) -> Result<(), Ended> {
        let id = self.id;
        if std::mem::replace(&mut self.is_cancelled, true) {
            let left = Fault::new(Code::Cancelled, format!("left the job `{id}` before it had ended"));
            return Err(left.hint(format!("`tmctl jobs show {id}` tells what became of it")).into());
        }
        self.live.note("cancelling the job; Ctrl-C again leaves it to itself\n");
        let cancel = async {
            let mut planning = self.servers.connect().await?.planning();
            call(CALL_LIMIT, planning.cancel_job(CancelJobRequest { id: id.to_owned() })).await
        };
        let cancelled = cancel.await;
        if let Err(fault) = cancelled {
            self.live.note(&format!("could not cancel it: {}\n", fault.full_message()));
        }
        Ok(())
    }
}

/// The job in a message of a watch. A stream that ends before the job does was cut.
fn told_job(server: &str, told_now: Result<Option<proto::planning::WatchJobResponse>, tonic::Status>) -> Result<Job> {
    let response = told_now.map_err(|status| told(&status))?;
    let cut = || Fault::new(Code::EngineCut, format!("`{server}` stopped telling of the job before its end"));
    response.and_then(|response| response.job).ok_or_else(cut)
}

fn status(job: &Job) -> String {
    match (job.current.as_str(), job.state.as_str()) {
        ("", state) => format!("{} {state}", job.kind),
        (current, _) => format!("{}: {current}", job.kind),
    }
}

fn figures(job: &Job) -> String {
    // Less than a second is a guess that is over when it is read.
    let left = if job.estimate_s >= 1.0 { format!(", {} left", text::seconds(job.estimate_s)) } else { String::new() };
    format!("{} of {}{left}", job.done, job.total)
}

/// The job when it is done, else why it is not.
fn good(job: Job) -> Result<Job> {
    if job.state == "done" {
        return Ok(job);
    }
    if job.state == "cancelled" {
        let fault = Fault::new(Code::Cancelled, format!("the job `{}` was cancelled", job.id));
        return Err(fault.hint("what its finished steps wrote is kept; begun again, it starts from the front"));
    }
    let failure = job.failure.unwrap_or_default();
    let message = if failure.message.is_empty() { format!("the job `{}` failed", job.id) } else { failure.message };
    let hint = match failure.hint.is_empty() {
        true => format!("`tmctl jobs show {}` shows it; the server's log says more", job.id),
        false => failure.hint,
    };
    Err(Fault::new(Code::parse(&failure.code).unwrap_or(Code::Internal), message).hint(hint))
}

#[cfg(test)]
mod tests;
