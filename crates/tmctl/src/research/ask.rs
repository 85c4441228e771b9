//! `tmctl research ask`: an answer as it is written, then where each sentence comes from and how sure one may be.
//!
//! What streams is unchecked. The answer behind it is checked; where it reads differently, it is shown again, whole.

use std::time::Duration;

use base::time::rfc3339;
use base::{Code, Fault, Result};
use proto::research::ask_response::Part;
use proto::research::{Answer, AskRequest, Citation, Span};
use serde_json::{Value, json};

use super::narrow::{Context, Where};
use crate::client::{Servers, call, told};
use crate::progress::News;
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{self, filled, short, visible};

/// Until the server begins to answer.
const LIMIT: Duration = Duration::from_secs(120);
/// Longest silence of an answer: a model may think long.
const SILENCE: Duration = Duration::from_secs(600);

/// What to ask.
#[derive(Debug, clap::Args)]
pub struct Ask {
    /// In words of your own, in quotes or not
    #[arg(required = true, num_args = 1..)]
    question: Vec<String>,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    context: Context,
    /// No model: sentences as they stand in the documents
    #[arg(long, conflicts_with = "model")]
    extractive: bool,
    /// Only a model; refused where none answers
    #[arg(long)]
    model: bool,
    /// At most so many sentences of an answer without a model
    #[arg(long, value_name = "COUNT", value_parser = sentences())]
    sentences: Option<u32>,
    /// Show a model so many passages at most
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=50))]
    passages: Option<u32>,
}

/// So many sentences as a server gives.
pub fn sentences() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=20)
}

/// Who is to write, in the server's word.
pub fn writer(extractive: bool, model: bool) -> String {
    match (extractive, model) {
        (true, _) => "extractive",
        (_, true) => "model",
        _ => "auto",
    }
    .to_owned()
}

/// Asks, and shows the answer.
pub async fn run(servers: &Servers, screen: &mut Screen, ask: Ask) -> Result<Verdict, Ended> {
    let Ask { question, at, context, extractive, model, sentences, passages } = ask;
    let (context, mode) = (context.text(servers).await?, writer(extractive, model));
    let question = question.join(" ");
    // 0 is the server's own number.
    let (sentences, passages) = (sentences.unwrap_or_default(), passages.unwrap_or_default());
    let request = AskRequest { question, context, filter: at.filter(), mode, sentences, passages };
    let mut parts = call(LIMIT, servers.connect().await?.research().ask(request)).await?;
    let mut live = screen.progress(Duration::ZERO);
    let mut streamed = String::new();
    let ended = loop {
        let part = match tokio::time::timeout(SILENCE, parts.message()).await {
            Err(_) => break Err(silent()),
            Ok(Err(status)) => break Err(told(&status)),
            Ok(Ok(part)) => part.and_then(|part| part.part),
        };
        match part {
            Some(Part::Doing(what)) if streamed.is_empty() => live.show(&News { status: &what, ..News::default() }),
            // Elsewhere than on a terminal only what was checked is written.
            Some(Part::Delta(piece)) if live.screen.style.is_terminal && !live.screen.style.json => {
                live.end();
                live.screen.model_text(&piece)?;
                streamed.push_str(&piece);
            }
            Some(Part::Doing(_) | Part::Delta(_)) => {}
            Some(Part::Answer(answer)) => break Ok(*answer),
            None => break Err(cut()),
        }
    };
    drop(live);
    if !streamed.is_empty() {
        screen.data("\n")?;
    }
    let answer = ended?;
    screen.show(|_| visible(&shown(&answer, &streamed)), &json(&answer))?;
    Ok(if answer.verdict == "not_found" { Verdict::NotWell } else { Verdict::Done })
}

fn silent() -> Fault {
    Fault::new(Code::DeadlineExceeded, format!("the server said nothing for {}", text::seconds(SILENCE.as_secs_f64())))
        .hint("ask again with --extractive, which needs no model")
}

fn cut() -> Fault {
    Fault::new(Code::EngineCut, "the server stopped before the answer was whole").hint("ask again")
}

/// What stands below the streamed text: the answer itself where it reads differently, then all that supports it.
fn shown(answer: &Answer, streamed: &str) -> String {
    let text = match streamed.trim() {
        "" => format!("{}\n", answer.text),
        same if same == answer.text.trim() => String::new(),
        _ => format!("\nchecked, it reads:\n{}\n", answer.text),
    };
    text + &about(answer)
}

/// The sources of an answer and how far it can be relied on.
pub fn about(answer: &Answer) -> String {
    let mut text = String::new();
    match answer.verdict.as_str() {
        "not_found" if answer.text.is_empty() => text.push_str("this is not in the knowledge base\n"),
        "unsure" => text.push_str("\nunsure: what was found is near, and nothing to rely on\n"),
        _ => {}
    }
    if !answer.citations.is_empty() {
        text.push_str("\nsources:\n");
    }
    for citation in &answer.citations {
        let Citation { title, source, headings, collection, page, span, .. } = citation;
        let place = place((title, headings), (collection, source), *page, span.as_ref());
        text.push_str(&format!("[{}] {place}\n", citation.number));
        text.extend(citation.quote.lines().map(|line| format!("    “{line}”\n")));
    }
    for sentence in answer.sentences.iter().filter(|sentence| sentence.support == "unsupported") {
        text.push_str(&format!("\nnot found in what it cites: {}\n", sentence.text));
    }
    for pair in &answer.contradictions {
        text.push_str(&format!("\n[{}] and [{}] do not say the same: {}\n", pair.one, pair.other, pair.about));
    }
    let by = if answer.model.is_empty() { "nobody: sentences as they stand in the sources" } else { &answer.model };
    let lines = [
        ("confidence", confidence(answer)),
        ("written by", by.to_owned()),
        ("searched", answer.search.clone()),
        ("notes", answer.notes.join("; ")),
    ];
    text + "\n" + &text::page(&lines)
}

/// What a passage is called, under which headings, and where it stands.
pub fn place(
    (title, headings): (&str, &str),
    (collection, source): (&str, &str),
    page: Option<u32>,
    span: Option<&Span>,
) -> String {
    let title = if title.is_empty() { source } else { title };
    let headings = below(title, headings);
    let headings = if headings.is_empty() { String::new() } else { format!(" › {headings}") };
    let (title, headings, source) = (text::name(title), text::name(&headings), text::name(source));
    let page = page.map_or(String::new(), |page| format!(", page {page}"));
    let (from, to) = span.map_or((0, 0), |span| (span.start, span.end));
    format!("{title}{headings}  ({collection}, {source}{page}, characters {from}-{to})")
}

/// The headings below the title, which a server tells in front of them.
fn below<'a>(title: &str, headings: &'a str) -> &'a str {
    match headings.strip_prefix(title) {
        Some("") => "",
        Some(rest) => rest.strip_prefix(" › ").unwrap_or(headings),
        None => headings,
    }
}

fn confidence(answer: &Answer) -> String {
    let Some(confidence) = &answer.confidence else { return "not told".to_owned() };
    let because = confidence.because.iter().map(|one| format!("{} {:.2} ({:+.2})", one.name, one.value, one.moved));
    let because = because.collect::<Vec<_>>().join(", ");
    let because = if because.is_empty() { because } else { format!(": {because}") };
    format!("{}{because}", text::percent(confidence.value.into()))
}

/// An answer.
pub fn json(answer: &Answer) -> Value {
    let confidence = answer.confidence.clone().unwrap_or_default();
    let because = |one: &proto::research::Because| json!({ "name": one.name, "value": short(one.value), "moved": short(one.moved) });
    let sentence =
        |one: &proto::research::Sentence| json!({ "text": one.text, "cites": one.cites, "support": one.support });
    let pair = |one: &proto::research::Contradiction| json!({ "one": one.one, "other": one.other, "about": one.about });
    json!({
        "question": answer.question,
        "verdict": answer.verdict,
        "text": answer.text,
        "sentences": answer.sentences.iter().map(sentence).collect::<Vec<_>>(),
        "citations": answer.citations.iter().map(citation_json).collect::<Vec<_>>(),
        "confidence": {
            "value": short(confidence.value),
            "because": confidence.because.iter().map(because).collect::<Vec<_>>(),
        },
        "contradictions": answer.contradictions.iter().map(pair).collect::<Vec<_>>(),
        "model": filled(&answer.model),
        "search": answer.search,
        "notes": answer.notes,
    })
}

fn citation_json(citation: &Citation) -> Value {
    let span = citation.span.clone().unwrap_or_default();
    json!({
        "number": citation.number,
        "collection": citation.collection,
        "document": span.document,
        "version": span.version,
        "start": span.start,
        "end": span.end,
        "quote": citation.quote,
        "source": citation.source,
        "title": citation.title,
        "headings": citation.headings,
        "page": citation.page,
        "dated": rfc3339(citation.dated_ms),
        "licence": filled(&citation.licence),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, research::answer};

    #[test]
    fn a_source_says_its_title_once_and_stays_in_its_line() {
        let shown = |title, headings| place((title, headings), ("house", "file:/a\nb.md"), None, None);
        let at = "  (house, file:/a\\nb.md, characters 0-0)";
        assert_eq!(shown("Taskmaster", "Taskmaster › Certificates"), format!("Taskmaster › Certificates{at}"));
        assert_eq!(shown("Taskmaster", "Taskmaster"), format!("Taskmaster{at}"));
        assert_eq!(shown("Task", "Taskmaster › Certificates"), format!("Task › Taskmaster › Certificates{at}"));
        assert_eq!(shown("", "Certificates"), format!("file:/a\\nb.md › Certificates{at}"));
    }

    #[test]
    fn an_answer_is_shown_with_everything_that_supports_it() {
        let model = Answer { model: "llama3.1:8b".into(), ..answer() };
        let none = Answer {
            question: "why".into(),
            verdict: "not_found".into(),
            text: "This is not in the knowledge base.".into(),
            ..Answer::default()
        };
        let same = answer().text + "\n";
        let parts =
            [shown(&answer(), ""), shown(&model, "The NAS has five disks."), shown(&answer(), &same), shown(&none, "")];
        insta::assert_snapshot!("answer", parts.join("----\n") + &samples::json(&json(&answer())));
    }
}
