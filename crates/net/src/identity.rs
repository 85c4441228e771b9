//! Who this node is: its certificate, its key, the cluster's CA; and the TLS configurations that follow from them.
//!
//! Loading judges the files as a peer would, so that a wrong or expired certificate is a fault at start with the file's
//! name in it. Both directions demand TLS 1.3. The name of a node is the first DNS name in its certificate.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base::config::Tls;
use base::{Fault, NodeId, Result};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::tls::{Roots, bad_file, fault_of, read, read_certificates};

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
    expires_unix_s: i64,
    certified: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
}

impl Identity {
    /// Reads and judges the three files.
    pub fn load(tls: &Tls) -> Result<Self> {
        let roots = Roots::file(&tls.ca)?.store();
        let chain = read_certificates(&tls.cert)?;
        let (name, expires_unix_s) = subject(&chain, &tls.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&tls.key)?)
            .map_err(|error| bad_file(&tls.key, "holds no private key").because(error))?;
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let text = format!("is not the key of the certificate in `{}`", tls.cert.display());
            bad_file(&tls.key, &text).because(error)
        })?;
        let identity = Self { name, expires_unix_s, certified: Arc::new(certified), roots };
        identity.judge_itself(tls)?;
        Ok(identity)
    }

    /// The node's name, as its certificate carries it.
    pub fn name(&self) -> &NodeId {
        &self.name
    }

    /// When the certificate ends, in seconds since the Unix epoch.
    pub fn expires_unix_s(&self) -> i64 {
        self.expires_unix_s
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

    /// For listeners.
    pub fn server_config(&self, alpn: &[&[u8]], auth: ClientAuth) -> Result<Arc<ServerConfig>> {
        let verifier = Arc::new(NamingVerifier(self.verifier(auth)?));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(cannot_set_up)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // A resumed session would not look at the client's certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// For dialling; the expected name is given with the connection.
    pub fn client_config(&self, alpn: &[&[u8]]) -> Result<Arc<ClientConfig>> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(cannot_set_up)?
            .with_root_certificates(self.roots.clone())
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(self.certified.clone())));
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn verifier(&self, auth: ClientAuth) -> Result<Arc<dyn ClientCertVerifier>> {
        let builder = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider());
        let builder = match auth {
            ClientAuth::Required => builder,
            ClientAuth::Optional => builder.allow_unauthenticated(),
        };
        builder
            .build()
            .map_err(|error| Fault::internal("could not set up the check of client certificates").because(error))
    }

    fn judge_itself(&self, tls: &Tls) -> Result<()> {
        let Some((own, intermediates)) = self.certified.cert.split_first() else {
            return Err(bad_file(&tls.cert, "holds no certificate"));
        };
        let verdict = self.verifier(ClientAuth::Required)?.verify_client_cert(own, intermediates, UnixTime::now());
        let Err(error) = verdict else { return Ok(()) };
        let why = match &error {
            Error::InvalidCertificate(error) => fault_of(error),
            other => other.to_string(),
        };
        let message = format!("the certificate of `{}` in `{}` {why}", self.name, tls.cert.display());
        Err(Fault::invalid(message).hint(format!(
            "issue a new one with `tmctl ca issue {}` from the CA in `{}`",
            self.name,
            tls.ca.display()
        )))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The node that a certificate belongs to.
pub fn node_name(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => Some(NodeId::from(*name)),
        _ => None,
    })
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn subject(chain: &[CertificateDer<'_>], path: &Path) -> Result<(NodeId, i64)> {
    let first = chain.first().ok_or_else(|| bad_file(path, "holds no certificate"))?;
    let (_, parsed) =
        parse_x509_certificate(first).map_err(|error| bad_file(path, "holds no X.509 certificate").because(error))?;
    let name = node_name(first).ok_or_else(|| bad_file(path, "names no node"))?;
    Ok((name, parsed.validity().not_after.timestamp()))
}

fn cannot_set_up(error: Error) -> Fault {
    Fault::internal("could not set up TLS").because(error)
}

tokio::task_local! {
    /// The name in the client certificate that the handshake of this task refused. The library's error does not carry
    /// it, and an error of our own would replace the alert that tells the client why.
    pub(crate) static REFUSED: RefCell<Option<NodeId>>;
}

/// Refuses what `WebPkiClientVerifier` refuses, and remembers whom.
#[derive(Debug)]
struct NamingVerifier(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for NamingVerifier {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now).inspect_err(|_| {
            // Outside of an acceptor of ours nobody asks for the name.
            REFUSED.try_with(|refused| refused.replace(node_name(end_entity))).ok();
        })
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
