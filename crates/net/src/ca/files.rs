//! Files of certificates and keys: whole or not at all, and never readable by others where they are secret.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};

use super::Issued;
use crate::tls::{bad_file, read};

/// What happens to files that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and the call fails.
    Keep,
    /// They are replaced.
    Replace,
}

/// A fault when one of `paths` is there and shall stay.
pub(super) fn check_absent(paths: &[&PathBuf], existing: Existing) -> Result<()> {
    match paths.iter().find(|path| path.exists()) {
        Some(there) if existing == Existing::Keep => {
            Err(Fault::new(Code::Conflict, format!("`{}` exists already", there.display()))
                .hint("add --yes to replace it, or choose another folder"))
        }
        _ => Ok(()),
    }
}

/// Writes a certificate and its key.
pub(super) fn write_pair(
    (certificate, key): (PathBuf, PathBuf),
    (certificate_pem, key_pem): (&str, &str),
    ends_s: i64,
) -> Result<Issued> {
    write(&key, key_pem, 0o600)?;
    write(&certificate, certificate_pem, 0o644)?;
    let expires_ms = u64::try_from(ends_s).unwrap_or(0).saturating_mul(1000);
    Ok(Issued { certificate, key, expires_ms })
}

pub(super) fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    write_whole(path, text, mode).map_err(|error| {
        Fault::internal(format!("could not write `{}`", path.display()))
            .hint("check that the directory exists and may be written")
            .because(error)
    })
}

/// Writes beside and renames, so that a reader never sees half a file and a key is never readable by others.
pub(crate) fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
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

/// Removes a file; that it is not there is well.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Fault::internal(format!("could not remove `{}`", path.display())).because(error))
        }
        _ => Ok(()),
    }
}

pub(super) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| bad_file(path, "is not text").because(error))
}
