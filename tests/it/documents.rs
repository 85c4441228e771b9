//! Documents of a cluster: on two nodes before they are acknowledged, found by every node in the same way, whichever
//! others are off, and by a node whose indexer has just broken down.

use std::path::PathBuf;

use proto::research::research_client::ResearchClient;
use proto::research::{AskRequest, GetDocumentRequest, Hit, SearchRequest, Span, StatusRequest, StatusResponse};
use serde_json::json;
use sha2::{Digest, Sha256};
use tonic::transport::{Channel, Endpoint};

use crate::lab::{Lab, Node, SOON, Setup, until};

const NOTES: [(&str, &str); 3] = [
    ("pump.md", "# The pump\n\nThe pump starts when the soil is dry. It stops when the tank is empty.\n"),
    ("lamp.md", "# The lamp\n\nThe lamp follows the sun. When the tank is empty, the lamp is red.\n"),
    ("tank.md", "# The tank\n\nThe tank holds 300 litres.\n\n## Care\n\nIt is cleaned in spring, without soap.\n"),
];
const QUESTION: &str = "what happens when the tank is empty";

/// Adds a text under a name.
async fn add(node: &Node, name: &str, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("added.md");
    std::fs::write(&file, text).unwrap();
    node.done(&["research", "add", file.to_str().unwrap(), "--source", name]).await
}

fn research(node: &Node) -> ResearchClient<Channel> {
    ResearchClient::new(Endpoint::from_shared(format!("http://{}", node.grpc)).unwrap().timeout(SOON).connect_lazy())
}

async fn status(node: &Node) -> Option<StatusResponse> {
    Some(research(node).status(StatusRequest {}).await.ok()?.into_inner())
}

/// What is found, and where; `None` where the node cannot tell now.
async fn found(node: &Node, question: &str) -> Option<Vec<Hit>> {
    let request = SearchRequest { question: question.to_owned(), ..SearchRequest::default() };
    Some(research(node).search(request).await.ok()?.into_inner().hits)
}

async fn sources(node: &Node, question: &str) -> Vec<String> {
    found(node, question).await.unwrap_or_default().into_iter().map(|hit| hit.source).collect()
}

/// The nodes that have a file with these bytes.
fn holders(lab: &Lab, bytes: &str) -> Vec<String> {
    let name: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let (folder, rest) = name.split_at(2);
    let has = |node: &&Node| files(node).join(folder).join(rest).exists();
    lab.nodes.iter().filter(has).map(|node| node.name.clone()).collect()
}

fn files(node: &Node) -> PathBuf {
    node.data().join("research/files")
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_found_alike_by_every_node_whichever_others_are_off() {
    let mut lab = Lab::cluster().await;
    for name in ["a", "b", "c"] {
        lab.node(Setup::new(name)).await;
    }
    for at in 0..3 {
        lab.nodes_are(at, "alive", &["a", "b", "c"], SOON).await;
    }
    for (name, text) in NOTES {
        let told = add(&lab.nodes[0], name, text).await;
        assert!(told.contains("1 added; on 2 nodes"), "{told}");
        let holders = holders(&lab, text);
        assert!(holders.len() >= 2 && holders[0] == "a", "{name} is on {holders:?}");
    }
    until("every node has indexed all", SOON, async || {
        let mut all = true;
        for node in &lab.nodes {
            all &= status(node).await.is_some_and(|status| status.waiting == 0 && status.chunks >= 3);
        }
        all
    })
    .await;
    let hits = found(&lab.nodes[0], QUESTION).await.unwrap();
    assert!(hits.len() >= 2, "{hits:?}");

    lab.nodes[0].child.kill().await.unwrap();
    for node in &lab.nodes[1..] {
        assert_eq!(found(node, QUESTION).await.unwrap(), hits, "at {}", node.name);
    }
    let is_written = async || status(&lab.nodes[1]).await.is_some_and(|status| ["b", "c"].contains(&&*status.writer));
    until("another node writes", SOON, is_written).await;
    until("a is known to be off", SOON, async || {
        let nodes = lab.nodes[1].nodes().await.unwrap_or_default();
        nodes.iter().any(|node| node.name == "a" && node.state != "alive")
    })
    .await;
    let told = add(&lab.nodes[1], "sun.md", "The sun rises in the east.\n").await;
    assert!(told.contains("1 added; on 2 nodes"), "{told}");

    std::fs::remove_dir_all(lab.nodes[0].data().join("research")).unwrap();
    lab.nodes[0].again().await;
    // One document more changes how much each word tells, and so the scores.
    let hits = found(&lab.nodes[1], QUESTION).await.unwrap();
    until("a has caught up", SOON, async || found(&lab.nodes[0], QUESTION).await.as_ref() == Some(&hits)).await;
    assert!(sources(&lab.nodes[0], "sun east").await.contains(&"sun.md".to_owned()));

    // Nobody else is left, and that is said.
    for node in &mut lab.nodes[1..] {
        node.child.kill().await.unwrap();
    }
    assert_eq!(found(&lab.nodes[0], QUESTION).await.unwrap(), hits);
    let told = add(&lab.nodes[0], "moon.md", "The moon has no light of its own.\n").await;
    assert!(told.contains("1 added; on 1 node\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_go_on_while_the_indexer_breaks_down_and_it_comes_back() {
    let mut lab = Lab::single();
    lab.node(Setup::new("alone")).await;
    let node = &lab.nodes[0];
    for (name, text) in NOTES {
        let told = add(node, name, text).await;
        assert!(told.contains("1 added; on 1 node\n"), "{told}");
    }
    // Where, and not how well: what comes later changes how much each word tells.
    let spans = async || found(node, QUESTION).await.map(|hits| hits.into_iter().map(|hit| hit.span).collect());
    let before: Vec<Option<Span>> = spans().await.unwrap();
    assert!(before.len() >= 2, "{before:?}");
    for round in 1..=2 {
        node.inject("indexer", "panic").await.unwrap();
        until("the indexer is back", SOON, async || {
            assert_eq!(spans().await.as_ref(), Some(&before));
            let actors = node.actors().await.unwrap_or_default();
            actors.iter().any(|one| one.name == "indexer" && one.restarts == round && !one.snapshot_json.is_empty())
        })
        .await;
        let name = format!("{round}.md");
        add(node, &name, &format!("Note {round} is about a rocket.\n")).await;
        until("it is indexed", SOON, async || sources(node, "rocket").await.contains(&name)).await;
    }
    let request = GetDocumentRequest { collection: "house".into(), document: "1.md".into(), ..Default::default() };
    let document = research(node).get_document(request).await.unwrap().into_inner();
    assert_eq!(document.text.trim_end(), "Note 1 is about a rocket.");
    assert_eq!(node.metric("tm_actor_restarts_total{actor=\"indexer\"}").await, 2.0);
}

/// A question in Perplexity's protocol, which is answered with citations.
async fn sonar_cites(node: &Node) {
    let body = json!({"model": "sonar", "messages": [{"role": "user", "content": QUESTION}]});
    let reply = node.client.post_json("/chat/completions", &body).await.unwrap();
    let answer = reply.json().unwrap();
    assert_eq!(reply.status, 200, "{answer}");
    assert!(answer["citations"].as_array().is_some_and(|all| !all.is_empty()), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_no_documents_answers_by_those_that_do() {
    let mut lab = Lab::cluster().await;
    lab.node(Setup::new("gateway").without_documents()).await;
    lab.nodes_are(0, "alive", &["gateway"], SOON).await;
    let said = lab.nodes[0].refused(&["research", "search", "tank"]).await;
    assert!(said.contains("keeps no documents") && said.contains("hint:"), "{said}");

    for name in ["nas", "desk"] {
        lab.node(Setup::new(name)).await;
    }
    for at in 0..3 {
        lab.nodes_are(at, "alive", &["desk", "gateway", "nas"], SOON).await;
    }
    let keeper_is_heard = async || status(&lab.nodes[0]).await.is_some_and(|status| status.holders.len() == 2);
    until("the keepers are heard", SOON, keeper_is_heard).await;
    for (name, text) in NOTES {
        let told = add(&lab.nodes[0], name, text).await;
        assert!(told.contains("1 added; on 2 nodes"), "{told}");
        assert!(!holders(&lab, text).contains(&"gateway".to_owned()));
    }
    until("every node has indexed all", SOON, async || {
        let mut all = true;
        for node in &lab.nodes[1..] {
            all &= status(node).await.is_some_and(|status| status.waiting == 0 && status.chunks >= 3);
        }
        all
    })
    .await;
    let hits = found(&lab.nodes[1], QUESTION).await.unwrap();
    assert!(hits.len() >= 2, "{hits:?}");
    assert_eq!(found(&lab.nodes[0], QUESTION).await.unwrap(), hits);
    sonar_cites(&lab.nodes[0]).await;
    let answered = lab.nodes[0].done(&["research", "ask", QUESTION]).await;
    assert!(answered.contains("tank.md") || answered.contains("pump.md"), "{answered}");
    let dir = tempfile::tempdir().unwrap();
    lab.nodes[0].done(&["research", "export", dir.path().join("out").to_str().unwrap()]).await;
    let exported = std::fs::read_dir(dir.path().join("out/files")).unwrap().flatten();
    let texts: Vec<String> = exported.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
    assert!(NOTES.iter().all(|(_, text)| texts.iter().any(|exported| exported == text)), "{texts:?}");
    let said = lab.nodes[0].refused(&["research", "add", dir.path().to_str().unwrap(), "--watch"]).await;
    assert!(said.contains("`gateway` keeps no documents"), "{said}");

    // Whoever is left answers at once, also before it is known who is off.
    lab.nodes[1].child.kill().await.unwrap();
    for _ in 0..8 {
        assert_eq!(found(&lab.nodes[0], QUESTION).await.as_ref(), Some(&hits));
    }
    sonar_cites(&lab.nodes[0]).await;
}

/// A gateway that keeps no documents, and `nas`, which does and has one.
async fn gateway_and_nas(lab: &mut Lab, gateway: Setup, nas: Setup) {
    lab.node(gateway.without_documents()).await;
    lab.node(nas).await;
    for at in 0..2 {
        lab.nodes_are(at, "alive", &["gateway", "nas"], SOON).await;
    }
    add(&lab.nodes[1], NOTES[0].0, NOTES[0].1).await;
    until("it is indexed", SOON, async || status(&lab.nodes[1]).await.is_some_and(|status| status.chunks > 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_a_node_without_documents_ends_the_work_where_they_are() {
    let mut lab = Lab::cluster().await;
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    let roles = "[roles]\nresearch = [\"fake\"]";
    let nas = Setup::new("nas").worker("engine", "llamacpp", &url).more(roles);
    gateway_and_nas(&mut lab, Setup::new("gateway").more(roles), nas).await;
    lab.workers_are(0, "ready", 1).await;
    lab.engines[0].control(&json!({"fail": {"hang_mid": 2}})).await.unwrap();
    let running = async || lab.engines[0].stats().await.unwrap()["running"].as_u64().unwrap();
    let request = AskRequest { question: QUESTION.to_owned(), mode: "model".to_owned(), ..AskRequest::default() };
    let mut told = research(&lab.nodes[0]).ask(request).await.unwrap().into_inner();
    until("the model writes", SOON, async || running().await > 0).await;
    assert!(told.message().await.unwrap().is_some(), "what is done is told");
    drop(told);
    until("it has stopped", SOON, async || running().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_local_only_asks_none_that_may_ask_outside() {
    let local = Setup::new("gateway").more("[privacy]\nmode = \"local-only\"\nlock = true");
    let open = Setup::new("nas").more("[privacy]\nmode = \"hybrid\"");
    let mut lab = Lab::cluster().await;
    gateway_and_nas(&mut lab, local, open).await;
    let said = lab.nodes[0].refused(&["research", "search", "pump"]).await;
    assert!(said.contains("`nas` may send out of the house"), "{said}");
    assert!(said.contains("hint: ask node `nas` itself"), "{said}");
    lab.nodes[1].done(&["mode", "set", "local-only"]).await;
    until("it may ask", SOON, async || found(&lab.nodes[0], "pump").await.is_some_and(|hits| !hits.is_empty())).await;
}
