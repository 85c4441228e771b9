//! What each field means: defaults that work at home, limits that make sense, and the rules between fields.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::reader::{ConfigFault, ConfigFaults, Section, Sources, merge, show};
use super::*;
use crate::units::parse_duration;

/// Between nodes an answer that is not streamed is one message, and those are bounded.
const MOST_ANSWER: ByteSize = ByteSize::mib(64);

/// Whoever guesses the secret of a webhook may change tasks.
const LEAST_SECRET: usize = 16;

impl Config {
    /// Resolves everything at once; every fault is told.
    pub fn resolve(sources: &Sources) -> Result<Config, ConfigFaults> {
        let mut faults = Vec::new();
        let mut root = Section::new("", merge(sources, &mut faults));
        let folder = match &sources.file {
            Some((path, _)) => path.parent().map(Path::to_owned).unwrap_or_default(),
            None => sources.folder.clone(),
        };
        let (http_listen, http_allowed_origins) = http(root.section("http"), &mut faults);
        let node = node(root.section("node"), &folder, &mut faults);
        let engine = engine(root.section("engine"), &folder, &node.data_dir, sources, &mut faults);
        let config = Config {
            node,
            http_listen,
            http_allowed_origins,
            grpc_listen: listen_of(root.section("grpc"), 3002, &mut faults),
            peers: listener(root.section("peers"), 3003, &mut faults),
            actors: actors(root.section("actors"), &mut faults),
            tls: tls(root.section("tls"), &folder, &mut faults),
            store: store(root.section("store"), &folder, &mut faults),
            privacy: privacy(root.section("privacy"), &mut faults),
            auth: auth(root.section("auth"), &mut faults),
            workers: root.sections("workers").into_iter().map(|s| worker(s, &folder, &mut faults)).collect(),
            models: root.sections("models").into_iter().map(|s| model(s, &mut faults)).collect(),
            roles: roles(root.section("roles"), &mut faults),
            limits: limits(root.section("limits"), &mut faults),
            routing: routing(root.section("routing"), &mut faults),
            cache: cache(root.section("cache"), &mut faults),
            recovery: recovery(root.section("recovery"), &mut faults),
            telemetry: telemetry(root.section("telemetry"), &mut faults),
            nvml: gpu(root.section("gpu"), &folder, &mut faults),
            engine,
            github: hooks(root.section("hooks"), &folder, &mut faults),
        };
        root.finish(&mut faults);
        config.check_together(&mut faults);
        if faults.is_empty() { Ok(config) } else { Err(ConfigFaults(faults)) }
    }

    /// Rules between fields.
    fn check_together(&self, faults: &mut Vec<ConfigFault>) {
        let mut fault = |field: &str, value: String, problem: &str, hint: &str| {
            faults.push(ConfigFault { field: field.into(), value, problem: problem.into(), hint: hint.into() });
        };
        for (at, one) in self.workers.iter().enumerate() {
            if self.workers.iter().take(at).any(|other| other.name == one.name) {
                fault("workers.name", one.name.clone(), "stands twice", "give each worker of a node its own name");
            }
        }
        let is_lan = |address: &SocketAddr| !address.ip().is_loopback();
        for (field, address) in [("http.listen", &self.http_listen), ("grpc.listen", &self.grpc_listen)] {
            if is_lan(address) && self.auth == Auth::Off {
                let hint = "set auth.keys = \"store\" and make a key with `tmctl keys create`, or listen on 127.0.0.1";
                fault(field, address.to_string(), "is off loopback without keys", hint);
            }
        }
        let between_nodes = [Some(("peers.listen", &self.peers)), self.actors.as_ref().map(|l| ("actors.listen", l))];
        for (field, listener) in between_nodes.into_iter().flatten() {
            if is_lan(&listener.listen) && self.tls.is_none() {
                let hint = "make certificates with `tmctl ca init` and `tmctl ca issue`, and name them in [tls]";
                fault(field, listener.listen.to_string(), "is off loopback without TLS", hint);
            }
        }
        if self.limits.first_token > self.limits.ask {
            let value = crate::units::format_duration(self.limits.first_token);
            fault("limits.first_token", value, "is longer than limits.ask", "raise limits.ask");
        }
    }
}

fn node(mut s: Section, folder: &Path, faults: &mut Vec<ConfigFault>) -> Node {
    let is_name = |text: &str| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let name = s.get("name", "a name of letters, digits, `-`, `_`, `.`", |v| text(v).filter(|name| is_name(name)));
    let data_dir = s.get("data_dir", "a path", |v| path(v, folder));
    let roles = s.get("roles", "a list of gateway, worker, research", |v| words_of(v, Role::parse));
    s.finish(faults);
    Node {
        name: NodeId::new(name.unwrap_or_else(|| "node".to_owned())),
        data_dir: data_dir.unwrap_or_else(|| folder.join("taskmaster-data")),
        roles: roles.unwrap_or_else(|| vec![Role::Gateway, Role::Worker, Role::Research]),
    }
}

fn http(mut s: Section, faults: &mut Vec<ConfigFault>) -> (SocketAddr, Vec<String>) {
    let listen = listen(&mut s, 3001);
    let origins = s.get("allowed_origins", "a list such as [\"http://taskmaster.home-lab\"]", texts);
    s.finish(faults);
    (listen, origins.unwrap_or_default())
}

fn listen_of(mut s: Section, port: u16, faults: &mut Vec<ConfigFault>) -> SocketAddr {
    let listen = listen(&mut s, port);
    s.finish(faults);
    listen
}

fn listen(s: &mut Section, port: u16) -> SocketAddr {
    let expected = "an address with a port, such as \"127.0.0.1:3001\"";
    s.get("listen", expected, |v| text(v)?.parse().ok()).unwrap_or(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn listener(mut s: Section, port: u16, faults: &mut Vec<ConfigFault>) -> Listener {
    let listen = listen(&mut s, port);
    let advertise = s.get("advertise", "host:port as other machines reach it", |v| {
        text(v)
            .filter(|a| a.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()))
    });
    if listen.ip().is_unspecified() && advertise.is_none() {
        s.fault(
            "advertise",
            "",
            "is missing",
            "name the host and port that other machines dial, e.g. \"grey-area:3003\"",
        );
    }
    s.finish(faults);
    Listener { listen, advertise }
}

fn actors(mut s: Section, faults: &mut Vec<ConfigFault>) -> Option<Listener> {
    let enabled = s.get("enabled", "true or false", Value::as_bool).unwrap_or(false);
    if enabled {
        return Some(listener(s, 3004, faults));
    }
    // The rest of a section that is switched off is still checked.
    let mut ignored = Vec::new();
    listener(s, 3004, &mut ignored);
    faults.extend(ignored.into_iter().filter(|fault| fault.problem != "is missing"));
    None
}

fn tls(mut s: Section, folder: &Path, faults: &mut Vec<ConfigFault>) -> Option<Tls> {
    let mut file = |key| s.get(key, "the path of a PEM file", |v| path(v, folder));
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    let tls = match (ca, cert, key) {
        (Some(ca), Some(cert), Some(key)) => Some(Tls { ca, cert, key }),
        (None, None, None) => None,
        (ca, cert, _) => {
            let missing = if ca.is_none() {
                "ca"
            } else if cert.is_none() {
                "cert"
            } else {
                "key"
            };
            s.fault(missing, "", "is missing", "TLS needs ca, cert and key; `tmctl ca issue NAME` writes them");
            None
        }
    };
    s.finish(faults);
    tls
}

fn store(mut s: Section, folder: &Path, faults: &mut Vec<ConfigFault>) -> Store {
    let kind = s.get("kind", "\"sled\" or \"etcd\"", |v| text(v).filter(|kind| kind == "sled" || kind == "etcd"));
    let endpoints = s.get("endpoints", "a list of URLs", |v| texts(v)?.iter().map(|u| normal_url(u, 2379)).collect());
    let prefix = s.get("prefix", "a path such as \"/taskmaster/home\"", |v| {
        text(v).map(|p| p.trim_end_matches('/').to_owned()).filter(|p| p.starts_with('/') && p.len() > 1)
    });
    let lease_ttl = s
        .get("lease_ttl", "a duration from 2s to 60s", |v| duration(v).filter(|ttl| (2..=60).contains(&ttl.as_secs())));
    let timeout = s.get("timeout", "a duration above 0", positive);
    let user = s.get("user", "a name", text);
    let password_file = s.get("password_file", "a path", |v| path(v, folder));
    let user = match (user, password_file) {
        (Some(user), Some(file)) => Some((user, file)),
        (None, None) => None,
        (Some(_), None) => {
            s.fault("password_file", "", "is missing", "a user needs a file with the password");
            None
        }
        (None, Some(_)) => {
            s.fault("user", "", "is missing", "a password needs a user");
            None
        }
    };
    let is_etcd = kind.as_deref() == Some("etcd");
    let endpoints: Vec<String> = endpoints.unwrap_or_default();
    if is_etcd && endpoints.is_empty() {
        s.fault("endpoints", "", "is missing", "list the members, e.g. [\"http://127.0.0.1:2379\"]");
    }
    s.finish(faults);
    if !is_etcd {
        return Store::Sled;
    }
    Store::Etcd(Etcd {
        endpoints,
        prefix: prefix.unwrap_or_else(|| "/taskmaster/home".to_owned()),
        lease_ttl: lease_ttl.unwrap_or(Duration::from_secs(4)),
        timeout: timeout.unwrap_or(Duration::from_secs(2)),
        user,
    })
}

fn privacy(mut s: Section, faults: &mut Vec<ConfigFault>) -> Privacy {
    let mode = s.get("mode", &format!("one of {}", all(Mode::ALL, Mode::as_str)), |v| Mode::parse(v.as_str()?));
    let local_ranges = s.get("local_ranges", "a list of networks such as \"192.168.0.0/16\"", |v| {
        texts(v).filter(|ranges| ranges.iter().all(|range| is_network(range)))
    });
    s.finish(faults);
    let home = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];
    Privacy {
        mode: mode.unwrap_or(Mode::LocalOnly),
        local_ranges: local_ranges.unwrap_or_else(|| home.map(str::to_owned).to_vec()),
    }
}

fn auth(mut s: Section, faults: &mut Vec<ConfigFault>) -> Auth {
    let keys = s.get("keys", "\"off\" or \"store\"", |v| Auth::parse(v.as_str()?));
    s.finish(faults);
    keys.unwrap_or(Auth::Off)
}

fn worker(mut s: Section, folder: &Path, faults: &mut Vec<ConfigFault>) -> Worker {
    let name = s.get("name", "a name of letters, digits, `-`, `_`, `.`", |v| {
        text(v).filter(|name| !name.is_empty() && name.len() <= 64 && !name.contains(['/', ' ']))
    });
    if name.is_none() {
        s.fault("name", "", "is missing", "give every worker a name");
    }
    let expected = format!("one of {}", all(Backend::ALL, Backend::as_str));
    let backend = s.get("backend", &expected, |v| Backend::parse(v.as_str()?));
    let backend = backend.unwrap_or(Backend::OpenAi);
    let url =
        s.get("url", "a URL such as \"http://127.0.0.1:11434\"", |v| normal_url(v.as_str()?, default_port(backend)));
    let slots = s.get("slots", "a number from 1 to 4096", |v| whole(v, 1, 4096));
    let queue = s.get("queue", "a number from 0 to 100000", |v| whole(v, 0, 100_000));
    let command = s.get("command", "a list: program and arguments", |v| texts(v).filter(|c| !c.is_empty()));
    let models = s.get("models", "a list of names", texts);
    let key_file = s.get("key_file", "a path", |v| path(v, folder));
    let memory = s.get("memory", "a size such as \"24GiB\"", size);
    s.finish(faults);
    // The second ask of llama-cpp-python breaks off the first one, unless its owner tells it to wait.
    let slots = slots.unwrap_or(if backend == Backend::LlamaCppPython { 1 } else { 4 });
    Worker {
        name: name.unwrap_or_default(),
        backend,
        url: url.unwrap_or_else(|| default_url(backend)),
        slots,
        queue: queue.unwrap_or(slots.saturating_mul(16)),
        command: command.unwrap_or_default(),
        models: models.unwrap_or_default(),
        key_file,
        memory: memory.unwrap_or_default(),
    }
}

fn model(mut s: Section, faults: &mut Vec<ConfigFault>) -> Model {
    let name = s.get("name", "a name", |v| text(v).filter(|name| !name.is_empty()));
    if name.is_none() {
        s.fault("name", "", "is missing", "give the name that clients ask for");
    }
    let aliases = s.get("aliases", "a list of names", texts);
    let engines = s.get("engines", "a list of workers", texts);
    let expected = format!("a list of {}", all(Capability::ALL, Capability::as_str));
    let capabilities = s.get("capabilities", &expected, |v| words_of(v, Capability::parse));
    let tier = s.get("tier", "fast, standard, large or specialized", |v| {
        text(v).filter(|tier| ["fast", "standard", "large", "specialized"].contains(&tier.as_str()))
    });
    let replicas = s.get("replicas", "a number from 0 to 100", |v| whole(v, 0, 100));
    s.finish(faults);
    Model {
        name: name.unwrap_or_default(),
        aliases: aliases.unwrap_or_default(),
        engines: engines.unwrap_or_default(),
        capabilities: capabilities.unwrap_or_default(),
        tier,
        replicas: replicas.unwrap_or(0),
    }
}

fn roles(mut s: Section, faults: &mut Vec<ConfigFault>) -> Vec<(String, Vec<String>)> {
    let mut roles = Vec::new();
    for key in s.keys() {
        let Some(value) = s.take_named(&key) else { continue };
        match texts(&value).or_else(|| text(&value).map(|name| vec![name])) {
            Some(models) if ROLES.contains(&key.as_str()) => roles.push((key, models)),
            Some(_) => s.fault(&key, "", "is no role", &format!("roles are {}", ROLES.join(", "))),
            None => s.fault(&key, &show(&value), "is not a list of models", "give names, in order of preference"),
        }
    }
    s.finish(faults);
    roles
}

fn limits(mut s: Section, faults: &mut Vec<ConfigFault>) -> Limits {
    let a_duration = "a duration above 0, such as \"30s\"";
    let limits = Limits {
        body: s.get("body", "a size such as \"32MiB\"", size).unwrap_or(ByteSize::mib(32)),
        answer: s
            .get("answer", "a size from 1 byte to 64MiB", |v| {
                size(v).filter(|size| (1..=MOST_ANSWER.0).contains(&size.0))
            })
            .unwrap_or(MOST_ANSWER),
        first_token: s.get("first_token", a_duration, positive).unwrap_or(Duration::from_secs(60)),
        idle_token: s.get("idle_token", a_duration, positive).unwrap_or(Duration::from_secs(30)),
        ask: s.get("ask", a_duration, positive).unwrap_or(Duration::from_secs(1800)),
        drain: s.get("drain", a_duration, positive).unwrap_or(Duration::from_secs(30)),
        connections: s.get("connections", "a number from 1 to 1000000", |v| whole(v, 1, 1_000_000)).unwrap_or(8192),
        header: s.get("header", a_duration, positive).unwrap_or(Duration::from_secs(10)),
        write: s.get("write", a_duration, positive).unwrap_or(Duration::from_secs(60)),
    };
    s.finish(faults);
    limits
}

fn routing(mut s: Section, faults: &mut Vec<ConfigFault>) -> Routing {
    let routing = Routing {
        headroom: s.get("headroom", SHARE, share).unwrap_or(0.2),
        busy_above: s.get("busy_above", SHARE, share).unwrap_or(0.8),
        swaps_per_minute: s.get("swaps_per_minute", "a number from 1 to 600", |v| whole(v, 1, 600)).unwrap_or(6),
        max_wait: s.get("max_wait", "a duration above 0", positive).unwrap_or(Duration::from_secs(60)),
        hedge: s.get("hedge", "true or false", Value::as_bool).unwrap_or(false),
        heartbeat: s.get("heartbeat", "a duration above 0", positive).unwrap_or(Duration::from_millis(400)),
        suspect_after: s.get("suspect_after", "a duration above 0", positive).unwrap_or(Duration::from_millis(1600)),
    };
    if routing.suspect_after < routing.heartbeat * 2 {
        s.fault("suspect_after", "", "is shorter than two heartbeats", "raise it, or lower routing.heartbeat");
    }
    s.finish(faults);
    routing
}

fn cache(mut s: Section, faults: &mut Vec<ConfigFault>) -> Option<Cache> {
    let kind = s.get("kind", "\"sled\", \"redis\" or \"off\"", |v| {
        text(v).filter(|kind| ["sled", "redis", "off"].contains(&kind.as_str()))
    });
    let url =
        s.get("url", "a URL such as \"redis://127.0.0.1:6379\"", |v| text(v).filter(|u| u.starts_with("redis://")));
    let ttl = s.get("ttl", "a duration above 0", positive).unwrap_or(Duration::from_secs(300));
    let size = s.get("size", "a size such as \"256MiB\"", size).unwrap_or(ByteSize::mib(256));
    let redis = match (kind.as_deref(), url) {
        (Some("redis"), None) => {
            s.fault("url", "", "is missing", "give the server, e.g. \"redis://127.0.0.1:6379\"");
            None
        }
        (Some("redis"), url) => url,
        _ => None,
    };
    s.finish(faults);
    (kind.as_deref() != Some("off")).then_some(Cache { redis, ttl, size })
}

fn recovery(mut s: Section, faults: &mut Vec<ConfigFault>) -> Recovery {
    let enabled = s.get("enabled", "true or false", Value::as_bool).unwrap_or(true);
    let budget = s.get("budget_per_hour", "a number from 0 to 1000", |v| whole(v, 0, 1000)).unwrap_or(12);
    s.finish(faults);
    Recovery { enabled, budget_per_hour: budget }
}

fn telemetry(mut s: Section, faults: &mut Vec<ConfigFault>) -> Telemetry {
    let otlp = s.get("otlp", "a URL such as \"http://127.0.0.1:4317\"", |v| normal_url(v.as_str()?, 4317));
    let sample = s.get("sample", SHARE, share).unwrap_or(1.0);
    let log = s.get("log", "a filter such as \"info\" or \"tmd=debug\"", text);
    let json = s.get("json", "true or false", Value::as_bool);
    s.finish(faults);
    Telemetry { otlp, sample, log: log.unwrap_or_else(|| "info".to_owned()), json: json.unwrap_or(false) }
}

fn gpu(mut s: Section, folder: &Path, faults: &mut Vec<ConfigFault>) -> Option<PathBuf> {
    let nvml = s.get("nvml", "the path of libnvidia-ml.so", |v| path(v, folder));
    s.finish(faults);
    nvml
}

fn engine(mut s: Section, folder: &Path, data_dir: &Path, sources: &Sources, faults: &mut Vec<ConfigFault>) -> Engine {
    let program =
        s.get("program", "a path, or the name of a program", |v| match text(v).filter(|p| !p.is_empty())? {
            path if path.contains('/') => Some(folder.join(path)),
            name => Some(PathBuf::from(name)),
        });
    let models = s.get("folder", "a path, counted from node.data_dir", |v| path(v, data_dir));
    let expected = format!("a list of {}", all(ModelStore::ALL, ModelStore::as_str));
    let stores = s.get("stores", &expected, |v| words_of(v, ModelStore::parse));
    let context = s.get("context", "a number of tokens from 256, or 0", |v| {
        whole(v, 0, u32::MAX).filter(|tokens| *tokens == 0 || *tokens >= 256)
    });
    let threads = s.get("threads", "a number from 0 to 1024", |v| whole(v, 0, 1024));
    s.finish(faults);
    let variable = |name: &str| sources.env.iter().find(|(key, value)| key == name && !value.is_empty());
    let place = |name: &str| variable(name).map(|(_, value)| PathBuf::from(value));
    Engine {
        program: program.unwrap_or_else(|| PathBuf::from("tm-engine")),
        folder: models.unwrap_or_else(|| data_dir.join("models")),
        file: None,
        stores: stores.unwrap_or_else(|| ModelStore::ALL.to_vec()),
        context: context.unwrap_or(8192),
        threads: threads.unwrap_or(0),
        home: place("HOME"),
        ollama_models: place("OLLAMA_MODELS"),
    }
}

fn hooks(mut s: Section, folder: &Path, faults: &mut Vec<ConfigFault>) -> Option<Github> {
    let github = github(s.section("github"), folder, faults);
    s.finish(faults);
    github
}

fn github(mut s: Section, folder: &Path, faults: &mut Vec<ConfigFault>) -> Option<Github> {
    if s.keys().is_empty() {
        return None;
    }
    let is_name = |text: &String| {
        let begins_well = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        begins_well && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let secret = s.secret("secret", LEAST_SECRET);
    let file = s.get("secret_file", "a path", |v| path(v, folder));
    let expected = "a name of letters, digits, `-`, `_`, `.`";
    let project = s.get("project", expected, |v| text(v).filter(is_name));
    let tag = s.get("tag", expected, |v| text(v).filter(is_name));
    let mapping = s.get("mapping", "the path of a TOML file", |v| path(v, folder));
    if secret.is_some() && file.is_some() {
        s.fault("secret_file", "", "stands beside a secret", "give one of secret and secret_file");
    }
    let secret = secret.map(SecretAt::Here).or(file.map(SecretAt::File));
    s.must_have("secret", secret.is_some(), "make one with `openssl rand -hex 32`, and give it to GitHub as well");
    s.must_have("project", project.is_some(), "name the project whose tasks follow GitHub");
    s.finish(faults);
    let tag = tag.unwrap_or_else(|| "master".to_owned());
    Some(Github { secret: secret?, project: project?, tag, mapping })
}

/// `host:port`, a bind address like `0.0.0.0:11434`, or a URL without its scheme, as a URL that can be dialled.
pub(super) fn normal_url(text: &str, default_port: u16) -> Option<String> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !matches!(scheme, "http" | "https") {
        return None;
    }
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse::<u16>().ok()?),
        _ if scheme == "https" => (authority, 443),
        _ => (authority, default_port),
    };
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    let is_host = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:[]".contains(&b));
    (is_host && port != 0).then(|| format!("{scheme}://{host}:{port}{path}"))
}

fn default_port(backend: Backend) -> u16 {
    match backend {
        Backend::Ollama => 11434,
        Backend::LmStudio => 1234,
        Backend::WebUi => 5000,
        Backend::Vllm | Backend::LlamaCppPython => 8000,
        Backend::Anthropic | Backend::Perplexity => 443,
        _ => 8080,
    }
}

fn default_url(backend: Backend) -> String {
    match backend {
        Backend::Anthropic => "https://api.anthropic.com:443".to_owned(),
        Backend::Perplexity => "https://api.perplexity.ai:443".to_owned(),
        _ => format!("http://127.0.0.1:{}", default_port(backend)),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

fn words_of<T>(value: &Value, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(|word| parse(word.as_str()?)).collect()
}

fn path(value: &Value, folder: &Path) -> Option<PathBuf> {
    value.as_str().filter(|path| !path.is_empty()).map(|path| folder.join(path))
}

fn whole(value: &Value, least: u32, most: u32) -> Option<u32> {
    value.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|n| (least..=most).contains(n))
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

/// What [`share`] reads, for people.
const SHARE: &str = "a share from 0 to 1";

fn share(value: &Value) -> Option<f64> {
    number(value).filter(|share| (0.0..=1.0).contains(share))
}

fn duration(value: &Value) -> Option<Duration> {
    parse_duration(value.as_str()?)
}

fn positive(value: &Value) -> Option<Duration> {
    duration(value).filter(|duration| !duration.is_zero())
}

fn size(value: &Value) -> Option<ByteSize> {
    match value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok().map(ByteSize),
        value => ByteSize::parse(value.as_str()?),
    }
}

fn all<T: Copy>(words: &[T], name: impl Fn(T) -> &'static str) -> String {
    words.iter().map(|&word| name(word)).collect::<Vec<_>>().join(", ")
}

/// Whether `text` is `address/bits`.
fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}
