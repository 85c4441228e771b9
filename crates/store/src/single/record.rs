//! An entry as sled holds it: `created u64 · modified u64 · lease u64 · kind u8 · sealed value or the id of its file`.

use std::collections::{BTreeSet, HashMap};

use bytes::{Buf, BufMut, Bytes};

use super::acknowledged;
use super::values::{ValueId, Values};
use crate::disk::{Disk, Lost};
use crate::sealing::Seal;
use crate::{Damaged, Entry, LeaseId, Revision, entry, envelope};

/// Where the revision is kept, in the same tree as the entries so that both change in one batch. No caller's key
/// contains a NUL.
pub(super) const REVISION_KEY: &[u8] = b"\0revision";

/// Longer values go to a file. Several of this size still fit in a page that sled keeps in its log (128 KiB).
pub(super) const LONGEST_INLINE: usize = 16 << 10;

const INLINE: u8 = 0;
const IN_FILE: u8 = 1;
const HEAD_LEN: usize = 25;

/// All of a record but the value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub created: Revision,
    pub modified: Revision,
    pub lease: Option<LeaseId>,
    pub file: Option<ValueId>,
}

impl Head {
    /// Reads what [`write`] wrote. A record that is cut has zeros; its value is reported as damaged.
    pub fn read(mut record: &[u8]) -> Self {
        let mut number = || record.try_get_u64_le().unwrap_or(0);
        let (created, modified, lease) = (Revision(number()), Revision(number()), number());
        let file = match record.try_get_u8() {
            Ok(IN_FILE) => record.try_into().ok().map(ValueId),
            _ => None,
        };
        Self { created, modified, lease: (lease != 0).then_some(LeaseId(lease)), file }
    }
}

/// Where a value is.
pub(super) enum Stored<'a> {
    Inline(&'a [u8]),
    InFile(ValueId),
}

/// The bytes of a record.
pub(super) fn write(created: Revision, modified: Revision, lease: Option<LeaseId>, value: &Stored) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEAD_LEN + LONGEST_INLINE.min(256));
    record.put_u64_le(created.0);
    record.put_u64_le(modified.0);
    record.put_u64_le(lease.map_or(0, |lease| lease.0));
    match value {
        Stored::Inline(sealed) => {
            record.put_u8(INLINE);
            record.put_slice(sealed);
        }
        Stored::InFile(id) => {
            record.put_u8(IN_FILE);
            record.put_slice(&id.0);
        }
    }
    record
}

/// The entry of a record, with its value from wherever it is.
pub(super) fn read(seal: &Seal, key: &[u8], record: &[u8], values: &Values) -> Result<Entry, Damaged> {
    let Head { created, modified, lease, file } = Head::read(record);
    let sealed = match (record.get(HEAD_LEN - 1), record.get(HEAD_LEN..), file) {
        (Some(&INLINE), Some(sealed), _) => Ok(Bytes::copy_from_slice(sealed)),
        (_, _, Some(id)) => values.read(&id),
        _ => Err("the record is damaged".to_owned()),
    };
    let value = sealed.and_then(|sealed| envelope::open(seal, &entry::place(key), sealed));
    match (String::from_utf8(key.to_vec()), value) {
        (Ok(key), Ok((value, _))) => Ok(Entry { key, value, created, modified, lease }),
        (Ok(key), Err(reason)) => Err(Damaged { key, reason, created, modified }),
        (Err(_), _) => {
            let key = String::from_utf8_lossy(key).into_owned();
            Err(Damaged { key, reason: "the key is not UTF-8".to_owned(), created, modified })
        }
    }
}

/// Whether `key` is none of a caller's.
pub(super) fn is_internal(key: &[u8]) -> bool {
    key.starts_with(b"\0")
}

/// What the writer knows without reading sled.
#[derive(Default)]
pub(super) struct Index {
    pub revision: Revision,
    pub lost: Option<Lost>,
    pub leased: HashMap<LeaseId, BTreeSet<String>>,
    /// How many entries refer to each file.
    pub files: HashMap<ValueId, usize>,
}

/// Reads all of the database once: it finds damage now rather than later, and files that nothing refers to.
pub(super) fn load(disk: &Disk) -> Result<Index, String> {
    let mut index = Index::default();
    for found in disk.db.iter() {
        let (key, record) = found.map_err(|error| error.to_string())?;
        if &*key == REVISION_KEY {
            index.revision = Revision((&*record).try_get_u64_le().map_err(|error| error.to_string())?);
        }
        if is_internal(&key) {
            continue;
        }
        let head = Head::read(&record);
        if let Some(lease) = head.lease {
            index.leased.entry(lease).or_default().insert(String::from_utf8_lossy(&key).into_owned());
        }
        if let Some(file) = head.file {
            *index.files.entry(file).or_default() += 1;
        }
    }
    let acknowledged = acknowledged::read(&disk.data);
    if index.revision < acknowledged {
        let lost = Lost { after: index.revision, up_to: acknowledged };
        tracing::error!(?lost, "the log is damaged, and acknowledged changes are lost");
        index.lost = Some(lost);
        // Revisions, and the epochs made of them, are never used twice.
        index.revision = acknowledged;
    }
    Values::new(disk.data.join("values")).collect(&index.files).map_err(|error| error.to_string())?;
    Ok(index)
}
