//! What each field means: defaults that work at home, limits that make sense, and the rules between fields.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::reader::{ConfigFault, ConfigFaults, Section, Sources, merge, show};
use super::triggers::triggers;
use super::values::*;
use super::*;

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
        let secrets = secrets_folder(sources, &folder);
        let Household { privacy, privacy_lock, privacy_local_percent, privacy_triggers } =
            privacy(root.section("privacy"), &mut faults);
        let (http_listen, http_allowed_origins) = http(root.section("http"), &mut faults);
        let node = node(root.section("node"), &folder, &mut faults);
        let engine = engine(root.section("engine"), &folder, &node.data_dir, sources, &mut faults);
        let (store, encryption) = store(root.section("store"), &secrets, &mut faults);
        let config = Config {
            node,
            http_listen,
            http_allowed_origins,
            grpc_listen: listen_of(root.section("grpc"), 3002, &mut faults),
            peers: listener(root.section("peers"), 3003, &mut faults),
            actors: actors(root.section("actors"), &mut faults),
            tls: tls(root.section("tls"), &secrets, &mut faults),
            store,
            encryption,
            backup: at_rest::backup(root.section("backup"), &folder, &mut faults),
            privacy,
            privacy_lock,
            privacy_local_percent,
            privacy_triggers,
            auth: auth(root.section("auth"), &mut faults),
            workers: root.sections("workers").into_iter().map(|s| worker(s, &secrets, &mut faults)).collect(),
            models: root.sections("models").into_iter().map(|s| model(s, &mut faults)).collect(),
            roles: roles(root.section("roles"), &mut faults),
            limits: limits(root.section("limits"), &mut faults),
            routing: routing(root.section("routing"), &mut faults),
            cache: cache(root.section("cache"), &secrets, &mut faults),
            recovery: recovery(root.section("recovery"), &mut faults),
            telemetry: telemetry(root.section("telemetry"), &mut faults),
            nvml: gpu(root.section("gpu"), &folder, &mut faults),
            engine,
            github: hooks(root.section("hooks"), &folder, &secrets, &mut faults),
            research: research(root.section("research"), &folder, &secrets, &mut faults),
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
        if let Store::Etcd(etcd) = &self.store
            && self.tls.is_none()
            && let Some(url) = etcd.endpoints.iter().find(|url| url.starts_with("https://"))
        {
            let hint = "name this node's certificate in [tls], signed by the CA of etcd's, or write http://";
            fault("store.endpoints", url.clone(), "is a URL with TLS, and there is no certificate", hint);
        }
        if self.privacy_lock && self.privacy.mode != Mode::LocalOnly {
            let hint = "a locked node is local-only: take `mode` (or AI_PROVIDER) away, or set privacy.lock = false";
            fault("privacy.mode", self.privacy.mode.to_string(), "lets something leave a locked node", hint);
        }
        if let Some(percent) = self.privacy_local_percent
            && self.privacy.mode != Mode::Hybrid
        {
            let hint = "a share is for the mode hybrid: set privacy.mode = \"hybrid\", or take local_percent away";
            fault("privacy.local_percent", percent.to_string(), "stands beside another mode than hybrid", hint);
        }
        if let (Some(_), Some(qdrant)) = (&self.encryption, &self.research.qdrant) {
            let hint = "take the Qdrant away: each node has an index of its own, which is sealed";
            fault(
                "research.qdrant",
                qdrant.url.clone(),
                "would keep what documents say unsealed, and store.encryption is on",
                hint,
            );
        }
        if self.limits.first_token > self.limits.ask {
            let value = crate::units::format_duration(self.limits.first_token);
            fault("limits.first_token", value, "is longer than limits.ask", "raise limits.ask");
        }
    }
}

/// Where relative paths of secrets count from: systemd's `LoadCredential=` puts them into a folder of its own.
fn secrets_folder(sources: &Sources, folder: &Path) -> PathBuf {
    let given = sources.env.iter().find(|(name, value)| name == "CREDENTIALS_DIRECTORY" && !value.is_empty());
    given.map_or_else(|| folder.to_owned(), |(_, path)| PathBuf::from(path))
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

fn tls(mut s: Section, secrets: &Path, faults: &mut Vec<ConfigFault>) -> Option<Tls> {
    let mut file = |key| s.get(key, "the path of a PEM file", |v| path(v, secrets));
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    let issuer = match (file("issuer_cert"), file("issuer_key")) {
        (Some(cert), Some(key)) => Some(TlsIssuer { cert, key }),
        (None, None) => None,
        (cert, _) => {
            let missing = if cert.is_none() { "issuer_cert" } else { "issuer_key" };
            s.fault(missing, "", "is missing", "an issuer needs both; `tmctl ca issuer NAME` writes them");
            None
        }
    };
    let tls = match (ca, cert, key) {
        (Some(ca), Some(cert), Some(key)) => Some(Tls { ca, cert, key, issuer }),
        (None, None, None) if issuer.is_none() => None,
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

fn store(mut s: Section, secrets: &Path, faults: &mut Vec<ConfigFault>) -> (Store, Option<Encryption>) {
    let kind = s.get("kind", "\"sled\" or \"etcd\"", |v| text(v).filter(|kind| kind == "sled" || kind == "etcd"));
    let endpoints = s.get("endpoints", "a list of URLs", |v| texts(v)?.iter().map(|u| normal_url(u, 2379)).collect());
    let prefix = s.get("prefix", "a path such as \"/taskmaster/home\"", |v| {
        text(v).map(|p| p.trim_end_matches('/').to_owned()).filter(|p| p.starts_with('/') && p.len() > 1)
    });
    let lease_ttl = s
        .get("lease_ttl", "a duration from 2s to 60s", |v| duration(v).filter(|ttl| (2..=60).contains(&ttl.as_secs())));
    let timeout = s.get("timeout", "a duration above 0", positive);
    let user = s.get("user", "a name", text);
    let password_file = s.get("password_file", "a path", |v| path(v, secrets));
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
    let encryption = at_rest::encryption(&mut s, secrets);
    let is_etcd = kind.as_deref() == Some("etcd");
    let endpoints: Vec<String> = endpoints.unwrap_or_default();
    if is_etcd && endpoints.is_empty() {
        s.fault("endpoints", "", "is missing", "list the members, e.g. [\"http://127.0.0.1:2379\"]");
    }
    s.finish(faults);
    if !is_etcd {
        return (Store::Sled, encryption);
    }
    let etcd = Etcd {
        endpoints,
        prefix: prefix.unwrap_or_else(|| "/taskmaster/home".to_owned()),
        lease_ttl: lease_ttl.unwrap_or(Duration::from_secs(4)),
        timeout: timeout.unwrap_or(Duration::from_secs(2)),
        user,
    };
    (Store::Etcd(etcd), encryption)
}

/// What `[privacy]` says.
struct Household {
    privacy: Privacy,
    privacy_lock: bool,
    privacy_local_percent: Option<u8>,
    privacy_triggers: Vec<Trigger>,
}

fn privacy(mut s: Section, faults: &mut Vec<ConfigFault>) -> Household {
    let mode = s.get("mode", &format!("one of {}", all(Mode::ALL, Mode::as_str)), |v| Mode::parse(v.as_str()?));
    let local_ranges = s.get("local_ranges", "a list of networks such as \"192.168.0.0/16\"", |v| {
        texts(v).filter(|ranges| ranges.iter().all(|range| is_network(range)))
    });
    let lock = s.get("lock", "true or false", Value::as_bool);
    let privacy_local_percent = s.get("local_percent", "a number from 0 to 100", |v| {
        whole(v, 0, 100).and_then(|percent| u8::try_from(percent).ok())
    });
    let privacy_triggers = triggers(s.sections("triggers"), faults);
    s.finish(faults);
    let home = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];
    let privacy = Privacy {
        mode: mode.unwrap_or(Mode::LocalOnly),
        local_ranges: local_ranges.unwrap_or_else(|| home.map(str::to_owned).to_vec()),
    };
    Household { privacy, privacy_lock: lock.unwrap_or(false), privacy_local_percent, privacy_triggers }
}

fn auth(mut s: Section, faults: &mut Vec<ConfigFault>) -> Auth {
    let keys = s.get("keys", "\"off\" or \"store\"", |v| Auth::parse(v.as_str()?));
    s.finish(faults);
    keys.unwrap_or(Auth::Off)
}

fn worker(mut s: Section, secrets: &Path, faults: &mut Vec<ConfigFault>) -> Worker {
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
    let key_file = s.get("key_file", "a path", |v| path(v, secrets));
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

fn cache(mut s: Section, secrets: &Path, faults: &mut Vec<ConfigFault>) -> Option<Cache> {
    let kind = s.get("kind", "\"sled\", \"redis\" or \"off\"", |v| {
        text(v).filter(|kind| ["sled", "redis", "off"].contains(&kind.as_str()))
    });
    let url =
        s.get("url", "a URL such as \"redis://127.0.0.1:6379\"", |v| text(v).filter(|u| u.starts_with("redis://")));
    let password_file = s.get("password_file", "a path", |v| path(v, secrets));
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
    if password_file.is_some() && kind.as_deref() != Some("redis") {
        s.fault("password_file", "", "stands without a Redis", "set kind = \"redis\", or take it away");
    }
    s.finish(faults);
    (kind.as_deref() != Some("off")).then_some(Cache { redis, password_file, ttl, size })
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
    let content = s.get("content", "true or false", Value::as_bool).unwrap_or(false);
    let log = s.get("log", "a filter such as \"info\" or \"tmd=debug\"", text);
    let json = s.get("json", "true or false", Value::as_bool);
    s.finish(faults);
    let log = log.unwrap_or_else(|| "info".to_owned());
    Telemetry { otlp, sample, content, log, json: json.unwrap_or(false) }
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

fn hooks(mut s: Section, folder: &Path, secrets: &Path, faults: &mut Vec<ConfigFault>) -> Option<Github> {
    let github = github(s.section("github"), folder, secrets, faults);
    s.finish(faults);
    github
}

fn github(mut s: Section, folder: &Path, secrets: &Path, faults: &mut Vec<ConfigFault>) -> Option<Github> {
    if s.keys().is_empty() {
        return None;
    }
    let is_name = |text: &String| {
        let begins_well = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        begins_well && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let secret = s.secret("secret", LEAST_SECRET);
    let file = s.get("secret_file", "a path", |v| path(v, secrets));
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

fn research(mut s: Section, folder: &Path, secrets: &Path, faults: &mut Vec<ConfigFault>) -> Research {
    let folders = s.get("folders", "a list of paths such as [\"/srv/docs\"]", |v| {
        v.as_array()?.iter().map(|one| path(one, folder)).collect()
    });
    let scan_every = s.get("scan_every", "a duration of at least 1s, such as \"5m\"", |v| {
        duration(v).filter(|every| *every >= Duration::from_secs(1))
    });
    let pages = s.get("pages", "a list of hosts such as [\"wiki.lan:8080\"]", |v| {
        texts(v).filter(|hosts| hosts.iter().all(|host| !host.is_empty() && !host.contains(['/', '@', ' '])))
    });
    let qdrant = qdrant(s.section("qdrant"), secrets, faults);
    s.finish(faults);
    let scan_every = scan_every.unwrap_or(Duration::from_secs(300));
    Research { folders: folders.unwrap_or_default(), scan_every, pages: pages.unwrap_or_default(), qdrant }
}

fn qdrant(mut s: Section, secrets: &Path, faults: &mut Vec<ConfigFault>) -> Option<Qdrant> {
    if s.keys().is_empty() {
        return None;
    }
    // Its certificate would be one of nobody that the house knows.
    let url = s.get("url", "a URL such as \"http://127.0.0.1:6334\", without TLS", |v| {
        normal_url(v.as_str()?, 6334).filter(|url| url.starts_with("http://"))
    });
    let api_key_file = s.get("api_key_file", "a path", |v| path(v, secrets));
    let prefix = s.get("prefix", "a name of letters, digits, `-`, `_`", |v| {
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        text(v).filter(|name| !name.is_empty() && name.len() <= 64 && name.bytes().all(is_letter))
    });
    s.must_have("url", url.is_some(), "give the address of its gRPC, e.g. \"http://127.0.0.1:6334\"");
    s.finish(faults);
    Some(Qdrant { url: url?, api_key_file, prefix: prefix.unwrap_or_else(|| "taskmaster".to_owned()) })
}
