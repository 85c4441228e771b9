//! gRPC channels that dial through the [`Connector`] only, also when they reconnect.
//!
//! A channel is made without dialling; its first call does. The connector makes the TLS handshake itself, so tonic sees
//! a plain `http` endpoint in either case.

use std::time::Duration;

use base::{BoxFuture, Fault, Result};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio_util::either::Either;
use tonic::transport::{Channel, Endpoint};

use crate::connector::Connector;
use crate::outgoing::Outgoing;
use crate::policy::Purpose;
use crate::tls::{ClientStream, ClientTls};

/// Dialling and handshake together; within the house both take milliseconds.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// What one stream may have in flight: enough for 1 GbE at 2 ms, and a bound on what a slow reader holds in memory.
const STREAM_WINDOW: u32 = 256 << 10;
/// Room for 1,024 readers that do not read, so that they cannot hold up the others, heartbeats among them.
const CONNECTION_WINDOW: u32 = 256 << 20;

type ClientIo = TokioIo<Either<Outgoing, Box<ClientStream>>>;

/// Makes channels.
#[derive(Clone)]
pub struct Channels(Connector);

impl Channels {
    /// Channels over `connector`.
    pub fn new(connector: Connector) -> Self {
        Self(connector)
    }

    /// A channel to `address` (`host:port`, with or without `http://` or `https://`) that connects with its first call,
    /// and again after each loss. TLS is what `tls` says; an `https://` address without it is a fault.
    pub fn channel(&self, purpose: Purpose, address: &str, tls: Option<&ClientTls>) -> Result<Channel> {
        let (host, port) = host_and_port(address)?;
        if address.starts_with("https://") && tls.is_none() {
            return Err(Fault::invalid(format!("could not use `{address}`: no certificates are configured"))
                .hint("set `[tls]`, or write the address with http://"));
        }
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut endpoint = endpoint(&format!("http://{authority}"), purpose)?;
        if tls.is_some() {
            endpoint = endpoint.origin(uri(&format!("https://{authority}"))?);
        }
        let (connector, tls) = (self.0.clone(), tls.cloned());
        Ok(endpoint.connect_with_connector_lazy(tower::service_fn(
            move |_: Uri| -> BoxFuture<'static, Result<ClientIo>> {
                let (connector, host, tls) = (connector.clone(), host.clone(), tls.clone());
                Box::pin(async move { connect(&connector, purpose, &host, port, tls.as_ref()).await })
            },
        )))
    }
}

/// The fault behind a status that tonic made because it could not connect.
pub fn cause(status: &tonic::Status) -> Option<Fault> {
    let mut error = std::error::Error::source(status);
    while let Some(inner) = error {
        if let Some(fault) = inner.downcast_ref::<Fault>() {
            return Some(fault.clone());
        }
        error = inner.source();
    }
    None
}

async fn connect(
    connector: &Connector,
    purpose: Purpose,
    host: &str,
    port: u16,
    tls: Option<&ClientTls>,
) -> Result<ClientIo> {
    let stream = match tls {
        Some(tls) => Either::Right(Box::new(connector.connect_tls(purpose, host, port, CONNECT_TIME, tls).await?)),
        None => Either::Left(connector.connect(purpose, host, port, CONNECT_TIME).await?),
    };
    Ok(TokioIo::new(stream))
}

fn endpoint(address: &str, purpose: Purpose) -> Result<Endpoint> {
    let endpoint = Endpoint::from(uri(address)?)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok(match keep_alive(purpose) {
        Some(KeepAlive { interval, timeout, while_idle }) => {
            endpoint.http2_keep_alive_interval(interval).keep_alive_timeout(timeout).keep_alive_while_idle(while_idle)
        }
        None => endpoint,
    })
}

struct KeepAlive {
    interval: Duration,
    timeout: Duration,
    while_idle: bool,
}

/// How a frozen server is noticed on an open connection.
fn keep_alive(purpose: Purpose) -> Option<KeepAlive> {
    let timeout = Duration::from_secs(3);
    match purpose {
        // etcd ends connections that ping more often than every 5 s, or without an open call.
        Purpose::Etcd => Some(KeepAlive { interval: Duration::from_secs(6), timeout, while_idle: false }),
        // Collectors tolerate a ping every 5 minutes; each export has its own deadline.
        Purpose::Telemetry => None,
        // Each call has its own deadline, and no pings are promised to be welcome.
        Purpose::Qdrant => None,
        _ => Some(KeepAlive { interval: Duration::from_secs(2), timeout, while_idle: true }),
    }
}

fn host_and_port(address: &str) -> Result<(String, u16)> {
    let with_scheme = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let parsed = uri(&with_scheme)?;
    match (parsed.host(), parsed.port_u16()) {
        (Some(host), Some(port)) => Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port)),
        _ => Err(Fault::invalid(format!("`{address}` names no port")).hint("write it as host:port")),
    }
}

fn uri(text: &str) -> Result<Uri> {
    text.parse().map_err(|error| {
        Fault::invalid(format!("`{text}` is not an address")).hint("write it as host:port").because(error)
    })
}

#[cfg(test)]
mod tests;
