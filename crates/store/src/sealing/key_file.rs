//! The files with keys: 32 random bytes as base64 or hex, readable by their owner (and the group that systemd's access
//! lists show up as), and by nobody else.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use base::{Fault, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Seal;

/// How long a key is.
pub const KEY_BYTES: usize = 32;

/// No file with a key is longer; spaces and line ends may stand around it.
const MOST_FILE_BYTES: u64 = 1024;

/// What anybody may do with a file.
const OTHERS: u32 = 0o007;

/// 32 random bytes have about 30 different ones; fewer than this were never drawn, they were typed.
const LEAST_DIFFERENT: usize = 16;

const MAKE_ONE: &str = "make one with `tmctl store key`, and keep a copy of it apart from this machine";

/// The keys in these files: what is written is sealed under the first one, the old ones still open.
pub fn read(current: &Path, old: &[impl AsRef<Path>]) -> Result<Seal> {
    let old = old.iter().map(|path| key_in(path.as_ref())).collect::<Result<Vec<_>>>()?;
    Ok(Seal::with_keys(key_in(current)?, &old))
}

fn key_in(path: &Path) -> Result<[u8; KEY_BYTES]> {
    let at = path.display();
    let unreadable = |error| Fault::invalid(format!("could not read the key in `{at}`")).because(error).hint(MAKE_ONE);
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if about.mode() & OTHERS != 0 {
        return Err(Fault::invalid(format!("anybody on this machine may read the key in `{at}`"))
            .hint(format!("`chmod 600 {at}`; if others had a login here, take a new key")));
    }
    let mut text = String::new();
    file.take(MOST_FILE_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    let key = decode(text.trim()).ok_or_else(|| {
        Fault::invalid(format!("`{at}` does not hold a key of {KEY_BYTES} bytes, in base64 or hex")).hint(MAKE_ONE)
    })?;
    if different(&key) < LEAST_DIFFERENT {
        return Err(Fault::invalid(format!("the key in `{at}` is not random")).hint(MAKE_ONE));
    }
    Ok(key)
}

fn decode(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() == 2 * KEY_BYTES && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let digits = text.as_bytes().as_chunks::<2>().0.iter();
        let bytes = digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        return bytes.collect::<Option<Vec<u8>>>()?.try_into().ok();
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn different(key: &[u8; KEY_BYTES]) -> usize {
    key.iter().collect::<std::collections::BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn refusal(text: &str, mode: u32) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let fault = read(&path, &[] as &[&Path]).err()?;
        assert!(fault.hint.is_some());
        Some(fault.message.replace(&*path.to_string_lossy(), "KEY"))
    }

    #[test]
    fn a_key_that_was_made_is_read_back_and_none_is_like_another() {
        let (one, two) = (net::random::key().unwrap(), net::random::key().unwrap());
        assert_ne!(one, two);
        assert_eq!(refusal(&format!("{one}\n"), 0o400), None);
        assert_eq!(refusal(&one, 0o440), None);
        let hex: String = STANDARD.decode(&one).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(decode(&hex), decode(&one));
        assert_eq!(refusal(&hex, 0o600), None);
    }

    #[test]
    fn short_weak_and_open_files_are_refused() {
        let key = net::random::key().unwrap();
        let no_key = "`KEY` does not hold a key of 32 bytes, in base64 or hex";
        assert_eq!(refusal(&key[..40], 0o600).unwrap(), no_key);
        assert_eq!(refusal("correct horse battery staple", 0o600).unwrap(), no_key);
        assert_eq!(refusal("", 0o600).unwrap(), no_key);
        assert_eq!(refusal(&"+1".repeat(32), 0o600).unwrap(), no_key);
        assert_eq!(refusal(&"0123456789abcdef".repeat(4), 0o600).unwrap(), "the key in `KEY` is not random");
        assert_eq!(refusal(&key, 0o604).unwrap(), "anybody on this machine may read the key in `KEY`");
        assert!(read(Path::new("none"), &[] as &[&Path]).unwrap_err().hint.is_some());
    }
}
