//! A job as callers see it: what they submit, and what they are shown.

use std::fmt;
use std::str::FromStr;

use base::{Code, Fault, NodeId, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::progress::Progress;

/// How much of an id is the millisecond in which it was made; enough for some centuries.
const TIME_BITS: u32 = 44;

/// The most bytes of a message that a failed job keeps.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// A job: `job-` and 16 hex digits, the time first, so that ids sort by age.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct JobId(u64);

impl JobId {
    /// A new id made at `unix_ms`.
    pub(crate) fn at(unix_ms: u64) -> Self {
        let random_bits = u64::BITS - TIME_BITS;
        Self((unix_ms << random_bits) | fastrand::u64(..1 << random_bits))
    }

    /// Reads what `Display` wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("job-")?;
        let is_hex = hex.len() == 16 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hex.then(|| u64::from_str_radix(hex, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job-{:016x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for JobId {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for JobId {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text).ok_or_else(|| {
            Fault::invalid(format!("`{}` is not the id of a job", text.escape_debug()))
                .hint("ids look like `job-` and 16 hex digits; list the jobs to see them")
        })
    }
}

/// What to do, as it is submitted.
#[derive(Clone, Debug, Default)]
pub struct NewJob {
    /// Which work it is, such as `plan`; nodes claim the kinds that they know.
    pub kind: String,
    /// What it is about, for people: a project and tag, `/` between. Projects take turns.
    pub subject: String,
    /// Who asked for it.
    pub who: String,
    /// The same key gives back the same job, as long as the job is kept.
    pub key: Option<String>,
    /// What the work is, in a few bytes: under the key of another one it is refused.
    pub digest: String,
    /// What the work needs.
    pub input: serde_json::Value,
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nobody works on it yet, or not at the moment.
    Waiting,
    /// A node works on it, or died doing so and the next one has not taken it up yet.
    Running,
    /// It has a result.
    Done,
    /// It ended without one.
    Failed {
        /// Why.
        fault: JobFault,
    },
    /// Somebody did not want it any more.
    Cancelled,
}

impl State {
    /// Whether nothing will happen any more.
    pub fn is_final(&self) -> bool {
        !matches!(self, State::Waiting | State::Running)
    }
}

/// Why a job failed, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFault {
    /// What kind of failure.
    pub code: Code,
    /// What could not be done, with its causes.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl From<&Fault> for JobFault {
    fn from(fault: &Fault) -> Self {
        let mut message = fault.full_message();
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        Self { code: fault.code, message, hint: fault.hint.clone() }
    }
}

/// A job as of now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Which work it is.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Who asked for it.
    pub who: String,
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
    /// The node that works on it, or did last.
    pub node: Option<NodeId>,
    /// How often a node took it up.
    pub attempts: u32,
    /// When it was submitted.
    pub created_unix_ms: u64,
    /// When it ended.
    pub finished_unix_ms: Option<u64>,
    /// How far it is, once the work has said so.
    pub progress: Option<Progress>,
}

/// Which jobs to list; nothing set means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only this kind.
    pub kind: Option<String>,
    /// Only those that are not finished.
    pub is_unfinished: bool,
}

impl Filter {
    pub(crate) fn admits(&self, job: &JobView) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == job.kind) && !(self.is_unfinished && job.state.is_final())
    }
}

/// The input of a job, as the work gets it.
#[derive(Debug)]
pub struct Input(pub(crate) Box<RawValue>);

impl Input {
    /// Reads it as what the work expects.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(self.0.get())
            .map_err(|error| Fault::invalid("could not read the input of the job").because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_their_time_and_read_back() {
        let (early, late) = (JobId::at(1_795_215_900_250), JobId::at(1_795_215_900_251));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(JobId::parse(&late.to_string()), Some(late));
        for bad in ["", "job-", "job-12", "run-0000000000000000", "job-000000000000000G", "job-+00000000000000f"] {
            assert_eq!(JobId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let fault = JobFault::from(&Fault::internal("ä".repeat(MAX_MESSAGE_BYTES)));
        assert_eq!(fault.message.len(), MAX_MESSAGE_BYTES);
    }

    #[test]
    fn a_view_as_json_names_its_state_beside_its_fields() {
        let fault = JobFault::from(&Fault::unavailable("no").hint("wait"));
        let json = serde_json::to_value(State::Failed { fault }).unwrap();
        assert_eq!(json["state"], "failed");
        assert_eq!(json["fault"]["code"], "unavailable");
        assert_eq!(serde_json::to_value(State::Waiting).unwrap()["state"], "waiting");
    }
}
