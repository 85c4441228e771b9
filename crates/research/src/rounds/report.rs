//! What a research found: answers, what is still open, what its sources advise, and how it went. Pure.

use serde::{Deserialize, Serialize};

use super::deciding::is_answered;
use super::{Plan, Round};
use crate::answer::{Answer, Support, Verdict};
use crate::knowledge::LoopOrder;
use crate::names::{CollectionName, DocId};
use crate::text::words;

/// The most sentences of advice.
const MOST_ADVICE: usize = 8;

/// Words by which a sentence advises, in any place.
const ADVISING: [&str; 19] = [
    "should",
    "must",
    "recommend",
    "recommended",
    "recommends",
    "advised",
    "avoid",
    "ensure",
    "sollte",
    "sollten",
    "muss",
    "müssen",
    "empfohlen",
    "empfiehlt",
    "vermeiden",
    "doit",
    "devrait",
    "debe",
    "recomienda",
];
/// Words that command at the begin of a sentence.
const COMMANDS: [&str; 14] = [
    "use", "set", "keep", "do", "never", "always", "check", "replace", "install", "run", "choose", "prefer", "disable",
    "enable",
];

/// Why a research ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// Everything that was asked is answered.
    Answered,
    /// The last round brought nothing new, or nothing is left to ask.
    NoGain,
    /// All rounds are used up.
    MaxIterations,
    /// The time is over.
    Deadline,
}

/// The result of a research.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What was asked.
    pub question: String,
    /// The newest answer to each question that has one, the first one first.
    pub findings: Vec<Answer>,
    /// Questions that the knowledge base does not answer.
    pub open_questions: Vec<String>,
    /// What its sources advise, then what is missing.
    pub recommendations: Vec<Recommendation>,
    /// Every document that is cited, the most cited first.
    pub sources: Vec<Source>,
    /// How it went.
    pub rounds: Vec<RoundView>,
    /// Why it ended.
    pub stopped: Stopped,
    /// Which model made the questions; empty: none.
    pub model: String,
    /// What else a person should know.
    pub notes: Vec<String>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// What.
    pub text: String,
    /// The sources that say so; empty: it is a gap that no source fills.
    pub sources: Vec<String>,
}

/// A document that is cited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Which.
    pub document: DocId,
    /// In which collection.
    pub collection: CollectionName,
    /// Where it comes from.
    pub source: String,
    /// What it is called.
    pub title: String,
    /// When it was written or came, Unix milliseconds.
    pub dated_ms: u64,
    /// Under which terms it may be used.
    pub licence: String,
    /// How often it is cited.
    pub cited: u32,
}

/// A round, in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundView {
    /// What was asked.
    pub asked: Vec<String>,
    /// How many of it were answered.
    pub answered: u32,
    /// The share of what is cited that was new.
    pub novelty: f32,
    /// What was to be asked next.
    pub follow_ups: Vec<String>,
}

/// The report of a research that ended.
pub fn report(order: &LoopOrder, plan: &Plan, rounds: Vec<Round>, stopped: Stopped) -> Report {
    let mut notes = plan.notes.clone();
    let mut views = Vec::with_capacity(rounds.len());
    let mut findings: Vec<Answer> = Vec::new();
    let mut asked: Vec<String> = Vec::new();
    for round in rounds {
        let answered = round.answers.iter().filter(|answer| is_answered(answer)).count() as u32;
        notes.extend(round.notes);
        asked.extend(round.asked.iter().cloned());
        let (novelty, follow_ups) = (round.novelty, round.follow_ups);
        views.push(RoundView { asked: round.asked, answered, novelty, follow_ups });
        for answer in round.answers {
            match findings.iter_mut().find(|known| known.question == answer.question) {
                Some(known) => *known = answer,
                None => findings.push(answer),
            }
        }
    }
    let unanswered = |question: &String| !findings.iter().any(|one| one.question == *question && is_answered(one));
    let mut open_questions: Vec<String> = if asked.is_empty() { plan.questions.clone() } else { asked };
    open_questions.retain(unanswered);
    open_questions.dedup();
    notes.dedup();
    Report {
        question: order.question.clone(),
        recommendations: recommendations(&findings, &open_questions),
        sources: sources(&findings),
        open_questions,
        findings,
        rounds: views,
        stopped,
        model: plan.model.clone(),
        notes,
    }
}

fn recommendations(findings: &[Answer], open: &[String]) -> Vec<Recommendation> {
    let mut all: Vec<Recommendation> = Vec::new();
    for answer in findings.iter().filter(|answer| answer.verdict != Verdict::NotFound) {
        let said = answer.sentences.iter().filter(|one| one.support != Support::Unsupported && advises(&one.text));
        for sentence in said {
            let cited = answer.citations.iter().filter(|one| sentence.cites.contains(&one.number));
            let sources = cited.map(|one| one.source.clone()).collect();
            let is_new = !all.iter().any(|known| known.text == sentence.text);
            if is_new && all.len() < MOST_ADVICE {
                all.push(Recommendation { text: sentence.text.clone(), sources });
            }
        }
    }
    let gap = |question: &String| Recommendation {
        text: format!("add documents that answer: {question}"),
        sources: Vec::new(),
    };
    all.extend(open.iter().map(gap));
    all
}

/// Whether a sentence says what should be done.
fn advises(sentence: &str) -> bool {
    let commands = words(sentence).next().is_some_and(|(_, word)| COMMANDS.contains(&word.as_ref()));
    commands || words(sentence).any(|(_, word)| ADVISING.contains(&word.as_ref()))
}

fn sources(findings: &[Answer]) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for citation in findings.iter().flat_map(|answer| &answer.citations) {
        match sources.iter_mut().find(|known| known.document == citation.span.document) {
            Some(known) => known.cited += 1,
            None => sources.push(Source {
                document: citation.span.document,
                collection: citation.collection.clone(),
                source: citation.source.clone(),
                title: citation.title.clone(),
                dated_ms: citation.dated_ms,
                licence: citation.licence.clone(),
                cited: 1,
            }),
        }
    }
    sources.sort_by_key(|one| std::cmp::Reverse(one.cited));
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_that_advise_are_told_from_those_that_tell() {
        for advice in ["Backups should run daily.", "Use ECC memory.", "Der Filter muss gewechselt werden."] {
            assert!(advises(advice), "{advice}");
        }
        for tale in ["Backups run daily.", "The use of ECC memory is common.", ""] {
            assert!(!advises(tale), "{tale}");
        }
    }
}
