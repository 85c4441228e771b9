//! A CA's key on the disk: PKCS#8, encrypted with a passphrase (scrypt and AES-256), as `openssl pkcs8` reads it too.
//!
//! The work of scrypt is the most that openssl does unasked (N = 2^14), so a long passphrase has to carry the weight.

use std::fmt;
use std::path::Path;

use base::{Fault, Result};
use pkcs8::der::pem::LineEnding;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use rcgen::KeyPair;

use crate::tls::bad_file;

const SEALED: &str = "ENCRYPTED PRIVATE KEY";

/// Whoever guesses it signs for every node, and guessing needs nothing but the file.
const CHARACTERS_AT_LEAST: usize = 8;

/// What opens a CA's key. Never shown.
#[derive(Clone)]
pub struct Passphrase(String);

impl Passphrase {
    /// One that is not too easy to guess; the newline at the end of a file does not count.
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.chars().count() < CHARACTERS_AT_LEAST {
            return Err(Fault::invalid(format!("the passphrase is shorter than {CHARACTERS_AT_LEAST} characters"))
                .hint("take a long one, such as `openssl rand -base64 24` makes, and keep it apart from the folder"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// The text of a key that only `passphrase` opens.
pub(super) fn seal(key: &KeyPair, passphrase: &Passphrase) -> Result<String> {
    let cannot = |error: pkcs8::Error| Fault::internal("could not encrypt the key of the CA").because(error);
    let bare = PrivateKeyInfoRef::try_from(key.serialized_der()).map_err(cannot)?;
    let sealed = bare.encrypt(&passphrase.0).map_err(cannot)?;
    let pem = sealed.to_pem(SEALED, LineEnding::LF).map_err(|error| cannot(error.into()))?;
    Ok(pem.to_string())
}

/// The key in `text`, which `path` holds.
pub(super) fn open(text: &str, path: &Path, passphrase: &Passphrase) -> Result<KeyPair> {
    let unreadable = || bad_file(path, "holds no private key");
    if !text.contains(SEALED) {
        return KeyPair::from_pem(text).map_err(|error| unreadable().because(error));
    }
    let (_, sealed) = SecretDocument::from_pem(text).map_err(|error| unreadable().because(error))?;
    let sealed =
        EncryptedPrivateKeyInfoRef::try_from(sealed.as_bytes()).map_err(|error| unreadable().because(error))?;
    let wrong = || {
        Fault::new(base::Code::PermissionDenied, format!("the passphrase does not open `{}`", path.display())).hint(
            "the one that `tmctl ca init` was given opens it; without it, make a new CA with `tmctl ca init --next`",
        )
    };
    let bare = sealed.decrypt(&passphrase.0).map_err(|error| wrong().because(error))?;
    KeyPair::try_from(bare.as_bytes()).map_err(|error| wrong().because(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_passphrase_opens_a_key() {
        let key = KeyPair::generate().unwrap();
        let (right, wrong) = (Passphrase::new("correct horse\n").unwrap(), Passphrase::new("battery staple").unwrap());
        let text = seal(&key, &right).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
        let path = Path::new("ca.key");
        assert_eq!(open(&text, path, &right).unwrap().serialized_der(), key.serialized_der());
        let fault = open(&text, path, &wrong).unwrap_err();
        assert_eq!(fault.message, "the passphrase does not open `ca.key`");
        assert!(fault.hint.is_some());
    }

    #[test]
    fn a_short_passphrase_is_refused_and_none_is_shown() {
        assert!(Passphrase::new("1234567\n").unwrap_err().hint.is_some());
        assert_eq!(format!("{:?}", Passphrase::new("correct horse").unwrap()), "Passphrase");
    }
}
