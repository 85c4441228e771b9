//! What a test may change while the fake runs (`POST /fake/control`): its speed, and the way in which it fails.

use std::time::Duration;

use serde::Deserialize;

/// How fast the fake is and how it fails; each ask takes the values of the moment it arrives.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time to the first token, without prefill, load and queue.
    pub ttft: Duration,
    /// Time between tokens.
    pub token: Duration,
    /// Tokens of a whole answer.
    pub tokens: usize,
    /// Tokens of reasoning before the answer, where the ask allows it.
    pub thinking: usize,
    /// Speed of reading prompts, in tokens per second; no time is spent on them when `None`.
    pub prefill_rate: Option<f64>,
    /// Asks that may wait; one more is refused.
    pub queue: usize,
    /// What goes wrong.
    pub fail: Fail,
    /// How many asks it goes wrong for; all when `None`.
    pub fail_count: Option<u32>,
}

/// A way to fail. In JSON: `"hang"`, `{"cut_at": 7}`, `{"status": {"code": 503, "retry_after_s": 2}}`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fail {
    /// Nothing goes wrong.
    #[default]
    None,
    /// The connection is closed without an answer.
    Refuse,
    /// No answer ever comes.
    Hang,
    /// The stream stands still after so many tokens, with its connection open, until the next way to fail is given.
    HangMid(usize),
    /// The connection is cut after so many tokens.
    CutAt(usize),
    /// The connection is cut after so many bytes of the body.
    CutAtByte(usize),
    /// An error stands in the stream after so many tokens, as the dialect writes it; the status was 200.
    ErrorMid(usize),
    /// In place of the fourth token comes something that is not JSON, and the answer ends.
    Junk,
    /// `Content-Length` promises more than comes.
    WrongLength,
    /// In place of the fourth token comes a line that does not end.
    HugeLine,
    /// In place of the fourth token comes a frame that is cut inside a character, and then the connection is.
    HalfUtf8,
    /// The ask is refused with a status.
    Status {
        /// The HTTP status.
        code: u16,
        /// Seconds of `Retry-After`.
        #[serde(default)]
        retry_after_s: Option<u32>,
    },
    /// Asks are refused as by an engine that still loads its model, for so many milliseconds from now.
    LoadingMs(u64),
    /// The process ends with code 137, as if the kernel had taken it for its memory.
    OomExit,
    /// The process ends with this code.
    Exit(i32),
    /// This model cannot be loaded.
    LoadFail(String),
}

/// The body of `POST /fake/control`; what is not given stays as it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// See [`Settings::ttft`].
    pub ttft_ms: Option<f64>,
    /// See [`Settings::token`].
    pub token_ms: Option<f64>,
    /// See [`Settings::tokens`].
    pub tokens: Option<usize>,
    /// See [`Settings::thinking`].
    pub thinking: Option<usize>,
    /// See [`Settings::prefill_rate`]; 0 for none.
    pub prefill_rate: Option<f64>,
    /// Asks that run at once.
    pub slots: Option<usize>,
    /// See [`Settings::queue`].
    pub queue: Option<usize>,
    /// Time to load a model.
    pub load_ms: Option<f64>,
    /// See [`Settings::fail`]; giving it resets the count.
    pub fail: Option<Fail>,
    /// See [`Settings::fail_count`].
    pub fail_count: Option<u32>,
}

impl Settings {
    /// Takes over what `change` says of them.
    pub fn apply(&mut self, change: &Change) {
        let time = |ms: f64| Duration::from_secs_f64((ms / 1e3).max(0.0));
        self.ttft = change.ttft_ms.map_or(self.ttft, time);
        self.token = change.token_ms.map_or(self.token, time);
        self.tokens = change.tokens.unwrap_or(self.tokens);
        self.thinking = change.thinking.unwrap_or(self.thinking);
        self.queue = change.queue.unwrap_or(self.queue);
        if let Some(rate) = change.prefill_rate {
            self.prefill_rate = (rate > 0.0).then_some(rate);
        }
        if let Some(fail) = &change.fail {
            self.fail = fail.clone();
            self.fail_count = None;
        }
        self.fail_count = change.fail_count.or(self.fail_count);
    }

    /// The way in which the ask that just came fails; counts it.
    pub fn take_fail(&mut self) -> Fail {
        let fail = self.fail.clone();
        match &mut self.fail_count {
            Some(0 | 1) if fail != Fail::None => {
                (self.fail, self.fail_count) = (Fail::None, None);
            }
            Some(left) if fail != Fail::None => *left -= 1,
            _ => {}
        }
        fail
    }

    /// How routes other than asks (lists, health) fail: only while the whole engine is gone for an open time, so that a
    /// probe never uses up a failure that was counted for an ask.
    pub fn fail_of_the_rest(&self) -> Fail {
        match self.fail {
            Fail::Refuse | Fail::Hang if self.fail_count.is_none() => self.fail.clone(),
            Fail::LoadingMs(_) => self.fail.clone(),
            _ => Fail::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            ttft: Duration::ZERO,
            token: Duration::ZERO,
            tokens: 60,
            thinking: 0,
            prefill_rate: None,
            queue: 0,
            fail: Fail::None,
            fail_count: None,
        }
    }

    #[test]
    fn a_counted_failure_ends_by_itself() {
        let mut settings = settings();
        settings.apply(&serde_json::from_str(r#"{"fail": {"cut_at": 3}, "fail_count": 2, "token_ms": 1.5}"#).unwrap());
        assert_eq!(settings.token, Duration::from_micros(1500));
        let seen: Vec<Fail> = (0..3).map(|_| settings.take_fail()).collect();
        assert_eq!(seen, [Fail::CutAt(3), Fail::CutAt(3), Fail::None]);
    }

    #[test]
    fn a_probe_does_not_use_up_a_failure() {
        let mut settings = settings();
        settings.apply(&serde_json::from_str(r#"{"fail": "hang", "fail_count": 1}"#).unwrap());
        assert_eq!(settings.fail_of_the_rest(), Fail::None);
        settings.apply(&serde_json::from_str(r#"{"fail": "hang"}"#).unwrap());
        assert_eq!(settings.fail_of_the_rest(), Fail::Hang);
    }
}
