//! Small files that are replaced as a whole: after a crash there is the old one or the new one.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use base::{Code, Fault};

/// Writes a file anew; it is on the disk when this returns.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    put(&new, path)
}

/// Puts a finished file in the place of another; its new name is on the disk when this returns.
pub(super) fn put(new: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(new, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Waits until the names in a folder are on the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What is told to people when the disk says no.
pub(super) fn disk(what: &str, path: &Path, error: io::Error) -> Fault {
    let (code, hint) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (Code::StorageFull, "make room on that disk"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (Code::PermissionDenied, "let the user that runs `tmd` write there")
        }
        _ => (Code::Internal, "look at the disk; a folder of vectors may be deleted, they are made anew"),
    };
    Fault::new(code, format!("could not {what} `{}`", path.display())).because(error).hint(hint)
}
