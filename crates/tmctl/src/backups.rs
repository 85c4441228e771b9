//! `tmctl backup`, `verify` and `restore`: what the cluster keeps, in one file that is locked here. The server never sees the
//! key or the passphrase.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::folder::{Finished, Unfinished, name};
use backup::lock::{Lock, Unlock};
use backup::look::{Copying, Pieces, Whole, verify as look_through};
use base::time::{rfc3339, unix_ms};
use base::{Code, Fault, Result};
use bytes::Bytes;
use proto::backup::{ExportRequest, ExportResponse, ImportRequest, ImportResponse};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{CALL_LIMIT, Servers, call, told};
use crate::file;
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{counted, size, visible};

/// Until the first piece comes.
const BEGIN_LIMIT: Duration = Duration::from_secs(120);
/// Between two pieces, which wait for a file of another node at most.
const PIECE_LIMIT: Duration = Duration::from_secs(300);
/// Pieces that wait to be written or sent.
const WAITING_PIECES: usize = 8;
const PIECE_BYTES: usize = 512 << 10;
/// Reading all back takes its time.
const IMPORT_LIMIT: Duration = Duration::from_secs(6 * 3600);

/// What to write, and for whom.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("lock").required(true).args(["recipient", "passphrase_file"])))]
pub struct Backup {
    /// A folder, or the file, which must not exist
    #[arg(long, value_name = "PATH", default_value = ".")]
    to: PathBuf,
    /// The public key of age, `age1…`, whose private part opens it
    #[arg(long, value_name = "KEY")]
    recipient: Option<String>,
    /// File with the passphrase that opens it
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What opens a backup.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Opens {
    /// File with the private key, as `age-keygen` wrote it
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// File with the passphrase
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What to read.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    opens: Opens,
}

/// What to put back.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    opens: Opens,
    /// Read all of it and look whether the cluster would take it, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Opens {
    fn unlock(&self) -> Result<Unlock> {
        match (&self.identity, &self.passphrase_file) {
            (Some(path), _) => Unlock::identity_file(path),
            (None, Some(path)) => Unlock::passphrase_file(path),
            (None, None) => {
                Err(Fault::invalid("nothing opens the backup").hint("give --identity or --passphrase-file"))
            }
        }
    }
}

/// Writes a backup.
pub async fn backup(servers: &Servers, screen: &mut Screen, args: Backup) -> Result<Verdict, Ended> {
    let lock = match (&args.recipient, &args.passphrase_file) {
        (Some(key), _) => Lock::recipient(key)?,
        (None, Some(path)) => Lock::passphrase_file(path)?,
        (None, None) => return Err(Fault::invalid("nothing would lock the backup").hint("give --recipient").into()),
    };
    let path = file_for(args.to, unix_ms())?;
    let unfinished = Unfinished::begin(&path)?;
    let connection = servers.connect().await?;
    let mut frames = call(BEGIN_LIMIT, connection.backups().export(ExportRequest {})).await?;
    let (pieces, coming) = mpsc::channel(WAITING_PIECES);
    let writing = tokio::task::spawn_blocking(move || write(&lock, unfinished, coming));
    loop {
        let piece = tokio::time::timeout(PIECE_LIMIT, frames.message()).await;
        let piece = piece.map_err(|_| Fault::new(Code::Unreachable, "the server stopped sending").hint("try again"))?;
        let Some(ExportResponse { frames }) = piece.map_err(|status| told(&status))? else { break };
        if pieces.send(frames).await.is_err() {
            break;
        }
    }
    drop(pieces);
    let (finished, whole) =
        writing.await.map_err(|panic| Fault::internal("could not write the backup").because(panic))??;
    let json = json!({
        "file": finished.path.display().to_string(), "bytes": finished.bytes, "sha256": finished.sha256,
        "revision": whole.about.revision, "entries": whole.manifest.entries, "files": whole.manifest.files,
        "keyspace": whole.manifest.keyspace, "damaged": whole.manifest.damaged, "missing": whole.manifest.missing,
    });
    screen.show(|_| visible(&written_text(&finished, &whole)), &json)?;
    Ok(verdict(&whole))
}

/// The file to be written. A folder that is missing is not made, and no file takes its name.
fn file_for(to: PathBuf, now_ms: u64) -> Result<PathBuf> {
    if to.is_dir() {
        return Ok(to.join(name(now_ms)));
    }
    match to.exists() || to.extension().is_some_and(|end| end == "age") {
        true => Ok(to),
        false => Err(Fault::new(Code::NotFound, format!("there is no folder `{}`", to.display()))
            .hint("make the folder, or name a file that ends in `.age`")),
    }
}

/// Locks what comes into the file, and looks through it meanwhile: what is torn gets no name. Blocks.
fn write(lock: &Lock, file: Unfinished, mut coming: mpsc::Receiver<Bytes>) -> Result<(Finished, Whole)> {
    let mut copying = Copying { from: Pieces::new(|| Ok(coming.blocking_recv())), to: lock.wrap(file)? };
    let whole = look_through(&mut copying)?;
    let file = copying.to.finish().map_err(|error| file::could_not("write", "the backup", error))?;
    Ok((file.finish()?, whole))
}

/// Reads a backup.
pub fn verify(screen: &mut Screen, args: &Verify) -> Result<Verdict, Ended> {
    let whole = look_through(args.opens.unlock()?.open_file(&args.file)?)?;
    let json = json!({
        "file": args.file.display().to_string(), "format": whole.about.format, "release": whole.about.release,
        "node": whole.about.node, "taken": rfc3339(whole.about.taken_ms), "revision": whole.about.revision,
        "entries": whole.manifest.entries, "files": whole.manifest.files, "bytes": whole.manifest.bytes,
        "keyspace": whole.manifest.keyspace, "damaged": whole.manifest.damaged, "missing": whole.manifest.missing,
    });
    screen.show(|_| visible(&whole_text(&args.file, &whole)), &json)?;
    Ok(verdict(&whole))
}

/// Puts a backup back. All of it is read first: what is damaged is refused before anything is written.
pub async fn restore(servers: &Servers, screen: &mut Screen, args: Restore) -> Result<Verdict, Ended> {
    let unlock = args.opens.unlock()?;
    let whole = look_through(unlock.open_file(&args.file)?)?;
    let connection = servers.connect().await?;
    let look = tokio_stream::once(ImportRequest { dry_run: true, frames: Bytes::new() });
    let would = call(CALL_LIMIT, connection.backups().import(look)).await?;
    if args.dry_run {
        let json = json!({
            "dry_run": true, "prefix": would.prefix, "entries": whole.manifest.entries, "files": whole.manifest.files,
        });
        screen.show(|_| visible(&dry_text(&args.file, &whole, &would)), &json)?;
        return Ok(verdict(&whole));
    }
    let (pieces, coming) = mpsc::channel(WAITING_PIECES);
    let from = unlock.open_file(&args.file)?;
    let reading = tokio::task::spawn_blocking(move || send(from, &pieces));
    let restored = call(IMPORT_LIMIT, connection.backups().import(ReceiverStream::new(coming))).await?;
    reading.await.map_err(|panic| Fault::internal("could not read the backup").because(panic))??;
    let json = json!({
        "prefix": restored.prefix, "entries": restored.entries, "files": restored.files,
        "keyspace": restored.keyspace, "is_equal": restored.is_equal, "changed": restored.changed,
    });
    screen.show(|_| visible(&restored_text(&whole, &restored)), &json)?;
    Ok(if restored.is_equal { verdict(&whole) } else { Verdict::NotWell })
}

/// Sends what is locked in the file. Blocks.
fn send(mut from: impl Read, to: &mpsc::Sender<ImportRequest>) -> Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = from.read(&mut piece).map_err(|error| file::could_not("read", "the backup", error))?;
        let frames = Bytes::copy_from_slice(piece.get(..count).unwrap_or_default());
        // A server that takes no more has said why.
        if count == 0 || to.blocking_send(ImportRequest { dry_run: false, frames }).is_err() {
            return Ok(());
        }
    }
}

/// A backup that lacks something is told of by the exit code as well.
fn verdict(whole: &Whole) -> Verdict {
    match whole.manifest.damaged.is_empty() && whole.manifest.missing.is_empty() {
        true => Verdict::Done,
        false => Verdict::NotWell,
    }
}

fn contents(whole: &Whole) -> String {
    let (entries, files) = (whole.manifest.entries as usize, whole.manifest.files as usize);
    format!("{}, {}, {}", counted(entries, "key"), counted(files, "file"), size(whole.manifest.bytes))
}

fn lacks(whole: &Whole) -> String {
    let damaged = whole.manifest.damaged.iter().map(|(key, why)| format!("  it lacks `{key}`: {why}\n"));
    let missing = whole.manifest.missing.iter().map(|file| format!("  it lacks file {file}, which no node had\n"));
    damaged.chain(missing).collect()
}

fn written_text(finished: &Finished, whole: &Whole) -> String {
    let (path, bytes, revision) = (finished.path.display(), size(finished.bytes), whole.about.revision);
    format!("wrote {path}, {bytes}: {} as of revision {revision}\n{}", contents(whole), lacks(whole))
}

fn whole_text(path: &Path, whole: &Whole) -> String {
    let about = &whole.about;
    format!(
        "{} is whole: {}, taken at {} by {} ({}) as of revision {}\n  keys and values hash to {}\n{}",
        path.display(),
        contents(whole),
        rfc3339(about.taken_ms),
        about.node,
        about.release,
        about.revision,
        whole.manifest.keyspace,
        lacks(whole)
    )
}

fn dry_text(path: &Path, whole: &Whole, would: &ImportResponse) -> String {
    let (path, place) = (path.display(), &would.prefix);
    format!("{path} is whole, and would be restored into {place}: {}\n{}", contents(whole), lacks(whole))
}

fn restored_text(whole: &Whole, restored: &ImportResponse) -> String {
    let head = format!("restored into {}: {}\n", restored.prefix, contents(whole));
    let proof = match restored.is_equal {
        true => format!("  equal to the backup: what was read back hashes to {}\n", restored.keyspace),
        false => {
            let changed = restored.changed.iter().map(|key| format!("  `{key}` was changed since\n"));
            let wanted = whole.manifest.entries;
            let found = format!("  not equal to the backup: {} of {wanted} keys are there\n", restored.entries);
            found + &changed.collect::<String>()
        }
    };
    head + &proof + &lacks(whole)
}

#[cfg(test)]
mod tests {
    use backup::frames::{About, FORMAT, Manifest};

    use super::*;

    fn whole() -> Whole {
        let about = About { format: FORMAT, release: "0.1.0".into(), node: "nas".into(), taken_ms: 0, revision: 71 };
        let manifest = Manifest { entries: 12, files: 1, bytes: 4096, keyspace: "ab12".into(), ..Manifest::default() };
        Whole { about, manifest }
    }

    #[test]
    fn what_a_backup_says_of_itself() {
        let mut lacking = whole();
        lacking.manifest.damaged.insert("tasks/1".into(), "the checksum is wrong\u{1b}[2J".into());
        lacking.manifest.missing.push("f00d".into());
        assert_eq!((verdict(&whole()), verdict(&lacking)), (Verdict::Done, Verdict::NotWell));
        let finished = Finished { path: "b.age".into(), bytes: 5000, sha256: "ff".into() };
        let restored = |is_equal, changed: &[&str]| ImportResponse {
            entries: 12,
            files: 1,
            keyspace: "ab12".into(),
            is_equal,
            changed: changed.iter().map(|key| (*key).to_owned()).collect(),
            prefix: "/taskmaster/home".into(),
        };
        let text = written_text(&finished, &lacking)
            + &whole_text(Path::new("b.age"), &whole())
            + &dry_text(Path::new("b.age"), &whole(), &restored(false, &[]))
            + &restored_text(&whole(), &restored(true, &[]))
            + &restored_text(&whole(), &restored(false, &["jobs/records/1"]));
        insta::assert_snapshot!("backups", visible(&text));
    }

    #[test]
    fn a_folder_that_is_missing_does_not_become_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let refused = file_for(dir.path().join("backups"), 0).unwrap_err();
        assert!(refused.message.contains("there is no folder") && refused.hint.unwrap().contains("make the folder"));
        assert!(!dir.path().join("backups").exists());
        assert_eq!(file_for(dir.path().join("one.age"), 0).unwrap(), dir.path().join("one.age"));
        assert_eq!(file_for(dir.path().to_owned(), 0).unwrap(), dir.path().join(name(0)));
    }
}
