//! What a research does next, step by step.

use std::sync::Arc;

use super::*;
use crate::answer::evidence::tests::{evidence, passage};
use crate::answer::{Confidence, compose};
use crate::rounds::report::report;

fn order(most: u32) -> LoopOrder {
    LoopOrder {
        question: "What moves the pump?".to_owned(),
        max_iterations: most,
        deadline_s: 60,
        ..LoopOrder::default()
    }
}

fn plan() -> Plan {
    Plan { questions: vec!["What moves the pump?".to_owned()], begun_ms: 1_000, ..Plan::default() }
}

/// An answer that cites one sentence of a document of that name.
fn answer(question: &str, document: &str, verdict: Verdict) -> Answer {
    let given = evidence(vec![passage(document, "The pump should move 300 litres.", 1.0)]);
    let mut answer = compose::extracted("How many litres should the pump move?", &given, 1);
    assert_eq!(answer.citations.len(), 1);
    question.clone_into(&mut answer.question);
    Answer { verdict, confidence: Confidence::default(), ..answer }
}

fn round(answers: Vec<Answer>, novelty: f32, follow_ups: &[&str]) -> Round {
    let asked = answers.iter().map(|answer| answer.question.clone()).collect();
    let follow_ups = follow_ups.iter().map(|one| (*one).to_owned()).collect();
    Round { asked, answers, novelty, follow_ups, ..Round::default() }
}

#[test]
fn it_begins_with_the_plan_and_goes_on_with_what_is_open() {
    assert_eq!(next(&plan(), &[], &order(3), 1_000), Next::Ask(plan().questions));
    let open = round(vec![answer("a", "A", Verdict::Unsure)], 1.0, &["b?"]);
    assert_eq!(next(&plan(), &[open], &order(3), 2_000), Next::Ask(vec!["b?".to_owned()]));
}

#[test]
fn each_reason_to_stop_is_told_from_the_others() {
    let answered = || round(vec![answer("a", "A", Verdict::Answered)], 1.0, &[]);
    let open = |novelty| round(vec![answer("a", "A", Verdict::Unsure)], novelty, &["b?"]);
    let quiet = || round(vec![answer("a", "A", Verdict::Unsure)], 1.0, &[]);
    let late = Round { is_late: true, ..open(1.0) };
    for (rounds, most, now_ms, expected) in [
        (vec![answered()], 3, 2_000, Stopped::Answered),
        (vec![open(1.0)], 1, 2_000, Stopped::MaxIterations),
        (vec![open(1.0)], 3, 61_000, Stopped::Deadline),
        (vec![late], 3, 2_000, Stopped::Deadline),
        (vec![open(1.0), open(0.05)], 3, 2_000, Stopped::NoGain),
        (vec![quiet()], 3, 2_000, Stopped::NoGain),
        (vec![], 3, 61_000, Stopped::Deadline),
    ] {
        assert_eq!(next(&plan(), &rounds, &order(most), now_ms), Next::Stop(expected), "{rounds:?}");
    }
}

#[test]
fn novelty_is_the_share_that_no_round_cited_before() {
    let first = round(vec![answer("a", "A", Verdict::Unsure)], 1.0, &[]);
    let now = [answer("b", "A", Verdict::Unsure), answer("b", "B", Verdict::Unsure)];
    assert_eq!(novelty(&[], &now), 1.0);
    assert_eq!(novelty(&[first], &now), 0.5);
    assert_eq!(novelty(&[], &[]), 0.0);
}

#[test]
fn a_question_in_another_order_is_no_new_one() {
    let known = ["Who owns the pump?".to_owned()];
    let asked = ["the pump who owns", "Who sold it?", "who  sold it", " ", "Why?"].map(str::to_owned).to_vec();
    assert_eq!(new_questions(asked, &known), ["Who sold it?", "Why?"]);
    let many = (0..9).map(|number| format!("Who is number {number}?")).collect();
    assert_eq!(new_questions(many, &[]).len(), MOST_QUESTIONS);
}

#[test]
fn several_questions_of_a_text_are_asked_one_by_one() {
    assert_eq!(plain_questions(" Who owns it? "), ["Who owns it?"]);
    let both = "Who owns the pump? When was it sold?";
    assert_eq!(plain_questions(both), [both, "Who owns the pump?", "When was it sold?"]);
}

#[test]
fn what_no_citation_has_is_left_open() {
    let counts: Counts = Arc::new(|_| (3, 1_000));
    let cited = answer("a", "A", Verdict::Answered);
    let left = left_open("What litres should the pump move and who painted the valve?", &[&cited], &counts);
    assert_eq!(left.as_deref(), Some("painted valve"));
    assert_eq!(left_open("What litres should the pump move?", &[&cited], &counts), None);
    assert_eq!(left_open("Who painted the valve?", &[], &counts), None);
}

#[test]
fn a_report_has_findings_gaps_and_advice() {
    let rounds = vec![
        round(vec![answer("What moves the pump?", "A", Verdict::Unsure)], 1.0, &["Who painted it?"]),
        round(vec![answer("Who painted it?", "A", Verdict::Answered)], 0.0, &[]),
    ];
    let report = report(&order(3), &plan(), rounds, Stopped::NoGain);
    assert_eq!(report.open_questions, ["What moves the pump?"]);
    assert_eq!(report.findings.len(), 2);
    assert_eq!(report.sources.iter().map(|one| one.cited).collect::<Vec<_>>(), [2]);
    let advice: Vec<_> = report.recommendations.iter().map(|one| (one.text.as_str(), one.sources.len())).collect();
    let gap = "add documents that answer: What moves the pump?";
    assert_eq!(advice, [("The pump should move 300 litres.", 1), (gap, 0)]);
}

#[test]
fn a_list_of_signs_holds_no_question() {
    let said = [":", "{}", " - ", "?", "a", "1. 2. 3.", "Warum?", "何？"].map(str::to_owned).to_vec();
    assert_eq!(new_questions(said, &[]), ["Warum?", "何？"]);
}
