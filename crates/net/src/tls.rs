//! What this side of a TLS connection demands of the other, and what to say when the other falls short.
//!
//! Between nodes: TLS 1.3, a certificate of the cluster's CA that carries the expected name. Towards the web: the system's
//! roots, or one CA file. The texts name who was refused and why; a bare `UnknownIssuer` helps nobody at two in the night.

use std::io;
use std::path::Path;
use std::sync::Arc;

use base::{Code, Fault, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::time::ASN1Time;

use crate::identity::{Guarded, Identity, Live, Place, WeakKey, provider};
use crate::outgoing::Outgoing;
use crate::policy::Purpose;

/// HTTP/2, for gRPC.
pub const H2: &[&[u8]] = &[b"h2"];
/// HTTP/1.1.
pub const HTTP1: &[&[u8]] = &[b"http/1.1"];

/// How to speak TLS to one destination, and whom to expect there.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    expected: ServerName<'static>,
    /// Whose trust it goes by; `None` towards the web.
    live: Option<Arc<Live>>,
}

/// A connection that this program dialled.
pub type ClientStream = Guarded<TlsStream<Outgoing>>;

impl ClientTls {
    /// To a node, or to anything else with a certificate of the same CA: shows `identity`, expects the name `expected`.
    pub fn node(identity: &Identity, expected: &str, alpn: &[&[u8]]) -> Result<Self> {
        let live = Some(identity.live().clone());
        Ok(Self { config: identity.client_config(alpn)?, expected: server_name(expected)?, live })
    }

    /// To a server that wants no certificate of ours: must chain to `roots` and carry the name `expected`.
    pub fn web(roots: &Roots, expected: &str, alpn: &[&[u8]]) -> Result<Self> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::internal("could not set up TLS").because(error))?
            .with_root_certificates(roots.0.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { config: Arc::new(config), expected: server_name(expected)?, live: None })
    }

    pub(crate) async fn handshake(&self, stream: Outgoing) -> io::Result<ClientStream> {
        let stream = TlsConnector::from(self.config.clone()).connect(self.expected.clone(), stream).await?;
        let place = self
            .live
            .as_ref()
            .and_then(|live| Place::take(live, stream.get_ref().1.peer_certificates(), Some(self.expected.clone())));
        Ok(Guarded::new(stream, place))
    }

    /// The fault for a handshake with `destination` that failed.
    pub(crate) fn explain(&self, error: &io::Error, purpose: Purpose, destination: &str) -> Fault {
        let (why, hint) = match purpose {
            Purpose::Web | Purpose::Cloud => complaint_of_web(error),
            _ => complaint(error),
        };
        Fault::new(
            Code::Unauthenticated,
            format!("could not trust `{destination}` (expected `{}`): {why}", self.expected.to_str()),
        )
        .hint(hint)
    }
}

/// Whom to believe on the web.
#[derive(Clone)]
pub struct Roots(pub(crate) Arc<RootCertStore>);

impl Roots {
    /// The certificates that this machine trusts.
    pub fn system() -> Result<Self> {
        // Debian and NixOS, then Fedora, then Alpine.
        const FILES: [&str; 3] =
            ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
        let Some(file) = FILES.iter().map(Path::new).find(|file| file.exists()) else {
            return Err(Fault::unavailable(format!("could not find trusted certificates in {}", FILES.join(", ")))
                .hint("install the package `ca-certificates`"));
        };
        let mut store = RootCertStore::empty();
        // A bundle of the system may hold an old certificate that cannot be read; the others still count.
        store.add_parsable_certificates(read_certificates(file)?);
        Ok(Self(Arc::new(store)))
    }

    /// The certificates in the PEM file at `path`.
    pub fn file(path: &Path) -> Result<Self> {
        let mut store = RootCertStore::empty();
        for certificate in read_certificates(path)? {
            store
                .add(certificate)
                .map_err(|error| bad_file(path, "holds a certificate that cannot be used").because(error))?;
        }
        Ok(Self(Arc::new(store)))
    }
}

/// The certificates in the PEM file at `path`; at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad_file(path, "is not PEM").because(error))?;
    if certificates.is_empty() {
        return Err(bad_file(path, "holds no certificate"));
    }
    Ok(certificates)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Fault::invalid(format!("could not read `{}`", path.display()))
            .hint("check the paths in `[tls]`, and that the user of the service may read them")
            .because(error)
    })
}

pub(crate) fn bad_file(path: &Path, what: &str) -> Fault {
    Fault::invalid(format!("`{}` {what}", path.display())).hint("make it again with `tmctl ca issue NAME`")
}

/// The name that a certificate must carry to belong to `name`.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>> {
    let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(bare).map_err(|error| {
        Fault::invalid(format!("`{name}` cannot be the name in a certificate"))
            .hint("use letters, digits, `-`, `_` and `.`")
            .because(error)
    })
}

/// Why a handshake failed, as said of the other side, and what to do.
pub(crate) fn complaint(error: &io::Error) -> (String, &'static str) {
    const ISSUE: &str = "issue a new certificate with `tmctl ca issue NAME`, both sides from the same CA";
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return (format!("it ended the handshake: {error}"), "check that it speaks TLS on this port");
    };
    match error {
        rustls::Error::InvalidCertificate(error) => (format!("its certificate {}", fault_of(error)), ISSUE),
        rustls::Error::NoCertificatesPresented => ("it sent no certificate".to_owned(), ISSUE),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            ("it wants a certificate and got none".to_owned(), "set `[tls]`")
        }
        rustls::Error::AlertReceived(alert) => (format!("it refused our certificate: {alert:?}"), ISSUE),
        other => (other.to_string(), "check that both sides speak TLS on this port"),
    }
}

/// The same of a server outside, which no CA of the house has to do with.
fn complaint_of_web(error: &io::Error) -> (String, &'static str) {
    let invalid = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(invalid)) = invalid else {
        return (complaint(error).0, "look at it with a browser");
    };
    let why = match invalid {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by anybody whom this machine trusts".to_owned()
        }
        other => fault_of(other),
    };
    let hint = "look at it with a browser; if you trust its issuer, add that one's certificate to those of the system";
    (format!("its certificate {why}"), hint)
}

/// What is wrong with a certificate, to be said after its subject.
pub(crate) fn fault_of(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => format!("expired on {}", date(*not_after)),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is valid only from {}; is the clock right?", date(*not_before))
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "is not signed by our CA".to_owned(),
        CertificateError::Revoked => "was revoked".to_owned(),
        CertificateError::Other(other) if other.0.is::<WeakKey>() => other.0.to_string(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            // Each is written as `DnsName("grey-area")`; only the name is for people.
            let names: Vec<_> = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
            format!("is for `{}`, not for `{}`", names.join("`, `"), expected.to_str())
        }
        other => format!("is not valid: {other}"),
    }
}

/// Why a certificate is not believed, to be said after its subject.
pub(crate) fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => fault_of(error),
        other => other.to_string(),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    ASN1Time::from_timestamp(seconds)
        .map_or_else(|_| format!("second {seconds}"), |time| time.to_datetime().date().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_stranger_is_not_explained_by_the_ca_of_the_house() {
        let tls = ClientTls::web(&Roots(Arc::new(RootCertStore::empty())), "example.org", HTTP1).unwrap();
        let refused = || io::Error::other(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        let web = tls.explain(&refused(), Purpose::Web, "example.org:443");
        assert!(!web.message.contains("our CA") && !web.hint.as_deref().unwrap().contains("tmctl"), "{web:?}");
        let peer = tls.explain(&refused(), Purpose::Peer, "nas:3003");
        assert!(peer.message.ends_with("our CA") && peer.hint.unwrap().contains("tmctl ca issue"));
    }
}
