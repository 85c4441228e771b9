//! How good searches and answers are without any model, on sets with known answers; the bench has the whole figures.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use research::chunk::embed_text;
use research::document::State;
use research::filter::Filter;
use research::knowledge::{Added, Knowledge, Mode, Question, Say, Search, Writer};
use research::vectors::unit;
use research::{CollectionName, NewDocument, NewMeta};
use serde_json::Value;

use crate::bed::{Bed, Node, Scripted};
use crate::library::{DIMS, Place, document, sled, until, vector, words};

/// The most questions of a set that are asked here.
const ASKED: usize = 600;

/// The set of that name, where it lies beside this checkout.
fn set(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/retrieval").join(name);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: the set `{name}` is not beside this checkout");
    None
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text_of(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_search_by_vectors_finds_what_exact_numbers_find_among_all() {
    const DOCUMENTS: u64 = 500;
    let (store, dir) = sled();
    let place = Place::start("one", &dir.path().join("one"), store).await;
    let new = |at: u64| document(&format!("file:/{at}.md"), words(at, 12));
    place.add("house", (0..DOCUMENTS).map(new).collect()).await.unwrap();
    until("all is embedded", async || place.library.report().embedded == DOCUMENTS).await;
    let mut all = HashMap::new();
    for at in 0..DOCUMENTS {
        let text = words(at, 12);
        for hit in place.search(text.split(' ').next().unwrap(), Filter::default()).await.unwrap().hits {
            all.insert(hit.source, unit(&vector(&embed_text(&hit.headings, &hit.text)), DIMS).unwrap());
        }
    }
    assert_eq!(all.len() as u64, DOCUMENTS);
    for question in ["a pump?", "a valve?", "a heron?"] {
        let asked = unit(&vector(question), DIMS).unwrap();
        let cosine = |vector: &[f32]| vector.iter().zip(&asked).map(|(one, other)| one * other).sum::<f32>();
        let mut exact: Vec<f32> = all.values().map(|vector| cosine(vector)).collect();
        exact.sort_by(|one, other| other.total_cmp(one));
        let search = Search { question: question.to_owned(), mode: Mode::Dense, limit: 100, ..Search::default() };
        let hits = place.library.search(search).await.unwrap().hits;
        assert_eq!(hits.len(), 100);
        // What is like the best ones was lifted in the order of hits; each tells its place by vectors alone.
        for hit in hits {
            let cosine = exact[hit.why.dense_rank.unwrap() as usize - 1];
            assert!(
                (hit.why.dense.unwrap() - cosine).abs() < 1e-5,
                "{question} {}: {:?} {cosine}",
                hit.source,
                hit.why
            );
        }
    }
}

/// A node that has all documents of a set; their sources are their ids.
async fn holding(bed: &Bed, set: &Path) -> Node {
    let node = bed.node("a", Scripted::nobody()).await;
    let documents: Vec<NewDocument> = lines(&set.join("corpus.jsonl"))
        .iter()
        .map(|one| NewDocument {
            source: text_of(one, "id"),
            meta: NewMeta {
                title: Some(text_of(one, "title")),
                media: Some("text/plain".into()),
                ..NewMeta::default()
            },
            bytes: text_of(one, "text").into(),
        })
        .collect();
    let added = node.library.add(CollectionName::parse("set").unwrap(), documents).await.unwrap();
    let is_ready = |one: &&Added| one.document.as_ref().is_some_and(|one| matches!(one.state, State::Ready { .. }));
    let ready = added.iter().filter(is_ready).count() as u64;
    until("all to be indexed", async || node.library.report().documents == ready).await;
    node
}

/// The even questions; constants were chosen by the odd ones.
fn questions(set: &Path) -> Vec<Value> {
    lines(&set.join("queries.jsonl")).into_iter().skip(1).step_by(2).take(ASKED).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_sentences_without_a_model_hold_the_answer_nine_times_in_ten() {
    let Some(set) = set("xquad-en") else { return };
    let bed = Bed::new();
    let node = holding(&bed, &set).await;
    let corpus: HashMap<String, Vec<char>> = lines(&set.join("corpus.jsonl"))
        .iter()
        .map(|one| (text_of(one, "id"), text_of(one, "text").chars().collect()))
        .collect();
    let (mut held, mut asked) = (0, 0);
    for query in questions(&set) {
        let question = Question { question: text_of(&query, "text"), mode: Writer::Extractive, ..Question::default() };
        let answer = node.library.ask(question, Say::default()).await.unwrap();
        for citation in &answer.citations {
            let text = &corpus[&citation.source];
            let (start, end) = (citation.span.start as usize, citation.span.end as usize);
            assert_eq!(text[start..end].iter().collect::<String>(), citation.quote, "citations are exact");
        }
        let wanted = query["answers"].as_array().unwrap();
        let holds = |quote: &str| wanted.iter().any(|one| normal(quote).contains(&normal(one.as_str().unwrap())));
        held += usize::from(answer.citations.iter().any(|one| holds(&one.quote)));
        asked += 1;
    }
    println!("the answer stands in a cited sentence for {held} of {asked}");
    assert!(held * 100 >= asked * 91, "{held} of {asked}");
    node.off().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_alone_find_what_judges_found() {
    let Some(set) = set("cranfield") else { return };
    let bed = Bed::new();
    let node = holding(&bed, &set).await;
    let mut judged: HashMap<String, HashMap<String, f64>> = HashMap::new();
    for line in std::fs::read_to_string(set.join("qrels.tsv")).unwrap().lines() {
        if let [query, document, grade] = line.split('\t').collect::<Vec<_>>()[..] {
            judged.entry(query.into()).or_default().insert(document.into(), grade.parse().unwrap_or(0.0));
        }
    }
    let (mut sum, mut asked) = (0.0, 0);
    for query in questions(&set) {
        let Some(grades) = judged.get(&text_of(&query, "id")) else { continue };
        let search = Search { question: text_of(&query, "text"), mode: Mode::Text, limit: 50, ..Search::default() };
        let found = node.library.search(search).await.unwrap();
        let mut seen = HashSet::new();
        let ranked = found.hits.iter().map(|hit| hit.source.as_str()).filter(|source| seen.insert(*source));
        sum += gain(ranked.take(10).map(|source| grades.get(source).copied().unwrap_or(0.0)))
            / gain(best(grades).into_iter());
        asked += 1;
    }
    println!("nDCG@10 over {asked} even questions: {:.4}", sum / f64::from(asked));
    assert!(sum / f64::from(asked) >= 0.36, "{}", sum / f64::from(asked));
    node.off().await;
}

/// Questions over two or three paragraphs of different articles, as one: the text, and the paragraphs that it needs.
fn of_many_parts(set: &Path) -> Vec<(String, Vec<String>)> {
    let asked: HashMap<String, String> =
        lines(&set.join("queries.jsonl")).iter().map(|one| (text_of(one, "id"), text_of(one, "text"))).collect();
    let mut of: HashMap<String, Vec<String>> = HashMap::new();
    for line in std::fs::read_to_string(set.join("qrels.tsv")).unwrap().lines() {
        if let [query, paragraph, _] = line.split('\t').collect::<Vec<_>>()[..]
            && let Some(text) = asked.get(query)
        {
            of.entry(paragraph.into()).or_default().push(text.trim_end_matches(['?', '.', ' ']).to_owned());
        }
    }
    let question = |paragraph: &String, at: usize| {
        let all = &of[paragraph];
        all[at.min(all.len() - 1)].clone()
    };
    let low = |text: String| {
        let mut chars = text.chars();
        chars.next().map(|first| first.to_lowercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    let (articles, paragraphs) = (48, 5);
    let mut all = Vec::new();
    for parts in [2, 3] {
        for article in 0..articles / parts {
            for at in 0..paragraphs {
                let needed: Vec<String> = (0..parts)
                    .map(|part| {
                        format!("p{}-{}", article + part * articles / parts, (at + part * (parts - 2)) % paragraphs)
                    })
                    .collect();
                let mut texts: Vec<String> = needed.iter().map(|one| low(question(one, at % 3))).collect();
                let last = texts.pop().unwrap();
                all.push((format!("{} and {last}?", texts.join(", ")), needed));
            }
        }
    }
    all
}

/// A search for the whole question misses a part where another part drowns it; looking again for what the first
/// passages do not say finds it. Both may name equally many documents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_again_for_what_is_open_finds_all_that_a_question_needs_more_often() {
    let Some(set) = set("xquad-en") else { return };
    let bed = Bed::new();
    let node = holding(&bed, &set).await;
    let (mut once, mut again, mut asked) = (0, 0, 0);
    for (text, needed) in of_many_parts(&set) {
        let question =
            Question { question: text.clone(), mode: Writer::Extractive, sentences: 6, ..Question::default() };
        let answer = node.library.ask(question, Say::default()).await.unwrap();
        let cited: HashSet<&str> = answer.citations.iter().map(|one| one.source.as_str()).collect();
        let found = node.library.search(Search { question: text, limit: 50, ..Search::default() }).await.unwrap();
        let mut seen = HashSet::new();
        let first = found.hits.iter().map(|hit| hit.source.as_str()).filter(|source| seen.insert(*source));
        let first: HashSet<&str> = first.take(cited.len()).collect();
        once += usize::from(needed.iter().all(|one| first.contains(one.as_str())));
        again += usize::from(needed.iter().all(|one| cited.contains(one.as_str())));
        asked += 1;
    }
    println!("all that is needed, by one search: {once}, by more: {again}, of {asked}");
    assert!(asked == 200 && again >= 140 && again >= once + 15, "{once} and {again} of {asked}");
    node.off().await;
}

fn gain(grades: impl Iterator<Item = f64>) -> f64 {
    grades.enumerate().map(|(at, grade)| grade.max(0.0) / (at as f64 + 2.0).log2()).sum()
}

fn best(grades: &HashMap<String, f64>) -> Vec<f64> {
    let mut all: Vec<f64> = grades.values().copied().collect();
    all.sort_by(|a, b| b.total_cmp(a));
    all.truncate(10);
    all
}

/// Small letters and blanks, without marks and articles.
fn normal(text: &str) -> String {
    let plain: String = text.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    let words = plain.split_whitespace().filter(|word| !["a", "an", "the"].contains(word));
    format!(" {} ", words.collect::<Vec<_>>().join(" "))
}
