//! How a certificate is renewed without people: a node that holds an issuer signs a new key for the name and the addresses
//! that the old certificate proves, and for nothing else.

use std::time::Duration;

use base::{Code, Fault, Result};
use rcgen::KeyPair;

use super::{Identity, files};
use crate::ca::{NODE_LIFETIME, Order, issued_to, new_key, pem_of, request, requested_key, write_whole};
use crate::certificate::Facts;

/// Why a certificate is to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Less than a third of its life is left.
    Ends,
    /// It belongs to a root that is being replaced.
    OldRoot,
}

/// A key that wants a certificate.
pub struct Request {
    key: KeyPair,
    /// What the issuer is sent.
    pub csr: Vec<u8>,
}

/// Whether a certificate is to be renewed at `now_s`, seconds since the Unix epoch.
fn due(certificate: &Facts, is_of_newest_root: bool, now_s: i64) -> Option<Due> {
    let life = certificate.ends_s.saturating_sub(certificate.begins_s);
    let left = certificate.ends_s.saturating_sub(now_s);
    if left.saturating_mul(3) <= life {
        return Some(Due::Ends);
    }
    (!is_of_newest_root).then_some(Due::OldRoot)
}

impl Identity {
    /// Whether the certificate that is shown is to be renewed.
    pub fn due(&self, now_s: i64) -> Option<Due> {
        let loaded = self.loaded();
        due(&loaded.own, loaded.is_of_newest_root, now_s)
    }

    /// A new key, to be signed.
    pub fn request(&self) -> Result<Request> {
        let key = new_key()?;
        let csr = request(&key)?;
        Ok(Request { key, csr })
    }

    /// Whether this node holds an issuer.
    pub fn issues(&self) -> bool {
        self.loaded().issuing.is_some()
    }

    /// Signs the key of `csr` for the node that `certificate` proves: the same name and addresses. Gives the chain, the
    /// node's own first.
    pub fn issue_for(&self, certificate: &Facts, csr: &[u8], now_s: i64) -> Result<Vec<Vec<u8>>> {
        let loaded = self.loaded();
        let Some(issuing) = &loaded.issuing else {
            return Err(Fault::new(Code::NotSupported, format!("node `{}` issues no certificates", self.name))
                .hint("`tmctl ca issuer NAME` makes what it needs, for `tls.issuer_cert` and `tls.issuer_key`"));
        };
        let name = certificate.node().ok_or_else(|| Fault::invalid("the certificate names no node"))?;
        // What outlives its issuer is worthless from then on.
        let left = u64::try_from(issuing.facts.ends_s.saturating_sub(now_s)).unwrap_or(0);
        if left == 0 {
            return Err(Fault::unavailable(format!("the issuer of node `{}` has expired", self.name))
                .hint(format!("make the next one with `tmctl ca issuer {} --yes`", self.name)));
        }
        let lifetime = NODE_LIFETIME.min(Duration::from_secs(left));
        let order = Order { name: name.as_str(), addresses: &certificate.addresses, lifetime };
        let (made, _) = issued_to(&order, &requested_key(csr)?, &issuing.signer, None)?;
        Ok(vec![made.der().to_vec(), issuing.certificate.to_vec()])
    }

    /// Takes on the certificate that `request` got at `now_s`: for this node, good, and better than the one that is shown,
    /// in what that one was due for. Written down before it is shown.
    pub fn adopt(&self, request: &Request, chain: &[Vec<u8>], now_s: i64) -> Result<()> {
        let Some(kept) = &self.kept else {
            return Err(Fault::internal("there is no folder for a renewed certificate"));
        };
        let mut text = request.key.serialize_pem();
        for certificate in chain {
            text.push_str(&pem_of(&certificate.as_slice().into())?);
        }
        let before = self.loaded();
        let (renewed, is_of_newest_root) = files::renewed(&self.tls, text.as_bytes(), kept)?;
        if renewed.name != self.name || !before.own.addresses.iter().all(|one| renewed.own.addresses.contains(one)) {
            return Err(Fault::new(Code::Conflict, "the issuer signed another name or other addresses"));
        }
        // A little longer of the old root would be due again at once.
        let is_better = match due(&before.own, before.is_of_newest_root, now_s) {
            Some(Due::OldRoot) => is_of_newest_root,
            _ => renewed.own.ends_s > before.own.ends_s && (is_of_newest_root || !before.is_of_newest_root),
        };
        if !is_better {
            return Err(Fault::unavailable("the issuer signed nothing better than what is there")
                .hint("after `tmctl ca init --next` it needs a new one: `tmctl ca issuer NAME --yes`"));
        }
        let folder = kept.parent().ok_or_else(|| Fault::internal("there is no folder for a renewed certificate"))?;
        std::fs::create_dir_all(folder).and_then(|()| write_whole(kept, &text, 0o600)).map_err(|error| {
            Fault::internal(format!("could not write `{}`", kept.display()))
                .hint("the user of the service must own the folder of its data")
                .because(error)
        })?;
        self.look_again()?;
        match self.loaded().own.serial == renewed.own.serial {
            true => Ok(()),
            false => Err(Fault::internal("the renewed certificate is older than the one of the configuration")
                .hint("check the clocks of the nodes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Serial;

    const DAY: i64 = 86_400;

    #[test]
    fn a_certificate_is_due_from_a_third_of_its_life_on_and_when_its_root_goes() {
        let certificate = Facts {
            subject: "a".to_owned(),
            addresses: vec!["a".to_owned()],
            serial: Serial::parse("1").unwrap(),
            begins_s: 0,
            ends_s: 90 * DAY,
            is_ca: false,
            weakness: None,
        };
        for (is_of_newest, now_s, wanted) in [
            (true, 0, None),
            (true, 60 * DAY - 1, None),
            (true, 60 * DAY, Some(Due::Ends)),
            (true, 100 * DAY, Some(Due::Ends)),
            (false, 0, Some(Due::OldRoot)),
            (false, 60 * DAY, Some(Due::Ends)),
        ] {
            assert_eq!(due(&certificate, is_of_newest, now_s), wanted, "{is_of_newest} {now_s}");
        }
    }
}
