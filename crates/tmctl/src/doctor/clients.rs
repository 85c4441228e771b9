//! What programs of this machine are told of an AI, by the environment and by files of editors: whether somebody answers
//! there, takes the key, and has the model.
//!
//! Where such things stand is read by functions of values; the asking is in `look.rs`.

use std::path::Path;

use base::Fault;
use net::{Connector, Purpose};
use serde_json::Value;

use super::look::{self, Reply};
use super::{Check, migration};
use crate::client::Servers;

/// Files in a project that tell clients where an AI is.
const FILES: [&str; 8] = [
    ".taskmaster/config.json",
    ".vscode/settings.json",
    ".vscode/mcp.json",
    ".cursor/mcp.json",
    ".mcp.json",
    ".continue/config.json",
    ".zed/settings.json",
    ".claude/settings.json",
];
const URLS: [&str; 9] = [
    "baseURL",
    "baseUrl",
    "base_url",
    "apiBase",
    "api_base",
    "api_url",
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "ANTHROPIC_BASE_URL",
];
const KEYS: [&str; 5] = ["apiKey", "api_key", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"];
const MODELS: [&str; 4] = ["modelId", "model", "OPENAI_MODEL", "ANTHROPIC_MODEL"];

/// Where a program is told to find an AI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Who tells it.
    by: String,
    url: String,
    key: Option<String>,
    model: Option<String>,
    speaks: Speaks,
}

/// How it is asked there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Speaks {
    /// As OpenAI's and Anthropic's clients do: both list models.
    #[default]
    Http,
    /// In Ollama's own way.
    Ollama,
    /// MCP over HTTP.
    Mcp,
    /// MCP by `tmctl mcp`, which speaks gRPC with the servers that the address lists.
    Bridge,
}

/// Looks at everything that `folder` and the environment tell.
pub async fn checks(connector: &Connector, folder: &Path, variables: &[(String, String)]) -> Vec<Check> {
    let mut all = of_environment(variables);
    let mut checks = Vec::new();
    for name in FILES {
        let Ok(text) = std::fs::read_to_string(folder.join(name)) else { continue };
        match serde_json::from_str(&text) {
            Ok(value) => of_file(name, &value, &mut all),
            Err(error) => checks.push(Check::warn(
                name,
                format!("is no plain JSON, and was not looked through: {error}"),
                "look yourself which address it names; comments in it are fine for its editor",
            )),
        }
    }
    for told in all {
        checks.push(check(connector, &told, variables).await);
    }
    checks
}

fn of_environment(variables: &[(String, String)]) -> Vec<Told> {
    let value = |name: &str| {
        let found = variables.iter().find(|(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    };
    let told = |url: &str, key: &[&str], model: &str| {
        let keys = key.iter().find_map(|name| value(name));
        value(url).map(|text| Told {
            by: url.to_owned(),
            url: text,
            key: keys,
            model: value(model),
            speaks: Speaks::Http,
        })
    };
    let openai = told("OPENAI_BASE_URL", &["OPENAI_API_KEY"], "OPENAI_MODEL")
        .or_else(|| told("OPENAI_API_BASE", &["OPENAI_API_KEY"], "OPENAI_MODEL"));
    let anthropic = told("ANTHROPIC_BASE_URL", &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"], "ANTHROPIC_MODEL");
    let ollama = told("OLLAMA_HOST", &[], "OLLAMA_MODEL").map(|told| Told { speaks: Speaks::Ollama, ..told });
    openai.into_iter().chain(anthropic).chain(ollama).collect()
}

/// Every object of the file that names an address, with the key and the model beside it.
fn of_file(name: &str, value: &Value, all: &mut Vec<Told>) {
    match value {
        Value::Object(fields) => {
            let text = |names: &[&str]| {
                let found = names.iter().find_map(|name| fields.get(*name).and_then(Value::as_str));
                found.filter(|text| !text.is_empty() && !text.contains("${")).map(str::to_owned)
            };
            if let Some(url) = text(&URLS) {
                let (key, model) = (text(&KEYS), text(&MODELS));
                all.push(Told { by: name.to_owned(), url, key, model, speaks: Speaks::Http });
            }
            all.extend(mcp(name, fields));
            fields.values().for_each(|value| of_file(name, value, all));
        }
        Value::Array(items) => items.iter().for_each(|item| of_file(name, item, all)),
        _ => {}
    }
}

/// An entry of an editor's MCP servers that is ours: the bridge, or a node's own address.
fn mcp(name: &str, fields: &serde_json::Map<String, Value>) -> Option<Told> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let key = fields.get("env").and_then(|env| text(env.get("TMCTL_KEY"))).filter(|key| !key.contains("${"));
    let told = |url: String, key, speaks| Told { by: name.to_owned(), url, key, model: None, speaks };
    if let Some(url) = text(fields.get("url")).filter(|url| url.trim_end_matches('/').ends_with("/mcp")) {
        let header = fields.get("headers").and_then(|headers| text(headers.get("Authorization")));
        let key = header.and_then(|header| header.strip_prefix("Bearer ").map(str::to_owned));
        return Some(told(url, key.filter(|key| !key.contains("${")), Speaks::Mcp));
    }
    let program = text(fields.get("command"))?;
    let arguments: Vec<&str> = fields.get("args")?.as_array()?.iter().filter_map(Value::as_str).collect();
    if Path::new(&program).file_name()? != "tmctl" || !arguments.contains(&"mcp") {
        return None;
    }
    let server = arguments.iter().position(|argument| *argument == "--server").and_then(|at| arguments.get(at + 1));
    Some(told(server.unwrap_or(&crate::editor::DEFAULT_SERVER).to_string(), key, Speaks::Bridge))
}

/// Host, port and path of an address; what is behind TLS is told apart.
fn parts(url: &str, speaks: Speaks) -> Option<(bool, String, u16, String)> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let is_tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let (address, path) =
        rest.split_once('/').map_or((rest, String::new()), |(address, path)| (address, format!("/{path}")));
    // In brackets the colons are the address's own.
    let (host, port) = match address.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
        Some((host, port)) => (host, port.parse().ok()?),
        None if speaks == Speaks::Ollama => (address, 11434),
        None => (address, if is_tls { 443 } else { 80 }),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // Where a server listens everywhere, its clients mean this machine.
    let host = if host == "0.0.0.0" { "127.0.0.1" } else { host };
    (!host.is_empty()).then(|| (is_tls, host.to_owned(), port, path.trim_end_matches('/').to_owned()))
}

/// Where the models are listed.
fn list_at(path: &str, speaks: Speaks) -> String {
    match () {
        () if speaks == Speaks::Ollama => "/api/tags".to_owned(),
        // Both are written: with the version, as OpenAI's clients want it, and without, as Anthropic's do.
        () if path.ends_with("/v1") => format!("{path}/models"),
        () if path.ends_with("/api") => format!("{path}/tags"),
        () => format!("{path}/v1/models"),
    }
}

async fn check(connector: &Connector, told: &Told, variables: &[(String, String)]) -> Check {
    let Told { by, url, key, model, speaks } = told;
    if *speaks == Speaks::Bridge {
        return bridge(by, url, key.as_deref(), variables).await;
    }
    if let Some(cloud) = migration::cloud_of(url) {
        let hint = "`tmctl doctor --migration` says what to put there instead";
        return Check::warn(by, format!("{url} is {cloud}: what it is asked leaves the house"), hint);
    }
    let Some((is_tls, host, port, path)) = parts(url, *speaks) else {
        return Check::fail(
            by,
            &Fault::invalid(format!("`{url}` is no address")).hint("write e.g. http://127.0.0.1:3001/v1"),
        );
    };
    if is_tls {
        let hint = "the HTTP port of a node has no TLS: if it is meant, write http://";
        return Check::warn(by, format!("{url} has TLS, and was not looked through"), hint);
    }
    if *speaks == Speaks::Mcp {
        let reply = look::get(connector, Purpose::Client, (&host, port), &path, key.as_deref()).await;
        return match judged(url, key.is_some(), reply, &[200, 405, 406]) {
            Ok(_) => Check::ok(by, format!("{url} answers")),
            Err(fault) => Check::fail(by, &fault),
        };
    }
    let list = list_at(&path, *speaks);
    let reply = look::get(connector, Purpose::Client, (&host, port), &list, key.as_deref()).await;
    let models = match judged(url, key.is_some(), reply, &[200]) {
        Ok(models) => models,
        Err(fault) => return Check::fail(by, &fault),
    };
    match model {
        Some(model) if !models.contains(model) => {
            // A role or an alias is not in the list, and is known by its name.
            let path = format!("{list}/{model}");
            match look::get(connector, Purpose::Client, (&host, port), &path, key.as_deref()).await {
                Ok(Reply { status: 200, .. }) => Check::ok(by, format!("{url} answers, and knows {model}")),
                _ => Check::fail(
                    by,
                    &Fault::invalid(format!("{url} answers, but has no model `{model}`"))
                        .hint("`tmctl models` lists those that it has"),
                ),
            }
        }
        Some(model) => Check::ok(by, format!("{url} answers, and has {model}")),
        None => Check::ok(by, format!("{url} answers, with {} models", models.len())),
    }
}

/// What an editor's bridge would meet; without a key of its own it takes the one of the environment.
async fn bridge(by: &str, servers: &str, key: Option<&str>, variables: &[(String, String)]) -> Check {
    let given = variables.iter().find(|(name, value)| name == "TMCTL_KEY" && !value.is_empty());
    let key = key.or(given.map(|(_, key)| key.as_str()));
    let listed: Vec<String> = servers.split(',').map(str::to_owned).collect();
    let answer = match Servers::new(&listed, key, None) {
        Ok(servers) => look::server(&servers).await,
        Err(fault) => Err(fault),
    };
    match answer {
        Ok(server) => Check::ok(by, format!("the bridge reaches {}", server.address)),
        Err(fault) => Check::fail(by, &fault),
    }
}

/// The models of a list, or why there is none.
fn judged(url: &str, has_key: bool, reply: base::Result<Reply>, good: &[u16]) -> base::Result<Vec<String>> {
    let reply = reply.map_err(|fault| {
        Fault::new(fault.code, format!("nobody answers at {url}"))
            .hint("start `tmd` there, or write the address of a node that runs")
            .because(fault)
    })?;
    match reply.status {
        status if good.contains(&status) => Ok(names(&reply.body)),
        401 | 403 => {
            let what = if has_key { "does not take the key that is set" } else { "wants a key, and none is set" };
            Err(Fault::invalid(format!("{url} {what}")).hint("`tmctl keys create NAME` makes one"))
        }
        status => Err(Fault::invalid(format!("{url} is no address of this (HTTP {status})"))
            .hint("OpenAI's clients want the address with /v1 at its end, Anthropic's and Ollama's without")),
    }
}

/// What OpenAI's list or Ollama's names.
fn names(body: &[u8]) -> Vec<String> {
    let Ok(list) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let items = list.get("data").or_else(|| list.get("models")).and_then(Value::as_array);
    let name = |item: &Value| item.get("id").or_else(|| item.get("name")).and_then(Value::as_str).map(str::to_owned);
    items.into_iter().flatten().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use serde_json::json;

    use super::super::State;
    use super::*;

    /// Answers like a node with one key and one model.
    fn node() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut request) = (stream.unwrap(), [0; 2048]);
                let length = stream.read(&mut request).unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split(' ').nth(1).unwrap();
                let (status, body) = match path {
                    _ if !request.contains("Bearer tm-good") => (401, "{}".to_owned()),
                    "/v1/models" => (200, json!({"data": [{"id": "llama"}]}).to_string()),
                    "/v1/models/fast" => (200, "{}".to_owned()),
                    "/mcp" => (405, "{}".to_owned()),
                    _ => (404, "{}".to_owned()),
                };
                let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
        format!("http://{address}")
    }

    fn variables(url: &str, key: &str, model: &str) -> Vec<(String, String)> {
        let all = [("OPENAI_BASE_URL", url), ("OPENAI_API_KEY", key), ("OPENAI_MODEL", model)];
        all.iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[tokio::test]
    async fn address_key_and_model_are_each_looked_at() {
        let (node, connector) = (node(), crate::client::connector().unwrap());
        let (folder, nobody) = (tempfile::tempdir().unwrap(), "http://127.0.0.1:1/v1");
        let v1 = format!("{node}/v1");
        for (url, key, model, state, found) in [
            (v1.as_str(), "tm-good", "", State::Ok, "with 1 models"),
            (&v1, "tm-good", "llama", State::Ok, "has llama"),
            (&v1, "tm-good", "fast", State::Ok, "knows fast"),
            (&node, "tm-good", "llama", State::Ok, "has llama"),
            (&v1, "tm-good", "gpt-5", State::Fail, "has no model `gpt-5`"),
            (&v1, "tm-bad", "", State::Fail, "does not take the key"),
            (&v1, "", "", State::Fail, "wants a key"),
            (&format!("{node}/v2/v1"), "tm-good", "", State::Fail, "HTTP 404"),
            (nobody, "", "", State::Fail, "nobody answers"),
            ("ftp://x", "", "", State::Fail, "is no address"),
            ("https://nas:3001/v1", "", "", State::Warn, "was not looked through"),
            ("https://api.openai.com/v1", "", "", State::Warn, "leaves the house"),
        ] {
            let checks = checks(&connector, folder.path(), &variables(url, key, model)).await;
            assert_eq!((checks.len(), checks[0].state), (1, state), "{url} {key} {model}: {checks:?}");
            assert!(checks[0].found.contains(found), "{checks:?}");
            assert!(state == State::Ok || checks[0].hint.is_some());
            assert!(!format!("{checks:?}").contains("tm-bad"), "a key is shown");
        }
    }

    #[test]
    fn addresses_are_read_as_their_programs_read_them() {
        let read = |url: &str, speaks| parts(url, speaks).map(|(_, host, port, path)| format!("{host} {port} {path}"));
        for (url, speaks, wanted) in [
            ("http://nas:3001/v1/", Speaks::Http, "nas 3001 /v1"),
            ("nas", Speaks::Ollama, "nas 11434 "),
            ("0.0.0.0:11434", Speaks::Ollama, "127.0.0.1 11434 "),
            ("https://[::1]/v1", Speaks::Http, "::1 443 /v1"),
        ] {
            assert_eq!(read(url, speaks).as_deref(), Some(wanted), "{url}");
        }
        for url in ["http://", "ftp://nas", "http://nas:port/v1"] {
            assert_eq!(read(url, Speaks::Http), None, "{url}");
        }
    }

    #[tokio::test]
    async fn files_of_editors_are_looked_through_for_addresses() {
        let (node, connector, folder) = (node(), crate::client::connector().unwrap(), tempfile::tempdir().unwrap());
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let model =
            |id: &str| json!({"provider": "x", "modelId": id, "baseURL": format!("{node}/v1"), "apiKey": "tm-good"});
        write(
            ".taskmaster/config.json",
            &json!({"models": {"main": model("llama"), "research": model("gone")}}).to_string(),
        );
        write(
            ".continue/config.json",
            &json!({"models": [{"model": "fast", "apiBase": node, "apiKey": "tm-good"}]}).to_string(),
        );
        write(".vscode/settings.json", "// mine\n{}");
        let bridge = json!({"command": "tmctl", "args": ["mcp", "--server", "127.0.0.1:1"]});
        let others = json!({"command": "npx", "args": ["mcp"], "url": "http://127.0.0.1:1/sse"});
        let here = json!({"url": format!("{node}/mcp"), "headers": {"Authorization": "Bearer tm-good"}});
        write(".mcp.json", &json!({"mcpServers": {"a": bridge, "b": others, "c": here}}).to_string());
        let checks = checks(&connector, folder.path(), &[]).await;
        let told: Vec<_> = checks.iter().map(|check| (check.name.as_str(), check.state)).collect();
        let wanted = [
            (".vscode/settings.json", State::Warn),
            (".taskmaster/config.json", State::Ok),
            (".taskmaster/config.json", State::Fail),
            (".mcp.json", State::Fail),
            (".mcp.json", State::Ok),
            (".continue/config.json", State::Ok),
        ];
        assert_eq!(told, wanted, "{checks:?}");
    }
}
