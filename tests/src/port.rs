//! Ports of the kernel's choice that stay with a test. Tests of other crates take this file as theirs.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpSocket;

/// A port of loopback for a server that cannot bind port 0 and tell, or that has to come back at the same one.
///
/// It stays bound here, without listening, until this process ends. So the kernel gives it to nobody else, and nobody
/// answers at it but a server that was told of it: one that sets `SO_REUSEADDR` or `SO_REUSEPORT`, as nearly all do, may
/// listen on it as often as it likes.
pub fn free_port() -> io::Result<u16> {
    static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let port = socket.local_addr()?.port();
    HELD.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    Ok(port)
}
