//! The network between machines breaks, in every way that a home's does: what can be reached goes on, nothing acts twice,
//! nothing hangs, and not a packet leaves the house.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::client::Client;

use crate::bed::{Acting, Home, LEASE_TTL, MODEL, Probe, STORE, eventually, gateway, worker};
use crate::lab::is_soak;

/// A node that cannot be heard is left by routing within this time.
const LEFT: Duration = Duration::from_secs(2);
/// After this long a fault of one cable must not show in new asks any more.
const RECOVERED: Duration = Duration::from_secs(10);
/// A dead connection is noticed by its keep-alive within this time, and the ask made again.
const DEAD_NOTICED: Duration = Duration::from_secs(8);

fn is_good(probe: &&Probe) -> bool {
    probe.status == 200
}

/// The share of good answers among the asks that were sent from `from` on.
fn good_share(probes: &[Probe], from: Instant) -> f64 {
    let sent: Vec<&Probe> = probes.iter().filter(|probe| probe.at >= from).collect();
    let good = sent.iter().filter(|probe| is_good(probe)).count();
    good as f64 / sent.len().max(1) as f64
}

/// What the asks that were not answered were told.
fn bad(probes: &[Probe]) -> Vec<(u16, Duration, &str)> {
    let bad = probes.iter().filter(|probe| !is_good(probe));
    bad.map(|probe| (probe.status, probe.took, probe.refusal.as_str())).collect()
}

#[tokio::test]
async fn a_leader_cut_from_the_rest_stops_acting_before_the_next_one_begins() -> Result<()> {
    const NAMES: [&str; 3] = ["n1", "n2", "n3"];
    const WATCHED: Duration = Duration::from_secs(15);
    let Some(home) = Home::start("itlead", &NAMES.map(worker)).await? else { return Ok(()) };
    let (leader, epoch) = home.leader("n1")?;
    let rest: Vec<&str> = NAMES.into_iter().filter(|name| *name != leader).collect();
    let mut watches = Vec::new();
    for name in NAMES {
        watches.push(home.acting(name, WATCHED)?);
    }
    let (of_the_rest, of_the_cut_one) = (home.probe(rest[0], WATCHED), home.probe(&leader, WATCHED));
    home.bed.call("partition", &[&leader, &format!("{},{STORE}", rest.join(","))])?;
    let cut = Instant::now();
    eventually(Duration::from_secs(5) + LEASE_TTL, || async {
        let (name, next) = home.leader(rest[0])?;
        ensure!(name != leader && next > epoch, "{name} leads, epoch {next}");
        Ok(())
    })
    .await?;
    let took = cut.elapsed();
    let mut looks = Vec::new();
    for watch in watches {
        looks.push(watch.await?);
    }
    ensure!(took <= Duration::from_secs(5) + LEASE_TTL, "the next leader came after {took:?}");
    nobody_acted_beside_another(&looks)?;
    for probes in [of_the_rest.await?, of_the_cut_one.await?] {
        // Both sides have engines: also the one without the store goes on.
        ensure!(good_share(&probes, cut + DEAD_NOTICED) >= 0.99, "{:?}", bad(&probes));
    }
    home.bed.heal()?;
    home.settled().await?;
    home.nothing_panicked()
}

/// Each epoch belongs to one node, and none was acted on after a later one was.
fn nobody_acted_beside_another(looks: &[Vec<Acting>]) -> Result<()> {
    let acts = looks.iter().enumerate().flat_map(|(node, looks)| looks.iter().map(move |look| (node, look)));
    let acts: Vec<(usize, &Acting)> = acts.filter(|(_, look)| look.epoch.is_some()).collect();
    ensure!(acts.iter().any(|(_, look)| look.epoch != acts[0].1.epoch), "only one epoch was seen");
    for (node, look) in &acts {
        for (other, later) in acts.iter().filter(|(_, later)| later.epoch >= look.epoch) {
            let is_same = look.epoch == later.epoch;
            ensure!(!is_same || node == other, "two nodes acted on epoch {:?}", look.epoch);
            let overlap = look.from.saturating_duration_since(later.to);
            ensure!(
                is_same || overlap.is_zero(),
                "{:?} still acted {overlap:?} after {:?} did",
                look.epoch,
                later.epoch
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_worker_that_the_leader_cannot_reach_gets_no_work_of_it_though_its_lease_holds() -> Result<()> {
    const NAMES: [&str; 3] = ["n1", "n2", "n3"];
    let Some(home) = Home::start("itcut", &NAMES.map(worker)).await? else { return Ok(()) };
    let (leader, epoch) = home.leader("n1")?;
    let cut_off = NAMES.into_iter().find(|name| *name != leader).context("a node that does not lead")?;
    home.bed.call("partition", &[&leader, cut_off])?;
    let cut = Instant::now();
    let probes = home.probe(&leader, RECOVERED + Duration::from_secs(4)).await?;
    ensure!(home.state(&leader, cut_off)? == "suspect", "its lease is good, its heartbeats are not");
    ensure!(home.leader(&leader)? == (leader.clone(), epoch), "the leadership has nothing to do with it");
    ensure!(good_share(&probes, cut + RECOVERED) >= 0.99, "{:?}", bad(&probes));
    let late = probes.iter().filter(|probe| probe.at > cut + LEFT && probe.node == cut_off).count();
    ensure!(late == 0, "{late} asks went to the node that cannot be reached");
    // The reverse: it is heard, but its lease ends.
    home.bed.heal()?;
    home.settled().await?;
    home.bed.call("partition", &[STORE, cut_off])?;
    eventually(LEASE_TTL * 3, || async {
        let state = home.state(&leader, cut_off)?;
        ensure!(state == "stale", "it is {state}");
        Ok(())
    })
    .await?;
    for name in [leader.as_str(), cut_off] {
        let probes = home.probe(name, Duration::from_secs(4)).await?;
        ensure!(bad(&probes).is_empty(), "at {name}: {:?}", bad(&probes));
    }
    home.bed.heal()?;
    home.settled().await?;
    home.nothing_panicked()
}

#[tokio::test]
async fn a_gateway_cut_from_all_workers_refuses_at_once_and_says_why() -> Result<()> {
    let Some(home) = Home::start("itgate", &[gateway("n1"), worker("n2"), worker("n3")]).await? else { return Ok(()) };
    home.bed.call("partition", &["n1", "n2,n3"])?;
    for name in ["n2", "n3"] {
        eventually(LEFT + Duration::from_secs(2), || async {
            let state = home.state("n1", name)?;
            ensure!(state == "suspect", "{name} is {state}");
            Ok(())
        })
        .await?;
    }
    let probes = home.probe("n1", Duration::from_secs(3)).await?;
    for probe in &probes {
        let is_refused = probe.status == 503 && !probe.retry_after.is_empty() && probe.took < Duration::from_secs(1);
        ensure!(is_refused, "{} after {:?}: {}", probe.status, probe.took, probe.refusal);
    }
    let (status, reasons) = home.get("n1", "/readyz").await?;
    ensure!(status == 503 && reasons.contains("no worker of the cluster is ready"), "{status} {reasons}");
    home.bed.heal()?;
    home.settled().await?;
    let probes = home.probe("n1", Duration::from_secs(2)).await?;
    ensure!(bad(&probes).is_empty(), "{:?}", bad(&probes));
    home.nothing_panicked()
}

#[tokio::test]
async fn a_gateway_without_the_store_serves_on_and_says_that_its_view_is_old() -> Result<()> {
    let Some(home) = Home::start("itstore", &[gateway("n1"), worker("n2"), worker("n3")]).await? else { return Ok(()) };
    home.bed.call("partition", &["n1", STORE])?;
    let probes = home.probe("n1", Duration::from_secs(12)).await?;
    ensure!(bad(&probes).is_empty(), "{:?}", bad(&probes));
    let (status, reasons) = home.get("n1", "/readyz").await?;
    ensure!(status == 200 && reasons.contains("the store has not answered"), "{status} {reasons}");
    let (_, metrics) = home.get("n1", "/metrics").await?;
    let line = metrics.lines().find(|line| line.starts_with("tm_view_stale_seconds")).context("no metric")?;
    let stale: f64 = line.rsplit(' ').next().unwrap_or("").parse()?;
    ensure!(stale > 5.0, "{line}");
    // What the store must keep is refused, and soon.
    let begin = Instant::now();
    let refusal = home.tmctl("n1", &["keys", "create", "later"]).err().context("a key was made without the store")?;
    ensure!(begin.elapsed() < Duration::from_secs(5), "refused after {:?}: {refusal:#}", begin.elapsed());
    home.bed.heal()?;
    home.settled().await?;
    home.nothing_panicked()
}

#[tokio::test]
async fn nodes_of_which_only_one_hears_the_other_settle_on_one_answer() -> Result<()> {
    let Some(home) = Home::start("itone", &[worker("n1"), worker("n2"), worker("n3")]).await? else { return Ok(()) };
    home.bed.call("oneway", &["n2", "n1"])?;
    let cut = Instant::now();
    let probes = [home.probe("n1", RECOVERED * 2), home.probe("n2", RECOVERED * 2)];
    let mut states = Vec::new();
    while cut.elapsed() < RECOVERED * 2 {
        states.push((cut.elapsed(), home.state("n1", "n2")?, home.state("n2", "n1")?));
    }
    for probes in probes {
        let probes = probes.await?;
        ensure!(good_share(&probes, cut + RECOVERED) >= 0.99, "{:?}", bad(&probes));
    }
    let late = states.iter().filter(|(at, _, _)| *at > RECOVERED);
    let settled: std::collections::BTreeSet<_> = late.map(|(_, of_n2, of_n1)| (of_n2, of_n1)).collect();
    ensure!(settled.len() == 1, "the views do not settle: {states:?}");
    home.bed.heal()?;
    home.settled().await?;
    home.nothing_panicked()
}

#[tokio::test]
async fn no_ask_hangs_in_a_connection_whose_cable_was_pulled() -> Result<()> {
    let Some(home) = Home::start("itcable", &[gateway("n1"), worker("n2"), worker("n3")]).await? else { return Ok(()) };
    // Every connection is open when the cable goes, and the node behind it is the one that routing likes best.
    let before = home.probe("n1", Duration::from_secs(2)).await?;
    let used = before.last().context("no ask was sent")?.node.clone();
    ensure!(["n2", "n3"].contains(&used.as_str()), "{:?}", bad(&before));
    home.bed.call("linkdown", &[&used])?;
    let cut = Instant::now();
    let probes = home.probe("n1", RECOVERED).await?;
    ensure!(bad(&probes).is_empty(), "{:?}", bad(&probes));
    let slowest = probes.iter().map(|probe| probe.took).max().unwrap_or_default();
    ensure!(slowest < DEAD_NOTICED, "an ask took {slowest:?}");
    let late = probes.iter().filter(|probe| probe.at > cut + LEFT);
    let slowest = late.map(|probe| probe.took).max().unwrap_or_default();
    ensure!(slowest < Duration::from_secs(1), "an ask took {slowest:?} after the node was left");
    home.bed.heal()?;
    home.settled().await?;
    home.nothing_panicked()
}

#[tokio::test]
async fn streams_outlive_the_cable_of_their_worker() -> Result<()> {
    streams_outlive("itlink", &["linkdown", "n2"]).await
}

#[tokio::test]
async fn streams_outlive_a_path_that_swallows_every_acknowledgement() -> Result<()> {
    streams_outlive("ithole", &["blackhole", "n2", "3003"]).await
}

/// Waits until the engine of a node has begun to answer.
async fn is_in_the_middle(home: &Home, node: &str) -> Result<()> {
    eventually(Duration::from_secs(10), || async {
        let now = engine_stats(home, node).await?;
        let (running, tokens) = (now["running"].as_u64(), now["tokens_generated"].as_u64());
        ensure!(running > Some(0) && tokens > Some(50), "{running:?} run, {tokens:?} tokens");
        Ok(())
    })
    .await
}

async fn engine_stats(home: &Home, node: &str) -> Result<Value> {
    let stats = || async { Client::new("127.0.0.1:8080").get("/fake/stats").await?.json() };
    home.bed.within(node, stats).await
}

/// The link to a worker's node dies in the middle of streams: every client has the whole text.
async fn streams_outlive(lab: &str, fault: &[&str]) -> Result<()> {
    const STREAMS: usize = 20;
    const TOKENS: usize = 150;
    let Some(home) = Home::start(lab, &[gateway("n1"), worker("n2"), worker("n3")]).await? else { return Ok(()) };
    for name in ["n2", "n3"] {
        home.engine(name, json!({"tokens": TOKENS, "token_ms": 20})).await?;
    }
    let streams = home.streams("n1", STREAMS, TOKENS);
    is_in_the_middle(&home, "n2").await?;
    home.bed.call(fault[0], &fault[1..])?;
    for (told, wanted) in streams.await? {
        ensure!(told.is_good(), "{told:?}");
        ensure!(told.text == wanted, "the text is not exact: {}\nnot {wanted}", told.text);
    }
    home.bed.heal()?;
    home.settled().await?;
    home.nothing_panicked()
}

#[tokio::test]
async fn a_machine_that_stood_still_comes_back_as_another_life_and_drops_what_it_did() -> Result<()> {
    const STREAMS: usize = 20;
    const TOKENS: usize = 150;
    let frozen_for = Duration::from_secs(if is_soak() { 20 } else { 7 });
    let Some(home) = Home::start("itfreeze", &[gateway("n1"), worker("n2"), worker("n3")]).await? else {
        return Ok(());
    };
    for name in ["n2", "n3"] {
        home.engine(name, json!({"tokens": TOKENS, "token_ms": 20})).await?;
    }
    let incarnation = || {
        let nodes = home.nodes("n1")?;
        let seen = nodes.iter().find(|node| node["name"] == "n2").context("n2 is gone")?;
        seen["incarnation"].as_u64().context("it has no incarnation")
    };
    let before = incarnation()?;
    let streams = home.streams("n1", STREAMS, TOKENS);
    is_in_the_middle(&home, "n2").await?;
    if !home.bed.call_if_able("freeze", &["n2"])? {
        return Ok(());
    }
    let frozen = Instant::now();
    for (told, wanted) in streams.await? {
        ensure!(told.is_good() && told.text == wanted, "{told:?}\nnot {wanted}");
    }
    eventually(RECOVERED, || async {
        let state = home.state("n1", "n2")?;
        ensure!(state == "lost", "it is {state}");
        Ok(())
    })
    .await?;
    ensure!(frozen.elapsed() < RECOVERED, "lost only after {:?}", frozen.elapsed());
    let (_, metrics) = home.get("n1", "/metrics").await?;
    ensure!(metrics.contains("tm_node_state{node=\"n2\",state=\"lost\"} 1"), "no metric tells of it");
    let probes = home.probe("n1", frozen_for.saturating_sub(frozen.elapsed()).max(Duration::from_secs(1))).await?;
    ensure!(bad(&probes).is_empty(), "{:?}", bad(&probes));
    home.bed.call("thaw", &["n2"])?;
    home.settled().await?;
    ensure!(incarnation()? > before, "its lease had ended, and its life with it");
    eventually(RECOVERED, || async {
        let running = engine_stats(&home, "n2").await?["running"].clone();
        ensure!(running == 0, "its engine still works on {running} asks that others have answered");
        Ok(())
    })
    .await?;
    home.nothing_panicked()
}

#[tokio::test]
async fn not_a_packet_leaves_a_local_only_house_in_a_day_and_only_what_is_named_once_it_is_opened() -> Result<()> {
    const OUTSIDE: &str = "198.51.100.7";
    let Some(home) = Home::start("itlocal", &[worker("n1"), worker("n2")]).await? else { return Ok(()) };
    home.bed.call("internet", &[])?;
    let cloud = format!(
        "[[workers]]\nname = \"cloud\"\nbackend = \"anthropic\"\nurl = \"https://{OUTSIDE}\"\nkey_file = \"cloud.key\"\n\
         models = [\"claude\"]\n[privacy]\nmode = \"local-only\"\n[research]\nfolders = [{:?}]\n",
        home.file("docs")
    );
    std::fs::create_dir(home.file("docs"))?;
    home.write_file("docs/tank.md", "# Tank\n\nThe tank holds 300 litres.\n")?;
    home.write_file("cloud.key", "sk-ant-not-a-key")?;
    home.write_file(
        "plan.md",
        "# Pump\n\n- The pump starts when the soil is dry.\n- The pump stops when the tank is empty.\n",
    )?;
    home.write_config(worker("n1"), "store", &cloud)?;
    home.bed.call("kill", &["n1", "tmd", "KILL"])?;
    home.start_node("n1")?;
    eventually(Duration::from_secs(20), || async {
        let seen = home.items("n1", "workers")?;
        ensure!(seen.iter().filter(|worker| worker["state"] == "ready").count() >= 2, "{seen:?}");
        Ok(())
    })
    .await?;
    let client = home.client();
    let statuses = home.bed.within("n1", move || every_face(client)).await?;
    every_face_answered(&statuses)?;
    let (notes, docs) = (home.file("plan.md"), home.file("docs"));
    let (backup, passphrase) = (home.file("house.age"), home.file("passphrase"));
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o600))?;
    for noun in [
        &["models"][..],
        &["failures"],
        &["doctor"],
        &["projects", "add", "pump"],
        &["plan", "parse", &notes, "--project", "pump"],
        &["tasks", "list", "--project", "pump"],
        &["research", "add", &notes],
        &["research", "add", "--watch", &docs],
        &["research", "ask", "when does the pump start?", "--extractive"],
        &["mode", "history"],
        &["backup", "--to", &backup, "--passphrase-file", &passphrase],
    ] {
        home.tmctl("n1", noun)?;
    }
    // Not all is well, and that is said: a worker lies outside a house that is shut, and the engine answers nothing true.
    for (noun, told) in [
        (&["health"][..], "n1/cloud"),
        (&["research", "loop", "when does the pump stop?", "--deadline", "5s"], "nothing was found"),
    ] {
        let said = home.tmctl("n1", noun).unwrap_or_else(|error| format!("{error:#}"));
        ensure!(said.contains(told), "{noun:?}: {said}");
    }
    let client = home.client();
    let told = home.bed.within("n1", move || every_way_to_ask_documents(client)).await?;
    ensure!(told.iter().all(|(_, status, _)| *status == 200), "{told:#?}");
    ensure!(told[..2].iter().all(|(_, _, said)| said.contains("when the soil is dry")), "{told:#?}");
    eventually(Duration::from_secs(20), || async {
        let found = home.tmctl("n1", &["research", "search", "how many litres does the tank hold"])?;
        ensure!(found.contains("tank.md"), "{found}");
        Ok(())
    })
    .await?;
    for outwards in [
        &["research", "add", "https://example.org/pump"][..],
        &["research", "add", "http://198.51.100.9/pump"],
        &["models", "pull", "llama3.1:8b"],
        &["models", "pull", "models.example/a/b"],
    ] {
        ensure!(home.tmctl("n1", outwards).is_err(), "{outwards:?} was not refused");
    }
    let left = home.bed.call("egress", &[])?;
    ensure!(left.is_empty(), "something left the house:\n{left}");
    let report = home.tmctl("n2", &["privacy", "report"])?;
    ensure!(report.starts_with("nothing left the house") && report.contains("198.51.100.9:80"), "{report}");
    home.tmctl("n1", &["privacy", "verify"])?;
    // Opened by its owner, exactly what was named is asked for.
    home.tmctl("n2", &["mode", "set", "external-preferred", "--reason", "a trial"])?;
    let client = home.client();
    home.bed.within("n1", move || every_face(client)).await?;
    let left = home.bed.call("egress", &[])?;
    let is_named = |line: &str| line.starts_with(&format!("tcp {OUTSIDE} 443 "));
    ensure!(!left.is_empty() && left.lines().all(is_named), "not what was named left the house:\n{left}");
    let report = home.tmctl("n2", &["privacy", "report"])?;
    ensure!(report.contains("connections left the house") && report.contains(OUTSIDE), "{report}");
    // The stand-in would have seen it.
    let outside = || async {
        let dial = tokio::net::TcpStream::connect("93.184.216.34:443");
        Ok(tokio::time::timeout(Duration::from_secs(3), dial).await.is_ok())
    };
    home.bed.within("n1", outside).await?;
    ensure!(home.bed.call("egress", &[])?.contains("93.184.216.34 443"), "the stand-in internet sees nothing");
    home.nothing_panicked()
}

/// Each path was answered well at least once, for whichever model.
fn every_face_answered(statuses: &[(&'static str, &'static str, u16)]) -> Result<()> {
    let is_answered = |path: &str| statuses.iter().any(|(other, _, status)| *other == path && *status == 200);
    let silent: Vec<_> = statuses.iter().filter(|(path, _, _)| !is_answered(path)).collect();
    ensure!(silent.is_empty(), "{silent:?}");
    Ok(())
}

/// The question goes through everything that answers out of documents.
async fn every_way_to_ask_documents(client: Client) -> Result<Vec<(&'static str, u16, String)>> {
    const QUESTION: &str = "when does the pump start?";
    let tool = |name: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    let client = client.with_header("accept", "application/json, text/event-stream");
    let mut told = Vec::new();
    for (path, body) in [
        ("/api/research/ask", json!({"question": QUESTION, "mode": "extractive"})),
        ("/mcp", tool("search_documents", json!({"query": QUESTION}))),
        ("/mcp", tool("research", json!({"query": QUESTION}))),
        ("/v1/agent", json!({"model": "sonar", "input": QUESTION})),
        ("/chat/completions", json!({"model": "sonar", "messages": [{"role": "user", "content": QUESTION}]})),
    ] {
        let reply = client.post_json(path, &body).await?;
        told.push((path, reply.status, reply.text()));
    }
    Ok(told)
}

/// One ask of every face, for a model of the house, one of a cloud, and one that nobody has.
async fn every_face(client: Client) -> Result<Vec<(&'static str, &'static str, u16)>> {
    let mut statuses = Vec::new();
    for model in [MODEL, "claude", "claude-3-5-sonnet-latest", "gpt-4o", "auto", "nobody/has:this"] {
        let messages = json!([{"role": "user", "content": "hello"}]);
        for (path, body) in [
            ("/v1/chat/completions", json!({"model": model, "messages": messages})),
            ("/v1/chat/completions", json!({"model": model, "messages": messages, "stream": true})),
            ("/v1/completions", json!({"model": model, "prompt": "hello", "max_tokens": 5})),
            ("/v1/embeddings", json!({"model": model, "input": "hello"})),
            ("/v1/messages", json!({"model": model, "messages": messages, "max_tokens": 5})),
            ("/api/chat", json!({"model": model, "messages": messages})),
            ("/api/generate", json!({"model": model, "prompt": "hello"})),
            ("/api/embed", json!({"model": model, "input": "hello"})),
            ("/api/show", json!({"model": model})),
        ] {
            statuses.push((path, model, client.post_json(path, &body).await?.status));
        }
    }
    for path in ["/", "/v1/models", "/api/tags", "/api/ps", "/api/version", "/metrics", "/readyz"] {
        statuses.push((path, "", client.get(path).await?.status));
    }
    Ok(statuses)
}
