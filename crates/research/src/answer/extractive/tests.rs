//! What is cited without a model, on small passages whose scores can be worked out by hand.

use super::*;
use crate::answer::evidence::OpenPart;
use crate::answer::evidence::tests::{evidence, passage};

fn cited(question: &str, evidence: &Evidence, most: usize) -> Vec<String> {
    let chosen = choose(question, &rank(question, evidence), evidence, most);
    sentences(&chosen, evidence).into_iter().map(|(sentence, _)| sentence.text).collect()
}

#[test]
fn the_sentence_that_answers_is_the_first_one() {
    let given = evidence(vec![
        passage("Pumps", "The cellar is cold. The blue pump moves 300 litres an hour. It was painted in May.", 1.0),
        passage("Valves", "The red valve is shut in winter.", 0.4),
    ]);
    let ranked = rank("How many litres does the blue pump move?", &given);
    assert_eq!(given.passages[0].of(&ranked[0].range), "The blue pump moves 300 litres an hour.");
}

#[test]
fn a_score_is_the_sum_that_was_fitted() {
    let given = evidence(vec![passage("Notes", "The blue pump moves water.", 0.5)]);
    let question = "Does the blue pump leak?";
    // All words weigh the same: two of three are said; the headings have none of them.
    let mut by_words = 6.0 * 0.5 + 4.0 * 2.0 / 3.0 + 2.0 * (1.0f32 + 4.0).ln() / 4.0;
    // `_blu blue lue_ _pum pump ump_` of these and `_lea leak eak_`.
    by_words += 2.5 * 6.0 / 9.0 + 2.0 * 2.0 / 3.0;
    let words = rank(question, &given);
    assert!((words[0].score - by_words).abs() < 1e-4, "{words:?} {by_words}");
    let mut with_vectors = given;
    with_vectors.passages[0].cosine = Some(0.6);
    with_vectors.nearness = vec![vec![0.7]];
    let vectors = rank(question, &with_vectors);
    let by_vectors = by_words - 0.5 * 6.0 / 9.0 - 2.0 * 2.0 / 3.0 + 3.0 * 0.7 + 5.5 * 0.6;
    assert!((vectors[0].score - by_vectors).abs() < 1e-4, "{vectors:?} {by_vectors}");
}

#[test]
fn one_passage_without_a_vector_leaves_all_to_their_words() {
    let mut given = evidence(vec![passage("A", "The pump leaks.", 1.0), passage("B", "A pump leaks.", 0.9)]);
    given.passages[0].cosine = Some(0.9);
    given.nearness = vec![vec![0.9], vec![0.1]];
    assert!(rank("Does the pump leak?", &given).iter().all(|one| one.cosine.is_none()));
}

#[test]
fn sentences_far_behind_the_best_one_are_not_cited() {
    let text = "The blue pump leaks at its seal. The tall grass grows fast.";
    let given = evidence(vec![passage("Pumps", text, 1.0), passage("Grass", "Grass is green.", 0.1)]);
    assert_eq!(cited("Where does the blue pump leak?", &given, 3), ["The blue pump leaks at its seal."]);
}

#[test]
fn sentences_of_one_passage_stand_in_its_order() {
    let text = "A pump leaks. The blue pump of the cellar leaks at its seal.";
    let given = evidence(vec![passage("Pumps", text, 1.0)]);
    let question = "Where does the blue pump of the cellar leak at its seal?";
    let ranked = rank(question, &given);
    assert_eq!(ranked[0].place, 1);
    let chosen = in_reading_order(ranked);
    assert_eq!(chosen.iter().map(|one| one.place).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn an_open_part_gets_its_sentence_before_the_last_ones() {
    let mut given = evidence(vec![
        passage("Pumps", "The blue pump moves 300 litres. The blue pump moves water. The blue pump moves.", 1.0),
        passage("Valves", "It rained. Anna repaired the garden valve.", 0.2),
    ]);
    given.first_round = 1;
    given.open = vec![OpenPart { words: "repaired garden valve".to_owned(), passage: 1 }];
    let question = "What moves the blue pump and who repaired the garden valve?";
    let found = cited(question, &given, 3);
    assert_eq!(found.len(), 3);
    assert_eq!(found.last().unwrap(), "Anna repaired the garden valve.");
    assert_eq!(cited(question, &given, 1).len(), 1, "one sentence is the best one");
}

#[test]
fn a_question_of_small_words_still_finds_its_sentence() {
    let given = evidence(vec![passage("Bands", "They played loud. The Who is who they were.", 1.0)]);
    assert_eq!(given.passages[0].of(&rank("Who is who?", &given)[0].range), "The Who is who they were.");
}

#[test]
fn nothing_is_cited_out_of_nothing() {
    assert_eq!(cited("Why?", &evidence(Vec::new()), 3), Vec::<String>::new());
}

#[test]
fn what_is_said_of_an_open_part_makes_the_answer_surer() {
    let mut given = evidence(vec![
        passage("Pumps", "The blue pump moves 300 litres.", 1.0),
        passage("Valves", "Anna repaired the garden valve.", 0.2),
    ]);
    given.first_round = 1;
    let ranked = rank("What moves the blue pump and who repaired the garden valve?", &given);
    let alone = for_confidence(&ranked, &given)[0].passage_share;
    given.open = vec![OpenPart { words: "repaired garden valve".to_owned(), passage: 1 }];
    assert!(alone < 0.6 && for_confidence(&ranked, &given)[0].passage_share > 0.95, "{alone}");
}

#[test]
fn no_part_of_a_question_is_left_out_where_one_sentence_says_it() {
    let pumps = "The pond pump takes 65 watts. The pond pump runs at night. The pump of the well takes 1100 watts.";
    let given = evidence(vec![passage("Pumps", pumps, 1.0), passage("NAS", "The NAS has four disks.", 0.5)]);
    let question = "How many watts takes the pond pump, and how many disks has the NAS?";
    let found = cited(question, &given, 3);
    assert!(found.contains(&"The pond pump takes 65 watts.".to_owned()), "{found:?}");
    assert!(found.contains(&"The NAS has four disks.".to_owned()), "{found:?}");
    // What lacks a word or two is no other part.
    let one = cited("How many watts takes the pond pump of the NAS?", &given, 3);
    assert!(!one.contains(&"The NAS has four disks.".to_owned()), "{one:?}");
}
