//! Time that the gateway adds, and time that it needs to start.

use anyhow::{Context, Result};

use crate::bench::engines::{Engines, at_once, paced};
use crate::bench::gateway::{Gateway, Kind};
use crate::bench::load::{Ask, Connection, Meter};
use crate::bench::statistics::median;

/// Asks through the gateway, and as many directly, in turns.
const ASKS: usize = 40;
const TOKENS: usize = 10;

/// Milliseconds between the medians of the time to the first token, through the gateway and directly.
pub async fn added_first_token(kind: Kind) -> Result<Vec<f64>> {
    let engines = Engines::start(1, &paced(20.0, 5.0, TOKENS)).await?;
    let addresses = engines.addresses();
    let gateway = Gateway::start(kind, &addresses, 4).await?;
    let mut through = Connection::open(&gateway.address).await?;
    let mut direct = Connection::open(addresses.first().context("no engine")?).await?;
    let (ask, meter) = (Ask::new(1, 400, true, TOKENS), Meter::default());
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ASKS {
        with.push(through.ask(&ask, &meter).await?.as_secs_f64() * 1e3);
        without.push(direct.ask(&ask, &meter).await?.as_secs_f64() * 1e3);
    }
    Ok(vec![median(&with).context("no ask")? - median(&without).context("no ask")?])
}

/// Seconds from the start of the gateway to its first answer.
pub async fn ready(kind: Kind) -> Result<Vec<f64>> {
    let engines = Engines::start(3, &at_once(1)).await?;
    let gateway = Gateway::start(kind, &engines.addresses(), 4).await?;
    Ok(vec![gateway.ready.as_secs_f64()])
}
