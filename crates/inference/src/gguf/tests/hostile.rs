//! Any bytes at all are read or refused; how much time and memory that costs is measured in `tests/it/hostile_gguf.rs`.

use proptest::prelude::*;

use super::*;

/// Whatever is said about a file, asking for its memory must not panic either.
fn try_all(bytes: &[u8], told_bytes: u64) -> bool {
    let read = Header::read(&mut Cursor::new(bytes), told_bytes);
    match read {
        Ok(header) => {
            header.memory(u32::MAX, 64).total();
            header.memory_windowed(8_192, 4).total();
            header.capabilities();
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.hint().is_empty());
            false
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        try_all(&bytes, bytes.len() as u64);
    }

    #[test]
    fn any_bytes_behind_a_good_begin_are_read_or_refused(
        entries in 0..5_u64, tensors in 0..5_u64, bytes in prop::collection::vec(any::<u8>(), 0..4096),
    ) {
        let begin = [b"GGUF".to_vec(), 3_u32.to_le_bytes().to_vec(), tensors.to_le_bytes().to_vec(), entries.to_le_bytes().to_vec()];
        let bytes = [begin.concat(), bytes].concat();
        try_all(&bytes, bytes.len() as u64);
    }

    #[test]
    fn a_header_changed_in_places_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20), told in any::<u16>(),
    ) {
        let mut bytes = Sample::chat().bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        try_all(&bytes, bytes.len() as u64);
        try_all(&bytes, told.into());
    }
}
