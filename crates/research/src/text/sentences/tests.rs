//! What is a sentence: by example, by property, and beside a collection in which people marked them.

use super::*;

fn split(text: &str) -> Vec<&str> {
    sentences(text).into_iter().map(|range| &text[range]).collect()
}

#[test]
fn points_that_end_nothing_end_nothing() {
    for text in [
        "Dr. Bell met Mrs. Hall at 6.5 p.m. in St. Ives.",
        "See Fig. 3 and No. 5, i.e. Those of J. R. Smith et al. (2007) in the U.S. Army.",
        "It took approx. Five hours vs. Six, e.g. Monday.",
        "Am 3. Oktober, z. B. Mittwoch, kommt Hr. Weiß bzw. Frau Prof. Dr. Meyer zum 2. Mal.",
        "Voir p. 12, c.-à-d. Mme Dupont et M. Martin.",
        "La Sra. García vive en la Av. Central n. 4.",
        "He said ... nothing at all.",
        "Use version 1.2.3 of tokio.rs, not v0.9.",
        "Is it (really?) so?",
        "Yahoo! is a name.",
        "a line that is wrapped by an editor in the\nmiddle of its words, and then once more at\nthe end.",
    ] {
        assert_eq!(split(text), [text]);
    }
}

#[test]
fn ends_are_ends() {
    for (text, count) in [
        ("One ends. Two ends! Does three? Yes.", 4),
        ("It lacks vitamin C. The cure is fruit.", 2),
        ("He moved to the U.S. In 1990 he left.", 2),
        ("He said \"No.\" She left.", 2),
        ("„Es geht.“ Er ging. 42 Leute blieben.", 3),
        ("The gene is old. p53 is one. mRNA too. β-amyloid as well.", 4),
        ("We bought disks, cables, etc. The rest came later.", 2),
        ("It ended in 2010. Next came 2011.", 2),
        (
            "It is 5 mm. The gap is 3 mm. We waited for 10 ms. Then it ran for 4 min. It was Salmonella spp. In 4 d. We left.",
            7,
        ),
        ("Stay... Now go.", 2),
        ("地下室にある。毎晩動く！本当？はい。", 4),
        ("# Heading\nText below it.\n\n- one\n- two items\n1. First.\n2. Second.", 6),
        ("| a | b |\n|---|---|\n| 1 | 2 |", 3),
        ("Disk: 4 TB\nFan: two\nMemory: 64 GB and a very long line that shows how wide lines may be here", 3),
        ("¿Qué es? Es un disco. ¡Bien!", 3),
    ] {
        let found = split(text);
        assert_eq!(found.len(), count, "{found:#?}");
    }
}

#[test]
fn an_item_keeps_its_number() {
    assert_eq!(split("1. Install it. Then run it."), ["1. Install it.", "Then run it."]);
}

proptest::proptest! {
    #[test]
    fn sentences_hold_all_but_blanks_and_split_no_word(
        text in "([a-zA-Z0-9]{1,6}|[ \n.?!…。\"')(#|*-]|Dr\\. |\\PC){0,80}"
    ) {
        let mut last = 0;
        for range in sentences(&text) {
            let shown = text.get(range.clone()).unwrap();
            proptest::prop_assert!(range.start >= last && !shown.is_empty() && shown.trim() == shown);
            proptest::prop_assert!(text[last..range.start].trim().is_empty());
            let before = text[..range.start].chars().next_back();
            let is_inside = |c: char| c.is_alphanumeric() && c.is_ascii();
            proptest::prop_assert!(!(before.is_some_and(is_inside) && shown.starts_with(is_inside)), "{:?}", shown);
            last = range.end;
        }
        proptest::prop_assert!(text[last..].trim().is_empty());
    }
}

/// The share of the sentences that people marked which are found exactly so.
#[test]
fn marked_sentences_are_found() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/retrieval/scifact/corpus.jsonl");
    let corpus = match std::fs::read_to_string(&path) {
        Ok(corpus) => corpus,
        Err(error) => return println!("skipped: {} is not there: {error}", path.display()),
    };
    let (mut marked, mut found, mut made) = (0, 0, 0);
    for line in corpus.lines() {
        let document: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = document["text"].as_str().unwrap();
        let chars = |at: usize| text[..at].chars().count();
        let ours: std::collections::HashSet<(usize, usize)> =
            sentences(text).into_iter().map(|range| (chars(range.start), chars(range.end))).collect();
        let theirs: Vec<(usize, usize)> = serde_json::from_value(document["sents"].clone()).unwrap();
        marked += theirs.len();
        made += ours.len();
        found += theirs.iter().filter(|sentence| ours.contains(sentence)).count();
        if std::env::var_os("SHOW").is_some() {
            for (start, end) in theirs.iter().filter(|sentence| !ours.contains(sentence)) {
                println!("- {}", text.chars().skip(*start).take(end - start).collect::<String>());
            }
        }
    }
    let (recall, precision) = (found as f64 / marked as f64, found as f64 / made as f64);
    println!("{found} of {marked} marked sentences found, of {made} made: {recall:.3}, {precision:.3}");
    assert!(recall >= 0.95 && precision >= 0.95, "{recall} {precision}");
}
