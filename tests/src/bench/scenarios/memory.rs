//! Memory of the gateway: idle, with open streams, and after they have left.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use crate::bench::engines::{Engines, at_once};
use crate::bench::gateway::{Gateway, Kind};
use crate::bench::load::{Ask, Load};
use crate::bench::machine::memory;

const STREAMS: usize = 2000;
/// How long the gateway has to open them all.
const OPEN: Duration = Duration::from_secs(30);
/// How long it has to give memory back.
const AFTER: Duration = Duration::from_millis(1500);
const MIB: f64 = 1024.0 * 1024.0;

/// MiB when idle, KiB per open stream, MiB after they have left.
pub async fn idle_and_open(kind: Kind) -> Result<Vec<f64>> {
    let engines = Engines::start(3, &at_once(100)).await?;
    let gateway = Gateway::start(kind, &engines.addresses(), 1000).await?;
    let idle = memory(gateway.pid())? as f64;
    // Each stream brings ten tokens and then nothing more.
    engines.control(&json!({"fail": {"hang_mid": 10}})).await?;
    let load = Load::start(&gateway.address, &Ask::many(400, true, 100), STREAMS);
    let opened = async {
        while load.meter.tokens() < 10 * STREAMS as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(OPEN, opened).await.is_err() {
        bail!("only {} of {} tokens came, {} asks failed", load.meter.tokens(), 10 * STREAMS, load.meter.failed());
    }
    let open = memory(gateway.pid())? as f64;
    drop(load);
    tokio::time::sleep(AFTER).await;
    let after = memory(gateway.pid())? as f64;
    Ok(vec![idle / MIB, (open - idle) / 1024.0 / STREAMS as f64, after / MIB])
}
