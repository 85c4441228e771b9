//! What the tests of several modules begin with.

use std::time::{Duration, Instant};

use base::time::Deadline;
use base::{AskHead, Dialect};

/// The head of a small chat that is not streamed, with a minute left.
pub fn head() -> AskHead {
    AskHead::plain(Dialect::OpenAiChat, Deadline::after(Instant::now(), Duration::from_secs(60)))
}
