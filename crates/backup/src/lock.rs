//! Locking a backup with age: for a public key, or under a passphrase. Whoever has the private key, or the passphrase,
//! opens it, with this program or with `age`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use age::secrecy::SecretString;
use base::{Code, Fault, Result};

/// A passphrase that is shorter is guessed.
const LEAST_PASSPHRASE: usize = 12;
/// No file with a key or a passphrase is longer.
const MOST_FILE_BYTES: u64 = 64 << 10;
/// What anybody may do with a file.
const OTHERS: u32 = 0o007;
/// Work for a passphrase that is not believed to be honest: 2 to this power.
const MOST_WORK: u8 = 22;

/// For whom a backup is locked.
#[derive(Clone)]
pub enum Lock {
    /// Whoever has the private part of this public key.
    Recipient(age::x25519::Recipient),
    /// Whoever knows this.
    Passphrase(SecretString),
}

/// What opens a backup.
pub enum Unlock {
    /// Private keys.
    Identities(Vec<Box<dyn age::Identity + Send + Sync>>),
    /// A passphrase.
    Passphrase(SecretString),
}

impl Lock {
    /// For a public key, `age1…`.
    pub fn recipient(key: &str) -> Result<Self> {
        key.trim().parse().map(Self::Recipient).map_err(|why: &str| {
            Fault::invalid(format!("`{key}` is no public key of age: {why}"))
                .hint("`age-keygen -o backup.key` makes a pair, and shows the public part")
        })
    }

    /// Under the passphrase in a file.
    pub fn passphrase_file(path: &Path) -> Result<Self> {
        Ok(Self::Passphrase(passphrase_in(path)?))
    }

    /// What is written to this is locked in `to`. It has to be finished.
    pub fn wrap<W: Write>(&self, to: W) -> Result<age::stream::StreamWriter<W>> {
        let encryptor = match self {
            Self::Recipient(recipient) => {
                age::Encryptor::with_recipients(std::iter::once(recipient as &dyn age::Recipient))
                    .map_err(|error| Fault::internal("could not lock the backup").because(error))?
            }
            Self::Passphrase(passphrase) => age::Encryptor::with_user_passphrase(passphrase.clone()),
        };
        encryptor.wrap_output(to).map_err(|error| Fault::internal("could not begin the backup").because(error))
    }
}

impl Unlock {
    /// With the private keys in a file, as `age-keygen` writes it.
    pub fn identity_file(path: &Path) -> Result<Self> {
        let text = secret_in(path, "key")?;
        let wrong = || {
            Fault::invalid(format!("`{}` holds no private key of age", path.display()))
                .hint("give the file that `age-keygen` wrote")
        };
        let file = age::IdentityFile::from_buffer(text.as_bytes()).map_err(|error| wrong().because(error))?;
        let identities = file.into_identities().map_err(|error| wrong().because(error))?;
        if identities.is_empty() {
            return Err(wrong());
        }
        Ok(Self::Identities(identities))
    }

    /// With the passphrase in a file.
    pub fn passphrase_file(path: &Path) -> Result<Self> {
        Ok(Self::Passphrase(passphrase_in(path)?))
    }

    /// What is locked in `from`.
    pub fn open<R: BufRead>(&self, from: R) -> Result<impl Read + use<R>> {
        let locked = age::Decryptor::new_buffered(from).map_err(cannot_open)?;
        if locked.is_scrypt() != matches!(self, Self::Passphrase(_)) {
            let (is, give) = match locked.is_scrypt() {
                true => ("under a passphrase", "--passphrase-file"),
                false => ("for a key", "--identity"),
            };
            return Err(Fault::invalid(format!("this backup is locked {is}")).hint(format!("give {give}")));
        }
        let opened = match self {
            Self::Identities(identities) => locked.decrypt(identities.iter().map(|one| &**one as &dyn age::Identity)),
            Self::Passphrase(passphrase) => {
                let mut identity = age::scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(MOST_WORK);
                locked.decrypt(std::iter::once(&identity as &dyn age::Identity))
            }
        };
        opened.map_err(cannot_open)
    }

    /// What is locked in a file.
    pub fn open_file(&self, path: &Path) -> Result<impl Read + use<>> {
        let file = File::open(path).map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::NotFound => Code::NotFound,
                _ => Code::InvalidArgument,
            };
            Fault::new(code, format!("could not read `{}`", path.display())).because(error).hint("look at the path")
        })?;
        self.open(BufReader::new(file))
    }
}

fn cannot_open(error: age::DecryptError) -> Fault {
    let hint = match &error {
        age::DecryptError::NoMatchingKeys | age::DecryptError::KeyDecryptionFailed => {
            "give the key, or the passphrase, that it was made for"
        }
        age::DecryptError::InvalidMac | age::DecryptError::InvalidHeader | age::DecryptError::UnknownFormat => {
            "its beginning is damaged, or it is no backup: take another one"
        }
        _ => "take another backup: this one is refused as a whole",
    };
    Fault::invalid(format!("could not open the backup: {error}")).hint(hint)
}

fn passphrase_in(path: &Path) -> Result<SecretString> {
    let text = secret_in(path, "passphrase")?;
    let passphrase = text.trim_end_matches(['\r', '\n']);
    if passphrase.len() < LEAST_PASSPHRASE {
        return Err(Fault::invalid(format!("the passphrase in `{}` is too short", path.display()))
            .hint(format!("take at least {LEAST_PASSPHRASE} characters, such as `openssl rand -base64 24` makes")));
    }
    Ok(SecretString::from(passphrase.to_owned()))
}

fn secret_in(path: &Path, what: &str) -> Result<String> {
    let at = path.display();
    let unreadable =
        |error| Fault::invalid(format!("could not read the {what} in `{at}`")).because(error).hint("look at the path");
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.mode() & OTHERS != 0 {
        return Err(Fault::invalid(format!("anybody on this machine may read the {what} in `{at}`"))
            .hint(format!("`chmod 600 {at}`")));
    }
    let mut text = String::new();
    file.take(MOST_FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use age::secrecy::ExposeSecret as _;

    use super::*;

    fn file(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn locked(lock: &Lock, plain: &[u8]) -> Vec<u8> {
        let mut to = lock.wrap(Vec::new()).unwrap();
        to.write_all(plain).unwrap();
        to.finish().unwrap()
    }

    fn opened(unlock: &Unlock, locked: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let mut plain = Vec::new();
        let mut from = unlock.open(locked).map_err(|fault| fault.message)?;
        from.read_to_end(&mut plain).map_err(|error| error.to_string())?;
        Ok(plain)
    }

    #[test]
    fn what_is_locked_for_a_key_opens_with_it_and_with_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        let lock = Lock::recipient(&own.to_public().to_string()).unwrap();
        let secret = vec![7; 200_000];
        let backup = locked(&lock, &secret);
        let unlock = |identity: &age::x25519::Identity| {
            Unlock::identity_file(&file(dir.path(), "key", identity.to_string().expose_secret())).unwrap()
        };
        assert_eq!(opened(&unlock(&own), &backup).unwrap(), secret);
        assert!(opened(&unlock(&other), &backup).is_err());
        for at in (0..backup.len()).step_by(9_973) {
            let mut junk = backup.clone();
            junk[at] ^= 1;
            assert!(opened(&unlock(&own), &junk).is_err(), "byte {at}");
        }
        assert!(opened(&unlock(&own), &backup[..backup.len() - 1]).is_err());
    }

    #[test]
    fn a_passphrase_opens_what_it_locked_and_short_or_open_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "passphrase", "a heron in shallow water\n");
        let backup = locked(&Lock::passphrase_file(&path).unwrap(), b"secret");
        assert_eq!(opened(&Unlock::passphrase_file(&path).unwrap(), &backup).unwrap(), b"secret");
        let other = file(dir.path(), "other", "another heron in the water");
        assert!(opened(&Unlock::passphrase_file(&other).unwrap(), &backup).is_err());
        let key = file(dir.path(), "key", age::x25519::Identity::generate().to_string().expose_secret());
        let refused = opened(&Unlock::identity_file(&key).unwrap(), &backup).unwrap_err();
        assert_eq!(refused, "this backup is locked under a passphrase");
        assert!(Lock::passphrase_file(&file(dir.path(), "short", "heron")).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Lock::passphrase_file(&path).is_err());
        assert!(Lock::recipient("age1none").is_err());
    }
}
