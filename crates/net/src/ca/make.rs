//! What stands in the certificates that the CA makes, and for how long they last.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::{Fault, Result};
use pkcs8::der::pem::{self, LineEnding};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::{ISSUER, Order};
use crate::certificate::CLOCK_SKEW_S;
use crate::tls::server_name;

const DAY: Duration = Duration::from_secs(86_400);
const ROOT_LIFETIME: Duration = Duration::from_secs(3650 * DAY.as_secs());
const ISSUER_LIFETIME: Duration = Duration::from_secs(365 * DAY.as_secs());
/// How long the certificate of a node lasts.
pub const NODE_LIFETIME: Duration = Duration::from_secs(90 * DAY.as_secs());

/// Below the root at most an issuer, below an issuer only nodes.
const BELOW_ROOT: u8 = 1;
const BELOW_ISSUER: u8 = 0;

type Made = (Certificate, i64);

/// A root with its key, and when it ends. Its subject tells it from the one before: readers look an issuer up by that.
pub(super) fn root() -> Result<(Certificate, KeyPair, i64)> {
    let key = new_key()?;
    let mut params = ca_params(&format!("Taskmaster cluster CA of {}", now_s()?), BELOW_ROOT);
    let ends_s = set_lifetime(&mut params, ROOT_LIFETIME, None)?;
    let certificate = params.self_signed(&key).map_err(|error| cannot_make("the CA", error))?;
    Ok((certificate, key, ends_s))
}

pub(super) fn issuer(name: &str, key: &KeyPair, root: &Issuer<'_, KeyPair>) -> Result<Made> {
    let mut params = ca_params(&format!("Taskmaster issuer at {name}, of {}", now_s()?), BELOW_ISSUER);
    params.use_authority_key_identifier_extension = true;
    let ends_s = set_lifetime(&mut params, ISSUER_LIFETIME, None)?;
    let certificate = params.signed_by(key, root).map_err(|error| cannot_make(name, error))?;
    Ok((certificate, ends_s))
}

/// The certificate of a node for the key `key`. Made after `after_s`, so that what was revoked until then does not cover it.
pub(crate) fn issued_to(
    order: &Order<'_>,
    key: &impl PublicKeyData,
    issuer: &Issuer<'_, KeyPair>,
    after_s: Option<i64>,
) -> Result<Made> {
    let mut params = node_params(order.name, order.addresses)?;
    let ends_s = set_lifetime(&mut params, order.lifetime, after_s)?;
    let certificate = params.signed_by(key, issuer).map_err(|error| cannot_make(order.name, error))?;
    Ok((certificate, ends_s))
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

/// A request to sign `key`; it says nothing else, since an issuer believes nothing else.
pub(crate) fn request(key: &KeyPair) -> Result<Vec<u8>> {
    let request = CertificateParams::default().serialize_request(key);
    Ok(request.map_err(|error| cannot_make("a request", error))?.der().to_vec())
}

/// The key that a request wants signed; its signature proves that the sender has the private part.
pub(crate) fn requested_key(request: &[u8]) -> Result<impl PublicKeyData> {
    let request = CertificateSigningRequestDer::from(request.to_vec());
    let parsed = CertificateSigningRequestParams::from_der(&request)
        .map_err(|error| Fault::invalid("the request for a certificate cannot be read").because(error))?;
    Ok(parsed.public_key)
}

/// A name becomes a file name and a DNS name, so it must be harmless as both.
pub fn check_name(name: &str) -> Result<()> {
    server_name(name)?;
    if ["ca", "crl", "localhost"].contains(&name) || name.ends_with(ISSUER) || name.parse::<IpAddr>().is_ok() {
        return Err(Fault::invalid(format!("`{name}` cannot be the name of a node"))
            .hint("use the machine's name, such as grey-area"));
    }
    Ok(())
}

pub(crate) fn new_key() -> Result<KeyPair> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| cannot_make("a key", error))
}

/// The text of a certificate.
pub(crate) fn pem_of(certificate: &CertificateDer<'_>) -> Result<String> {
    pem::encode_string("CERTIFICATE", LineEnding::LF, certificate)
        .map_err(|error| Fault::internal("could not write a certificate").because(error))
}

fn ca_params(name: &str, below: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) fn now_s() -> Result<i64> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| Fault::internal("the clock of this machine stands before 1970").because(error))?;
    Ok(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

/// Sets when the certificate begins and ends; returns the end.
fn set_lifetime(params: &mut CertificateParams, lifetime: Duration, after_s: Option<i64>) -> Result<i64> {
    let made_s = now_s()?.max(after_s.map_or(0, |after_s| after_s + 1));
    let ends_s = made_s.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
    let at = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs());
    params.not_before = at(made_s - CLOCK_SKEW_S);
    params.not_after = at(ends_s);
    Ok(ends_s)
}

pub(super) fn cannot_make(what: &str, error: rcgen::Error) -> Fault {
    Fault::internal(format!("could not make the certificate or key of {what}")).because(error)
}
