//! Who this node is: its certificate, its key, the cluster's CA; and the TLS configurations that follow from them.
//!
//! Loading judges the files as a peer would, so that a wrong or expired certificate is a fault at start with the file's
//! name in it. Both directions demand TLS 1.3. The name of a node is the first DNS name in its certificate. What a
//! configuration shows and trusts is looked up at each handshake ([`live`](Live)), so it may change while the node runs.

mod files;
mod live;
mod open;
mod renewal;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::config::Tls;
use base::{Fault, NodeId, Result};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, ServerConfig};

use self::files::Loaded;
use self::live::{ClientCheck, ServerCheck, Shows};
use crate::certificate::{Facts, Revocation};
use crate::listen::TlsAcceptor;

pub(crate) use live::{Live, REFUSED, WeakKey, provider};
pub use open::Guarded;
pub(crate) use open::Place;
pub use renewal::{Due, Request};

/// Makes AWS-LC the default of the process, for libraries that ask for one; a default that is there already stays.
pub fn install_default_provider() {
    drop(aws_lc_rs::default_provider().install_default());
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Nodes among themselves.
    Required,
    /// Clients that may come with a key instead; a certificate that is shown must still be good.
    Optional,
}

/// The certificate of this node with its key, and the CA that it and its peers belong to.
pub struct Identity {
    name: NodeId,
    tls: Tls,
    /// Where a certificate that was renewed is kept; `None` where none is.
    kept: Option<PathBuf>,
    loaded: Mutex<Arc<Loaded>>,
    live: Arc<Live>,
}

impl Identity {
    /// Reads and judges the files.
    pub fn load(tls: &Tls) -> Result<Self> {
        Self::with(tls, None)
    }

    /// The same for a node that renews its certificate by itself, and keeps what it got in `folder`.
    pub fn load_with_renewed(tls: &Tls, folder: &Path) -> Result<Self> {
        Self::with(tls, Some(folder.join(files::RENEWED)))
    }

    fn with(tls: &Tls, kept: Option<PathBuf>) -> Result<Self> {
        let (loaded, shown) = files::load(tls, kept.as_deref())?;
        let name = loaded.name.clone();
        let live = Arc::new(Live::new(shown));
        Ok(Self { name, tls: tls.clone(), kept, loaded: Mutex::new(Arc::new(loaded)), live })
    }

    /// The node's name, as its certificate carries it.
    pub fn name(&self) -> &NodeId {
        &self.name
    }

    /// What stands in the certificate that is shown now.
    pub fn certificate(&self) -> Facts {
        self.loaded().own.clone()
    }

    /// Every certificate whose end matters here, with what it is: `node`, `issuer`, `ca`, and `old-ca` in an overlap.
    pub fn certificates(&self) -> Vec<(&'static str, Facts)> {
        let loaded = self.loaded();
        let mut all = vec![("node", loaded.own.clone())];
        all.extend(loaded.issuing.iter().map(|issuing| ("issuer", issuing.facts.clone())));
        let roots = loaded.roots.iter().enumerate();
        all.extend(roots.map(|(at, root)| (if at == 0 { "ca" } else { "old-ca" }, root.clone())));
        all
    }

    /// A fault when the certificate belongs to another node than `expected`.
    pub fn must_be(&self, expected: &NodeId) -> Result<()> {
        if self.name == *expected {
            return Ok(());
        }
        Err(Fault::invalid(format!(
            "the certificate in `tls.cert` belongs to `{}`, but `node.name` is `{expected}`",
            self.name
        ))
        .hint(format!("issue one with `tmctl ca issue {expected}`, or correct `node.name`")))
    }

    /// Reads the files again where one of them changed. Whether something else is shown or trusted now; what cannot be used
    /// changes nothing.
    pub fn look_again(&self) -> Result<bool> {
        let before = self.loaded();
        if files::Bytes::read(&self.tls, self.kept.as_deref())? == before.bytes {
            return Ok(false);
        }
        let (loaded, shown) = files::load(&self.tls, self.kept.as_deref())?;
        if loaded.name != self.name {
            return Err(Fault::invalid(format!("the certificate in `tls.cert` belongs to `{}` now", loaded.name))
                .hint(format!("issue one with `tmctl ca issue {}`", self.name)));
        }
        *self.lock() = Arc::new(loaded);
        self.live.show(shown);
        Ok(true)
    }

    /// Counts how often something else was shown or trusted. Connections made before still show what was shown then.
    pub fn generation(&self) -> u64 {
        self.live.generation()
    }

    /// Refuses these certificates from now on, and ends connections of them. Whether that is a change.
    pub fn revoke(&self, revocations: Vec<Revocation>) -> bool {
        self.live.revoke(revocations)
    }

    /// Finishes handshakes of accepted connections.
    pub fn acceptor(&self, alpn: &[&[u8]], auth: ClientAuth) -> Result<TlsAcceptor> {
        let check = ClientCheck { live: self.live.clone(), is_required: auth == ClientAuth::Required };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(cannot_set_up)?
            .with_client_cert_verifier(Arc::new(check))
            .with_cert_resolver(Arc::new(Shows(self.live.clone())));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // A resumed session would not look at the client's certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::new(Arc::new(config), self.live.clone()))
    }

    /// For dialling; the expected name is given with the connection.
    pub(crate) fn client_config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(cannot_set_up)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerCheck(self.live.clone())))
            .with_client_cert_resolver(Arc::new(Shows(self.live.clone())));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // Nor would it look at the server's.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    fn loaded(&self) -> Arc<Loaded> {
        self.lock().clone()
    }

    /// What is in it is whole by itself, also when a thread died while it held it.
    fn lock(&self) -> MutexGuard<'_, Arc<Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

fn cannot_set_up(error: Error) -> Fault {
    Fault::internal("could not set up TLS").because(error)
}

#[cfg(test)]
pub(crate) mod tests;
