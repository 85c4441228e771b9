//! The command line of `fake-engine`.

use std::net::SocketAddr;
use std::time::Duration;

use base::units::{ByteSize, parse_duration};
use clap::Parser;

use crate::fake::speak::Speak;

/// A deterministic inference engine for tests, demos and benches.
#[derive(Clone, Debug, Parser)]
#[command(name = "fake-engine", args_override_self = true)]
pub struct Options {
    /// Address to listen on; port 0 lets the kernel choose. The chosen one is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Whose protocol it speaks.
    #[arg(long, value_enum)]
    pub speak: Speak,
    /// Names of its models.
    #[arg(long, value_delimiter = ',', default_value = "fake")]
    pub models: Vec<String>,
    /// Time to the first token.
    #[arg(long, value_parser = duration, default_value = "20ms")]
    pub ttft: Duration,
    /// Time between tokens.
    #[arg(long, value_parser = duration, default_value = "5ms")]
    pub token: Duration,
    /// Tokens of a whole answer.
    #[arg(long, default_value_t = 60)]
    pub tokens: usize,
    /// Tokens of reasoning before the answer, where the ask allows it.
    #[arg(long, default_value_t = 0)]
    pub thinking: usize,
    /// Prompt speed in tokens per second; prompts cost no time without it.
    #[arg(long)]
    pub prefill_rate: Option<f64>,
    /// Asks that run at once.
    #[arg(long, default_value_t = 100_000)]
    pub slots: usize,
    /// Asks that wait for a slot; one more is refused.
    #[arg(long, default_value_t = 512)]
    pub queue: usize,
    /// Time to load a model.
    #[arg(long, value_parser = duration, default_value = "0ms")]
    pub load: Duration,
    /// Memory for models; the least recently used one is unloaded when they do not fit.
    #[arg(long, value_parser = size, default_value = "24GiB")]
    pub vram: ByteSize,
    /// Memory that each model takes.
    #[arg(long, value_parser = size, default_value = "5GiB")]
    pub model_memory: ByteSize,
    /// What digests of models are derived from, besides their names; engines with the same text have the same models.
    #[arg(long, default_value = "")]
    pub digest_seed: String,
    /// Context length of every model, in tokens.
    #[arg(long, default_value_t = 8192)]
    pub context: usize,
    /// The key that every request must bring, as `Authorization: Bearer` or `x-api-key`.
    #[arg(long)]
    pub key: Option<String>,
    /// A name of this engine, shown in its statistics.
    #[arg(long, default_value = "")]
    pub label: String,
    /// Threads that serve.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Ends at once with this code, as an engine that cannot start.
    #[arg(long)]
    pub exit_at_start: Option<i32>,
    /// What it says on stderr first.
    #[arg(long)]
    pub stderr: Option<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("`{text}` is not a duration such as 20ms"))
}

fn size(text: &str) -> Result<ByteSize, String> {
    ByteSize::parse(text).ok_or_else(|| format!("`{text}` is not a size such as 5GiB"))
}
