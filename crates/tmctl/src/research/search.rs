//! `tmctl research search`: passages of documents, and with `--explain` why each was found.

use std::time::Duration;

use base::Result;
use proto::research::{Hit, SearchRequest, SearchResponse, Why};
use serde_json::{Value, json};

use super::ask::place;
use super::narrow::Where;
use crate::client::{Servers, call};
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{self, short, visible};

/// A question may have to wait until a model has embedded it.
const LIMIT: Duration = Duration::from_secs(120);

/// What to look for.
#[derive(Debug, clap::Args)]
pub struct Search {
    /// In words of your own, in quotes or not
    #[arg(required = true, num_args = 1..)]
    question: Vec<String>,
    #[command(flatten)]
    at: Where,
    /// By words and vectors, by words alone, or by vectors alone
    #[arg(long, value_parser = ["hybrid", "text", "dense"], default_value = "hybrid")]
    mode: String,
    /// At most so many passages
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// How much passages that say the same are pushed down, from 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    diversity: f32,
    /// Show what stands before and behind each passage
    #[arg(long)]
    neighbours: bool,
    /// Show what each score is made of
    #[arg(long)]
    explain: bool,
}

fn share(text: &str) -> Result<f32, String> {
    let read = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    read.ok_or_else(|| "give a number from 0 to 1".to_owned())
}

/// Searches.
pub async fn run(servers: &Servers, screen: &mut Screen, search: Search) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    let Search { question, at, mode, limit, diversity, neighbours, explain } = search;
    let question = question.join(" ");
    let request = SearchRequest { question, filter: at.filter(), limit, mode, diversity, neighbours };
    let found = call(LIMIT, connection.research().search(request)).await?;
    screen.show(|_| visible(&text(&found, explain)), &json(&found, &connection.server))?;
    Ok(if found.hits.is_empty() { Verdict::NotWell } else { Verdict::Done })
}

fn text(found: &SearchResponse, explain: bool) -> String {
    let mut text = String::new();
    for (number, hit) in (1..).zip(&found.hits) {
        let Hit { title, source, headings, collection, page, span, .. } = hit;
        let place = place((title, headings), (collection, source), *page, span.as_ref());
        text.push_str(&format!("{number}. {place}\n"));
        for part in [&hit.before, &hit.text, &hit.after].into_iter().filter(|part| !part.is_empty()) {
            text.push_str(&indented(part));
        }
        if explain {
            text.push_str(&format!("   score {:.3}: {}\n", hit.score, why(hit.why.as_ref())));
        }
    }
    let count =
        if found.hits.is_empty() { "nothing was found".to_owned() } else { text::counted(found.hits.len(), "passage") };
    format!("{text}{count} in {}, {}\n", text::seconds(found.seconds), found.search)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

fn why(why: Option<&Why>) -> String {
    let Some(why) = why else { return "not told".to_owned() };
    let by = |name: &str, value: Option<f32>, rank: Option<u32>| {
        let value = value?;
        Some(format!("{name} {value:.3}{}", rank.map_or(String::new(), |rank| format!(" (place {rank})"))))
    };
    let mut parts: Vec<String> = [by("words", why.text, why.text_rank), by("vectors", why.dense, why.dense_rank)]
        .into_iter()
        .flatten()
        .collect();
    if why.rerank != 0.0 {
        parts.push(format!("reranked {:+.3}", why.rerank));
    }
    if !why.words.is_empty() {
        parts.push(format!("has {}", why.words.join(", ")));
    }
    parts.join(", ")
}

fn json(found: &SearchResponse, server: &str) -> Value {
    let item = |hit: &Hit| {
        let span = hit.span.clone().unwrap_or_default();
        let why = hit.why.clone().unwrap_or_default();
        json!({
            "collection": hit.collection,
            "document": span.document,
            "version": span.version,
            "start": span.start,
            "end": span.end,
            "source": hit.source,
            "title": hit.title,
            "headings": hit.headings,
            "page": hit.page,
            "text": hit.text,
            "before": text::filled(&hit.before),
            "after": text::filled(&hit.after),
            "score": short(hit.score),
            "why": {
                "text": why.text.map(short), "text_rank": why.text_rank, "dense": why.dense.map(short), "dense_rank": why.dense_rank,
                "rerank": short(why.rerank), "words": why.words,
            },
        })
    };
    let list = text::List::of_now(server, found.hits.iter().map(item).collect::<Vec<_>>());
    json!({
        "as_of": list.as_of, "view_of": list.view_of, "items": list.items,
        "search": found.search, "seconds": found.seconds,
    })
}

#[cfg(test)]
mod tests {
    use proto::research::Span;

    use super::*;

    #[test]
    fn passages_are_shown_with_their_place_and_their_reasons() {
        let why = Why {
            text: Some(7.25),
            text_rank: Some(1),
            dense: Some(0.71),
            dense_rank: Some(3),
            rerank: 0.05,
            words: vec!["disks".into(), "sleep".into()],
        };
        let hit = Hit {
            span: Some(Span { document: "00".into(), version: 2, start: 120, end: 160 }),
            collection: "house".into(),
            source: "file://grey-area/srv/notes/nas.md".into(),
            title: "The NAS".into(),
            headings: "Disks › Sleep".into(),
            page: Some(4),
            text: "The disks sleep at night.\nThey wake at six.".into(),
            before: "There are four.".into(),
            score: 0.93,
            why: Some(why),
            ..Hit::default()
        };
        let bare = Hit {
            source: "note:\u{1b}[2J".into(),
            collection: "house".into(),
            text: "A cat.".into(),
            ..Hit::default()
        };
        let search = "by words and by vectors of all-minilm".to_owned();
        let found = SearchResponse { hits: vec![hit, bare], search: search.clone(), seconds: 0.0042 };
        let none = SearchResponse { hits: Vec::new(), search, seconds: 0.001 };
        insta::assert_snapshot!("search", visible(&(text(&found, true) + &text(&none, false))));
    }
}
