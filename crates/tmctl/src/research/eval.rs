//! `tmctl research eval`: documents and questions of yours go through the real thing, and a file says what came of them.
//!
//! The collection is thrown away at the end, also after a fault or Ctrl-C, unless it is to be kept for the next run. Texts go
//! in as they stand, without a title in front, so that a citation's characters are those of the corpus; that is checked.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::{Code, Fault, Result};
use futures_util::stream::{self, StreamExt};
use proto::research::ask_response::Part;
use proto::research::{
    Answer, AskRequest, Collection, CreateCollectionRequest, DeleteCollectionRequest, Filter, ListCollectionsRequest,
    Meta, SearchRequest, StatusRequest,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::add::{self, Waiting};
use super::ask::{sentences, writer};
use crate::client::{CALL_LIMIT, Keyed, Servers, call, told};
use crate::file;
use crate::progress::{News, PAUSE};
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{self, counted, page, visible};

/// One answer of a model on a slow machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(900);
/// A collection with many documents to take away.
const DELETE_LIMIT: Duration = Duration::from_secs(600);
/// Between two looks at how much is indexed.
const LOOK: Duration = Duration::from_millis(250);
/// An index that does not grow for so long grows no more.
const STALLED: Duration = Duration::from_secs(300);
/// A document has several passages; so many are asked for each that is wanted.
const PASSAGES: u32 = 4;
/// Most passages of a search.
const MOST_PASSAGES: u32 = 1000;
/// What a collection of this command is for, so that no other one is filled.
const WHAT_FOR: &str = "made by tmctl research eval";
/// In front of an entry's id.
const SOURCE: &str = "eval:";

/// What to measure with.
#[derive(Debug, clap::Args)]
pub struct Eval {
    /// The documents: lines {"id", "title", "text"}
    #[arg(long, value_name = "FILE")]
    corpus: PathBuf,
    /// The questions: lines {"id", "text"}
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// Where to write what came of each question: lines {"query", "docs"}, or {"query", "answer", "citations"}
    #[arg(long, value_name = "FILE")]
    run: PathBuf,
    /// How to search, or answers
    #[arg(long, value_parser = ["text", "dense", "hybrid", "answers"], default_value = "hybrid")]
    mode: String,
    /// Documents for each question
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    depth: u32,
    /// Questions at the same time; more than one makes the times longer
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    parallel: u32,
    /// With answers: let a model write them
    #[arg(long)]
    model: bool,
    /// With answers: at most so many sentences
    #[arg(long, value_name = "COUNT", value_parser = sentences())]
    sentences: Option<u32>,
    /// Keep the documents in this collection, and use what is there: what did not change is not embedded again
    #[arg(long, value_name = "COLLECTION")]
    keep: Option<String>,
}

/// A document of the corpus.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(alias = "_id")]
    id: String,
    #[serde(default)]
    title: String,
    text: String,
}

/// A question.
#[derive(Debug, Deserialize)]
struct Query {
    #[serde(alias = "_id")]
    id: String,
    text: String,
}

/// Measures. Whatever happens, the collection is gone afterwards.
pub async fn run(servers: &Servers, screen: &mut Screen, eval: Eval) -> Result<Verdict, Ended> {
    let corpus: Vec<Entry> = lines(&eval.corpus)?;
    let queries: Vec<Query> = lines(&eval.queries)?;
    check_ids(&eval.corpus, corpus.iter().map(|entry| entry.id.as_str()))?;
    check_ids(&eval.queries, queries.iter().map(|query| query.id.as_str()))?;
    if eval.mode != "answers" && (eval.model || eval.sentences.is_some()) {
        let fault = Fault::invalid(format!("--model and --sentences are about answers, and the mode is {}", eval.mode));
        return Err(fault.hint("leave them out, or measure with --mode answers").into());
    }
    // Before anything is done: nobody wants to know after an hour that it cannot be kept.
    let mut kept = open(&eval.run)?;
    let collection = eval.keep.clone().unwrap_or_else(|| format!("eval-{:08x}", fastrand::u32(..)));
    make(servers, &collection, eval.keep.is_some()).await?;
    let measured = tokio::select! {
        measured = measure(servers, screen, &eval, &collection, corpus, &queries) => measured,
        interrupted = tokio::signal::ctrl_c() => Err(match interrupted {
            Ok(()) => Fault::new(Code::Cancelled, "the measuring was interrupted").hint("no figures are kept of it"),
            Err(error) => Fault::internal("could not listen for Ctrl-C").because(error),
        }.into()),
    };
    let deleted = if eval.keep.is_some() { Ok(()) } else { delete(servers, &collection).await };
    let (measured, run) = measured?;
    // A collection that stays behind is no reason to lose what was measured.
    write(&mut kept, &run).map_err(|error| could_not_write(&eval.run, error))?;
    deleted?;
    screen.show(|_| visible(&measured.text(&eval)), &measured.json(&eval))?;
    Ok(if measured.strange == 0 { Verdict::Done } else { Verdict::NotWell })
}

/// Makes the collection; one that may be there already is used as it is, if it was made here.
async fn make(servers: &Servers, collection: &str, may_be_there: bool) -> Result<()> {
    let request =
        CreateCollectionRequest { name: collection.to_owned(), description: WHAT_FOR.into(), chunk_tokens: 0 };
    let mut research = servers.connect().await?.research();
    let fault = match call(CALL_LIMIT, research.create_collection(request)).await {
        Ok(_) => return Ok(()),
        Err(fault) => fault,
    };
    if !may_be_there || fault.code != Code::Conflict {
        return Err(fault);
    }
    let all = call(CALL_LIMIT, research.list_collections(ListCollectionsRequest {})).await?.collections;
    if all.iter().any(|one| one.name == collection && one.description == WHAT_FOR) {
        return Ok(());
    }
    Err(Fault::new(Code::Conflict, format!("the collection `{collection}` holds documents of yours"))
        .hint("name one with --keep that does not exist, or that an earlier run made"))
}

async fn delete(servers: &Servers, collection: &str) -> Result<()> {
    let request = DeleteCollectionRequest { name: collection.to_owned() };
    let deleting = async { call(DELETE_LIMIT, servers.connect().await?.research().delete_collection(request)).await };
    deleting.await.map(|_| ()).map_err(|fault| {
        let hint = format!("`tmctl research collections delete {collection} --yes` does it by hand");
        Fault::new(fault.code, format!("could not delete the collection `{collection}`")).because(fault).hint(hint)
    })
}

fn lines<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| file::could_not("read", &name.to_string(), error))?;
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read: Result<Vec<T>> = numbered
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| {
                Fault::invalid(format!("could not read line {} of `{name}`", number + 1))
                    .because(error)
                    .hint(r#"each line is an object such as {"id": "1", "text": "..."}"#)
            })
        })
        .collect();
    match read? {
        none if none.is_empty() => {
            Err(Fault::invalid(format!("`{name}` is empty")).hint("name a file with lines of JSON"))
        }
        all => Ok(all),
    }
}

/// Refuses two of one id: only one of them would be measured, and nobody could tell which.
fn check_ids<'a>(path: &Path, mut ids: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    match ids.find(|id| !seen.insert(*id)) {
        None => Ok(()),
        Some(id) => Err(Fault::invalid(format!("two lines of `{}` have the id `{id}`", path.display()))
            .hint("give each line an id of its own, or take one of the two out")),
    }
}

/// What was found out.
#[derive(Default)]
struct Measured {
    documents: usize,
    /// Those that are not found, with their reasons.
    left_out: Vec<String>,
    chunks: u64,
    embedded: u64,
    search: String,
    adding_s: f64,
    indexing_s: f64,
    queries: usize,
    /// Seconds of each question, in order of their length.
    took: Vec<f64>,
    /// Citations whose characters are not those of the corpus.
    strange: usize,
}

async fn measure(
    servers: &Servers,
    screen: &mut Screen,
    eval: &Eval,
    collection: &str,
    corpus: Vec<Entry>,
    queries: &[Query],
) -> Result<(Measured, Vec<Value>), Ended> {
    let mut measured = Measured { documents: corpus.len(), queries: queries.len(), ..Measured::default() };
    // Only citations are held against the corpus.
    let texts: HashMap<String, String> = match eval.mode.as_str() {
        "answers" => corpus.iter().map(|one| (one.id.clone(), one.text.clone())).collect(),
        _ => HashMap::new(),
    };
    let waiting = corpus.into_iter().map(|entry| {
        let meta = Meta { title: entry.title, media: "text/plain".into(), ..Meta::default() };
        Waiting::text(format!("{SOURCE}{}", entry.id), meta, entry.text)
    });
    let begin = Instant::now();
    let added = add::send(servers, screen, collection, waiting.collect()).await?;
    measured.adding_s = begin.elapsed().as_secs_f64();
    let not_found = added.iter().filter(|one| ["failed", "refused", "folded"].contains(&one.outcome.as_str()));
    measured.left_out = not_found.map(|one| format!("{} {}: {}", one.outcome, one.source, one.reason)).collect();
    let begin = Instant::now();
    let wants_vectors = !matches!(eval.mode.as_str(), "text");
    let indexed = indexed(servers, screen, collection, wants_vectors).await?;
    measured.indexing_s = begin.elapsed().as_secs_f64();
    (measured.chunks, measured.embedded) = (indexed.chunks, indexed.embedded);
    let there = usize::try_from(indexed.documents).unwrap_or(usize::MAX);
    if there > measured.documents {
        let more = counted(there - measured.documents, "document");
        let fault = Fault::invalid(format!("the collection `{collection}` holds {more} that the corpus lacks"));
        return Err(fault.hint("they would be found too: name another collection with --keep").into());
    }
    let run = asked(servers, screen, eval, collection, queries, &texts, &mut measured).await?;
    Ok((measured, run))
}

/// Waits until every chunk is indexed, and embedded where somebody embeds.
async fn indexed(
    servers: &Servers,
    screen: &mut Screen,
    collection: &str,
    wants_vectors: bool,
) -> Result<Collection, Ended> {
    let mut live = screen.progress(PAUSE);
    let mut research = servers.connect().await?.research();
    let (mut last, mut grew) = (0, Instant::now());
    loop {
        let status = call(CALL_LIMIT, research.status(StatusRequest {})).await?;
        let all = call(CALL_LIMIT, research.list_collections(ListCollectionsRequest {})).await?.collections;
        let missing = || Fault::new(Code::NotFound, format!("the collection `{collection}` is gone"));
        let now = all.into_iter().find(|one| one.name == collection).ok_or_else(missing)?;
        let is_embedded = !wants_vectors || status.embedder.is_empty() || now.embedded >= now.chunks;
        if status.waiting == 0 && is_embedded {
            return Ok(now);
        }
        let how_far = now.chunks + now.embedded;
        if how_far > last {
            (last, grew) = (how_far, Instant::now());
        }
        if grew.elapsed() > STALLED {
            let fault = Fault::new(Code::DeadlineExceeded, "the index does not grow any more");
            return Err(fault.hint("`tmctl research status` says who has what to do").into());
        }
        let figures = format!("{} of {} with a vector", now.embedded, now.chunks);
        live.show(&News { status: "indexing", done: now.embedded, whole: now.chunks, figures });
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks all questions; gives the lines of the run.
async fn asked(
    servers: &Servers,
    screen: &mut Screen,
    eval: &Eval,
    collection: &str,
    queries: &[Query],
    texts: &HashMap<String, String>,
    measured: &mut Measured,
) -> Result<Vec<Value>, Ended> {
    let research = servers.connect().await?.research();
    let mut live = screen.progress(PAUSE);
    let mut run = Vec::with_capacity(queries.len());
    let asking = queries.iter().map(|query| one(research.clone(), eval, collection, query, texts));
    let mut asking = stream::iter(asking).buffered(eval.parallel as usize);
    while let Some(asked) = asking.next().await {
        let Asked { line, search, took, strange } = asked?;
        measured.took.push(took.as_secs_f64());
        measured.strange += strange;
        measured.search = search;
        run.push(line);
        let (done, whole) = (run.len() as u64, queries.len() as u64);
        live.show(&News { status: "asking", done, whole, figures: format!("{done} of {whole}") });
    }
    measured.took.sort_by(f64::total_cmp);
    Ok(run)
}

/// What came of one question.
struct Asked {
    line: Value,
    search: String,
    took: Duration,
    strange: usize,
}

async fn one(
    mut research: proto::research::research_client::ResearchClient<Keyed>,
    eval: &Eval,
    collection: &str,
    query: &Query,
    texts: &HashMap<String, String>,
) -> Result<Asked> {
    let filter = Some(Filter { collections: vec![collection.to_owned()], ..Filter::default() });
    let (question, begin) = (query.text.clone(), Instant::now());
    if eval.mode == "answers" {
        let (mode, sentences) = (writer(!eval.model, eval.model), eval.sentences.unwrap_or_default());
        let request = AskRequest { question, filter, mode, sentences, ..AskRequest::default() };
        let answer = whole_answer(&mut research, request).await?;
        let (line, strange) = answer_line(&query.id, &answer, texts);
        return Ok(Asked { line, search: answer.search, took: begin.elapsed(), strange });
    }
    let limit = eval.depth.saturating_mul(PASSAGES).min(MOST_PASSAGES);
    let request = SearchRequest { question, filter, limit, mode: eval.mode.clone(), ..SearchRequest::default() };
    let found = call(ANSWER_LIMIT, research.search(request)).await?;
    let took = begin.elapsed();
    let docs = ranked(found.hits.iter().map(|hit| hit.source.as_str()), eval.depth as usize);
    Ok(Asked { line: json!({ "query": query.id, "docs": docs }), search: found.search, took, strange: 0 })
}

async fn whole_answer(
    research: &mut proto::research::research_client::ResearchClient<Keyed>,
    request: AskRequest,
) -> Result<Answer> {
    let mut parts = call(ANSWER_LIMIT, research.ask(request)).await?;
    let reading = async {
        while let Some(part) = parts.message().await.map_err(|status| told(&status))? {
            if let Some(Part::Answer(answer)) = part.part {
                return Ok(*answer);
            }
        }
        Err(Fault::new(Code::EngineCut, "the server stopped before an answer was whole").hint("measure again"))
    };
    tokio::time::timeout(ANSWER_LIMIT, reading).await.unwrap_or_else(|_| {
        Err(Fault::new(Code::DeadlineExceeded, "a question was not answered in time").hint("measure without --model"))
    })
}

/// Documents by their best passage.
fn ranked<'a>(sources: impl Iterator<Item = &'a str>, depth: usize) -> Vec<&'a str> {
    let mut docs: Vec<&str> = Vec::new();
    for id in sources.filter_map(|source| source.strip_prefix(SOURCE)) {
        if docs.len() < depth && !docs.contains(&id) {
            docs.push(id);
        }
    }
    docs
}

/// The line of an answer, and how many of its citations do not stand in the corpus as they are quoted.
fn answer_line(query: &str, answer: &Answer, texts: &HashMap<String, String>) -> (Value, usize) {
    let (mut citations, mut strange) = (Vec::new(), 0);
    for citation in &answer.citations {
        let id = citation.source.strip_prefix(SOURCE).unwrap_or(&citation.source);
        let span = citation.span.clone().unwrap_or_default();
        let at = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let stands = texts.get(id).map(|text| {
            text.chars().skip(at(span.start)).take(at(span.end.saturating_sub(span.start))).collect::<String>()
        });
        strange += usize::from(stands.as_deref() != Some(citation.quote.as_str()));
        citations.push(json!({ "doc": id, "start": span.start, "end": span.end }));
    }
    let confidence = answer.confidence.as_ref().map(|confidence| text::short(confidence.value));
    let line = json!({
        "query": query, "answer": answer.text, "citations": citations, "verdict": answer.verdict, "confidence": confidence,
    });
    (line, strange)
}

/// The file of the run; what stood in it stays until there is something new.
fn open(path: &Path) -> Result<File> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    file.map_err(|error| could_not_write(path, error))
}

fn write(kept: &mut File, run: &[Value]) -> io::Result<()> {
    kept.set_len(0)?;
    let mut kept = BufWriter::new(kept);
    run.iter().try_for_each(|line| writeln!(kept, "{line}"))?;
    kept.flush()
}

fn could_not_write(path: &Path, error: io::Error) -> Fault {
    file::could_not("write", &path.display().to_string(), error)
}

impl Measured {
    /// The time within which this share of the questions was answered.
    fn within(&self, share: f64) -> f64 {
        let rank = (self.took.len() as f64 * share).ceil() as usize;
        self.took.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    fn text(&self, eval: &Eval) -> String {
        let times = format!(
            "half within {}, 99 % within {}",
            text::seconds(self.within(0.5)),
            text::seconds(self.within(0.99))
        );
        let lines = [
            ("documents", format!("{}, {} not found", self.documents, self.left_out.len())),
            ("chunks", format!("{}, {} with a vector", self.chunks, self.embedded)),
            ("added in", text::seconds(self.adding_s)),
            ("indexed after", text::seconds(self.indexing_s)),
            ("questions", format!("{}, {times}", self.queries)),
            ("searched", self.search.clone()),
            ("run", eval.run.display().to_string()),
        ];
        let left_out: String = self.left_out.iter().take(10).map(|one| format!("  {one}\n")).collect();
        let more = self.left_out.len().saturating_sub(10);
        let more = if more == 0 { String::new() } else { format!("  and {more} more\n") };
        let strange = match self.strange {
            0 => String::new(),
            count => format!("{} do not stand in the corpus as they are quoted\n", counted(count, "citation")),
        };
        page(&lines) + &left_out + &more + &strange
    }

    fn json(&self, eval: &Eval) -> Value {
        json!({
            "mode": eval.mode,
            "documents": self.documents,
            "left_out": self.left_out,
            "chunks": self.chunks,
            "embedded": self.embedded,
            "adding_s": self.adding_s,
            "indexing_s": self.indexing_s,
            "queries": self.queries,
            "parallel": eval.parallel,
            "p50_s": self.within(0.5),
            "p99_s": self.within(0.99),
            "search": self.search,
            "strange_citations": self.strange,
            "run": eval.run.display().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proto::research::{Citation, Span};

    use super::*;

    #[test]
    fn documents_are_ranked_by_their_best_passage() {
        let sources = ["eval:b", "eval:a", "eval:b", "other", "eval:c"];
        assert_eq!(ranked(sources.into_iter(), 2), ["b", "a"]);
        assert_eq!(ranked(sources.into_iter(), 9), ["b", "a", "c"]);
    }

    #[test]
    fn a_citation_that_does_not_stand_in_the_corpus_is_counted() {
        let texts = HashMap::from([("a".to_owned(), "größer als vier".to_owned())]);
        let cited = |source: &str, start, end, quote: &str| Citation {
            source: source.into(),
            span: Some(Span { start, end, ..Span::default() }),
            quote: quote.into(),
            ..Citation::default()
        };
        let citations = vec![cited("eval:a", 7, 10, "als"), cited("eval:a", 8, 11, "als"), cited("eval:z", 0, 1, "g")];
        let (line, strange) = answer_line("q", &Answer { citations, ..Answer::default() }, &texts);
        assert_eq!(strange, 2);
        assert_eq!(line["citations"][0], json!({ "doc": "a", "start": 7, "end": 10 }));
    }

    #[test]
    fn times_are_those_within_which_a_share_was_answered() {
        let measured = Measured { took: (1..=100).map(f64::from).collect(), ..Measured::default() };
        assert_eq!((measured.within(0.5), measured.within(0.99), Measured::default().within(0.5)), (50.0, 99.0, 0.0));
    }

    #[test]
    fn two_lines_of_one_id_are_refused_with_the_id() {
        let path = Path::new("corpus.jsonl");
        assert!(check_ids(path, ["1", "2"].into_iter()).is_ok());
        let fault = check_ids(path, ["1", "2", "1"].into_iter()).unwrap_err();
        assert_eq!(
            (fault.code, fault.message.as_str()),
            (Code::InvalidArgument, "two lines of `corpus.jsonl` have the id `1`")
        );
        assert!(fault.hint.is_some());
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("corpus.jsonl");
        std::fs::write(&path, "{\"_id\": \"1\", \"text\": \"a\"}\n\n{\"id\": 2}\n").unwrap();
        assert!(lines::<Entry>(&path).unwrap_err().message.contains("line 3"));
        std::fs::write(&path, "").unwrap();
        assert!(lines::<Query>(&path).is_err());
    }
}
