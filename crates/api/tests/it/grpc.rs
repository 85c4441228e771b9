//! The gRPC face, through generated clients.

use std::time::Duration;

use api::grpc::GrpcLimits;
use base::{Face, Priority};
use proto::admin::admin_client::AdminClient;
use proto::admin::{ExplainRequest, GetModeRequest, ListNodesRequest, PullModelRequest, WatchEventsRequest};
use proto::inference::generate_response::Event;
use proto::inference::inference_client::InferenceClient;
use proto::inference::{EmbedRequest, Finish, GenerateRequest, ListModelsRequest, Message, RerankRequest};
use proto::planning::planning_client::PlanningClient;
use proto::planning::{ChangeProjectRequest, McpRequest, OwnModels, Place, WatchTagRequest};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::client::PATIENCE;
use crate::desk::{Script, reaches};
use crate::mcp::until;

pub struct Served {
    pub desk: std::sync::Arc<Script>,
    pub channel: Channel,
    cancel: CancellationToken,
    tracker: TaskTracker,
}

pub async fn serve(has_keys: bool) -> Served {
    serve_desk(Script::new(has_keys)).await
}

async fn serve_desk(desk: std::sync::Arc<Script>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
    let limits =
        GrpcLimits { body: 1 << 20, answer: 1 << 20, ask: Duration::from_secs(600), drain: Duration::from_millis(100) };
    let limits = std::sync::Arc::new(arc_swap::ArcSwap::from_pointee(limits));
    let from = |stream: &tokio::net::TcpStream| stream.peer_addr().ok().map(|address| address.ip());
    tracker.spawn(api::grpc::serve(TcpListenerStream::new(listener), from, desk.clone(), limits, cancel.clone()));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Served { desk, channel, cancel, tracker }
}

fn generate(model: &str) -> GenerateRequest {
    let message = Message { role: "user".to_owned(), content: "hi".to_owned(), images: Vec::new() };
    GenerateRequest { model: model.to_owned(), messages: vec![message], ..GenerateRequest::default() }
}

#[tokio::test]
async fn generate_streams_events_and_ends_with_done() {
    let served = serve(false).await;
    let request = GenerateRequest { continue_from: "so far".to_owned(), priority: 1, ..generate("m") };
    let mut request = Request::new(request);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    request.set_timeout(Duration::from_secs(30));
    let stream = InferenceClient::new(served.channel).generate(request).await.unwrap().into_inner();
    let events: Vec<Event> = stream.map(|message| message.unwrap().event.unwrap()).collect().await;
    let [Event::Started(started), Event::Thinking(thinking), Event::Text(text), Event::Done(done)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((started.model.as_str(), started.worker.as_str()), ("m", "grey-area/ollama"));
    assert!(base::AskId::parse(&started.ask).is_some());
    assert_eq!((thinking.as_str(), text.as_str(), done.finish()), ("hm", "Hi", Finish::Length));
    assert_eq!(done.usage.unwrap().completion_tokens, 3);
    let (head, _, continues) = served.desk.seen.lock().unwrap().take().unwrap();
    assert_eq!((head.face, head.priority, &*head.traceparent), (Face::Grpc, Priority::Interactive, trace));
    assert!(head.deadline.left(std::time::Instant::now()) <= Duration::from_secs(30));
    assert_eq!(continues.unwrap().text, "so far");
}

#[tokio::test]
async fn an_answer_without_its_end_is_an_error_never_a_short_answer() {
    let served = serve(false).await;
    let mut client = InferenceClient::new(served.channel);
    for (model, code) in [("cut", base::Code::EngineCut), ("broken", base::Code::EngineFailed)] {
        let stream = client.generate(generate(model)).await.unwrap().into_inner();
        let last = stream.collect::<Vec<_>>().await.pop().unwrap().unwrap_err();
        assert_eq!(proto::from_status(&last).code, code);
    }
}

#[tokio::test]
async fn faults_keep_their_code_and_hint() {
    let served = serve(false).await;
    let mut client = InferenceClient::new(served.channel.clone());
    let fault = proto::from_status(&client.generate(generate("x")).await.unwrap_err());
    assert_eq!((fault.code, fault.hint.as_deref()), (base::Code::ModelNotFound, Some("nearest names: m")));
    let fault = proto::from_status(&client.generate(generate("busy")).await.unwrap_err());
    assert_eq!((fault.code, fault.retry_after_s()), (base::Code::Overloaded, Some(7)));
    let big = EmbedRequest { inputs: vec!["x".repeat(2 << 20)], ..EmbedRequest::default() };
    assert_eq!(client.embed(big).await.unwrap_err().code(), Code::OutOfRange);
    let request = ExplainRequest { ask: "ask-1".to_owned() };
    let status = AdminClient::new(served.channel).explain(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "could not find `ask-1`"));
}

#[tokio::test]
async fn vectors_come_in_the_order_of_the_inputs_and_rankings_best_first() {
    let served = serve(false).await;
    let mut client = InferenceClient::new(served.channel);
    let inputs = vec!["a".to_owned(), "b".to_owned()];
    let answer = client.embed(EmbedRequest { model: "m".to_owned(), inputs }).await.unwrap().into_inner();
    let values: Vec<f32> = answer.vectors.iter().flat_map(|vector| vector.values.clone()).collect();
    assert_eq!((values, answer.prompt_tokens), (vec![1.0, 0.5], 3));
    let short = EmbedRequest { model: "m".to_owned(), inputs: vec!["a".to_owned()] };
    assert_eq!(proto::from_status(&client.embed(short).await.unwrap_err()).code, base::Code::EngineFailed);

    let documents = vec!["x".to_owned(), "y".to_owned()];
    let request = RerankRequest { model: "m".to_owned(), query: "q".to_owned(), documents, top: 1 };
    let ranked = client.rerank(request).await.unwrap().into_inner().results;
    assert_eq!(ranked.iter().map(|ranked| (ranked.index, ranked.score)).collect::<Vec<_>>(), [(1, 2.0)]);
}

#[tokio::test]
async fn lists_modes_and_events_come_from_the_desk() {
    let served = serve(false).await;
    let models = InferenceClient::new(served.channel.clone()).list_models(ListModelsRequest {}).await.unwrap();
    let names: Vec<_> = models.get_ref().models.iter().map(|model| (&*model.name, model.loaded_on.len())).collect();
    assert_eq!(names, [("llama3.1:8b", 1), ("org/phi:latest", 0)]);
    let mut admin = AdminClient::new(served.channel);
    assert_eq!(admin.list_nodes(ListNodesRequest {}).await.unwrap().get_ref().nodes[0].name, "grey-area");
    assert_eq!(admin.get_mode(GetModeRequest {}).await.unwrap().get_ref().mode, "local-only");
    let events = admin.watch_events(WatchEventsRequest {}).await.unwrap().into_inner();
    assert_eq!(events.collect::<Vec<_>>().await.len(), 1);
}

#[tokio::test]
async fn a_pull_is_told_until_it_ends_or_fails() {
    let mut admin = AdminClient::new(serve(false).await.channel);
    let request = PullModelRequest { model: "m".to_owned(), ..PullModelRequest::default() };
    let mut told = admin.pull_model(request).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().status, "m");
    let fault = proto::from_status(&told.message().await.unwrap_err());
    assert_eq!((fault.code, fault.hint.as_deref()), (base::Code::EngineCut, Some("pull again")));
}

#[tokio::test]
async fn with_keys_on_only_health_and_reflection_are_open() {
    let served = serve(true).await;
    let mut admin = AdminClient::new(served.channel.clone());
    assert_eq!(admin.list_nodes(ListNodesRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    let mut request = Request::new(generate("m"));
    request.metadata_mut().insert("authorization", "Bearer secret".parse().unwrap());
    InferenceClient::new(served.channel.clone()).generate(request).await.unwrap();
    assert_eq!(&*served.desk.seen.lock().unwrap().take().unwrap().0.client, "laptop");
    HealthClient::new(served.channel).check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_work_within_a_second() {
    let served = serve(false).await;
    let mut client = InferenceClient::new(served.channel);
    let mut stream = client.generate(generate("endless")).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    reaches(&served.desk.dropped, 1, Duration::from_secs(1)).await;

    tokio::select! {
        answer = client.generate(generate("never")) => panic!("{answer:?}"),
        () = reaches(&served.desk.begun, 2, PATIENCE) => {}
    }
    reaches(&served.desk.dropped, 2, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn health_follows_the_desk() {
    let served = serve(false).await;
    let request = HealthCheckRequest { service: "taskmaster.inference.v1.Inference".to_owned() };
    let mut watch = HealthClient::new(served.channel).watch(request).await.unwrap().into_inner();
    let mut becomes = async |status: i32| {
        let seen = async { while watch.next().await.unwrap().unwrap().status != status {} };
        tokio::time::timeout(PATIENCE, seen).await.unwrap();
    };
    becomes(1).await;
    *served.desk.is_ready.lock().unwrap() = false;
    becomes(2).await;
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let served = serve(false).await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(served.channel);
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    insta::assert_snapshot!(names.join("\n"));
}

#[tokio::test]
async fn a_stopping_server_ends_within_its_drain_time() {
    let served = serve(false).await;
    let mut client = InferenceClient::new(served.channel);
    let mut stream = client.generate(generate("endless")).await.unwrap().into_inner();
    assert!(stream.next().await.unwrap().is_ok());
    served.cancel.cancel();
    served.tracker.close();
    tokio::time::timeout(PATIENCE, served.tracker.wait()).await.unwrap();
    reaches(&served.desk.dropped, 1, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn who_makes_a_change_stands_in_the_metadata_where_the_message_has_no_place_for_it() {
    let bed = crate::projects::Bed::garden().await;
    let served = serve_desk(bed.server.desk.clone()).await;
    let place = Some(proto::planning::Place { project: "garden".into(), tag: String::new() });
    let mut request = Request::new(proto::planning::UndoRequest { place, revision: 0, dry_run: false });
    request.metadata_mut().insert("x-tm-who", "tmctl".parse().unwrap());
    PlanningClient::new(served.channel).undo(request).await.unwrap();
    assert_eq!(bed.get("/api/projects/garden/history").await["items"][0]["who"], "tmctl");
}

#[tokio::test]
async fn a_project_gets_models_of_its_own_and_is_told_of_those_that_are_away() {
    let bed = crate::projects::Bed::garden().await;
    let served = serve_desk(bed.server.desk.clone()).await;
    let mut client = PlanningClient::new(served.channel);
    let request = ChangeProjectRequest {
        project: "garden".into(),
        main_model: Some("llama3.1:8b".into()),
        research_model: Some("away".into()),
        ..ChangeProjectRequest::default()
    };
    let changed = client.change_project(request).await.unwrap().into_inner();
    assert_eq!(changed.notes.len(), 1, "{:?}", changed.notes);
    assert!(changed.notes[0].starts_with("nobody offers `away` now"), "{:?}", changed.notes);
    let own = OwnModels { main: "llama3.1:8b".into(), research: "away".into(), fallback: String::new() };
    assert_eq!(changed.project.unwrap().models, Some(own));
}

#[tokio::test]
async fn a_tag_tells_of_its_changes_until_the_server_stops() {
    let bed = crate::projects::Bed::garden().await;
    let served = serve_desk(bed.server.desk.clone()).await;
    let place = Some(Place { project: "garden".into(), tag: String::new() });
    let request = WatchTagRequest { place };
    let mut told = PlanningClient::new(served.channel).watch_tag(request).await.unwrap().into_inner();
    let mut next = async || tokio::time::timeout(PATIENCE, told.next()).await.unwrap();
    let before = next().await.unwrap().unwrap();
    let done = json!({ "edits": [{ "edit": "set-status", "ids": ["1"], "status": "done" }] });
    bed.call("POST", "/api/projects/garden/edits", &done).await;
    let after = next().await.unwrap().unwrap();
    assert_eq!((after.tag.as_str(), after.revision), ("master", before.revision + 1));
    served.cancel.cancel();
    assert!(next().await.is_none(), "a stopping server lets its watchers go");
}

#[tokio::test]
async fn mcp_goes_through_a_stream_and_ends_with_it() {
    let bed = crate::projects::Bed::garden().await;
    let served = serve_desk(bed.server.desk.clone()).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<McpRequest>(8);
    let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    request.metadata_mut().insert("x-tm-tools", "core".parse().unwrap());
    request.metadata_mut().insert("x-tm-who", "editor".parse().unwrap());
    let mut answers = PlanningClient::new(served.channel).mcp(request).await.unwrap().into_inner();
    let mut ask = async |message: serde_json::Value| -> serde_json::Value {
        sender.send(McpRequest { message: message.to_string().into() }).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        serde_json::from_slice(&answer.message).unwrap()
    };
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" },
    } });
    assert_eq!(ask(hello).await["result"]["serverInfo"]["name"], "taskmaster");
    let unread = ask(json!({ "jsonrpc": "2.0", "id": 2, "method": 5 })).await;
    assert_eq!((&unread["id"], &unread["error"]["code"]), (&json!(2), &json!(-32700)));
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
    sender.send(McpRequest { message: initialized.into() }).await.unwrap();
    let mut ask = async |id: u32, method: &str, params: serde_json::Value| {
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        sender.send(McpRequest { message: message.to_string().into() }).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        serde_json::from_slice::<serde_json::Value>(&answer.message).unwrap()
    };
    assert_eq!(ask(3, "tools/list", json!({})).await["result"]["tools"].as_array().map(Vec::len), Some(8));
    let arguments = json!({ "id": "1", "status": "done" });
    let set = ask(4, "tools/call", json!({ "name": "set_task_status", "arguments": arguments })).await;
    assert_eq!(set["result"]["isError"], false, "{set}");
    assert_eq!(bed.get("/api/projects/garden/history").await["items"][0]["who"], "editor");
    drop(sender);
    let end = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}

#[tokio::test]
async fn an_mcp_call_that_is_cancelled_takes_its_job_along() {
    let bed = crate::projects::Bed::garden().await;
    let served = serve_desk(bed.server.desk.clone()).await;
    let (sender, receiver) = tokio::sync::mpsc::channel::<McpRequest>(8);
    let request = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = PlanningClient::new(served.channel).mcp(request).await.unwrap().into_inner();
    let send = async |message: serde_json::Value| {
        sender.send(McpRequest { message: message.to_string().into() }).await.unwrap();
    };
    let hello =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    send(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello })).await;
    answers.next().await.unwrap().unwrap();
    send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    let state = async || {
        let jobs = bed.get("/api/jobs").await;
        jobs["items"][0]["state"].as_str().unwrap_or_default().to_owned()
    };
    let call = json!({ "name": "expand_task", "arguments": { "project": "garden", "id": "1" } });
    send(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call })).await;
    until(async || state().await == "waiting").await;
    send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 2 } })).await;
    until(async || state().await == "cancelled").await;
    send(json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" })).await;
    let answer = tokio::time::timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.message).unwrap();
    assert_eq!(answer["id"], 3, "a cancelled call is not answered");
}
