//! Projects and jobs over REST.

use std::sync::Arc;
use std::time::Duration;

use api::http::HttpLimits;
use base::NodeId;
use planner::Planning;
use serde_json::{Value, json};
use store::SledStore;
use tempfile::TempDir;

use crate::client::{PATIENCE, Reply, read_until, request, send};
use crate::desk::{Script, Server, limits, serve_desk};

/// A server with projects in a store of its own, on which nobody works.
pub struct Bed {
    pub server: Server,
    _dir: TempDir,
}

impl Bed {
    pub async fn new(has_keys: bool) -> Self {
        Self::within(limits(), has_keys).await
    }

    async fn within(limits: HttpLimits, has_keys: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SledStore::open(dir.path()).unwrap().store);
        let planning = Arc::new(Planning::new(store, NodeId::from("grey-area")));
        let server = serve_desk(limits, Script::with_planning(has_keys, Some(planning))).await;
        Self { server, _dir: dir }
    }

    /// One with the project `garden`, in which 2 waits for 1, and 2.1 is a part of 2.
    pub async fn garden() -> Self {
        Self::garden_within(limits()).await
    }

    async fn garden_within(limits: HttpLimits) -> Self {
        let bed = Self::within(limits, false).await;
        bed.call("POST", "/api/projects", &json!({ "name": "garden" })).await;
        let edits = json!({ "edits": [
            { "edit": "add", "task": { "title": "dig", "priority": "high" } },
            { "edit": "add", "task": { "title": "plant", "dependencies": ["1"] } },
            { "edit": "add", "parent": "2", "task": { "title": "water" } },
        ]});
        assert_eq!(bed.call("POST", "/api/projects/garden/edits", &edits).await["added"], json!(["1", "2", "2.1"]));
        bed
    }

    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        send(self.server.address, method, path, "", &body).await
    }

    /// The answer of a call that works.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.send(method, path, body).await;
        assert!((200..300).contains(&reply.status), "{method} {path}: {reply:?}");
        serde_json::from_str(&reply.body).unwrap_or(Value::String(reply.body))
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, &Value::Null).await
    }
}

#[tokio::test]
async fn every_route_answers() {
    let bed = Bed::garden().await;
    assert_eq!(bed.get("/api/projects").await["items"][0]["name"], "garden");
    assert_eq!(bed.get("/api/projects/garden").await["currentTag"], "master");
    let change = json!({ "description": "beds and paths" });
    assert_eq!(bed.call("PATCH", "/api/projects/garden", &change).await["description"], "beds and paths");

    let tag = bed.call("POST", "/api/projects/garden/tags", &json!({ "name": "spring", "copyFrom": "master" })).await;
    assert_eq!((&tag["name"], &tag["tasks"]), (&json!("spring"), &json!(3)));
    assert_eq!(bed.get("/api/projects/garden/tags").await["total"], 2);
    let change = json!({ "name": "summer", "isCurrent": true });
    assert_eq!(bed.call("PATCH", "/api/projects/garden/tags/spring", &change).await["name"], "summer");
    assert_eq!(bed.get("/api/projects/garden").await["currentTag"], "summer");
    assert_eq!(bed.send("DELETE", "/api/projects/garden/tags/summer", &Value::Null).await.status, 204);

    assert_eq!(bed.get("/api/projects/garden/next").await["task"]["id"], "1");
    assert_eq!(bed.get("/api/projects/garden/check").await["isValid"], true);
    assert_eq!(bed.get("/api/projects/garden/history").await["total"], 1);
    for kind in ["tree", "svg", "report", "files", "readme", "complexity"] {
        let text = bed.get(&format!("/api/projects/garden/render/{kind}")).await.to_string();
        assert!(text.contains("plant") || kind == "complexity", "{kind}: {text}");
    }
    let undone = bed.call("POST", "/api/projects/garden/undo", &json!({ "dryRun": true })).await;
    let again = bed.call("POST", "/api/projects/garden/undo", &json!({ "dry_run": true })).await;
    assert_eq!(undone["changes"], again["changes"]);
    assert_eq!(undone["changes"].as_array().map(Vec::len), Some(3));

    let file = bed.get("/api/projects/garden/tasks.json").await;
    assert_eq!(file["master"]["tasks"][1]["dependencies"], json!([1]));
    let mut changed = file.clone();
    changed["master"]["tasks"][0]["title"] = json!("dig deep");
    let import = json!({ "tasksJson": changed, "base": file });
    let imported = bed.call("PUT", "/api/projects/garden/tasks.json", &import).await;
    assert_eq!((&imported["hasChanged"], &imported["conflicts"]), (&json!(true), &json!([])));
    assert_eq!(bed.get("/api/projects/garden/tasks/1").await["title"], "dig deep");

    bed.call("POST", "/api/projects/garden/tags", &json!({ "name": "later" })).await;
    let moving = json!({ "toTag": "later", "ids": ["2"], "dependencies": "cut" });
    assert_eq!(bed.call("POST", "/api/projects/garden/move", &moving).await["ids"], json!(["1"]));
    assert_eq!(bed.send("DELETE", "/api/projects/garden", &Value::Null).await.status, 204);
    assert_eq!(bed.get("/api/projects").await["total"], 0);
}

#[tokio::test]
async fn a_project_may_have_models_of_its_own_and_one_that_is_away_is_taken_with_a_note() {
    let bed = Bed::garden().await;
    let change = json!({ "models": { "main": "llama3.1:8b", "fallback": "fast" } });
    let changed = bed.call("PATCH", "/api/projects/garden", &change).await;
    let own = json!({ "main": "llama3.1:8b", "research": "", "fallback": "fast" });
    assert_eq!((&changed["models"], &changed["notes"]), (&own, &json!([])));
    let change = json!({ "models": { "main": "llama3.1:9b", "fallback": "" } });
    let changed = bed.call("PATCH", "/api/projects/garden", &change).await;
    let note = changed["notes"][0].as_str().unwrap();
    assert!(note.starts_with("nobody offers `llama3.1:9b` now (nearest names: llama3.1:8b"), "{note}");
    let own = json!({ "main": "llama3.1:9b", "research": "", "fallback": "" });
    assert_eq!(bed.get("/api/projects/garden").await["models"], own);
}

#[tokio::test]
async fn a_list_of_tasks_goes_by_its_filters_a_page_at_a_time() {
    let bed = Bed::garden().await;
    let ids = async |query: &str| -> Vec<Value> {
        let list = bed.get(&format!("/api/projects/garden/tasks?{query}")).await;
        list["items"].as_array().unwrap().iter().map(|task| task["id"].clone()).collect()
    };
    assert_eq!(ids("").await, ["1", "2"]);
    assert_eq!(ids("status=done,pending&offset=1&limit=5").await, ["2"]);
    assert_eq!(ids("priority=high").await, ["1"]);
    assert_eq!(ids("ready=true").await, ["1"]);
    assert_eq!(ids("text=PLANT").await, ["2"]);
    assert_eq!(ids("ids=2.1").await, ["2.1"]);
    let page = bed.get("/api/projects/garden/tasks?limit=1&subtasks=false").await;
    assert_eq!((&page["total"], page["items"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    assert_eq!(bed.get("/api/projects/garden/tasks/1,2.1").await["total"], 2);
}

#[tokio::test]
async fn a_tag_that_was_deleted_does_not_come_back_with_the_file() {
    let bed = Bed::garden().await;
    bed.call("POST", "/api/projects/garden/tags", &json!({ "name": "spring", "copyFrom": "master" })).await;
    let file = bed.get("/api/projects/garden/tasks.json").await;
    bed.send("DELETE", "/api/projects/garden/tags/spring", &Value::Null).await;
    let mut changed = file.clone();
    let import = json!({ "tasksJson": file, "base": file });
    let imported = bed.call("PUT", "/api/projects/garden/tasks.json", &import).await;
    assert_eq!((&imported["hasChanged"], imported["tasksJson"].get("spring")), (&json!(false), None));
    changed["spring"]["tasks"][0]["title"] = json!("sow");
    let import = json!({ "tasksJson": changed, "base": file });
    let imported = bed.call("PUT", "/api/projects/garden/tasks.json", &import).await;
    assert_eq!(imported["tasksJson"]["spring"]["tasks"][0]["title"], "sow", "what was changed there is not lost");
}

#[tokio::test]
async fn who_comes_second_is_shown_both_versions() {
    let bed = Bed::garden().await;
    let edit = |title: &str| json!({ "edits": [{ "edit": "change", "id": "1", "fields": { "title": title } }], "expected": [["1", 1]] });
    bed.call("POST", "/api/projects/garden/edits", &edit("first")).await;
    let reply = bed.send("POST", "/api/projects/garden/edits", &edit("second")).await;
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((reply.status, &body["error"]["code"]), (409, &json!("conflict")));
    assert_eq!(body["conflict"]["theirs"]["title"], "first");
    assert_eq!(body["conflict"]["yours"][0]["after"], "second");
    assert_eq!(bed.get("/api/projects/garden/tasks/1").await["title"], "first");
}

#[tokio::test]
async fn errors_have_a_shape_of_their_own_with_code_and_hint() {
    let bed = Bed::garden().await;
    let edits = |edit: Value| json!({ "edits": [edit] });
    let mut shown = String::new();
    for (method, path, body) in [
        ("GET", "/api/projects/gardn", Value::Null),
        ("GET", "/api/projects/garden/tasks/9", Value::Null),
        ("GET", "/api/projects/garden/tasks?status=ready", Value::Null),
        ("GET", "/api/projects/garden/tasks?limit=many", Value::Null),
        ("GET", "/api/projects/garden/history?id=1,2", Value::Null),
        ("GET", "/api/projects/garden/render/gif", Value::Null),
        ("POST", "/api/projects", json!({ "name": "garden" })),
        ("POST", "/api/projects", json!({ "title": "garden" })),
        ("POST", "/api/projects/garden/tags", json!({ "name": "master" })),
        ("POST", "/api/projects/garden/edits", edits(json!({ "edit": "add-dependency", "id": "1", "on": "2" }))),
        ("POST", "/api/projects/garden/edits", edits(json!({ "edit": "set-status", "ids": ["1"], "status": "open" }))),
        ("POST", "/api/projects/garden/edits", edits(json!({ "edit": "burn" }))),
        ("POST", "/api/projects/garden/jobs", json!({ "work": "expand", "ids": ["9"] })),
        ("GET", "/api/jobs/nonsense", Value::Null),
        ("PUT", "/api/projects/garden/tasks.json", json!([1])),
        ("PUT", "/api/projects/garden", Value::Null),
        ("GET", "/api/projects/garden/nothing", Value::Null),
        ("POST", "/api/projects/garden/edits", json!([])),
    ] {
        let reply = bed.send(method, path, &body).await;
        shown.push_str(&format!("{method} {path} {body}\n{} {}\n\n", reply.status, reply.body));
    }
    let bad = send(bed.server.address, "POST", "/api/projects/garden/edits", "", "{\"edits\":[").await;
    shown.push_str(&format!("bad JSON\n{} {}\n", bad.status, bad.body));
    insta::assert_snapshot!(shown);
    assert_eq!(bed.get("/api/projects/garden/history").await["total"], 1, "nothing was changed");
}

#[tokio::test]
async fn what_a_refusal_gives_as_an_example_can_be_sent() {
    let bed = Bed::garden().await;
    for (method, path) in [
        ("POST", "/api/projects"),
        ("PATCH", "/api/projects/garden"),
        ("POST", "/api/projects/garden/tags"),
        ("PATCH", "/api/projects/garden/tags/master"),
        ("POST", "/api/projects/garden/edits"),
        ("POST", "/api/projects/garden/move"),
        ("POST", "/api/projects/garden/undo"),
        ("POST", "/api/projects/garden/jobs"),
    ] {
        let refused = bed.send(method, path, &json!([])).await;
        let body: Value = serde_json::from_str(&refused.body).unwrap();
        let hint = body["error"]["hint"].as_str().unwrap();
        for example in hint.split_once("such as ").unwrap().1.split(", or ") {
            let reply = bed.send(method, path, &serde_json::from_str(example).unwrap()).await;
            assert!(!reply.body.contains("could not read the body"), "{path} {example}: {}", reply.body);
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_the_words_of_projects() {
    let bed = Bed::within(HttpLimits { body: 100, ..limits() }, false).await;
    let reply = bed.send("POST", "/api/projects", &json!({ "name": "x".repeat(200) })).await;
    assert!(reply.status == 413 && !reply.body.contains("prompt"), "{}", reply.body);
}

#[tokio::test]
async fn a_job_is_shown_until_it_has_ended() {
    let bed = Bed::garden().await;
    let start =
        json!({ "work": "parse-prd", "prd": "# Shed\n\nThe shed must have a door.", "append": true, "once": "k" });
    let job = bed.call("POST", "/api/projects/garden/jobs", &start).await;
    let again = bed.call("POST", "/api/projects/garden/jobs", &start).await;
    assert_eq!((&job["state"], &job["job"]), (&json!("waiting"), &again["job"]));
    let other = json!({ "work": "do", "text": "mark 1 as done", "once": "k" }).to_string();
    let refused = send(bed.server.address, "POST", "/api/projects/garden/jobs", "", &other).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    let id = job["job"].as_str().unwrap();
    assert_eq!(bed.get("/api/jobs?project=garden").await["items"][0]["work"], "parse-prd");
    assert_eq!(bed.get("/api/projects/garden/jobs").await["total"], 1);

    let mut stream = tokio::net::TcpStream::connect(bed.server.address).await.unwrap();
    let asked = request("GET", &format!("/api/jobs/{id}/events"), "", "");
    tokio::io::AsyncWriteExt::write_all(&mut stream, asked.as_bytes()).await.unwrap();
    read_until(&mut stream, "\"waiting\"").await;
    assert_eq!(bed.call("DELETE", &format!("/api/jobs/{id}"), &Value::Null).await["state"], "cancelled");
    read_until(&mut stream, "\"cancelled\"").await;
}

#[tokio::test]
async fn edits_that_are_sent_once_more_are_made_once() {
    let bed = Bed::garden().await;
    let edits = |title: &str| json!({ "edits": [{ "edit": "add", "task": { "title": title } }], "once": "k" });
    let first = bed.call("POST", "/api/projects/garden/edits", &edits("Sieve")).await;
    assert_eq!(bed.call("POST", "/api/projects/garden/edits", &edits("Sieve")).await["added"], first["added"]);
    let other = edits("Rake").to_string();
    let refused = send(bed.server.address, "POST", "/api/projects/garden/edits", "", &other).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert_eq!(bed.get("/api/projects/garden/history").await["total"], 2);
}

#[tokio::test]
async fn who_watches_a_job_hears_signs_of_life_and_holds_no_node_that_stops() {
    let limits = HttpLimits { heartbeat: Duration::from_millis(20), drain: PATIENCE * 6, ..limits() };
    let bed = Bed::garden_within(limits).await;
    let start = json!({ "work": "parse-prd", "prd": "# Shed\n\nThe shed must have a door.", "append": true });
    let job = bed.call("POST", "/api/projects/garden/jobs", &start).await;
    let mut stream = tokio::net::TcpStream::connect(bed.server.address).await.unwrap();
    let asked = request("GET", &format!("/api/jobs/{}/events", job["job"].as_str().unwrap()), "", "");
    tokio::io::AsyncWriteExt::write_all(&mut stream, asked.as_bytes()).await.unwrap();
    read_until(&mut stream, "\"waiting\"").await;
    read_until(&mut stream, ":\n\n").await;
    bed.server.cancel.cancel();
    read_until(&mut stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn changes_are_noted_under_the_key_that_made_them() {
    let bed = Bed::new(true).await;
    let address = bed.server.address;
    assert_eq!(send(address, "GET", "/api/projects", "", "").await.status, 401);
    let headers = "authorization: Bearer secret\r\nx-tm-who: editor\r\n";
    let post = async |path: &str, body: Value| send(address, "POST", path, headers, &body.to_string()).await.status;
    assert_eq!(post("/api/projects", json!({ "name": "garden" })).await, 201);
    let edits = json!({ "edits": [{ "edit": "add", "task": { "title": "dig" } }] });
    assert_eq!(post("/api/projects/garden/edits", edits).await, 200);
    let history = send(address, "GET", "/api/projects/garden/history", headers, "").await;
    assert!(history.body.contains(r#""who":"laptop (editor)""#), "{history:?}");
}

#[tokio::test]
async fn a_body_may_be_as_large_as_an_asks() {
    let bed = Bed::garden().await;
    // The test's limit is 1 MiB for every body; routes of projects go up to it, and say so beyond it.
    let reply = bed.send("PUT", "/api/projects/garden/tasks.json", &json!("x".repeat(2 << 20))).await;
    assert_eq!(reply.status, 413);
    assert!(reply.body.starts_with(r#"{"error":{"code":"too_large""#), "{reply:?}");
}
