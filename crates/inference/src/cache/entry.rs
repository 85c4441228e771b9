//! The form in which an answer is kept: a version, the time, the counts, the bytes.

use base::{Finish, Usage};
use bytes::{Buf, BufMut, Bytes};

use super::Cached;

/// Grows when the layout changes; an entry of another version is a miss.
const VERSION: u8 = 1;
const FINISHES: [Finish; 4] = [Finish::Stop, Finish::Length, Finish::ToolCalls, Finish::ContentFilter];

/// An answer with the time at which it was kept, in Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kept_ms: u64,
    pub(super) answer: Cached,
}

/// Writes what [`read`] reads.
pub(super) fn write(kept_ms: u64, answer: &Cached) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(answer.body.len() + 32);
    bytes.put_u8(VERSION);
    bytes.put_u64(kept_ms);
    let finish = answer.finish.and_then(|finish| FINISHES.iter().position(|&word| word == finish));
    bytes.put_u8(finish.map_or(0, |position| position as u8 + 1));
    bytes.put_u8(u8::from(answer.usage.is_some()));
    let usage = answer.usage.unwrap_or_default();
    for count in [usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens] {
        bytes.put_u32(count);
    }
    bytes.put_slice(&answer.body);
    bytes
}

/// Reads an entry; `None` when it is damaged or of another version.
pub(super) fn read(mut bytes: Bytes) -> Option<Entry> {
    if bytes.try_get_u8().ok()? != VERSION {
        return None;
    }
    let kept_ms = bytes.try_get_u64().ok()?;
    let finish = match bytes.try_get_u8().ok()? {
        0 => None,
        number => Some(*FINISHES.get(usize::from(number) - 1)?),
    };
    let has_usage = bytes.try_get_u8().ok()? == 1;
    let usage = Usage {
        prompt_tokens: bytes.try_get_u32().ok()?,
        completion_tokens: bytes.try_get_u32().ok()?,
        cached_tokens: bytes.try_get_u32().ok()?,
    };
    let answer = Cached { body: bytes, usage: has_usage.then_some(usage), finish };
    Some(Entry { kept_ms, answer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_reads_back_and_a_cut_one_does_not() {
        let usage = Usage { prompt_tokens: 1, completion_tokens: 2, cached_tokens: 3 };
        for (usage, finish) in [(None, None), (Some(usage), Some(Finish::ToolCalls))] {
            let answer = Cached { body: Bytes::from_static(b"{}"), usage, finish };
            let bytes = Bytes::from(write(77, &answer));
            assert_eq!(read(bytes.clone()), Some(Entry { kept_ms: 77, answer }));
            assert_eq!(read(bytes.slice(..20)), None);
            assert_eq!(read([&[VERSION + 1], &bytes[1..]].concat().into()), None);
        }
    }
}
