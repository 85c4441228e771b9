//! The door: what is refused leaves nothing behind, what is taken is taken once, whoever comes at the same time.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base::Code;
use base::config::Secret;
use serde_json::{Value, json};
use store::{SharedStore, SledStore};

use super::{issue, with};
use crate::github::{Delivery, Hook, Mapping, Received, Settings};
use crate::projects::{MAIN_TAG, Projects};

const SECRET: &str = "0123456789abcdef";

struct Bed {
    hook: Hook,
    projects: Projects,
    store: SharedStore,
    _folder: tempfile::TempDir,
}

async fn bed() -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(SledStore::open(folder.path()).unwrap().store);
    let projects = Projects::new(store.clone());
    projects.create("home", "", "").await.unwrap();
    let settings = Settings {
        secret: Secret(SECRET.to_owned()),
        project: "home".to_owned(),
        tag: MAIN_TAG.to_owned(),
        mapping: Mapping::default(),
    };
    Bed { hook: Hook::new(settings), projects, store, _folder: folder }
}

fn signed(event: &str, id: &str, body: impl Into<Vec<u8>>) -> Delivery {
    let body = body.into();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), &body);
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Delivery { event: event.into(), id: id.into(), signature: format!("sha256={digits}"), body: body.into() }
}

fn numbered(number: u64) -> Value {
    with(issue("opened", "2024-05-01T10:00:00Z"), "/issue/number", json!(number))
}

impl Bed {
    async fn receive(&self, delivery: &Delivery) -> base::Result<Received> {
        self.hook.receive(&self.projects, delivery).await
    }

    /// Everything in the store, to see that nothing came.
    async fn keys(&self) -> Vec<(String, store::Revision)> {
        let listing = self.store.list("").await.unwrap();
        listing.entries.into_iter().map(|entry| (entry.key, entry.modified)).collect()
    }

    async fn titles(&self) -> Vec<String> {
        let tasks = self.projects.snapshot("home", "").await.unwrap().tasks;
        tasks.top().iter().map(|task| task.title.clone()).collect()
    }
}

#[tokio::test]
async fn what_is_refused_or_ignored_leaves_nothing_behind() {
    let bed = bed().await;
    let before = bed.keys().await;
    let good = signed("issues", "d-1", numbered(1).to_string());
    let refused = [
        (Delivery { signature: String::new(), ..good.clone() }, Code::Unauthenticated),
        (Delivery { body: b"{}".as_slice().into(), ..good.clone() }, Code::Unauthenticated),
        (Delivery { id: String::new(), ..good.clone() }, Code::InvalidArgument),
        (Delivery { id: "../x".into(), ..good.clone() }, Code::InvalidArgument),
        (Delivery { event: String::new(), ..good.clone() }, Code::InvalidArgument),
        (signed("issues", "d-1", "{\"action\":"), Code::InvalidArgument),
        (signed("issues", "d-1", "payload=%7B%7D"), Code::InvalidArgument),
        (signed("issues", "d-1", "[1]"), Code::InvalidArgument),
        (signed("issues", "d-1", "{\"action\":\"opened\"}"), Code::InvalidArgument),
        (signed("issues", "d-1", "[".repeat(100_000)), Code::InvalidArgument),
    ];
    for (delivery, code) in refused {
        let fault = bed.receive(&delivery).await.unwrap_err();
        assert!(fault.code == code && fault.hint.is_some(), "{fault:?}");
    }
    assert_eq!(bed.receive(&signed("ping", "d-1", "{}")).await.unwrap(), Received::Pong);
    for ignored in [signed("star", "d-1", "no json"), signed("issues", "d-1", "{\"action\":\"pinned\"}")] {
        assert_eq!(bed.receive(&ignored).await.unwrap().outcome(), "ignored");
    }
    assert_eq!(bed.keys().await, before);
}

#[tokio::test]
async fn a_delivery_is_taken_once() {
    let bed = bed().await;
    let delivery = signed("issues", "d-1", numbered(1).to_string());
    let taken = bed.receive(&delivery).await.unwrap();
    assert_eq!(taken.outcome(), "changed");
    let before = bed.keys().await;
    assert_eq!(bed.receive(&delivery).await.unwrap_err().code, Code::Conflict);
    // Also by a node that has seen nothing of it.
    let other = Projects::new(bed.store.clone());
    assert_eq!(bed.hook.receive(&other, &delivery).await.unwrap_err().code, Code::Conflict);
    assert_eq!(bed.keys().await, before);
    assert_eq!(bed.titles().await.len(), 1);
}

#[tokio::test]
async fn a_delivery_without_an_effect_is_remembered_as_well() {
    let bed = bed().await;
    let delivery = signed("issues", "d-1", issue("closed", "2024-05-01T10:00:00Z").to_string());
    assert_eq!(bed.receive(&delivery).await.unwrap().outcome(), "unchanged");
    assert_eq!(bed.receive(&delivery).await.unwrap_err().code, Code::Conflict);
}

#[tokio::test]
async fn a_delivery_to_a_project_that_is_not_there_can_be_sent_again_later() {
    let bed = bed().await;
    bed.projects.delete("home").await.unwrap();
    let delivery = signed("issues", "d-1", numbered(1).to_string());
    assert_eq!(bed.receive(&delivery).await.unwrap_err().code, Code::NotFound);
    bed.projects.create("home", "", "").await.unwrap();
    assert_eq!(bed.receive(&delivery).await.unwrap().outcome(), "changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_at_once_to_several_nodes_are_each_taken_once() {
    let bed = Arc::new(bed().await);
    let nodes: Vec<Arc<Projects>> = (0..3).map(|_| Arc::new(Projects::new(bed.store.clone()))).collect();
    let mut running = tokio::task::JoinSet::new();
    for number in 1..=8 {
        // Each of them twice, at different nodes.
        for node in 0..2 {
            let (bed, projects) = (bed.clone(), nodes[(number as usize + node) % 3].clone());
            let delivery = signed("issues", &format!("d-{number}"), numbered(number).to_string());
            running.spawn(async move { bed.hook.receive(&projects, &delivery).await });
        }
    }
    let results = running.join_all().await;
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    assert_eq!(refused.map(|fault| fault.code).collect::<Vec<_>>(), [Code::Conflict; 8]);
    let mut titles = bed.titles().await;
    titles.sort();
    titles.dedup();
    assert_eq!(titles.len(), 8);
    assert_eq!(bed.projects.snapshot("home", "").await.unwrap().tasks.top().len(), 8);
}

#[tokio::test]
async fn old_deliveries_are_forgotten_and_new_ones_are_not() {
    let bed = bed().await;
    for number in 1..=3 {
        let delivery = signed("issues", &format!("d-{number}"), numbered(number).to_string());
        bed.receive(&delivery).await.unwrap();
    }
    assert_eq!(bed.projects.forget_marks("github", 1).await.unwrap(), 0);
    let marks = || async { bed.keys().await.iter().filter(|(key, _)| key.contains("once/github")).count() };
    assert_eq!(marks().await, 3);
    assert_eq!(bed.projects.forget_marks("github", base::time::unix_ms() + 1).await.unwrap(), 3);
    assert_eq!(marks().await, 0);
}

#[tokio::test]
async fn the_history_says_who_and_why() {
    let bed = bed().await;
    bed.receive(&signed("issues", "d-1", numbered(1).to_string())).await.unwrap();
    let events = bed.projects.history("home", "", None, None, 5).await.unwrap();
    assert_eq!((events[0].who.as_str(), events[0].why.as_str()), ("github", "issue #1 of grey/lamp opened"));
}
