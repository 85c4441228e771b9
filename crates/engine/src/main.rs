//! `tm-engine`: one GGUF model behind `taskmaster.engine.v1` on a Unix socket. `tmd` starts and ends it; it can be run by
//! hand as well. What it writes to stdout is one line of JSON, once it is ready; its log goes to stderr.
//!
//! One thread owns the context and decodes for all asks at once ([`decode`], or [`embed`] for models that make vectors);
//! the service around it only checks, tokenises and passes on.

mod decode;
mod embed;
mod grammar;
mod load;
mod model;
mod pulse;
mod replay;
mod sampler;
mod service;
mod template;
mod text;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base::Fault;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

use crate::model::Loaded;
use crate::service::Service;

/// After a signal, asks have this long to end.
const GRACE: Duration = Duration::from_secs(2);
/// Between looks at the model's file, which must not change under the mapping.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A schema is walked recursively: one as large as is taken at all must not end the process. Only what is used is memory.
pub const STACK: usize = 256 << 20;
/// A long chat in one message.
const MOST_MESSAGE: usize = 64 << 20;

/// One GGUF model behind a Unix socket.
#[derive(Clone, Debug, Parser)]
#[command(name = "tm-engine", version)]
pub struct Arguments {
    /// The model's file.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Where to listen; a file that is there already is replaced.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
    /// Tokens that the cache holds, and so the longest ask with its answer; 0: as the model was trained for.
    #[arg(long, default_value_t = 8192)]
    pub context: u32,
    /// Asks that are worked on at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub slots: u32,
    /// Threads that compute; 0: the processors that this process may use, without one. More than are free is far worse
    /// than fewer: threads wait for each other by spinning.
    #[arg(long, default_value_t = 0)]
    pub threads: u32,
    /// An adapter (LoRA) on top of the model.
    #[arg(long, value_name = "FILE")]
    pub adapter: Option<PathBuf>,
    /// How strong the adapter is.
    #[arg(long, default_value_t = 1.0)]
    pub adapter_scale: f32,
    /// Layers that a GPU computes, in builds that can use one.
    #[arg(long, default_value_t = u32::MAX)]
    pub gpu_layers: u32,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .without_time()
        .with_ansi(false)
        .init();
    llama_cpp_2::send_logs_to_tracing(llama_cpp_2::LogOptions::default());
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let hint = error.chain().find_map(|cause| cause.downcast_ref::<Fault>()?.hint.clone());
            // Where nobody reads the log, nobody can be told.
            let _ = writeln!(std::io::stderr(), "tm-engine: {error:#}");
            let _ = hint.map(|hint| writeln!(std::io::stderr(), "  hint: {hint}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let started = Instant::now();
    let loaded = load::load(&arguments)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_stack_size(STACK).enable_all().build()?;
    let served = runtime.block_on(serve(&arguments, Arc::new(loaded), started));
    // The thread that decodes may be in the middle of a long step; the process ends without it.
    runtime.shutdown_background();
    served
}

async fn serve(arguments: &Arguments, loaded: Arc<Loaded>, started: Instant) -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = CancellationToken::new();
    let service = Service::start(loaded.clone(), ended.clone())?;
    let listener = bind(&arguments.socket)?;
    ready_line(arguments, &loaded, started)?;
    let server = tonic::transport::Server::builder()
        .add_service(service.clone().into_server(MOST_MESSAGE))
        .serve_with_incoming(UnixListenerStream::new(listener));
    tokio::select! {
        served = server => served.context("could not serve"),
        _ = terminate.recv() => { service.drain(GRACE).await; Ok(()) }
        _ = interrupt.recv() => { service.drain(GRACE).await; Ok(()) }
        () = ended.cancelled() => Ok(()),
        error = file_changed(&loaded) => Err(error),
    }
}

/// Only the owner may open it. A socket that a killed process left behind is no obstacle.
fn bind(socket: &std::path::Path) -> Result<tokio::net::UnixListener> {
    let _ = std::fs::remove_file(socket);
    let listener = tokio::net::UnixListener::bind(socket)
        .with_context(|| format!("could not listen on `{}`", socket.display()))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Says that asks are taken now, in one line.
fn ready_line(arguments: &Arguments, loaded: &Loaded, started: Instant) -> Result<()> {
    let line = serde_json::json!({
        "ready": true,
        "socket": arguments.socket,
        "model": arguments.model,
        "task": loaded.task_word(),
        "context_tokens": loaded.context_tokens,
        "slots": loaded.slots,
        "threads": loaded.threads,
        "load_s": started.elapsed().as_secs_f64(),
    });
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// Returns when the file that is mapped was written to: what the model says from then on is nobody's answer.
async fn file_changed(loaded: &Loaded) -> anyhow::Error {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(fault) = loaded.file.check() {
            return anyhow::Error::new(fault);
        }
    }
}
