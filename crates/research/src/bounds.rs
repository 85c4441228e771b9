//! What may be asked of the knowledge base: texts and lists of bounded length, numbers that mean something.
//!
//! Every face checks by these before it asks, so that REST, gRPC and MCP refuse the same in the same words; the library does
//! so again, for whoever asks it from within. The numbers stand where they hold.

use base::{Fault, Result};

use crate::document::NewMeta;
use crate::filter::Filter;
use crate::intake::checks::{MOST_SOURCE, MOST_TAGS, MOST_TITLE, MOST_WORD};
use crate::knowledge::{Folder, LoopOrder, Page, Question, Search};
use crate::library::asking::{MOST_CONTEXT, MOST_PASSAGES, MOST_SENTENCES};
use crate::library::grouping::MOST_GROUPS;
use crate::library::serve::MOST_IN_PAGE;
use crate::rounds::{MOST_DEADLINE_S, MOST_ROUNDS};
use crate::search::{MOST_HITS, MOST_QUESTION};

/// Longest context of a question, in bytes.
pub const MOST_CONTEXT_BYTES: usize = MOST_CONTEXT;
/// Longest list of words, ids or addresses.
const MOST_ENTRIES: usize = 1000;
/// Longest pattern of a folder, in bytes.
const MOST_PATTERN: usize = 256;

/// What is told about a document.
pub fn meta(meta: &NewMeta) -> Result<()> {
    text("title", meta.title.as_deref().unwrap_or_default(), MOST_TITLE)?;
    word("media", meta.media.as_deref().unwrap_or_default())?;
    word("category", meta.category.as_deref().unwrap_or_default())?;
    tags(meta.tags.as_deref().unwrap_or_default())?;
    text("licence", meta.licence.as_deref().unwrap_or_default(), MOST_TITLE)
}

/// Where a document comes from.
pub fn source(source: &str) -> Result<()> {
    if source.trim().is_empty() {
        return Err(Fault::invalid("field `source` is empty")
            .hint("say where the document comes from, such as `file:/srv/notes/nas.md`; the same source again is a new version"));
    }
    text("source", source, MOST_SOURCE)
}

/// Which documents.
pub fn filter(filter: &Filter) -> Result<()> {
    count("collections", filter.collections.len())?;
    words("categories", &filter.categories)?;
    words("tags", &filter.tags)?;
    words("languages", &filter.languages)?;
    text("path", &filter.path, MOST_SOURCE)?;
    count("documents", filter.documents.len())?;
    match (filter.from_ms, filter.until_ms) {
        (Some(from), Some(until)) if from >= until => {
            Err(Fault::invalid("the filter ends before it begins: its `until` is not behind its `from`")
                .hint("`from` is the first day or moment that passes, and `until` the one behind the last"))
        }
        _ => Ok(()),
    }
}

/// A page of documents.
pub fn page(page: &Page) -> Result<()> {
    filter(&page.filter)?;
    text("after", &page.after, MOST_SOURCE)?;
    number("limit", page.limit, MOST_IN_PAGE)?;
    if !["", "ready", "failed", "folded"].contains(&page.state.as_str()) {
        return Err(unknown("state", &page.state, &["ready", "failed", "folded"]));
    }
    Ok(())
}

/// A search.
pub fn search(search: &Search) -> Result<()> {
    question_text(&search.question)?;
    filter(&search.filter)?;
    number("limit", search.limit, MOST_HITS)?;
    if !(0.0..=1.0).contains(&search.diversity) {
        return Err(Fault::invalid(format!("`diversity` is {}", search.diversity)).hint("give a number from 0 to 1"));
    }
    Ok(())
}

/// A question.
pub fn question(question: &Question) -> Result<()> {
    question_text(&question.question)?;
    context(&question.context)?;
    filter(&question.filter)?;
    number("sentences", question.sentences, MOST_SENTENCES)?;
    number("passages", question.passages, MOST_PASSAGES)
}

/// A research in rounds.
pub fn order(order: &LoopOrder) -> Result<()> {
    question_text(&order.question)?;
    context(&order.context)?;
    filter(&order.filter)?;
    number("max_iterations", order.max_iterations, MOST_ROUNDS)?;
    if order.deadline_s > MOST_DEADLINE_S {
        return Err(Fault::invalid(format!("`deadline_s` is {}", order.deadline_s))
            .hint(format!("a research ends within {MOST_DEADLINE_S} seconds, which is a day")));
    }
    Ok(())
}

/// A folder of a node.
pub fn folder(folder: &Folder) -> Result<()> {
    if !folder.path.starts_with('/') {
        return Err(Fault::invalid(format!("`{}` is no whole path", folder.path.escape_debug()))
            .hint("write it from the root of the node's disk on, beginning with /"));
    }
    text("path", &folder.path, MOST_SOURCE)?;
    word("node", &folder.node)?;
    word("category", &folder.category)?;
    tags(&folder.tags)?;
    count("patterns", folder.patterns.len())?;
    folder.patterns.iter().try_for_each(|pattern| text("patterns", pattern, MOST_PATTERN))
}

/// Addresses of pages.
pub fn urls(urls: &[String]) -> Result<()> {
    if urls.is_empty() {
        return Err(Fault::invalid("no address is given").hint("give at least one, such as https://example.org/page"));
    }
    count("urls", urls.len())?;
    urls.iter().try_for_each(|url| text("urls", url, MOST_SOURCE))
}

/// How many groups a clustering should have; 0: as many as suit.
pub fn clusters(wanted: u32) -> Result<()> {
    number("clusters", wanted, MOST_GROUPS)
}

/// Ids or sources of documents.
pub fn documents(which: &[String]) -> Result<()> {
    count("documents", which.len())?;
    which.iter().try_for_each(|one| text("documents", one, MOST_SOURCE))
}

/// The refusal of a word that is none of `known`.
pub fn unknown(field: &str, word: &str, known: &[&str]) -> Fault {
    let shown: String = word.chars().take(MOST_SHOWN_CHARS).collect();
    Fault::invalid(format!("field `{field}` is the unknown word `{}`", shown.escape_debug()))
        .hint(format!("use {}", known.join(", ")))
}

/// So much of a wrong word is shown.
const MOST_SHOWN_CHARS: usize = 60;

fn question_text(question: &str) -> Result<()> {
    if question.trim().is_empty() {
        return Err(Fault::invalid("the question is empty").hint("say in `question` what is to be found or answered"));
    }
    text("question", question, MOST_QUESTION)
}

/// What a question is asked for, which may be a whole text that somebody hoped would be read.
fn context(context: &str) -> Result<()> {
    text("context", context, MOST_CONTEXT)
        .map_err(|fault| fault.hint("shorten it; longer texts are added as documents"))
}

fn text(field: &str, text: &str, most: usize) -> Result<()> {
    if text.len() <= most {
        return Ok(());
    }
    Err(Fault::invalid(format!("field `{field}` is {} bytes long, more than {most}", text.len())).hint("shorten it"))
}

fn word(field: &str, word: &str) -> Result<()> {
    text(field, word, MOST_WORD)
}

fn words(field: &str, words: &[String]) -> Result<()> {
    count(field, words.len())?;
    words.iter().try_for_each(|one| word(field, one))
}

/// Those of a document, of which more would be kept than anyone looks for.
fn tags(tags: &[String]) -> Result<()> {
    at_most("tags", tags.len(), MOST_TAGS).map_err(|fault| fault.hint("leave some away"))?;
    tags.iter().try_for_each(|tag| word("tags", tag))
}

fn count(field: &str, length: usize) -> Result<()> {
    at_most(field, length, MOST_ENTRIES).map_err(|fault| fault.hint("ask in several parts"))
}

fn at_most(field: &str, length: usize, most: usize) -> Result<()> {
    if length <= most {
        return Ok(());
    }
    Err(Fault::invalid(format!("field `{field}` has {length} entries, more than {most}")))
}

fn number(field: &str, value: u32, most: u32) -> Result<()> {
    if value <= most {
        return Ok(());
    }
    Err(Fault::invalid(format!("`{field}` is {value}, more than {most}")).hint("ask for less, or in several parts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_nothing_is_refused_with_the_field_that_it_stands_in() {
        let asked = |search: Search| self::search(&Search { question: "why".into(), ..search }).unwrap_err().message;
        assert!(self::search(&Search::default()).unwrap_err().message.contains("question"));
        assert!(asked(Search { limit: MOST_HITS + 1, ..Search::default() }).contains("`limit`"));
        for diversity in [-0.1, 1.5, f32::NAN, f32::INFINITY] {
            assert!(asked(Search { diversity, ..Search::default() }).contains("`diversity`"), "{diversity}");
        }
        let filter = |filter: Filter| asked(Search { filter, ..Search::default() });
        assert!(filter(Filter { tags: vec![String::new(); MOST_ENTRIES + 1], ..Filter::default() }).contains("`tags`"));
        assert!(filter(Filter { path: "x".repeat(MOST_SOURCE + 1), ..Filter::default() }).contains("`path`"));
        let backwards = Filter { from_ms: Some(2), until_ms: Some(1), ..Filter::default() };
        assert!(filter(backwards).contains("before it begins"));
        assert!(source(" ").is_err() && source("file:/a").is_ok());
    }

    #[test]
    fn nothing_passes_the_door_that_is_refused_further_in() {
        let question = |question: Question| self::question(&Question { question: "why".into(), ..question }).is_err();
        assert!(question(Question { context: "x".repeat((64 << 10) + 1), ..Question::default() }));
        assert!(question(Question { sentences: 21, ..Question::default() }));
        assert!(question(Question { passages: 51, ..Question::default() }));
        assert!(self::search(&Search { question: "x".repeat((8 << 10) + 1), ..Search::default() }).is_err());
        let order = |order: LoopOrder| self::order(&LoopOrder { question: "why".into(), ..order }).is_err();
        assert!(order(LoopOrder { max_iterations: 11, ..LoopOrder::default() }));
        assert!(order(LoopOrder { deadline_s: 24 * 3600 + 1, ..LoopOrder::default() }));
        assert!(clusters(201).is_err() && source(&"x".repeat(2049)).is_err());
        for wrong in [
            NewMeta { title: Some("x".repeat(1025)), ..NewMeta::default() },
            NewMeta { category: Some("x".repeat(129)), ..NewMeta::default() },
            NewMeta { tags: Some(vec!["x".into(); 33]), ..NewMeta::default() },
        ] {
            assert!(meta(&wrong).is_err(), "{wrong:?}");
        }
    }
}
