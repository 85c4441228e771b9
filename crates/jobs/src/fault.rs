//! What goes wrong with jobs, in words.

use base::{Code, Fault};

use crate::{JobId, MAX_DEATHS, MAX_WAITING};

pub(crate) fn unknown(id: JobId) -> Fault {
    Fault::new(Code::NotFound, format!("there is no job `{id}`")).hint("list the jobs; old finished ones are removed")
}

/// Who asks twice under one key means the same work.
pub(crate) fn other_work(id: JobId) -> Fault {
    Fault::new(Code::Conflict, format!("the key is taken: with it `{id}` was begun, which is other work"))
        .hint(format!("use another key; `tmctl jobs show {id}` tells what it is"))
}

/// Another node may work on it by now.
pub(crate) fn lost(id: JobId) -> Fault {
    Fault::new(Code::StaleEpoch, format!("this node does not own job `{id}` any more"))
        .hint("nothing is lost: whoever owns it goes on from its last step")
}

pub(crate) fn cancelled(id: JobId) -> Fault {
    Fault::new(Code::Cancelled, format!("job `{id}` was cancelled"))
}

/// This run is over, whatever becomes of the job.
pub(crate) fn over(id: JobId) -> Fault {
    Fault::new(Code::Cancelled, format!("this run of job `{id}` is over"))
}

pub(crate) fn deadly(id: JobId) -> Fault {
    Fault::internal(format!("job `{id}` lost its node {MAX_DEATHS} times at the same step"))
        .hint("look for the end of `tmd` in the logs of the nodes that ran it, before submitting it again")
}

pub(crate) fn too_many_waiting(waiting: usize) -> Fault {
    Fault::new(Code::Overloaded, format!("{waiting} jobs wait already, and no more than {MAX_WAITING} may"))
        .hint("cancel some, or come back when some are done")
        .retry_after(std::time::Duration::from_secs(10))
}

pub(crate) fn too_large(what: &str, bytes: usize, most: usize) -> Fault {
    Fault::new(Code::TooLarge, format!("{what} has {bytes} bytes, over the limit of {most}"))
        .hint("split it into smaller parts")
}

pub(crate) fn panicked(id: JobId) -> Fault {
    Fault::internal(format!("the work of job `{id}` panicked")).hint("this is a fault of the work: report it")
}
