//! Who may talk to whom: every outgoing connection of the program is dialled here, every listener is bound here.
//!
//! [`Connector`] resolves, checks each address against the [`Policy`], dials only what passed, and leaves a line in the
//! [`Audit`] and its journal. [`Identity`] and [`ClientTls`] are the only makers of TLS configurations; `ca` and `keys` issue what they check.

pub mod audit;
pub mod ca;
pub mod certificate;
pub mod channel;
pub mod connector;
mod hash;
pub mod identity;
pub mod joining;
pub mod keys;
pub mod listen;
mod outgoing;
pub mod policy;
pub mod random;
mod resolve;
pub mod tls;
mod unix;

pub use audit::Audit;
pub use channel::Channels;
pub use connector::Connector;
pub use identity::{ClientAuth, Identity, install_default_provider};
pub use outgoing::Outgoing;
pub use policy::{Policy, Purpose, Verdict};
pub use tls::{ClientStream, ClientTls, Roots};
pub use unix::unix_channel;
