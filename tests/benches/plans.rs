//! What planning costs beside the time of its model: a node with an engine that gives each answer after 50 ms, on 4 slots.
//!
//! Plans of one section, of eight and of forty take turns with bare asks to the engine. Medians; the time of a plan is that
//! between its start and the word of its end, as a client sees it over gRPC. The CPU time is that of the whole node: routing
//! and carrying the answers, the store, and what a node does anyway.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures and may stop at the first fault"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use proto::planning::planning_client::PlanningClient;
use proto::planning::start_request::Work;
use proto::planning::{CreateProjectRequest, ParsePrd, Place, StartRequest, WatchJobRequest};
use serde_json::{Value, json};
use tests::bench::statistics;
use tests::process::{Child, FakeEngine, binary};
use tonic::transport::{Channel, Endpoint};

/// Time of an answer.
const ANSWER_MS: f64 = 50.0;
const SLOTS: usize = 4;
const ROUNDS: usize = 11;
const READY: Duration = Duration::from_secs(20);

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

/// What one plan took.
struct Plan {
    ms: f64,
    /// Answers of the model, all together and one after the other.
    answers: u64,
    in_a_row: u64,
    /// CPU time of the node meanwhile.
    cpu_ms: f64,
}

async fn measure() {
    let slots = SLOTS.to_string();
    let answer = format!("{ANSWER_MS}ms");
    let args = ["--speak", "openai", "--slots", &slots, "--ttft", &answer, "--token", "0ms"];
    let engine = FakeEngine::start(&args).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &engine.url()).await;
    let mut client = PlanningClient::new(Endpoint::from_shared(node.grpc.clone()).unwrap().connect().await.unwrap());
    let create = CreateProjectRequest { name: "bench".into(), ..CreateProjectRequest::default() };
    client.create_project(create).await.unwrap();
    let (mut bare, mut one, mut eight, mut forty) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first round of each only warms.
    for round in 0..=ROUNDS {
        let ms = bare_ask(&engine, round).await;
        let small = plan(&mut client, &node, 1, round).await;
        let large = plan(&mut client, &node, 8, round).await;
        let huge = plan(&mut client, &node, 40, round).await;
        if round > 0 {
            bare.push(ms);
            one.push(small);
            eight.push(large);
            forty.push(huge);
        }
    }
    let bare = median(&bare);
    println!("a bare ask to the engine: {bare:.1} ms");
    for (sections, plans) in [(1, &one), (8, &eight), (40, &forty)] {
        let of = |figure: &dyn Fn(&Plan) -> f64| median(&plans.iter().map(figure).collect::<Vec<_>>());
        let model = of(&|plan| plan.in_a_row as f64) * bare;
        let ms = of(&|plan| plan.ms);
        println!(
            "{sections} sections on {SLOTS} slots: {} answers, {model:.1} ms of model in a row; plan {ms:.1} ms, so {:.1} ms \
             ({:.1} %) more; CPU of the node {:.1} ms ({:.1} % of the time of all its answers)",
            of(&|plan| plan.answers as f64),
            ms - model,
            (ms / model - 1.0) * 100.0,
            of(&|plan| plan.cpu_ms),
            of(&|plan| plan.cpu_ms / (plan.answers as f64 * ANSWER_MS)) * 100.0,
        );
    }
    let ratio = median(&eight.iter().zip(&one).map(|(eight, one)| eight.ms / one.ms).collect::<Vec<_>>());
    println!("8 sections take {ratio:.2} x one section");
}

async fn bare_ask(engine: &FakeEngine, round: usize) -> f64 {
    let body = json!({"model": "fake", "messages": [{"role": "user", "content": format!("hello {round}")}]});
    let start = Instant::now();
    let answer = engine.client.post_json("/v1/chat/completions", &body).await.unwrap();
    assert_eq!(answer.status, 200);
    start.elapsed().as_secs_f64() * 1e3
}

async fn plan(client: &mut PlanningClient<Channel>, node: &Node, sections: usize, round: usize) -> Plan {
    let (cpu, start) = (node.cpu_ms(), Instant::now());
    // Each section fills a question, and no answer was given before.
    let section = |section: usize| -> String {
        let items = (1..=8).map(|item| format!("- The valve {item} of bed {section} must open in round {round}.\n"));
        format!("\n## Bed {section}\n\n{}", items.collect::<String>())
    };
    let prd = format!("# Garden {round}\n{}", (1..=sections).map(section).collect::<String>());
    let work = ParsePrd { prd: prd.into_bytes().into(), force: true, max_depth: 1, ..ParsePrd::default() };
    let request = StartRequest {
        place: Some(Place { project: "bench".into(), tag: String::new() }),
        planner: "model".into(),
        work: Some(Work::ParsePrd(work)),
        ..StartRequest::default()
    };
    let id = client.start(request).await.unwrap().into_inner().job;
    let mut changes = client.watch_job(WatchJobRequest { id }).await.unwrap().into_inner();
    let mut job = None;
    while let Some(change) = changes.message().await.unwrap() {
        job = change.job;
    }
    let (ms, cpu_ms) = (start.elapsed().as_secs_f64() * 1e3, node.cpu_ms() - cpu);
    let job = job.unwrap();
    assert_eq!(job.state, "done", "{:?}", job.failure);
    let result: Value = serde_json::from_str(&job.result_json).unwrap();
    let answers = result["spent"]["questions"].as_u64().unwrap();
    // One for each section, then those about what connects the tasks, one after the other.
    assert!(answers > sections as u64, "{answers} answers for {sections} sections");
    let in_a_row = sections.div_ceil(SLOTS) as u64 + answers - sections as u64;
    Plan { ms, answers, in_a_row, cpu_ms }
}

struct Node {
    child: Child,
    grpc: String,
}

impl Node {
    async fn start(dir: &Path, engine: &str) -> Self {
        let data = dir.join("data");
        let listen = "listen = \"127.0.0.1:0\"";
        let config = format!(
            "[node]\nname = \"bench\"\ndata_dir = \"{}\"\n[http]\n{listen}\n[grpc]\n{listen}\n[peers]\n{listen}\n\
             [store]\nkind = \"sled\"\n[[workers]]\nname = \"engine\"\nbackend = \"openai\"\nurl = \"{engine}\"\nslots = {SLOTS}\n",
            data.display()
        );
        let path = dir.join("tmd.toml");
        std::fs::write(&path, config).unwrap();
        let mut child = Child::start("tmd", binary("tmd").unwrap(), &["--config".as_ref(), path.as_os_str()]).unwrap();
        let line = child.wait_line("ready http=", READY).await.unwrap();
        child.wait_line("engine is up", READY).await.unwrap();
        let grpc = line.split_whitespace().find_map(|field| field.strip_prefix("grpc=")).unwrap();
        Self { child, grpc: format!("http://{grpc}") }
    }

    /// CPU time of its threads so far.
    fn cpu_ms(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.pid())).unwrap();
        let times = tasks.map(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0)
        });
        times.sum::<f64>() / 1e6
    }
}

fn median(values: &[f64]) -> f64 {
    statistics::median(values).unwrap()
}
