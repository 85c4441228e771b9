//! The fake engine: a deterministic inference engine that speaks every engine's protocol, as fast and as broken as told.
//!
//! An answer is a pure function of the conversation ([`text::expected`]), the same in every dialect, so that a test can
//! check every byte of it. `POST /fake/control` changes speed and faults at run time ([`control`]), `GET /fake/stats`
//! shows what it has seen ([`engine::Engine::stats`]). The engine notices at once when a client leaves.

pub mod ask;
pub mod body;
pub mod brief;
pub mod control;
pub mod encode;
pub mod engine;
mod information;
pub mod options;
pub mod refusal;
mod retrieval;
pub mod schema;
mod serve;
pub mod speak;
#[cfg(test)]
mod tests;
pub mod text;
pub mod vector;

pub use options::Options;
pub use speak::Speak;

use std::io::Write;

use anyhow::Context;

/// Serves until the process is ended. Prints `listening on ADDRESS`, once, when it can be asked.
pub fn run(options: Options) -> anyhow::Result<()> {
    if let Some(text) = &options.stderr {
        writeln!(std::io::stderr(), "{text}")?;
    }
    if let Some(code) = options.exit_at_start {
        std::process::exit(code);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads.max(1))
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("could not listen on {}", options.listen))?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "listening on {}", listener.local_addr()?)?;
        stdout.flush()?;
        serve::serve(listener, engine::Engine::new(options)).await
    })
}
