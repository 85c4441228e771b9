//! What a model wrote, honest or not, beside the passages that it was shown.

use super::*;
use crate::answer::evidence::tests::{evidence, passage};
use crate::answer::{Answer, compose};

fn reply(text: &str) -> Reply {
    Reply { text: text.to_owned(), model: "m".to_owned(), is_whole: true }
}

fn draft(claims: &[(&str, &[usize])]) -> Draft {
    let claim = |(text, sources): &(&str, &[usize])| Claim { text: (*text).to_owned(), sources: sources.to_vec() };
    Draft { claims: claims.iter().map(claim).collect(), notes: Vec::new() }
}

fn pumps() -> Evidence {
    evidence(vec![
        passage("Pumps", "The cellar is cold. The blue pump moves 300 litres an hour.", 1.0),
        passage("Valves", "Anna repaired the red valve. It is shut in winter.", 0.5),
    ])
}

fn answer(claims: &[(&str, &[usize])], evidence: &Evidence) -> Answer {
    let looked = look_up(&draft(claims), evidence, evidence.passages.len());
    compose::written("What about the pump?", evidence, "m", finish(looked))
}

#[test]
fn a_reply_is_read_for_its_sentences() {
    let said = r#"Sure! {"sentences": [{"text": "It moves. [1] It is blue [1, 2].", "sources": [1, 9, -2]}]} Bye"#;
    let draft = read(&reply(said), 2).unwrap();
    let texts: Vec<_> = draft.claims.iter().map(|claim| (claim.text.as_str(), claim.sources.as_slice())).collect();
    assert_eq!(texts, [("It moves.", &[0][..]), ("It is blue.", &[0][..])]);
    assert_eq!(draft.notes, ["the model named 2 sources that it was not shown"]);
}

#[test]
fn a_reply_that_is_cut_or_no_json_is_refused() {
    for text in ["", "It moves.", "{\"sentences\": 4}", "}{", "{\"sentences\": [{}]}"] {
        assert!(read(&reply(text), 2).is_err(), "{text}");
    }
    let cut = Reply { is_whole: false, ..reply("{\"sentences\": []}") };
    assert!(read(&cut, 2).is_err());
}

#[test]
fn each_sentence_cites_the_very_sentence_that_says_it() {
    let answer = answer(
        &[("The blue pump moves 300 litres in an hour.", &[0]), ("Anna repaired the red valve.", &[1])],
        &pumps(),
    );
    let quotes: Vec<_> = answer.citations.iter().map(|one| one.quote.as_str()).collect();
    assert_eq!(quotes, ["The blue pump moves 300 litres an hour.", "Anna repaired the red valve."]);
    assert_eq!(answer.sentences[0].support, Support::Supported);
    assert_eq!(answer.sentences[1].support, Support::Quoted);
    assert!(answer.notes.is_empty(), "{:?}", answer.notes);
}

#[test]
fn a_wrong_number_of_a_source_is_put_right_and_told() {
    let answer = answer(&[("The blue pump moves 300 litres in an hour.", &[1])], &pumps());
    assert_eq!(answer.citations[0].title, "Pumps");
    assert_eq!(answer.notes, ["cited 1 sentence from another source than the model named"]);
}

#[test]
fn what_no_source_says_is_flagged_or_dropped() {
    let answer = answer(
        &[
            ("The blue pump moves 900 litres an hour.", &[0]),
            ("The moon is made of cheese.", &[0]),
            ("The red valve is shut in winter.", &[1]),
        ],
        &pumps(),
    );
    assert_eq!(answer.text, "The blue pump moves 900 litres an hour. [no source] The red valve is shut in winter. [1]");
    assert_eq!(answer.sentences[0].support, Support::Unsupported);
    assert_eq!(
        answer.notes,
        [
            "flagged 1 sentence that no source says",
            "dropped 1 sentence of the model that has nothing to do with the sources"
        ]
    );
}

#[test]
fn a_quote_that_is_none_loses_its_marks() {
    let answer = answer(&[("Anna says \"the red valve was repaired\" by her.", &[1])], &pumps());
    assert!(!answer.text.contains('"'), "{}", answer.text);
    let kept = answer_text("Anna \"repaired the red valve\" herself.");
    assert!(kept.contains("\"repaired the red valve\""), "{kept}");
}

fn answer_text(claim: &str) -> String {
    answer(&[(claim, &[1])], &pumps()).text
}

#[test]
fn vectors_settle_what_is_said_in_other_words() {
    let evidence = pumps();
    let claims = draft(&[("Each hour the blue machine shifts 300 litres.", &[0])]);
    let mut looked = look_up(&claims, &evidence, 2);
    let pairs = to_compare(&looked, &evidence);
    assert_eq!(pairs.len(), 1, "{looked:?}");
    settle(&mut looked, &[(0, 0.5)]);
    assert!(matches!(looked[0].finding, Finding::Near(_)), "not alike enough");
    settle(&mut looked, &[(0, 0.9)]);
    assert!(matches!(looked[0].finding, Finding::Supported(_)));
}
