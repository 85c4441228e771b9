//! What a certificate says of itself: whose it is, for how long, under which number; and which are refused although a CA of
//! ours signed them.

use std::fmt;

use base::NodeId;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::public_key::PublicKey;

/// Clocks at home disagree; a certificate is good from this long before it was made.
pub(crate) const CLOCK_SKEW_S: i64 = 86_400;

/// Shorter RSA keys can be broken by whoever wants to.
const RSA_BITS_AT_LEAST: usize = 2048;
const CURVE_BITS_AT_LEAST: usize = 256;

/// The number of a certificate, in lower-case hex without leading zeros, as `openssl x509 -serial` shows it but for case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(String);

impl Serial {
    /// Reads one as people write it: hex, in any case, with or without colons.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
        let is_hex = !digits.is_empty() && digits.len() <= 42 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self::of_digits(&digits))
    }

    /// Its bytes, most significant first.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let even = if self.0.len().is_multiple_of(2) { self.0.clone() } else { format!("0{}", self.0) };
        let pairs = even.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
        pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
    }

    fn of_digits(digits: &str) -> Self {
        let bare = digits.trim_start_matches('0');
        Self(if bare.is_empty() { "0".to_owned() } else { bare.to_owned() })
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its subject, for people.
    pub subject: String,
    /// The names and addresses that it is for, in its order; a node's own name is the first.
    pub addresses: Vec<String>,
    /// Its number.
    pub serial: Serial,
    /// When it begins, in seconds since the Unix epoch.
    pub begins_s: i64,
    /// When it ends.
    pub ends_s: i64,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Why its key is too weak to prove anything.
    pub(crate) weakness: Option<String>,
}

impl Facts {
    /// Reads them; `None` when that is no X.509 certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let subject = common_name.map_or_else(|| parsed.subject().to_string(), str::to_owned);
        let digits: String = parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Self {
            subject,
            addresses: addresses(&parsed),
            serial: Serial::of_digits(&digits),
            begins_s: parsed.validity().not_before.timestamp(),
            ends_s: parsed.validity().not_after.timestamp(),
            is_ca: parsed.is_ca(),
            weakness: weakness(&parsed),
        })
    }

    /// The node that it belongs to: the first DNS name in it.
    pub fn node(&self) -> Option<NodeId> {
        self.addresses.iter().find(|name| name.parse::<std::net::IpAddr>().is_err()).map(|name| NodeId::from(&**name))
    }

    /// When it was made, as far as the CAs of this program say: they let it begin a while before.
    pub fn made_s(&self) -> i64 {
        self.begins_s.saturating_add(CLOCK_SKEW_S)
    }
}

/// The node that a certificate belongs to.
pub fn node_name(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    Facts::of(certificate)?.node()
}

fn addresses(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|v4| std::net::IpAddr::from(v4).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|v6| std::net::IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

fn weakness(certificate: &X509Certificate<'_>) -> Option<String> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < RSA_BITS_AT_LEAST => {
            Some(format!("has a weak key: RSA of {} bits", key.key_size()))
        }
        Ok(PublicKey::EC(key)) if key.key_size() < CURVE_BITS_AT_LEAST => {
            Some(format!("has a weak key: a curve of {} bits", key.key_size()))
        }
        Ok(PublicKey::DSA(_)) => Some("has a weak key: DSA".to_owned()),
        _ => None,
    }
}

/// What is refused from now on, before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// One certificate.
    Serial {
        /// Its number.
        serial: Serial,
        /// When it was revoked, in seconds since the Unix epoch.
        at_s: i64,
    },
    /// Every certificate of a node that was made until then: also those that it had renewed by itself.
    Node {
        /// The node's name.
        node: NodeId,
        /// When it was revoked.
        at_s: i64,
    },
}

impl Revocation {
    fn covers(&self, facts: &Facts) -> bool {
        match self {
            Self::Serial { serial, .. } => *serial == facts.serial,
            Self::Node { node, at_s } => facts.node().as_ref() == Some(node) && facts.made_s() <= *at_s,
        }
    }

    /// When it was made, in seconds since the Unix epoch.
    pub fn at_s(&self) -> i64 {
        match self {
            Self::Serial { at_s, .. } | Self::Node { at_s, .. } => *at_s,
        }
    }

    /// What it is called where it is kept.
    pub fn key(&self) -> String {
        match self {
            Self::Serial { serial, .. } => format!("serial-{serial}"),
            Self::Node { node, .. } => format!("node-{node}"),
        }
    }
}

/// Whether one of `revocations` refuses the certificate.
pub fn is_revoked(revocations: &[Revocation], facts: &Facts) -> bool {
    revocations.iter().any(|revocation| revocation.covers(facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(node: &str, serial: &str, made_s: i64) -> Facts {
        Facts {
            subject: node.to_owned(),
            addresses: vec![node.to_owned(), "10.0.0.1".to_owned()],
            serial: Serial::parse(serial).unwrap(),
            begins_s: made_s - CLOCK_SKEW_S,
            ends_s: made_s + 1000,
            is_ca: false,
            weakness: None,
        }
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        for text in ["0aBc", "A:BC", "abc", "00:0A:BC"] {
            assert_eq!(Serial::parse(text).unwrap().to_string(), "abc", "{text}");
        }
        assert_eq!(Serial::parse("0abc").unwrap().to_bytes(), [0x0a, 0xbc]);
        for text in ["", "grey-area", "0x1", &"f".repeat(50)] {
            assert_eq!(Serial::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_revoked_node_comes_back_with_what_is_made_after() {
        let revoked = [
            Revocation::Node { node: NodeId::from("a"), at_s: 100 },
            Revocation::Serial { serial: Serial::parse("77").unwrap(), at_s: 100 },
        ];
        for (one, wanted) in [
            (facts("a", "1", 99), true),
            (facts("a", "1", 100), true),
            (facts("a", "1", 101), false),
            (facts("b", "1", 99), false),
            (facts("b", "77", 200), true),
        ] {
            assert_eq!(is_revoked(&revoked, &one), wanted, "{one:?}");
        }
    }
}
