//! The stream: `TMBACKUP` and a version, then frames, each `kind u8 · name length u32 · body length u64 · name · body ·
//! SHA-256 of all that`; numbers are little-endian.
//!
//! The first frame says what the backup is of, the last one how many there were and what they add up to: a stream
//! without it is torn. Files come before the entries that name them, jobs come last.

use std::collections::BTreeMap;
use std::io::{self, Read};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 9] = b"TMBACKUP\x01";
/// The version of the stream that this release writes and reads.
pub const FORMAT: u32 = 1;
/// No key is longer.
const MOST_NAME: u32 = 4096;
/// No document that a node keeps is larger, and no value.
const MOST_BODY: u64 = 256 << 20;
const HEAD: usize = 13;

const ABOUT: u8 = 1;
const ENTRY: u8 = 2;
const FILE: u8 = 3;
const END: u8 = 4;

/// SHA-256.
pub type Hash = [u8; 32];

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The version of the stream.
    pub format: u32,
    /// The release that wrote it.
    pub release: String,
    /// The node that wrote it.
    pub node: String,
    /// When, Unix milliseconds.
    pub taken_ms: u64,
    /// The revision of the store that it is a picture of.
    pub revision: u64,
}

/// What a whole backup adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Keys with values.
    pub entries: u64,
    /// Files of documents.
    pub files: u64,
    /// Bytes of values and files.
    pub bytes: u64,
    /// What all keys and values hash to; see [`Keyspace`].
    pub keyspace: String,
    /// What the hashes of all frames before this one hash to.
    pub whole: String,
    /// Keys whose values could not be read, with why; they are not in it.
    pub damaged: BTreeMap<String, String>,
    /// Files that no node had.
    pub missing: Vec<String>,
}

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first one.
    About(About),
    /// A key of the store and its value.
    Entry {
        /// Without the store's prefix.
        key: String,
        /// As it was put.
        value: Vec<u8>,
    },
    /// A file of a document.
    File {
        /// Its name, which is the hash of its bytes.
        name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The last one.
    End(Manifest),
}

/// What keys and values hash to, in whichever order they come.
#[derive(Clone, Debug, Default)]
pub struct Keyspace(BTreeMap<Hash, Hash>);

/// Why a stream is no good.
#[derive(Debug, thiserror::Error)]
pub enum BadBackup {
    /// It does not begin like one.
    #[error("this is no backup of Taskmaster")]
    NoBackup,
    /// Made by a later release.
    #[error("the backup has format {found}, and this release knows {FORMAT}")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// It stops before its end.
    #[error("the backup is torn: it ends after {after}, before its end")]
    Torn {
        /// The last thing that was whole.
        after: String,
    },
    /// It could not be read on.
    #[error("the backup cannot be read after {after}")]
    Unreadable {
        /// The last thing that was whole.
        after: String,
        /// Why.
        source: io::Error,
    },
    /// Something in it is not what it was.
    #[error("{what} is damaged")]
    Damaged {
        /// What.
        what: String,
    },
    /// It does not add up.
    #[error("the backup does not add up: {why}")]
    Sum {
        /// What does not.
        why: String,
    },
}

/// Writes the frames of a backup, one after the other.
#[derive(Default)]
pub struct Writer {
    whole: Sha256,
    keyspace: Keyspace,
    manifest: Manifest,
}

impl Writer {
    /// The beginning.
    pub fn begin(&mut self, about: &About) -> Result<Vec<u8>, serde_json::Error> {
        let frame = self.frame(ABOUT, "about", &serde_json::to_vec(about)?);
        Ok([MAGIC, frame.as_slice()].concat())
    }

    /// A key and its value.
    pub fn entry(&mut self, key: &str, value: &[u8]) -> Vec<u8> {
        self.keyspace.add(key, value);
        self.manifest.entries += 1;
        self.manifest.bytes += value.len() as u64;
        self.frame(ENTRY, key, value)
    }

    /// A file of a document.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> Vec<u8> {
        self.manifest.files += 1;
        self.manifest.bytes += bytes.len() as u64;
        self.frame(FILE, name, bytes)
    }

    /// A key whose value cannot be read is told of.
    pub fn is_damaged(&mut self, key: String, why: String) {
        self.manifest.damaged.insert(key, why);
    }

    /// A file that no node has is told of.
    pub fn is_missing(&mut self, name: String) {
        self.manifest.missing.push(name);
    }

    /// The end, and what all adds up to.
    pub fn end(mut self) -> Result<(Vec<u8>, Manifest), serde_json::Error> {
        self.manifest.keyspace = self.keyspace.hash();
        self.manifest.whole = hex(&self.whole.clone().finalize().into());
        let manifest = self.manifest.clone();
        Ok((self.frame(END, "end", &serde_json::to_vec(&manifest)?), manifest))
    }

    fn frame(&mut self, kind: u8, name: &str, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEAD + name.len() + body.len() + 32);
        frame.push(kind);
        frame.extend((name.len() as u32).to_le_bytes());
        frame.extend((body.len() as u64).to_le_bytes());
        frame.extend(name.as_bytes());
        frame.extend(body);
        let hash: Hash = Sha256::digest(&frame).into();
        self.whole.update(hash);
        frame.extend(hash);
        frame
    }
}

impl Keyspace {
    /// Adds a key with its value.
    pub fn add(&mut self, key: &str, value: &[u8]) {
        self.0.insert(Sha256::digest(key).into(), of_both(key, value));
    }

    /// Whether it has that key with that value.
    pub fn fits(&self, key: &str, value: &[u8]) -> bool {
        self.0.get::<Hash>(&Sha256::digest(key).into()).is_some_and(|both| *both == of_both(key, value))
    }

    /// Whether it has that key, with whatever value.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key::<Hash>(&Sha256::digest(key).into())
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One hash of all, as hex.
    pub fn hash(&self) -> String {
        let mut all = Sha256::new();
        self.0.iter().for_each(|(key, both)| all.update([*key, *both].concat()));
        hex(&all.finalize().into())
    }
}

/// Reads a backup part by part; checks each, and at the end the whole.
pub struct Reader<R> {
    from: R,
    whole: Sha256,
    keyspace: Keyspace,
    counted: Manifest,
    last: String,
    is_over: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    pub fn new(mut from: R) -> Result<Self, BadBackup> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(|source| unreadable("its beginning", source))?;
        let (version, text) = magic.split_last().ok_or(BadBackup::NoBackup)?;
        if !MAGIC.starts_with(text) {
            return Err(BadBackup::NoBackup);
        }
        if u32::from(*version) != FORMAT {
            return Err(BadBackup::Newer { found: (*version).into() });
        }
        let last = "its beginning".to_owned();
        let (whole, keyspace, counted) = (Sha256::new(), Keyspace::default(), Manifest::default());
        Ok(Self { from, whole, keyspace, counted, last, is_over: false })
    }

    /// The keys and values that were read so far.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The next part; `None` after the last one, behind which there is nothing.
    pub fn next_part(&mut self) -> Result<Option<Part>, BadBackup> {
        if self.is_over {
            return match self.from.read(&mut [0]) {
                Ok(0) => Ok(None),
                Ok(_) => Err(BadBackup::Sum { why: "something stands behind its end".to_owned() }),
                Err(source) => Err(unreadable(&self.last, source)),
            };
        }
        let mut head = [0; HEAD];
        self.fill(&mut head)?;
        let damaged_after = |last: &str| BadBackup::Damaged { what: format!("what follows {last}") };
        let (kind, lengths) = head.split_first().ok_or(BadBackup::NoBackup)?;
        let (name_len, body_len) = lengths.split_at_checked(4).ok_or(BadBackup::NoBackup)?;
        let name_len = u32::from_le_bytes(name_len.try_into().unwrap_or_default());
        let body_len = u64::from_le_bytes(body_len.try_into().unwrap_or_default());
        if name_len > MOST_NAME || body_len > MOST_BODY {
            return Err(damaged_after(&self.last));
        }
        let mut name = vec![0; name_len as usize];
        self.fill(&mut name)?;
        let mut body = vec![0; body_len as usize];
        self.fill(&mut body)?;
        let mut told = Hash::default();
        self.fill(&mut told)?;
        let found: Hash = Sha256::new().chain_update(head).chain_update(&name).chain_update(&body).finalize().into();
        let name = String::from_utf8(name).map_err(|_| damaged_after(&self.last))?;
        let what = match *kind {
            ENTRY => format!("key `{name}`"),
            FILE => format!("file `{name}`"),
            _ => format!("part `{name}`"),
        };
        if found != told {
            return Err(BadBackup::Damaged { what });
        }
        let part = self.part(*kind, name, body, &what)?;
        self.whole.update(found);
        self.last = what;
        Ok(Some(part))
    }

    fn part(&mut self, kind: u8, name: String, body: Vec<u8>, what: &str) -> Result<Part, BadBackup> {
        let damaged = || BadBackup::Damaged { what: what.to_owned() };
        self.counted.bytes += body.len() as u64;
        match kind {
            ABOUT => serde_json::from_slice(&body).map(Part::About).map_err(|_| damaged()),
            ENTRY => {
                self.keyspace.add(&name, &body);
                self.counted.entries += 1;
                Ok(Part::Entry { key: name, value: body })
            }
            FILE => {
                self.counted.files += 1;
                Ok(Part::File { name, bytes: body })
            }
            END => {
                let told: Manifest = serde_json::from_slice(&body).map_err(|_| damaged())?;
                self.check(&told)?;
                self.is_over = true;
                Ok(Part::End(told))
            }
            _ => Err(damaged()),
        }
    }

    fn check(&self, told: &Manifest) -> Result<(), BadBackup> {
        let differ = |what: &str, found: &dyn std::fmt::Display, told: &dyn std::fmt::Display| {
            Err(BadBackup::Sum { why: format!("{what} are {found}, and it says {told}") })
        };
        if self.counted.entries != told.entries {
            return differ("keys", &self.counted.entries, &told.entries);
        }
        if self.counted.files != told.files {
            return differ("files", &self.counted.files, &told.files);
        }
        if self.keyspace.hash() != told.keyspace {
            return differ("its keys and values", &self.keyspace.hash(), &told.keyspace);
        }
        let whole = hex(&self.whole.clone().finalize().into());
        if whole != told.whole {
            return differ("its parts", &whole, &told.whole);
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BadBackup> {
        self.from.read_exact(bytes).map_err(|source| unreadable(&self.last, source))
    }
}

fn unreadable(after: &str, source: io::Error) -> BadBackup {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => BadBackup::Torn { after: after.to_owned() },
        _ => BadBackup::Unreadable { after: after.to_owned(), source },
    }
}

fn of_both(key: &str, value: &[u8]) -> Hash {
    let length = (key.len() as u64).to_le_bytes();
    Sha256::new().chain_update(length).chain_update(key).chain_update(value).finalize().into()
}

/// In hex.
pub(crate) fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<BadBackup> for base::Fault {
    fn from(error: BadBackup) -> Self {
        let hint = match &error {
            BadBackup::NoBackup => "give a file that `tmctl backup` wrote",
            BadBackup::Newer { .. } => "use the release that wrote it",
            _ => "take another backup: this one is refused as a whole",
        };
        let fault = Self::new(base::Code::InvalidArgument, error.to_string()).hint(hint);
        match error {
            BadBackup::Unreadable { source, .. } => fault.because(source),
            _ => fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About { format: FORMAT, release: "1".into(), node: "n".into(), taken_ms: 1, revision: 7 }
    }

    fn sample() -> Vec<u8> {
        let mut writer = Writer::default();
        let mut all = writer.begin(&about()).unwrap();
        all.extend(writer.file("f00d", b"a document"));
        all.extend(writer.entry("tasks/1", b"one"));
        all.extend(writer.entry("tasks/2", b""));
        writer.is_missing("beef".to_owned());
        all.extend(writer.end().unwrap().0);
        all
    }

    fn read(bytes: &[u8]) -> Result<Vec<Part>, BadBackup> {
        let (mut reader, mut parts) = (Reader::new(bytes)?, Vec::new());
        while let Some(part) = reader.next_part()? {
            parts.push(part);
        }
        Ok(parts)
    }

    #[test]
    fn what_was_written_is_read_back_and_adds_up() {
        let parts = read(&sample()).unwrap();
        assert_eq!(parts[0], Part::About(about()));
        assert_eq!(parts[1], Part::File { name: "f00d".into(), bytes: b"a document".to_vec() });
        assert_eq!(parts[2], Part::Entry { key: "tasks/1".into(), value: b"one".to_vec() });
        let Part::End(manifest) = &parts[4] else { panic!("{parts:?}") };
        assert_eq!((manifest.entries, manifest.files, manifest.bytes), (2, 1, 13));
        assert_eq!(manifest.missing, ["beef"]);
        assert_eq!(parts.len(), 5);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let sample = sample();
        for at in 0..sample.len() * 8 {
            let mut junk = sample.clone();
            junk[at / 8] ^= 1 << (at % 8);
            assert!(read(&junk).is_err(), "bit {at}");
        }
        for len in 0..sample.len() {
            assert!(matches!(read(&sample[..len]), Err(BadBackup::Torn { .. })), "{len} bytes");
        }
        assert!(read(&[&sample[..], b"x"].concat()).is_err());
    }

    #[test]
    fn the_first_bad_thing_is_named() {
        let sample = sample();
        let at = sample.windows(3).position(|part| part == b"one").unwrap();
        let mut junk = sample.clone();
        junk[at] ^= 1;
        assert_eq!(read(&junk).unwrap_err().to_string(), "key `tasks/1` is damaged");
        let torn = read(&sample[..at]).unwrap_err().to_string();
        assert_eq!(torn, "the backup is torn: it ends after file `f00d`, before its end");
        let mut later = sample.clone();
        later[8] = 2;
        assert_eq!(read(&later).unwrap_err().to_string(), "the backup has format 2, and this release knows 1");
        assert_eq!(read(b"something else").unwrap_err().to_string(), "this is no backup of Taskmaster");
    }

    #[test]
    fn a_part_that_was_left_out_is_noticed() {
        let mut writer = Writer::default();
        let begin = writer.begin(&about()).unwrap();
        writer.entry("tasks/1", b"one");
        let two = writer.entry("tasks/2", b"two");
        let end = writer.end().unwrap().0;
        let bad = read(&[begin, two, end].concat()).unwrap_err().to_string();
        assert_eq!(bad, "the backup does not add up: keys are 1, and it says 2");
    }

    #[test]
    fn keys_and_values_hash_to_the_same_in_any_order_and_to_another_where_one_differs() {
        let of = |pairs: &[(&str, &str)]| {
            let mut keyspace = Keyspace::default();
            pairs.iter().for_each(|(key, value)| keyspace.add(key, value.as_bytes()));
            keyspace.hash()
        };
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("a", "1"), ("b", "2")]), of(&[("a", "2"), ("b", "1")]));
        assert_ne!(of(&[("a", "1")]), of(&[("a1", "")]));
        assert_ne!(of(&[("a", "1")]), of(&[]));
    }
}
