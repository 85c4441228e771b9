//! CPU time of the gateway per ask and per token.

use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::bench::engines::{Engines, Lab, at_once};
use crate::bench::gateway::{Gateway, Kind};
use crate::bench::load::{Ask, Load, Meter};
use crate::bench::machine::cpu_time;

/// Tokens of a streamed answer.
pub const TOKENS: usize = 200;
/// Tokens of an answer in one piece.
pub(super) const WHOLE_TOKENS: usize = 20;
/// Connections of asks that are answered at once.
pub(super) const CONNECTIONS: usize = 64;
/// More than any scenario needs.
const SLOTS: u32 = 1000;

/// What a stream scenario saw.
pub struct PerToken {
    /// Microseconds of CPU per token.
    pub cpu_us: f64,
    /// Tokens per second at the clients.
    pub tokens_s: f64,
}

/// Microseconds of CPU per ask with a body of `size` bytes.
pub async fn per_ask(kind: Kind, lab: &Lab, size: usize) -> Result<Vec<f64>> {
    let engines = Engines::start(3, &at_once(WHOLE_TOKENS)).await?;
    let gateway = Gateway::start(kind, &engines.addresses(), SLOTS).await?;
    let load = Load::start(&gateway.address, &Ask::many(size, false, WHOLE_TOKENS), CONNECTIONS);
    let (cpu_us, _) = measure(&[gateway.pid()], lab, &load, Meter::asks).await?;
    Ok(vec![cpu_us])
}

/// Microseconds of CPU per token with so many streams at once.
pub async fn per_token(kind: Kind, lab: &Lab, streams: usize, pace: &Value) -> Result<PerToken> {
    let engines = Engines::start(3, pace).await?;
    let gateway = Gateway::start(kind, &engines.addresses(), SLOTS).await?;
    let load = Load::start(&gateway.address, &Ask::many(400, true, TOKENS), streams);
    let (cpu_us, tokens_s) = measure(&[gateway.pid()], lab, &load, Meter::tokens).await?;
    Ok(PerToken { cpu_us, tokens_s })
}

/// Microseconds of CPU of the processes below `pids` per thing that `count` counts, and such things per second.
pub(super) async fn measure(pids: &[u32], lab: &Lab, load: &Load, count: fn(&Meter) -> u64) -> Result<(f64, f64)> {
    let cpu = || pids.iter().map(|&pid| cpu_time(pid)).sum::<Result<std::time::Duration>>();
    load.warm_up().await?;
    let (cpu_before, count_before, started) = (cpu()?, count(&load.meter), Instant::now());
    tokio::time::sleep(lab.window).await;
    let (cpu_after, counted, took) = (cpu()?, count(&load.meter) - count_before, started.elapsed());
    load.must_be_right()?;
    if counted == 0 {
        bail!("nothing was answered");
    }
    Ok(((cpu_after - cpu_before).as_secs_f64() * 1e6 / counted as f64, counted as f64 / took.as_secs_f64()))
}

/// Good answers per second.
pub(super) async fn measure_rate(lab: &Lab, load: &Load) -> Result<f64> {
    Ok(measure(&[], lab, load, Meter::asks).await?.1)
}
