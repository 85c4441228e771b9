//! Planning and research services that answer what a test says, and keep what they were asked; and a screen whose words are
//! kept.

mod research;

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt, stream};
use proto::planning::planning_server::{Planning, PlanningServer};
use proto::planning::*;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::screen::{Screen, Style};

type Answer = Box<dyn FnMut(Box<dyn Any>) -> Result<Box<dyn Any + Send>, Status> + Send>;

/// What a server says to whom.
#[derive(Clone, Default)]
pub struct Script {
    answers: Arc<Mutex<HashMap<TypeId, Answer>>>,
    asked: Arc<Mutex<Vec<(&'static str, String)>>>,
}

/// What a watch of a job brings, and whether the stream then hangs instead of ending.
#[derive(Default)]
pub struct News {
    /// The job, each time something is new.
    pub jobs: Vec<Job>,
    /// More may come, but does not.
    pub hangs: bool,
}

impl Script {
    /// Answers requests of a type.
    pub fn on<Q: 'static, A: Send + 'static>(
        self,
        mut answer: impl FnMut(Q) -> Result<A, Status> + Send + 'static,
    ) -> Self {
        let boxed: Answer = Box::new(move |request| {
            let request = request.downcast::<Q>().expect("answers are kept by the type of their request");
            Ok(Box::new(answer(*request)?))
        });
        self.answers.lock().unwrap().insert(TypeId::of::<Q>(), boxed);
        self
    }

    /// The requests of a type so far, as their `Debug` shows them.
    pub fn asked<Q>(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(name, _)| *name == type_name::<Q>()).map(|(_, request)| request.clone()).collect()
    }

    fn answer<Q: std::fmt::Debug + 'static, A: 'static>(&self, request: Request<Q>) -> Result<A, Status> {
        let request = request.into_inner();
        self.asked.lock().unwrap().push((type_name::<Q>(), format!("{request:?}")));
        let mut answers = self.answers.lock().unwrap();
        let answer = answers.get_mut(&TypeId::of::<Q>()).ok_or_else(|| Status::unimplemented(type_name::<Q>()))?;
        let answered = answer(Box::new(request))?;
        Ok(*(answered as Box<dyn Any>).downcast::<A>().expect("the script gives the response of the call"))
    }

    /// Serves it until the answer is dropped.
    pub fn serve(&self) -> Running {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let guard = runtime.enter();
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
        drop(guard);
        let services = tonic::transport::Server::builder()
            .add_service(PlanningServer::new(self.clone()))
            .add_service(research::serve(self.clone()));
        runtime.spawn(services.serve_with_incoming(incoming));
        Running { address, runtime: Some(runtime) }
    }
}

/// A server on a runtime of its own; dropping it closes all its sockets.
pub struct Running {
    /// Where it listens.
    pub address: String,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

macro_rules! scripted {
    ($($name:ident $request:ident $response:ident;)*) => {
        #[tonic::async_trait]
        impl Planning for Script {
            type WatchJobStream = Pin<Box<dyn Stream<Item = Result<WatchJobResponse, Status>> + Send>>;

            async fn watch_job(&self, request: Request<WatchJobRequest>) -> Result<Response<Self::WatchJobStream>, Status> {
                let News { jobs, hangs } = self.answer(request)?;
                let sent = stream::iter(jobs).map(|job| Ok(WatchJobResponse { job: Some(job) }));
                Ok(Response::new(if hangs { Box::pin(sent.chain(stream::pending())) } else { Box::pin(sent) }))
            }

            type WatchTagStream = Pin<Box<dyn Stream<Item = Result<WatchTagResponse, Status>> + Send>>;

            async fn watch_tag(&self, request: Request<WatchTagRequest>) -> Result<Response<Self::WatchTagStream>, Status> {
                let told: Vec<Result<WatchTagResponse, Status>> = self.answer(request)?;
                Ok(Response::new(Box::pin(stream::iter(told))))
            }

            type McpStream = Pin<Box<dyn Stream<Item = Result<McpResponse, Status>> + Send>>;

            /// Each message is answered by the script: with messages, or with the end of the stream.
            async fn mcp(&self, request: Request<Streaming<McpRequest>>) -> Result<Response<Self::McpStream>, Status> {
                let script = self.clone();
                let answers = request.into_inner().then(move |message| {
                    let script = script.clone();
                    async move { script.answer::<McpRequest, Vec<McpResponse>>(Request::new(message?)) }
                });
                let each = answers.flat_map(|answers| match answers {
                    Ok(answers) => stream::iter(answers.into_iter().map(Ok).collect::<Vec<_>>()),
                    Err(status) => stream::iter(vec![Err(status)]),
                });
                Ok(Response::new(Box::pin(each)))
            }

            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                self.answer(request).map(Response::new)
            })*
        }
    };
}

scripted! {
    list_projects ListProjectsRequest ListProjectsResponse;
    create_project CreateProjectRequest CreateProjectResponse;
    change_project ChangeProjectRequest ChangeProjectResponse;
    delete_project DeleteProjectRequest DeleteProjectResponse;
    list_templates ListTemplatesRequest ListTemplatesResponse;
    list_tags ListTagsRequest ListTagsResponse;
    change_tag ChangeTagRequest ChangeTagResponse;
    list_tasks ListTasksRequest ListTasksResponse;
    next_task NextTaskRequest NextTaskResponse;
    check_tasks CheckTasksRequest CheckTasksResponse;
    render RenderRequest RenderResponse;
    edit EditRequest EditResponse;
    move_to_tag MoveToTagRequest MoveToTagResponse;
    undo UndoRequest UndoResponse;
    history HistoryRequest HistoryResponse;
    export ExportRequest ExportResponse;
    import ImportRequest ImportResponse;
    start StartRequest StartResponse;
    get_job GetJobRequest GetJobResponse;
    list_jobs ListJobsRequest ListJobsResponse;
    cancel_job CancelJobRequest CancelJobResponse;
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A command line as a user types it, and what came of it.
pub struct Typed {
    /// The exit code.
    pub code: u8,
    /// What stood on stdout.
    pub data: String,
    /// What stood on stderr.
    pub notes: String,
}

/// Runs a command line against a server, with somebody who gives these answers; nobody is there for none.
pub async fn type_with(server: &Running, words: &[&str], answers: Option<&'static str>) -> Typed {
    let all = ["tmctl", "--server", &server.address].into_iter().chain(words.iter().copied());
    let cli = match <crate::args::Cli as clap::Parser>::try_parse_from(all) {
        Ok(cli) => cli,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap();
            return Typed { code, data: String::new(), notes: error.to_string() };
        }
    };
    let (data, notes) = (Buffer::default(), Buffer::default());
    let style = Style { json: cli.json, ..Style::default() };
    let screen = Screen::new(Box::new(data.clone()), Box::new(notes.clone()), style);
    let mut screen = match answers {
        Some(answers) => screen.with_answers(answers),
        None => screen,
    };
    let ended = crate::run(cli, &mut screen).await;
    let code = screen.close(ended);
    let text = |buffer: Buffer| String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    let of_any_port = |text: String| text.replace(&server.address, "SERVER");
    Typed { code, data: of_any_port(text(data)), notes: of_any_port(text(notes)) }
}

/// The same with nobody there.
pub async fn type_in(server: &Running, words: &[&str]) -> Typed {
    type_with(server, words, None).await
}
