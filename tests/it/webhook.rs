//! GitHub's webhook at nodes of a cluster: a signed delivery changes tasks once, at whichever node; a refused one leaves
//! nothing behind.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::Revision;
use tests::client::{Client, Reply};

use crate::lab::{Lab, SOON, Setup};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const MORE: &str =
    "[hooks.github]\nsecret = \"0123456789abcdef0123456789abcdef\"\nproject = \"home\"\n[limits]\nbody = \"64KiB\"\n";
/// Below this everything is that a delivery may change.
const PROJECTS: &str = "projects/";

/// HMAC-SHA-256 as RFC 2104 has it, written as GitHub does.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(secret.bytes()).for_each(|(byte, of_secret)| *byte ^= of_secret);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(body).finalize();
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
    outer.iter().fold("sha256=".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What GitHub sends of an issue.
pub fn issue(number: u64, action: &str, at: &str) -> Vec<u8> {
    let issue = json!({
        "number": number, "title": "The lamp stays on", "user": { "login": "ada" }, "labels": [], "body": "At night.",
        "html_url": format!("https://github.com/grey/lamp/issues/{number}"),
        "created_at": "2024-05-01T10:00:00Z", "updated_at": at,
    });
    let repository = json!({ "full_name": "grey/lamp", "default_branch": "main" });
    json!({ "action": action, "issue": issue, "repository": repository }).to_string().into_bytes()
}

/// Delivers `body` under an id of GitHub's.
pub async fn post(client: &Client, id: &str, signature: &str, body: &[u8]) -> Reply {
    let client = client.clone().with_header("x-github-event", "issues").with_header("x-github-delivery", id);
    let client = client.with_header("x-hub-signature-256", signature);
    client.send(Method::POST, "/hooks/github", Bytes::copy_from_slice(body)).await.unwrap()
}

async fn signed(client: &Client, id: &str, body: &[u8]) -> Reply {
    post(client, id, &signature(SECRET, body), body).await
}

/// Two nodes that know the secret, and the project.
async fn lab() -> Lab {
    let mut lab = Lab::cluster().await;
    for name in ["alpha", "beta"] {
        lab.node(Setup::new(name).more(MORE)).await;
    }
    lab.nodes_are(0, "alive", &["alpha", "beta"], SOON).await;
    let made = lab.http(0).post_json("/api/projects", &json!({ "name": "home" })).await.unwrap();
    assert!(made.status < 300, "{}", made.text());
    lab
}

/// Everything of projects that is stored, and since when it is so.
async fn stored(lab: &Lab) -> Vec<(String, Revision)> {
    let listing = lab.store().list(PROJECTS).await.unwrap();
    listing.entries.into_iter().map(|entry| (entry.key, entry.modified)).collect()
}

async fn tasks(client: &Client) -> Vec<Value> {
    let listed = client.get("/api/projects/home/tasks").await.unwrap().json().unwrap();
    listed["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_delivery_makes_a_task_and_a_refused_one_leaves_nothing_behind() {
    let mut lab = lab().await;
    let body = issue(5, "opened", "2024-05-01T10:00:00Z");
    let taken = signed(&lab.http(0), "d-1", &body).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    let made = tasks(&lab.http(1)).await;
    assert_eq!((made.len(), &made[0]["title"]), (1, &json!("The lamp stays on (#5)")), "{made:?}");

    let before = stored(&lab).await;
    assert!(!before.is_empty());
    let (other, large) = (issue(6, "opened", "2024-05-01T10:00:00Z"), vec![b' '; (64 << 10) + 1]);
    let good = signature(SECRET, &other);
    for signature in ["", &good[..70], &signature("another secret, as long as this", &other), &signature(SECRET, b"{}")]
    {
        let refused = post(&lab.http(0), "d-2", signature, &other).await;
        assert_eq!(refused.status, 401, "{signature}: {}", refused.text());
    }
    for node in 0..2 {
        let again = signed(&lab.http(node), "d-1", &body).await;
        assert_eq!(again.status, 409, "{node}: {}", again.text());
    }
    let larger = signed(&lab.http(1), "d-3", &large).await;
    assert!(larger.status == 413 && larger.text().contains("hint"), "{} {}", larger.status, larger.text());
    assert_eq!(stored(&lab).await, before, "nothing was stored of those");

    lab.nodes[0].child.terminate().unwrap();
    lab.nodes[0].child.wait(SOON).await.unwrap();
    lab.nodes[0].again().await;
    assert_eq!(signed(&lab.http(0), "d-1", &body).await.status, 409, "a node that starts anew knows it as well");
    assert_eq!(stored(&lab).await, before);
    assert_eq!(signed(&lab.http(0), "d-2", &other).await.status, 200, "what was refused may come again, well signed");
    assert_eq!(tasks(&lab.http(1)).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_overtakes_its_beginning_on_the_way_to_another_node_leaves_no_open_task() {
    let lab = lab().await;
    let closed = signed(&lab.http(0), "d-2", &issue(5, "closed", "2024-05-01T10:00:30Z")).await;
    let opened = signed(&lab.http(1), "d-1", &issue(5, "opened", "2024-05-01T10:00:00Z")).await;
    assert_eq!((closed.status, opened.status), (200, 200), "{} {}", closed.text(), opened.text());
    let made = tasks(&lab.http(0)).await;
    assert_eq!((made.len(), &made[0]["status"]), (1, &json!("done")), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_leader_took_the_next_one_does_not_take_again() {
    let mut lab = lab().await;
    let led = lab.leader(0, SOON).await;
    let (leader, other) = (lab.place(&led.0), 1 - lab.place(&led.0));
    let opened = issue(5, "opened", "2024-05-01T10:00:00Z");
    let taken = signed(&lab.http(leader), "d-1", &opened).await;
    assert_eq!(taken.status, 200, "{}", taken.text());
    lab.nodes[leader].child.kill().await.unwrap();
    lab.next_leader(other, &led, SOON).await;
    let before = stored(&lab).await;
    let again = signed(&lab.http(other), "d-1", &opened).await;
    assert_eq!(again.status, 409, "{}", again.text());
    assert_eq!(stored(&lab).await, before);
    let closed = issue(5, "closed", "2024-05-01T10:00:30Z");
    assert_eq!(signed(&lab.http(other), "d-2", &closed).await.status, 200);
    let made = tasks(&lab.http(other)).await;
    assert_eq!((made.len(), &made[0]["status"]), (1, &json!("done")), "{made:?}");
    lab.nodes[leader].again().await;
    for (id, body) in [("d-1", &opened), ("d-2", &closed)] {
        assert_eq!(signed(&lab.http(leader), id, body).await.status, 409, "{id} at the one that led before");
    }
}
