//! The zip archives that office documents are. Parts are unpacked into memory, by name, within limits; no name is ever
//! used as a path, and an archive within an archive is only bytes.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::{ReadError, limits};

/// An archive.
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Bytes that may still be unpacked.
    left: usize,
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| ReadError::broken("zip archive", error))?;
        limits::within("parts of the archive", zip.len(), limits::ARCHIVE_PARTS)?;
        Ok(Self { zip, left: limits::UNPACKED_BYTES })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// What the archive says of itself in its part `mimetype`; empty where it does not.
    pub(super) fn declared_media(mut self) -> String {
        let told = self.part("mimetype").ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&told).trim().to_owned()
    }

    /// Unpacks a part; `None` where there is none of that name.
    pub(super) fn part(&mut self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(index) = self.zip.index_for_name(name) else { return Ok(None) };
        let mut bytes = Vec::new();
        self.unpack(index, |piece| bytes.extend_from_slice(piece))?;
        Ok(Some(bytes))
    }

    /// Unpacks a part that must be there.
    pub(super) fn needed(&mut self, name: &str) -> Result<Vec<u8>, ReadError> {
        self.part(name)?.ok_or_else(|| ReadError::broken("document", format!("its part `{name}` is missing")))
    }

    /// Unpacks every part to nowhere, for readers that unpack by themselves and without limits.
    pub(super) fn measure(&mut self) -> Result<(), ReadError> {
        (0..self.zip.len()).try_for_each(|index| self.unpack(index, |_| {}))
    }

    fn unpack(&mut self, index: usize, mut take: impl FnMut(&[u8])) -> Result<(), ReadError> {
        let broken = |error: &dyn std::fmt::Display| ReadError::broken("zip archive", error);
        let is_locked = self.zip.by_index_raw(index).map_err(|error| broken(&error))?.encrypted();
        if is_locked {
            return Err(ReadError::Encrypted);
        }
        let mut part = self.zip.by_index(index).map_err(|error| broken(&error))?;
        let rated = part.compressed_size().saturating_mul(limits::UNPACKED_RATIO).max(limits::UNPACKED_UNRATED_BYTES);
        let (mut piece, mut unpacked) = (vec![0; 64 << 10], 0_u64);
        loop {
            let count = part.read(&mut piece).map_err(|error| broken(&error))?;
            if count == 0 {
                return Ok(());
            }
            unpacked += count as u64;
            if unpacked > rated {
                let what = "times the packed size of a part of the archive".to_owned();
                return Err(ReadError::TooMuch { what, limit: limits::UNPACKED_RATIO });
            }
            let too_much = || limits::within("unpacked bytes", usize::MAX, limits::UNPACKED_BYTES);
            let Some(left) = self.left.checked_sub(count) else { return too_much() };
            self.left = left;
            take(piece.get(..count).unwrap_or_default());
        }
    }
}
