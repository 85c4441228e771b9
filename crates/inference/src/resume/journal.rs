//! What a client holds of its stream: raw bytes while all goes well, parsed only when they must be.

use base::{Continuation, Dialect, Event, Finish};

use crate::wire::{Decoder, is_ended};

/// Raw bytes beyond this are folded into text, which is a tenth of their size. About 1,000 tokens: most answers end
/// before any of them is parsed.
const FOLD_BYTES: usize = 256 << 10;
/// So much is parsed at a time: the parser keeps a buffer of that size.
const PARSED_BYTES: usize = 8 << 10;
/// An answer longer than this is not kept; it goes on, but cannot be resumed.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// What follows from the bytes that the client holds.
pub(super) enum Progress {
    /// Nothing of the answer was sent, at most comments that keep the connection open.
    Nothing,
    /// The end mark was sent.
    Ended,
    /// The reason of the end was sent, but not the end mark.
    Finished(Finish),
    /// The text is open and can be continued.
    Open(Continuation),
    /// It cannot be continued, and why.
    Lost(&'static str),
}

/// The bytes sent to one client.
pub(super) struct Journal {
    dialect: Dialect,
    raw: Vec<u8>,
    folded: Option<Box<Folded>>,
    is_dropped: bool,
}

/// What the bytes before `raw` said.
struct Folded {
    decoder: Decoder,
    so_far: Continuation,
    has_begun: bool,
    has_call: bool,
    has_junk: bool,
    is_ended: bool,
}

impl Journal {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, raw: Vec::new(), folded: None, is_dropped: false }
    }

    /// Notes bytes that go to the client. The last ones stay raw, so that an end mark can be seen.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.raw.len() + bytes.len() > FOLD_BYTES {
            self.fold();
        }
        if !self.is_dropped {
            self.raw.extend_from_slice(bytes);
        }
    }

    /// Whether the stream ended as its dialect ends; a dropped journal cannot tell otherwise.
    pub(super) fn is_ended(&self) -> bool {
        self.is_dropped || is_ended(self.dialect, &self.raw)
    }

    /// Tokens of the answer so far, one per event.
    pub(super) fn tokens(&self) -> u32 {
        self.folded.as_ref().map_or(0, |folded| folded.so_far.tokens)
    }

    /// Parses what was kept.
    pub(super) fn progress(&mut self) -> Progress {
        self.fold();
        let Some(folded) = self.folded.as_ref().filter(|_| !self.is_dropped) else {
            return Progress::Lost("the answer is too long to be kept");
        };
        match folded.decoder.finish_seen() {
            _ if folded.is_ended => Progress::Ended,
            _ if folded.has_junk => Progress::Lost("what was sent cannot be read back"),
            _ if folded.decoder.has_other_choices() => Progress::Lost("it has more than one choice"),
            Some(finish) => Progress::Finished(finish),
            None if !folded.has_begun => Progress::Nothing,
            None if folded.has_call => Progress::Lost("a tool call is half sent"),
            None => Progress::Open(folded.so_far.clone()),
        }
    }

    fn fold(&mut self) {
        if self.is_dropped {
            return;
        }
        let dialect = self.dialect;
        let folded = self.folded.get_or_insert_with(|| Box::new(Folded::new(dialect)));
        folded.add(&self.raw);
        self.raw.clear();
        if folded.so_far.text.len() + folded.so_far.thinking.len() > MAX_KEPT_BYTES {
            self.is_dropped = true;
            self.raw = Vec::new();
            self.folded = None;
        }
    }
}

impl Folded {
    fn new(dialect: Dialect) -> Self {
        Self {
            decoder: Decoder::new(dialect, true),
            so_far: Continuation::default(),
            has_begun: false,
            has_call: false,
            has_junk: false,
            is_ended: false,
        }
    }

    fn add(&mut self, raw: &[u8]) {
        let mut events = Vec::new();
        for piece in raw.chunks(PARSED_BYTES) {
            self.has_junk |= self.decoder.feed(piece, &mut events).is_err();
            events.drain(..).for_each(|event| self.event(event));
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Start { id, model, created_s } => {
                self.has_begun = true;
                (self.so_far.response_id, self.so_far.model, self.so_far.created_s) = (id, model, created_s);
            }
            Event::Text(text) => {
                self.so_far.text.push_str(&text);
                self.so_far.tokens += 1;
            }
            Event::Thinking(text) => {
                self.so_far.thinking.push_str(&text);
                self.so_far.tokens += 1;
                self.so_far.thinking_tokens += 1;
            }
            Event::ToolCall { .. } => self.has_call = true,
            Event::Done(_) => self.is_ended = true,
            Event::Error(_) => self.has_junk = true,
            Event::Usage(_) => {}
        }
    }
}
