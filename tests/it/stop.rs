//! Stopping, actors that crash, and starts that cannot work.

use std::time::{Duration, Instant};

use tests::client::{Client, Told};
use tests::process::{Child, binary};
use tokio::task::JoinSet;

use crate::lab::{Face, Lab, SOON, Setup, chat, pieces, until};

/// Streams that run while something stops.
const STREAMS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_node_finishes_what_began_and_takes_nothing_new() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "20ms"]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let client = lab.http(0);
    let mut streams = JoinSet::new();
    for at in 0..STREAMS {
        let mut stream = client.stream("/v1/chat/completions", &Face::Chat.body(&format!("last {at}"))).await.unwrap();
        let mut told = Told::new(stream.status);
        pieces(&mut stream, &mut told, 1).await;
        streams.spawn(async move {
            stream.tell(&mut told).await;
            (at, told)
        });
    }
    lab.nodes[0].child.terminate().unwrap();
    until("it is not ready", Duration::from_secs(1), async || {
        client.get("/readyz").await.map_or(true, |reply| reply.status != 200)
    })
    .await;
    for (at, told) in streams.join_all().await {
        assert!(told.is_good(), "{at}: {told:?}");
        assert_eq!(told.text, Face::Chat.answer(&format!("last {at}")));
    }
    let exit = lab.nodes[0].child.wait(Duration::from_secs(10)).await.unwrap();
    assert_eq!(exit.code(), Some(0));
    let log = lab.nodes[0].child.stderr();
    assert!(!log.contains("ERROR"), "a stop is no error: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_actor_comes_back_alone_and_asks_go_on() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    let all: Vec<String> = node.actors().await.unwrap().into_iter().map(|actor| actor.name).collect();
    for name in ["membership", "scheduler", "recovery", "worker/engine"] {
        assert!(all.iter().any(|known| known == name), "{name} is not among {all:?}");
        let mut stream = node.client.stream("/v1/chat/completions", &Face::Chat.body(name)).await.unwrap();
        node.inject(name, "panic").await.unwrap();
        let mut told = Told::new(stream.status);
        stream.tell(&mut told).await;
        assert_eq!(told.text, Face::Chat.answer(name), "{name}: {told:?}");
        until(&format!("{name} is back"), SOON, async || {
            let actors = node.actors().await.unwrap_or_default();
            let back = actors.iter().filter(|actor| actor.name == name).collect::<Vec<_>>();
            back.len() == 1 && back[0].restarts == 1 && !back[0].snapshot_json.is_empty()
        })
        .await;
    }
    let actors = node.actors().await.unwrap();
    assert!(actors.iter().all(|actor| actor.restarts <= 1), "{actors:?}");
    assert_eq!(node.metric("tm_actor_restarts_total").await, 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_supervisor_is_rebuilt_with_each_name_once() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    let names = async || {
        let mut names: Vec<String> = node.actors().await.unwrap_or_default().into_iter().map(|one| one.name).collect();
        names.sort();
        names
    };
    let before = names().await;
    for supervisor in ["workers", "recovery"] {
        node.inject(supervisor, "kill").await.unwrap();
        until("it was started again", SOON, async || {
            node.metric(&format!("tm_actor_restarts_total{{actor=\"{supervisor}\"}}")).await == 1.0
        })
        .await;
        until("the same names, once each", SOON, async || names().await == before).await;
    }
    let told = node.client.ask("/v1/chat/completions", &Face::Chat.body("still here?")).await.unwrap();
    assert_eq!(told.text, Face::Chat.answer("still here?"), "{told:?}");
}

/// What the process has used of processors so far.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // User and system time, in hundredths of a second.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

#[tokio::test(flavor = "multi_thread")]
async fn siblings_of_a_crashed_actor_answer_as_fast_as_before() {
    const ASKS: usize = 20;
    // Less says nothing on a machine that is busy with other tests.
    const NOISE: Duration = Duration::from_millis(100);
    let mut lab = Lab::cluster().await;
    for name in ["a", "b"] {
        let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
        let links = "[actors]\nenabled = true\nlisten = \"127.0.0.1:0\"";
        lab.node(Setup::new(name).worker("engine", "llamacpp", &url).more(links)).await;
    }
    lab.workers_are(0, "ready", 2).await;
    let node = &lab.nodes[0];
    let median = async |kind: &str, crash: bool| {
        let mut took = Vec::new();
        for at in 0..ASKS {
            if crash && at == ASKS / 4 {
                node.inject(kind, "panic").await.unwrap();
            }
            let begun = Instant::now();
            let told = node.client.ask(Face::Chat.path(), &Face::Chat.body(&format!("{kind} {at}"))).await.unwrap();
            assert_eq!(told.text, Face::Chat.answer(&format!("{kind} {at}")), "{kind}: {told:?}");
            took.push(begun.elapsed());
        }
        took.sort();
        took[ASKS / 2]
    };
    for kind in ["membership", "scheduler", "jobs", "indexer", "recovery", "links", "worker/engine"] {
        let (before, during) = (median(kind, false).await, median(kind, true).await);
        assert!(during <= before * 2 + NOISE, "{kind}: {during:?} after {before:?}");
        until(&format!("{kind} is back"), SOON, async || {
            let actors = node.actors().await.unwrap_or_default();
            actors.iter().any(|actor| actor.name == kind && actor.restarts == 1 && !actor.snapshot_json.is_empty())
        })
        .await;
    }
    for actor in node.actors().await.unwrap() {
        let (name, wanted) = (&actor.name, if actor.name == "workers" { 0.0 } else { 1.0 });
        let counted = node.metric(&format!("tm_actor_restarts_total{{actor=\"{name}\"}}")).await;
        assert_eq!(counted, wanted, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_crashes_again_and_again_is_given_up_and_the_node_stays_reachable() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    until("it is given up", Duration::from_secs(20), async || {
        // While it is being started again there is nobody to panic.
        let _ = node.inject("worker/engine", "panic").await;
        node.worker("a/engine").await.is_some_and(|worker| worker.state == "failed")
    })
    .await;
    let restarts = node.metric("tm_actor_restarts_total").await;
    assert!((2.0..=30.0).contains(&restarts), "{restarts} restarts");
    let (busy, since) = (cpu_seconds(node.child.pid()), Instant::now());
    until("a look at the time that it takes", SOON, async || since.elapsed() >= Duration::from_secs(2)).await;
    let share = (cpu_seconds(node.child.pid()) - busy) / since.elapsed().as_secs_f64();
    assert!(share < 0.2, "a node without work takes {share:.2} of a processor");
    assert_eq!(node.metric("tm_actor_restarts_total").await, restarts, "it is started again for ever");
    let reply = node.client.post_json("/v1/chat/completions", &chat("and now?", false)).await.unwrap();
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.text().contains("given up"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_nobody_supervises_any_more_take_nothing_new() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    until("their supervisor is given up", Duration::from_secs(20), async || {
        let _ = node.inject("workers", "kill").await;
        node.worker("a/engine").await.is_some_and(|worker| worker.state == "failed")
    })
    .await;
    let reply = node.client.post_json("/v1/chat/completions", &chat("anybody?", false)).await.unwrap();
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.text().contains("given up"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_one_folder_is_refused_by_name_of_the_first() {
    let mut lab = Lab::single();
    lab.node(Setup::new("a")).await;
    let mut double = lab.nodes[0].double();
    let exit = double.wait(SOON).await.unwrap();
    assert!(!exit.success());
    let said = double.stderr();
    assert!(said.contains(&lab.nodes[0].child.pid().to_string()), "{said}");
    assert!(said.contains("hint:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("a.toml");
    let data = dir.path().display();
    let toml = format!("[node]\nname = \"a\"\ndata_dir = \"{data}\"\n[http]\nlisten = \"{address}\"\n");
    std::fs::write(&config, toml).unwrap();
    let args = ["--config", config.to_str().unwrap()];
    let mut child = Child::start("tmd", binary("tmd").unwrap(), &args).unwrap();
    assert!(!child.wait(SOON).await.unwrap().success());
    let said = child.stderr();
    assert!(said.contains("http.listen") && said.contains(&address.to_string()) && said.contains("hint:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_finishes_what_other_nodes_answer() {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers("llamacpp", 1, &["--token", "150ms"], "").await;
    let mut stream = lab.http(0).stream("/v1/chat/completions", &Face::Chat.body("goodbye")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 1).await;
    lab.nodes[0].child.terminate().unwrap();
    let since = Instant::now();
    stream.tell(&mut told).await;
    assert!(told.is_good(), "after {:?}: {told:?}", since.elapsed());
    assert_eq!(told.text, Face::Chat.answer("goodbye"));
    // Shorter, it would prove nothing: connections get some seconds to close in any case.
    assert!(since.elapsed() > Duration::from_secs(4), "{:?}", since.elapsed());
    assert_eq!(lab.nodes[0].child.wait(Duration::from_secs(10)).await.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_is_made_without_a_running_node_and_opens_its_doors() {
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("tmd.toml");
    let toml = "[node]\nname = \"a\"\ndata_dir = \"data\"\n[http]\nlisten = \"127.0.0.1:0\"\n[grpc]\nlisten = \"127.0.0.1:0\"\n\
                [peers]\nlisten = \"127.0.0.1:0\"\n[auth]\nkeys = \"store\"\n";
    std::fs::write(&config, toml).unwrap();
    let (tmd, config) = (binary("tmd").unwrap(), config.display().to_string());
    let mut made = Child::start("first-key", &tmd, &["first-key", "laptop", "--config", &config]).unwrap();
    assert!(made.wait(Duration::from_secs(20)).await.unwrap().success(), "{}", made.stderr());
    let key = made.stdout().trim().to_owned();
    assert!(key.starts_with("tm-"), "{key}");
    let mut twice = Child::start("first-key again", &tmd, &["first-key", "laptop", "--config", &config]).unwrap();
    assert_eq!(twice.wait(Duration::from_secs(20)).await.unwrap().code(), Some(1));
    assert!(twice.stderr().contains("exists already"), "{}", twice.stderr());

    let mut node = Child::start("node", &tmd, &["--config", &config]).unwrap();
    let ready = node.wait_line("ready http=", Duration::from_secs(20)).await.unwrap();
    let address = ready.split_whitespace().find_map(|part| part.strip_prefix("http=")).unwrap();
    assert_eq!(Client::new(address).get("/v1/models").await.unwrap().status, 401);
    let with_key = Client::new(address).with_header("authorization", &format!("Bearer {key}"));
    until("the node knows the key", Duration::from_secs(5), async || {
        with_key.get("/v1/models").await.is_ok_and(|reply| reply.status == 200)
    })
    .await;
}
