//! The bridge's own part: what it reads, what it writes, what it says when something is wrong.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};

use proto::planning::{
    ImportRequest, ImportResponse, ListProjectsResponse, McpRequest, McpResponse, MergeConflict, Project,
};

use super::*;
use crate::scripted::Script;

/// What went to stdout.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn call(name: &str, arguments: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": arguments } })
}

#[test]
fn a_document_is_read_from_the_project_and_from_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("garden");
    fs::create_dir_all(root.join("docs")).unwrap();
    fs::write(root.join("docs/prd.md"), "# Garden").unwrap();
    fs::write(outside.path().join("secret"), "key").unwrap();
    fs::write(root.join("large"), vec![b'a'; (16 << 20) + 1]).unwrap();
    symlink(outside.path().join("secret"), root.join("link")).unwrap();
    let roots = Roots::new(None).unwrap();
    let read = |input: &str| {
        let mut message = call("parse_prd", json!({ "projectRoot": root, "input": input }));
        let beside = roots.prepare(&mut message, &HashSet::new());
        beside.map(|beside| (message["params"]["arguments"]["prdText"].as_str().unwrap().to_owned(), beside.project))
    };
    assert_eq!(read("docs/prd.md").unwrap(), ("# Garden".to_owned(), "garden".to_owned()));
    assert_eq!(read(root.join("docs/prd.md").to_str().unwrap()).unwrap().0, "# Garden");
    for (input, code) in [
        ("../secret", Code::PermissionDenied),
        ("link", Code::PermissionDenied),
        ("/etc/passwd", Code::PermissionDenied),
        ("docs", Code::InvalidArgument),
        ("missing.md", Code::NotFound),
        ("large", Code::TooLarge),
    ] {
        let fault = read(input).unwrap_err();
        assert!(fault.code == code && fault.hint.is_some(), "{input}: {fault:?}");
    }
}

#[test]
fn a_bridge_for_one_folder_uses_no_other() {
    let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let roots = Roots::new(Some(ours.path().to_owned())).unwrap();
    let mut message = call("next_task", json!({ "projectRoot": other.path() }));
    assert_eq!(roots.prepare(&mut message, &HashSet::new()).unwrap_err().code, Code::PermissionDenied);
    let mut message = call("get_tasks", Value::Null);
    let beside = roots.prepare(&mut message, &HashSet::from(["get_tasks".to_owned()])).unwrap();
    assert!(!beside.is_change, "it only looks");
    assert_eq!(message["params"]["arguments"]["projectRoot"], json!(ours.path().canonicalize().unwrap()));
}

/// What a bridge writes to stdout for lines that come one after the other's answer.
async fn bridged(address: &str, lines: &[&str]) -> Vec<Value> {
    let servers = Servers::new(&[address.to_owned()], None, None).unwrap();
    let out = Written::default();
    let mut screen = Screen::new(Box::new(out.clone()), Box::new(std::io::sink()), crate::screen::Style::default());
    let args = Args { dir: None, tools: "all".to_owned() };
    let (sender, receiver) = mpsc::channel(1);
    let count = || out.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
    let feed = async {
        for line in lines {
            let before = count();
            sender.send(Ok(format!("{line}\n"))).await.unwrap();
            let is_asked = line.contains("\"id\"") || *line == "{";
            while is_asked && count() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        drop(sender);
    };
    let (ended, ()) = tokio::join!(carry(&servers, &mut screen, args, receiver, std::future::pending()), feed);
    assert_eq!(ended.unwrap(), Verdict::Done);
    let written = out.0.lock().unwrap().clone();
    String::from_utf8(written).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const HELLO: &str = r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const NEXT: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"next_task"}}"#;

#[tokio::test]
async fn rules_are_written_by_the_bridge_itself() {
    let root = tempfile::tempdir().unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let asked = |arguments: Value| {
        let mut message = call("rules", arguments);
        message["id"] = json!(1);
        message.to_string()
    };
    let add = asked(json!({ "action": "add", "profiles": ["claude"], "projectRoot": root.path() }));
    let unknown = asked(json!({ "action": "add", "profiles": "emacs", "projectRoot": root.path() }));
    let said = bridged(&gone, &[&add, &unknown]).await;
    let files = &said[0]["result"]["structuredContent"]["data"]["files"];
    assert_eq!(files, &json!([{ "file": "CLAUDE.md", "isChanged": true }]), "{said:?}");
    assert!(root.path().join("CLAUDE.md").is_file());
    assert_eq!(said[1]["result"]["isError"], true, "{said:?}");
}

#[test]
fn a_tag_from_a_branch_gets_its_name_here() {
    let root = tempfile::tempdir().unwrap();
    let roots = Roots::new(None).unwrap();
    let mut message = call("add_tag", json!({ "projectRoot": root.path(), "name": "x", "fromBranch": true }));
    assert_eq!(roots.prepare(&mut message.clone(), &HashSet::new()).unwrap_err().code, Code::NotFound);
    fs::create_dir(root.path().join(".git")).unwrap();
    fs::write(root.path().join(".git/HEAD"), "ref: refs/heads/feature/door\n").unwrap();
    roots.prepare(&mut message, &HashSet::new()).unwrap();
    let arguments = &message["params"]["arguments"];
    assert_eq!((&arguments["name"], &arguments["fromBranch"]), (&json!("feature-door"), &json!(false)));
}

#[tokio::test]
async fn without_a_server_every_call_is_answered_with_what_to_do() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let said = bridged(&gone, &[HELLO, INITIALIZED, "{", "", NEXT]).await;
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!((&said[0]["id"], &said[0]["error"]["code"]), (&json!("a"), &json!(-32000)));
    assert!(said[0]["error"]["message"].as_str().unwrap().contains("hint: "));
    assert_eq!(said[1]["error"]["code"], -32700);
    assert_eq!((&said[2]["id"], &said[2]["result"]["isError"]), (&json!(2), &json!(true)));
}

fn answer(id: &Value, result: &Value) -> Vec<McpResponse> {
    let message = json!({ "jsonrpc": "2.0", "id": id, "result": result });
    vec![McpResponse { message: message.to_string().into() }]
}

#[tokio::test]
async fn a_lost_server_ends_open_calls_and_the_next_is_told_who_asks() {
    let hellos = Arc::new(Mutex::new(0));
    let seen = hellos.clone();
    let mut is_first = true;
    let server = Script::default().on(move |request: McpRequest| {
        let message: Value = serde_json::from_slice(&request.message).unwrap();
        match message["method"].as_str() {
            Some("initialize") => {
                *seen.lock().unwrap() += 1;
                Ok(answer(&message["id"], &json!({})))
            }
            Some("tools/call") if std::mem::take(&mut is_first) => Err(tonic::Status::unavailable("going away")),
            Some("tools/call") => Ok(answer(&message["id"], &json!({ "isError": false }))),
            _ => Ok(Vec::new()),
        }
    });
    let server = server.serve();
    let said = bridged(&server.address, &[HELLO, INITIALIZED, NEXT, NEXT]).await;
    assert_eq!(said.len(), 3, "the second hello is not the editor's: {said:?}");
    assert!(said[1]["error"]["message"].as_str().unwrap().contains("job_status"), "{said:?}");
    assert_eq!(said[2]["result"]["isError"], false);
    assert_eq!(*hellos.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_change_is_in_the_folders_file_before_the_call_is_answered() {
    let root = tempfile::tempdir().unwrap();
    let file = r#"{"master":{"tasks":[{"id":1,"title":"dig"}]}}"#;
    let server = Script::default()
        .on(|request: McpRequest| {
            let message: Value = serde_json::from_slice(&request.message).unwrap();
            let said = json!({ "data": {}, "version": {} });
            Ok(answer(&message["id"], &json!({ "isError": false, "structuredContent": said })))
        })
        .on(|_: ImportRequest| {
            let clash = MergeConflict { field: "title".into(), id: "1".into(), ..MergeConflict::default() };
            let conflicts = vec![clash];
            Ok(ImportResponse { tasks_json: file.into(), conflicts, has_changed: true, ..ImportResponse::default() })
        });
    let running = server.serve();
    let arguments = json!({ "projectRoot": root.path(), "project": "garden", "id": "1", "status": "done" });
    let said = bridged(&running.address, &[&call("set_task_status", arguments).to_string()]).await;
    let tasks = fs::read_to_string(root.path().join(".taskmaster/tasks/tasks.json")).unwrap();
    assert!(tasks.contains("dig"), "{tasks}");
    assert!(root.path().join(".taskmaster/.tm-sync.json").is_file());
    let note = said[0]["result"]["structuredContent"]["notes"][0].as_str().unwrap();
    assert!(
        note.contains("title of task 1") && said[0]["result"]["content"][0]["text"].as_str().unwrap().contains("notes")
    );
    assert!(server.asked::<ImportRequest>()[0].contains("garden"));
    assert!(note.ends_with("the file as it was is .taskmaster/.tm-sync.before.json"), "{note}");
    // What somebody writes next is kept as well, beside the first.
    let edited = r#"{"master":{"tasks":[{"id":1,"title":"by hand"}]}}"#;
    fs::write(root.path().join(".taskmaster/tasks/tasks.json"), edited).unwrap();
    let arguments = json!({ "projectRoot": root.path(), "id": "1", "status": "done" });
    let said = bridged(&running.address, &[&call("set_task_status", arguments).to_string()]).await;
    let note = said[0]["result"]["structuredContent"]["notes"][0].as_str().unwrap();
    assert!(note.ends_with(".taskmaster/.tm-sync.before-2.json"), "{note}");
    let kept = |name: &str| fs::read_to_string(root.path().join(".taskmaster").join(name)).unwrap();
    assert!(kept(".tm-sync.before-2.json").contains("by hand") && !kept(".tm-sync.before.json").contains("by hand"));
}

/// A folder called `srv` with a task of its own.
fn folder_with_a_task() -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap().join("srv");
    fs::create_dir_all(root.join(".taskmaster/tasks")).unwrap();
    let own = r#"{"master":{"tasks":[{"id":1,"title":"Other project first"}]}}"#;
    fs::write(root.join(".taskmaster/tasks/tasks.json"), own).unwrap();
    (home, root)
}

#[tokio::test]
async fn a_folder_is_not_mixed_with_the_project_of_another_that_has_its_name() {
    let (_home, root) = folder_with_a_task();
    let server = Script::default()
        .on(|request: McpRequest| {
            let message: Value = serde_json::from_slice(&request.message).unwrap();
            Ok(answer(&message["id"], &json!({ "isError": false, "structuredContent": {} })))
        })
        .on(|_: ListProjectsRequest| {
            Ok(ListProjectsResponse { projects: vec![Project { name: "srv".into(), ..Project::default() }] })
        });
    let running = server.serve();
    let asked = |name: &str, more: Value| {
        let mut arguments = json!({ "projectRoot": root });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(name, arguments).to_string()
    };
    for line in [asked("next_task", json!({})), asked("initialize_project", json!({ "projectName": "srv" }))] {
        let said = bridged(&running.address, &[&line]).await;
        assert_eq!(said[0]["result"]["isError"], true, "{said:?}");
        let text = said[0]["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("has tasks of its own") && text.contains("tmctl tasks sync --project srv"), "{text}");
    }
    assert!(server.asked::<McpRequest>().is_empty() && server.asked::<ImportRequest>().is_empty());
    let said = bridged(&running.address, &[&asked("add_task", json!({ "project": "srv" }))]).await;
    let note = said[0]["result"]["structuredContent"]["notes"][0].as_str().unwrap();
    assert!(note.starts_with("tasks.json was left alone"), "{note}");
    assert!(server.asked::<ImportRequest>().is_empty());
}

#[test]
fn a_folder_that_was_synced_is_its_projects_whatever_it_is_called() {
    let (_home, root) = folder_with_a_task();
    fs::write(root.join(".taskmaster/.tm-sync.json"), r#"{"at":"","project":"nas","tasks_json":"{}"}"#).unwrap();
    let roots = Roots::new(None).unwrap();
    let prepared = |arguments: Value| {
        let mut message = call("add_task", arguments);
        let after = roots.prepare(&mut message, &HashSet::new()).unwrap();
        (message["params"]["arguments"]["project"].clone(), after.is_in_step && after.is_change, after.doubts.is_some())
    };
    assert_eq!(prepared(json!({ "projectRoot": root })), (json!("nas"), true, false));
    assert_eq!(prepared(json!({ "projectRoot": root, "project": "srv" })), (json!("srv"), false, false));
}
