//! What the tests of several modules begin with.

use std::time::{Duration, Instant};

use base::time::Deadline;
use base::{AskHead, AskId, Dialect, Face, Kind, Needs, Priority, Sampling};

/// The head of a small chat that is not streamed, with a minute left.
pub fn head() -> AskHead {
    AskHead {
        id: AskId::random(),
        face: Face::OpenAi,
        dialect: Dialect::OpenAiChat,
        kind: Kind::General,
        priority: Priority::Normal,
        model: "m".into(),
        stream: false,
        wants_usage_chunk: false,
        sampling: Sampling::Varying,
        needs: Needs::default(),
        prompt_tokens: 1,
        max_output_tokens: None,
        choices: 1,
        prefix: [].into(),
        deadline: Deadline::after(Instant::now(), Duration::from_secs(60)),
        client: "".into(),
        traceparent: "".into(),
        only_worker: None,
    }
}
