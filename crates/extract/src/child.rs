//! Reading in a process of its own: a parser that loops, eats memory or crashes ends that process and one document, and
//! nothing else.
//!
//! The parent sends the document through a pipe and takes the text from another one. The child has no environment, opens
//! and writes no file, and has limits on its memory and its time that the kernel keeps. What only goes once over its
//! letters, such as plain text, is read without a child.

use std::any::Any;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::format::COMPOUND;
use super::{Extracted, Format, Hint, ReadError, check, limits};

/// Memory that a child may map.
const MEMORY_BYTES: u64 = 1 << 30;
/// Time of a processor that a child may use.
const CPU_SECONDS: u64 = 30;
/// Time that a child may take on a busy machine.
const WALL: Duration = Duration::from_secs(120);
/// Bytes of a child's answer: the most text with its blocks, twice for what JSON escapes.
const ANSWER_BYTES: u64 = 3 * limits::TEXT_BYTES as u64;
/// Bytes of what is told about a document.
const HEAD_BYTES: u32 = 64 << 10;
/// The stack of a child's reading thread. Parsers go down as deep as documents are nested.
const STACK_BYTES: usize = 64 << 20;
/// What stands before the answer; before it may stand what a parser prints.
const MARK: &[u8] = b"\n--taskmaster-document--\n";

/// Reads documents, a few at once.
#[derive(Clone, Debug)]
pub struct Reader {
    program: PathBuf,
    arguments: Vec<OsString>,
    permits: Arc<Semaphore>,
}

/// What goes before a document's bytes.
#[derive(Serialize, Deserialize)]
struct Head {
    media: String,
    name: String,
}

impl Reader {
    /// Children are `program arguments...`, which must end in [`child_main`]; at most so many documents are read at once.
    pub fn new(program: PathBuf, arguments: Vec<OsString>, at_once: usize) -> Self {
        Self { program, arguments, permits: Arc::new(Semaphore::new(at_once.max(1))) }
    }

    /// Reads a document. Dropping the future ends the child; what is read without a child ends by itself.
    pub async fn read(&self, bytes: Bytes, hint: &Hint<'_>) -> Result<Extracted, ReadError> {
        limits::within("bytes of the document", bytes.len(), limits::INPUT_BYTES)?;
        let no_reader = |why: &dyn std::fmt::Display| ReadError::NoReader { why: why.to_string() };
        let permit = self.permits.clone().acquire_owned().await.map_err(|error| no_reader(&error))?;
        let head = Head { media: hint.media.to_owned(), name: hint.name.to_owned() };
        let answered = if needs_child(&bytes, hint) { Some(self.in_child(&bytes, &head).await?) } else { None };
        let work = move || {
            let _permit = permit;
            match answered {
                Some((answer, status)) => taken(&answer, status),
                None => super::read(&bytes, &Hint { media: &head.media, name: &head.name }),
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => Err(ReadError::Died { how: told_by(error.into_panic().as_ref()) }),
            Err(error) => Err(no_reader(&error)),
        }
    }

    /// What a child said, and how it ended.
    async fn in_child(&self, bytes: &[u8], head: &Head) -> Result<(Vec<u8>, ExitStatus), ReadError> {
        let no_reader = |error: &dyn std::fmt::Display| ReadError::NoReader { why: error.to_string() };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| no_reader(&format!("`{}` does not start: {error}", self.program.display())))?;
        let head = serde_json::to_vec(head).map_err(|error| no_reader(&error))?;
        let exchanged = tokio::time::timeout(WALL, exchange(&mut child, &head, bytes)).await;
        exchanged
            .map_err(|_| ReadError::TooSlow { seconds: WALL.as_secs() })?
            .map_err(|error| ReadError::Died { how: error.to_string() })
    }
}

/// The document out of a child's answer, which may be long.
fn taken(answer: &[u8], status: ExitStatus) -> Result<Extracted, ReadError> {
    limits::within("bytes of its reader's answer", answer.len(), ANSWER_BYTES as usize)?;
    let at = answer.windows(MARK.len()).position(|window| window == MARK).ok_or_else(|| fate(status))?;
    let answer = answer.get(at + MARK.len()..).unwrap_or_default();
    let read: Result<Extracted, ReadError> = serde_json::from_slice(answer).map_err(|_| fate(status))?;
    let read = read?;
    // A parser that was taken over can still not break the rules for texts.
    check(&read).map_err(|why| ReadError::Confused { why })?;
    Ok(read)
}

/// What packs other files is not looked into in this process.
fn needs_child(bytes: &[u8], hint: &Hint<'_>) -> bool {
    bytes.starts_with(b"PK")
        || bytes.starts_with(COMPOUND)
        || Format::of(bytes, hint).is_ok_and(|format| !format.is_harmless(bytes.len()))
}

async fn exchange(child: &mut Child, head: &[u8], bytes: &[u8]) -> std::io::Result<(Vec<u8>, ExitStatus)> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("it has no pipes"));
    };
    let length = u32::try_from(head.len()).map_err(std::io::Error::other)?;
    let write = async move {
        // A child that ends early says why in its answer or its status, so that a broken pipe is no news.
        let _ = input.write_all(&length.to_le_bytes()).await;
        let _ = input.write_all(head).await;
        let _ = input.write_all(bytes).await;
        drop(input);
    };
    let mut answer = Vec::new();
    let mut output = output.take(ANSWER_BYTES + 1);
    let (_, read) = tokio::join!(write, output.read_to_end(&mut answer));
    read?;
    if answer.len() as u64 > ANSWER_BYTES {
        child.start_kill()?;
    }
    Ok((answer, child.wait().await?))
}

/// Why a child ended without an answer.
fn fate(status: ExitStatus) -> ReadError {
    const XCPU: i32 = rustix::process::Signal::XCPU.as_raw();
    const ABORT: i32 = rustix::process::Signal::ABORT.as_raw();
    const SEGV: i32 = rustix::process::Signal::SEGV.as_raw();
    const KILL: i32 = rustix::process::Signal::KILL.as_raw();
    let how = match status.signal() {
        Some(XCPU) => return ReadError::TooSlow { seconds: CPU_SECONDS },
        Some(ABORT | SEGV) => format!("it needed more than {} MiB of memory, or crashed", MEMORY_BYTES >> 20),
        Some(KILL) => "it was killed; the machine may be short of memory".to_owned(),
        _ => format!("it ended without an answer, {status}"),
    };
    ReadError::Died { how }
}

/// What a panic says.
pub(super) fn told_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it broke down without a word".to_owned())
}

/// What a child does: reads one document from its standard input, writes the text to its standard output. It must be the
/// first thing that the process does, before any thread but its first one is there.
pub fn child_main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> std::io::Result<()> {
    limit()?;
    // Nobody reads what a panic would print, and looking up its lines wants files.
    std::panic::set_hook(Box::new(|_| {}));
    let (head, bytes) = request()?;
    let work = move || super::read(&bytes, &Hint { media: &head.media, name: &head.name });
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work)?;
    let read = thread.join().unwrap_or_else(|panic| Err(ReadError::Died { how: told_by(panic.as_ref()) }));
    let mut answer = MARK.to_vec();
    serde_json::to_writer(&mut answer, &read)?;
    let mut output = std::io::stdout().lock();
    output.write_all(&answer)?;
    output.flush()
}

/// Memory, time, no dumps, no file opened, nothing written to one.
fn limit() -> std::io::Result<()> {
    for (resource, most) in [
        (Resource::As, MEMORY_BYTES),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        // Those that are open stay open.
        (Resource::Nofile, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most + u64::from(most > 0)) })?;
    }
    Ok(())
}

fn request() -> std::io::Result<(Head, Vec<u8>)> {
    let mut input = std::io::stdin().lock();
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > HEAD_BYTES {
        return Err(std::io::Error::other("the head is too long"));
    }
    let mut head = Vec::new();
    input.by_ref().take(u64::from(length)).read_to_end(&mut head)?;
    let head = serde_json::from_slice(&head)?;
    let mut bytes = Vec::new();
    // One more than is allowed, so that a document that is too large is refused as such.
    input.take(limits::INPUT_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok((head, bytes))
}
