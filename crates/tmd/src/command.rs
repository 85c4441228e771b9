//! The command line: what to run, with which configuration, and how it ends (0 well, 1 failed, 2 wrong configuration).

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base::Fault;
use base::config::{Config, Sources};
use base::report::Backend;
use clap::{Parser, Subcommand};
use inference::http1::{Endpoint, dialler};
use inference::shelf::Shelved;
use net::{Audit, Connector, Policy, Purpose};
use tokio::signal::unix::{SignalKind, signal};

use crate::hooks;
use crate::node::Node;
use crate::telemetry;
use crate::worker::built_in;

/// A port of this machine answers within this time, or there is no engine at it.
const LOOK_WITHIN: Duration = Duration::from_millis(500);

/// One node of a home lab's AI: supervises the inference engines of this machine and serves those of all.
#[derive(Parser)]
#[command(name = "tmd", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// One node on loopback, with its own store, and every engine found on its default port; without any, the built-in one.
    #[arg(long)]
    dev: bool,
    /// A GGUF file that the built-in engine serves.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Tells every fault of the configuration: 0 when there is none, 2 otherwise.
    Check,
    /// Prints the effective configuration; secrets are masked.
    Config,
    /// Makes an API key for the configured store and shows it this once; no node need run (with the store on this machine
    /// alone, none may).
    FirstKey {
        /// What the key is called.
        name: String,
    },
    /// Becomes an engine that ends with its parent.
    #[command(hide = true)]
    ExecEngine {
        #[arg(long)]
        parent: u32,
        #[arg(long)]
        cgroup: Option<PathBuf>,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

/// Runs what the command line says.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::ExecEngine { parent, cgroup, command }) = &arguments.command {
        return failed(&inference::process::exec_engine(*parent, cgroup.as_deref(), command).into());
    }
    let config = match resolve(&arguments) {
        Ok(config) => config,
        Err(Wrong::File(error)) => return failed(&error),
        Err(Wrong::Config(faults)) => {
            say(&format!("{faults}\n"));
            return ExitCode::from(2);
        }
    };
    match arguments.command {
        Some(Command::Check) => print("the configuration is good\n"),
        Some(Command::Config) => print(&config.to_toml()),
        Some(Command::FirstKey { name }) => first_key(&config, &name),
        Some(Command::ExecEngine { .. }) => ExitCode::SUCCESS,
        None if arguments.config.is_none() && !arguments.dev && arguments.model.is_none() => {
            say("tmd: nothing to run\n  hint: `tmd --dev` tries it on this machine, `tmd --config FILE` runs a node\n");
            ExitCode::from(2)
        }
        None => serve(config, arguments.dev),
    }
}

enum Wrong {
    File(anyhow::Error),
    Config(base::config::ConfigFaults),
}

fn resolve(arguments: &Arguments) -> Result<Config, Wrong> {
    let file = arguments.config.as_ref().map(|path| {
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()));
        Ok((std::path::absolute(path).unwrap_or_else(|_| path.clone()), text?))
    });
    let mut sources = Sources {
        file: file.transpose().map_err(Wrong::File)?,
        env: environment(),
        flags: Vec::new(),
        folder: std::env::current_dir().unwrap_or_default(),
    };
    if (arguments.dev || arguments.model.is_some()) && sources.file.is_none() {
        sources.folder = dev_folder();
        sources.flags.push(("node.name".to_owned(), dev_name()));
    }
    let mut config = Config::resolve(&sources).map_err(Wrong::Config)?;
    // The files that it names are checked with it.
    hooks::settings(&config).map_err(Wrong::Config)?;
    if let Some(file) = &arguments.model {
        built_in::check_file(file).map_err(Wrong::File)?;
        config.engine.file = Some(std::path::absolute(file).unwrap_or_else(|_| file.clone()));
        if !config.workers.iter().any(|worker| worker.backend == Backend::Engine) {
            config.workers.push(built_in::worker());
        }
    }
    if let Some(program) = built_in::find(&config.engine.program, std::env::var_os("PATH").as_deref()) {
        config.engine.program = program;
    }
    Ok(config)
}

/// The environment as text; what is none cannot be a setting, but must not end the program either.
fn environment() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

fn first_key(config: &Config, name: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let made = runtime.context("could not start the runtime");
    match made.and_then(|runtime| runtime.block_on(crate::first_key::make(config, name))) {
        Ok(key) => print(&format!("{key}\n")),
        Err(error) => failed(&error),
    }
}

/// Where `--dev` keeps its state between runs.
fn dev_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).unwrap_or_else(std::env::temp_dir).join("taskmaster")
}

fn dev_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
    if name.is_empty() { "dev".to_owned() } else { name }
}

fn serve(config: Config, dev: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("could not start the runtime")),
    };
    let served = runtime.block_on(serve_until_stopped(config, dev)).map(telemetry::Traces::shutdown);
    // A blocking task that hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn serve_until_stopped(mut config: Config, dev: bool) -> Result<telemetry::Traces> {
    // Asked for before anything starts: a signal in between must find somebody who listens.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let policy = Arc::new(Policy::new(&config.privacy)?);
    let connector = Connector::new(policy.clone(), Audit::new());
    let channels = net::Channels::new(connector.clone());
    let traces_to = config.telemetry.otlp.as_deref();
    let traces_to = traces_to.map(|otlp| channels.channel(Purpose::Telemetry, otlp, None)).transpose()?;
    let traces = telemetry::install(&config.telemetry, config.node.name.as_str(), traces_to)?;
    if dev && config.workers.is_empty() {
        config.workers = find_engines(&connector).await;
        if config.workers.is_empty() {
            config.workers.extend(built_in_worker(&config));
        }
    }
    let node = Node::start(config, connector, policy, traces.spans()).await?;
    let at = node.addresses;
    tracing::info!(http = %at.http, grpc = %at.grpc, peers = %at.peers, "serves");
    print(&format!("ready http={} grpc={} peers={}\n", at.http, at.grpc, at.peers));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = node.root_ended() => tracing::error!("the root of the actors ended; the node stops"),
    }
    let hurry = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    node.stop(hurry).await;
    Ok(traces)
}

/// Engines on their default ports, as workers.
async fn find_engines(connector: &Connector) -> Vec<base::config::Worker> {
    let dial = |port: u16| dialler(connector.clone(), Purpose::Engine, &Endpoint::loopback(port), None, LOOK_WITHIN);
    let found = inference::backend::discover(dial).await;
    for engine in &found {
        tracing::info!(backend = %engine.backend, url = engine.url, "found an engine");
    }
    let worker = |engine: inference::backend::Found| base::config::Worker {
        name: engine.backend.to_string(),
        backend: engine.backend,
        url: engine.url,
        slots: 4,
        queue: 64,
        command: Vec::new(),
        models: Vec::new(),
        key_file: None,
        memory: base::ByteSize(0),
    };
    found.into_iter().map(worker).collect()
}

/// The built-in engine, if it is there and has a model; else what to do about it, in one line.
fn built_in_worker(config: &Config) -> Option<base::config::Worker> {
    const LOOKED: &str = "found no engine on the default ports 11434, 1234, 8080, 5000, 8000";
    let shelf = built_in::shelf(config);
    let models: Vec<_> = shelf.look().into_iter().filter(Shelved::is_model).map(|model| model.name).collect();
    let (program, folder) = (&config.engine.program, shelf.folder().display());
    if !program.is_file() {
        tracing::warn!("{LOOKED}, and no `{}` beside `tmd` or in PATH: no model is served", program.display());
        return None;
    }
    if models.is_empty() {
        tracing::warn!(
            "{LOOKED}, and no model for the built-in one: put a GGUF file into `{folder}`, or start with --model FILE"
        );
        return None;
    }
    tracing::info!(models = models.join(", "), "serves with the built-in engine");
    Some(built_in::worker())
}

fn failed(error: &anyhow::Error) -> ExitCode {
    say(&format!("tmd: {error:#}\n"));
    let hint_of = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<store::OpenError>() {
        Some(error) => Some(error.hint().to_owned()),
        None => cause.downcast_ref::<Fault>()?.hint.clone(),
    };
    let hint: Option<String> = error.chain().find_map(hint_of);
    if let Some(hint) = hint {
        say(&format!("  hint: {hint}\n"));
    }
    ExitCode::FAILURE
}

/// To stderr, for people.
fn say(text: &str) {
    // Where nobody can read it, nobody can be told either.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// To stdout, for programs; a reader that is gone is no failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
