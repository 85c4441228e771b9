//! Backups that are made by themselves: by the node that the configuration names, or whichever leads. When the last one
//! was is in the store, so that a restart or another leader neither forgets one nor makes one too many.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backup::folder::{Finished, Unfinished, name, prune};
use backup::frames::Manifest;
use backup::lock::Lock;
use backup::look::{Copying, verify};
use base::config::Backup;
use base::time::unix_ms;
use base::{Code, Fault, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Guard, Txn, framed};
use tokio::sync::mpsc;

use super::{bytes_of, exported, has_files};
use crate::core::{Core, Seen};
use crate::failures::{FailureKind, Severity, Sighting, Subject};

/// The record of the last one.
const LAST: &str = "backups/last";
/// Between two looks at whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// One that failed is tried again after this long, or after a quarter of the time between two where that is less.
const TRY_AGAIN: Duration = Duration::from_secs(600);
/// A node that keeps no documents waits so long after its start for one that does.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// Of what could not be read, so much is named.
const MOST_NAMED: usize = 20;

/// The last backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Last {
    /// When it was begun, Unix milliseconds.
    pub at_ms: u64,
    /// Who made it.
    pub node: String,
    /// Where it is on that node.
    pub file: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 of the file, as hex.
    pub sha256: String,
    /// Keys that could not be read and files that no node had, the first of them; those are not in it.
    pub left_out: Vec<String>,
}

/// How old the last backup is, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// When the last one was begun, or this node began to wait for the first one; Unix milliseconds.
    pub since_ms: u64,
    /// How long it is from one to the next.
    pub every: Duration,
}

/// Whether one is to be made at `now_ms`, with the last good one and the last try.
fn is_due(now_ms: u64, every: Duration, last: Option<u64>, tried: Option<u64>) -> bool {
    let passed = |since: u64, wanted: Duration| u128::from(now_ms.saturating_sub(since)) >= wanted.as_millis();
    // One of the future was made by a clock that was wrong.
    let is_old = last.is_none_or(|at| at > now_ms || passed(at, every));
    is_old && tried.is_none_or(|at| passed(at, TRY_AGAIN.min(every / 4)))
}

/// Makes backups for as long as it is polled.
pub async fn keep(core: Arc<Core>) {
    let Some(settings) = core.config.load().backup.clone() else { return std::future::pending().await };
    let (began_ms, began) = (unix_ms(), Instant::now());
    let (mut tried, mut is_wrong) = (None, false);
    loop {
        let last = last(&core).await;
        let at = last.as_ref().ok().and_then(|last| last.as_ref().map(|last| last.at_ms));
        if last.is_ok() {
            let since_ms = at.unwrap_or(began_ms);
            core.last_backup.store(Some(Arc::new(Standing { since_ms, every: settings.every })));
        }
        let is_settled = began.elapsed() > SETTLES_WITHIN || has_files(&core);
        if last.is_ok() && is_settled && is_mine(&core, &settings) && is_due(unix_ms(), settings.every, at, tried) {
            tried = Some(unix_ms());
            let made = make(&core, &settings).await;
            tell(&core, &made, &mut is_wrong);
            if made.is_ok() {
                tried = None;
                continue;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether this node makes them now.
fn is_mine(core: &Core, settings: &Backup) -> bool {
    match &settings.node {
        Some(node) => *node == core.node,
        None => core.cluster().ok().and_then(|cluster| cluster.lead()).is_some(),
    }
}

async fn last(core: &Core) -> Result<Option<Last>> {
    let found = core.store.get(LAST).await?;
    Ok(found.map(|entry| framed::read(LAST, &entry.value)).transpose()?)
}

/// Makes one, notes it, and deletes those that are too many.
async fn make(core: &Arc<Core>, settings: &Backup) -> Result<Last> {
    // Whoever does not lead any more writes no record; what it has made is pruned like any other.
    let lead = core.cluster()?.lead();
    let guard = match (&settings.node, lead) {
        (Some(_), _) => None,
        (None, Some(lead)) => Some(lead.guard()),
        (None, None) => return Err(Fault::unavailable("this node does not lead any more")),
    };
    let at_ms = unix_ms();
    let (lock, pieces, to) = (Lock::recipient(&settings.recipient)?, exported(core), settings.to.clone());
    let written = tokio::task::spawn_blocking(move || write(&to, at_ms, &lock, pieces)).await;
    let (Finished { path, bytes, sha256 }, manifest) =
        written.map_err(|panic| Fault::internal("could not write the backup").because(panic))??;
    let left_out = manifest.damaged.into_keys().chain(manifest.missing).take(MOST_NAMED).collect();
    let last = Last { at_ms, node: core.node.to_string(), file: path, bytes, sha256, left_out };
    let txn = guard.into_iter().fold(Txn::new(), |txn, guard: Guard| txn.when(guard));
    core.store.commit(txn.put(LAST, framed::write(LAST, &last)?)).await?;
    let (folder, keep) = (settings.to.clone(), settings.keep as usize);
    let pruned = tokio::task::spawn_blocking(move || prune(&folder, keep)).await;
    pruned.map_err(|panic| Fault::internal("could not delete old backups").because(panic))??;
    Ok(last)
}

/// Locks the pieces into a file, and looks through them meanwhile: what is torn or does not add up gets no name. Blocks.
fn write(
    folder: &Path,
    at_ms: u64,
    lock: &Lock,
    pieces: mpsc::Receiver<Result<Bytes>>,
) -> Result<(Finished, Manifest)> {
    std::fs::create_dir_all(folder).map_err(|error| could_not(folder, error))?;
    let to = lock.wrap(Unfinished::begin(&folder.join(name(at_ms)))?)?;
    let mut copying = Copying { from: bytes_of(pieces), to };
    let whole = verify(&mut copying)?;
    let file = copying.to.finish().map_err(|error| could_not(folder, error))?;
    Ok((file.finish()?, whole.manifest))
}

fn could_not(folder: &Path, error: std::io::Error) -> Fault {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::StorageFull,
        _ => Code::Internal,
    };
    Fault::new(code, format!("could not write a backup to `{}`", folder.display()))
        .because(error)
        .hint("look whether backup.to is there, has room, and may be written by this node")
}

fn tell(core: &Core, made: &Result<Last>, is_wrong: &mut bool) {
    let subject = Subject::Other("backup".to_owned());
    match made {
        Ok(last) if !last.left_out.is_empty() => {
            let detail =
                format!("`{}` lacks what could not be read: {}", last.file.display(), last.left_out.join(", "));
            tracing::error!(detail, "a backup is not whole");
            *is_wrong = true;
            core.degrade("backup", Some(detail.clone()));
            let (kind, severity) = (FailureKind::SystemError, Severity::High);
            core.tell(Seen::Wrong(Sighting { subject, kind, severity, detail }));
        }
        Ok(last) => {
            core.happened("backup", core.node.as_str(), format!("`{}` was written", last.file.display()));
            if std::mem::take(is_wrong) {
                core.degrade("backup", None);
                core.tell(Seen::Works(subject));
            }
        }
        Err(fault) => {
            tracing::error!(error = %fault.full_message(), "could not make a backup");
            *is_wrong = true;
            core.degrade("backup", Some(fault.full_message()));
            let (kind, detail) = (FailureKind::ResourceExhaustion, fault.full_message());
            core.tell(Seen::Wrong(Sighting { subject, kind, severity: Severity::High, detail }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_due_when_the_last_is_old_and_the_last_try_is_not_fresh() {
        const DAY: Duration = Duration::from_secs(86_400);
        let (now, hour) = (1_000_000_000_000, 3_600_000);
        assert!(is_due(now, DAY, None, None));
        assert!(!is_due(now, DAY, Some(now - 23 * hour), None));
        assert!(is_due(now, DAY, Some(now - 24 * hour), None));
        assert!(!is_due(now, DAY, Some(now - 24 * hour), Some(now - hour / 10)));
        assert!(is_due(now, DAY, Some(now - 24 * hour), Some(now - hour / 5)));
        assert!(is_due(now, DAY, Some(now + hour), None), "a clock that was wrong stops backups for good");
        let minute = Duration::from_secs(60);
        assert!(is_due(now, minute, None, Some(now - 15_000)));
        assert!(!is_due(now, minute, None, Some(now - 14_000)));
    }
}
