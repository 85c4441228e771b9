//! Looking through a whole backup: every part is read and checked, and the first bad thing is named.

use std::io::{self, Read, Write};

use base::{Fault, Result};

use crate::frames::{About, BadBackup, Manifest, Part, Reader};

/// What a whole backup says of itself, and proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// What it is of.
    pub about: About,
    /// What it adds up to.
    pub manifest: Manifest,
}

/// Reads all of it.
pub fn verify(from: impl Read) -> Result<Whole> {
    let mut reader = Reader::new(from).map_err(Fault::from)?;
    let (mut about, mut manifest) = (None, None);
    while let Some(part) = reader.next_part().map_err(Fault::from)? {
        match part {
            Part::About(first) => about = Some(first),
            Part::End(last) => manifest = Some(last),
            Part::Entry { .. } | Part::File { .. } => {}
        }
    }
    let whole = about.zip(manifest).map(|(about, manifest)| Whole { about, manifest });
    whole.ok_or_else(|| Fault::from(BadBackup::Sum { why: "it does not say what it is of".to_owned() }))
}

/// Pieces that come from somewhere, as one stream of bytes; `None` ends it.
pub struct Pieces<F, P> {
    next: F,
    piece: Option<P>,
    taken: usize,
}

impl<P: AsRef<[u8]>, F: FnMut() -> io::Result<Option<P>>> Pieces<F, P> {
    /// The pieces that `next` gives.
    pub fn new(next: F) -> Self {
        Self { next, piece: None, taken: 0 }
    }
}

impl<P: AsRef<[u8]>, F: FnMut() -> io::Result<Option<P>>> Read for Pieces<F, P> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.piece.as_ref().and_then(|piece| piece.as_ref().get(self.taken..)).unwrap_or_default();
            if !left.is_empty() {
                let count = left.len().min(to.len());
                let (from, to) = (left.get(..count).unwrap_or_default(), to.get_mut(..count).unwrap_or_default());
                to.copy_from_slice(from);
                self.taken += count;
                return Ok(count);
            }
            self.piece = (self.next)()?;
            self.taken = 0;
            if self.piece.is_none() {
                return Ok(0);
            }
        }
    }
}

/// What is read of one side is written to the other: so a backup is looked through while it is written.
pub struct Copying<R, W> {
    /// From here.
    pub from: R,
    /// To here.
    pub to: W,
}

impl<R: Read, W: Write> Read for Copying<R, W> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(bytes)?;
        self.to.write_all(bytes.get(..count).unwrap_or_default())?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{FORMAT, Writer};

    #[test]
    fn a_backup_in_pieces_is_copied_as_it_is_and_looked_through() {
        let mut writer = Writer::default();
        let about = About { format: FORMAT, release: "1".into(), node: "n".into(), taken_ms: 1, revision: 7 };
        let mut all = writer.begin(&about).unwrap();
        all.extend(writer.entry("tasks/1", &[7; 5000]));
        all.extend(writer.end().unwrap().0);
        for length in [1, 13, 4096, all.len()] {
            let mut pieces = all.chunks(length);
            let mut copying = Copying { from: Pieces::new(|| Ok(pieces.next())), to: Vec::new() };
            let whole = verify(&mut copying).unwrap();
            assert_eq!((whole.about.revision, whole.manifest.entries), (7, 1));
            assert_eq!(copying.to, all);
        }
        let mut pieces = all[..all.len() - 1].chunks(100);
        assert!(verify(Pieces::new(|| Ok(pieces.next()))).unwrap_err().message.contains("torn"));
    }
}
