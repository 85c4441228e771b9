//! Clients that ask without a pause while something happens to the cluster. Each answer must be whole and in time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tests::client::{Client, Reply};
use tokio::task::JoinSet;

use crate::lab::{SOON, bounded, chat, expected, until};

/// What every ask of the load is answered with.
const PROMPT: &str = "are you there?";
/// Clients at once.
const CLIENTS: usize = 4;
/// No ask takes longer, whatever happens meanwhile: the machine may be busy with other tests.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// When an ask was sent, and which worker answered.
pub type Answered = (Instant, String);

/// A few clients that ask one after the other until told to stop.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Vec<Answered>>,
}

struct Shared {
    gateways: Mutex<Vec<Gateway>>,
    stop: AtomicBool,
    asked: AtomicUsize,
}

#[derive(Clone)]
struct Gateway {
    client: Client,
    /// Counts its deaths and its births: even while it is meant to live.
    changes: u32,
}

impl Load {
    /// Starts the clients at all of the gateways in turn. They ask the next one while theirs is dead, as `tmctl` does.
    pub fn start(gateways: &[Client]) -> Self {
        let gateways = gateways.iter().map(|client| Gateway { client: client.clone(), changes: 0 }).collect();
        let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        let shared = Arc::new(Shared { gateways: Mutex::new(gateways), stop, asked });
        let mut clients = JoinSet::new();
        for at in 0..CLIENTS {
            clients.spawn(shared.clone().ask_on(at));
        }
        Self { shared, clients }
    }

    /// A gateway is about to be killed: its clients may lose an ask, and must make it elsewhere.
    pub fn gateway_dies(&self, at: usize) {
        self.shared.gateways.lock().unwrap()[at].changes += 1;
    }

    /// It was started again, at another address. Clients go there once it is ready, as a balancer would send them.
    pub async fn gateway_is(&self, at: usize, client: Client) {
        until("the gateway is ready again", SOON, async || {
            client.get("/readyz").await.is_ok_and(|reply| reply.status == 200)
        })
        .await;
        let gateway = &mut self.shared.gateways.lock().unwrap()[at];
        *gateway = Gateway { client, changes: gateway.changes + 1 };
    }

    /// Waits until `more` further asks were answered.
    pub async fn goes_on(&self, more: usize) {
        let asked = || self.shared.asked.load(Ordering::Relaxed);
        let wanted = asked() + more;
        until("more answers", SOON, async || asked() >= wanted).await;
    }

    /// Stops; every answer was whole and in time, or this panics.
    pub async fn stop(self) -> Vec<Answered> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

impl Shared {
    async fn ask_on(self: Arc<Self>, at: usize) -> Vec<Answered> {
        let mut answered = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let reply = bounded("an answer", ANSWERED_WITHIN, self.ask(at)).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert_eq!(reply.json().unwrap()["choices"][0]["message"]["content"], expected(PROMPT));
            answered.push((began, reply.header("x-tm-worker").to_owned()));
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        answered
    }

    /// At the first gateway from `at` on that lives.
    async fn ask(&self, at: usize) -> Reply {
        let mut at = at;
        loop {
            let (place, gateway) = self.living(at);
            match gateway.client.post_json("/v1/chat/completions", &chat(PROMPT, false)).await {
                Ok(reply) => return reply,
                Err(error) => {
                    let now = self.gateways.lock().unwrap()[place].changes;
                    assert!(now != gateway.changes, "a gateway that lives did not answer: {error:#}");
                }
            }
            at = place + 1;
        }
    }

    fn living(&self, at: usize) -> (usize, Gateway) {
        let gateways = self.gateways.lock().unwrap();
        let places = (0..gateways.len()).map(|more| (at + more) % gateways.len());
        let living = places.map(|place| (place, gateways[place].clone())).find(|(_, one)| one.changes % 2 == 0);
        living.unwrap()
    }
}
