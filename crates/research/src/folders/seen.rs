//! What files were like when they were read last: a table of this node alone, so that a file is not read again unless it
//! was touched. Losing it costs reading all files once; their bytes decide whether anything changed. Keys of the table are
//! hashes: a path tells of what is in a file, and keys are not sealed.

use std::collections::{HashMap, HashSet};

use base::{Fault, Result};
use serde::{Deserialize, Serialize};

use super::Content;
use super::files::Stamp;
use crate::blocking;
use crate::names::{BlobId, CollectionName};

/// A file as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What it was like from outside.
    pub stamp: Stamp,
    /// Its bytes; `None`: they are no document.
    pub blob: Option<BlobId>,
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Noted {
    source: String,
    seen: Seen,
}

/// What was seen of one folder, by source.
pub struct SeenFiles {
    table: store::Table,
    prefix: String,
    files: HashMap<String, Seen>,
}

impl SeenFiles {
    /// What was seen below the sources that begin with `below`. Blocks.
    pub fn load(table: store::Table, collection: &CollectionName, below: &str) -> Result<Self> {
        let prefix = format!("{collection}\n");
        let mut files = HashMap::new();
        for entry in table.scan(prefix.as_bytes()) {
            // An entry that cannot be read is one that is not there.
            let Ok((key, value)) = entry else { continue };
            match serde_json::from_slice::<Noted>(&value) {
                Ok(Noted { source, seen }) if source.starts_with(below) => drop(files.insert(source, seen)),
                Ok(_) => {}
                // An earlier release's, under its path.
                Err(_) => table.remove(&key)?,
            }
        }
        Ok(Self { table, prefix, files })
    }

    /// What is known of a file's content without reading it.
    pub fn content(&self, source: &str, stamp: &Stamp) -> Content {
        match self.files.get(source) {
            Some(seen) if seen.stamp == *stamp => seen.blob.map_or(Content::Unfit, Content::Same),
            _ => Content::Unread,
        }
    }

    /// Remembers files as they were read, by their sources.
    pub async fn note(&mut self, seen: Vec<(String, Seen)>) -> Result<()> {
        let (table, prefix) = (self.table.clone(), self.prefix.clone());
        let noted = blocking(move || {
            for (source, seen) in &seen {
                let noted = Noted { source: source.clone(), seen: *seen };
                let value = serde_json::to_vec(&noted)
                    .map_err(|error| Fault::internal("could not note a file").because(error))?;
                table.put(key(&prefix, source).as_bytes(), &value)?;
            }
            Ok(seen)
        });
        self.files.extend(noted.await?);
        Ok(())
    }

    /// Forgets files that `are_there` does not name and that `is_own` claims. Blocks.
    pub fn keep_only(&mut self, are_there: &HashSet<&str>, is_own: impl Fn(&str) -> bool) -> Result<()> {
        let gone = |source: &&String| !are_there.contains(source.as_str()) && is_own(source);
        let gone: Vec<String> = self.files.keys().filter(gone).cloned().collect();
        for source in gone {
            self.table.remove(key(&self.prefix, &source).as_bytes())?;
            self.files.remove(&source);
        }
        Ok(())
    }
}

fn key(prefix: &str, source: &str) -> String {
    format!("{prefix}{}", BlobId::of(source.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use store::Local;

    use super::*;
    use crate::folders::files;

    fn stamp(root: &Path, name: &str) -> Stamp {
        files::read(root, &root.join(name)).unwrap().unwrap().1.unwrap()
    }

    #[tokio::test]
    async fn a_file_that_was_not_touched_need_not_be_read_after_a_restart_either() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::write(root.join("a"), "text").unwrap();
        let (house, below) = (CollectionName::parse("house").unwrap(), "file://h/docs/");
        let load = |local: &Local, below: &str| SeenFiles::load(local.table("seen").unwrap(), &house, below).unwrap();
        let (a, blob) = (stamp(&root, "a"), BlobId::of(b"text"));
        let local = Local::open(&root.join("local")).unwrap().store;
        let mut seen = load(&local, below);
        assert_eq!(seen.content("file://h/docs/a", &a), Content::Unread);
        let of = |source: &str, blob| (source.to_owned(), Seen { stamp: a, blob });
        seen.note(vec![of("file://h/docs/a", Some(blob)), of("file://h/docs/b", None)]).await.unwrap();
        drop((seen, local));

        let local = Local::open(&root.join("local")).unwrap().store;
        let mut seen = load(&local, below);
        assert_eq!(seen.content("file://h/docs/a", &a), Content::Same(blob));
        assert_eq!(seen.content("file://h/docs/b", &a), Content::Unfit);
        fs::write(root.join("a"), "next").unwrap();
        assert_eq!(seen.content("file://h/docs/a", &stamp(&root, "a")), Content::Unread);
        assert_eq!(load(&local, "file://h/other/").content("file://h/docs/a", &a), Content::Unread);
        seen.keep_only(&["file://h/docs/a"].into(), |_| true).unwrap();
        assert_eq!(load(&local, below).content("file://h/docs/b", &a), Content::Unread);
    }
}
