//! The cluster's own certificate authority: a folder with a root that signs, and what it signed.
//!
//! ECDSA P-256. The root lasts 10 years and its key is encrypted with a passphrase; an issuer below it, which one node may
//! hold so that certificates are renewed without people, lasts a year; a node's certificate 90 days. Keys have mode 0600,
//! and nothing that exists is replaced unless the caller says so.

mod files;
mod list;
mod make;
mod seal;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Code, Fault, Result};
use rcgen::{Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

use crate::certificate::Facts;
use crate::tls::{bad_file, read_certificates};

pub use files::Existing;
pub use list::{Kind, Listed, list, revocations, revoke};
pub use make::{NODE_LIFETIME, check_name};
pub use seal::Passphrase;

pub(crate) use files::write_whole;
#[cfg(test)]
pub(crate) use make::node_params;
pub(crate) use make::{issued_to, new_key, pem_of, request, requested_key};

const ROOTS: &str = "ca.pem";
const ROOT_KEY: &str = "ca.key";
/// What is revoked, for others, such as etcd.
const CRL: &str = "crl.pem";
const ROOT_KEY_BEFORE: &str = "ca.key.old";
/// What follows a node's name in the files of the issuer that it holds.
const ISSUER: &str = "-issuer";

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, mode 0600.
    pub key: PathBuf,
    /// When the certificate ends, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// A certificate that is wanted for a node.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The node's name.
    pub name: &'a str,
    /// Names and addresses that others dial it by; loopback is always among them.
    pub addresses: &'a [String],
    /// For how long.
    pub lifetime: Duration,
}

impl<'a> Order<'a> {
    /// For as long as certificates of nodes last.
    pub fn new(name: &'a str, addresses: &'a [String]) -> Self {
        Self { name, addresses, lifetime: NODE_LIFETIME }
    }
}

/// Makes a CA in `dir`: `ca.pem` to give to every node, `ca.key` to keep safe, and a list of what is revoked, empty as yet.
pub fn init(dir: &Path, passphrase: &Passphrase, existing: Existing) -> Result<Issued> {
    let paths = (dir.join(ROOTS), dir.join(ROOT_KEY));
    files::check_absent(&[&paths.0, &paths.1], existing)?;
    let (certificate, key, ends_s) = make::root()?;
    let issued = files::write_pair(paths, (&certificate.pem(), &seal::seal(&key, passphrase)?), ends_s)?;
    list::write_crl(dir, &open_root(dir, passphrase)?)?;
    Ok(issued)
}

/// Makes the next CA beside the one in `dir`: `ca.pem` holds both from now on, so that nodes trust either, and what is
/// issued is signed by the next.
pub fn next(dir: &Path, passphrase: &Passphrase) -> Result<Issued> {
    let (roots, key_path, key_before) = (dir.join(ROOTS), dir.join(ROOT_KEY), dir.join(ROOT_KEY_BEFORE));
    let before = files::read_text(&roots)?;
    if key_before.exists() {
        return Err(Fault::new(
            Code::Conflict,
            format!("`{}` exists: a CA is being replaced already", key_before.display()),
        )
        .hint("end that first with `tmctl ca retire`, once every node has a certificate of the new one"));
    }
    let (certificate, key, ends_s) = make::root()?;
    let sealed = seal::seal(&key, passphrase)?;
    std::fs::rename(&key_path, &key_before).map_err(|error| {
        Fault::invalid(format!("could not keep `{}` as `{}`", key_path.display(), key_before.display())).because(error)
    })?;
    let issued = files::write_pair((roots, key_path), (&(certificate.pem() + &before), &sealed), ends_s)?;
    list::write_crl(dir, &open_root(dir, passphrase)?)?;
    Ok(issued)
}

/// Takes all roots but the newest out of `ca.pem`; gives those that are gone. Certificates that they signed are refused
/// wherever the new `ca.pem` is.
pub fn retire(dir: &Path) -> Result<Vec<Facts>> {
    let roots = dir.join(ROOTS);
    let certificates = read_certificates(&roots)?;
    let [newest, old @ ..] = certificates.as_slice() else { return Err(bad_file(&roots, "holds no certificate")) };
    if old.is_empty() {
        return Err(Fault::new(Code::NotFound, format!("`{}` holds no old CA", roots.display()))
            .hint("`tmctl ca init --next` makes the next one; the old one can be retired after it"));
    }
    files::write(&roots, &pem_of(newest)?, 0o644)?;
    files::remove(&dir.join(ROOT_KEY_BEFORE))?;
    Ok(old.iter().filter_map(Facts::of).collect())
}

/// Issues a certificate from the CA in `dir`, good as server and as client.
pub fn issue(dir: &Path, passphrase: &Passphrase, order: &Order<'_>, existing: Existing) -> Result<Issued> {
    make::check_name(order.name)?;
    let paths = pair(dir, order.name);
    files::check_absent(&[&paths.0, &paths.1], existing)?;
    let root = open_root(dir, passphrase)?;
    if !dir.join(CRL).exists() {
        // A folder of an earlier release; a member of etcd that is told of the list lets nobody in without it.
        list::write_crl(dir, &root)?;
    }
    let key = new_key()?;
    let after = list::last_revocation_s(dir, order.name)?;
    let (certificate, ends_s) = make::issued_to(order, &key, &root, after)?;
    files::write_pair(paths, (&certificate.pem(), &key.serialize_pem()), ends_s)
}

/// Issues the certificate of `name` anew, with a new key and the addresses that the one in `dir` has.
pub fn renew(dir: &Path, passphrase: &Passphrase, name: &str) -> Result<Issued> {
    make::check_name(name)?;
    let path = pair(dir, name).0;
    let before = read_certificates(&path)?.first().and_then(Facts::of);
    let before = before.ok_or_else(|| bad_file(&path, "holds no X.509 certificate"))?;
    issue(dir, passphrase, &Order::new(name, &before.addresses), Existing::Replace)
}

/// Makes an issuer for the node `name`: a key with which it may sign certificates of nodes, and nothing below them.
pub fn issuer(dir: &Path, passphrase: &Passphrase, name: &str, existing: Existing) -> Result<Issued> {
    make::check_name(name)?;
    let paths = pair(dir, &format!("{name}{ISSUER}"));
    files::check_absent(&[&paths.0, &paths.1], existing)?;
    let root = open_root(dir, passphrase)?;
    let key = new_key()?;
    let (certificate, ends_s) = make::issuer(name, &key, &root)?;
    files::write_pair(paths, (&certificate.pem(), &key.serialize_pem()), ends_s)
}

fn pair(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")))
}

/// The newest root, ready to sign.
fn open_root(dir: &Path, passphrase: &Passphrase) -> Result<Issuer<'static, KeyPair>> {
    let (roots, key_path) = (dir.join(ROOTS), dir.join(ROOT_KEY));
    let key = seal::open(&files::read_text(&key_path)?, &key_path, passphrase)?;
    let certificates = read_certificates(&roots)?;
    let newest = certificates.first().ok_or_else(|| bad_file(&roots, "holds no certificate"))?;
    signer(newest, key, &roots, &key_path)
}

/// A CA's certificate with its key; a fault when they do not belong together.
pub(crate) fn signer(
    certificate: &CertificateDer<'_>,
    key: KeyPair,
    certificate_path: &Path,
    key_path: &Path,
) -> Result<Issuer<'static, KeyPair>> {
    let no_ca = |why: &str| bad_file(certificate_path, why);
    let (_, parsed) =
        parse_x509_certificate(certificate).map_err(|error| no_ca("holds no X.509 certificate").because(error))?;
    if !parsed.is_ca() {
        return Err(no_ca("holds the certificate of a node, which may not sign others"));
    }
    if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
        let text = format!("is not the key of the first certificate in `{}`", certificate_path.display());
        return Err(bad_file(key_path, &text));
    }
    Issuer::from_ca_cert_der(certificate, key).map_err(|error| no_ca("holds no CA certificate").because(error))
}

#[cfg(test)]
pub(crate) mod tests;
