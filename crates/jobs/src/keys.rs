//! Where everything of a job is in the store.

use crate::JobId;

/// All records.
pub(crate) const RECORDS: &str = "jobs/records/";

/// All owners.
pub(crate) const OWNERS: &str = "jobs/owners/";

/// All wishes to cancel.
pub(crate) const CANCELS: &str = "jobs/cancel/";

/// All progress.
pub(crate) const PROGRESS: &str = "jobs/progress/";

/// What the job is and where it stands. While it has an owner, only the owner writes it.
pub(crate) fn record(id: JobId) -> String {
    format!("{RECORDS}{id}")
}

/// Which node works on it; ends with that node's lease.
pub(crate) fn owner(id: JobId) -> String {
    format!("{OWNERS}{id}")
}

/// There, once its owner shall stop.
pub(crate) fn cancel(id: JobId) -> String {
    format!("{CANCELS}{id}")
}

/// How far the run at hand is.
pub(crate) fn progress(id: JobId) -> String {
    format!("{PROGRESS}{id}")
}

/// Which job an idempotency key stands for.
pub(crate) fn idempotency(key: &str) -> String {
    format!("jobs/keys/{key}")
}

/// The input; its parts are below it.
pub(crate) fn input(id: JobId) -> String {
    format!("jobs/inputs/{id}")
}

/// The result; its parts are below it.
pub(crate) fn result(id: JobId) -> String {
    format!("jobs/results/{id}")
}

/// All step results of a job.
pub(crate) fn steps(id: JobId) -> String {
    format!("jobs/steps/{id}/")
}

/// The result of one step.
pub(crate) fn step(id: JobId, name: &str) -> String {
    format!("jobs/steps/{id}/{name}")
}

/// All parts of large step results of a job.
pub(crate) fn step_parts(id: JobId) -> String {
    format!("jobs/parts/{id}/")
}

/// The job that a key of `area` is about.
pub(crate) fn id_in(area: &str, key: &str) -> Option<JobId> {
    JobId::parse(key.strip_prefix(area)?)
}
