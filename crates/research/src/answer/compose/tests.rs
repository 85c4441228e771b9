//! Whole answers out of given evidence.

use super::*;
use crate::answer::evidence::Margin;
use crate::answer::evidence::tests::{evidence, passage};

fn pumps() -> Evidence {
    evidence(vec![
        passage("Pumps", "The cellar is cold. The blue pump moves 300 litres an hour.", 1.0),
        passage("Leaflet", "The blue pump moves 250 litres an hour.", 0.9),
    ])
}

/// An answer as a person would read all of it.
fn shown(answer: &Answer) -> String {
    let mut lines = vec![format!("{:?} {:.2}: {}", answer.verdict, answer.confidence.value, answer.text)];
    for one in &answer.citations {
        lines.push(format!("[{}] {} {}..{} `{}`", one.number, one.source, one.span.start, one.span.end, one.quote));
    }
    let because = answer.confidence.because.iter();
    lines.extend(because.map(|one| format!("{:+.2} {} ({:.2})", one.moved, one.name, one.value)));
    let disputes = answer.contradictions.iter();
    lines.extend(disputes.map(|one| format!("[{}] against [{}]: {}", one.one, one.other, one.about)));
    lines.extend(answer.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

#[test]
fn an_answer_without_a_model_reads_so() {
    let answer = extracted("How many litres does the blue pump move in an hour?", &pumps(), 3);
    insta::assert_snapshot!(shown(&answer));
}

#[test]
fn what_is_not_there_is_said_so_and_nothing_is_cited() {
    let mut given = pumps();
    given.margin = Margin { fit: 0.02, words: 0.1, others: 100 };
    let answer = extracted("Which poet wrote about the sea of Japan?", &given, 3);
    assert_eq!((answer.verdict, answer.text.as_str()), (Verdict::NotFound, NOT_FOUND));
    assert!(answer.citations.is_empty() && answer.sentences.is_empty());
    assert_eq!(answer.notes, ["the nearest documents are `Pumps`, `Leaflet`"]);
    let empty = extracted("Which poet?", &evidence(Vec::new()), 3);
    assert_eq!((empty.verdict, empty.confidence.value), (Verdict::NotFound, 0.0));
}

#[test]
fn every_number_of_the_text_has_its_citation() {
    let answer = extracted("How many litres does the blue pump move?", &pumps(), 3);
    for sentence in &answer.sentences {
        for number in &sentence.cites {
            let citation = answer.citations.iter().find(|one| one.number == *number).unwrap();
            assert!(citation.quote.contains(&sentence.text));
            assert!(answer.text.contains(&format!("[{number}]")));
        }
    }
}

#[test]
fn a_disputed_answer_names_both_sources_and_is_less_sure() {
    let answer = extracted("How many litres does the blue pump move?", &pumps(), 1);
    let [dispute] = answer.contradictions.as_slice() else { panic!("{answer:?}") };
    assert_eq!((dispute.one, dispute.other), (1, 2));
    assert_eq!(answer.citations.len(), 2, "the other side is cited beside it");
    assert!(answer.confidence.because.iter().any(|one| one.name == "sources that disagree" && one.moved < 0.0));
}

#[test]
fn a_flagged_sentence_is_flagged_in_the_text() {
    let sentence = |text: &str, support| Sentence { text: text.to_owned(), cites: Vec::new(), support };
    let said = vec![
        (sentence("The pump moves 300 litres.", Support::Supported), vec![(0, 20..59)]),
        (sentence("It is loud.", Support::Unsupported), vec![]),
    ];
    let answer = written("How many litres does the blue pump move?", &pumps(), "some-model", (said, Vec::new()));
    assert_eq!(answer.text, "The pump moves 300 litres. [1] [2] It is loud. [no source]".replace(" [2]", ""));
    assert_eq!(answer.model, "some-model");
    let share = answer.confidence.because.last().unwrap();
    assert!(answer.confidence.because.iter().any(|one| one.name == "sentences that their sources say"), "{share:?}");
}
