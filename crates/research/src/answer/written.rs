//! Answers that a model writes, of which nothing is believed: it names passages, the program looks each sentence up in
//! them, cites the very sentences that say it, and flags or drops the rest.
//!
//! A model cannot do anything but say sentences: it has no tools, what it names as a source is only a hint where to look,
//! and a link that stands in none of the passages drops the sentence that it stands in. So a document that tells the
//! model what to do reaches nothing but a sentence that is flagged.

pub mod prompt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::compose::Cited;
use super::evidence::Evidence;
use super::support::{self, Finding, QUOTE_WORDS, Sources};
use super::{Sentence, Support};
use extract::one_line;

use crate::models::Reply;
use crate::text::sentences;

/// The most sentences that are taken of an answer.
const MOST_SENTENCES: usize = 24;
/// The most characters of one.
const MOST_CHARS: usize = 1_000;
/// A sentence that no source says is kept, and flagged, where they have this share of its words; else it is dropped.
const KEPT_FROM: f32 = 0.35;

/// What a model wrote, as it claims it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Sentence by sentence; none: the passages do not answer, as the model reads them.
    pub claims: Vec<Claim>,
    /// What a person should know of the reading.
    pub notes: Vec<String>,
}

/// A sentence with the passages that it is said to rest on.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The sentence.
    pub text: String,
    /// Places among the passages that were shown; numbers that name none are left out.
    pub sources: Vec<usize>,
}

#[derive(Deserialize)]
struct Said {
    sentences: Vec<SaidSentence>,
}

#[derive(Deserialize)]
struct SaidSentence {
    text: String,
    #[serde(default)]
    sources: Vec<i64>,
}

/// Reads a reply to a question over so many passages; the reason why it cannot be taken, else.
pub fn read(reply: &Reply, shown: usize) -> Result<Draft, String> {
    let said: Said = said(reply)?;
    let is_silent = said.sentences.is_empty();
    let (mut claims, mut unknown, mut long) = (Vec::new(), 0, 0);
    for said in said.sentences {
        let numbers =
            said.sources.iter().map(|number| usize::try_from(*number).ok().and_then(|one| one.checked_sub(1)));
        let mut sources: Vec<usize> = numbers.clone().flatten().filter(|at| *at < shown).collect();
        unknown += numbers.count() - sources.len();
        sources.sort_unstable();
        sources.dedup();
        let text = without_numbers(&said.text);
        // Small models put a paragraph where a sentence is wanted.
        for range in sentences(&text) {
            let text = text.get(range).unwrap_or_default();
            long += usize::from(text.chars().count() > MOST_CHARS);
            if text.chars().count() <= MOST_CHARS && text.chars().any(char::is_alphanumeric) {
                claims.push(Claim { text: text.to_owned(), sources: sources.clone() });
            }
        }
    }
    let over = claims.len().saturating_sub(MOST_SENTENCES);
    claims.truncate(MOST_SENTENCES);
    let mut notes = Vec::new();
    note(&mut notes, unknown, "the model named", "source that it was not shown", "sources that it was not shown");
    note(
        &mut notes,
        over + long,
        "left out",
        "sentence of a model that wrote too much",
        "sentences of a model that wrote too much",
    );
    if claims.is_empty() && !is_silent {
        return Err("it has no sentences".to_owned());
    }
    Ok(Draft { claims, notes })
}

/// The object that a reply was to be; the reason why it cannot be taken, else.
pub(crate) fn said<T: DeserializeOwned>(reply: &Reply) -> Result<T, String> {
    if !reply.is_whole {
        return Err("it was cut before its end; write less".to_owned());
    }
    let object = base::json::object_in(&reply.text).map_err(|error| error.to_string())?;
    serde_json::from_value(object.value).map_err(|error| format!("it is not as the schema wants it: {error}"))
}

fn note(notes: &mut Vec<String>, count: usize, verb: &str, one: &str, more: &str) {
    if count > 0 {
        notes.push(format!("{verb} {count} {}", if count == 1 { one } else { more }));
    }
}

/// A sentence without the `[1]` that models write into it, on one line.
fn without_numbers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('[') {
        plain.push_str(before);
        match behind.split_once(']') {
            Some((inside, after)) if is_numbers(inside) && !after.starts_with('(') => rest = after,
            _ => {
                plain.push('[');
                rest = behind;
            }
        }
    }
    plain.push_str(rest);
    let line = one_line(&plain);
    line.replace(" .", ".").replace(" ,", ",")
}

fn is_numbers(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == ',' || c == ' ')
}

/// A claim with what was found for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Looked {
    /// The sentence.
    pub text: String,
    /// What was found.
    pub finding: Finding,
    /// It was found elsewhere than the model said.
    pub is_moved: bool,
    /// It has a link that is in no source.
    pub has_foreign_link: bool,
    /// It called something a quote that is none.
    pub had_false_quote: bool,
}

/// Looks every claim up, among the passages that were shown: where the model says first, then in the others.
pub fn look_up(draft: &Draft, evidence: &Evidence, shown: usize) -> Vec<Looked> {
    let passages = evidence.passages.get(..shown.min(evidence.passages.len())).unwrap_or_default();
    let sources = Sources::read(passages, &evidence.counts);
    let all: Vec<usize> = (0..passages.len()).collect();
    draft.claims.iter().map(|claim| look_up_one(claim, &sources, &all)).collect()
}

fn look_up_one(claim: &Claim, sources: &Sources<'_>, all: &[usize]) -> Looked {
    let (text, had_false_quote) = without_false_quotes(&claim.text, sources);
    let has_foreign_link = support::links(&text).iter().any(|link| !sources.has_link(link));
    let claims = sources.claims(&text);
    let named = sources.find(&claims, &claim.sources);
    let (finding, is_moved) = match named {
        Finding::Unsupported(_) | Finding::Near(_) => match sources.find(&claims, all) {
            found @ (Finding::Quoted(_) | Finding::Supported(_)) => (found, true),
            // Nearer than what the model named, where it named anything at all.
            found if matches!(named, Finding::Unsupported(_)) => (found, false),
            _ => (named, false),
        },
        found => (found, false),
    };
    Looked { text, finding, is_moved, has_foreign_link, had_false_quote }
}

/// Takes the marks of quotation away from what stands in no source.
fn without_false_quotes(text: &str, sources: &Sources<'_>) -> (String, bool) {
    let mut told = text.to_owned();
    let mut was_false = false;
    for (open, close) in [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('»', '«')] {
        let mut from = 0;
        while let Some((start, inside)) = quote_in(&told, from, open, close) {
            let end = start + open.len_utf8() + inside.len() + close.len_utf8();
            from = end;
            if inside.split_whitespace().count() >= QUOTE_WORDS && !sources.is_quoted(&inside) {
                told.replace_range(start..end, &inside);
                from = start + inside.len();
                was_false = true;
            }
        }
    }
    (told, was_false)
}

/// The next quote from a byte on: where it opens, and what is in it.
fn quote_in(text: &str, from: usize, open: char, close: char) -> Option<(usize, String)> {
    let start = from + text.get(from..)?.find(open)?;
    let behind = text.get(start + open.len_utf8()..)?;
    let end = behind.find(close)?;
    Some((start, behind.get(..end)?.to_owned()))
}

/// Pairs of texts, of which a vector each shows whether they say the same: a sentence, and what may say it.
pub fn to_compare(looked: &[Looked], evidence: &Evidence) -> Vec<(usize, String, String)> {
    let pair = |(at, one): (usize, &Looked)| match &one.finding {
        Finding::Near((passage, range)) => {
            let text = evidence.passages.get(*passage)?.of(range);
            Some((at, one.text.clone(), text.to_owned()))
        }
        _ => None,
    };
    looked.iter().enumerate().filter_map(pair).collect()
}

/// Those whose vectors are that alike are supported.
pub fn settle(looked: &mut [Looked], cosines: &[(usize, f32)]) {
    for (at, cosine) in cosines {
        if let Some(one) = looked.get_mut(*at)
            && *cosine >= support::SAME_FROM
            && let Finding::Near(place) = &one.finding
        {
            one.finding = Finding::Supported(vec![place.clone()]);
        }
    }
}

/// The sentences of the answer with what they cite, and what a person should know.
pub fn finish(looked: Vec<Looked>) -> (Vec<Cited>, Vec<String>) {
    let mut notes = Vec::new();
    let count = |is_so: fn(&Looked) -> bool| looked.iter().filter(|one| is_so(one)).count();
    let (moved, quotes) = (count(|one| one.is_moved), count(|one| one.had_false_quote));
    let links = count(|one| one.has_foreign_link);
    let (mut kept, mut flagged, mut dropped) = (Vec::new(), 0, 0);
    for one in looked.into_iter().filter(|one| !one.has_foreign_link) {
        let (support, places) = match one.finding {
            Finding::Quoted(place) => (Support::Quoted, vec![place]),
            Finding::Supported(places) => (Support::Supported, places),
            Finding::Unsupported(share) if share < KEPT_FROM => {
                dropped += 1;
                continue;
            }
            Finding::Near(_) | Finding::Unsupported(_) => (Support::Unsupported, Vec::new()),
        };
        flagged += usize::from(support == Support::Unsupported);
        kept.push((Sentence { text: one.text, cites: Vec::new(), support }, places));
    }
    note(
        &mut notes,
        moved,
        "cited",
        "sentence from another source than the model named",
        "sentences from other sources than the model named",
    );
    note(
        &mut notes,
        quotes,
        "no source has",
        "text that the model put in quotes: it is not called a quote",
        "texts that the model put in quotes: they are not called quotes",
    );
    note(&mut notes, flagged, "flagged", "sentence that no source says", "sentences that no source says");
    note(
        &mut notes,
        dropped,
        "dropped",
        "sentence of the model that has nothing to do with the sources",
        "sentences of the model that have nothing to do with the sources",
    );
    note(
        &mut notes,
        links,
        "dropped",
        "sentence with a link that no source has",
        "sentences with links that no source has",
    );
    (kept, notes)
}

#[cfg(test)]
mod tests;
