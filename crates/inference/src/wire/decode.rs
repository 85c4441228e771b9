//! Bytes of an answer to events, in whatever slices they come.
//!
//! Only whole lines are decoded, so a character that is cut in two by a read is never seen in halves. An answer is
//! complete once the engine told why it ended; a stream that stops before is cut.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use base::answer::Gathered;
use base::{Answer, BoxFrames, Code, Dialect, Event, EventAnswer, Events, Fault, Finish, Result, Usage};

use super::chunk::{self, CallPiece, Chunk};
use super::fault::{cut, in_stream, junk};
use super::{MAX_EVENT_BYTES, MAX_WHOLE_BYTES, is_lines};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Parses an answer of one dialect.
pub struct Decoder {
    dialect: Dialect,
    stream: bool,
    /// Bytes of a stream that are no whole line yet.
    buffer: Vec<u8>,
    /// An answer that is no stream.
    whole: Gathered,
    /// `data:` of the event that is not closed yet.
    data: Vec<u8>,
    usage: Option<Usage>,
    finish: Option<Finish>,
    /// The engine's index of each tool call seen; its place is our index.
    calls: Vec<Option<u32>>,
    is_started: bool,
    is_over: bool,
    has_other_choices: bool,
}

impl Decoder {
    /// Expects an answer in `dialect`, as a stream or whole.
    pub fn new(dialect: Dialect, stream: bool) -> Self {
        Self {
            dialect,
            stream,
            buffer: Vec::new(),
            whole: Gathered::new(MAX_WHOLE_BYTES),
            data: Vec::new(),
            usage: None,
            finish: None,
            calls: Vec::new(),
            is_started: false,
            is_over: false,
            has_other_choices: false,
        }
    }

    /// Takes no more than `most` bytes of an answer that is no stream.
    pub(crate) fn at_most(mut self, most: usize) -> Self {
        self.whole = Gathered::new(most);
        self
    }

    /// Takes the next bytes and adds what they complete to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<Event>) -> Result<()> {
        if self.is_over {
            return Ok(());
        }
        if !self.stream {
            return self.whole.add_copy(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        self.take_lines(out)?;
        if self.buffer.len() + self.data.len() > MAX_EVENT_BYTES {
            return Err(junk(format!("an answer with a piece of more than {MAX_EVENT_BYTES} bytes")));
        }
        Ok(())
    }

    /// The bytes have ended. Without a reason of the end before, the answer is cut.
    pub fn finish(&mut self, out: &mut Vec<Event>) -> Result<()> {
        if self.is_over {
            return Ok(());
        }
        if self.stream {
            let rest = std::mem::take(&mut self.buffer);
            // A last line may lack its line end; a cut one parses as nothing and is passed over.
            let line = strip_mark(&rest).trim_ascii();
            let last = if is_lines(self.dialect) { Some(line) } else { line.strip_prefix(b"data:") };
            self.data.extend_from_slice(last.unwrap_or_default().trim_ascii());
            let data = std::mem::take(&mut self.data);
            if data == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok() {
                self.object(&data, out)?;
            }
        } else {
            let whole = self.whole.take();
            let chunk = chunk::read(self.dialect, strip_mark(&whole)).map_err(|error| cut().because(error))?;
            self.chunk(chunk, out);
        }
        if !self.is_over {
            self.end(out)?;
        }
        Ok(())
    }

    /// The engine's reason for the end, when it was told.
    pub(crate) fn finish_seen(&self) -> Option<Finish> {
        self.finish
    }

    /// Whether the answer has more than one choice, of which only the first one is decoded.
    pub(crate) fn has_other_choices(&self) -> bool {
        self.has_other_choices
    }

    fn take_lines(&mut self, out: &mut Vec<Event>) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &buffer) {
            self.line(buffer.get(start..end).unwrap_or_default(), out)?;
            start = end + 1;
            if self.is_over {
                return Ok(());
            }
        }
        self.buffer = buffer;
        self.buffer.drain(..start);
        Ok(())
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<Event>) -> Result<()> {
        let line = strip_mark(line.strip_suffix(b"\r").unwrap_or(line));
        if is_lines(self.dialect) {
            return if line.trim_ascii().is_empty() { Ok(()) } else { self.object(line, out) };
        }
        if let Some(data) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        } else if line.is_empty() && !self.data.is_empty() {
            let mut data = std::mem::take(&mut self.data);
            self.object(&data, out)?;
            data.clear();
            self.data = data;
        }
        // Comments, names of events and retry hints say nothing that the data does not.
        Ok(())
    }

    fn object(&mut self, data: &[u8], out: &mut Vec<Event>) -> Result<()> {
        if data.trim_ascii() == b"[DONE]" {
            return self.end(out);
        }
        let chunk = chunk::read(self.dialect, data).map_err(|error| junk("a stream with junk in it").because(error))?;
        let is_last = chunk.is_last;
        self.chunk(chunk, out);
        if is_last && !self.is_over {
            self.end(out)?;
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: Chunk<'_>, out: &mut Vec<Event>) {
        self.has_other_choices |= chunk.is_other_choice;
        if let Some(error) = chunk.error {
            self.is_over = true;
            out.push(Event::Error(error));
            return;
        }
        if !self.is_started {
            self.is_started = true;
            let (id, model) = (chunk.id.into_owned(), chunk.model.into_owned());
            out.push(Event::Start { id, model, created_s: chunk.created.unix_s() });
        }
        if !chunk.thinking.is_empty() {
            out.push(Event::Thinking(chunk.thinking));
        }
        if !chunk.text.is_empty() {
            out.push(Event::Text(chunk.text));
        }
        for piece in chunk.calls {
            out.push(self.call(piece));
        }
        chunk::merge_usage(&mut self.usage, chunk.usage);
        self.finish = self.finish.or(chunk.finish);
    }

    fn call(&mut self, piece: CallPiece) -> Event {
        let known = piece.index.and_then(|index| self.calls.iter().position(|&seen| seen == Some(index)));
        let place = known.unwrap_or_else(|| {
            self.calls.push(piece.index);
            self.calls.len() - 1
        });
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        Event::ToolCall { index, id: piece.id, name: piece.name, arguments: piece.arguments }
    }

    fn end(&mut self, out: &mut Vec<Event>) -> Result<()> {
        self.is_over = true;
        let finish = self.finish.ok_or_else(cut)?;
        out.extend(self.usage.map(Event::Usage));
        // Ollama says `stop` after a tool call.
        let is_call = finish == Finish::Stop && !self.calls.is_empty();
        out.push(Event::Done(if is_call { Finish::ToolCalls } else { finish }));
        Ok(())
    }
}

fn strip_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

/// An answer in `dialect` as events, for callers that want text.
pub fn events(answer: Answer, dialect: Dialect, stream: bool) -> EventAnswer {
    let decoder = Decoder::new(dialect, stream);
    let decoded = Decoded { frames: answer.frames, decoder, waiting: VecDeque::new(), is_ended: false };
    EventAnswer { head: answer.head, events: Box::new(decoded) }
}

struct Decoded {
    frames: BoxFrames,
    decoder: Decoder,
    waiting: VecDeque<Event>,
    is_ended: bool,
}

impl Events for Decoded {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        loop {
            match self.waiting.pop_front() {
                Some(Event::Error(text)) => return Poll::Ready(Some(Err(in_stream(&text)))),
                Some(event) => return Poll::Ready(Some(Ok(event))),
                None if self.is_ended => return Poll::Ready(None),
                None => {}
            }
            let mut out = Vec::new();
            let fed = match ready!(self.frames.poll_frame(cx)) {
                Some(Ok(bytes)) => self.decoder.feed(&bytes, &mut out),
                Some(Err(fault)) => Err(fault),
                None => {
                    self.is_ended = true;
                    self.decoder.finish(&mut out)
                }
            };
            self.waiting.extend(out);
            if let Err(fault) = fed {
                self.is_ended = true;
                // What was whole before the fault is still given; the fault comes behind it.
                if self.waiting.is_empty() || fault.code == Code::Cancelled {
                    return Poll::Ready(Some(Err(fault)));
                }
                self.frames = Box::new(Failed(Some(fault)));
                self.is_ended = false;
            }
        }
    }
}

/// Frames that consist of a fault.
struct Failed(Option<Fault>);

impl base::Frames for Failed {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<bytes::Bytes>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}
