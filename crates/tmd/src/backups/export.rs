//! A backup out of the running cluster: files of documents first, so that a restored record names only what is kept; then
//! the keys; jobs last, since a restored job is worked on as soon as its record is there.

use std::collections::BTreeSet;
use std::sync::Arc;

use backup::frames::{About, FORMAT, Writer};
use base::{Code, Fault, Result};
use bytes::Bytes;
use research::BlobId;
use research::shelf::files_of;
use tokio::sync::mpsc;

use super::picture::Picture;
use super::{is_kept, is_kept_key};
use crate::core::Core;

/// A message between nodes and clients is not longer.
const PIECE_BYTES: usize = 512 << 10;

const JOBS: &str = "jobs/";
const JOB_RECORDS: &str = "jobs/records/";

/// Sends all frames of a backup of now.
pub async fn export(core: &Arc<Core>, to: &mpsc::Sender<Result<Bytes>>) -> Result<()> {
    let picture = Picture::take(&core.store).await?;
    let mut writer = Writer::default();
    let about = About {
        format: FORMAT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        node: core.node.to_string(),
        taken_ms: base::time::unix_ms(),
        revision: picture.revision.0,
    };
    send(to, writer.begin(&about).map_err(unwritable)?).await?;
    for id in named_files(&picture, &mut writer).await? {
        match super::file_of(core, id).await? {
            Some(bytes) => send(to, writer.file(&id.to_string(), &bytes)).await?,
            None => writer.is_missing(id.to_string()),
        }
    }
    let is_record = |key: &str| key.starts_with(JOB_RECORDS);
    send_keys(&picture, "", |key| !key.starts_with(JOBS), &mut writer, to).await?;
    send_keys(&picture, JOBS, |key| key.starts_with(JOBS) && !is_record(key), &mut writer, to).await?;
    send_keys(&picture, JOB_RECORDS, is_record, &mut writer, to).await?;
    let (end, manifest) = writer.end().map_err(unwritable)?;
    send(to, end).await?;
    tracing::info!(revision = about.revision, entries = manifest.entries, files = manifest.files, "took a backup");
    Ok(())
}

/// The files that records of documents name; what cannot be read is told of.
async fn named_files(picture: &Picture, writer: &mut Writer) -> Result<BTreeSet<BlobId>> {
    let (mut named, mut pages) = (BTreeSet::new(), picture.below(""));
    while let Some(page) = pages.next().await? {
        for damaged in page.damaged.iter().filter(|damaged| is_kept_key(&damaged.key)) {
            writer.is_damaged(damaged.key.clone(), damaged.reason.clone());
        }
        for entry in page.entries.iter().filter(|entry| is_kept(entry)) {
            match files_of(&entry.key, &entry.value) {
                Some(Ok(files)) => named.extend(files),
                // The record itself is in the backup as it is.
                Some(Err(fault)) => writer.is_damaged(entry.key.clone(), fault.full_message()),
                None => {}
            }
        }
    }
    Ok(named)
}

async fn send_keys(
    picture: &Picture,
    prefix: &str,
    is_wanted: impl Fn(&str) -> bool,
    writer: &mut Writer,
    to: &mpsc::Sender<Result<Bytes>>,
) -> Result<()> {
    let mut pages = picture.below(prefix);
    while let Some(page) = pages.next().await? {
        for entry in page.entries.iter().filter(|entry| is_kept(entry) && is_wanted(&entry.key)) {
            send(to, writer.entry(&entry.key, &entry.value)).await?;
        }
    }
    Ok(())
}

async fn send(to: &mpsc::Sender<Result<Bytes>>, frame: Vec<u8>) -> Result<()> {
    let mut frame = Bytes::from(frame);
    while !frame.is_empty() {
        let piece = frame.split_to(frame.len().min(PIECE_BYTES));
        let sent = to.send(Ok(piece)).await;
        sent.map_err(|_| Fault::new(Code::Cancelled, "nobody takes the backup any more"))?;
    }
    Ok(())
}

fn unwritable(error: serde_json::Error) -> Fault {
    Fault::internal("could not write the backup").because(error)
}
