//! What a configuration means, and what is said of a wrong one.

use std::path::PathBuf;

use base::config::{Act, Auth, Config, ConfigFaults, Mode, SecretAt, Sources, Store, To, When};
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
[[privacy.triggers]]
name = "too-slow"
when = "slow"
threshold = 0.5
window = "15m"
act = "step"
to = "hybrid"
[[privacy.triggers]]
name = "too-many-errors"
when = "errors"
threshold = 1
to = -10
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
[research]
folders = ["docs", "/srv/docs"]
scan_every = "90s"
pages = ["wiki.lan:8080", "nas"]
qdrant = { url = "nas:6334", api_key_file = "qdrant.key" }
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
fn only_named_folders_may_be_watched_and_their_paths_count_from_the_file() {
    let research = Config::resolve(&sources(EXAMPLE)).unwrap().research;
    let docs = ["/etc/taskmaster/docs", "/srv/docs"].map(PathBuf::from);
    assert_eq!((research.folders.as_slice(), research.scan_every.as_secs()), (docs.as_slice(), 90));
    let research = with_env(&[]).unwrap().research;
    assert_eq!((research.folders.len(), research.scan_every.as_secs()), (0, 300));
    for wrong in ["folders = \"/srv\"", "folders = [1]", "folders = [\"\"]", "scan_every = \"10ms\"", "folder = []"] {
        let faults = Config::resolve(&sources(&format!("[research]\n{wrong}\n"))).unwrap_err();
        assert!(
            faults.0.len() == 1
                && faults.0[0].field.starts_with("research.folder") | faults.0[0].field.contains("scan_every"),
            "{faults}"
        );
    }
}

#[test]
fn encryption_needs_its_key_and_a_key_needs_encryption() {
    let on = "[store]\nencryption = true\nkey_file = \"store.key\"\nold_key_files = [\"before.key\"]\n";
    let config = Config::resolve(&sources(on)).unwrap();
    let encryption = config.encryption.as_ref().unwrap();
    assert_eq!(encryption.key_file, PathBuf::from("/etc/taskmaster/store.key"));
    assert_eq!(encryption.old_key_files, [PathBuf::from("/etc/taskmaster/before.key")]);
    assert_eq!(Config::resolve(&sources(&config.to_toml())).unwrap(), config);
    assert_eq!(with_env(&[]).unwrap().encryption, None);
    let qdrant = format!("{on}[research]\nqdrant = {{ url = \"nas:6334\" }}\n");
    let wrong = [
        ("[store]\nencryption = true\n", "store.key_file"),
        ("[store]\nkey_file = \"store.key\"\n", "store.key_file"),
        ("[store]\nencryption = \"yes\"\n", "store.encryption"),
        (&*qdrant, "research.qdrant"),
    ];
    for (text, field) in wrong {
        let faults = Config::resolve(&sources(text)).unwrap_err();
        assert_eq!(faults.0.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), [field], "{faults}");
    }
}

#[test]
fn backups_need_a_folder_and_a_recipient() {
    let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let text = format!("[backup]\nto = \"backups\"\nrecipient = \"{key}\"\nnode = \"nas\"\n");
    let config = Config::resolve(&sources(&text)).unwrap();
    let backup = config.backup.as_ref().unwrap();
    assert_eq!((backup.to.as_path(), backup.every.as_secs()), ("/etc/taskmaster/backups".as_ref(), 86_400));
    assert_eq!((backup.keep, backup.node.as_ref().map(|node| node.as_str())), (7, Some("nas")));
    assert_eq!(Config::resolve(&sources(&config.to_toml())).unwrap(), config);
    assert_eq!(with_env(&[]).unwrap().backup, None);
    let to = "to = \"backups\"\n";
    let wrong = [
        (format!("[backup]\n{to}"), "backup.recipient"),
        (format!("[backup]\nrecipient = \"{key}\"\n"), "backup.to"),
        (format!("[backup]\n{to}recipient = \"AGE-SECRET-KEY-1\"\n"), "backup.recipient"),
        (format!("{text}every = \"1s\"\n"), "backup.every"),
        (format!("{text}keep = 0\n"), "backup.keep"),
    ];
    for (text, field) in wrong {
        let faults = Config::resolve(&sources(&text)).unwrap_err();
        assert_eq!(faults.0.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), [field], "{faults}");
    }
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
fn an_issuer_is_whole_and_an_etcd_with_tls_has_a_certificate_to_see() {
    let issuer = "issuer_cert = \"i.pem\"\nissuer_key = \"i.key\"\n";
    let text = EXAMPLE.replace("[tls]\n", &format!("[tls]\n{issuer}"));
    let config = Config::resolve(&sources(&text)).unwrap();
    let held = config.tls.clone().unwrap().issuer.unwrap();
    assert_eq!((held.cert, held.key), ("/etc/taskmaster/i.pem".into(), "/etc/taskmaster/i.key".into()));
    assert_eq!(Config::resolve(&sources(&config.to_toml())).unwrap().tls, config.tls);
    let half = EXAMPLE.replace("[tls]\n", "[tls]\nissuer_cert = \"i.pem\"\n");
    assert!(Config::resolve(&sources(&half)).unwrap_err().to_string().contains("tls.issuer_key"));
    let bare = "[store]\nkind = \"etcd\"\nendpoints = [\"https://nas:2379\"]\n";
    let refused = Config::resolve(&sources(bare)).unwrap_err().to_string();
    assert!(refused.contains("store.endpoints") && refused.contains("[tls]"), "{refused}");
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
fn paths_of_secrets_count_from_where_a_service_manager_hands_them_over_and_others_do_not() {
    let env = vec![("CREDENTIALS_DIRECTORY".to_owned(), "/run/credentials/tmd.service".to_owned())];
    let secrets = "[[workers]]\nname = \"w\"\nbackend = \"ollama\"\nkey_file = \"w.key\"\n";
    let text = EXAMPLE
        .replace("url = \"redis://", "password_file = \"redis\"\nurl = \"redis://")
        .replace("lease_ttl =", "user = \"tmd\"\npassword_file = \"/etc/etcd.password\"\nlease_ttl =")
        + secrets;
    let config = Config::resolve(&Sources { env, ..sources(&text) }).unwrap();
    let below = |name: &str| PathBuf::from("/run/credentials/tmd.service").join(name);
    let tls = config.tls.unwrap();
    assert_eq!([tls.ca, tls.cert, tls.key], ["ca.pem", "grey-area.pem", "grey-area.key"].map(below));
    assert_eq!(config.workers[1].key_file, Some(below("w.key")));
    assert_eq!(config.cache.unwrap().password_file, Some(below("redis")));
    assert_eq!(config.research.qdrant.unwrap().api_key_file, Some(below("qdrant.key")));
    let github = config.github.unwrap();
    assert_eq!(github.secret, SecretAt::File(below("github.secret")));
    assert!(
        matches!(config.store, Store::Etcd(etcd) if etcd.user == Some(("tmd".into(), "/etc/etcd.password".into())))
    );
    assert_eq!(github.mapping, Some("/etc/taskmaster/github.toml".into()), "the mapping is no secret");
    assert_eq!(config.research.folders[0], PathBuf::from("/etc/taskmaster/docs"));
}

#[test]
fn a_locked_node_is_local_only_or_does_not_start() {
    let locked = "[privacy]\nlock = true\n";
    let config = Config::resolve(&sources(locked)).unwrap();
    assert!(config.privacy_lock && config.privacy.mode == Mode::LocalOnly);
    assert!(!with_env(&[]).unwrap().privacy_lock);
    let env = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    for (env, text) in [
        (Vec::new(), format!("{locked}mode = \"hybrid\"\n")),
        (env("AI_PROVIDER", "anthropic"), locked.to_owned()),
        (env("TMD_PRIVACY__MODE", "external-only"), locked.to_owned()),
    ] {
        let faults = Config::resolve(&Sources { env, ..sources(&text) }).unwrap_err();
        assert!(faults.0.len() == 1 && faults.0[0].field == "privacy.mode", "{faults}");
        assert!(faults.0[0].hint.contains("privacy.lock = false"), "{faults}");
    }
}

#[test]
fn a_password_of_a_redis_needs_a_redis() {
    let faults = Config::resolve(&sources("[cache]\npassword_file = \"x\"\n")).unwrap_err();
    assert!(faults.0.len() == 1 && faults.0[0].field == "cache.password_file", "{faults}");
}

#[test]
fn a_qdrant_has_an_address_and_its_key_in_a_file() {
    let qdrant = Config::resolve(&sources(EXAMPLE)).unwrap().research.qdrant.unwrap();
    assert_eq!((qdrant.url.as_str(), qdrant.prefix.as_str()), ("http://nas:6334", "taskmaster"));
    assert_eq!(qdrant.api_key_file, Some("/etc/taskmaster/qdrant.key".into()));
    assert_eq!(with_env(&[]).unwrap().research.qdrant, None);
    let wrong = [
        ("qdrant = { prefix = \"a\" }", "research.qdrant.url"),
        ("qdrant = { url = \"https://nas\" }", "research.qdrant.url"),
        ("qdrant = { url = \"nas\", prefix = \"a b\" }", "research.qdrant.prefix"),
        ("qdrant = { url = \"nas\", api_key = \"x\" }", "research.qdrant.api_key"),
    ];
    for (wrong, field) in wrong {
        let faults = Config::resolve(&sources(&format!("[research]\n{wrong}\n"))).unwrap_err();
        assert!(faults.0.len() == 1 && faults.0[0].field == field, "{faults}");
    }
}

#[test]
fn text_that_is_no_toml_is_told_by_its_line() {
    let faults = Config::resolve(&sources("[node]\nname = \"a\n")).unwrap_err();
    insta::assert_snapshot!(faults);
}

#[test]
fn triggers_and_shares_are_read_and_what_is_wrong_with_them_is_named() {
    let config = Config::resolve(&sources(EXAMPLE)).unwrap();
    let slow = &config.privacy_triggers[0];
    assert_eq!((slow.when, slow.act, slow.to), (When::Slow, Act::Step, To::Mode(Mode::Hybrid)));
    let errors = &config.privacy_triggers[1];
    assert_eq!((errors.threshold, errors.window.as_secs(), errors.to), (1.0, 600, To::LocalPercent(-10)));
    assert_eq!(errors.act, Act::Propose, "nothing is changed by itself unless somebody says so");
    let share = "[privacy]\nmode = \"hybrid\"\nlocal_percent = 80\n";
    assert_eq!(Config::resolve(&sources(share)).unwrap().privacy_local_percent, Some(80));
    let trigger =
        |more: &str| format!("[[privacy.triggers]]\nname = \"a\"\nwhen = \"errors\"\nthreshold = 0.2\n{more}\n");
    let twice = trigger("to = \"hybrid\"").repeat(2);
    for (wrong, field) in [
        ("[privacy]\nlocal_percent = 80\n".to_owned(), "privacy.local_percent"),
        ("[privacy]\nmode = \"hybrid\"\nlocal_percent = 101\n".to_owned(), "privacy.local_percent"),
        (trigger(""), "privacy.triggers.a.to"),
        (trigger("to = 0"), "privacy.triggers.a.to"),
        (trigger("to = \"outside\""), "privacy.triggers.a.to"),
        (trigger("to = -101"), "privacy.triggers.a.to"),
        (trigger("to = -5\nwindow = \"1s\""), "privacy.triggers.a.window"),
        (trigger("to = -5\nact = \"do\""), "privacy.triggers.a.act"),
        (trigger("to = -5").replace("0.2", "0"), "privacy.triggers.a.threshold"),
        (twice, "privacy.triggers"),
    ] {
        let faults = Config::resolve(&sources(&wrong)).unwrap_err();
        assert!(faults.0.len() == 1 && faults.0[0].field == field, "{wrong}: {faults}");
        assert!(!faults.0[0].hint.is_empty(), "{faults}");
    }
}
