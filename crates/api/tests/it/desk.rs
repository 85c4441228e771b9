//! A desk that does what the model's name says, and the servers in front of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use api::MetricsFormat;
use api::desk::{AdminDesk, BenchStream, Caller, Desk, EventStream, PullStream, Readiness};
use api::http::HttpLimits;
use arc_swap::ArcSwap;
use base::answer::{Events, Frames, Ready};
use base::{
    Answer, AnswerHead, Ask, AskHead, BoxFrames, BoxFuture, Code, Continuation, Event, EventAnswer, Fault, Finish,
    Grant, Result, RunSummary, Scope, Usage, WorkerId,
};
use bytes::Bytes;
use planner::Planning;
use planner::github::{Delivery, Received};
use proto::admin::*;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::knowledge::Memory;

/// The desk; tests look into it and let waiting asks go on.
pub struct Script {
    pub seen: Mutex<Option<(AskHead, Bytes, Option<Continuation>)>>,
    pub dropped: watch::Sender<usize>,
    pub begun: watch::Sender<usize>,
    /// One permit lets one waiting ask go on.
    pub release: Semaphore,
    pub is_ready: Mutex<bool>,
    pub has_keys: bool,
    /// Who asked for what, as it came to the door.
    pub calls: Mutex<Vec<(String, Option<std::net::IpAddr>)>>,
    /// Under whose names the mode was set.
    pub mode_set_by: Mutex<Vec<String>>,
    /// Whether the keys are over.
    pub key_ended: watch::Sender<bool>,
    /// Where there are projects.
    pub planning: Option<Arc<Planning>>,
    /// Where there are documents.
    pub knowledge: Arc<Memory>,
    pub has_hook: AtomicBool,
    pub delivery: Mutex<Option<Delivery>>,
}

impl Script {
    pub fn new(has_keys: bool) -> Arc<Self> {
        Self::with_planning(has_keys, None)
    }

    pub fn with_planning(has_keys: bool, planning: Option<Arc<Planning>>) -> Arc<Self> {
        Arc::new(Self {
            planning,
            knowledge: Arc::default(),
            seen: Mutex::default(),
            dropped: watch::Sender::new(0),
            begun: watch::Sender::new(0),
            release: Semaphore::new(0),
            is_ready: Mutex::new(true),
            has_keys,
            calls: Mutex::default(),
            mode_set_by: Mutex::default(),
            key_ended: watch::Sender::new(false),
            has_hook: AtomicBool::new(true),
            delivery: Mutex::default(),
        })
    }

    fn guard(&self) -> DropGuard {
        self.begun.send_modify(|count| *count += 1);
        DropGuard(self.dropped.clone())
    }

    async fn script(&self, ask: &Ask) -> Result<Answer> {
        let guard = self.guard();
        let answer = |frames: BoxFrames, length| Answer { head: head(&ask.head, length), frames };
        let stream = |frames: Vec<Result<Bytes>>, end| {
            let frames = frames.into_iter().collect::<Vec<_>>().into_iter();
            Box::new(Scripted { frames, end, _guard: Some(guard) }) as BoxFrames
        };
        let event = || Bytes::from_static(b"data: {\"choices\":[]}\n\n");
        match &*ask.head.model {
            "m" | "auto" => {
                let body = whole(&ask.head);
                Ok(answer(Box::new(Ready::new(body.clone(), RunSummary::default())), Some(body.len() as u64)))
            }
            "waits" => {
                self.release.acquire().await.unwrap().forget();
                let body =
                    if ask.head.stream { vec![Ok(whole(&ask.head))] } else { vec![Ok(Bytes::from("{\"id\":1}"))] };
                Ok(answer(stream(body, End::Clean), None))
            }
            "waits-and-fails" => {
                self.release.acquire().await.unwrap().forget();
                Err(Fault::unavailable("no worker is left").hint("start one"))
            }
            "never" => std::future::pending().await,
            "endless" => Ok(answer(stream(vec![Ok(event())], End::Silent), None)),
            "one-object" => {
                let mut answer = answer(stream(Vec::new(), End::Silent), None);
                answer.head.content_type = "application/json";
                Ok(answer)
            }
            "cut" => Ok(answer(stream(vec![Ok(event()), Err(Fault::internal("cut"))], End::Clean), None)),
            "flood" => Ok(answer(stream(Vec::new(), End::Flood), None)),
            "busy" => Err(Fault::new(Code::Overloaded, "all workers are busy").retry_after(Duration::from_secs(7))),
            "down" => Err(Fault::unavailable("no worker answers").retry_after(Duration::from_millis(100))),
            other => {
                Err(Fault::new(Code::ModelNotFound, format!("model '{other}' not found")).hint("nearest names: m"))
            }
        }
    }
}

fn head(ask: &AskHead, content_length: Option<u64>) -> AnswerHead {
    AnswerHead {
        content_type: ask.dialect.content_type(ask.stream),
        content_length,
        worker: Some(WorkerId::from("grey-area/ollama")),
        model: "m".to_owned(),
        fallback: (&*ask.model == "auto").then(|| "it is loaded".to_owned()),
    }
}

fn whole(ask: &AskHead) -> Bytes {
    Bytes::from_static(match (ask.dialect, ask.stream) {
        (base::Dialect::OpenAiEmbeddings, _) => {
            br#"{"data":[{"index":1,"embedding":[0.5]},{"index":0,"embedding":[1.0]}],"usage":{"prompt_tokens":3}}"#
        }
        (base::Dialect::Rerank, _) => {
            br#"{"results":[{"index":0,"relevance_score":-1.5},{"index":1,"relevance_score":2.0}]}"#
        }
        (base::Dialect::OllamaChat | base::Dialect::OllamaGenerate, true) => b"{\"done\":false}\n{\"done\":true}\n",
        (_, true) => b"data: {\"choices\":[]}\n\ndata: [DONE]\n\n",
        (_, false) => br#"{"object":"answer"}"#,
    })
}

/// Tells that the work behind an ask was given up (or is done).
struct DropGuard(watch::Sender<usize>);

impl Drop for DropGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count += 1);
    }
}

enum End {
    Clean,
    Silent,
    Flood,
}

struct Scripted {
    frames: std::vec::IntoIter<Result<Bytes>>,
    end: End,
    _guard: Option<DropGuard>,
}

impl Frames for Scripted {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match (self.frames.next(), &self.end) {
            (Some(frame), _) => Poll::Ready(Some(frame)),
            (None, End::Clean) => Poll::Ready(None),
            (None, End::Silent) => Poll::Pending,
            (None, End::Flood) => Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 64 * 1024])))),
        }
    }
}

struct ScriptedEvents {
    events: std::vec::IntoIter<Event>,
    is_endless: bool,
    _guard: DropGuard,
}

impl Events for ScriptedEvents {
    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        match self.events.next() {
            None if self.is_endless => Poll::Pending,
            event => Poll::Ready(event.map(Ok)),
        }
    }
}

impl Desk for Script {
    fn infer(&self, ask: Ask, continues: Option<Continuation>) -> BoxFuture<'_, Result<Answer>> {
        *self.seen.lock().unwrap() = Some((ask.head.clone(), ask.body.clone(), continues));
        Box::pin(async move { self.script(&ask).await })
    }

    fn infer_events(&self, ask: Ask, continues: Option<Continuation>) -> BoxFuture<'_, Result<EventAnswer>> {
        *self.seen.lock().unwrap() = Some((ask.head.clone(), ask.body.clone(), continues));
        Box::pin(async move {
            let usage = Usage { prompt_tokens: 2, completion_tokens: 3, cached_tokens: 1 };
            let mut events = vec![Event::Thinking("hm".to_owned()), Event::Text("Hi".to_owned())];
            match &*ask.head.model {
                "m" => events.extend([Event::Done(Finish::Length), Event::Usage(usage)]),
                "cut" | "endless" => {}
                "broken" => events.push(Event::Error("the engine is out of memory".to_owned())),
                "never" => {
                    let _guard = self.guard();
                    std::future::pending::<()>().await;
                }
                _ => return self.script(&ask).await.map(|_| unreachable!("a script of streams")),
            }
            let is_endless = &*ask.head.model == "endless";
            let events = ScriptedEvents { events: events.into_iter(), is_endless, _guard: self.guard() };
            Ok(EventAnswer { head: head(&ask.head, None), events: Box::new(events) })
        })
    }

    fn models(&self, grant: &Grant) -> ListModelsResponse {
        let place = ModelPlace {
            worker: "grey-area/ollama".to_owned(),
            is_loaded: true,
            memory_bytes: 5_000_000_000,
            context_tokens: 8192,
            capabilities: vec!["completion".to_owned(), "tools".to_owned()],
            size_bytes: 4_900_000_000,
            ..ModelPlace::default()
        };
        let cold = ModelPlace { is_loaded: false, ..place.clone() };
        let item = |name: &str, id: &str, place| ModelItem {
            name: name.to_owned(),
            id: id.to_owned(),
            places: vec![place],
            ..ModelItem::default()
        };
        let mut models = vec![item("llama3.1:8b", "sha256:46e0", place), item("org/phi:latest", "org/phi", cold)];
        models.retain(|model| grant.models.is_empty() || grant.models.contains(&model.name));
        ListModelsResponse { view: None, models }
    }

    /// `secret` opens everything, and each scope opens its own doors: for one model, where `infer` does.
    fn authenticate(&self, caller: &Caller<'_>, needs: Option<Scope>) -> Result<Arc<Grant>> {
        self.calls.lock().unwrap().push((caller.call.to_owned(), caller.from));
        if !self.has_keys {
            return Ok(Grant::everything().clone());
        }
        let no = |message: &str| Fault::new(Code::Unauthenticated, message).hint("`tmctl keys`");
        if caller.has_key_in_address {
            return Err(no("a key in an address is not taken"));
        }
        let scope = match caller.key {
            Some("secret") => Scope::Admin,
            Some(word) => Scope::parse(word).ok_or_else(|| no("the API key is not known"))?,
            None => return Err(no("an API key is needed")),
        };
        let models = if scope == Scope::Infer { vec!["llama3.1:8b".to_owned()] } else { Vec::new() };
        let grant = Grant {
            name: "laptop".into(),
            id: "id".into(),
            scopes: vec![scope],
            models,
            ..Grant::clone(Grant::everything())
        };
        needs.map_or(Ok(()), |needs| grant.check(needs))?;
        Ok(Arc::new(grant))
    }

    fn authorize(&self, grant: &Grant, scope: Scope, _: &str) -> Result<()> {
        grant.check(scope)
    }

    fn until_ended(&self, _: &Grant) -> BoxFuture<'static, ()> {
        let mut ended = self.key_ended.subscribe();
        Box::pin(async move { drop(ended.wait_for(|&ended| ended).await) })
    }

    fn readiness(&self) -> Readiness {
        let ready = *self.is_ready.lock().unwrap();
        Readiness { ready, reasons: if ready { Vec::new() } else { vec!["no worker is ready".to_owned()] } }
    }

    fn take_from_github(&self, delivery: Delivery) -> BoxFuture<'_, Result<Received>> {
        let answer = match self.has_hook.load(Ordering::Relaxed) {
            true => crate::hooks::scripted(&delivery),
            false => Err(planner::github::not_configured()),
        };
        *self.delivery.lock().unwrap() = Some(delivery);
        Box::pin(std::future::ready(answer))
    }

    fn metrics(&self, format: MetricsFormat) -> String {
        match format {
            MetricsFormat::Text => "tm_epoch 1\n".to_owned(),
            MetricsFormat::OpenMetrics => "tm_epoch 1\n# EOF\n".to_owned(),
        }
    }

    fn admin(&self) -> &dyn AdminDesk {
        self
    }

    fn planning(&self) -> Result<Arc<Planning>> {
        self.planning.clone().ok_or_else(|| Fault::new(Code::NotSupported, "this node keeps no projects"))
    }

    fn research(&self) -> Result<Arc<dyn research::Knowledge>> {
        Ok(self.knowledge.clone())
    }
}

fn done<T: Default + Send + 'static>() -> BoxFuture<'static, Result<T>> {
    Box::pin(std::future::ready(Ok(T::default())))
}

impl AdminDesk for Script {
    fn list_nodes(&self) -> ListNodesResponse {
        let node = NodeItem { name: "grey-area".to_owned(), state: "alive".to_owned(), ..NodeItem::default() };
        ListNodesResponse { view: None, nodes: vec![node] }
    }

    fn list_workers(&self) -> ListWorkersResponse {
        let worker =
            WorkerItem { name: "grey-area/<b>".to_owned(), state: "ready".to_owned(), ..WorkerItem::default() };
        ListWorkersResponse { view: None, workers: vec![worker] }
    }

    fn health(&self) -> HealthResponse {
        HealthResponse::default()
    }

    fn get_mode(&self) -> GetModeResponse {
        GetModeResponse { mode: "local-only".to_owned(), ..GetModeResponse::default() }
    }

    fn explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<ExplainResponse>> {
        let fault = Fault::new(Code::NotFound, format!("could not find `{}`", request.ask)).hint("see x-tm-ask");
        Box::pin(std::future::ready(Err(fault)))
    }

    fn list_failures(&self, _: ListFailuresRequest) -> BoxFuture<'_, Result<ListFailuresResponse>> {
        done()
    }

    fn report_failure(&self, _: ReportFailureRequest) -> BoxFuture<'_, Result<ReportFailureResponse>> {
        done()
    }

    fn set_mode<'a>(&'a self, by: &'a str, _: SetModeRequest) -> BoxFuture<'a, Result<SetModeResponse>> {
        self.mode_set_by.lock().unwrap().push(by.to_owned());
        done()
    }

    fn list_modes(&self) -> BoxFuture<'_, Result<ListModesResponse>> {
        done()
    }

    fn rollback_mode<'a>(&'a self, _: &'a str, _: RollbackModeRequest) -> BoxFuture<'a, Result<SetModeResponse>> {
        done()
    }

    fn privacy_report(&self, _: PrivacyReportRequest) -> BoxFuture<'_, Result<PrivacyReportResponse>> {
        done()
    }

    fn verify_audit(&self) -> BoxFuture<'_, Result<VerifyAuditResponse>> {
        done()
    }

    fn drain(&self, _: DrainRequest) -> BoxFuture<'_, Result<DrainResponse>> {
        done()
    }

    fn reload(&self, _: ReloadRequest) -> BoxFuture<'_, Result<ReloadResponse>> {
        done()
    }

    fn place(&self, _: PlaceRequest) -> BoxFuture<'_, Result<PlaceResponse>> {
        done()
    }

    fn import_model(&self, _: ImportModelRequest) -> BoxFuture<'_, Result<ImportModelResponse>> {
        done()
    }

    fn create_model(&self, _: CreateModelRequest) -> BoxFuture<'_, Result<CreateModelResponse>> {
        done()
    }

    fn pull_model(&self, request: PullModelRequest) -> BoxFuture<'_, Result<PullStream>> {
        let progress = PullModelResponse { status: request.model, ..PullModelResponse::default() };
        let cut = Fault::new(Code::EngineCut, "the engine stopped").hint("pull again");
        let told: PullStream = Box::pin(tokio_stream::iter([Ok(progress), Err(cut)]));
        Box::pin(std::future::ready(Ok(told)))
    }

    fn create_key(&self, _: CreateKeyRequest) -> BoxFuture<'_, Result<CreateKeyResponse>> {
        done()
    }

    fn bench_model(&self, _: BenchModelRequest) -> BoxFuture<'_, Result<BenchStream>> {
        Box::pin(std::future::ready(Ok(Box::pin(tokio_stream::empty()) as BenchStream)))
    }

    fn list_keys(&self) -> BoxFuture<'_, Result<ListKeysResponse>> {
        done()
    }

    fn revoke_key(&self, _: RevokeKeyRequest) -> BoxFuture<'_, Result<RevokeKeyResponse>> {
        done()
    }

    fn rotate_key(&self, _: RotateKeyRequest) -> BoxFuture<'_, Result<RotateKeyResponse>> {
        done()
    }

    fn list_actors(&self) -> BoxFuture<'_, Result<ListActorsResponse>> {
        done()
    }

    fn watch_events(&self) -> EventStream {
        let event = WatchEventsResponse { kind: "node".to_owned(), ..WatchEventsResponse::default() };
        Box::pin(tokio_stream::iter([Ok(event)]))
    }

    fn list_asks(&self, request: ListAsksRequest) -> BoxFuture<'_, Result<ListAsksResponse>> {
        let ask = AskItem { ask: "ask-1".to_owned(), outcome: "running".to_owned(), ..AskItem::default() };
        let asks = vec![ask; 3].into_iter().take(request.limit as usize).collect();
        Box::pin(std::future::ready(Ok(ListAsksResponse { asks, running: 3, ..ListAsksResponse::default() })))
    }

    fn list_load(&self) -> ListLoadResponse {
        ListLoadResponse::default()
    }

    fn list_dialled(&self) -> ListDialledResponse {
        ListDialledResponse::default()
    }

    fn inject(&self, _: InjectRequest) -> BoxFuture<'_, Result<InjectResponse>> {
        done()
    }

    fn revoke_certificates(&self, _: RevokeCertificatesRequest) -> BoxFuture<'_, Result<RevokeCertificatesResponse>> {
        done()
    }

    fn get_store(&self) -> GetStoreResponse {
        GetStoreResponse::default()
    }
}

/// The HTTP face on a port of the kernel's choice.
pub struct Server {
    pub address: SocketAddr,
    pub desk: Arc<Script>,
    pub cancel: CancellationToken,
    pub tracker: TaskTracker,
}

/// Limits that tests shorten further.
pub fn limits() -> HttpLimits {
    HttpLimits {
        body: 1 << 20,
        connections: 100,
        header: Duration::from_secs(10),
        read: Duration::from_secs(10),
        idle: Duration::from_secs(10),
        write: Duration::from_secs(10),
        ask: Duration::from_secs(600),
        early_head: Duration::from_secs(15),
        heartbeat: Duration::from_secs(10),
        drain: Duration::from_secs(5),
        allowed_origins: Vec::new(),
    }
}

pub async fn serve(limits: HttpLimits) -> Server {
    serve_desk(limits, Script::new(false)).await
}

pub async fn serve_desk(limits: HttpLimits, desk: Arc<Script>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, cancel, tracker) = (listener.local_addr().unwrap(), CancellationToken::new(), TaskTracker::new());
    let limits = Arc::new(ArcSwap::from_pointee(limits));
    tracker.spawn(api::http::serve(listener, desk.clone(), limits, cancel.clone(), tracker.clone()));
    Server { address, desk, cancel, tracker }
}

/// Waits until `count` of something has happened.
pub async fn reaches(counter: &watch::Sender<usize>, count: usize, within: Duration) {
    let mut counter = counter.subscribe();
    let reached = tokio::time::timeout(within, counter.wait_for(|&seen| seen >= count)).await;
    reached.unwrap_or_else(|_| panic!("not reached {count} within {within:?}")).unwrap();
}
