//! An answer that is taken whole before anything is done with it, and never more of it than was agreed.

use bytes::Bytes;

use crate::error::{Code, Fault, Result};

/// Size of the first block for pieces; later ones grow with the answer.
const LEAST_BLOCK: usize = 4 << 10;
/// Blocks grow up to this: what is reserved and not used stays a small part of a large answer.
const MOST_BLOCK: usize = 1 << 20;

/// The bytes of an answer so far.
///
/// A single piece is kept as it came. Several are copied once into blocks, which are never copied because the answer
/// grows: an engine that sends without end costs the limit, and not the limit three times.
#[derive(Debug)]
pub struct Gathered {
    most: usize,
    length: usize,
    first: Bytes,
    blocks: Vec<Vec<u8>>,
}

impl Gathered {
    /// Takes at most `most` bytes.
    pub const fn new(most: usize) -> Self {
        Self { most, length: 0, first: Bytes::new(), blocks: Vec::new() }
    }

    /// Whether an answer of `length` bytes, as its head tells it, may come at all.
    pub fn check(&self, length: u64) -> Result<()> {
        if length > self.most as u64 { Err(self.too_long()) } else { Ok(()) }
    }

    /// Takes a piece. With the first byte over the limit, everything is let go.
    pub fn add(&mut self, piece: Bytes) -> Result<()> {
        self.note(piece.len())?;
        if self.length == piece.len() {
            self.first = piece;
        } else {
            self.copy(&piece);
        }
        Ok(())
    }

    /// As [`Gathered::add`], for a piece that its owner wants back.
    pub fn add_copy(&mut self, piece: &[u8]) -> Result<()> {
        self.note(piece.len())?;
        self.copy(piece);
        Ok(())
    }

    /// All of it; nothing is left.
    pub fn take(&mut self) -> Bytes {
        let length = std::mem::take(&mut self.length);
        let mut blocks = std::mem::take(&mut self.blocks);
        if blocks.is_empty() {
            return std::mem::take(&mut self.first);
        }
        if blocks.len() == 1 {
            return blocks.pop().unwrap_or_default().into();
        }
        let mut all = Vec::with_capacity(length);
        // Each block goes as soon as it is copied.
        for block in blocks {
            all.extend_from_slice(&block);
        }
        all.into()
    }

    fn note(&mut self, more: usize) -> Result<()> {
        self.length = self.length.saturating_add(more);
        if self.length <= self.most {
            return Ok(());
        }
        drop(self.take());
        Err(self.too_long())
    }

    fn copy(&mut self, piece: &[u8]) {
        let first = std::mem::take(&mut self.first);
        self.append(&first);
        self.append(piece);
    }

    fn append(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if let Some(block) = self.blocks.last_mut() {
            let (fits, more) = rest.split_at(rest.len().min(block.capacity() - block.len()));
            block.extend_from_slice(fits);
            rest = more;
        }
        if !rest.is_empty() {
            let mut block = Vec::with_capacity(self.length.clamp(LEAST_BLOCK, MOST_BLOCK).max(rest.len()));
            block.extend_from_slice(rest);
            self.blocks.push(block);
        }
    }

    fn too_long(&self) -> Fault {
        let message = format!("the answer is over the limit of {} bytes for an answer that is not streamed", self.most);
        Fault::new(Code::EngineFailed, message)
            .hint("ask with \"stream\": true, or with a smaller limit on tokens, or raise limits.answer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_are_given_back_in_order() {
        for sizes in [vec![], vec![3], vec![0, 5], vec![1, 1, 1], vec![9_000, 1, 70_000, 3_000_000, 12]] {
            let mut gathered = Gathered::new(4 << 20);
            let mut expected = Vec::new();
            for (at, size) in sizes.iter().enumerate() {
                let piece = vec![b'a' + at as u8; *size];
                expected.extend_from_slice(&piece);
                if at % 2 == 0 { gathered.add(piece.into()).unwrap() } else { gathered.add_copy(&piece).unwrap() }
            }
            assert!(gathered.take() == expected, "{sizes:?}");
            assert!(gathered.take().is_empty());
        }
    }

    #[test]
    fn single_piece_is_not_copied() {
        let piece = Bytes::from_static(b"whole");
        let mut gathered = Gathered::new(10);
        gathered.add(piece.clone()).unwrap();
        assert_eq!(gathered.take().as_ptr(), piece.as_ptr());
    }

    #[test]
    fn what_is_over_the_limit_is_refused_and_let_go() {
        let mut gathered = Gathered::new(10);
        gathered.add(Bytes::from_static(b"12345")).unwrap();
        gathered.add(Bytes::from_static(b"67890")).unwrap();
        assert_eq!(gathered.add(Bytes::from_static(b"x")).unwrap_err().code, Code::EngineFailed);
        assert!(gathered.blocks.is_empty() && gathered.first.is_empty());
        assert!(gathered.check(10).is_ok() && gathered.check(11).is_err());
    }

    #[test]
    fn blocks_hold_little_more_than_the_bytes() {
        let mut gathered = Gathered::new(usize::MAX);
        (0..300_000).for_each(|_| gathered.add(Bytes::from_static(b"0123456789")).unwrap());
        let reserved: usize = gathered.blocks.iter().map(Vec::capacity).sum();
        assert!(reserved <= 4 << 20, "{reserved} bytes for 3,000,000");
    }
}
