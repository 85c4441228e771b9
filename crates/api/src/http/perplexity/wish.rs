//! What a client of Perplexity's wants to know: the question out of its messages, and the filters that mean something here.
//!
//! Pure: the moment that "the last week" counts from is given.

use std::slice;

use base::{Fault, Result, time};
use research::bounds::MOST_CONTEXT_BYTES;
use research::filter::Filter;
use research::knowledge::{CollectionView, Question};
use serde_json::{Map, Value};

/// A message longer than this asks with its first paragraph.
const LONG: usize = 1000;
const HINT: &str = "send messages such as {\"role\": \"user\", \"content\": \"what is asked\"}";
/// Fields that have an effect, or whose absence nobody sees.
const KNOWN: &[&str] = &[
    "model",
    "models",
    "preset",
    "messages",
    "input",
    "instructions",
    "stream",
    "stream_mode",
    "stream_options",
    "response_format",
    "tools",
    "search_domain_filter",
    "search_after_date_filter",
    "search_before_date_filter",
    "search_recency_filter",
    "search_language_filter",
    "web_search_options",
];

/// What is asked, and what of it had no effect.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wish {
    pub(super) question: Question,
    pub(super) notes: Vec<String>,
    pub(super) wants_related: bool,
    pub(super) wants_schema: bool,
}

/// Reads a request of either face.
pub(super) fn read(body: &Value, collections: &[CollectionView], now_ms: u64) -> Result<Wish> {
    let fields = body.as_object().ok_or_else(|| Fault::invalid("the body is no JSON object").hint(HINT))?;
    let (question, mut context) = question(fields)?;
    let mut wish = Wish::default();
    // What was said before grows with every message; the newest of it matters most.
    if context.len() > MOST_CONTEXT_BYTES {
        let cut = context.ceil_char_boundary(context.len() - MOST_CONTEXT_BYTES);
        context.drain(..cut);
        wish.notes.push(format!("the first {cut} bytes of what was said before the question are left out"));
    }
    let schema = fields.get("response_format").and_then(|format| format.get("type")).and_then(Value::as_str);
    wish.wants_schema = schema.is_some_and(|kind| kind != "text");
    wish.wants_related = fields.get("return_related_questions").and_then(Value::as_bool).unwrap_or(false);
    if wish.wants_related {
        wish.notes.push("nobody writes related questions here; the list is empty".into());
    }
    let mut filter = filter(fields, collections, now_ms, &mut wish.notes)?;
    for tool in fields.get("tools").and_then(Value::as_array).into_iter().flatten() {
        match (tool.get("type").and_then(Value::as_str), tool.get("filters").and_then(Value::as_object)) {
            (Some("web_search"), Some(own)) => filter = self::filter(own, collections, now_ms, &mut wish.notes)?,
            (Some("web_search"), None) => {}
            (kind, _) => wish.notes.push(format!("without effect here: the tool {}", kind.unwrap_or("without a type"))),
        }
    }
    let is_odd = |name: &&String| !KNOWN.contains(&name.as_str()) && name.as_str() != "return_related_questions";
    let odd: Vec<&str> = fields.keys().filter(is_odd).map(String::as_str).collect();
    if !odd.is_empty() {
        let shown: String = odd.join(", ").chars().take(300).collect();
        wish.notes.push(format!("without effect here: {shown}"));
    }
    wish.question = Question { question, context, filter, ..Question::default() };
    research::bounds::question(&wish.question)?;
    Ok(wish)
}

/// The last message of the user is the question; what was said before belongs to it.
fn question(fields: &Map<String, Value>) -> Result<(String, String)> {
    let missing = || Fault::invalid("there is no message of the user").hint(HINT);
    let messages: Vec<(String, String)> = match fields.get("messages").or_else(|| fields.get("input")) {
        Some(Value::String(text)) => vec![("user".to_owned(), text.clone())],
        Some(Value::Array(messages)) => messages.iter().map(message).collect::<Result<_>>()?,
        _ => return Err(missing()),
    };
    let last = messages.iter().rposition(|(role, _)| role == "user").ok_or_else(missing)?;
    let (before, rest) = messages.split_at(last);
    let asked = rest.first().map(|(_, text)| text.as_str()).unwrap_or_default();
    let (question, own_context) = divided(asked);
    let said = before.iter().filter(|(_, text)| !text.trim().is_empty()).map(|(role, text)| format!("{role}: {text}"));
    let instructions = fields.get("instructions").and_then(Value::as_str).map(str::to_owned);
    let parts: Vec<String> = instructions.into_iter().chain(said).chain(own_context).collect();
    Ok((question, parts.join("\n\n")))
}

/// A message's role and its text, of which it may have several parts. Items that are no messages say nothing.
fn message(message: &Value) -> Result<(String, String)> {
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default().to_owned();
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join("\n")
        }
        None | Some(Value::Null) => String::new(),
        Some(_) => return Err(Fault::invalid("the content of a message is no text").hint(HINT)),
    };
    Ok((role, text))
}

/// A short message is a question. A long one, or one with headings as programs write them, asks with its first paragraph
/// that is no heading; all of it is context then.
fn divided(text: &str) -> (String, Option<String>) {
    let text = text.trim();
    if text.len() <= LONG && !text.starts_with('#') {
        return (text.to_owned(), None);
    }
    let is_question = |paragraph: &&str| !paragraph.trim().is_empty() && !paragraph.trim_start().starts_with('#');
    match text.split("\n\n").find(is_question) {
        Some(first) => (first.trim().to_owned(), Some(text.to_owned())),
        None => (text.to_owned(), None),
    }
}

fn filter(
    fields: &Map<String, Value>,
    collections: &[CollectionView],
    now_ms: u64,
    notes: &mut Vec<String>,
) -> Result<Filter> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    // One text stands for a list of it.
    let list = |name: &str| -> Vec<String> {
        let all =
            fields.get(name).map_or(&[][..], |value| value.as_array().map_or(slice::from_ref(value), Vec::as_slice));
        all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut filter = Filter { languages: list("search_language_filter"), ..Filter::default() };
    place(&list("search_domain_filter"), collections, &mut filter, notes)?;
    filter.from_ms = text("search_after_date_filter").map(|day| day_ms("search_after_date_filter", day)).transpose()?;
    filter.until_ms =
        text("search_before_date_filter").map(|day| day_ms("search_before_date_filter", day)).transpose()?;
    if let Some(word) = text("search_recency_filter") {
        let span = RECENT.iter().find(|(known, _)| *known == word).map(|(_, hours)| hours * 3_600_000);
        let known: Vec<&str> = RECENT.iter().map(|(word, _)| *word).collect();
        let since = span.ok_or_else(|| research::bounds::unknown("search_recency_filter", word, &known))?;
        filter.from_ms = Some(now_ms.saturating_sub(since));
    }
    Ok(filter)
}

/// Spans of the recency filter, in hours.
const RECENT: &[(&str, u64)] = &[("hour", 1), ("day", 24), ("week", 168), ("month", 720), ("year", 8760)];

/// Names of collections pick those; one other text is a part of the source. What would exclude has no effect, and is named.
fn place(named: &[String], collections: &[CollectionView], filter: &mut Filter, notes: &mut Vec<String>) -> Result<()> {
    let mut parts = Vec::new();
    for name in named {
        if name.starts_with('-') {
            notes.push(format!("without effect here: search_domain_filter {name}; nothing is excluded"));
        } else if let Some(known) = collections.iter().find(|one| one.name.as_str() == name) {
            filter.collections.push(known.name.clone());
        } else {
            parts.push(name.clone());
        }
    }
    match parts.as_slice() {
        [] => Ok(()),
        [one] => {
            filter.path.clone_from(one);
            Ok(())
        }
        _ => Err(Fault::invalid(format!("`search_domain_filter` names {} parts of sources", parts.len()))
            .hint("give names of collections, and at most one part of a source such as example.org")),
    }
}

/// A day as Perplexity writes it, month first; or as everybody else does.
fn day_ms(field: &str, text: &str) -> Result<u64> {
    let parts: Vec<&str> = text.split('/').collect();
    let day = match parts.as_slice() {
        [month, day, year] => format!("{year:0>4}-{month:0>2}-{day:0>2}"),
        _ => text.to_owned(),
    };
    time::day_ms(&day).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Fault::invalid(format!("field `{field}` is no day: `{}`", shown.escape_debug())).hint("write it as 1/31/2026")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_795_215_900_250;

    fn read_with(more: Value) -> Result<Wish> {
        let mut body = json!({ "model": "sonar", "messages": [{ "role": "user", "content": "how many disks" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let house = CollectionView {
            name: research::CollectionName::parse("house").unwrap(),
            description: String::new(),
            chunk_tokens: 0,
            created_ms: 0,
            documents: 0,
            failed: 0,
            folded: 0,
            chunks: 0,
            embedded: 0,
            bytes: 0,
            languages: Vec::new(),
            categories: Vec::new(),
        };
        read(&body, &[house], NOW)
    }

    #[test]
    fn the_last_message_asks_and_those_before_are_its_context() {
        let messages = json!({ "messages": [
            { "role": "system", "content": "be short" },
            { "role": "user", "content": "what is a NAS" },
            { "role": "assistant", "content": "a box" },
            { "role": "user", "content": [{ "type": "text", "text": "how many disks" }] },
        ]});
        let wish = read_with(messages).unwrap();
        assert_eq!(wish.question.question, "how many disks");
        assert_eq!(wish.question.context, "system: be short\n\nuser: what is a NAS\n\nassistant: a box");
        let instructed = read_with(json!({ "instructions": "be short" })).unwrap();
        assert_eq!((instructed.question.context.as_str(), instructed.notes.len()), ("be short", 0));
        assert!(read_with(json!({ "messages": [] })).is_err());
        assert!(read_with(json!({ "messages": [{ "role": "user", "content": 7 }] })).is_err());
    }

    #[test]
    fn of_a_long_conversation_the_end_is_kept_and_that_is_said() {
        let wish = read_with(json!({ "messages": [
            { "role": "user", "content": "ä".repeat(MOST_CONTEXT_BYTES) },
            { "role": "assistant", "content": "a box" },
            { "role": "user", "content": "how many disks" },
        ]}))
        .unwrap();
        assert!(wish.question.context.ends_with("ä\n\nassistant: a box"));
        assert!((MOST_CONTEXT_BYTES - 1..=MOST_CONTEXT_BYTES).contains(&wish.question.context.len()));
        assert!(wish.notes[0].contains("are left out"), "{:?}", wish.notes);
    }

    #[test]
    fn a_message_as_programs_write_them_asks_with_its_first_paragraph() {
        let text = "# Research Query\n\nhow many disks\n\n# Context\n\nTask 1: buy a NAS";
        let wish = read_with(json!({ "messages": [{ "role": "user", "content": text }] })).unwrap();
        assert_eq!((wish.question.question.as_str(), wish.question.context.as_str()), ("how many disks", text));
        let long = format!("why\n\n{}", "x".repeat(2000));
        assert_eq!(divided(&long), ("why".to_owned(), Some(long.clone())));
        assert_eq!(divided("# only a heading"), ("# only a heading".to_owned(), None));
    }

    #[test]
    fn filters_that_mean_something_are_kept_and_the_others_are_named() {
        let wish = read_with(json!({
            "search_domain_filter": ["house", "srv/notes", "-reddit.com"],
            "search_after_date_filter": "1/31/2026",
            "search_language_filter": ["en"],
            "search_mode": "academic",
            "temperature": 0.2,
            "return_related_questions": true,
        }))
        .unwrap();
        let filter = &wish.question.filter;
        assert_eq!(
            (filter.collections.len(), filter.path.as_str(), filter.languages.as_slice()),
            (1, "srv/notes", &["en".to_owned()][..])
        );
        assert_eq!(filter.from_ms, Some(1_769_817_600_000));
        insta::assert_snapshot!("notes", wish.notes.join("\n"));
        let one = read_with(json!({ "search_domain_filter": "srv/notes", "search_language_filter": "en" })).unwrap();
        assert_eq!((one.question.filter.path, one.question.filter.languages), ("srv/notes".into(), vec!["en".into()]));
        let week = read_with(json!({ "search_recency_filter": "week" })).unwrap();
        assert_eq!(week.question.filter.from_ms, Some(NOW - 604_800_000));
        for wrong in [
            json!({ "search_recency_filter": "soon" }),
            json!({ "search_domain_filter": ["a", "b"] }),
            json!({ "search_before_date_filter": "31/1/2026" }),
        ] {
            assert!(read_with(wrong.clone()).unwrap_err().hint.is_some(), "{wrong}");
        }
    }

    #[test]
    fn filters_of_the_agents_tool_are_the_same() {
        let tools = json!({ "tools": [
            { "type": "web_search", "filters": { "search_domain_filter": ["house"] } },
            { "type": "fetch_url" },
        ]});
        let wish = read_with(tools).unwrap();
        assert_eq!(wish.question.filter.collections.len(), 1);
        assert_eq!(wish.notes, ["without effect here: the tool fetch_url"]);
    }
}
