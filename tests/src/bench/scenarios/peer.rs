//! The same asks through a second gateway: the one that is asked has no engine of its own.

use anyhow::Result;

use super::cost::{CONNECTIONS, WHOLE_TOKENS, measure};
use crate::bench::engines::{Engines, Lab, at_once};
use crate::bench::gateway::{Cluster, Gateway, Kind};
use crate::bench::load::{Ask, Load, Meter};
use crate::etcd::Etcd;

/// Microseconds of CPU of both gateways per ask with a body of `size` bytes.
pub async fn per_ask(kind: Kind, lab: &Lab, size: usize) -> Result<Vec<f64>> {
    let engines = Engines::start(3, &at_once(WHOLE_TOKENS)).await?;
    // nginx needs no store; for tmd the two nodes are a cluster in etcd.
    let etcd = match kind {
        Kind::Nginx => None,
        Kind::Tmd => Some(Etcd::start().await?),
    };
    let cluster = |node: &str| etcd.as_ref().map(|etcd| Cluster { node: node.to_owned(), etcd: etcd.url.clone() });
    let behind = Gateway::launch(kind, &engines.addresses(), 1000, cluster("behind").as_ref())?.wait_ready().await?;
    let seen = match kind {
        Kind::Nginx => vec![behind.address.clone()],
        Kind::Tmd => Vec::new(),
    };
    let front = Gateway::launch(kind, &seen, 1000, cluster("front").as_ref())?.wait_ready().await?;
    let load = Load::start(&front.address, &Ask::many(size, false, WHOLE_TOKENS), CONNECTIONS);
    let (cpu_us, _) = measure(&[front.pid(), behind.pid()], lab, &load, Meter::asks).await?;
    Ok(vec![cpu_us])
}
