//! How the gateway behaves with unequal engines, clients that leave and engines that come back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;

use super::cost::measure_rate;
use crate::bench::engines::{Engines, Lab, engine, paced};
use crate::bench::gateway::{Gateway, Kind};
use crate::bench::load::{Ask, Connection, Load, Meter};
use crate::bench::statistics::percentile;

/// Time of an answer of a fast engine, in milliseconds.
pub const FAST_MS: f64 = 50.0;
const SLOTS: u32 = 2;
/// Share of the capacity that is asked for.
const UTILISATION: f64 = 0.6;
/// An engine that is not used again by then counts as given up.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// p50 and p99, in milliseconds, with one of three engines ten times slower.
pub async fn slow_engine(kind: Kind, lab: &Lab) -> Result<Vec<f64>> {
    let engines = Engines::start(3, &paced(FAST_MS, 0.0, 1)).await?;
    engines.control(&serde_json::json!({ "slots": SLOTS })).await?;
    engines.0.first().context("no engine")?.control(&paced(FAST_MS * 10.0, 0.0, 1)).await?;
    let gateway = Gateway::start(kind, &engines.addresses(), SLOTS).await?;
    let capacity = f64::from(SLOTS) * (2.0 + 0.1) * 1e3 / FAST_MS;
    let times = arrivals(&gateway.address, capacity * UTILISATION, lab.window * 4).await?;
    let at = |share| percentile(&times, share).context("nothing was answered");
    Ok(vec![at(0.5)?, at(0.99)?])
}

/// Asks at random moments, `rate` per second; the times of their answers in milliseconds.
async fn arrivals(address: &str, rate: f64, window: Duration) -> Result<Vec<f64>> {
    // The same arrivals for every gateway and round.
    let mut chance = fastrand::Rng::with_seed(7);
    let asks = Ask::many(400, false, 1);
    let idle: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let (mut running, mut due) = (JoinSet::new(), Duration::ZERO);
    let started = Instant::now();
    for ask in asks.iter().cycle() {
        due += Duration::from_secs_f64(-(1.0 - chance.f64()).ln() / rate);
        if due > window {
            break;
        }
        tokio::time::sleep_until((started + due).into()).await;
        let (ask, idle, address) = (ask.clone(), idle.clone(), address.to_owned());
        running.spawn(async move {
            let arrived = Instant::now();
            let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match free {
                Some(connection) => connection,
                None => Connection::open(&address).await?,
            };
            connection.ask(&ask, &Meter::default()).await?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            anyhow::Ok(arrived.elapsed().as_secs_f64() * 1e3)
        });
    }
    let mut times = Vec::new();
    while let Some(answered) = running.join_next().await {
        times.push(answered??);
    }
    Ok(times)
}

/// Tokens that were generated for a client that had left after 5 of 200; mean over several.
pub async fn client_left(kind: Kind) -> Result<Vec<f64>> {
    const CLIENTS: u64 = 20;
    const READ: usize = 5;
    let engines = Engines::start(3, &paced(20.0, 10.0, 200)).await?;
    let gateway = Gateway::start(kind, &engines.addresses(), 100).await?;
    let before = engines.sum("tokens_generated").await?;
    for number in 0..CLIENTS {
        let mut connection = Connection::open(&gateway.address).await?;
        let ask = Ask::new(usize::try_from(number)?, 400, true, 200);
        connection.ask_up_to(&ask, &Meter::default(), READ).await?;
    }
    let until = Instant::now() + GIVEN_UP;
    while engines.sum("running").await? > 0 && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let generated = engines.sum("tokens_generated").await? - before;
    Ok(vec![generated as f64 / CLIENTS as f64 - READ as f64])
}

/// Seconds from when a killed engine answers again to its first ask, and the asks that failed around the kill.
pub async fn revived(kind: Kind) -> Result<Vec<f64>> {
    let mut engines = Engines::start(3, &paced(5.0, 0.0, 20)).await?;
    let gateway = Gateway::start(kind, &engines.addresses(), 1000).await?;
    let load = Load::start(&gateway.address, &Ask::many(400, false, 20), 48);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let dead = engines.0.first_mut().context("no engine")?;
    let address = dead.address.clone();
    dead.child.kill().await?;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let alive = engine("revived", &address).await?;
    alive.control(&paced(5.0, 0.0, 20)).await?;
    let since = Instant::now();
    while alive.stats().await?["asks"] == 0 && since.elapsed() < GIVEN_UP {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if load.meter.asks() == 0 {
        bail!("nothing was answered");
    }
    Ok(vec![since.elapsed().as_secs_f64(), load.meter.failed() as f64])
}

/// Share of the capacity, in percent, that 1, 2, 4 and 8 engines of the same speed bring.
pub async fn throughput(kind: Kind, lab: &Lab) -> Result<Vec<f64>> {
    const SLOTS: u32 = 4;
    let engines = Engines::start(8, &paced(FAST_MS, 0.0, 1)).await?;
    engines.control(&serde_json::json!({ "slots": SLOTS })).await?;
    let mut shares = Vec::new();
    for count in [1, 2, 4, 8] {
        let addresses: Vec<String> = engines.addresses().into_iter().take(count).collect();
        let gateway = Gateway::start(kind, &addresses, SLOTS).await?;
        // Twice what fits, so that no engine waits for work.
        let load = Load::start(&gateway.address, &Ask::many(400, false, 1), count * SLOTS as usize * 2);
        let rate = measure_rate(lab, &load).await?;
        shares.push(100.0 * rate / (count as f64 * f64::from(SLOTS) * 1e3 / FAST_MS));
    }
    Ok(shares)
}
