//! The chunked transfer coding, followed in place: the payload of everything that one read brought becomes one frame.
//!
//! A stream of tokens mostly brings one chunk per read, whose payload is handed out without a copy. Only when several
//! chunks came at once are the later ones moved down over the framing between them.

use bytes::{Buf, Bytes, BytesMut};

/// Longest line that announces a chunk, extensions included; engines send at most 10 bytes.
const MOST_SIZE_LINE: usize = 1024;
/// Longest trailer section; no known engine sends any.
const MOST_TRAILERS: usize = 8 * 1024;

/// How far into a chunked body the reader is.
#[derive(Debug)]
pub(super) struct Chunked(State);

#[derive(Clone, Copy, Debug)]
enum State {
    Size,
    Data { left: u64 },
    DataEnd,
    Trailers { seen: usize },
    Done,
}

impl Chunked {
    /// Before the first chunk.
    pub(super) fn new() -> Self {
        Self(State::Size)
    }

    /// Whether the last chunk and its trailers were read.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// Takes all payload out of `buffer`, merged; empty when more must be read first. An error says what is wrong.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Bytes, &'static str> {
        let mut read = 0;
        let mut payload = 0..0;
        while let Some(step) = self.step(&buffer[read..])? {
            let next = read + step.length;
            if step.is_payload && payload.is_empty() {
                payload = read..next;
            } else if step.is_payload {
                buffer.copy_within(read..next, payload.end);
                payload.end += step.length;
            }
            read = next;
        }
        if payload.is_empty() {
            buffer.advance(read);
            return Ok(Bytes::new());
        }
        buffer.advance(payload.start);
        let frame = buffer.split_to(payload.len()).freeze();
        buffer.advance(read - payload.end);
        Ok(frame)
    }

    /// Reads one element at the front of `rest`; `None` when it is not whole yet, or after the end.
    fn step(&mut self, rest: &[u8]) -> Result<Option<Step>, &'static str> {
        if let State::Data { left } = self.0 {
            let length = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.0 = match left - length as u64 {
                0 => State::DataEnd,
                left => State::Data { left },
            };
            return Ok((length > 0).then_some(Step { length, is_payload: true }));
        }
        let (most, too_long) = match self.0 {
            State::Size => (MOST_SIZE_LINE, "a chunk's size line is too long"),
            State::DataEnd => (2, "a chunk is longer than it says"),
            State::Trailers { seen } => (MOST_TRAILERS - seen, "its trailers are too long"),
            State::Data { .. } | State::Done => return Ok(None),
        };
        let Some(end) = memchr::memchr(b'\n', &rest[..rest.len().min(most)]) else {
            return if rest.len() < most { Ok(None) } else { Err(too_long) };
        };
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        self.0 = self.after_line(line, end + 1)?;
        Ok(Some(Step { length: end + 1, is_payload: false }))
    }

    fn after_line(&self, line: &[u8], length: usize) -> Result<State, &'static str> {
        match self.0 {
            State::Size => match chunk_size(line).ok_or("a chunk's size is no number")? {
                0 => Ok(State::Trailers { seen: 0 }),
                left => Ok(State::Data { left }),
            },
            State::Trailers { seen } if !line.is_empty() => Ok(State::Trailers { seen: seen + length }),
            State::Trailers { .. } => Ok(State::Done),
            _ if line.is_empty() => Ok(State::Size),
            _ => Err("a chunk is longer than it says"),
        }
    }
}

/// An element of the coding that was read.
struct Step {
    length: usize,
    is_payload: bool,
}

/// The number in front of a chunk; extensions behind it mean nothing here.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (number, rest) = line.split_at(digits);
    if !(1..=16).contains(&digits) || rest.first().is_some_and(|byte| !matches!(byte, b';' | b' ' | b'\t')) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(chunked: &mut Chunked, pieces: &[&[u8]]) -> Result<Vec<Bytes>, &'static str> {
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            frames.push(chunked.take(&mut buffer)?);
        }
        Ok(frames)
    }

    #[test]
    fn chunks_of_one_read_are_one_frame() {
        let mut chunked = Chunked::new();
        let frames =
            read_all(&mut chunked, &[b"3\r\nabc\r\n2;x=y\r\nde\r\n4\r\nfg", b"hi\r\n0\r\nx: y\r\n\r\n"]).unwrap();
        assert_eq!(frames, ["abcdefg", "hi"]);
        assert!(chunked.is_done());
    }

    #[test]
    fn what_follows_the_end_stays_in_the_buffer() {
        let mut buffer = BytesMut::from(&b"1\r\na\r\n0\r\n\r\nHTTP/1.1"[..]);
        let mut chunked = Chunked::new();
        assert_eq!(chunked.take(&mut buffer).unwrap(), "a");
        assert_eq!((chunked.is_done(), &buffer[..]), (true, &b"HTTP/1.1"[..]));
    }

    #[test]
    fn broken_framing_is_refused() {
        let long = [b'1'; MOST_SIZE_LINE];
        let trailers = [b"0\r\n".to_vec(), b"x: y\r\n".repeat(MOST_TRAILERS / 6), b"x: y\r\n\r\n".to_vec()].concat();
        for bad in
            [b"x\r\n".as_slice(), b"\r\n", b"-1\r\n", b"3\r\nabcd\r\n", b"11111111111111111\r\n", &long, &trailers]
        {
            assert!(read_all(&mut Chunked::new(), &[bad]).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_payload(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
            let mut chunked = Chunked::new();
            let frames = read_all(&mut chunked, &pieces).unwrap();
            prop_assert_eq!(frames.concat(), chunks.concat());
            prop_assert!(chunked.is_done());
        }
    }
}
