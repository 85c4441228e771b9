//! What a new machine needs to become a node, as one line of text: its certificate and key, the CA, and where the store is.

use base::{Fault, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Tells a code from other texts, and this form from later ones.
const MARK: &str = "tmj1-";

/// Certificates are small; anything longer is something else.
const CODE_BYTES_AT_MOST: usize = 64 << 10;

/// All of it. A secret: the key is in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    /// The node's name, which is in its certificate.
    pub name: String,
    /// How others reach it: a name or an address.
    pub host: String,
    /// The cluster's CA, PEM.
    pub ca: String,
    /// The node's certificate, PEM.
    pub cert: String,
    /// The certificate's key, PEM.
    pub key: String,
    /// URLs of the members of etcd.
    pub endpoints: Vec<String>,
    /// Below what the cluster keeps its data there.
    pub prefix: String,
    /// What the nodes of the house have in common besides; the strictest where the code says nothing.
    #[serde(default)]
    pub house: House,
}

/// What holds for every node of a cluster, and so for one that joins. Words as they stand in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct House {
    /// `auth.keys`.
    pub keys: String,
    /// `privacy.mode`.
    pub mode: String,
    /// `privacy.lock`.
    pub lock: bool,
    /// `privacy.local_percent`.
    pub local_percent: Option<u32>,
    /// `privacy.local_ranges`; empty: as the program has them.
    pub local_ranges: Vec<String>,
    /// `[backup]`, where any node may have to make one.
    pub backup: Option<Backup>,
}

impl Default for House {
    /// What opens nothing.
    fn default() -> Self {
        Self {
            keys: "store".to_owned(),
            mode: "local-only".to_owned(),
            lock: true,
            local_percent: None,
            local_ranges: Vec::new(),
            backup: None,
        }
    }
}

/// `[backup]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The folder.
    pub to: String,
    /// From one to the next, in seconds.
    pub every_s: u64,
    /// How many are kept.
    pub keep: u32,
    /// Whose age key opens them.
    pub recipient: String,
}

impl Joining {
    /// In one line.
    pub fn to_code(&self) -> Result<String> {
        let json =
            serde_json::to_vec(self).map_err(|error| Fault::internal("could not write the code").because(error))?;
        Ok(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(json)))
    }

    /// Reads what [`to_code`](Self::to_code) wrote.
    pub fn from_code(code: &str) -> Result<Self> {
        let wrong = || {
            Fault::invalid("that is no code of `tmctl node add`, or a part of it is missing")
                .hint("copy the whole line that it printed")
        };
        let code = code.trim();
        let body = code.strip_prefix(MARK).filter(|_| code.len() <= CODE_BYTES_AT_MOST).ok_or_else(wrong)?;
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|error| wrong().because(error))?;
        serde_json::from_slice(&json).map_err(|error| wrong().because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_one_line_and_comes_back_whole_or_not_at_all() {
        let text = |text: &str| text.to_owned();
        let joining = Joining {
            name: text("nas"),
            host: text("10.0.0.7"),
            ca: text("ca\n"),
            cert: text("cert\n"),
            key: text("key\n"),
            endpoints: vec![text("http://grey-area:2379")],
            prefix: text("/taskmaster/home"),
            house: House { lock: false, ..House::default() },
        };
        let code = joining.to_code().unwrap();
        assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{code}");
        assert!(Joining::from_code(&format!(" {code}\n")).unwrap() == joining);
        let huge = format!("{MARK}{}", "A".repeat(CODE_BYTES_AT_MOST));
        for wrong in ["", "tmj1-", "nas", &code[1..], &code[..code.len() / 2], &huge] {
            assert!(Joining::from_code(wrong).err().unwrap().hint.is_some());
        }
    }

    #[test]
    fn a_code_of_an_older_release_opens_nothing() {
        let body = r#"{"name":"nas","host":"nas","ca":"","cert":"","key":"","endpoints":[],"prefix":"/p"}"#;
        let house = Joining::from_code(&format!("{MARK}{}", URL_SAFE_NO_PAD.encode(body))).unwrap().house;
        assert_eq!((house.keys.as_str(), house.mode.as_str(), house.lock), ("store", "local-only", true));
    }
}
