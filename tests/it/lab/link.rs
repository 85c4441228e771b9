//! The way of one node to etcd, as a proxy that knows which call is which: writes can be slow or held back, watches can
//! fall silent while every other call is answered, and all of it can be cut.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Calls that change what etcd holds and so wait for its disk. A renewal of a lease does not.
const WRITES: [&str; 4] = ["KV/Txn", "KV/Put", "KV/DeleteRange", "Lease/LeaseGrant"];

type Payload = BoxBody<Bytes, hyper::Error>;

/// What happens to the calls of a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Each write reaches etcd so much later.
    SlowWrites(Duration),
    /// Writes are held back until the trouble is over, and reach etcd then, also when nobody waits for them any more.
    HeldWrites,
    /// Writes happen, and their answers are held back.
    HeldAnswers,
    /// No connection lives.
    Cut,
}

/// The way of a node to etcd.
pub struct Link {
    /// Where the node finds etcd.
    pub url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    etcd: String,
    trouble: watch::Sender<Trouble>,
    /// Counts how often the watches that were open fell silent.
    silences: watch::Sender<u64>,
    held: AtomicUsize,
}

impl Link {
    /// A way to the etcd at `url`.
    pub async fn to(url: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url_here = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            etcd: url.trim_start_matches("http://").to_owned(),
            trouble: watch::Sender::new(Trouble::None),
            silences: watch::Sender::new(0),
            held: AtomicUsize::new(0),
        });
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, shared.clone()));
        Ok(Self { url: url_here, shared, _serving: serving })
    }

    /// From now on.
    pub fn suffers(&self, trouble: Trouble) {
        self.shared.trouble.send_replace(trouble);
    }

    /// Watches that are open now never tell anything any more; their connections and all other calls go on.
    pub fn silence_watches(&self) {
        self.shared.silences.send_modify(|count| *count += 1);
    }

    /// Writes that are held back now, or whose answers are.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut trouble = shared.trouble.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let is_cut = *trouble.borrow() == Trouble::Cut;
                if let Some((stream, _)) = accepted.ok().filter(|_| !is_cut) {
                    connections.spawn(connection(stream, shared.clone()));
                }
            }
            _ = trouble.changed() => {
                if *trouble.borrow_and_update() == Trouble::Cut {
                    connections.shutdown().await;
                }
            }
        }
    }
}

/// Ends when either side does; a node dials again by itself.
async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(etcd) = TcpStream::connect(&shared.etcd).await else { return };
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(etcd)).await;
    let Ok((sender, driver)) = handshake else { return };
    // It ends with its last sender: a write that is held back outlives the node that sent it.
    let driver = tokio::spawn(driver);
    let pass = service_fn(move |call| pass(call, sender.clone(), shared.clone()));
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::select! {
        _ = served.serve_connection(TokioIo::new(stream), pass) => {}
        _ = driver => {}
    }
}

async fn pass(call: Request<Incoming>, etcd: SendRequest<Payload>, shared: Arc<Shared>) -> Result<Response<Payload>> {
    let name = call.uri().path().trim_start_matches("/etcdserverpb.").to_owned();
    if WRITES.contains(&name.as_str()) {
        return write(call, etcd, shared).await;
    }
    let silences = (name == "Watch/Watch").then(|| shared.silences.subscribe());
    let answer = send(call.map(|body| body.boxed()), etcd).await?;
    Ok(answer.map(|body| match silences {
        Some(silences) => Watched { body, silences }.boxed(),
        None => body.boxed(),
    }))
}

/// A write is read as a whole and goes on in a task of its own: whoever sent it may have given it up by then.
async fn write(call: Request<Incoming>, etcd: SendRequest<Payload>, shared: Arc<Shared>) -> Result<Response<Payload>> {
    let (head, body) = call.into_parts();
    let whole = body.collect().await?.to_bytes();
    let call = Request::from_parts(head, Full::new(whole).map_err(|never| match never {}).boxed());
    let sent = tokio::spawn(async move {
        let trouble = *shared.trouble.borrow();
        match trouble {
            Trouble::SlowWrites(by) => tokio::time::sleep(by).await,
            Trouble::HeldWrites => shared.hold().await,
            _ => {}
        }
        let answer = send(call, etcd).await;
        if trouble == Trouble::HeldAnswers {
            shared.hold().await;
        }
        answer
    });
    Ok(sent.await??.map(|body| body.boxed()))
}

async fn send(call: Request<Payload>, mut etcd: SendRequest<Payload>) -> Result<Response<Incoming>> {
    if etcd.is_closed() {
        bail!("etcd closed the connection");
    }
    Ok(etcd.send_request(call).await?)
}

impl Shared {
    /// Until the trouble of this moment is over.
    async fn hold(&self) {
        let before = *self.trouble.borrow();
        self.held.fetch_add(1, Ordering::SeqCst);
        let _ = self.trouble.subscribe().wait_for(|now| *now != before).await;
        self.held.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The events of a watch, until it is silenced.
struct Watched {
    body: Incoming,
    silences: watch::Receiver<u64>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.silences.has_changed().unwrap_or(true) {
            return Poll::Pending;
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
