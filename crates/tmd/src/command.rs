//! The command line: what to run, with which configuration, and how it ends (0 well, 1 failed, 2 wrong configuration).

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use base::Fault;
use base::config::{Config, Sources};
use base::report::Backend;
use clap::{Parser, Subcommand};
use inference::http1::{Endpoint, dialler};
use inference::shelf::Shelved;
use net::{Audit, Connector, Policy, Purpose};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::features::Release;
use crate::node::Node;
use crate::reload::{Source, Unread};
use crate::worker::built_in;
use crate::{at_rest, hooks, join_command, notify, reload, secrets, telemetry};

/// A port of this machine answers within this time, or there is no engine at it.
const LOOK_WITHIN: Duration = Duration::from_millis(500);

/// No configuration is longer; what is, is another file.
const MOST_CONFIG: u64 = 1 << 20;

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
    /// For tests of mixed releases: another version than its own.
    #[cfg(feature = "faults")]
    #[arg(long, hide = true)]
    as_version: Option<String>,
    /// For tests of mixed releases: a feature that it does not have.
    #[cfg(feature = "faults")]
    #[arg(long, hide = true)]
    without_feature: Vec<String>,
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
        /// What it opens: infer, tasks, research, read; without: everything.
        #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
        scope: Vec<String>,
    },
    /// Writes what this machine needs to be a node, out of the code that `tmctl node add` printed. Replaces nothing; the
    /// file that --config names is read, and the new one keeps what it says of this machine.
    Join {
        /// The code; `-` reads it from standard input, where no list of processes shows it.
        code: String,
        /// Folder for the files.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// The node keeps documents too (the role `research`).
        #[arg(long)]
        research: bool,
    },
    /// Writes manual pages into a folder.
    #[command(hide = true)]
    Man {
        /// The folder.
        folder: PathBuf,
    },
    /// Reads one document, for a parent that does not trust it.
    #[command(hide = true)]
    ReadDocument,
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
    let arguments = Arc::new(Arguments::parse());
    if let Some(Command::ExecEngine { parent, cgroup, command }) = &arguments.command {
        return failed(&inference::process::exec_engine(*parent, cgroup.as_deref(), command).into());
    }
    if matches!(arguments.command, Some(Command::ReadDocument)) {
        return extract::child::child_main();
    }
    if let Some(Command::Man { folder }) = &arguments.command {
        return match man(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        };
    }
    if let Some(Command::Join { code, dir, research }) = &arguments.command {
        return match join_command::join(code, dir, arguments.config.as_deref(), *research) {
            Ok(said) => print(&said),
            Err(error) => failed(&error),
        };
    }
    let config = match resolve(&arguments) {
        Ok(config) => config,
        Err(Wrong::File(error)) => return failed(&error),
        Err(Wrong::Config(faults)) => return wrong(&faults),
    };
    match &arguments.command {
        Some(Command::Check) => match secrets::check(&config) {
            Ok(()) => print("the configuration is good\n"),
            Err(faults) => wrong(&faults),
        },
        Some(Command::Config) => print(&config.to_toml()),
        Some(Command::FirstKey { name, scope }) => first_key(&config, name.clone(), scope.clone()),
        Some(Command::ExecEngine { .. } | Command::ReadDocument | Command::Man { .. } | Command::Join { .. }) => {
            ExitCode::SUCCESS
        }
        None if arguments.config.is_none() && !arguments.dev && arguments.model.is_none() => {
            say("tmd: nothing to run\n  hint: `tmd --dev` tries it on this machine, `tmd --config FILE` runs a node\n");
            ExitCode::from(2)
        }
        None => serve(config, arguments),
    }
}

/// A manual page for the program and for each of its commands.
fn man(folder: &Path) -> Result<()> {
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(<Arguments as clap::CommandFactory>::command(), folder));
    written.with_context(|| format!("could not write manual pages into `{}`", folder.display()))
}

fn wrong(faults: &base::config::ConfigFaults) -> ExitCode {
    say(&format!("{faults}\n"));
    ExitCode::from(2)
}

enum Wrong {
    File(anyhow::Error),
    Config(base::config::ConfigFaults),
}

fn resolve(arguments: &Arguments) -> Result<Config, Wrong> {
    let file = arguments.config.as_ref().map(|path| {
        let text = read_bounded(path).with_context(|| format!("could not read `{}`", path.display()));
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
    crate::research::check(&config).map_err(Wrong::Config)?;
    telemetry::check(&config).map_err(Wrong::Config)?;
    at_rest::seal(&config).map_err(Wrong::Config)?;
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

/// The text of a file that is no longer than a person writes.
fn read_bounded(path: &Path) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MOST_CONFIG + 1).read_to_string(&mut text)?;
    anyhow::ensure!(text.len() as u64 <= MOST_CONFIG, "it is larger than {} KiB", MOST_CONFIG >> 10);
    Ok(text)
}

/// The environment as text; what is none cannot be a setting, but must not end the program either.
fn environment() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

fn first_key(config: &Config, name: String, scopes: Vec<String>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let made = runtime.context("could not start the runtime");
    match made.and_then(|runtime| runtime.block_on(crate::first_key::make(config, name, scopes))) {
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

/// Reads the configuration as the start did. Without a file nothing can have changed.
fn read_again(arguments: &Arguments) -> Result<Config, Unread> {
    if arguments.config.is_none() {
        return Err(Unread::File(
            Fault::invalid("this node was started without a file, so there is nothing to read again")
                .hint("start it with `tmd --config FILE`"),
        ));
    }
    let config = resolve(arguments).map_err(|wrong| match wrong {
        Wrong::Config(faults) => Unread::Wrong(faults),
        Wrong::File(error) => {
            Unread::File(Fault::invalid(format!("{error:#}")).hint("look at the file and its rights"))
        }
    })?;
    secrets::check(&config).map_err(Unread::Wrong)?;
    Ok(config)
}

/// What this node says that it is.
#[cfg(not(feature = "faults"))]
fn release(_: &Arguments) -> Release {
    Release::own()
}

/// The same, as a test wants it.
#[cfg(feature = "faults")]
fn release(arguments: &Arguments) -> Release {
    let Release { version, mut features } = Release::own();
    features.retain(|feature| !arguments.without_feature.contains(feature));
    Release { version: arguments.as_version.clone().unwrap_or(version), features }
}

fn serve(config: Config, arguments: Arc<Arguments>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("could not start the runtime")),
    };
    let served = runtime.block_on(serve_until_stopped(config, arguments)).and_then(|(traces, ended)| {
        traces.shutdown();
        Ok(ended?)
    });
    // A blocking task that hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Gives how it ended: asked to, or because it may not go on.
async fn serve_until_stopped(
    mut config: Config,
    arguments: Arc<Arguments>,
) -> Result<(telemetry::Traces, base::Result<()>)> {
    // Asked for before anything starts: a signal in between must find somebody who listens.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let policy = Arc::new(Policy::new(&config.privacy)?);
    let connector = Connector::new(policy.clone(), Audit::new());
    let channels = net::Channels::new(connector.set_by("telemetry.otlp"));
    let traces_to = config.telemetry.otlp.as_deref();
    let traces_to = traces_to.map(|otlp| channels.channel(Purpose::Telemetry, otlp, None)).transpose()?;
    let traces = telemetry::install(&config.telemetry, config.node.name.as_str(), traces_to)?;
    let has_found_workers = arguments.dev && config.workers.is_empty();
    if has_found_workers {
        config.workers = find_engines(&connector).await;
        if config.workers.is_empty() {
            config.workers.extend(built_in_worker(&config));
        }
    }
    let source = Source {
        release: release(&arguments),
        read: Arc::new(move || read_again(&arguments)),
        has_found_workers,
        log: traces.log.clone(),
        http_limits: Arc::new(ArcSwap::from_pointee(reload::http_limits(&config))),
        grpc_limits: Arc::new(ArcSwap::from_pointee(api::grpc::GrpcLimits::from_config(&config.limits))),
        turn: Mutex::default(),
        exchange: Mutex::default(),
    };
    let node = Node::start(config, source, connector, policy, traces.spans()).await?;
    let at = node.addresses;
    tracing::info!(http = %at.http, grpc = %at.grpc, peers = %at.peers, "serves");
    let serves = format!("http={} grpc={} peers={}", at.http, at.grpc, at.peers);
    print(&format!("ready {serves}\n"));
    notify::serves(&serves);
    let reloads = async {
        while hangup.recv().await.is_some() {
            notify::reloads();
            // What came of it is logged there; nobody waits for it here.
            let _ = node.reload().await;
            notify::serves(&serves);
        }
        std::future::pending().await
    };
    tokio::select! {
        () = reloads => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        fault = node.expelled() => {
            notify::stops();
            node.give_up().await;
            return Ok((traces, Err(fault)));
        }
        () = node.root_ended() => tracing::error!("the root of the actors ended; the node stops"),
        never = notify::lives(|within| node.answers(within)) => match never {},
    }
    notify::stops();
    let hurry = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    node.stop(hurry).await;
    Ok((traces, Ok(())))
}

/// Engines on their default ports, as workers.
async fn find_engines(connector: &Connector) -> Vec<base::config::Worker> {
    let dial =
        |port: u16| dialler(connector.set_by("--dev"), Purpose::Engine, &Endpoint::loopback(port), None, LOOK_WITHIN);
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
