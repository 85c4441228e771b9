//! Groups are the same whoever asks, are about something, and are drawn without harm.

use super::*;
use crate::names::CollectionName;

const DISKS: &[&str] = &[
    "The disks of the pool are mirrored; replacing a failed disk takes a scrub of the pool.",
    "A scrub reads each disk of the pool and repairs what the mirror still has.",
    "Disks are ordered from the dealer; the pool stays degraded until the mirror is whole.",
    "The pool has two mirrored disks and a spare disk.",
];
const BREAD: &[&str] = &[
    "Bread dough rests overnight; the oven is hot and the flour is rye.",
    "Knead the dough with flour and salt, then bake the bread in the oven.",
    "Rye flour makes a dense bread, wheat flour a light dough.",
    "The oven bakes bread for an hour; the dough rises before.",
];
const PLANTS: &[&str] = &[
    "Tomato seeds germinate in the greenhouse; water the seeds daily.",
    "The greenhouse is warm, so the tomato plants need water and shade.",
    "Plants want light: put tomato seeds near the greenhouse window, water them.",
];

fn id(source: &str) -> DocId {
    DocId::of(&CollectionName::parse("house").unwrap(), source)
}

fn member<'a>(source: &'a str, text: &'a str, vector: Option<&'a [f32]>) -> Member<'a> {
    Member { id: id(source), source, title: source, text, language: "en", vector }
}

fn texts() -> Vec<(String, &'static str)> {
    let named = |(kind, list): (&str, &[&'static str])| -> Vec<(String, &'static str)> {
        list.iter().enumerate().map(|(at, text)| (format!("{kind}{at}"), *text)).collect()
    };
    [("disk", DISKS), ("bread", BREAD), ("plant", PLANTS)].into_iter().flat_map(named).collect()
}

#[test]
fn documents_are_grouped_by_their_words_in_whatever_order_they_come() {
    let texts = texts();
    let mut members: Vec<Member> = texts.iter().map(|(name, text)| member(name, text, None)).collect();
    let groups = group(&members, Some(3));
    for cluster in &groups.items {
        let kinds: std::collections::BTreeSet<&str> = cluster.documents.iter().map(|doc| &doc.title[..4]).collect();
        assert_eq!(kinds.len(), 1, "{groups:#?}");
        assert!(cluster.cohesion > 0.3 && cluster.cohesion <= 1.0);
    }
    members.reverse();
    assert_eq!(group(&members, Some(3)), groups);
    let labels: Vec<&str> = groups.items.iter().map(|cluster| cluster.label.as_str()).collect();
    insta::assert_snapshot!(format!("{}\n{}", groups.method, labels.join("\n")));
}

#[test]
fn the_number_of_groups_is_found_by_vectors() {
    let mut random = fastrand::Rng::with_seed(1);
    let centres: Vec<Vec<f32>> = (0..5).map(|_| (0..24).map(|_| random.f32() - 0.5).collect()).collect();
    let vectors: Vec<Vec<f32>> = (0..100)
        .map(|at: usize| centres[at % 5].iter().map(|value| value + 0.2 * (random.f32() - 0.5)).collect())
        .collect();
    let names: Vec<String> = (0..100).map(|at| format!("n{at}")).collect();
    let members: Vec<Member> =
        names.iter().zip(&vectors).map(|(name, vector)| member(name, "Words.", Some(vector))).collect();
    let groups = group(&members, None);
    assert_eq!(groups.method, "likeness by vectors, 5 groups by the best silhouette");
    for cluster in &groups.items {
        let mut kinds = cluster.documents.iter().map(|document| document.title[1..].parse::<usize>().unwrap() % 5);
        let first = kinds.next();
        assert!(kinds.all(|kind| Some(kind) == first) && cluster.documents.len() == 20);
        assert!(cluster.documents.is_sorted_by(|a, b| a.likeness >= b.likeness));
    }
}

#[test]
fn odd_input_makes_groups_too() {
    assert_eq!(group(&[], None).items, []);
    let one = group(&[member("a", "", None)], Some(7));
    assert_eq!((one.items.len(), one.items[0].documents.len()), (1, 1));
    let same: Vec<String> = (0..9).map(|at| format!("s{at}")).collect();
    let equal: Vec<Member> =
        same.iter().map(|name| Member { title: "", ..member(name, "Same words here.", None) }).collect();
    assert_eq!(group(&equal, None).items.len(), 1);
    assert_eq!(group(&equal, Some(4)).items.iter().map(|cluster| cluster.documents.len()).sum::<usize>(), 9);
    let bad = [f32::NAN, f32::INFINITY, 0.0];
    let zero = [0.0; 3];
    let odd = [member("a", "x", Some(&bad)), member("b", "y", Some(&zero)), member("c", "z", Some(&[1.0, 0.0, 0.0]))];
    let groups = group(&odd, Some(2));
    assert!(groups.items.iter().all(|cluster| cluster.cohesion.is_finite()));
    let mixed = [member("a", "some words", None), member("b", "some words", Some(&zero))];
    assert_eq!(
        group(&mixed, Some(1)).method,
        "likeness by words, 1 group as wished; 1 of 2 documents have no vector that fits the others"
    );
}

#[test]
fn the_picture_shows_every_document_and_no_mark_of_theirs() {
    let texts = texts();
    let mut members: Vec<Member> = texts.iter().map(|(name, text)| member(name, text, None)).collect();
    members[0].title = "<script>alert(\"1\")</script> & \u{0}more";
    let picture = svg(&group(&members, Some(3)));
    assert_eq!(picture.matches("<title>").count(), 1 + texts.len());
    assert!(picture.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; more, likeness 0."));
    assert!(!picture.contains("<script"));
    insta::assert_snapshot!(picture);
}
