//! Every door has its row, and opens to the keys that the row names and to no other.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use api::scopes::{self, GRPC, HTTP, Need, TOOLS};
use base::Scope;
use prost::Message;
use proto::admin::admin_client::AdminClient;
use proto::admin::{SetModeRequest, WatchEventsRequest};
use proto::inference::ListModelsRequest;
use proto::inference::inference_client::InferenceClient;
use proto::planning::planning_client::PlanningClient;
use proto::planning::{McpRequest, Place, WatchTagRequest};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use crate::client::{PATIENCE, read_until, request, send};
use crate::desk::{Script, Server, limits, serve_desk};
use crate::projects::Bed;

const MCP_HEADERS: &str = "content-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-06-18\r\n";

/// Every source file of the HTTP face.
fn sources(folder: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, all),
            false => all.push(std::fs::read_to_string(path).unwrap()),
        }
    }
}

/// What is routed, as it stands in the code.
fn routes() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![std::fs::read_to_string(source.join("http.rs")).unwrap()];
    sources(&source.join("http"), &mut files);
    let mut found = BTreeSet::new();
    for file in &files {
        for (at, _) in file.match_indices(".route(") {
            let argument = file[at + ".route(".len()..].trim_start();
            let path = match argument.strip_prefix('"') {
                Some(text) => text.split('"').next().unwrap(),
                None => match argument.split(',').next().unwrap() {
                    "PATH" => "/mcp",
                    "OPENAPI" => "/openapi.json",
                    "AGENT" => "/v1/agent",
                    "GITHUB" => "/hooks/github",
                    // Files of the page, which hold no data and want no key.
                    "asset.path" => continue,
                    other => panic!("nobody knows what is at `{other}`"),
                },
            };
            found.insert(path.to_owned());
        }
        if let Some((_, asks)) = file.split_once("fn ask_route(") {
            let asks = asks.split("_ => return None").next().unwrap();
            found.extend(asks.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_route_has_a_row_and_every_row_a_route() {
    let routes = routes();
    assert!(routes.len() > 60, "{routes:?}");
    let rows: BTreeSet<String> = HTTP.iter().map(|(_, route, _)| (*route).to_owned()).collect();
    assert_eq!(routes, rows);
}

#[test]
fn every_method_of_the_protos_has_a_row_and_every_row_a_method() {
    let files = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap().file;
    let mut methods = BTreeSet::new();
    for file in &files {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| format!("/{name}/{}", method.name())));
        }
    }
    assert!(methods.len() > 60, "{methods:?}");
    let rows = GRPC.iter().flat_map(|(service, _, names)| names.iter().map(move |name| format!("/{service}/{name}")));
    assert_eq!(methods, rows.collect());
}

#[tokio::test]
async fn every_tool_has_a_row_and_every_row_a_tool() {
    let bed = Bed::garden().await;
    let listed = bed.messages("/mcp", "tools/list", json!({})).await.pop().unwrap();
    let tools: BTreeSet<&str> =
        listed["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(tools.len() > 40, "{tools:?}");
    assert_eq!(tools, TOOLS.iter().flat_map(|(_, names)| names.iter().copied()).collect());
    assert!(tools.iter().all(|tool| scopes::of_tool(tool).is_some()));
}

/// The status that a key gets, without the rest of the answer.
async fn status(server: &Server, method: &str, path: &str, key: &str) -> u16 {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let headers = format!("{MCP_HEADERS}authorization: Bearer {key}\r\n");
    stream.write_all(request(method, path, &headers, "{}").as_bytes()).await.unwrap();
    let head = read_until(&mut stream, "\r\n").await;
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_route_opens_to_its_scope_and_to_no_other() {
    let server = serve_desk(limits(), Script::new(true)).await;
    for (methods, route, need) in HTTP {
        let path: String =
            route.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
        for method in methods.split(' ') {
            let without = send(server.address, method, &path, "", "{}").await;
            // A delivery of GitHub's proves itself by its signature, and has none here.
            let wants_key = *need != Need::Open || *route == "/hooks/github";
            assert_eq!(without.status == 401, wants_key, "{method} {path}: {without:?}");
            if *need == Need::Open {
                continue;
            }
            for scope in Scope::ALL {
                let status = status(&server, method, &path, scope.as_str()).await;
                let is_let_in = match need.scope() {
                    Some(wanted) => *scope == wanted || *scope == Scope::Admin,
                    None => true,
                };
                assert_eq!(status != 403, is_let_in, "{method} {path} with {scope}: {status}");
                assert_ne!(status, 401, "{method} {path} with {scope}");
            }
        }
    }
    // What came to the door is told in our own words, with where it came from.
    let calls = server.desk.calls.lock().unwrap();
    assert!(calls.iter().all(|(_, from)| from.is_some_and(|from| from.is_loopback())));
    assert!(calls.iter().any(|(call, _)| call == "/api/projects/{project}/tasks/{ids}"));
    assert!(!calls.iter().any(|(call, _)| call.contains("/x")), "{calls:?}");
}

async fn call(channel: &Channel, path: &str, key: &str) -> Result<(), tonic::Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let request = with_key((), key);
    let codec = ProstCodec::<(), ()>::default();
    // A stream is answered by its first message here; who is not let in gets none.
    let called = grpc.unary(request, path.parse().unwrap(), codec);
    match tokio::time::timeout(Duration::from_secs(1), called).await {
        Ok(answer) => answer.map(drop),
        // It is let in, and waits for more.
        Err(_) => Ok(()),
    }
}

fn with_key<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

#[tokio::test]
async fn a_method_opens_to_its_scope_and_to_no_other() {
    let served = crate::grpc::serve(true).await;
    for (service, need, methods) in GRPC {
        for method in *methods {
            let path = format!("/{service}/{method}");
            assert_eq!(
                call(&served.channel, &path, "wrong").await.unwrap_err().code(),
                Code::Unauthenticated,
                "{path}"
            );
            for scope in Scope::ALL {
                let is_let_in = need.scope().is_none_or(|wanted| *scope == wanted || *scope == Scope::Admin);
                if is_let_in {
                    continue;
                }
                let refused = call(&served.channel, &path, scope.as_str()).await.unwrap_err();
                assert_eq!(refused.code(), Code::PermissionDenied, "{path} with {scope}");
                assert!(proto::from_status(&refused).hint.unwrap().contains("--scope"), "{path}");
            }
        }
    }
    let mut admin = AdminClient::new(served.channel.clone());
    admin.set_mode(with_key(SetModeRequest::default(), "admin")).await.unwrap();
    let unknown = call(&served.channel, "/taskmaster.admin.v1.Admin/Fly", "admin").await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_key_in_an_address_is_refused_in_the_shape_of_each_face() {
    let server = serve_desk(limits(), Script::new(true)).await;
    let real = format!("tm-{}", "a".repeat(43));
    for (path, field) in [
        ("/v1/models?api_key=secret".to_owned(), "message"),
        (format!("/v1/chat/completions?x={real}"), "message"),
        (format!("/api/tags?key={real}"), "error"),
        (format!("/api/cluster/nodes?{real}"), "hint"),
        (format!("/mcp?token={real}"), "hint"),
    ] {
        let key = if path.contains("api_key") { "" } else { "authorization: Bearer secret\r\n" };
        let method = if path.contains("chat") || path.contains("mcp") { "POST" } else { "GET" };
        let reply = send(server.address, method, &path, key, r#"{"model":"m","messages":[]}"#).await;
        assert_eq!(reply.status, 401, "{path}: {reply:?}");
        assert!(reply.body.contains(field) && !reply.body.contains(&real), "{path}: {reply:?}");
    }
    // A name of another meaning is none of ours to refuse where the key came as it should.
    let reply = send(server.address, "GET", "/v1/models?token=x", "authorization: Bearer secret\r\n", "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn a_key_for_one_model_sees_one_model_in_every_list() {
    let server = serve_desk(limits(), Script::new(true)).await;
    let (one, all) = ("authorization: Bearer infer\r\n", "authorization: Bearer secret\r\n");
    for path in ["/v1/models", "/models", "/api/tags"] {
        let seen = send(server.address, "GET", path, one, "").await;
        assert!(seen.body.contains("llama3.1:8b") && !seen.body.contains("phi"), "{path}: {seen:?}");
        assert!(send(server.address, "GET", path, all, "").await.body.contains("phi"), "{path}");
    }
    for (method, path, body) in
        [("GET", "/v1/models/org/phi:latest", ""), ("POST", "/api/show", r#"{"model":"org/phi"}"#)]
    {
        assert_eq!(send(server.address, method, path, one, body).await.status, 404, "{path}");
        assert_eq!(send(server.address, method, path, all, body).await.status, 200, "{path}");
    }
    let served = crate::grpc::serve(true).await;
    let mut client = InferenceClient::new(served.channel);
    let mut names = async |key: &str| {
        let listed = client.list_models(with_key(ListModelsRequest {}, key)).await.unwrap().into_inner().models;
        listed.into_iter().map(|model| model.name).collect::<Vec<_>>()
    };
    assert_eq!(names("infer").await, ["llama3.1:8b"]);
    assert_eq!(names("secret").await.len(), 2);
}

async fn tool(server: &Server, key: &str, name: &str) -> Value {
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": {"query": "disks"} },
    });
    let headers = format!("{MCP_HEADERS}authorization: Bearer {key}\r\n");
    let reply = send(server.address, "POST", "/mcp", &headers, &message.to_string()).await;
    let lines = reply.body.lines().filter_map(|line| line.strip_prefix("data:"));
    let mut said = lines.filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    said.next_back().unwrap_or_else(|| panic!("{reply:?}"))["result"]["structuredContent"].clone()
}

#[tokio::test]
async fn a_tool_is_called_with_its_own_scope() {
    let server = serve_desk(limits(), Script::new(true)).await;
    for (key, name, is_let_in) in [
        ("tasks", "get_tasks", true),
        ("tasks", "search_documents", false),
        ("research", "search_documents", true),
        ("research", "get_tasks", false),
        ("read", "cluster_status", true),
        ("infer", "cluster_status", false),
        ("admin", "cluster_status", true),
    ] {
        let said = tool(&server, key, name).await;
        assert_eq!(said["error"]["code"] != "permission_denied", is_let_in, "{name} with {key}: {said}");
    }
}

#[tokio::test]
async fn what_stays_open_ends_with_its_key() {
    let server = serve_desk(limits(), Script::new(true)).await;
    let mut live = TcpStream::connect(server.address).await.unwrap();
    live.write_all(request("GET", "/api/cluster/live", "authorization: Bearer read\r\n", "").as_bytes()).await.unwrap();
    read_until(&mut live, "event: picture").await;
    let served = crate::grpc::serve(true).await;
    let mut planning = PlanningClient::new(served.channel.clone());
    let (messages, incoming) = tokio::sync::mpsc::channel::<McpRequest>(1);
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let mut mcp = planning.mcp(with_key(incoming, "tasks")).await.unwrap().into_inner();
    // Watching what is not there is an answer of its own, and no lasting stream.
    let place = Place { project: "none".to_owned(), tag: "master".to_owned() };
    assert!(planning.watch_tag(with_key(WatchTagRequest { place: Some(place) }, "tasks")).await.is_err());
    let mut events =
        AdminClient::new(served.channel).watch_events(with_key(WatchEventsRequest {}, "read")).await.unwrap();
    assert_eq!(events.get_mut().message().await.unwrap().unwrap().kind, "node");

    server.desk.key_ended.send_replace(true);
    let mut rest = Vec::new();
    // It is broken off, whether the connection is closed or reset.
    let _ = tokio::time::timeout(PATIENCE, live.read_to_end(&mut rest)).await.unwrap();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    served.desk.key_ended.send_replace(true);
    let ended = tokio::time::timeout(PATIENCE, mcp.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated);
    drop(messages);
}
