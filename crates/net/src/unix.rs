//! gRPC over a Unix socket, to a process of this machine that only its owner can speak to. Nothing leaves the machine, so
//! neither the mode nor the audit has a say.

use std::path::PathBuf;

use base::{BoxFuture, Fault, Result};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// A channel to `socket` that connects with its first call, and again after each loss.
pub fn unix_channel(socket: PathBuf) -> Channel {
    // The address is never looked at: the socket is all that is dialled.
    Endpoint::from_static("http://engine").connect_with_connector_lazy(tower::service_fn(
        move |_: Uri| -> BoxFuture<'static, Result<TokioIo<UnixStream>>> {
            let socket = socket.clone();
            Box::pin(async move {
                UnixStream::connect(&socket).await.map(TokioIo::new).map_err(|error| {
                    Fault::unavailable(format!("could not reach the process at `{}`", socket.display()))
                        .because(error)
                        .hint("it has ended or is just starting; ask again")
                })
            })
        },
    ))
}
