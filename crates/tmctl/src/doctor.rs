//! `tmctl doctor`: looks at this machine and at the server, and says for everything that is wrong what to do.
//!
//! Looking is in `doctor/look.rs`; what a look means is decided here, by functions of values.

mod clients;
mod look;
mod migration;

use std::path::PathBuf;
use std::time::Duration;

use base::report::Backend;
use base::{ByteSize, Fault, Result};
use net::Purpose;
use proto::admin::{ListNodesResponse, WorkerItem};
use serde::Serialize;

use crate::client::{self, Servers};
use crate::screen::{self, Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table, Tone};
use crate::text::{self, List};

/// Where engines listen when nobody told them otherwise.
const ENGINES: [(Backend, u16); 5] = [
    (Backend::Ollama, 11434),
    (Backend::LmStudio, 1234),
    (Backend::LocalAi, 8080),
    (Backend::WebUi, 5000),
    (Backend::Vllm, 8000),
];
const DISK_LOW: ByteSize = ByteSize::gib(10);
const DISK_FULL: ByteSize = ByteSize::gib(1);
/// More than this between two clocks makes tables and traces hard to read.
const CLOCK_LIMIT: Duration = Duration::from_secs(2);

/// What to look at besides the usual.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration of this machine's tmd; its store and its folder are looked at too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look instead for keys and addresses of clouds, in a project's folder, the environment and files of editors and shells
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".", conflicts_with = "config")]
    migration: Option<PathBuf>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    found: String,
    hint: Option<String>,
}

impl Check {
    fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, found: found.into(), hint: None }
    }

    fn warn(name: impl Into<String>, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Warn, found: found.into(), hint: Some(hint.into()) }
    }

    fn fail(name: impl Into<String>, fault: &Fault) -> Self {
        Self { name: name.into(), state: State::Fail, found: fault.full_message(), hint: fault.hint.clone() }
    }
}

/// Looks and tells; not well when something failed.
pub async fn run(servers: &Servers, screen: &mut Screen, args: Args) -> Result<Verdict, Ended> {
    if let Some(folder) = &args.migration {
        let variables = screen::environment();
        return migration::run(screen, folder, migration::home(&variables).as_deref(), &variables);
    }
    let looked = look::server(servers).await;
    let own = looked.as_ref().map_or_else(|_| Vec::new(), own_workers);
    let mut checks = server(looked.map(|server| (server.address, server.nodes)), base::time::unix_ms());
    let connector = client::connector()?;
    let mut answers = Vec::new();
    for (backend, port) in ENGINES {
        answers.push((backend, port, look::http(&connector, Purpose::Engine, ("127.0.0.1", port), "/v1/models").await));
    }
    checks.extend(engines(&answers, &own));
    checks.push(nvidia(look::has_nvidia_driver(), look::nvidia_library()));
    checks.extend(clients::checks(&connector, &look::here(), &screen::environment()).await);
    let (config, folder) = look::config(args.config.as_deref());
    if let Some(config) = config {
        checks.extend(look::store(&connector, config).await);
    }
    checks.push(disk(&folder.display().to_string(), look::free_bytes(&folder)));
    let list = List::of_now("this machine", checks);
    screen.show(|style| page(&list.items, style), &list)?;
    let has_failed = list.items.iter().any(|check| check.state == State::Fail);
    Ok(if has_failed { Verdict::NotWell } else { Verdict::Done })
}

fn server(answer: Result<(String, ListNodesResponse)>, now_unix_ms: u64) -> Vec<Check> {
    let (address, response) = match answer {
        Ok(answer) => answer,
        Err(fault) => return vec![Check::fail("server", &fault)],
    };
    let view = response.view.unwrap_or_default();
    let mut checks = vec![Check::ok("server", format!("{} answers at {address}", view.node))];
    let own = env!("CARGO_PKG_VERSION");
    checks.push(match response.nodes.iter().find(|node| node.name == view.node).map(|node| node.version.as_str()) {
        Some(version) if version == own => Check::ok("version", own),
        Some(version) => Check::warn(
            "version",
            format!("tmctl is {own}, the server is {version}"),
            "install the same release on both; only neighbouring releases understand each other",
        ),
        None => Check::warn(
            "version",
            "the server did not tell its version",
            "`tmctl nodes` shows the versions that are known",
        ),
    });
    let apart = Duration::from_millis(now_unix_ms.abs_diff(view.as_of_unix_ms));
    let apart = apart.saturating_sub(Duration::try_from_secs_f64(view.stale_s).unwrap_or_default());
    checks.push(if apart <= CLOCK_LIMIT {
        Check::ok("clock", "as the server's")
    } else {
        let found = format!("{} apart from the server's", text::seconds(apart.as_secs_f64()));
        Check::warn("clock", found, "let both machines set their clocks by NTP (`timedatectl status`)")
    });
    checks
}

/// The workers of the node that answers.
fn own_workers(server: &look::Server) -> Vec<WorkerItem> {
    let node = server.nodes.view.as_ref().map(|view| view.node.as_str());
    server.workers.iter().filter(|worker| Some(worker.node.as_str()) == node).cloned().collect()
}

/// Engines by their ports, and by the node's own word: the built-in one has no port, and others may have another.
fn engines(answers: &[(Backend, u16, look::Answer)], workers: &[WorkerItem]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (backend, port, answer) in answers {
        let name = format!("port {port}");
        checks.push(match answer {
            look::Answer::Http(status) => Check::ok(name, format!("{backend} or its like answers (HTTP {status})")),
            look::Answer::Nobody => Check::ok(name, format!("nobody ({backend} would be here)")),
            look::Answer::Odd(what) => Check::warn(
                name,
                format!("something listens that is no engine: {what}"),
                format!("if {backend} should be here, look what has taken its port: `ss -ltnp sport = :{port}`"),
            ),
        });
    }
    let (ready, others): (Vec<_>, Vec<_>) = workers.iter().partition(|worker| worker.state == "ready");
    let has_answer = answers.iter().any(|(_, _, answer)| matches!(answer, look::Answer::Http(_)));
    if !ready.is_empty() {
        let names: Vec<_> = ready.iter().map(|worker| worker.name.as_str()).collect();
        checks.push(Check::ok("engines", format!("ready: {}", names.join(", "))));
    } else if let Some(worker) = others.first() {
        let found = format!("{} is {}: {}", worker.name, worker.state, worker.reason);
        checks.push(Check::warn("engines", found, "`tmctl workers` shows all of them, `tmctl models` what they have"));
    } else if !has_answer {
        let hint = "start one (`ollama serve`), or configure its address under [[workers]]";
        checks.push(Check::warn("engines", "none answers on its default port", hint));
    }
    checks
}

fn nvidia(has_driver: bool, library: Option<PathBuf>) -> Check {
    match (has_driver, library) {
        (_, Some(path)) => Check::ok("nvidia", format!("library at {}", path.display())),
        (false, None) => Check::ok("nvidia", "no NVIDIA GPU here"),
        (true, None) => Check::warn(
            "nvidia",
            "the driver is loaded, but libnvidia-ml.so.1 was not found",
            "install the driver's user-space part, or name the file as `gpu.nvml` in the configuration",
        ),
    }
}

fn disk(folder: &str, free: std::io::Result<ByteSize>) -> Check {
    let hint = "make room there; `tmctl models` shows how large each model is";
    match free {
        Ok(free) if free >= DISK_LOW => Check::ok("disk", format!("{free} free at {folder}")),
        Ok(free) if free >= DISK_FULL => Check::warn("disk", format!("only {free} free at {folder}"), hint),
        Ok(free) => Check::fail("disk", &Fault::invalid(format!("only {free} free at {folder}")).hint(hint)),
        Err(error) => {
            let hint = "look whether it exists and may be read; with --config FILE it is the node's `data_dir`";
            Check::warn("disk", format!("could not look at {folder}: {error}"), hint)
        }
    }
}

fn page(checks: &[Check], style: Style) -> String {
    let mut table = Table::new(["", "CHECK", "FOUND"]);
    for check in checks {
        let (word, tone) = match check.state {
            State::Ok => ("ok", Tone::Good),
            State::Warn => ("warn", Tone::Odd),
            State::Fail => ("FAIL", Tone::Bad),
        };
        table.row([Cell::new(word, tone), check.name.as_str().into(), check.found.as_str().into()]);
        if let Some(hint) = &check.hint {
            table.row(["".into(), "".into(), format!("hint: {hint}").into()]);
        }
    }
    table.render(style, "nothing was looked at") + &verdict(checks)
}

/// The line under the table: whose view it is, and what is left to do.
fn verdict(checks: &[Check]) -> String {
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let found = match (count(State::Fail), count(State::Warn)) {
        (0, 0) => "all is well".to_owned(),
        (0, warned) => format!("it works; {warned} to look at"),
        (failed, 0) => format!("{failed} to mend"),
        (failed, warned) => format!("{failed} to mend, {warned} to look at"),
    };
    format!("as seen from this machine, just now: {found}\n")
}

#[cfg(test)]
mod tests {
    use base::Code;
    use proto::admin::View;

    use super::*;
    use crate::samples;

    fn mixed() -> Vec<Check> {
        let mut response = samples::nodes();
        response.nodes[0].version = "9.9.9".into();
        let mut checks = server(Ok(("grey-area:3002".into(), response)), samples::NOW + 90_000);
        checks.extend(engines(
            &[
                (Backend::Ollama, 11434, look::Answer::Http(200)),
                (Backend::LmStudio, 1234, look::Answer::Nobody),
                (Backend::Vllm, 8000, look::Answer::Odd("SSH-2.0-OpenSSH".into())),
            ],
            &[],
        ));
        checks.push(nvidia(true, None));
        checks.push(disk("/var/lib/taskmaster", Ok(ByteSize::mib(300))));
        checks
    }

    #[test]
    fn each_finding_stands_with_its_hint() {
        insta::assert_snapshot!("doctor", page(&mixed(), Style::default()));
        insta::assert_snapshot!("doctor_json", samples::json(&samples::list("this machine", mixed())));
    }

    #[test]
    fn a_healthy_machine_has_no_hints() {
        let mut response = samples::nodes();
        response.nodes[0].version = env!("CARGO_PKG_VERSION").into();
        let mut checks = server(Ok(("grey-area:3002".into(), response)), samples::NOW);
        checks.extend(engines(&[(Backend::Ollama, 11434, look::Answer::Http(200))], &[]));
        checks.push(nvidia(false, None));
        checks.push(disk("/", Ok(ByteSize::gib(500))));
        assert!(checks.iter().all(|check| check.state == State::Ok && check.hint.is_none()), "{checks:?}");
        insta::assert_snapshot!("doctor_well", page(&checks, Style::default()));
    }

    /// Every other thing that can be wrong, so that each text is read once by somebody.
    #[tokio::test]
    async fn everything_that_is_wrong_has_a_hint() {
        let away = Fault::new(Code::Unreachable, "could not reach `h:1`: connection refused").hint("start it");
        let mut checks = server(Err(away), 0);
        let unnamed = ListNodesResponse { view: samples::view(), nodes: vec![] };
        checks.extend(server(Ok(("h:1".into(), unnamed)), samples::NOW));
        checks.extend(engines(&[(Backend::Ollama, 11434, look::Answer::Nobody)], &[]));
        checks.extend(engines(&[], &samples::workers().workers[1..]));
        checks.push(disk("/", Ok(ByteSize::gib(5))));
        checks.push(disk("/x", Err(std::io::ErrorKind::NotFound.into())));
        let (folder, connector) = (tempfile::tempdir().unwrap(), client::connector().unwrap());
        let file = folder.path().join("node.toml");
        let etcd = "[node]\nname = \"a\"\n[store]\nkind = \"etcd\"\n\
            endpoints = [\"http://127.0.0.1:1\", \"https://127.0.0.1:1\"]\n\
            [tls]\nca = \"ca.pem\"\ncert = \"a.pem\"\nkey = \"a.key\"\n";
        for text in [None, Some("[nodes]\n"), Some("[nodes]\n[http]\nlisten = 7\n"), Some(etcd)] {
            text.map_or(Ok(()), |text| std::fs::write(&file, text)).unwrap();
            checks.extend(look::store(&connector, look::config(Some(&file)).0.unwrap()).await);
        }
        let is_told = |check: &Check| check.state == State::Ok || check.hint.is_some();
        assert!(checks.iter().all(is_told), "{checks:?}");
        let text = page(&checks, Style::default());
        insta::assert_snapshot!("doctor_wrong", text.replace(&folder.path().display().to_string(), "FOLDER"));
    }

    #[test]
    fn a_ready_worker_of_the_node_is_an_engine_without_a_port_of_its_own() {
        let mut nodes = samples::nodes();
        nodes.view = Some(View { node: "grey-area".into(), ..View::default() });
        let server = look::Server { address: "h:1".into(), nodes, workers: samples::workers().workers };
        let own = own_workers(&server);
        let checks = engines(&[(Backend::Ollama, 11434, look::Answer::Nobody)], &own);
        let last = checks.last().unwrap();
        assert_eq!((last.state, last.found.as_str()), (State::Ok, "ready: grey-area/ollama"), "{checks:?}");
        assert!(own.iter().all(|worker| worker.node == "grey-area"), "another node's engine is none of this machine");
    }

    #[test]
    fn a_view_that_is_known_to_be_stale_is_no_wrong_clock() {
        let view = View { node: "grey-area".into(), as_of_unix_ms: samples::NOW - 60_000, stale_s: 60.0 };
        let response = ListNodesResponse { view: Some(view), ..samples::nodes() };
        let checks = server(Ok(("h:1".into(), response)), samples::NOW);
        assert_eq!(checks[2].state, State::Ok);
    }
}
