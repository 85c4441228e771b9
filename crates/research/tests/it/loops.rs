//! A research in rounds as a job: what was found before a node went off is not asked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{Code, NodeId};
use jobs::{JobId, Jobs, State};
use research::knowledge::{Knowledge, LoopOrder, Writer};
use serde_json::Value;

use crate::bed::{Bed, Scripted};
use crate::library::until;

const PARTS: &str = "You part a question";
const JUDGE: &str = "You judge";
const ANSWER: &str = "You answer a question";

const DOCUMENTS: [(&str, &str); 3] = [
    ("pumps", "# Pumps\n\nThe blue pump moves 300 litres of water an hour. Its filter should be changed every May.\n"),
    ("valves", "# Valves\n\nAnna Berg repaired the red garden valve in 2021.\n"),
    ("roof", "# Roof\n\nThe roof was painted green by Otto Klein before the war.\n"),
];

fn order(mode: Writer) -> LoopOrder {
    let question = "What does the blue pump move and who painted the roof?".to_owned();
    LoopOrder { question, mode, who: "test".to_owned(), ..LoopOrder::default() }
}

async fn result(jobs: &Jobs, id: &str) -> Value {
    let id: JobId = id.parse().unwrap();
    for _ in 0..1_000 {
        let view = jobs.get(id).await.unwrap().unwrap();
        match view.state {
            State::Done => return jobs.result(id).await.unwrap().unwrap(),
            State::Failed { fault } => panic!("{fault:?}"),
            _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
    panic!("the job does not end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_research_without_a_model_finds_both_parts_and_what_is_advised() {
    let bed = Bed::new();
    let mut node = bed.node("a", Scripted::nobody()).await;
    node.add("house", &DOCUMENTS).await;
    node.serve_loops();
    let id = node.library.start_loop(order(Writer::Extractive), Some("once".to_owned())).await.unwrap();
    let again = node.library.start_loop(order(Writer::Extractive), Some("once".to_owned())).await.unwrap();
    assert_eq!(id, again, "the same key is the same job");
    let report = result(&Jobs::new(bed.store.clone(), NodeId::new("test")), &id).await;
    let sources: Vec<&str> =
        report["sources"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap()).collect();
    assert!(sources.contains(&"Pumps") && sources.contains(&"Roof"), "{report:#}");
    assert_eq!(report["model"], "");
    assert!(!report["rounds"].as_array().unwrap().is_empty());
    node.off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_cannot_be_carried_out_is_refused() {
    let bed = Bed::new();
    let node = bed.node("a", Scripted::nobody()).await;
    let many = LoopOrder { max_iterations: 11, ..order(Writer::Auto) };
    let blank = LoopOrder { question: " ".to_owned(), ..order(Writer::Auto) };
    let long = LoopOrder { deadline_s: 1 << 40, ..order(Writer::Auto) };
    for bad in [many, blank, long] {
        assert_eq!(node.library.start_loop(bad, None).await.unwrap_err().code, Code::InvalidArgument);
    }
    node.off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_research_goes_on_behind_its_last_round() {
    let bed = Bed::new();
    let hangs = Arc::new(AtomicBool::new(true));
    let is_hanging = hangs.clone();
    let script = move |prompt: &research::models::Prompt| {
        let asks = |question: &str| prompt.prompt.contains(&format!("Question: {question}"));
        let said = if prompt.system.contains(PARTS) {
            r#"{"questions": ["What does the blue pump move?"]}"#
        } else if prompt.system.contains(JUDGE) {
            r#"{"questions": ["Which colour has the roof?"]}"#
        } else if asks("Which colour") {
            if is_hanging.load(Ordering::SeqCst) {
                return None;
            }
            r#"{"sentences": [{"text": "The roof was painted green.", "sources": [1, 2, 3]}]}"#
        } else if asks("What does the blue pump move?") {
            r#"{"sentences": [{"text": "The blue pump moves 300 litres of water an hour.", "sources": [1]}]}"#
        } else {
            r#"{"sentences": [{"text": "The blue pump was sold to a museum.", "sources": [1]}]}"#
        };
        Some(Ok(said.to_owned()))
    };
    let first = Scripted::new(script.clone());
    let mut node = bed.node("a", first.clone()).await;
    node.add("house", &DOCUMENTS).await;
    node.serve_loops();
    let id = node.library.start_loop(order(Writer::Auto), None).await.unwrap();
    // Both questions of the first round, and the one of the second that never ends.
    until("the second round hangs", async || first.count(ANSWER) == 3).await;
    node.off().await;

    hangs.store(false, Ordering::SeqCst);
    let second = Scripted::new(script);
    let mut node = bed.node("b", second.clone()).await;
    until("the documents are there", async || node.library.report().documents == 3).await;
    node.serve_loops();
    let report = result(&Jobs::new(bed.store.clone(), NodeId::new("test")), &id).await;
    assert_eq!((second.count(PARTS), second.count(ANSWER)), (0, 1), "nothing that was recorded is asked again");
    let rounds = report["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), 2, "{report:#}");
    let findings: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|one| one["question"].as_str().unwrap()).collect();
    assert_eq!(
        findings,
        [
            "What does the blue pump move and who painted the roof?",
            "What does the blue pump move?",
            "Which colour has the roof?"
        ]
    );
    node.off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_judge_that_never_ends_does_not_outlast_the_time() {
    let bed = Bed::new();
    let script = |prompt: &research::models::Prompt| match prompt.system.contains(JUDGE) {
        true => None,
        false if prompt.system.contains(PARTS) => Some(Ok(r#"{"questions": []}"#.to_owned())),
        false => Some(Ok(r#"{"sentences": [{"text": "The pump was sold.", "sources": [1]}]}"#.to_owned())),
    };
    let models = Scripted::new(script);
    let mut node = bed.node("a", models.clone()).await;
    node.add("house", &DOCUMENTS).await;
    node.serve_loops();
    let id = node.library.start_loop(LoopOrder { deadline_s: 3, ..order(Writer::Auto) }, None).await.unwrap();
    let report = result(&Jobs::new(bed.store.clone(), NodeId::new("test")), &id).await;
    assert_eq!((models.count(JUDGE), report["stopped"].as_str()), (1, Some("deadline")), "{report:#}");
    node.off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_answers_rubbish_is_as_good_as_none() {
    let bed = Bed::new();
    let script = |prompt: &research::models::Prompt| match prompt.system.contains(ANSWER) {
        true => Some(Ok(": : {".to_owned())),
        false => Some(Ok(r#"{"questions": [":", "{}"]}"#.to_owned())),
    };
    let mut node = bed.node("a", Scripted::new(script)).await;
    node.add("house", &DOCUMENTS).await;
    node.serve_loops();
    let id = node.library.start_loop(order(Writer::Auto), None).await.unwrap();
    let report = result(&Jobs::new(bed.store.clone(), NodeId::new("test")), &id).await;
    let asked: Vec<&str> = report["rounds"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|round| round["asked"].as_array().unwrap())
        .map(|one| one.as_str().unwrap())
        .collect();
    assert!(!asked.is_empty() && asked.iter().all(|one| one.len() > 3), "{asked:?}");
    assert!(!report["sources"].as_array().unwrap().is_empty(), "{report:#}");
    assert!(report["notes"].to_string().contains("no model parted the question"), "{report:#}");
    node.off().await;
}
