//! The version envelope around every stored value: `format u8 · checksum u64 · write u64 · payload`.
//!
//! `write` is a random number of the transaction that put the value. A writer whose answer got lost finds out with it
//! whether the value that it reads back is its own. The payload of format 2 is sealed for the value's place and its write.
//! Where encryption is on, format 1 is refused, and where it is off, format 2: the two are never mixed.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::sealing::{self, Seal, SealError};

const PLAIN: u8 = 1;
const SEALED: u8 = 2;
const CHECKED_AT: usize = 9;
const PAYLOAD_AT: usize = 17;

/// How much longer than its payload an envelope is at most.
pub(crate) const OVERHEAD: usize = PAYLOAD_AT + sealing::OVERHEAD;

/// A random number that tells one transaction from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WriteId(pub u64);

impl WriteId {
    pub fn random() -> Self {
        Self(fastrand::u64(..))
    }
}

/// Wraps `payload` for `place`, sealed where `seal` is on.
pub(crate) fn seal(seal: &Seal, place: &[u8], payload: &[u8], write: WriteId) -> Result<Bytes, SealError> {
    Ok(match seal.is_on() {
        true => wrap(SEALED, &seal.seal(&bound(place, write), payload)?, write),
        false => wrap(PLAIN, payload, write),
    })
}

fn wrap(format: u8, payload: &[u8], write: WriteId) -> Bytes {
    let mut checked = BytesMut::with_capacity(PAYLOAD_AT + payload.len());
    checked.put_u8(format);
    checked.put_u64_le(0);
    checked.put_u64_le(write.0);
    checked.put_slice(payload);
    let checksum = xxh3_64(&checked[CHECKED_AT..]);
    checked[1..CHECKED_AT].copy_from_slice(&checksum.to_le_bytes());
    checked.freeze()
}

/// Takes the payload out, or says what is wrong.
pub(crate) fn open(seal: &Seal, place: &[u8], mut sealed: Bytes) -> Result<(Bytes, WriteId), String> {
    let format = match sealed.first() {
        None => return Err("the value is empty".to_owned()),
        Some(format @ (&PLAIN | &SEALED)) => *format,
        Some(format) => return Err(format!("unknown format version {format}; this release knows {SEALED}")),
    };
    if sealed.len() < PAYLOAD_AT {
        return Err(format!("the value is cut off after {} bytes", sealed.len()));
    }
    let actual = xxh3_64(&sealed[CHECKED_AT..]);
    sealed.advance(1);
    if sealed.get_u64_le() != actual {
        return Err("the checksum of the value is wrong".to_owned());
    }
    let write = WriteId(sealed.get_u64_le());
    match (format == SEALED, seal.is_on()) {
        (false, false) => Ok((sealed, write)),
        (false, true) => Err("it is not sealed, and store.encryption is on".to_owned()),
        (true, _) => {
            let opened = seal.open(&bound(place, write), &sealed).map_err(|error| error.to_string())?;
            Ok((opened.into(), write))
        }
    }
}

/// Whether a value is neither sealed nor junk; for telling a store of plain values from an empty one.
pub(crate) fn is_plain(value: &[u8]) -> bool {
    value.first() == Some(&PLAIN)
}

/// What is sealed in a value, if it is a sealed one.
pub(crate) fn sealed_part(value: &[u8]) -> Option<&[u8]> {
    value.get(PAYLOAD_AT..).filter(|_| value.first() == Some(&SEALED))
}

/// What a sealed value is bound to.
fn bound(place: &[u8], write: WriteId) -> Vec<u8> {
    [place, &write.0.to_le_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &[u8] = b"store/key";

    fn both() -> [Seal; 2] {
        [Seal::default(), Seal::with_keys([1; 32], &[])]
    }

    #[test]
    fn what_was_sealed_opens_again() {
        for keys in both() {
            for payload in [&b""[..], b"x", &[0u8; 4096]] {
                let sealed = seal(&keys, PLACE, payload, WriteId(7)).unwrap();
                assert!(sealed.len() <= payload.len() + OVERHEAD);
                let (back, write) = open(&keys, PLACE, sealed).unwrap();
                assert_eq!((&back[..], write), (payload, WriteId(7)));
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        for keys in both() {
            let sealed = seal(&keys, PLACE, b"the value", WriteId(7)).unwrap();
            for at in 0..sealed.len() * 8 {
                let mut junk = sealed.to_vec();
                junk[at / 8] ^= 1 << (at % 8);
                assert!(open(&keys, PLACE, junk.into()).is_err(), "bit {at}");
            }
        }
    }

    #[test]
    fn any_cut_is_noticed() {
        for keys in both() {
            let sealed = seal(&keys, PLACE, b"the value", WriteId(7)).unwrap();
            for len in 0..sealed.len() {
                assert!(open(&keys, PLACE, sealed.slice(..len)).is_err(), "{len} bytes");
            }
        }
    }

    #[test]
    fn plain_and_sealed_are_never_taken_for_each_other_and_a_moved_value_is_found() {
        let [off, on] = both();
        let (plain, sealed) =
            (seal(&off, PLACE, b"x", WriteId(7)).unwrap(), seal(&on, PLACE, b"x", WriteId(7)).unwrap());
        assert_eq!(open(&on, PLACE, plain).unwrap_err(), "it is not sealed, and store.encryption is on");
        assert_eq!(open(&off, PLACE, sealed.clone()).unwrap_err(), "it is sealed, and store.encryption is off");
        let moved = open(&on, b"store/other", sealed).unwrap_err();
        assert_eq!(moved, "it was changed, or moved here from another place");
    }
}
