//! A backup into an empty cluster. Empty is one in which nobody has made anything yet; keys of people may be there, since
//! whoever restores needs one.
//!
//! A mark stands in the store from the first write to the last: one that broke off is known by it, goes on when it is
//! sent again, and no other backup is mixed into it. At the end all is read back and compared by hash.

use std::io::Read;
use std::sync::Arc;

use api::FrameStream;
use backup::frames::{Keyspace, Part, Reader};
use base::{Code, Fault, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use proto::backup::ImportResponse;
use store::{Guard, StoreError, Txn};
use tokio::sync::mpsc;

use super::picture::Picture;
use super::{WAITING_PIECES, bytes_of, is_kept};
use crate::core::Core;
use crate::settings::KEYS;

/// There while a restore goes on, with the hash of the backup's first part.
const UNFINISHED: &str = "backups/restoring";
/// Keys of one transaction; each has a guard besides.
const KEYS_AT_ONCE: usize = 100;
/// Bytes of one transaction; far below what a store takes.
const BYTES_AT_ONCE: usize = 700 << 10;
/// Parts that were read and wait to be written; a file is one, however large.
const WAITING_PARTS: usize = 2;
/// Keys that are named where they are not as in the backup.
const MOST_NAMED: usize = 20;

/// Whether the cluster would take a backup.
pub async fn may_import(core: &Core) -> Result<ImportResponse> {
    refuse_full(core).await?;
    Ok(ImportResponse { prefix: place(core), ..ImportResponse::default() })
}

/// Puts a backup into the cluster.
pub async fn import(core: &Arc<Core>, frames: FrameStream) -> Result<ImportResponse> {
    refuse_full(core).await?;
    let (pieces, arriving) = mpsc::channel(WAITING_PIECES);
    let (parts, mut read) = mpsc::channel(WAITING_PARTS);
    let reading = tokio::task::spawn_blocking(move || read_parts(bytes_of(arriving), &parts));
    // Gives up its end of the channel where it fails, so that nobody goes on reading for it.
    let writing = async move {
        let mut into = Into { core, waiting: Vec::new(), bytes: 0, files: 0 };
        while let Some(part) = read.recv().await {
            into.take(part).await?;
        }
        into.flush().await?;
        Ok::<_, Fault>(into.files)
    };
    let feeding = feed(frames, pieces);
    let ((), written) = tokio::join!(feeding, writing);
    // What is wrong with the backup itself says more than that its parts stopped coming.
    let read = reading.await.map_err(|panic| Fault::internal("could not read the backup").because(panic))?;
    let files = written?;
    let keyspace = read?;
    let answer = read_back(core, &keyspace, files).await?;
    core.store.commit(Txn::new().delete(UNFINISHED)).await?;
    tracing::info!(entries = answer.entries, files, is_equal = answer.is_equal, "restored a backup");
    core.happened("backup", core.node.as_str(), format!("{} keys were restored", answer.entries));
    Ok(answer)
}

/// Refuses a cluster in which somebody has made something.
async fn refuse_full(core: &Core) -> Result<()> {
    if core.store.get(UNFINISHED).await?.is_some() {
        return Ok(());
    }
    let picture = Picture::take(&core.store).await?;
    let mut pages = picture.below("");
    while let Some(page) = pages.next().await? {
        let is_there = |entry: &&store::Entry| is_kept(entry) && !entry.key.starts_with(KEYS);
        if let Some(entry) = page.entries.iter().find(is_there) {
            return Err(Fault::new(Code::Conflict, format!("the cluster is not empty: `{}` is there", entry.key))
                .hint(
                    "restore into an empty one: with another store.prefix, or another node.data_dir on a single node",
                ));
        }
    }
    Ok(())
}

/// Carries the pieces to where they are read; an end before the end is found there.
async fn feed(mut frames: FrameStream, to: mpsc::Sender<Result<Bytes>>) {
    while let Some(piece) = frames.next().await {
        if to.send(piece).await.is_err() {
            return;
        }
    }
}

/// Reads parts until the last one; gives the keys and values that there were. Blocks.
fn read_parts(from: impl Read, to: &mpsc::Sender<Part>) -> Result<Keyspace> {
    let mut reader = Reader::new(from)?;
    while let Some(part) = reader.next_part()? {
        if to.blocking_send(part).is_err() {
            return Err(Fault::new(Code::Cancelled, "the backup is not written any more"));
        }
    }
    Ok(reader.keyspace().clone())
}

/// What writes parts.
struct Into<'a> {
    core: &'a Arc<Core>,
    waiting: Vec<(String, Bytes)>,
    bytes: usize,
    files: u64,
}

impl Into<'_> {
    async fn take(&mut self, part: Part) -> Result<()> {
        match part {
            Part::About(about) => self.begin(&about).await,
            Part::File { name, bytes } => {
                super::keep_file(self.core, bytes.into())
                    .await
                    .map_err(|fault| Fault::new(fault.code, format!("could not keep file `{name}`")).because(fault))?;
                self.files += 1;
                Ok(())
            }
            Part::Entry { key, value } => {
                if self.waiting.len() >= KEYS_AT_ONCE || self.bytes + key.len() + value.len() > BYTES_AT_ONCE {
                    self.flush().await?;
                }
                self.bytes += key.len() + value.len();
                self.waiting.push((key, value.into()));
                Ok(())
            }
            // What still waits is written when no more parts come.
            Part::End(_) => Ok(()),
        }
    }

    /// Marks the store, or finds the mark of an earlier attempt with the same backup.
    async fn begin(&self, about: &backup::frames::About) -> Result<()> {
        let mark =
            serde_json::to_vec(about).map_err(|error| Fault::internal("could not mark the restore").because(error))?;
        let txn = Txn::new().when(Guard::Absent(UNFINISHED.to_owned())).put(UNFINISHED, mark.clone());
        match self.core.store.commit(txn).await {
            Ok(_) => Ok(()),
            Err(StoreError::Refused { .. }) => match self.core.store.get(UNFINISHED).await? {
                Some(entry) if entry.value == mark => Ok(()),
                _ => Err(Fault::new(Code::Conflict, "another backup was being restored here, and broke off")
                    .hint("send that one again, or begin with an empty store")),
            },
            Err(error) => Err(error.into()),
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let entries = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        if entries.is_empty() {
            return Ok(());
        }
        let absent = entries.iter().map(|(key, _)| Guard::Absent(key.clone()));
        let txn = Txn { guards: absent.collect(), ..Txn::new() };
        let txn = entries.iter().fold(txn, |txn, (key, value)| txn.put(key, value.clone()));
        match self.core.store.commit(txn).await {
            Ok(_) => Ok(()),
            // Some are there: of an earlier attempt, or the key of whoever restores.
            Err(StoreError::Refused { .. } | StoreError::Unclear { .. }) => {
                for (key, value) in entries {
                    self.put_one(key, value).await?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn put_one(&self, key: String, value: Bytes) -> Result<()> {
        let txn = Txn::new().when(Guard::Absent(key.clone())).put(&key, value.clone());
        match self.core.store.commit(txn).await {
            Ok(_) => Ok(()),
            Err(StoreError::Refused { .. }) => match self.core.store.get(&key).await? {
                Some(entry) if entry.value == value => Ok(()),
                _ => {
                    Err(Fault::new(Code::Conflict, format!("`{key}` is there already, and differs from the backup's"))
                        .hint("an API key of the same name as one of the backup's: use one of another name to restore"))
                }
            },
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads all back, and compares.
async fn read_back(core: &Core, wanted: &Keyspace, files: u64) -> Result<ImportResponse> {
    let picture = Picture::take(&core.store).await?;
    let (mut found, mut changed, mut pages) = (Keyspace::default(), Vec::new(), picture.below(""));
    while let Some(page) = pages.next().await? {
        for entry in page.entries.iter().filter(|entry| wanted.has(&entry.key)) {
            found.add(&entry.key, &entry.value);
            if !wanted.fits(&entry.key, &entry.value) && changed.len() < MOST_NAMED {
                changed.push(entry.key.clone());
            }
        }
    }
    let (entries, keyspace) = (found.len() as u64, found.hash());
    let is_equal = keyspace == wanted.hash();
    Ok(ImportResponse { entries, files, keyspace, is_equal, changed, prefix: place(core) })
}

/// Where the store is, for people.
fn place(core: &Core) -> String {
    match &core.config.load().store {
        base::config::Store::Etcd(etcd) => etcd.prefix.clone(),
        base::config::Store::Sled => "sled".to_owned(),
    }
}
