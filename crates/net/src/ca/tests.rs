//! A CA's folder from its first day to the day that its root is replaced.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustls::RootCertStore;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use std::sync::Arc;

use super::*;
use crate::certificate::Serial;

pub(crate) fn passphrase() -> Passphrase {
    Passphrase::new("correct horse").unwrap()
}

fn house() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), &passphrase(), Existing::Keep).unwrap();
    dir
}

fn issue_to(dir: &tempfile::TempDir, name: &str) -> Result<Issued> {
    issue(dir.path(), &passphrase(), &Order::new(name, &["192.168.1.9".to_owned()]), Existing::Keep)
}

/// Whether `roots` vouch for the chain.
fn is_trusted(roots: &[CertificateDer<'static>], chain: &[CertificateDer<'static>]) -> bool {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let provider = crate::identity::provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
    verifier.verify_client_cert(&chain[0], &chain[1..], UnixTime::now()).is_ok()
}

#[test]
fn keys_are_readable_by_their_owner_alone_and_the_roots_is_encrypted() {
    let dir = house();
    let node = issue_to(&dir, "grey-area").unwrap();
    for key in [&dir.path().join("ca.key"), &node.key] {
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(fs::read_to_string(dir.path().join("ca.key")).unwrap().contains("BEGIN ENCRYPTED PRIVATE KEY"));
    assert_eq!(node.certificate, dir.path().join("grey-area.pem"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5, "these, and the list of what is revoked");
}

#[test]
fn nothing_is_replaced_unless_told() {
    let dir = house();
    let key = fs::read(dir.path().join("ca.key")).unwrap();
    assert_eq!(init(dir.path(), &passphrase(), Existing::Keep).unwrap_err().code, Code::Conflict);
    assert_eq!(fs::read(dir.path().join("ca.key")).unwrap(), key);
    init(dir.path(), &passphrase(), Existing::Replace).unwrap();
    assert_ne!(fs::read(dir.path().join("ca.key")).unwrap(), key);
}

#[test]
fn a_name_that_could_harm_is_refused() {
    let dir = house();
    for name in ["", "ca", "crl", "localhost", "../up", "a/b", "10.0.0.1", "a b", "ä", "a-issuer"] {
        assert_eq!(issue_to(&dir, name).unwrap_err().code, Code::InvalidArgument, "{name}");
    }
}

#[test]
fn issuing_without_a_ca_names_the_file_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let fault = issue_to(&dir, "grey-area").unwrap_err();
    assert!(fault.message.contains("ca.key"), "{fault:?}");
}

#[test]
fn a_wrong_passphrase_signs_nothing() {
    let dir = house();
    let wrong = Passphrase::new("battery staple").unwrap();
    let fault = issue(dir.path(), &wrong, &Order::new("a", &[]), Existing::Keep).unwrap_err();
    assert_eq!(fault.code, Code::PermissionDenied);
    assert!(!dir.path().join("a.pem").exists());
}

#[test]
fn an_issuer_signs_nodes_and_no_further_issuer() {
    let dir = house();
    let held = issuer(dir.path(), &passphrase(), "nas", Existing::Keep).unwrap();
    let roots = read_certificates(&dir.path().join("ca.pem")).unwrap();
    let own = read_certificates(&held.certificate).unwrap().remove(0);
    let key = KeyPair::from_pem(&fs::read_to_string(&held.key).unwrap()).unwrap();
    let signer = signer(&own, key, &held.certificate, &held.key).unwrap();
    let node_key = new_key().unwrap();
    let (node, _) = issued_to(&Order::new("grey-area", &[]), &node_key, &signer, None).unwrap();
    assert!(is_trusted(&roots, &[node.der().clone(), own.clone()]));
    assert!(!is_trusted(&roots, &[node.der().clone()]), "nobody knows the issuer without its certificate");

    // It makes another issuer all the same; nobody believes what that one signs.
    let second_key = new_key().unwrap();
    let (second, _) = make::issuer("evil", &second_key, &signer).unwrap();
    let second_der = second.der().clone();
    let second = Issuer::from_ca_cert_der(&second_der, second_key).unwrap();
    let (forged, _) = issued_to(&Order::new("grey-area", &[]), &node_key, &second, None).unwrap();
    assert!(!is_trusted(&roots, &[forged.der().clone(), second_der, own]));
}

#[test]
fn the_next_root_is_trusted_beside_the_old_one_until_that_is_retired() {
    let dir = house();
    let old_leaf = read_certificates(&issue_to(&dir, "a").unwrap().certificate).unwrap();
    next(dir.path(), &passphrase()).unwrap();
    assert_eq!(next(dir.path(), &passphrase()).unwrap_err().code, Code::Conflict, "one at a time");
    let new_leaf = read_certificates(&issue_to(&dir, "b").unwrap().certificate).unwrap();
    let both = read_certificates(&dir.path().join("ca.pem")).unwrap();
    assert_eq!(both.len(), 2);
    assert!(is_trusted(&both, &old_leaf) && is_trusted(&both, &new_leaf));
    assert!(is_trusted(&both[..1], &new_leaf) && !is_trusted(&both[..1], &old_leaf), "the newest stands first");

    assert_eq!(retire(dir.path()).unwrap().len(), 1);
    let one = read_certificates(&dir.path().join("ca.pem")).unwrap();
    assert_eq!(one, both[..1]);
    assert_eq!(retire(dir.path()).unwrap_err().code, Code::NotFound);
    next(dir.path(), &passphrase()).unwrap();
}

#[test]
fn renewing_keeps_the_addresses_and_changes_the_key() {
    let dir = house();
    let first = issue_to(&dir, "a").unwrap();
    let (before, key) = (read_certificates(&first.certificate).unwrap(), fs::read(&first.key).unwrap());
    let renewed = renew(dir.path(), &passphrase(), "a").unwrap();
    let after = read_certificates(&renewed.certificate).unwrap();
    let (before, after) = (Facts::of(&before[0]).unwrap(), Facts::of(&after[0]).unwrap());
    assert_eq!(before.addresses, after.addresses);
    assert_ne!(before.serial, after.serial);
    assert_ne!(fs::read(&renewed.key).unwrap(), key);
}

/// The numbers on the list for others.
fn on_the_list(dir: &tempfile::TempDir) -> Vec<Serial> {
    let crl = rustls::pki_types::CertificateRevocationListDer::from_pem_file(dir.path().join("crl.pem")).unwrap();
    let (_, crl) = x509_parser::parse_x509_crl(&crl).unwrap();
    crl.iter_revoked_certificates()
        .map(|one| one.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        .filter_map(|digits| Serial::parse(&digits))
        .collect()
}

#[test]
fn the_list_of_what_is_revoked_is_there_from_the_first_day_and_keeps_what_is_on_it() {
    let dir = house();
    assert_eq!(on_the_list(&dir), []);
    issue_to(&dir, "a").unwrap();
    revoke(dir.path(), &passphrase(), "a").unwrap();
    let on_it = on_the_list(&dir);
    assert_eq!(on_it.len(), 1);
    next(dir.path(), &passphrase()).unwrap();
    assert_eq!(on_the_list(&dir), on_it, "and the next root signs it");

    // A folder that an earlier release made has none; it comes with the next certificate.
    fs::remove_file(dir.path().join("crl.pem")).unwrap();
    issue_to(&dir, "b").unwrap();
    assert_eq!(on_the_list(&dir), on_it);
}

#[test]
fn what_is_there_already_is_said_with_the_option_that_replaces_it() {
    let dir = house();
    issue_to(&dir, "a").unwrap();
    assert!(issue_to(&dir, "a").unwrap_err().hint.unwrap().contains("--yes"));
}

#[test]
fn what_is_revoked_is_listed_and_on_the_list_for_others() {
    let dir = house();
    issue_to(&dir, "a").unwrap();
    let b = issue_to(&dir, "b").unwrap();
    let serial = Facts::of(&read_certificates(&b.certificate).unwrap()[0]).unwrap().serial;
    assert_eq!(revoke(dir.path(), &passphrase(), "a").unwrap().len(), 2, "the number, and whatever else it has");
    assert_eq!(revoke(dir.path(), &passphrase(), &serial.to_string()).unwrap().len(), 1);
    assert_eq!(revoke(dir.path(), &passphrase(), "nobody").unwrap_err().code, Code::NotFound);
    let listed = list(dir.path()).unwrap();
    let names: Vec<_> = listed.iter().map(|one| (one.kind.as_str(), one.is_revoked)).collect();
    assert_eq!(names, [("ca", false), ("node", true), ("node", true)]);
    let root = listed[0].facts.serial.to_string();
    assert!(revoke(dir.path(), &passphrase(), &root).unwrap_err().message.contains("root"));

    let mut numbers = on_the_list(&dir);
    let mut wanted: Vec<_> = listed[1..].iter().map(|one| one.facts.serial.clone()).collect();
    numbers.sort();
    wanted.sort();
    assert_eq!(numbers, wanted);

    // A new certificate of a revoked node is good at once.
    issue(dir.path(), &passphrase(), &Order::new("a", &[]), Existing::Replace).unwrap();
    assert!(!list(dir.path()).unwrap()[1].is_revoked);
}
