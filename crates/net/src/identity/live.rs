//! What this node trusts and shows right now, and the checks that TLS makes with it. All configurations look here at each
//! handshake, so that a renewed certificate, another root or a revocation holds at once and without a restart.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use base::{Fault, NodeId, Result};
use rustls::client::ResolvesClientCert;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::open::Open;
use crate::certificate::{Facts, Revocation, is_revoked, node_name};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

pub(crate) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// The state that swaps.
pub(crate) struct Live {
    now: ArcSwap<Shown>,
    revoked: ArcSwap<Vec<Revocation>>,
    /// Counts the swaps of `now`.
    generation: AtomicU64,
    pub(super) open: Open,
}

/// A certificate with its key, and who is believed.
pub(crate) struct Shown {
    pub certified: Arc<CertifiedKey>,
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
}

impl Shown {
    pub fn new(certified: Arc<CertifiedKey>, roots: Arc<RootCertStore>) -> Result<Self> {
        let cannot = || Fault::internal("could not set up the check of certificates");
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build();
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
        Ok(Self {
            certified,
            clients: clients.map_err(|error| cannot().because(error))?,
            servers: servers.map_err(|error| cannot().because(error))?,
        })
    }

    /// Judges a chain as a peer would.
    pub fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let (own, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.clients.verify_client_cert(own, others, now)?;
        chain.iter().try_for_each(|certificate| strong(certificate).map(drop))
    }
}

impl Live {
    pub fn new(shown: Shown) -> Self {
        Self {
            now: ArcSwap::from_pointee(shown),
            revoked: ArcSwap::default(),
            generation: AtomicU64::new(0),
            open: Open::default(),
        }
    }

    pub fn shown(&self) -> Arc<Shown> {
        self.now.load_full()
    }

    /// Shows and trusts something else from now on.
    pub fn show(&self, shown: Shown) {
        self.now.store(Arc::new(shown));
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.open.look_again(self);
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Refuses these from now on, and no others. Whether that is a change.
    pub fn revoke(&self, revocations: Vec<Revocation>) -> bool {
        if **self.revoked.load() == revocations {
            return false;
        }
        self.revoked.store(Arc::new(revocations));
        self.open.look_again(self);
        true
    }

    pub fn judge_client(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.now.load().clients.verify_client_cert(own, others, now)?;
        self.judge_each(own, others)?;
        Ok(verified)
    }

    pub fn judge_server(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.now.load().servers.verify_server_cert(own, others, name, &[], now)?;
        self.judge_each(own, others)?;
        Ok(verified)
    }

    fn judge_each(&self, own: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Result<(), Error> {
        let revoked = self.revoked.load();
        for certificate in std::iter::once(own).chain(others) {
            if is_revoked(&revoked, &strong(certificate)?) {
                return Err(CertificateError::Revoked.into());
            }
        }
        Ok(())
    }
}

/// What stands in a certificate whose key proves something.
fn strong(certificate: &CertificateDer<'_>) -> Result<Facts, Error> {
    let facts = Facts::of(certificate).ok_or(CertificateError::BadEncoding)?;
    match facts.weakness {
        Some(why) => Err(CertificateError::Other(OtherError(Arc::new(WeakKey(why)))).into()),
        None => Ok(facts),
    }
}

/// A certificate whose key proves nothing.
#[derive(Debug)]
pub(crate) struct WeakKey(String);

impl std::error::Error for WeakKey {}

impl fmt::Display for WeakKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Shows what is shown now, as a server and as a client.
#[derive(Debug)]
pub(super) struct Shows(pub Arc<Live>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.shown().certified.clone())
    }
}

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.shown().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

tokio::task_local! {
    /// The name in the client certificate that the handshake of this task refused. The library's error does not carry
    /// it, and an error of our own would replace the alert that tells the client why.
    pub(crate) static REFUSED: RefCell<Option<NodeId>>;
}

/// Checks the certificates of clients, and remembers whom it refused.
#[derive(Debug)]
pub(super) struct ClientCheck {
    pub live: Arc<Live>,
    /// Whether one must be shown.
    pub is_required: bool,
}

impl ClientCertVerifier for ClientCheck {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.live.judge_client(end_entity, intermediates, now).inspect_err(|_| {
            // Outside of an acceptor of ours nobody asks for the name.
            REFUSED.try_with(|refused| refused.replace(node_name(end_entity))).ok();
        })
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    /// None: the roots change while a configuration lives, and clients of a node have one certificate to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Checks the certificates of servers.
#[derive(Debug)]
pub(super) struct ServerCheck(pub Arc<Live>);

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.judge_server(end_entity, intermediates, server_name, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
