//! The continuation on real sockets: a first server that dies in the middle, and a second that goes on.

use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};

use base::retry::Backoff;
use futures_util::{Stream, StreamExt, stream};
use proto::inference::inference_server::{Inference, InferenceServer};
use proto::inference::{
    Done, EmbedRequest, EmbedResponse, GenerateResponse, ListModelsRequest, ListModelsResponse, RerankRequest,
    RerankResponse, Started,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;
use crate::screen::Style;

const WHOLE: &str = "The sea is wide, é, and the ships are small.";

/// What a server does behind the part that it sends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// It says that the answer is whole.
    Done,
    /// Its process is gone, sockets and all, once the client has shown what was sent.
    Dies,
    /// It ends the stream without a word, unless it has sent everything.
    Stops,
    /// It refuses the ask.
    Refuses,
}

/// Sends `WHOLE` behind `continue_from`, in pieces of four characters, `pieces` of them at most.
struct Server {
    pieces: usize,
    end: End,
    asked: Arc<Mutex<Vec<GenerateRequest>>>,
    kill: mpsc::Sender<()>,
}

#[tonic::async_trait]
impl Inference for Server {
    type GenerateStream = Pin<Box<dyn Stream<Item = Result<GenerateResponse, Status>> + Send>>;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        let request = request.into_inner();
        let rest = WHOLE.strip_prefix(request.continue_from.as_str()).expect("a prefix of the answer").to_owned();
        self.asked.lock().unwrap().push(request);
        if self.end == End::Refuses {
            return Err(proto::to_status(&Fault::new(Code::ModelNotFound, "no worker offers `x`").hint("list them")));
        }
        let started = Started { ask: "ask-1".into(), model: "m".into(), ..Started::default() };
        let characters: Vec<char> = rest.chars().collect();
        let pieces = characters.chunks(4).take(self.pieces).map(|piece| Event::Text(piece.iter().collect()));
        let mut events: Vec<Event> = std::iter::once(Event::Started(started)).chain(pieces).collect();
        let is_whole = characters.len() <= self.pieces.saturating_mul(4);
        if self.end == End::Done || (self.end == End::Stops && is_whole) {
            events.push(Event::Done(Done { finish: Finish::Stop.into(), usage: None }));
        }
        let sent = stream::iter(events).map(|event| Ok(GenerateResponse { event: Some(event) }));
        if self.end != End::Dies {
            return Ok(Response::new(Box::pin(sent)));
        }
        if self.pieces == 0 {
            let _ = self.kill.send(());
        }
        Ok(Response::new(Box::pin(sent.chain(stream::pending()))))
    }

    async fn embed(&self, _: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        Err(Status::unimplemented("embed"))
    }

    async fn rerank(&self, _: Request<RerankRequest>) -> Result<Response<RerankResponse>, Status> {
        Err(Status::unimplemented("rerank"))
    }

    async fn list_models(&self, _: Request<ListModelsRequest>) -> Result<Response<ListModelsResponse>, Status> {
        Err(Status::unimplemented("list_models"))
    }
}

/// A server on a runtime of its own; dropping the runtime is the death of the process: all sockets close at once.
struct Running {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<GenerateRequest>>>,
    runtime: Arc<Mutex<Option<tokio::runtime::Runtime>>>,
    /// Kills it, and how many bytes of the answer the client shows by then.
    death: (mpsc::Sender<()>, usize),
}

fn start(pieces: usize, end: End) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let guard = runtime.enter();
    let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
    drop(guard);
    let (kill, kills) = mpsc::channel();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let server = Server { pieces, end, asked: asked.clone(), kill: kill.clone() };
    runtime.spawn(
        tonic::transport::Server::builder().add_service(InferenceServer::new(server)).serve_with_incoming(incoming),
    );
    let runtime = Arc::new(Mutex::new(Some(runtime)));
    let doomed = runtime.clone();
    std::thread::spawn(move || {
        if kills.recv().is_ok()
            && let Some(runtime) = doomed.lock().unwrap().take()
        {
            runtime.shutdown_background();
        }
    });
    let shown = WHOLE.chars().take(pieces.saturating_mul(4)).map(char::len_utf8).sum();
    let shown = if end == End::Dies { shown } else { usize::MAX };
    Running { address, asked, runtime, death: (kill, shown) }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }
}

/// Keeps what is written, and kills servers when it is long enough.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>, Vec<(mpsc::Sender<()>, usize)>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut shown = self.0.lock().unwrap();
        shown.extend_from_slice(bytes);
        for (kill, _) in self.1.iter().filter(|(_, at)| shown.len() >= *at) {
            let _ = kill.send(());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Asks `servers` once; gives the reply, what stood on stdout and what on stderr.
async fn put(servers: &[&Running]) -> (Result<Reply, Ended>, String, String) {
    let deaths = servers.iter().map(|server| server.death.clone()).collect();
    let (data, notes) = (Buffer(Arc::default(), deaths), Buffer::default());
    let mut screen = Screen::new(Box::new(data.clone()), Box::new(notes.clone()), Style::default());
    let addresses: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();
    let servers = Servers::new(&addresses, None, None).unwrap();
    let pause = Backoff { first: Duration::from_millis(1), ..PATIENCE.pause };
    let request = ask("m", vec![spoken("user", "tell".into())]);
    let reply = say(&servers, &mut screen, Patience { rounds: 3, pause }, request).await;
    (reply, data.text(), notes.text())
}

#[tokio::test]
async fn an_answer_goes_on_at_the_next_server_when_its_server_dies() {
    let (first, second) = (start(5, End::Dies), start(usize::MAX, End::Done));
    let (reply, data, notes) = put(&[&first, &second]).await;
    assert_eq!((reply.unwrap().text.as_str(), data), (WHOLE, format!("{WHOLE}\n")));
    assert!(notes.contains("trying another server"), "{notes}");
    let asked = second.asked.lock().unwrap();
    assert_eq!((asked[0].continue_from.as_str(), asked[0].continues_ask.as_str()), (&WHOLE[..21], "ask-1"));
}

#[tokio::test]
async fn an_answer_survives_the_death_of_each_server_but_the_last() {
    let servers = [start(2, End::Dies), start(0, End::Dies), start(3, End::Stops), start(usize::MAX, End::Done)];
    let (reply, data, _) = put(&servers.each_ref()).await;
    let reply = reply.unwrap();
    assert_eq!((reply.text.as_str(), reply.finish, data), (WHOLE, Some("stop"), format!("{WHOLE}\n")));
}

#[tokio::test]
async fn one_server_that_stops_again_and_again_still_gives_the_whole_answer() {
    let server = start(3, End::Stops);
    let (reply, data, _) = put(&[&server]).await;
    assert_eq!((reply.unwrap().text.as_str(), data), (WHOLE, format!("{WHOLE}\n")));
}

#[tokio::test]
async fn a_refusal_is_told_and_not_carried_to_the_next_server() {
    let (first, second) = (start(0, End::Refuses), start(usize::MAX, End::Done));
    let (reply, data, _) = put(&[&first, &second]).await;
    let Err(Ended::Fault(fault)) = reply else { panic!("{reply:?}") };
    assert_eq!((fault.code, fault.hint.as_deref(), data.as_str()), (Code::ModelNotFound, Some("list them"), ""));
    assert!(second.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn half_an_answer_is_given_up_with_a_hint_when_nobody_is_left() {
    let server = start(2, End::Dies);
    let (reply, data, _) = put(&[&server]).await;
    let Err(Ended::Fault(fault)) = reply else { panic!("{reply:?}") };
    assert_eq!((fault.code, data.as_str()), (Code::Unreachable, &WHOLE[..8]));
    assert!(fault.hint.unwrap().contains("not whole"));
}

#[test]
fn what_cannot_be_said_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("picture");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    let faults = [
        compose(Some("  ".into()), None).unwrap_err(),
        compose(None, Some(Path::new("/nonexistent/file"))).unwrap_err(),
        compose(None, Some(&binary)).unwrap_err(),
        read(std::io::repeat(b'x'), "stdin").unwrap_err(),
        given_up(cut("h:1"), &Reply::default(), "name a server"),
        given_up(silent("h:1"), &Reply { text: "x".into(), ..Reply::default() }, "name a server"),
    ];
    let text: String = faults.iter().map(fault_text).collect();
    insta::assert_snapshot!("chat_faults", text.replace(&folder.path().display().to_string(), "FOLDER"));
}

#[test]
fn a_file_stands_behind_the_message() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.md");
    std::fs::write(&file, "# notes").unwrap();
    assert_eq!(compose(Some("sum up".into()), Some(&file)).unwrap(), "sum up\n\n# notes");
}
