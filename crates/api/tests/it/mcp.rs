//! MCP over HTTP: raw JSON-RPC, as any client sends it.

use std::sync::Arc;

use api::Desk;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{PATIENCE, Reply, exchange, request, send};
use crate::projects::Bed;

const HEADERS: &str = "content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
    mcp-protocol-version: 2025-06-18\r\n";

impl Bed {
    async fn post(&self, path: &str, message: &Value) -> Reply {
        send(self.server.address, "POST", path, HEADERS, &message.to_string()).await
    }

    /// Every message of the answer.
    pub async fn messages(&self, path: &str, method: &str, params: Value) -> Vec<Value> {
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let reply = self.post(path, &message).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let lines = reply.body.lines().filter_map(|line| line.strip_prefix("data:"));
        lines.filter_map(|line| serde_json::from_str(line.trim()).ok()).collect()
    }

    async fn rpc(&self, method: &str, params: Value) -> Value {
        self.messages("/mcp", method, params).await.pop().unwrap()
    }

    /// The result of a tool.
    async fn result(&self, name: &str, arguments: Value) -> Value {
        let answer = self.rpc("tools/call", json!({ "name": name, "arguments": arguments })).await;
        answer.get("result").unwrap_or_else(|| panic!("{name}: {answer}")).clone()
    }

    /// The data of a tool that does what it is called for.
    pub async fn tool(&self, name: &str, arguments: Value) -> Value {
        let result = self.result(name, arguments).await;
        assert_eq!(result["isError"], false, "{name}: {result}");
        let said: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(said, result["structuredContent"], "{name}");
        said["data"].clone()
    }

    /// The code and the text of a tool that refuses.
    pub async fn refusal(&self, name: &str, arguments: Value) -> (String, String) {
        let result = self.result(name, arguments).await;
        assert_eq!(result["isError"], true, "{name}: {result}");
        let code = result["structuredContent"]["error"]["code"].as_str().unwrap();
        (code.to_owned(), result["content"][0]["text"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_client_shakes_hands_and_sees_the_tools_of_its_set() {
    let bed = Bed::garden().await;
    let hello =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let answer = bed.rpc("initialize", hello).await;
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
    assert_eq!(answer["result"]["serverInfo"]["name"], "taskmaster");
    let told = bed.post("/mcp", &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    assert_eq!(told.status, 202);
    let tools = bed.rpc("tools/list", json!({})).await["result"]["tools"].as_array().unwrap().clone();
    assert!(tools.len() > 40 && tools.iter().all(|tool| tool["outputSchema"]["required"][0] == "data"));
    let next = tools.iter().find(|tool| tool["name"] == "next_task").unwrap();
    assert_eq!(next["annotations"]["readOnlyHint"], true);
    let core = bed.messages("/mcp?tools=core", "tools/list", json!({})).await.pop().unwrap();
    assert_eq!(core["result"]["tools"].as_array().map(Vec::len), Some(8));
    let unknown = bed.rpc("tools/call", json!({ "name": "burn", "arguments": {} })).await;
    assert_eq!(unknown["error"]["code"], -32602);
}

#[tokio::test]
async fn each_group_of_tools_does_its_work() {
    let bed = Bed::garden().await;
    let at = |more: Value| {
        let mut arguments = json!({ "projectRoot": "/srv/ada/garden" });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    let made = bed.tool("initialize_project", json!({ "projectRoot": "/srv/ada/my shed" })).await;
    assert_eq!((&made["project"]["name"], &made["isNew"]), (&json!("my-shed"), &json!(true)));
    assert_eq!(bed.tool("response-language", at(json!({ "language": "German" }))).await["responseLanguage"], "German");

    assert_eq!(bed.tool("next_task", at(json!({}))).await["nextTask"]["id"], "1");
    let set = bed.tool("set_task_status", at(json!({ "id": "1", "status": "done" }))).await;
    assert_eq!(set["tasks"][0]["status"], "done");
    let steps = bed.tool("suggest_next_steps", at(json!({}))).await;
    assert_eq!(steps["next"]["id"], "2", "{steps}");
    let noted = bed.tool("update_task_progress", at(json!({ "id": 2, "status": "in-progress", "note": "dug" }))).await;
    assert!(noted["tasks"][0]["details"].as_str().unwrap().contains("<info added on "), "{noted}");

    let added = bed.tool("add_task", at(json!({ "title": "fence", "dependencies": "1,2", "priority": "low" }))).await;
    assert_eq!(added["added"], json!(["3"]));
    let sub = bed.tool("add_subtask", at(json!({ "id": "2", "title": "mulch", "dependencies": "1" }))).await;
    assert_eq!(sub["added"], json!(["2.2"]));
    assert_eq!(bed.tool("get_task", at(json!({ "id": "2.2" }))).await["dependencies"], json!(["2.1"]));
    assert_eq!(bed.tool("get_task", at(json!({ "id": "2,3" }))).await["total"], 2);
    bed.tool("remove_dependency", at(json!({ "id": "3", "dependsOn": "2" }))).await;
    bed.tool("add_dependency", at(json!({ "id": "3", "dependsOn": "2" }))).await;
    assert_eq!(bed.tool("validate_dependencies", at(json!({}))).await["isValid"], true);
    bed.tool("fix_dependencies", at(json!({}))).await;
    bed.tool("update_task", at(json!({ "id": "3", "metadata": "{\"cost\":1.50}" }))).await;
    bed.tool("move_task", at(json!({ "from": "3", "to": "7" }))).await;
    bed.tool("remove_subtask", at(json!({ "id": "2.2", "convert": true }))).await;
    bed.tool("clear_subtasks", at(json!({ "id": "2" }))).await;
    bed.tool("remove_task", at(json!({ "id": "7" }))).await;
    assert_eq!(bed.tool("undo", at(json!({}))).await["tasks"][0]["id"], "7");
    assert_eq!(bed.tool("get_task", at(json!({ "id": "7" }))).await["metadata"]["cost"], 1.5);

    bed.tool("add_tag", at(json!({ "name": "later", "copyFromCurrent": true }))).await;
    bed.tool("copy_tag", at(json!({ "sourceName": "later", "targetName": "never" }))).await;
    bed.tool("rename_tag", at(json!({ "oldName": "never", "newName": "soon" }))).await;
    assert_eq!(bed.tool("use_tag", at(json!({ "name": "later" }))).await["currentTag"], "later");
    bed.tool("delete_tag", at(json!({ "name": "soon" }))).await;
    assert_eq!(bed.tool("list_tags", at(json!({}))).await["totalTags"], 2);

    let files = bed.tool("generate", at(json!({}))).await;
    assert!(files["files"][0]["text"].as_str().unwrap().contains("dig"), "{files}");
    assert!(bed.tool("complexity_report", at(json!({}))).await["report"]["complexityAnalysis"].is_array());
    let research = bed.tool("research", at(json!({ "query": "how do I plant?", "detailLevel": "low" }))).await;
    assert!(research["result"].as_str().unwrap().contains("knowledge base"), "{research}");
    bed.tool("research", at(json!({ "query": "how do I plant?", "saveTo": "2" }))).await;
    assert_eq!(bed.tool("models", json!({})).await["models"][0]["name"], "llama3.1:8b");
    let set = bed.tool("models", at(json!({ "setMain": "llama3.1:8b", "setResearch": "away" }))).await;
    assert_eq!(set["roles"], json!({ "main": "llama3.1:8b", "research": "away", "fallback": "fallback" }));
    assert!(set["notes"][0].as_str().unwrap().starts_with("nobody offers `away` now"), "{set}");
    let set = bed.tool("models", at(json!({ "setMain": "" }))).await;
    assert_eq!((&set["roles"]["main"], &set["roles"]["research"]), (&json!("main"), &json!("away")));
    assert_eq!(bed.tool("cluster_status", json!({})).await["nodes"][0]["name"], "grey-area");
}

#[tokio::test]
async fn a_list_comes_a_page_at_a_time_with_the_fields_that_are_wanted() {
    let bed = Bed::garden().await;
    let page = bed.tool("get_tasks", json!({ "project": "garden", "limit": "1" })).await;
    assert_eq!((&page["total"], &page["nextOffset"], &page["tasks"][0]["id"]), (&json!(2), &json!(1), &json!("1")));
    assert!(page["tasks"][0].get("details").is_none());
    let page = bed.tool("get_tasks", json!({ "limit": 5, "offset": 1, "withSubtasks": true, "fields": "title" })).await;
    let expected = json!({ "id": "2", "title": "plant", "subtasks": [{ "id": "2.1", "title": "water" }] });
    assert_eq!((&page["tasks"][0], &page["nextOffset"]), (&expected, &Value::Null));
}

#[tokio::test]
async fn what_is_refused_says_why_and_changes_nothing() {
    let bed = Bed::garden().await;
    let mut shown = String::new();
    for (name, arguments) in [
        ("get_task", json!({ "id": "9" })),
        ("get_task", json!({})),
        ("get_tasks", json!({ "project": "shed" })),
        ("set_task_status", json!({ "id": "1", "status": "ready" })),
        ("set_task_status", json!({ "id": "one", "status": "done" })),
        ("set_task_status", json!({ "id": "1", "status": "done", "expectedVersion": 5 })),
        ("add_dependency", json!({ "id": "1", "dependsOn": "2" })),
        ("add_tag", json!({ "name": "master" })),
        ("delete_tag", json!({ "name": "master" })),
        ("add_task", json!({})),
        ("expand_task", json!({ "id": "9" })),
        ("scope_up_task", json!({ "id": "1", "strength": "huge" })),
        ("parse_prd", json!({ "input": "/etc/passwd" })),
        ("parse_prd", json!({ "prdText": "# Shed\nThe shed must have a door." })),
        ("job_status", json!({ "id": "job-0000000000000001" })),
    ] {
        let (code, text) = bed.refusal(name, arguments.clone()).await;
        assert!(text.contains("hint: "), "{name}: {text}");
        shown.push_str(&format!("{name} {arguments}\n{code}\n{text}\n\n"));
    }
    insta::assert_snapshot!(without_times(&shown));
    assert_eq!(bed.get("/api/projects/garden/history").await["total"], 1, "nothing was changed");
}

#[tokio::test]
async fn every_tool_says_how_a_missing_project_comes_to_be() {
    let bed = Bed::garden().await;
    for (name, arguments) in [
        ("get_tasks", json!({ "project": "shed" })),
        ("set_task_status", json!({ "project": "shed", "id": "1", "status": "done" })),
        ("undo", json!({ "project": "shed" })),
        ("expand_task", json!({ "project": "shed", "id": "1" })),
        ("list_tags", json!({ "project": "shed" })),
    ] {
        let (_, text) = bed.refusal(name, arguments).await;
        assert_eq!(text.matches("`initialize_project`").count(), 1, "{name}: {text}");
    }
    let (_, text) = bed.refusal("get_task", json!({ "id": "9" })).await;
    assert!(!text.contains("initialize_project"), "{text}");
}

/// Times are not the same twice.
fn without_times(text: &str) -> String {
    let mut parts = text.split("\"updatedAt\":\"");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        all.push_str("\"updatedAt\":\"TIME");
        all.push_str(part.find('"').map_or("", |end| &part[end..]));
    }
    all
}

#[tokio::test]
async fn an_argument_that_no_tool_has_is_named_and_ignored() {
    let bed = Bed::garden().await;
    let result = bed.result("next_task", json!({ "projcet": "x" })).await;
    assert_eq!(result["structuredContent"]["notes"][0], "not known and ignored: projcet");
    for (tool, arguments) in [("add_task", json!({ "titel": "x" })), ("set_task_status", json!({ "titel": "x" }))] {
        let (_, text) = bed.refusal(tool, arguments).await;
        assert!(text.ends_with("; not known and ignored: titel"), "{text}");
    }
    let (_, text) = bed.refusal("parse_prd", json!({ "prdText": "x", "numTasks": -5 })).await;
    assert!(text.contains("argument `numTasks` of `parse_prd` is not a whole number from 0 up, but -5"), "{text}");
}

#[tokio::test]
async fn a_long_job_gives_its_id_back_and_tells_how_far_it_is() {
    let bed = Bed::garden().await;
    let arguments = json!({ "project": "garden", "id": "1", "waitSeconds": 1 });
    let params = json!({ "name": "expand_task", "arguments": arguments, "_meta": { "progressToken": "p" } });
    let messages = bed.messages("/mcp", "tools/call", params).await;
    let data = &messages.last().unwrap()["result"]["structuredContent"]["data"];
    assert_eq!((&data["state"], &data["work"]), (&json!("waiting"), &json!("expand")));
    assert!(messages.iter().any(|message| message["method"] == "notifications/progress"), "{messages:?}");
    let id = data["job"].clone();
    assert_eq!(bed.tool("job_status", json!({ "project": "garden" })).await["jobs"][0]["job"], id);
    assert_eq!(bed.tool("cancel_job", json!({ "id": id })).await["state"], "cancelled");
    assert_eq!(bed.tool("job_status", json!({ "id": id })).await["state"], "cancelled");
}

impl Bed {
    /// Calls a tool that waits for a job, until `jobs` of them are there; dropping what it gives is going away.
    async fn open_call(&self, name: &str, arguments: Value, jobs: usize) -> TcpStream {
        let params = json!({ "name": name, "arguments": arguments });
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
        let mut client = TcpStream::connect(self.server.address).await.unwrap();
        client.write_all(request("POST", "/mcp", HEADERS, &message.to_string()).as_bytes()).await.unwrap();
        until(async || self.states().await.len() == jobs).await;
        client
    }

    /// Where the jobs stand, by the tasks that they are about.
    async fn states(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let jobs = self.get("/api/jobs").await["items"].as_array().unwrap().clone();
        jobs.iter().map(|job| (text(&job["job"]), text(&job["state"]))).collect()
    }

    async fn state(&self, job: &str) -> String {
        self.get(&format!("/api/jobs/{job}")).await["state"].as_str().unwrap().to_owned()
    }
}

/// Waits for a state.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.expect("it never came to that");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_job_that_nobody_else_knows() {
    let bed = Bed::garden().await;
    let expand = |more: Value| {
        let mut arguments = json!({ "project": "garden", "id": "1" });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    let handed_out = bed.tool("expand_task", expand(json!({ "waitSeconds": 0 }))).await["job"].clone();
    drop(bed.open_call("job_status", json!({ "id": handed_out }), 1).await);
    drop(bed.open_call("expand_task", expand(json!({ "key": "k" })), 2).await);
    drop(bed.open_call("expand_task", expand(json!({})), 3).await);
    until(async || bed.states().await.iter().any(|(_, state)| state == "cancelled")).await;
    let keyed = bed.tool("expand_task", expand(json!({ "key": "k", "waitSeconds": 0 }))).await["job"].clone();
    for known in [handed_out, keyed] {
        assert_eq!(bed.state(known.as_str().unwrap()).await, "waiting");
    }
    assert_eq!(bed.states().await.iter().filter(|(_, state)| state == "waiting").count(), 2);
}

#[tokio::test]
async fn a_node_that_stops_leaves_the_job_to_the_others() {
    let bed = Bed::garden().await;
    let client = bed.open_call("expand_task", json!({ "project": "garden", "id": "1" }), 1).await;
    bed.server.cancel.cancel();
    // Whatever works for the call has the desk.
    until(async || Arc::strong_count(&bed.server.desk) == 1).await;
    let jobs = bed.server.desk.planning().unwrap().jobs_of("garden").await.unwrap();
    assert!(jobs.len() == 1 && jobs[0].view.state == jobs::State::Waiting, "{jobs:?}");
    drop(client);
}

#[tokio::test]
async fn tasks_and_reports_are_resources() {
    let bed = Bed::garden().await;
    let list = bed.rpc("resources/list", json!({})).await;
    assert_eq!(list["result"]["resources"][0]["uri"], "task://garden/master");
    let read = async |uri: &str| bed.rpc("resources/read", json!({ "uri": uri })).await;
    let task = read("task://garden/master/2.1").await;
    assert!(task["result"]["contents"][0]["text"].as_str().unwrap().contains("water"), "{task}");
    let report = read("report://garden/master").await;
    assert_eq!(report["result"]["contents"][0]["mimeType"], "text/markdown");
    for uri in ["task://garden/master/9", "task://shed/master", "file:///etc/passwd", "nonsense"] {
        assert_eq!(read(uri).await["error"]["code"], -32002, "{uri}");
    }
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused_and_keys_are_asked_for() {
    let bed = Bed::new(true).await;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }).to_string();
    let keyed = format!("{HEADERS}authorization: Bearer secret\r\n");
    let address = bed.server.address;
    assert_eq!(send(address, "POST", "/mcp", &keyed, &body).await.status, 200);
    assert_eq!(send(address, "POST", "/mcp", HEADERS, &body).await.status, 401);
    let origin = format!("{keyed}origin: https://evil.example\r\n");
    let refused = send(address, "POST", "/mcp", &origin, &body).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains(r#""hint""#), "{refused:?}");
    let rebound = request("POST", "/mcp", &keyed, &body).replace("host: localhost", "host: evil.example");
    assert_eq!(exchange(address, rebound.as_bytes()).await.status, 403);
    let house = format!("{keyed}origin: http://localhost:6274\r\n");
    assert_eq!(send(address, "POST", "/mcp", &house, &body).await.status, 200);
    for method in ["GET", "DELETE"] {
        let reply = send(address, method, "/mcp", &keyed, "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
        assert!(reply.body.contains(r#""hint""#), "{}", reply.body);
    }
    for body in ["{", "[]", "{}", r#"{"jsonrpc": "2.0"}"#, r#"{"jsonrpc": "1.0", "id": 1, "method": "x"}"#] {
        let reply = send(address, "POST", "/mcp", &keyed, body).await;
        assert!(reply.status == 400 && reply.body.contains(r#""hint""#), "{body}: {}", reply.body);
    }
}
