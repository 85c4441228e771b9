//! What a configuration means, and what is said of a wrong one.

use std::path::PathBuf;

use base::config::{Auth, Config, ConfigFaults, Mode, SecretAt, Sources, Store};
use base::report::Backend;

const EXAMPLE: &str = r#"
[node]
name = "grey-area"
data_dir = "/var/lib/taskmaster"
roles = ["gateway", "worker", "research"]
[http]
listen = "127.0.0.1:3001"
[peers]
listen = "0.0.0.0:3003"
advertise = "grey-area:3003"
[actors]
enabled = true
listen = "0.0.0.0:3004"
advertise = "grey-area:3004"
[tls]
ca = "ca.pem"
cert = "grey-area.pem"
key = "grey-area.key"
[store]
kind = "etcd"
endpoints = ["http://127.0.0.1:2379"]
prefix = "/taskmaster/home"
lease_ttl = "4s"
[privacy]
mode = "local-only"
[auth]
keys = "store"
[[workers]]
name = "ollama"
backend = "ollama"
url = "0.0.0.0:11434"
slots = 4
[[models]]
name = "llama3.1:8b"
aliases = ["meta-llama-3.1-8b-instruct"]
[roles]
main = ["llama3.1:8b"]
[limits]
body = "32MiB"
[cache]
kind = "redis"
url = "redis://me:secret@127.0.0.1:6379"
[engine]
program = "bin/tm-engine"
folder = "gguf"
stores = ["ollama"]
context = 0
threads = 3
[telemetry]
otlp = "http://127.0.0.1:4317"
sample = 0.25
[hooks.github]
secret_file = "github.secret"
project = "home"
mapping = "github.toml"
"#;

fn sources(text: &str) -> Sources {
    Sources { file: Some((PathBuf::from("/etc/taskmaster/tmd.toml"), text.to_owned())), ..Sources::default() }
}

fn with_env(env: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Config::resolve(&Sources { env, folder: "/srv".into(), ..Sources::default() })
}

#[test]
fn the_documented_example_means_what_it_says() {
    let config = Config::resolve(&sources(EXAMPLE)).unwrap();
    assert_eq!(config.node.name.as_str(), "grey-area");
    assert_eq!(config.workers[0].url, "http://127.0.0.1:11434", "a bind address becomes one that can be dialled");
    assert_eq!(config.tls.as_ref().unwrap().ca, PathBuf::from("/etc/taskmaster/ca.pem"), "paths count from the file");
    assert!(matches!(&config.store, Store::Etcd(etcd) if etcd.lease_ttl.as_secs() == 4));
    assert_eq!((config.auth, config.privacy.mode), (Auth::Store, Mode::LocalOnly));
}

#[test]
fn the_effective_configuration_reads_back_the_same_and_hides_secrets() {
    let config = Config::resolve(&sources(EXAMPLE)).unwrap();
    let shown = config.to_toml();
    assert!(!shown.contains("me:secret"), "{shown}");
    let mut again = Config::resolve(&sources(&shown)).unwrap();
    again.cache.clone_from(&config.cache);
    assert_eq!(again, config);
}

#[test]
fn an_engine_that_does_one_thing_at_a_time_has_one_slot() {
    let slots = |backend: &str| {
        let worker = format!("[[workers]]\nname = \"w\"\nbackend = \"{backend}\"\nurl = \"http://127.0.0.1:1\"\n");
        Config::resolve(&sources(&worker)).unwrap().workers[0].slots
    };
    assert_eq!([slots("llamacpp"), slots("llamacpp-python")], [4, 1]);
}

#[test]
fn an_empty_configuration_works_at_home() {
    let config = with_env(&[]).unwrap();
    assert!(config.http_listen.ip().is_loopback());
    assert_eq!(config.privacy.mode, Mode::LocalOnly);
    assert_eq!(config.store, Store::Sled);
}

#[test]
fn the_engine_s_models_lie_below_the_data_and_in_the_stores_of_others() {
    let engine = Config::resolve(&sources(EXAMPLE)).unwrap().engine;
    assert_eq!(engine.program, PathBuf::from("/etc/taskmaster/bin/tm-engine"), "a path counts from the file");
    assert_eq!(engine.folder, PathBuf::from("/var/lib/taskmaster/gguf"), "the folder counts from the data");
    assert_eq!((engine.context, engine.threads, engine.stores.len()), (0, 3, 1));
    let engine = with_env(&[("HOME", "/somewhere"), ("OLLAMA_MODELS", "/models")]).unwrap().engine;
    assert_eq!(engine.program, PathBuf::from("tm-engine"));
    assert_eq!((engine.context, engine.threads, engine.stores.len()), (8192, 0, 2));
    assert_eq!(engine.home, Some(PathBuf::from("/somewhere")));
    assert_eq!(engine.ollama_models, Some(PathBuf::from("/models")));
}

#[test]
fn variables_of_other_programs_are_understood() {
    let config = with_env(&[
        ("OLLAMA_API_URL", "http://grey-area:11434/api"),
        ("OLLAMA_MODEL", "llama3.2:8b"),
        ("OLLAMA_FALLBACK_MODELS", "llama3.2:8b,gemma2:9b, mistral:7b"),
        ("LM_STUDIO_HOST", "0.0.0.0"),
        ("TASKMASTER_PORT", "3055"),
        ("TASKMASTER_LOCAL_LLM", "true"),
        ("TMD_WORKERS_NOT_A_SECTION", "1"),
    ]);
    let faults = config.unwrap_err();
    assert_eq!(faults.0.len(), 1, "only the unknown variable is wrong: {faults}");
    let config = with_env(&[
        ("OLLAMA_API_URL", "http://grey-area:11434/api"),
        ("OLLAMA_FALLBACK_MODELS", "llama3.2:8b, mistral:7b"),
        ("LM_STUDIO_HOST", "0.0.0.0"),
        ("TASKMASTER_PORT", "3055"),
        ("TMD_LIMITS__BODY", "1MiB"),
        ("TMD_ROUTING__HEDGE", "true"),
    ])
    .unwrap();
    assert_eq!(config.http_listen.port(), 3055);
    assert_eq!(config.workers[0].url, "http://grey-area:11434");
    assert_eq!(
        (config.workers[1].backend, config.workers[1].url.as_str()),
        (Backend::LmStudio, "http://127.0.0.1:1234")
    );
    assert_eq!(config.roles, [("fallback".to_owned(), vec!["llama3.2:8b".to_owned(), "mistral:7b".to_owned()])]);
    assert_eq!(config.limits.body.0, 1 << 20);
    assert!(config.routing.hedge);
}

#[test]
fn every_fault_is_named_at_once() {
    let wrong = r#"
[node]
name = "grey area"
rolls = ["worker"]
[http]
listen = "0.0.0.0:3001"
[peers]
listen = "0.0.0.0:3003"
[store]
kind = "etcd"
lease_ttl = "1s"
[privacy]
mode = "private"
local_ranges = ["10.0.0.0/40"]
[[workers]]
name = "a"
backend = "olama"
slots = 0
[[workers]]
name = "a"
url = "ftp://x"
[roles]
chief = ["m"]
[tls]
ca = "ca.pem"
[limits]
body = -1
first_token = "2h"
[cache]
kind = "redis"
[telemetry]
sample = 50
[engine]
stores = ["olama"]
context = 12
[hooks.github]
secret = "short"
tag = "a b"
maping = "x"
[hooks.gitlab]
[colour]
"#;
    let faults = Config::resolve(&sources(wrong)).unwrap_err();
    insta::assert_snapshot!(faults);
}

#[test]
fn a_webhook_has_its_secret_here_or_in_a_file_and_never_shows_it() {
    let github = Config::resolve(&sources(EXAMPLE)).unwrap().github.unwrap();
    assert_eq!(github.secret, SecretAt::File("/etc/taskmaster/github.secret".into()));
    assert_eq!((github.tag.as_str(), github.mapping), ("master", Some("/etc/taskmaster/github.toml".into())));
    assert_eq!(with_env(&[]).unwrap().github, None);
    let here = "[hooks.github]\nsecret = \"0123456789abcdef\"\nproject = \"home\"\n";
    let config = Config::resolve(&sources(here)).unwrap();
    assert!(!format!("{config:?}{}", config.to_toml()).contains("0123456789abcdef"));
    let twice = format!("{here}secret_file = \"x\"\n");
    assert!(Config::resolve(&sources(&twice)).unwrap_err().to_string().contains("stands beside a secret"));
    let number = with_env(&[("TMD_HOOKS__GITHUB__SECRET", "1234567890123456789")]).unwrap_err().to_string();
    assert!(number.contains("hooks.github.secret = ***") && !number.contains("12345"), "{number}");
}

#[test]
fn text_that_is_no_toml_is_told_by_its_line() {
    let faults = Config::resolve(&sources("[node]\nname = \"a\n")).unwrap_err();
    insta::assert_snapshot!(faults);
}
