//! The cluster's own certificate authority: two files made once, and two more per node.
//!
//! ECDSA P-256; the CA lasts 10 years, a node's certificate 90 days. Keys are written with mode 0600, and nothing that
//! exists is replaced unless the caller says so.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::{Code, Fault, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::tls::{bad_file, read, server_name};

const DAY: Duration = Duration::from_secs(86_400);
const CA_LIFETIME: Duration = Duration::from_secs(3650 * DAY.as_secs());
const NODE_LIFETIME: Duration = Duration::from_secs(90 * DAY.as_secs());

/// Clocks at home disagree; a certificate is good from this long before it was made.
const CLOCK_SKEW: Duration = DAY;

/// What happens to files that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and the call fails.
    Keep,
    /// They are replaced.
    Replace,
}

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

/// Makes a CA in `dir`: `ca.pem` to give to every node, `ca.key` to keep safe.
pub fn init(dir: &Path, existing: Existing) -> Result<Issued> {
    let (key, mut params) = (new_key()?, CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, "Taskmaster cluster CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let expires_ms = set_lifetime(&mut params, CA_LIFETIME)?;
    let certificate = params.self_signed(&key).map_err(|error| cannot_make("the CA", error))?;
    write_pair(dir, "ca", (&certificate.pem(), &key.serialize_pem()), existing, expires_ms)
}

/// Issues a certificate for the node `name` from the CA in `dir`, good as server and as client, valid also for each of
/// `addresses` (names or IP addresses) and for loopback.
pub fn issue(dir: &Path, name: &str, addresses: &[String], existing: Existing) -> Result<Issued> {
    check_name(name)?;
    let (ca_pem, ca_key) = (dir.join("ca.pem"), dir.join("ca.key"));
    let issuer_key = KeyPair::from_pem(&read_text(&ca_key)?)
        .map_err(|error| bad_file(&ca_key, "holds no private key").because(error))?;
    let issuer = Issuer::from_ca_cert_pem(&read_text(&ca_pem)?, issuer_key)
        .map_err(|error| bad_file(&ca_pem, "holds no CA certificate").because(error))?;
    let (key, mut params) = (new_key()?, node_params(name, addresses)?);
    let expires_ms = set_lifetime(&mut params, NODE_LIFETIME)?;
    let certificate = params.signed_by(&key, &issuer).map_err(|error| cannot_make(name, error))?;
    write_pair(dir, name, (&certificate.pem(), &key.serialize_pem()), existing, expires_ms)
}

/// The node's name stands first: that is where readers of a certificate look for it.
pub(crate) fn node_params(name: &str, addresses: &[String]) -> Result<CertificateParams> {
    let mut names = vec![name.to_owned()];
    let loopback = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    for address in addresses.iter().chain(&loopback) {
        if !names.contains(address) {
            server_name(address)?;
            names.push(address.clone());
        }
    }
    let mut params = CertificateParams::new(names).map_err(|error| cannot_make(name, error))?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A name becomes a file name and a DNS name, so it must be harmless as both.
fn check_name(name: &str) -> Result<()> {
    server_name(name)?;
    if name == "ca" || name == "localhost" || name.parse::<IpAddr>().is_ok() {
        return Err(Fault::invalid(format!("`{name}` cannot be the name of a node"))
            .hint("use the machine's name, such as grey-area"));
    }
    Ok(())
}

fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| cannot_make("a key", error))
}

/// Sets when the certificate begins and ends; returns the end.
fn set_lifetime(params: &mut CertificateParams, lifetime: Duration) -> Result<u64> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| Fault::internal("the clock of this machine stands before 1970").because(error))?;
    params.not_before = epoch + now.saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + now + lifetime;
    Ok(u64::try_from((now + lifetime).as_millis()).unwrap_or(u64::MAX))
}

fn write_pair(
    dir: &Path,
    name: &str,
    (certificate_pem, key_pem): (&str, &str),
    existing: Existing,
    expires_ms: u64,
) -> Result<Issued> {
    let (certificate, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    if existing == Existing::Keep
        && let Some(there) = [&certificate, &key].into_iter().find(|path| path.exists())
    {
        return Err(Fault::new(Code::Conflict, format!("`{}` exists already", there.display()))
            .hint("say that it shall be replaced, or choose another directory"));
    }
    for (path, text, mode) in [(&key, key_pem, 0o600), (&certificate, certificate_pem, 0o644)] {
        write_whole(path, text, mode).map_err(|error| {
            Fault::internal(format!("could not write `{}`", path.display()))
                .hint("check that the directory exists and may be written")
                .because(error)
        })?;
    }
    Ok(Issued { certificate, key, expires_ms })
}

/// Writes beside and renames, so that a reader never sees half a file and a key is never readable by others.
fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| bad_file(path, "is not text").because(error))
}

fn cannot_make(what: &str, error: rcgen::Error) -> Fault {
    Fault::internal(format!("could not make the certificate or key of {what}")).because(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_readable_by_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let ca = init(dir.path(), Existing::Keep).unwrap();
        let node = issue(dir.path(), "grey-area", &["192.168.1.9".to_owned()], Existing::Keep).unwrap();
        for key in [&ca.key, &node.key] {
            assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(node.certificate, dir.path().join("grey-area.pem"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn nothing_is_replaced_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        let first = init(dir.path(), Existing::Keep).unwrap();
        let key = fs::read(&first.key).unwrap();
        assert_eq!(init(dir.path(), Existing::Keep).unwrap_err().code, Code::Conflict);
        assert_eq!(fs::read(&first.key).unwrap(), key);
        init(dir.path(), Existing::Replace).unwrap();
        assert_ne!(fs::read(&first.key).unwrap(), key);
        assert_eq!(fs::metadata(&first.key).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_name_that_could_harm_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        init(dir.path(), Existing::Keep).unwrap();
        for name in ["", "ca", "localhost", "../up", "a/b", "10.0.0.1", "a b", "ä"] {
            assert_eq!(issue(dir.path(), name, &[], Existing::Keep).unwrap_err().code, Code::InvalidArgument, "{name}");
        }
    }

    #[test]
    fn issuing_without_a_ca_names_the_file_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let fault = issue(dir.path(), "grey-area", &[], Existing::Keep).unwrap_err();
        assert!(fault.message.contains("ca.key"), "{fault:?}");
    }
}
