//! Questions to a real library: what it cites stands there to the letter, and what it does not have it does not say.

use base::Code;
use research::CollectionName;
use research::answer::{Answer, Support, Verdict};
use research::filter::Filter;
use research::knowledge::{Knowledge, Question, Writer};

use crate::bed::{Bed, Node, Scripted};
use crate::library::until;

const PUMPS: &str = "# Pumps of the house\n\nThe cellar is cold – and dry. The blue pump moves 300 litres of water an \
                     hour. It was painted in May.\n\n## Care\n\nThe filter of the blue pump should be changed every \
                     6 months.\n";
const LEAFLET: &str = "# Leaflet\n\nThe blue pump moves 250 litres of water an hour. It stands on rubber feet.\n";
const VALVES: &str = "# Valves\n\nAnna Berg repaired the red garden valve in 2021. It is shut in winter.\n";
const DISKS: &str = "# Disks\n\nThe storage server grey has four bays for disks. Each of them holds 8 TB.\n";
const ROUTER: &str = "# Router\n\nThe router stands in the hall and speaks to the fibre of the street.\n";
const BREAD: &str = "# Bread\n\nDough rests for twelve hours in the kitchen before it is baked at 240 degrees.\n";
const GARDEN: &str = "# Garden\n\nThe apple tree was planted by the former owner and bears fruit in September.\n";
const SECRET: &str = "# Safe\n\nThe code of the safe behind the picture is quartz 91.\n";

const ALL: [(&str, &str); 7] = [
    ("pumps", PUMPS),
    ("leaflet", LEAFLET),
    ("valves", VALVES),
    ("disks", DISKS),
    ("router", ROUTER),
    ("bread", BREAD),
    ("garden", GARDEN),
];

async fn house(bed: &Bed, models: std::sync::Arc<Scripted>) -> Node {
    let node = bed.node("a", models).await;
    node.add("house", &ALL).await;
    node.add("private", &[("safe", SECRET)]).await;
    node
}

/// Every citation has to be the characters of the stored text that it names.
async fn check(node: &Node, answer: &Answer) {
    for citation in &answer.citations {
        let id = citation.span.document.to_string();
        let (document, text) = node.library.document(citation.collection.clone(), id).await.unwrap();
        assert_eq!(document.version, citation.span.version);
        let (start, end) = (citation.span.start as usize, citation.span.end as usize);
        let stored: String = text.chars().skip(start).take(end - start).collect();
        assert_eq!(stored, citation.quote);
    }
    let numbers: Vec<u32> = answer.citations.iter().map(|one| one.number).collect();
    let expected: Vec<u32> = (1..=answer.citations.len() as u32).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_with_exact_citations_or_not_at_all() {
    let bed = Bed::new();
    let node = house(&bed, Scripted::nobody()).await;

    let answer = node.ask("Who repaired the red garden valve?", Writer::Auto).await.unwrap();
    check(&node, &answer).await;
    assert_eq!(answer.verdict, Verdict::Answered, "{answer:?}");
    assert_eq!(answer.citations[0].quote, "Anna Berg repaired the red garden valve in 2021.");
    assert!(answer.model.is_empty() && answer.search.starts_with("by words alone"));
    assert!(answer.notes.iter().any(|note| note.starts_with("no model wrote this")), "{:?}", answer.notes);

    let answer = node.ask("How many litres of water does the blue pump move?", Writer::Extractive).await.unwrap();
    check(&node, &answer).await;
    let about: Vec<&str> = answer.contradictions.iter().map(|one| one.about.as_str()).collect();
    assert!(matches!(about.as_slice(), [about] if about.starts_with("`litres`: ")), "{answer:?}");

    let answer = node.ask("Which poet described Japanese temples?", Writer::Auto).await.unwrap();
    assert_eq!((answer.verdict, answer.citations.len()), (Verdict::NotFound, 0), "{answer:?}");

    let answer = node.ask("When was the garden valve repaired and what does each disk hold?", Writer::Extractive).await;
    let answer = answer.unwrap();
    check(&node, &answer).await;
    let titles: Vec<&str> = answer.citations.iter().map(|one| one.title.as_str()).collect();
    assert!(titles.contains(&"Valves") && titles.contains(&"Disks"), "both parts are answered: {answer:?}");
    node.off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_another_collection_is_cited() {
    let bed = Bed::new();
    let node = house(&bed, Scripted::nobody()).await;
    let question = |collection: &str| Question {
        question: "What is the code of the safe behind the picture?".to_owned(),
        filter: Filter { collections: vec![CollectionName::parse(collection).unwrap()], ..Filter::default() },
        ..Question::default()
    };
    let open = node.ask_for(question("private")).await.unwrap();
    assert_eq!(open.citations[0].quote, "The code of the safe behind the picture is quartz 91.");
    let closed = node.ask_for(question("house")).await.unwrap();
    assert_eq!(closed.verdict, Verdict::NotFound, "{closed:?}");
    assert!(!serde_json::to_string(&closed).unwrap().contains("quartz"));
    let unknown = node.ask_for(question("nowhere")).await.unwrap_err();
    assert_eq!(unknown.code, Code::NotFound);
    let many = Question { sentences: 21, ..question("house") };
    assert_eq!(node.ask_for(many).await.unwrap_err().code, Code::InvalidArgument);
    node.off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_model_writes_is_looked_up() {
    let bed = Bed::new();
    let said = r#"{"sentences": [
        {"text": "The red valve in the garden was repaired by Anna Berg in 2021.", "sources": [1]},
        {"text": "She was paid 900 euros for the red garden valve.", "sources": [1]},
        {"text": "The code of the safe is quartz 91.", "sources": [1]},
        {"text": "See https://evil.example/garden-valve for the red valve.", "sources": [1]}]}"#;
    let models = Scripted::new(|_| Some(Ok(said.to_owned())));
    let node = house(&bed, models.clone()).await;
    let question = Question {
        question: "Who repaired the red garden valve?".to_owned(),
        filter: Filter { collections: vec![CollectionName::parse("house").unwrap()], ..Filter::default() },
        mode: Writer::Model,
        ..Question::default()
    };
    let answer = node.ask_for(question.clone()).await.unwrap();
    check(&node, &answer).await;
    assert_eq!(answer.model, "scripted");
    assert_eq!(answer.sentences[0].support, Support::Supported);
    assert_eq!(answer.citations[0].quote, "Anna Berg repaired the red garden valve in 2021.");
    assert!(!answer.text.contains("evil.example") && !answer.text.contains("quartz"), "{}", answer.text);
    let flagged: Vec<_> = answer.sentences.iter().filter(|one| one.support == Support::Unsupported).collect();
    assert_eq!(flagged.len(), 1, "{answer:?}");
    assert!(!models.asked.lock().unwrap()[0].prompt.contains("quartz"), "the model never saw it");
    node.off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_writes_rubbish_is_asked_once_more_and_then_left_out() {
    let bed = Bed::new();
    let models = Scripted::new(|_| Some(Ok("I would say: Anna.".to_owned())));
    let node = house(&bed, models.clone()).await;
    let answer = node.ask("Who repaired the red garden valve?", Writer::Auto).await.unwrap();
    assert_eq!((answer.model.as_str(), models.asked.lock().unwrap().len()), ("", 2));
    assert!(answer.notes.iter().any(|note| note.contains("has no JSON object")), "{:?}", answer.notes);
    assert!(models.asked.lock().unwrap()[1].prompt.contains("could not be taken"));
    let only = node.ask("Who repaired the red garden valve?", Writer::Model).await.unwrap_err();
    assert_eq!(only.code, Code::EngineFailed);
    assert!(only.hint.is_some());
    node.off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_of_the_fitted_embedder_count_and_others_do_not() {
    for (embedder, counts) in [("all-MiniLM-L6-v2", true), ("bge-m3", false)] {
        let bed = Bed::new();
        let models = Scripted { embedder, ..std::sync::Arc::into_inner(Scripted::nobody()).unwrap() };
        let node = house(&bed, std::sync::Arc::new(models)).await;
        until("all chunks have vectors", async || {
            let report = node.library.report();
            report.chunks > 0 && report.embedded >= report.chunks
        })
        .await;
        let answer = node.ask("Who repaired the red garden valve?", Writer::Extractive).await.unwrap();
        check(&node, &answer).await;
        assert!(answer.search.starts_with("by words and vectors"), "{}", answer.search);
        let by_vectors = answer.confidence.because.iter().any(|one| one.name.contains("by vectors"));
        assert_eq!(by_vectors, counts, "{embedder}: {:?}", answer.confidence);
        assert_eq!(answer.citations[0].quote, "Anna Berg repaired the red garden valve in 2021.");
        node.off().await;
    }
}
