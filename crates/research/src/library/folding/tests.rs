//! Whatever order documents change in, those that stand are the same that would stand if all were looked at anew.

use proptest::prelude::*;
use store::{Entry, Listing, Revision, WatchEvent};

use super::*;
use crate::document::Meta;

/// Texts of which neighbours say the same, and those that are further from each other do not.
fn text(number: u64) -> String {
    let mut random = fastrand::Rng::with_seed(number / 4);
    let words: Vec<String> = (0..120).map(|_| (0..7).map(|_| random.char('a'..='z')).collect()).collect();
    let at = number as usize % 4 * 3;
    words.get(at..at + 105).unwrap().join(" ")
}

/// Documents by their numbers: their text, and what the record says that they are folded into.
type House = BTreeMap<u8, (u64, Option<u8>)>;

fn name() -> CollectionName {
    CollectionName::parse("house").unwrap()
}

fn id(number: u8) -> DocId {
    DocId([number; 12])
}

fn document(number: u8, (said, into): (u64, Option<u8>)) -> Document {
    let text = BlobId::of(text(said).as_bytes());
    Document {
        id: id(number),
        collection: name(),
        source: number.to_string(),
        version: 1,
        original: text,
        bytes: 1,
        meta: Meta::default(),
        language: String::new(),
        state: match into {
            Some(into) => State::Folded { into: id(into), text },
            None => State::Ready { text, chars: 1, notes: Vec::new() },
        },
        added_ms: number.into(),
        changed_ms: 0,
        reader: 1,
    }
}

fn known(house: &House) -> Known {
    let record = |value: serde_json::Value| serde_json::json!({"v": 1, "value": value}).to_string();
    let entry = |(key, value): (String, String)| Entry {
        key,
        value: value.into(),
        created: Revision(1),
        modified: Revision(1),
        lease: None,
    };
    let collection = serde_json::json!({"name": "house", "description": "", "chunk_tokens": 300, "created_ms": 1});
    let mut records = vec![("research/collections/house".to_owned(), record(collection))];
    for (number, is) in house {
        let value = serde_json::to_value(document(*number, *is)).unwrap();
        records.push((format!("research/documents/house/{}", id(*number)), record(value)));
    }
    let listing =
        Listing { entries: records.into_iter().map(entry).collect(), damaged: Vec::new(), revision: Revision(1) };
    let mut known = Known::default();
    known.apply(WatchEvent::Reset(listing));
    known
}

/// Looks until nothing is left to be looked at, as the writer does.
fn settle(folding: &mut Folding, house: &mut House) {
    for _ in 0..50 {
        let changed = folding.changed(&known(house));
        if changed.is_empty() {
            return;
        }
        for document in changed {
            let number = document.id.0[0];
            let said = house.get(&number).unwrap().0;
            let into = folding.place(&document, document.text().unwrap(), fingerprint(&text(said)));
            house.insert(number, (said, into.map(|into| into.0[0])));
        }
    }
    panic!("it never ends: {house:?}");
}

fn standing(house: &House) -> Vec<u8> {
    house.iter().filter(|(_, (_, into))| into.is_none()).map(|(number, _)| *number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn those_that_stand_are_those_that_would_stand_anew(
        steps in prop::collection::vec((0..12u8, prop::option::weighted(0.8, 0..8u64), any::<bool>()), 1..40)
    ) {
        let (mut folding, mut house) = (Folding::default(), House::new());
        for (number, said, is_seen) in steps {
            match said {
                // A record that is written anew says nothing of folding.
                Some(said) => drop(house.insert(number, (said, None))),
                None => drop(house.remove(&number)),
            }
            if is_seen {
                settle(&mut folding, &mut house);
            }
        }
        settle(&mut folding, &mut house);
        let mut fresh = house.clone();
        settle(&mut Folding::default(), &mut fresh);
        prop_assert_eq!(standing(&house), standing(&fresh));
        for (number, (said, into)) in &house {
            let Some(into) = into else { continue };
            let (other, of_other) = house.get(into).unwrap();
            prop_assert!(of_other.is_none() && into < number);
            prop_assert!(fingerprint(&text(*said)).adds_nothing_to(&fingerprint(&text(*other))).is_some());
        }
    }
}
