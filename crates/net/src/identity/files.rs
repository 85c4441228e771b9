//! The files behind an identity: read, judged as a peer would, and put together. A certificate that the node had renewed by
//! itself lies apart from those of the configuration, which may be where nobody can write; the one that was made last counts.

use std::io;
use std::path::Path;
use std::sync::Arc;

use base::config::Tls;
use base::{Fault, NodeId, Result};
use rcgen::{Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;

use super::live::{Shown, provider};
use crate::ca::signer;
use crate::certificate::Facts;
use crate::tls::{bad_file, read, reason};

/// Key and certificate in one file, so that they change together.
pub(super) const RENEWED: &str = "renewed.pem";

/// What the files hold.
#[derive(PartialEq, Eq)]
pub(super) struct Bytes {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
    issuer: Option<(Vec<u8>, Vec<u8>)>,
    renewed: Option<Vec<u8>>,
}

impl Bytes {
    pub fn read(tls: &Tls, kept: Option<&Path>) -> Result<Self> {
        let issuer = tls.issuer.as_ref();
        Ok(Self {
            ca: read(&tls.ca)?,
            cert: read(&tls.cert)?,
            key: read(&tls.key)?,
            issuer: issuer.map(|issuer| Ok::<_, Fault>((read(&issuer.cert)?, read(&issuer.key)?))).transpose()?,
            renewed: kept.map(read_if_there).transpose()?.flatten(),
        })
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::invalid(format!("could not read `{}`", path.display()))
            .hint("the user of the service must own the folder of its data")
            .because(error)),
    }
}

/// What was made of them.
pub(super) struct Loaded {
    pub bytes: Bytes,
    pub name: NodeId,
    pub own: Facts,
    /// Newest first.
    pub roots: Vec<Facts>,
    /// Whether the newest root vouches for the own certificate.
    pub is_of_newest_root: bool,
    pub issuing: Option<Issuing>,
}

/// What this node may sign others' certificates with.
pub(super) struct Issuing {
    pub signer: Issuer<'static, KeyPair>,
    pub certificate: CertificateDer<'static>,
    pub facts: Facts,
}

/// Reads the files and judges them.
pub(super) fn load(tls: &Tls, kept: Option<&Path>) -> Result<(Loaded, Shown)> {
    let bytes = Bytes::read(tls, kept)?;
    let roots = certificates(&bytes.ca, &tls.ca)?;
    let trusted = store(&roots, &tls.ca)?;
    let configured = pair((&bytes.cert, &tls.cert), (&bytes.key, &tls.key)).and_then(|pair| pair.good(&trusted, tls));
    let renewed = match (&bytes.renewed, kept) {
        (Some(bytes), Some(path)) => pair((bytes, path), (bytes, path)).and_then(|pair| pair.good(&trusted, tls)).ok(),
        _ => None,
    };
    let Pair { own, name, certified } = match (configured, renewed) {
        // One for another node is nobody's renewal: the machine was given another name.
        (Ok(one), Some(other)) if other.name == one.name && other.own.made_s() > one.own.made_s() => other,
        (Ok(one), _) => one,
        (Err(_), Some(other)) => other,
        (Err(fault), None) => return Err(fault),
    };
    let issuing = match (&bytes.issuer, &tls.issuer) {
        (Some((cert, key)), Some(paths)) => Some(issuing((cert, &paths.cert), (key, &paths.key))?),
        _ => None,
    };
    let newest = store(roots.get(..1).unwrap_or_default(), &tls.ca)?;
    let is_of_newest_root = Shown::new(certified.clone(), newest)?.judge(&certified.cert, UnixTime::now()).is_ok();
    let facts = roots.iter().map(|root| Facts::of(root).ok_or_else(|| bad_file(&tls.ca, "holds no X.509 certificate")));
    let roots = facts.collect::<Result<_>>()?;
    let shown = Shown::new(certified, trusted)?;
    Ok((Loaded { bytes, name, own, roots, is_of_newest_root, issuing }, shown))
}

/// A renewed certificate in `text`, judged by what the node trusts, and whether it is of the newest root.
pub(super) fn renewed(tls: &Tls, text: &[u8], path: &Path) -> Result<(Pair, bool)> {
    let roots = certificates(&read(&tls.ca)?, &tls.ca)?;
    let pair = pair((text, path), (text, path))?.good(&store(&roots, &tls.ca)?, tls)?;
    let newest = store(roots.get(..1).unwrap_or_default(), &tls.ca)?;
    let is_of_newest = Shown::new(pair.certified.clone(), newest)?.judge(&pair.certified.cert, UnixTime::now()).is_ok();
    Ok((pair, is_of_newest))
}

/// A certificate with its key.
pub(super) struct Pair {
    pub name: NodeId,
    pub own: Facts,
    pub certified: Arc<CertifiedKey>,
}

type File<'a> = (&'a [u8], &'a Path);

impl Pair {
    /// Itself, when `roots` vouch for it.
    fn good(self, roots: &Arc<RootCertStore>, tls: &Tls) -> Result<Self> {
        let verdict = Shown::new(self.certified.clone(), roots.clone())?.judge(&self.certified.cert, UnixTime::now());
        let Err(error) = verdict else { return Ok(self) };
        let message = format!("the certificate of `{}` in `{}` {}", self.name, tls.cert.display(), reason(&error));
        Err(Fault::invalid(message).hint(format!(
            "issue a new one with `tmctl ca issue {}` from the CA in `{}`",
            self.name,
            tls.ca.display()
        )))
    }
}

fn pair((cert, cert_path): File<'_>, (key, key_path): File<'_>) -> Result<Pair> {
    let chain = certificates(cert, cert_path)?;
    let first = chain.first().ok_or_else(|| bad_file(cert_path, "holds no certificate"))?;
    let own = Facts::of(first).ok_or_else(|| bad_file(cert_path, "holds no X.509 certificate"))?;
    let name = own.node().ok_or_else(|| bad_file(cert_path, "names no node"))?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| bad_file(key_path, "holds no private key").because(error))?;
    let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        let text = format!("is not the key of the certificate in `{}`", cert_path.display());
        bad_file(key_path, &text).because(error)
    })?;
    Ok(Pair { name, own, certified: Arc::new(certified) })
}

fn issuing((cert, cert_path): File<'_>, (key, key_path): File<'_>) -> Result<Issuing> {
    let certificate = certificates(cert, cert_path)?.swap_remove(0);
    let facts = Facts::of(&certificate).ok_or_else(|| bad_file(cert_path, "holds no X.509 certificate"))?;
    let key = std::str::from_utf8(key).map_err(|error| bad_file(key_path, "is not text").because(error))?;
    let key = KeyPair::from_pem(key).map_err(|error| bad_file(key_path, "holds no private key").because(error))?;
    Ok(Issuing { signer: signer(&certificate, key, cert_path, key_path)?, certificate, facts })
}

fn store(roots: &[CertificateDer<'static>], path: &Path) -> Result<Arc<RootCertStore>> {
    let mut store = RootCertStore::empty();
    for root in roots {
        let added = store.add(root.clone());
        added.map_err(|error| bad_file(path, "holds a certificate that cannot be used").because(error))?;
    }
    Ok(Arc::new(store))
}

/// The certificates in `bytes`, which `path` holds; at least one.
fn certificates(bytes: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad_file(path, "is not PEM").because(error))?;
    if certificates.is_empty() {
        return Err(bad_file(path, "holds no certificate"));
    }
    Ok(certificates)
}
