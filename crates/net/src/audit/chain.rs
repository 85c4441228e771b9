//! Whether the journal is as it was written: every line carries the hash of the one before it, and the head knows the last.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::head::{Head, files};
use super::line::{Line, OPENED};
use crate::hash::sha256_hex;

/// No line that was written is longer.
const MOST_LINE_BYTES: u64 = 64 << 10;

/// What a look through the journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Lines that were looked at.
    pub lines: u64,
    /// The number of the first one that is kept.
    pub first: u64,
    /// The number of the last one.
    pub last: u64,
    /// The first line that is not as it was written.
    pub bad: Option<Bad>,
}

/// A line that is not as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bad {
    /// Its number, as it should be.
    pub n: u64,
    /// The file that it stands in, or should.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

/// A line with its hash.
struct Seen {
    line: Line,
    sha256: String,
    file: String,
}

/// Looks through the journal in `dir`. `anchors` are heads that were written down elsewhere.
pub fn verify(dir: &Path, anchors: &[Head]) -> io::Result<Verified> {
    let head = match Head::read(dir) {
        Ok(head) => head,
        // One that is no JSON is no head.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => None,
        Err(error) => return Err(error),
    };
    let known: Vec<&Head> = head.iter().chain(anchors).collect();
    let first = head.as_ref().map_or(1, |head| head.first.max(1));
    let mut walk = Walk { first, before: None, suspect: None, found: Verified { first, ..Verified::default() } };
    // Of a file that had its time, only the end of its life may have been missed.
    for (_, path) in files(dir)?.into_iter().filter(|(begins, _)| *begins >= first) {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut reader = BufReader::new(File::open(&path)?);
        while let Some(bytes) = next_line(&mut reader)? {
            if let Some(bad) = walk.next(&bytes, &file, &known) {
                return Ok(Verified { bad: Some(bad), ..walk.found });
            }
        }
    }
    let missing = head.is_none().then(|| Bad {
        n: walk.found.last,
        file: "head.json".to_owned(),
        what: "the head is missing, so nobody can tell whether the end is".to_owned(),
    });
    Ok(Verified { bad: walk.end(&known).or(missing), ..walk.found })
}

/// The next line with its end, as far as it is there.
pub(super) fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.take(MOST_LINE_BYTES).read_until(b'\n', &mut bytes)?;
    Ok((!bytes.is_empty()).then_some(bytes))
}

/// A walk along the chain.
struct Walk {
    first: u64,
    before: Option<Seen>,
    /// A line that does not fit the one before it: the next one tells which of the two was changed.
    suspect: Option<Bad>,
    found: Verified,
}

impl Walk {
    fn next(&mut self, bytes: &[u8], file: &str, known: &[&Head]) -> Option<Bad> {
        match bytes.strip_suffix(b"\n") {
            Some(line) => self.line(line, file, known),
            // Still being written, where nobody knows of its end.
            None if furthest(known) <= self.found.last => None,
            None => self.line(bytes, file, known),
        }
    }

    fn line(&mut self, bytes: &[u8], file: &str, known: &[&Head]) -> Option<Bad> {
        let expected = self.before.as_ref().map_or(self.first, |before| before.line.n + 1);
        let bad = |n, what: String| Some(Bad { n, file: file.to_owned(), what });
        let Ok(line) = serde_json::from_slice::<Line>(bytes) else {
            return self.suspect.take().or_else(|| bad(expected, "it cannot be read".to_owned()));
        };
        let seen = Seen { sha256: sha256_hex(bytes), file: file.to_owned(), line };
        if let Some(suspect) = self.suspect.take() {
            // The line before does not fit its own predecessor. If this one agrees with it, it is as it was written.
            let agrees = self.before.as_ref().is_some_and(|before| before.sha256 == seen.line.before);
            let changed = suspect.n + u64::from(!agrees);
            return Some(Bad { n: changed, ..suspect });
        }
        if seen.line.n != expected {
            return bad(expected, format!("entry {} stands in its place", seen.line.n));
        }
        if seen.line.event == OPENED && !seen.line.error.is_empty() {
            return bad(expected, format!("when the node started, {}", seen.line.error));
        }
        if let Some(head) = known.iter().find(|head| head.n == expected && head.sha256 != seen.sha256) {
            return bad(head.n, "it is another one than was written down outside of the journal".to_owned());
        }
        let fits = match &self.before {
            Some(before) => before.sha256 == seen.line.before,
            None => expected > 1 || seen.line.before.is_empty(),
        };
        if !fits {
            let n = expected.saturating_sub(1);
            let file = self.before.as_ref().map_or(file.to_owned(), |before| before.file.clone());
            self.suspect = Some(Bad { n, file, what: "it was changed after it was written".to_owned() });
        }
        self.found.lines += 1;
        self.found.last = expected;
        self.before = Some(seen);
        None
    }

    /// What is wrong with the end.
    fn end(&mut self, known: &[&Head]) -> Option<Bad> {
        if let Some(suspect) = self.suspect.take() {
            return Some(suspect);
        }
        let furthest = furthest(known);
        (furthest > self.found.last).then(|| Bad {
            n: self.found.last + 1,
            file: self.before.as_ref().map_or_else(String::new, |before| before.file.clone()),
            what: format!("it is missing, and so is what came after it up to entry {furthest}"),
        })
    }
}

fn furthest(known: &[&Head]) -> u64 {
    known.iter().map(|head| head.n).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
