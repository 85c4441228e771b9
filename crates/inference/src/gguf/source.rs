//! A file that is read forwards, with every step checked against its end and against the most that a header may take.

use std::io::{self, BufReader, Read, Seek};

use super::GgufError;

/// Vocabularies are large; beyond this nothing is read.
pub(super) const MOST_HEADER_BYTES: u64 = 256 << 20;
const BUFFER_BYTES: usize = 64 << 10;

pub(super) struct Source<'a, R> {
    inner: BufReader<&'a mut R>,
    at: u64,
    file_bytes: u64,
}

impl<'a, R: Read + Seek> Source<'a, R> {
    pub fn new(file: &'a mut R, file_bytes: u64) -> Result<Self, GgufError> {
        file.rewind().map_err(|source| GgufError::Io { at: 0, source })?;
        Ok(Self { inner: BufReader::with_capacity(BUFFER_BYTES, file), at: 0, file_bytes })
    }

    /// Place of the next byte.
    pub const fn at(&self) -> u64 {
        self.at
    }

    pub const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The next `N` bytes.
    pub fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let end = self.end_of(N as u64, what)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        self.at = end;
        Ok(bytes)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.take(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.take(what).map(u64::from_le_bytes)
    }

    /// A count or length, which is refused above `limit`.
    pub fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, GgufError> {
        let at = self.at;
        let found = self.u64(what)?;
        if found > limit {
            return Err(GgufError::OverLimit { what, found, limit, at });
        }
        Ok(found)
    }

    /// The next `length` bytes; the caller has bounded them.
    pub fn bytes(&mut self, length: u64, what: &str) -> Result<Vec<u8>, GgufError> {
        let end = self.end_of(length, what)?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.fill(&mut bytes, what)?;
        self.at = end;
        Ok(bytes)
    }

    /// A text of at most `limit` bytes, which must be UTF-8.
    pub fn text(&mut self, what: &'static str, limit: u64) -> Result<String, GgufError> {
        let length = self.count(what, limit)?;
        let at = self.at;
        let bytes = self.bytes(length, what)?;
        String::from_utf8(bytes).map_err(|_| GgufError::NotText { what, at })
    }

    /// Passes over `length` bytes without reading them.
    pub fn skip(&mut self, length: u64, what: &str) -> Result<(), GgufError> {
        let end = self.end_of(length, what)?;
        // Within the header's limit, so it fits.
        let step = i64::try_from(length).unwrap_or(i64::MAX);
        self.inner.seek_relative(step).map_err(|source| GgufError::Io { at: self.at, source })?;
        self.at = end;
        Ok(())
    }

    fn end_of(&self, length: u64, what: &str) -> Result<u64, GgufError> {
        let end = self.at.saturating_add(length);
        if end > self.file_bytes {
            return Err(self.truncated(what, end));
        }
        if end > MOST_HEADER_BYTES {
            let limit = MOST_HEADER_BYTES;
            return Err(GgufError::OverLimit { what: "a header", found: end, limit, at: self.at });
        }
        Ok(end)
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<(), GgufError> {
        self.inner.read_exact(bytes).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(what, self.at + bytes.len() as u64),
            _ => GgufError::Io { at: self.at, source },
        })
    }

    fn truncated(&self, what: &str, end: u64) -> GgufError {
        GgufError::Truncated { what: what.to_owned(), end, file_bytes: self.file_bytes }
    }
}
