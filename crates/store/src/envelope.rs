//! The version envelope around every stored value: `format u8 · checksum u64 · write u64 · payload`.
//!
//! `write` is a random number of the transaction that put the value. A writer whose answer got lost finds out with it
//! whether the value that it reads back is its own.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

const FORMAT: u8 = 1;
const CHECKED_AT: usize = 9;
const PAYLOAD_AT: usize = 17;

/// How much longer than its payload an envelope is.
pub(crate) const OVERHEAD: usize = PAYLOAD_AT;

/// A random number that tells one transaction from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteId(pub u64);

impl WriteId {
    pub fn random() -> Self {
        Self(fastrand::u64(..))
    }
}

/// Wraps `payload`.
pub(crate) fn seal(payload: &[u8], write: WriteId) -> Bytes {
    let mut checked = BytesMut::with_capacity(PAYLOAD_AT + payload.len());
    checked.put_u8(FORMAT);
    checked.put_u64_le(0);
    checked.put_u64_le(write.0);
    checked.put_slice(payload);
    let checksum = xxh3_64(&checked[CHECKED_AT..]);
    checked[1..CHECKED_AT].copy_from_slice(&checksum.to_le_bytes());
    checked.freeze()
}

/// Takes the payload out, or says what is wrong.
pub(crate) fn open(mut sealed: Bytes) -> Result<(Bytes, WriteId), String> {
    match sealed.first() {
        None => return Err("the value is empty".to_owned()),
        Some(&FORMAT) => {}
        Some(&format) => return Err(format!("unknown format version {format}; this release knows {FORMAT}")),
    }
    if sealed.len() < PAYLOAD_AT {
        return Err(format!("the value is cut off after {} bytes", sealed.len()));
    }
    let actual = xxh3_64(&sealed[CHECKED_AT..]);
    sealed.advance(1);
    if sealed.get_u64_le() != actual {
        return Err("the checksum of the value is wrong".to_owned());
    }
    let write = WriteId(sealed.get_u64_le());
    Ok((sealed, write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_again() {
        for payload in [&b""[..], b"x", &[0u8; 4096]] {
            let (back, write) = open(seal(payload, WriteId(7))).unwrap();
            assert_eq!((&back[..], write), (payload, WriteId(7)));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let sealed = seal(b"the value", WriteId(7));
        for at in 0..sealed.len() * 8 {
            let mut junk = sealed.to_vec();
            junk[at / 8] ^= 1 << (at % 8);
            assert!(open(junk.into()).is_err(), "bit {at}");
        }
    }

    #[test]
    fn any_cut_is_noticed() {
        let sealed = seal(b"the value", WriteId(7));
        for len in 0..sealed.len() {
            assert!(open(sealed.slice(..len)).is_err(), "{len} bytes");
        }
    }
}
