//! MCP as editors use it: the client of its official SDK, unchanged, over HTTP and through `tmctl mcp`; Task Master's own
//! kit through that bridge; and what becomes of a job whose editor is gone.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use http::Method;
use serde_json::{Value, json};
use tests::process::{Child, binary};

use crate::lab::{Lab, SOON, Setup, until};
use crate::{clients, upstream};

/// A node with an engine; `token` is how long that takes for a piece of text.
async fn lab(token: &str) -> Lab {
    let mut lab = Lab::single();
    let url = lab.engine("openai", &["--context", "65536", "--token", token]).await;
    lab.node(Setup::new("alone").worker("gpu", "openai", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_the_official_sdk_plans_over_http_and_through_the_bridge() {
    let Some(python) = clients::python().await else { return };
    let lab = lab("0ms").await;
    let tmctl = binary("tmctl").unwrap().display().to_string();
    let arguments = [format!("http://{}", lab.nodes[0].http), lab.nodes[0].grpc.clone(), tmctl];
    clients::run(&python, "mcp_client.py", &arguments).await;
}

/// Upstream's kit starts a script of Node's; this one becomes the bridge.
const INTO_BRIDGE: &str = "const { spawn } = require('node:child_process');\nconst bridge = spawn(process.env.TMCTL, \
    ['--server', process.env.TM_SERVER, 'mcp'], { stdio: 'inherit' });\nbridge.on('exit', (code) => process.exit(code ?? 1));\n\
    process.on('SIGTERM', () => bridge.kill());\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_kit_for_upstreams_own_server_passes_through_the_bridge() {
    let Some(kit) = upstream::kit("upstream_mcp.mjs") else { return };
    if Command::new("node").arg("--version").output().is_err() {
        return upstream::skipped("no node here");
    }
    let lab = lab("0ms").await;
    let work = tempfile::tempdir().unwrap();
    let (script, root) = (work.path().join("bridge.cjs"), work.path().join("greenhouse"));
    std::fs::create_dir(&root).unwrap();
    std::fs::write(&script, INTO_BRIDGE).unwrap();
    std::fs::copy(kit.with_file_name("prds").join("greenhouse-telemetry.md"), root.join("prd.md")).unwrap();
    initialize(&lab, "greenhouse").await;
    // The engine's answers are nonsense within their schema, so that counts are what the planner makes of them.
    let mut command = Command::new("node");
    command.arg(&kit).arg(&script).arg(&root).args(["prd.md", "8", "60"]);
    command.env("TMCTL", binary("tmctl").unwrap()).env("TM_SERVER", &lab.nodes[0].grpc);
    let mut child = Child::spawn("the kit", command).unwrap();
    let status = child.wait(SOON * 8).await.unwrap();
    let told = child.stdout();
    let failed: Vec<&str> = told.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(status.success() && failed.is_empty(), "{failed:#?}\n{told}\n{}", child.stderr());
    assert!(told.lines().filter(|line| line.starts_with("PASS")).count() > 20, "{told}");
    assert!(told.contains("INFO mcp: 0 non-JSON"), "{told}");
}

async fn initialize(lab: &Lab, project: &str) {
    let made = lab.http(0).post_json("/api/projects", &json!({ "name": project })).await.unwrap();
    assert!(made.status < 300, "{}", made.text());
}

/// A bridge that an editor has introduced itself to, and asked for a plan by a slow model.
fn asking(lab: &Lab, root: &Path) -> std::process::Child {
    let mut command = Command::new(binary("tmctl").unwrap());
    command.args(["--server", &lab.nodes[0].grpc, "mcp", "--dir"]).arg(root);
    let mut bridge = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let hello =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let arguments =
        json!({ "project": "garden", "planner": "model", "prdText": "# Garden\n\nThe pump must start by itself." });
    let messages = [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "parse_prd", "arguments": arguments } }),
    ];
    let stdin = bridge.stdin.as_mut().unwrap();
    messages.iter().for_each(|message| writeln!(stdin, "{message}").unwrap());
    bridge
}

/// Where the only job stands.
async fn state(lab: &Lab) -> String {
    let jobs: Value = lab.http(0).get("/api/jobs").await.unwrap().json().unwrap();
    jobs["items"][0]["state"].as_str().unwrap_or_default().to_owned()
}

async fn writes(lab: &Lab) -> bool {
    lab.engines[0].stats().await.unwrap()["running"].as_u64() > Some(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_that_cancels_or_is_gone_ends_its_job_down_to_the_engine() {
    for is_gone in [false, true] {
        let lab = lab("200ms").await;
        initialize(&lab, "garden").await;
        let root = tempfile::tempdir().unwrap();
        let mut bridge = asking(&lab, root.path());
        until("the engine writes for the job", SOON, async || state(&lab).await == "running" && writes(&lab).await)
            .await;
        if is_gone {
            drop((bridge.stdin.take(), bridge.stdout.take()));
        } else {
            let cancelled =
                json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 2 } });
            writeln!(bridge.stdin.as_mut().unwrap(), "{cancelled}").unwrap();
        }
        until("the job is cancelled", SOON, async || state(&lab).await == "cancelled").await;
        until("the engine stops", SOON, async || !writes(&lab).await).await;
        // One whose call was cancelled waits for no answer; one that nobody reads ends by itself.
        drop(bridge.stdin.take());
        until("the bridge ends", SOON, async || bridge.try_wait().unwrap().is_some()).await;
    }
}

/// Calls the tool `research`; what it gave, and whether it was refused.
async fn research(lab: &Lab, arguments: Value) -> (Value, bool) {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "research", "arguments": arguments } });
    let client = lab.http(0).with_header("content-type", "application/json");
    let client = client.with_header("accept", "application/json, text/event-stream");
    let client = client.with_header("mcp-protocol-version", "2025-06-18");
    let reply = client.send(Method::POST, "/mcp", call.to_string().into()).await.unwrap();
    let text = reply.text();
    let message = text.lines().find_map(|line| line.strip_prefix("data: ").filter(|data| data.starts_with('{')));
    let reply: Value = serde_json::from_str(message.unwrap_or(&text)).unwrap();
    let result = &reply["result"];
    let said = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
    (serde_json::from_str(&said).unwrap_or(Value::String(said)), result["isError"].as_bool() == Some(true))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_from_the_documents_where_no_project_is_meant() {
    let mut lab = Lab::single();
    lab.node(Setup::new("alone")).await;
    let document = json!({ "source": "note:pump", "text": "The pump has the colour blue." });
    let added = lab.http(0).post_json("/api/research/collections/house/documents", &document).await.unwrap();
    assert!(added.status < 300, "{}", added.text());
    let question = json!({ "query": "which colour has the pump?" });
    let mut said = Value::Null;
    until("it is indexed, and answers without a project", SOON, async || {
        let (told, is_refused) = research(&lab, question.clone()).await;
        assert!(!is_refused, "{told}");
        said = told;
        said.to_string().contains("The pump has the colour blue")
    })
    .await;
    assert!(said.to_string().contains("from the documents alone"), "{said}");
    // What is about tasks still wants to know whose.
    let of_tasks = json!({ "query": "which colour has the pump?", "taskIds": "1" });
    let (told, is_refused) = research(&lab, of_tasks).await;
    assert!(is_refused && told.to_string().contains("no project is named"), "{told}");
    initialize(&lab, "garden").await;
    let (told, _) = research(&lab, question).await;
    assert!(told.to_string().contains("tasks of garden"), "{told}");
}
