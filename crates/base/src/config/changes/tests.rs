//! Every field of the file is in the table, and what is live is taken on while the rest stays.

use std::path::PathBuf;

use super::*;
use crate::config::Sources;

/// A file in which everything stands that can stand, and a second one in which everything is different.
const ONE: &str = include_str!("one.toml");
const OTHER: &str = include_str!("other.toml");

fn config(text: &str) -> Config {
    let sources = Sources { file: Some((PathBuf::from("/etc/tm/tmd.toml"), text.to_owned())), ..Sources::default() };
    Config::resolve(&sources).unwrap()
}

/// Every field of the table, with whether it changed.
fn fields(here: &Config, wanted: &Config) -> Vec<(String, When, bool)> {
    let (mut here, mut all) = (here.clone(), Vec::new());
    walk(&mut here, wanted, &mut |field, when, is_changed| all.push((field.to_owned(), when, is_changed)));
    all
}

/// The keys of a file; tables and lists of named tables are gone into.
fn keys(path: &str, value: &toml::Value, all: &mut Vec<String>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| keys(&below(key), value, all)),
        toml::Value::Array(list) if list.iter().all(toml::Value::is_table) && !list.is_empty() => {
            for entry in list {
                keys(&below(entry["name"].as_str().unwrap()), entry, all);
            }
        }
        _ => all.push(path.to_owned()),
    }
}

#[test]
fn every_key_that_a_file_may_have_is_in_the_table() {
    let one = config(ONE);
    let known = fields(&one, &one);
    let mut written = Vec::new();
    keys("", &one.to_toml().parse::<toml::Table>().map(toml::Value::Table).unwrap(), &mut written);
    assert!(written.len() > 60, "{written:?}");
    for key in &written {
        let is_known = known.iter().any(|(field, _, _)| {
            key == field || key.strip_prefix(field.as_str()).is_some_and(|rest| rest.starts_with('.'))
        });
        assert!(is_known, "{key} is not in the table of changes");
    }
}

#[test]
fn each_field_that_differs_is_told_and_no_other() {
    let (one, other) = (config(ONE), config(OTHER));
    assert!(fields(&one, &one).iter().all(|(_, _, is_changed)| !is_changed));
    // These two are told by the environment alone, and `engine.file` by the command line.
    let is_elsewhere = |field: &str| ["engine.file", "engine.home", "engine.ollama_models"].contains(&field);
    for (field, _, is_changed) in fields(&one, &other) {
        assert!(is_changed || is_elsewhere(&field), "{field} should differ between the two files");
    }
}

#[test]
fn what_is_live_is_taken_on_and_the_rest_stays_until_the_next_start() {
    let (mut running, other) = (config(ONE), config(OTHER));
    let before = running.clone();
    let taken = running.take_on(&other);
    assert_eq!(running.workers, other.workers);
    assert_eq!((&running.roles, &running.models), (&other.roles, &other.models));
    assert_eq!(running.routing.max_wait, other.routing.max_wait);
    assert_eq!(running.limits.first_token, other.limits.first_token);
    assert_eq!((running.node.clone(), running.limits.body), (before.node, before.limits.body));
    assert_eq!(taken.live.iter().filter(|field| field.starts_with("workers.")).count(), 3, "{:?}", taken.live);
    // What waits for a start is told each time, until there is one.
    let again = running.take_on(&other);
    assert_eq!((again.live, again.restart), (Vec::new(), taken.restart));
}

#[test]
fn a_worker_that_is_untouched_is_not_named() {
    let (mut one, other) = (config(ONE), config(ONE));
    one.workers.push(Worker { name: "old".to_owned(), ..one.workers[0].clone() });
    assert_eq!(one.take_on(&other).live, ["workers.old"]);
}
