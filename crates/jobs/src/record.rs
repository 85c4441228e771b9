//! A job as it is stored.

use base::NodeId;
use serde::{Deserialize, Serialize};

use crate::progress::Progress;
use crate::{JobId, JobView, State};

/// What a job is and where it stands; small, because all of them are listed often. Its input and result are beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub kind: String,
    pub subject: String,
    pub who: String,
    pub key: Option<String>,
    /// Of the work that the key stands for; absent in records of earlier releases.
    #[serde(default)]
    pub digest: Option<String>,
    #[serde(flatten)]
    pub state: State,
    /// Its input is not whole yet: nobody sees it and nobody runs it.
    pub is_draft: bool,
    pub node: Option<NodeId>,
    pub attempts: u32,
    pub setbacks: Setbacks,
    pub created_unix_ms: u64,
    pub finished_unix_ms: Option<u64>,
    /// The last word of the run that finished it.
    pub progress: Option<Progress>,
}

/// What went wrong since the last step was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setbacks {
    /// Its node ended, or lost it.
    pub deaths: u32,
    /// The run at hand has recorded a step: if its node ends, that is no setback.
    pub has_advanced: bool,
    /// It failed for a passing reason.
    pub retries: u32,
    /// Not to be tried again before; by the clock of the node that let go of it.
    pub not_before_unix_ms: Option<u64>,
}

impl Record {
    /// What is shown of it; `running` is the progress of a run at hand.
    pub fn view(&self, id: JobId, running: Option<Progress>) -> JobView {
        let progress = if self.state.is_final() { self.progress.clone() } else { running };
        JobView {
            id,
            kind: self.kind.clone(),
            subject: self.subject.clone(),
            who: self.who.clone(),
            state: self.state.clone(),
            node: self.node.clone(),
            attempts: self.attempts,
            created_unix_ms: self.created_unix_ms,
            finished_unix_ms: self.finished_unix_ms,
            progress,
        }
    }
}

/// Which node works on a job.
#[derive(Debug, Serialize)]
pub(crate) struct Owner {
    pub node: NodeId,
    pub since_unix_ms: u64,
}
