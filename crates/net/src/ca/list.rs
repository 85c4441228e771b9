//! What a CA's folder holds, and what was revoked of it: `revoked.json` for this program, `crl.pem` for others, such as etcd.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Code, Fault, NodeId, Result};
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber};

use super::{CRL, Passphrase, ROOTS, files, make, open_root};
use crate::certificate::{Facts, Revocation, Serial, is_revoked};
use crate::tls::{bad_file, read_certificates};

const REVOKED: &str = "revoked.json";

/// A list of revoked certificates ends, too; etcd reads it at each handshake and does not look at its end.
const CRL_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A root that signs.
    Root,
    /// A root that is still trusted, and signs no more.
    OldRoot,
    /// Held by a node, to renew certificates of nodes.
    Issuer,
    /// A node's own.
    Node,
}

impl Kind {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "ca",
            Self::OldRoot => "old-ca",
            Self::Issuer => "issuer",
            Self::Node => "node",
        }
    }
}

/// A certificate in the folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is for.
    pub kind: Kind,
    /// What stands in it.
    pub facts: Facts,
    /// Whether it is refused before its time.
    pub is_revoked: bool,
}

/// Every certificate in the folder: roots first, then by file name. A file that cannot be read is a fault.
pub fn list(dir: &Path) -> Result<Vec<Listed>> {
    let roots = dir.join(ROOTS);
    let revoked = revocations(dir)?;
    let mut listed = Vec::new();
    for (at, certificate) in read_certificates(&roots)?.iter().enumerate() {
        let facts = Facts::of(certificate).ok_or_else(|| bad_file(&roots, "holds no X.509 certificate"))?;
        let kind = if at == 0 { Kind::Root } else { Kind::OldRoot };
        listed.push(Listed { path: roots.clone(), kind, facts, is_revoked: false });
    }
    for path in certificate_files(dir)? {
        let first = read_certificates(&path)?.first().and_then(Facts::of);
        let facts = first.ok_or_else(|| bad_file(&path, "holds no X.509 certificate"))?;
        let kind = if facts.is_ca { Kind::Issuer } else { Kind::Node };
        let is_revoked = is_revoked(&revoked, &facts);
        listed.push(Listed { path, kind, facts, is_revoked });
    }
    Ok(listed)
}

/// What was revoked so far.
pub fn revocations(dir: &Path) -> Result<Vec<Revocation>> {
    let path = dir.join(REVOKED);
    if !path.exists() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&files::read_text(&path)?).map_err(|error| {
        Fault::invalid(format!("`{}` is not as `tmctl ca revoke` writes it", path.display()))
            .hint("bring it back from a copy: without it, revoked certificates would be listed as good")
            .because(error)
    })
}

/// Revokes every certificate that the node `what` has so far, or the one with the number `what`. Gives what is to be told to
/// the nodes.
pub fn revoke(dir: &Path, passphrase: &Passphrase, what: &str) -> Result<Vec<Revocation>> {
    let listed = list(dir)?;
    let at_s = make::now_s()?;
    let node = NodeId::from(what);
    let of_node: Vec<_> =
        listed.iter().filter(|one| one.kind == Kind::Node && one.facts.node().as_ref() == Some(&node)).collect();
    let fresh: Vec<Revocation> = match Serial::parse(what) {
        _ if !of_node.is_empty() => {
            // The numbers are for readers of the list, which know nothing of names.
            let serials = of_node.iter().map(|one| Revocation::Serial { serial: one.facts.serial.clone(), at_s });
            serials.chain([Revocation::Node { node, at_s }]).collect()
        }
        Some(serial) if !listed.iter().any(|one| one.kind == Kind::Root && one.facts.serial == serial) => {
            vec![Revocation::Serial { serial, at_s }]
        }
        Some(_) => {
            return Err(Fault::invalid("a root cannot be revoked")
                .hint("replace it: `tmctl ca init --next`, and `tmctl ca retire` once every node has a certificate of the new one"));
        }
        None => {
            let message = format!("`{}` has no certificate of a node `{what}`", dir.display());
            return Err(Fault::new(Code::NotFound, message).hint("`tmctl ca show` lists names and serials"));
        }
    };
    let mut all = revocations(dir)?;
    all.retain(|one| !fresh.iter().any(|other| other.key() == one.key()));
    all.extend_from_slice(&fresh);
    let list = signed(&open_root(dir, passphrase)?, &all)?;
    let text = serde_json::to_string_pretty(&all)
        .map_err(|error| Fault::internal("could not write the revocations").because(error))?;
    files::write(&dir.join(CRL), &list, 0o644)?;
    files::write(&dir.join(REVOKED), &text, 0o644)?;
    Ok(fresh)
}

/// When `node` was revoked last.
pub(super) fn last_revocation_s(dir: &Path, node: &str) -> Result<Option<i64>> {
    let of_node = |one: &Revocation| match one {
        Revocation::Node { node: revoked, at_s } if revoked.as_str() == node => Some(*at_s),
        _ => None,
    };
    Ok(revocations(dir)?.iter().filter_map(of_node).max())
}

/// Writes the list of what was revoked so far, signed by `root`. It is there from the first day: who is told to read one lets
/// nobody in without it.
pub(super) fn write_crl(dir: &Path, root: &Issuer<'_, KeyPair>) -> Result<()> {
    let list = signed(root, &revocations(dir)?)?;
    files::write(&dir.join(CRL), &list, 0o644)
}

fn signed(root: &Issuer<'_, KeyPair>, revocations: &[Revocation]) -> Result<String> {
    let at = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs());
    let revoked = |one: &Revocation| match one {
        Revocation::Serial { serial, at_s } => Some(RevokedCertParams {
            serial_number: SerialNumber::from(serial.to_bytes()),
            revocation_time: at(*at_s),
            reason_code: None,
            invalidity_date: None,
        }),
        Revocation::Node { .. } => None,
    };
    let now_s = make::now_s()?;
    let list = CertificateRevocationListParams {
        this_update: at(now_s),
        next_update: at(now_s) + CRL_LIFETIME,
        crl_number: SerialNumber::from(now_s.unsigned_abs()),
        issuing_distribution_point: None,
        revoked_certs: revocations.iter().filter_map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let signed = list.signed_by(root).and_then(|list| list.pem());
    signed.map_err(|error| make::cannot_make("the list of what is revoked", error))
}

fn certificate_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error| Fault::invalid(format!("could not look into `{}`", dir.display())).because(error);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_other = path.file_name().is_some_and(|name| name == ROOTS || name == CRL);
        if path.extension().is_some_and(|end| end == "pem") && !is_other {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
