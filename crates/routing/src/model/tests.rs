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
        Self::with(nodes, roles, &Settings::default())
    }

    fn with(nodes: &[NodeReport], roles: &[(&str, &[&str])], settings: &Settings) -> Self {
        let catalogue = catalogue(nodes, &[], roles);
        let live = LiveMap::default();
        let table = table_with(nodes, base::report::NodeState::Alive, &catalogue, &live, settings, Instant::now());
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
fn a_role_is_answered_on_the_side_that_the_ask_leans_to_whatever_comes_first_in_it() {
    let mut cloud = node("cloud", vec![model("claude")]);
    cloud.workers[0].backend = base::report::Backend::Anthropic;
    let nodes = [cloud, node("home", vec![model("llama3.1:8b")])];
    let roles: &[(&str, &[&str])] = &[("main", &["claude", "llama3.1:8b"]), ("fast", &["claude"])];
    let answers = |mode, wanted: &str, kind| {
        let case = Case::with(&nodes, roles, &Settings { mode, ..Settings::default() });
        let choice = case.choose(wanted, kind, 10).unwrap();
        (choice.name.to_string(), choice.notice)
    };
    use base::config::Mode;
    for (mode, wanted, kind, model) in [
        (Mode::LocalPreferred, "main", Kind::Planning, "llama3.1:8b"),
        (Mode::Hybrid, "main", Kind::General, "llama3.1:8b"),
        (Mode::Hybrid, "main", Kind::Planning, "claude"),
        (Mode::Hybrid, "auto", Kind::General, "llama3.1:8b"),
        (Mode::ExternalPreferred, "main", Kind::General, "claude"),
        (Mode::ExternalOnly, "auto", Kind::General, "claude"),
    ] {
        assert_eq!(answers(mode, wanted, kind), (model.to_owned(), None), "{mode} {wanted} {kind}");
    }
    let (name, notice) = answers(Mode::LocalOnly, "main", Kind::Planning);
    assert!(name == "llama3.1:8b" && notice.unwrap().contains("is not served"), "its first model may not be asked");
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
fn a_model_that_its_engine_calls_an_embedder_is_no_writer() {
    let mut embedder = model("tiny-embed");
    embedder.capabilities = vec![Capability::Embedding];
    let mut reranker = model("tiny-rank");
    reranker.capabilities = vec![Capability::Rerank];
    let case = Case::of(&[node("a", vec![embedder.clone(), reranker.clone()])], &[]);
    for wanted in ["research", "main", "auto"] {
        let fault = case.choose(wanted, Kind::Research, 10).unwrap_err();
        assert_eq!(
            (fault.code, fault.message),
            (Code::ModelNotFound, format!("no model of the cluster is for `{wanted}`"))
        );
    }
    assert_eq!(&*case.choose("embed", Kind::Embedding, 10).unwrap().name, "tiny-embed");
    assert_eq!(&*case.choose("rerank", Kind::Rerank, 10).unwrap().name, "tiny-rank");
    let case = Case::of(&[node("a", vec![embedder, reranker, model("house-writer")])], &[]);
    assert_eq!(&*case.choose("research", Kind::Research, 10).unwrap().name, "house-writer");
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

impl Case {
    fn allowed(&self, wanted: &str, models: &[&str]) -> Result<Choice, Fault> {
        let models: Vec<String> = models.iter().map(|name| (*name).to_owned()).collect();
        let request = Request { models: &models, ..Request::new(ModelIndex(0), 10) };
        choose(&self.table, wanted, &request, Instant::now())
    }
}

#[test]
fn a_caller_gets_the_models_that_it_may_ask_and_never_another() {
    let case = Case::new(&["llama3.1:8b", "mistral:7b", "qwen3:4b"], &[("fallback", &["mistral:7b"])]);
    assert_eq!(&*case.allowed("llama3.1", &["llama3.1"]).unwrap().name, "llama3.1:8b");
    assert_eq!(&*case.allowed("auto", &["qwen3:4b"]).unwrap().name, "qwen3:4b");
    for wanted in ["mistral:7b", "mistral:latest", "llama3.3", "never-heard-of", "fallback"] {
        let fault = case.allowed(wanted, &["llama3.1:8b"]);
        // A role is no model: what it stands for is among those that may be asked.
        if wanted == "fallback" {
            assert_eq!(&*fault.unwrap().name, "llama3.1:8b");
            continue;
        }
        let fault = fault.unwrap_err();
        assert_eq!(
            (fault.code, fault.hint.as_deref()),
            (Code::PermissionDenied, Some("it may ask llama3.1:8b")),
            "{wanted}"
        );
    }
    // One that is not there now opens nothing, and neither does a name that only was meant for another.
    for gone in ["phi4", "llama3.2:8b"] {
        for wanted in ["auto", "llama3.1:8b", gone] {
            assert_eq!(case.allowed(wanted, &[gone]).unwrap_err().code, Code::PermissionDenied, "{wanted} {gone}");
        }
    }
}
