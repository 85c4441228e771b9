//! Environment variables that other programs use already: each sets what it means here.
//!
//! `OLLAMA_HOST`, `OLLAMA_API_URL`, `LM_STUDIO_HOST`, `LOCAL_AI_HOST` name an engine; `OLLAMA_MODEL` and
//! `OLLAMA_FALLBACK_MODELS` name models for roles; `TASKMASTER_PORT` the HTTP port; `AI_PROVIDER` and
//! `TASKMASTER_LOCAL_LLM` the mode. `HOME` and `OLLAMA_MODELS`, which say where other programs keep models, are read with
//! the section `engine`.

use toml::{Table, Value};

use super::reader::{ConfigFault, set};
use super::values::normal_url;
use crate::report::Backend;

pub(super) fn apply(env: &[(String, String)], table: &mut Table, faults: &mut Vec<ConfigFault>) {
    let get = |name: &str| env.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value);
    for (name, backend, port) in [
        ("OLLAMA_HOST", Backend::Ollama, 11434),
        ("OLLAMA_API_URL", Backend::Ollama, 11434),
        ("LM_STUDIO_HOST", Backend::LmStudio, 1234),
        ("LOCAL_AI_HOST", Backend::LocalAi, 8080),
    ] {
        if let Some(value) = get(name) {
            match normal_url(value, port) {
                Some(url) => point_worker(table, backend, url.trim_end_matches("/api")),
                None => faults.push(fault(name, value, "is no address", "give host:port or http://host:port")),
            }
        }
    }
    if let Some(model) = get("OLLAMA_MODEL") {
        set(table, "roles.main", list([model.as_str()]));
    }
    if let Some(models) = get("OLLAMA_FALLBACK_MODELS") {
        set(table, "roles.fallback", list(models.split(',').map(str::trim).filter(|model| !model.is_empty())));
    }
    if let Some(port) = get("TASKMASTER_PORT") {
        match port.parse::<u16>() {
            Ok(port) => set(table, "http.listen", Value::String(with_port(table, port))),
            Err(_) => faults.push(fault("TASKMASTER_PORT", port, "is no port", "give a number from 1 to 65535")),
        }
    }
    if let Some(provider) = get("AI_PROVIDER") {
        match Backend::parse(provider) {
            Some(backend) if backend.is_external() => set(table, "privacy.mode", "external-preferred".into()),
            Some(_) => set(table, "privacy.mode", "local-only".into()),
            None if provider == "local" => set(table, "privacy.mode", "local-only".into()),
            None => {
                let known: Vec<_> = Backend::ALL.iter().map(|backend| backend.as_str()).collect();
                let hint = format!("give one of local, {}", known.join(", "));
                faults.push(fault("AI_PROVIDER", provider, "is no provider", &hint));
            }
        }
    }
    match get("TASKMASTER_LOCAL_LLM").map(String::as_str) {
        Some("true" | "1" | "yes") => set(table, "privacy.mode", "local-only".into()),
        Some("false" | "0" | "no") | None => {}
        Some(value) => faults.push(fault("TASKMASTER_LOCAL_LLM", value, "is no switch", "give true or false")),
    }
}

fn fault(name: &str, value: &str, problem: &str, hint: &str) -> ConfigFault {
    ConfigFault { field: name.into(), value: value.into(), problem: problem.into(), hint: hint.into() }
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(names.into_iter().map(Value::from).collect())
}

/// The address that HTTP listens on so far, with another port.
fn with_port(table: &Table, port: u16) -> String {
    let before = table.get("http").and_then(|http| http.get("listen")).and_then(Value::as_str);
    let host = before.and_then(|listen| listen.rsplit_once(':')).map_or("127.0.0.1", |(host, _)| host);
    format!("{host}:{port}")
}

/// Points the first worker with this backend at `url`; adds one when there is none.
fn point_worker(table: &mut Table, backend: Backend, url: &str) {
    let workers = table.entry("workers").or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(workers) = workers else { return };
    let is_same = |worker: &Value| worker.get("backend").and_then(Value::as_str) == Some(backend.as_str());
    if let Some(Value::Table(worker)) = workers.iter_mut().find(|worker| is_same(worker)) {
        worker.insert("url".into(), url.into());
        return;
    }
    let mut worker = Table::new();
    worker.insert("name".into(), backend.as_str().into());
    worker.insert("backend".into(), backend.as_str().into());
    worker.insert("url".into(), url.into());
    workers.push(Value::Table(worker));
}
