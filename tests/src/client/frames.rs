//! Splits a stream into its frames: SSE events or NDJSON lines.

use std::collections::VecDeque;
use std::time::Instant;

use http::{HeaderMap, header};

/// How an answer is cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Events, separated by a blank line.
    Sse,
    /// One JSON text per line.
    Lines,
    /// Not at all.
    Whole,
}

impl Framing {
    /// What the content type says.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("") {
            kind if kind.starts_with("text/event-stream") => Self::Sse,
            kind if kind.starts_with("application/x-ndjson") => Self::Lines,
            _ => Self::Whole,
        }
    }
}

/// One event or line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When its last byte came.
    pub at: Instant,
    /// The name of the event; empty when it has none.
    pub event: String,
    /// The data.
    pub data: String,
}

/// Takes bytes, gives frames.
pub struct Splitter {
    framing: Framing,
    bytes: Vec<u8>,
    ready: VecDeque<Frame>,
}

impl Splitter {
    /// No bytes yet.
    pub fn new(framing: Framing) -> Self {
        Self { framing, bytes: Vec::new(), ready: VecDeque::new() }
    }

    /// Takes `bytes` that came at `at`.
    pub fn push(&mut self, bytes: &[u8], at: Instant) {
        self.bytes.extend(bytes.iter().filter(|&&byte| byte != b'\r' || self.framing == Framing::Whole));
        let end: &[u8] = match self.framing {
            Framing::Sse => b"\n\n",
            Framing::Lines => b"\n",
            Framing::Whole => return,
        };
        while let Some(found) = memchr::memmem::find(&self.bytes, end) {
            let piece: Vec<u8> = self.bytes.drain(..found + end.len()).collect();
            self.ready.extend(frame(self.framing, &piece, at));
        }
    }

    /// The next whole frame.
    pub fn pop(&mut self) -> Option<Frame> {
        self.ready.pop_front()
    }

    /// What is left at the end of the stream.
    pub fn rest(&mut self) -> Option<Frame> {
        let piece = std::mem::take(&mut self.bytes);
        frame(self.framing, &piece, Instant::now())
    }
}

fn frame(framing: Framing, piece: &[u8], at: Instant) -> Option<Frame> {
    let text = String::from_utf8_lossy(piece);
    if framing != Framing::Sse {
        let data = text.trim().to_owned();
        return (!data.is_empty()).then_some(Frame { at, event: String::new(), data });
    }
    let field = |name: &str| {
        let values: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.strip_prefix(' ').unwrap_or(value))
            .collect();
        values.join("\n")
    };
    let frame = Frame { at, event: field("event"), data: field("data") };
    (!frame.data.is_empty() || !frame.event.is_empty()).then_some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_however_their_bytes_come() {
        let sse = b": ping\r\n\r\nevent: a\r\ndata: {\"x\":1}\r\n\r\ndata: [DONE]\n\n";
        let mut splitter = Splitter::new(Framing::Sse);
        sse.iter().for_each(|byte| splitter.push(&[*byte], Instant::now()));
        let one = splitter.pop().unwrap();
        assert_eq!((one.event.as_str(), one.data.as_str()), ("a", "{\"x\":1}"));
        assert_eq!(splitter.pop().unwrap().data, "[DONE]");
        assert_eq!((splitter.pop(), splitter.rest()), (None, None));
        let mut lines = Splitter::new(Framing::Lines);
        lines.push(b" {\"a\":1}\n{\"b\"", Instant::now());
        assert_eq!(lines.pop().unwrap().data, "{\"a\":1}");
        assert_eq!(lines.rest().unwrap().data, "{\"b\"");
    }
}
