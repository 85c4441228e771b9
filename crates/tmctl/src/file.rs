//! Files that a person names: read whole within a limit, `-` is stdin; written in one step.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};

use crate::text;

/// More than any PRD has, and what a message to a server may carry.
const MAX_BYTES: u64 = 24 << 20;
/// The largest document that a server keeps; its own limit for a message may be lower.
pub const MOST_DOCUMENT: u64 = 64 << 20;

/// What is in a file, or comes on stdin for `-`.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_within(path, MAX_BYTES, "split it into several files")
}

/// The same of a document for the knowledge base.
pub fn read_document(path: &Path) -> Result<Vec<u8>> {
    read_within(
        path,
        MOST_DOCUMENT,
        "no server keeps a larger document; split it, or add what was taken out of it as text",
    )
}

fn read_within(path: &Path, most: u64, hint: &str) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        return within_limit(io::stdin(), "stdin", most, hint);
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| could_not("read", &name, error))?;
    within_limit(file, &name, most, hint)
}

/// The same, as text.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        Fault::invalid(format!("could not read `{}`", path.display())).because(error).hint("give a text file in UTF-8")
    })
}

/// Puts `bytes` in the place of a file, in one step: whoever looks finds the old ones or the new. A link there is replaced,
/// not followed. They outlive a power cut.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    put(path, bytes, true)
}

/// The same for what can be drawn again, and comes in thousands: the disk is not waited for.
pub fn write_drawn(path: &Path, text: &str) -> Result<()> {
    put(path, text.as_bytes(), false)
}

/// The same for bytes.
pub fn write_drawn_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    put(path, bytes, false)
}

/// Writes a file that is not there; answers whether it was not.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    let mut file = match File::options().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        file => file.map_err(|error| could_not("write", &path.display().to_string(), error))?,
    };
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map(|()| true).map_err(|error| could_not("write", &path.display().to_string(), error))
}

fn put(path: &Path, bytes: &[u8], is_kept: bool) -> Result<()> {
    let written = beside(path, bytes, is_kept).and_then(|beside| std::fs::rename(&beside, path));
    written.map_err(|error| could_not("write", &path.display().to_string(), error))
}

/// Writes a new file beside another, under a name that no other process uses and where nothing was.
fn beside(path: &Path, bytes: &[u8], is_kept: bool) -> io::Result<PathBuf> {
    let beside = path.with_added_extension(format!("{}.new", std::process::id()));
    // One that was left behind, or that somebody put there to be followed.
    let _ = std::fs::remove_file(&beside);
    let mut file = File::options().write(true).create_new(true).open(&beside)?;
    file.write_all(bytes)?;
    if is_kept {
        file.sync_all()?;
    }
    Ok(beside)
}

fn within_limit(from: impl Read, name: &str, most: u64, hint: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes).map_err(|error| could_not("read", name, error))?;
    if bytes.len() as u64 > most {
        let fault = Fault::new(Code::TooLarge, format!("`{name}` is larger than {}", text::size(most)));
        return Err(fault.hint(hint));
    }
    Ok(bytes)
}

/// Why a file could not be read or written.
pub fn could_not(what: &str, name: &str, error: io::Error) -> Fault {
    let code = if error.kind() == io::ErrorKind::NotFound { Code::NotFound } else { Code::InvalidArgument };
    Fault::new(code, format!("could not {what} `{name}`")).because(error).hint("look at the path and its rights")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::fault_text;

    #[test]
    fn a_file_that_another_process_writes_at_the_same_time_is_none_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("note.json");
        let of_other = folder.path().join("note.json.new");
        std::fs::write(&of_other, "half").unwrap();
        write(&path, b"whole").unwrap();
        assert_eq!(std::fs::read(&of_other).unwrap(), b"half");
        assert_eq!((write_new(&path, b"other").unwrap(), std::fs::read(&path).unwrap()), (false, b"whole".to_vec()));
        assert!(write_new(&folder.path().join("first"), b"x").unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing is left beside them");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("picture");
        write(&picture, &[0xff, 0xfe]).unwrap();
        assert_eq!(read(&picture).unwrap(), [0xff, 0xfe]);
        let large = within_limit(io::repeat(b'x'), "stdin", MAX_BYTES, "split it into several files").unwrap_err();
        let faults = [read(&folder.path().join("none")).unwrap_err(), read_text(&picture).unwrap_err(), large];
        let text: String = faults.iter().map(fault_text).collect();
        insta::assert_snapshot!("file_faults", text.replace(&folder.path().display().to_string(), "FOLDER"));
    }
}
