//! What a research does next, out of what it has done. Pure.

use std::collections::HashSet;

use super::residual::left_of;
use super::{Plan, Round};
use extract::one_line;

use crate::answer::asked::{Counts, is_question};
use crate::answer::{Answer, Verdict};
use crate::hit::Span;
use crate::knowledge::LoopOrder;
use crate::rounds::report::Stopped;
use crate::text::{language, sentences, words};

/// A round that brings a smaller share of new sources is the last one.
pub const GAIN_FROM: f32 = 0.10;
/// The most questions that a model adds at once.
pub const MOST_QUESTIONS: usize = 5;
/// The most characters of a question.
const MOST_CHARS: usize = 400;

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Ask these.
    Ask(Vec<String>),
    /// It is over.
    Stop(Stopped),
}

/// What to do next, at `now_ms`.
pub fn next(plan: &Plan, rounds: &[Round], order: &LoopOrder, now_ms: u64) -> Next {
    let Some(last) = rounds.last() else {
        let is_over = now_ms >= ends_ms(plan, order);
        return if is_over { Next::Stop(Stopped::Deadline) } else { Next::Ask(plan.questions.clone()) };
    };
    let is_answered = !last.answers.is_empty() && rounds.iter().flat_map(|one| &one.answers).all(is_answered);
    let stopped = if last.is_late {
        Stopped::Deadline
    } else if is_answered && last.follow_ups.is_empty() {
        Stopped::Answered
    } else if rounds.len() as u64 >= u64::from(order.max_iterations) {
        Stopped::MaxIterations
    } else if now_ms >= ends_ms(plan, order) {
        Stopped::Deadline
    } else if !is_worth_more(rounds.len() - 1, last) || last.follow_ups.is_empty() {
        Stopped::NoGain
    } else {
        return Next::Ask(last.follow_ups.clone());
    };
    Next::Stop(stopped)
}

/// When the time of a research is over, Unix milliseconds.
pub fn ends_ms(plan: &Plan, order: &LoopOrder) -> u64 {
    plan.begun_ms.saturating_add(order.deadline_s.saturating_mul(1_000))
}

/// Whether a round behind so many others brought enough for another one. The first one may have begun with a bad question.
pub fn is_worth_more(before: usize, round: &Round) -> bool {
    before == 0 || round.novelty >= GAIN_FROM
}

/// Whether an answer leaves nothing to be asked.
pub fn is_answered(answer: &Answer) -> bool {
    answer.verdict == Verdict::Answered
}

/// The share of what the answers cite that was not cited in the rounds before; 0 where nothing is cited.
pub fn novelty(before: &[Round], answers: &[Answer]) -> f32 {
    let known: HashSet<&Span> = before.iter().flat_map(|round| &round.answers).flat_map(spans).collect();
    let now: HashSet<&Span> = answers.iter().flat_map(spans).collect();
    let new = now.iter().filter(|span| !known.contains(**span)).count();
    if now.is_empty() { 0.0 } else { new as f32 / now.len() as f32 }
}

fn spans(answer: &Answer) -> impl Iterator<Item = &Span> {
    answer.citations.iter().map(|citation| &citation.span)
}

/// The questions of a text without a model: the text, and where it has several questions each of them.
pub fn plain_questions(text: &str) -> Vec<String> {
    let whole = text.trim().to_owned();
    let each = sentences(&whole).into_iter().filter_map(|range| whole.get(range).map(str::to_owned));
    let asked: Vec<String> = each.filter(|one| one.ends_with('?') && is_question(one)).collect();
    let parts = if asked.len() > 1 { new_questions(asked, std::slice::from_ref(&whole)) } else { Vec::new() };
    std::iter::once(whole).chain(parts).collect()
}

/// Those of the questions that were not asked yet, in their order, each once, and no more than are asked at once.
pub fn new_questions(questions: Vec<String>, known: &[String]) -> Vec<String> {
    let mut seen: HashSet<Vec<String>> = known.iter().map(|one| bare(one)).collect();
    let mut new = Vec::new();
    for question in questions {
        let question = one_line(&question);
        let is_good = is_askable(&question) && question.chars().count() <= MOST_CHARS;
        if is_good && new.len() < MOST_QUESTIONS && seen.insert(bare(&question)) {
            new.push(question);
        }
    }
    new
}

/// Whether it has a word at all; small models also list colons and brackets.
pub fn is_askable(question: &str) -> bool {
    let is_word = |word: &str| {
        let letters = || word.chars().filter(|char| char.is_alphabetic());
        letters().count() > 1 || letters().any(|letter| !letter.is_ascii())
    };
    question.split_whitespace().any(is_word)
}

/// The words of a question in any order: another order is no new question.
fn bare(question: &str) -> Vec<String> {
    let mut all: Vec<String> = words(question).map(|(_, word)| word.into_owned()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The words of the question that nothing that was cited has, if they are worth a search.
pub fn left_open(question: &str, answers: &[&Answer], counts: &Counts) -> Option<String> {
    // Sentences are short to tell a language by: the question's own goes for all.
    let of_question = language(question);
    let cited = answers.iter().flat_map(|answer| &answer.citations);
    let texts: Vec<(String, &str)> =
        cited.map(|one| (format!("{}\n{}", one.headings, one.quote), of_question)).collect();
    if texts.is_empty() {
        return None;
    }
    let left = left_of(question, &texts, counts);
    left.is_open().then_some(left.words)
}

#[cfg(test)]
mod tests;
