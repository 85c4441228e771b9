//! The fake engines behind the gateways, and what a scenario is given to work with.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process::FakeEngine;

/// The model of every engine.
pub const MODEL: &str = "fake";

/// How long a scenario measures.
#[derive(Clone, Copy, Debug)]
pub struct Lab {
    /// Length of one measurement.
    pub window: Duration,
}

impl Lab {
    /// Measures for `seconds`.
    pub fn new(seconds: f64) -> Self {
        Self { window: Duration::from_secs_f64(seconds.max(0.1)) }
    }
}

/// Several fake engines.
pub struct Engines(pub Vec<FakeEngine>);

impl Engines {
    /// Starts `count` of them, all with `settings` (see `tests::fake::control`).
    pub async fn start(count: usize, settings: &Value) -> Result<Self> {
        let mut engines = Vec::new();
        for index in 0..count {
            engines.push(engine(&format!("engine-{index}"), "127.0.0.1:0").await?);
        }
        let engines = Self(engines);
        engines.control(settings).await?;
        Ok(engines)
    }

    /// Changes the settings of all.
    pub async fn control(&self, settings: &Value) -> Result<()> {
        for engine in &self.0 {
            engine.control(settings).await?;
        }
        Ok(())
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<String> {
        self.0.iter().map(|engine| engine.address.clone()).collect()
    }

    /// The sum of a number of their statistics.
    pub async fn sum(&self, name: &str) -> Result<u64> {
        let mut sum = 0;
        for engine in &self.0 {
            sum += engine.stats().await?[name].as_u64().with_context(|| format!("no number `{name}`"))?;
        }
        Ok(sum)
    }
}

/// Starts one engine.
pub async fn engine(label: &str, listen: &str) -> Result<FakeEngine> {
    FakeEngine::start(&["--speak", "openai", "--models", MODEL, "--label", label, "--listen", listen]).await
}

/// Settings of an engine that answers at once with `tokens` tokens.
pub fn at_once(tokens: usize) -> Value {
    paced(0.0, 0.0, tokens)
}

/// Settings of an engine with a time to the first token and between tokens, in milliseconds.
pub fn paced(ttft_ms: f64, token_ms: f64, tokens: usize) -> Value {
    json!({"ttft_ms": ttft_ms, "token_ms": token_ms, "tokens": tokens})
}
