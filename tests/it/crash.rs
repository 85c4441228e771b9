//! A process of the cluster dies, hangs or talks junk in the middle of answers: the answers go on, to the byte.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::client::{Client, Told};
use tests::process::{Child, binary};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::lab::{Face, Lab, SOON, Setup, bounded, is_soak, pieces, until};

/// Streams at once.
const STREAMS: usize = 50;
/// Tokens of an answer, the positions at which something can happen to it.
const TOKENS: usize = 60;
/// Tokens are slow enough for streams to be in the middle when something happens to them.
const PACE: [&str; 4] = ["--token", "10ms", "--tokens", "60"];
/// Short patience, so that a silent engine is given up within a test's time.
const IMPATIENT: &str = "[limits]\nfirst_token = \"3s\"\nidle_token = \"1s\"";

/// What dies.
#[derive(Clone, Copy, PartialEq)]
enum Victim {
    Engine,
    Node,
}

/// Token positions: all in a soak, else a few by a printed seed.
fn positions(how_many: usize) -> Vec<usize> {
    if is_soak() {
        return (1..TOKENS).collect();
    }
    let seed = std::env::var("TM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("TM_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all: Vec<usize> = (2..TOKENS - 1).filter(|&at| at != TOKENS / 2).collect();
    random.shuffle(&mut all);
    // The first and the last token are where things go wrong first; in the middle every stream has begun and none is over.
    [1, TOKENS - 1, TOKENS / 2].into_iter().chain(all).take(how_many).collect()
}

/// Fifty streams; each gives a permit when it has `position` pieces.
async fn fifty(client: Client, face: Face, position: usize, reached: Arc<Semaphore>) -> Vec<(String, Told)> {
    let mut streams = JoinSet::new();
    for at in 0..STREAMS {
        let (client, reached) = (client.clone(), reached.clone());
        streams.spawn(async move {
            let prompt = format!("stream {at} at {position}");
            let mut stream = client.stream(face.path(), &face.body(&prompt)).await.unwrap();
            let mut told = Told::new(stream.status);
            pieces(&mut stream, &mut told, position).await;
            reached.add_permits(1);
            stream.tell(&mut told).await;
            (prompt, told)
        });
    }
    streams.join_all().await
}

fn assert_whole(face: Face, position: usize, answers: &[(String, Told)]) {
    assert_eq!(answers.len(), STREAMS);
    for (prompt, told) in answers {
        assert!(told.is_good(), "{face:?} at {position}, {prompt}: {told:?}");
        assert_eq!(told.text, face.answer(prompt), "{face:?} at {position}, {prompt}");
        assert!(told.finish.is_some(), "{face:?} at {position}, {prompt}: {told:?}");
    }
}

/// Waits until so many of the fifty have their position.
async fn have_reached(reached: &Semaphore, count: usize) {
    drop(bounded("the position", SOON, reached.acquire_many(count as u32)).await.unwrap());
}

/// Two nodes with engines and a gateway; one of them dies under fifty streams, at each of the positions. They stand
/// still there until it happens, so that they are in the middle however slow this machine is.
async fn survives(speak: &str, face: Face, victim: Victim, how_many: usize) {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers(speak, 2, &PACE, "").await;
    for position in positions(how_many) {
        for engine in &lab.engines {
            engine.control(&json!({"fail": {"hang_mid": position}})).await.unwrap();
        }
        let resumed = lab.nodes[0].metric("tm_resumes_total").await;
        let reached = Arc::new(Semaphore::new(0));
        let asked = tokio::spawn(fifty(lab.http(0), face, position, reached.clone()));
        have_reached(&reached, STREAMS).await;
        let at = busiest(&lab).await;
        let held = running(&lab, at).await;
        lab.engines[1 - at].control(&json!({"fail": "none"})).await.unwrap();
        match victim {
            Victim::Engine => drop(lab.engines[at].child.kill().await.unwrap()),
            Victim::Node => drop(lab.nodes[at + 1].child.kill().await.unwrap()),
        }
        let answers = bounded("every answer", SOON, asked).await.unwrap();
        assert_whole(face, position, &answers);
        let resumed = lab.nodes[0].metric("tm_resumes_total").await - resumed;
        assert!(resumed >= held as f64, "{resumed} of {held} were resumed at {position}");
        match victim {
            Victim::Engine => {
                // Only the engine's models are gone.
                lab.nodes_are(0, "alive", &["gateway", "w0", "w1"], SOON).await;
                lab.revive(at, speak, &PACE).await;
            }
            Victim::Node => {
                lab.engines[at].control(&json!({"fail": "none"})).await.unwrap();
                lab.nodes[at + 1].again().await;
            }
        }
        lab.workers_are(0, "ready", 2).await;
    }
}

/// The asks in an engine.
async fn running(lab: &Lab, at: usize) -> u64 {
    lab.engines[at].stats().await.unwrap()["running"].as_u64().unwrap()
}

/// The engine with the most asks in it.
async fn busiest(lab: &Lab) -> usize {
    let mut all = Vec::new();
    for at in 0..lab.engines.len() {
        all.push((running(lab, at).await, at));
    }
    all.into_iter().max().unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_of_llamacpp_survive_the_death_of_their_engine() {
    survives("llamacpp", Face::Chat, Victim::Engine, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_of_vllm_survive_the_death_of_their_engine() {
    survives("vllm", Face::Chat, Victim::Engine, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_prompts_of_ollama_survive_the_death_of_their_engine() {
    survives("ollama", Face::OllamaRaw, Victim::Engine, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_of_ollama_survive_the_death_of_their_engine() {
    survives("ollama", Face::OllamaChat, Victim::Engine, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_of_openai_survive_the_death_of_their_engine() {
    survives("openai", Face::Completion, Victim::Engine, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_survive_the_death_of_their_workers_node() {
    survives("llamacpp", Face::Chat, Victim::Node, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_on_elsewhere_after_anything_an_engine_does_in_their_middle() {
    let mut lab = Lab::single();
    let (one, two) =
        (lab.engine("llamacpp", &["--token", "2ms"]).await, lab.engine("llamacpp", &["--token", "2ms"]).await);
    lab.node(Setup::new("a").worker("one", "llamacpp", &one).worker("two", "llamacpp", &two).more(IMPATIENT)).await;
    let faults = [
        json!({"hang_mid": 20}),
        json!("junk"),
        json!({"error_mid": 20}),
        json!("half_utf8"),
        json!({"cut_at": 20}),
        json!({"cut_at_byte": 2000}),
        json!("huge_line"),
    ];
    for fault in faults {
        lab.workers_are(0, "ready", 2).await;
        for face in [Face::Chat, Face::Completion] {
            let told = fail_once(&lab, face, &fault).await;
            assert!(told.is_good(), "{fault} {face:?}: {told:?}");
            assert_eq!(told.text, face.answer("go on"), "{fault} {face:?}");
        }
    }
    until("no slot is held", SOON, async || {
        lab.nodes[0].workers().await.is_ok_and(|workers| workers.iter().all(|one| one.busy == 0 && one.queued == 0))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_waits_for_its_only_engine_to_come_back() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &PACE).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let mut stream = lab.http(0).stream(Face::Chat.path(), &Face::Chat.body("only one")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 20).await;
    lab.engines[0].child.kill().await.unwrap();
    lab.workers_are(0, "ready", 0).await;
    lab.revive(0, "llamacpp", &PACE).await;
    bounded("the rest of the stream", SOON, stream.tell(&mut told)).await;
    assert!(told.is_good(), "{told:?}");
    assert_eq!(told.text, Face::Chat.answer("only one"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_at_the_one_engine_that_can_continue() {
    let mut lab = Lab::single();
    let mut setup = Setup::new("a");
    // Two that cannot stand in the way of the one that can.
    for (name, speak) in [("begins", "llamacpp-python"), ("begins-too", "llamacpp-python"), ("continues", "llamacpp")] {
        let url = lab.engine(speak, &PACE).await;
        setup = setup.worker(name, speak, &url);
    }
    lab.node(setup).await;
    for at in 0..6 {
        lab.workers_are(0, "ready", 3).await;
        let prompt = format!("who can continue this? {at}");
        let mut stream = lab.http(0).stream(Face::Chat.path(), &Face::Chat.body(&prompt)).await.unwrap();
        let mut told = Told::new(stream.status);
        pieces(&mut stream, &mut told, 5).await;
        let broken = busiest(&lab).await;
        if broken == 2 {
            // It began there already.
            bounded("the rest of the stream", SOON, stream.tell(&mut told)).await;
            continue;
        }
        lab.engines[broken].child.kill().await.unwrap();
        bounded("the rest of the stream", SOON, stream.tell(&mut told)).await;
        assert!(told.is_good(), "{at}: {told:?}");
        assert_eq!(told.text, Face::Chat.answer(&prompt), "{at}");
        lab.revive(broken, "llamacpp-python", &PACE).await;
    }
}

/// Streams until an engine that was told to fail was the one that was asked. The other one is never told to, so that it can
/// go on whenever it is asked.
async fn fail_once(lab: &Lab, face: Face, fault: &Value) -> Told {
    for victim in [0, 1].into_iter().cycle().take(20) {
        lab.engines[victim].control(&json!({"fail": fault, "fail_count": 1})).await.unwrap();
        let mut stream = lab.http(0).stream(face.path(), &face.body("go on")).await.unwrap();
        let worker = stream.headers.get("x-tm-worker").and_then(|name| name.to_str().ok()).unwrap_or("").to_owned();
        assert!(!worker.is_empty(), "{fault}: no worker is named");
        let mut told = Told::new(stream.status);
        bounded("the rest of the stream", SOON, stream.tell(&mut told)).await;
        if worker.ends_with(["one", "two"][victim]) {
            return told;
        }
        lab.engines[victim].control(&json!({"fail": "none"})).await.unwrap();
        assert!(told.is_good(), "{fault} {face:?}: {told:?}");
    }
    panic!("{fault} {face:?}: nobody that was told to fail was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn tmctl_chat_goes_on_at_the_next_server_when_its_own_node_dies() {
    let mut lab = Lab::cluster().await;
    let url = lab.engine("llamacpp", &["--token", "20ms"]).await;
    let first = lab.node(Setup::new("first")).await;
    lab.node(Setup::new("second").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    lab.workers_are(1, "ready", 1).await;
    let servers = format!("{},{}", lab.nodes[0].grpc, lab.nodes[1].grpc);
    let args = ["--server", &servers, "chat", "fake", "-m", "hello"];
    let mut chat = Child::start("tmctl", binary("tmctl").unwrap(), &args).unwrap();
    until("half of the answer", SOON, async || chat.stdout().contains("w20-")).await;
    lab.nodes[first].child.kill().await.unwrap();
    let exit = chat.wait(SOON).await.unwrap();
    assert!(exit.success(), "{}", chat.stderr());
    assert_eq!(chat.stdout().trim_end(), crate::lab::expected("hello").trim_end(), "{}", chat.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_frozen_node_go_on_elsewhere_and_it_comes_back() {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers("llamacpp", 2, &PACE, IMPATIENT).await;
    let reached = Arc::new(Semaphore::new(0));
    let asked = tokio::spawn(fifty(lab.http(0), Face::Chat, 20, reached.clone()));
    have_reached(&reached, 1).await;
    let at = busiest(&lab).await + 1;
    lab.nodes[at].child.freeze().unwrap();
    let frozen = Instant::now();
    let answers = bounded("every answer", SOON, asked).await.unwrap();
    assert_whole(Face::Chat, 20, &answers);
    let name = lab.nodes[at].name.clone();
    lab.nodes_are(0, "lost", &[&name], Duration::from_secs(10)).await;
    let life = async || {
        let nodes = lab.nodes[0].nodes().await.unwrap();
        nodes.iter().find(|node| node.name == name).unwrap().incarnation
    };
    let before = life().await;
    let asleep = Duration::from_secs(if is_soak() { 30 } else { 0 });
    until("it slept long enough", asleep + SOON, async || frozen.elapsed() >= asleep).await;
    lab.nodes[at].child.thaw().unwrap();
    lab.nodes_are(0, "alive", &[&name], SOON).await;
    lab.workers_are(0, "ready", 2).await;
    assert!(life().await > before, "its lease had ended, and its life with it");
    until("it has dropped the work of before", SOON, async || {
        lab.engines[at - 1].stats().await.unwrap()["running"] == 0
    })
    .await;
}
