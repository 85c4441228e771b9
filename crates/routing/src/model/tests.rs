//! Tests of model choice: names, roles, `auto`, fallbacks, and what a client is told.

use std::time::Instant;

use base::report::{Capability, NodeReport};
use base::{Code, Fault, Kind, Needs};

use super::*;
use crate::live::LiveMap;
use crate::settings::Settings;
use crate::testing::{catalogue, model, node, table_with};

struct Case {
    table: Table,
}

impl Case {
    fn new(models: &[&str], roles: &[(&str, &[&str])]) -> Self {
        Self::of(&[node("a", models.iter().map(|name| model(name)).collect())], roles)
    }

    fn of(nodes: &[NodeReport], roles: &[(&str, &[&str])]) -> Self {
        let catalogue = catalogue(nodes, &[], roles);
        let live = LiveMap::default();
        let table =
            table_with(nodes, base::report::NodeState::Alive, &catalogue, &live, &Settings::default(), Instant::now());
        Self { table }
    }

    fn choose(&self, wanted: &str, kind: Kind, prompt_tokens: u32) -> Result<Choice, Fault> {
        let request = Request { kind, ..Request::new(ModelIndex(0), prompt_tokens) };
        choose(&self.table, wanted, &request, Instant::now())
    }

    fn name(&self, wanted: &str) -> String {
        self.choose(wanted, Kind::General, 10).unwrap().name.to_string()
    }
}

#[test]
fn spellings_and_aliases_find_the_model() {
    let case = Case::new(&["llama3.1:8b", "mistral:7b", "llama3.1:70b-instruct-q4_0"], &[]);
    for (wanted, model) in [
        ("llama3.1:8b", "llama3.1:8b"),
        ("LLAMA3.1:8B", "llama3.1:8b"),
        ("llama3.1", "llama3.1:8b"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama3.1:8b"),
        ("mistral:latest", "mistral:7b"),
        ("llama3.1:70b", "llama3.1:70b-instruct-q4_0"),
    ] {
        assert_eq!(case.name(wanted), model, "{wanted}");
    }
}

#[test]
fn a_tag_that_does_not_exist_is_answered_with_a_notice() {
    let choice = Case::new(&["llama3.1:8b"], &[]).choose("llama3.2:8b", Kind::General, 10).unwrap();
    assert_eq!(&*choice.name, "llama3.1:8b");
    assert_eq!(choice.notice.unwrap(), "there is no 8b of llama 3.2 (it has 1b and 3b); `llama3.1:8b` answers");
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest() {
    let fault = Case::new(&["mistral:7b", "llama3.1:8b"], &[]).choose("mistal:7b", Kind::General, 10).unwrap_err();
    assert_eq!(fault.code, Code::ModelNotFound);
    assert!(fault.hint.unwrap().starts_with("did you mean `mistral:7b`?"));
}

#[test]
fn a_fallback_is_told_and_a_model_without_one_stays_the_choice() {
    let mut sick = model("llama3.1:70b");
    sick.quarantined_s = Some(60);
    let nodes = [node("a", vec![sick, model("mistral:7b")])];
    let choice =
        Case::of(&nodes, &[("fallback", &["llama3.1:70b", "mistral:7b"])]).choose("llama3.1:70b", Kind::General, 10);
    let choice = choice.unwrap();
    assert_eq!(&*choice.name, "mistral:7b");
    assert!(choice.notice.unwrap().contains("`llama3.1:70b` is not served right now"));
    let choice = Case::of(&nodes, &[]).choose("llama3.1:70b", Kind::General, 10).unwrap();
    assert_eq!((&*choice.name, choice.notice), ("llama3.1:70b", None));
    // A model of the world that the cluster does not have.
    let choice = Case::new(&["mistral:7b"], &[("fallback", &["mistral:7b"])]).choose("qwen2.5:32b", Kind::General, 10);
    assert!(choice.unwrap().notice.is_some());
}

#[test]
fn auto_takes_the_model_for_the_kind_and_the_weight_of_the_ask() {
    let case = Case::new(&["llama3.1:8b", "llama3.1:70b", "mistral:7b", "codellama:13b", "bge-m3"], &[]);
    for (kind, tokens, model) in [
        (Kind::General, 20, "mistral:7b"),
        (Kind::General, 6000, "llama3.1:8b"),
        (Kind::Planning, 4000, "llama3.1:70b"),
        (Kind::CodeGeneration, 500, "codellama:13b"),
        (Kind::Embedding, 500, "bge-m3"),
    ] {
        assert_eq!(&*case.choose("auto", kind, tokens).unwrap().name, model, "{kind} {tokens}");
    }
}

#[test]
fn roles_come_before_tiers_and_skip_what_is_not_served() {
    let mut sick = model("llama3.1:70b");
    sick.quarantined_s = Some(60);
    let nodes = [node("a", vec![sick, model("llama3.1:8b"), model("mistral:7b")])];
    let case = Case::of(&nodes, &[("main", &["llama3.1:70b", "mistral:7b"])]);
    let choice = case.choose("main", Kind::General, 10).unwrap();
    assert_eq!(&*choice.name, "mistral:7b");
    assert!(choice.notice.unwrap().contains("`llama3.1:70b` of role `main`"));
}

#[test]
fn auto_never_takes_a_model_that_lacks_what_is_needed() {
    let mut plain = model("mistral:7b");
    plain.capabilities = vec![Capability::Completion];
    let case = Case::of(&[node("a", vec![plain, model("llava:7b")])], &[]);
    let needs = Needs { images: true, ..Needs::default() };
    let request = Request { needs, ..Request::new(ModelIndex(0), 10) };
    assert_eq!(&*choose(&case.table, "auto", &request, Instant::now()).unwrap().name, "llava:7b");
}

#[test]
fn declared_names_and_aliases_hold_across_engines() {
    let declared = base::config::Model {
        name: "house".to_owned(),
        aliases: vec!["llama3.1:8b".to_owned(), "gpt-4".to_owned()],
        tier: Some("large".to_owned()),
        replicas: 2,
        ..Default::default()
    };
    let catalogue = catalogue(&[node("a", vec![model("llama3.1:8b")])], &[declared], &[]);
    assert_eq!(catalogue.models().len(), 1);
    let found = catalogue.find("gpt-4").unwrap();
    assert_eq!((&*catalogue.get(found.model).name, catalogue.get(found.model).tier), ("house", Tier::Large));
    assert_eq!(catalogue.find("llama3.1:8b"), Some(found));
}
