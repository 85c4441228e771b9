//! Durable jobs: work in steps that survives the death of the node that does it.
//!
//! A job is accepted once it is whole in the store. A node claims it with a key that ends with the node's lease, does
//! its steps, and records each result in a transaction that holds only while that key does; so a step's result is
//! accepted once, and another node goes on from the last one. [`Jobs`] submits, shows and cancels, [`serve`] claims and
//! runs, [`Context`] is what the work sees. What to do with a job is decided in `decide`, without I/O.
//!
//! Every stored value is JSON with a version (`store::framed`); large ones are cut into parts (`large`).

mod claim;
mod context;
mod decide;
mod fault;
mod job;
mod jobs;
mod keys;
mod large;
mod patience;
mod progress;
mod record;
mod run;
mod serve;
mod sweep;
mod view;

use std::time::Duration;

pub use claim::Claimed;
pub use context::Context;
pub use job::{Filter, Input, JobFault, JobId, JobView, NewJob, State};
pub use jobs::Jobs;
pub use progress::Progress;
pub use serve::{Serving, serve};

/// The most bytes of a job's input, as JSON.
pub const MAX_INPUT_BYTES: usize = 32 << 20;

/// The most bytes of a step's result, and of a job's, as JSON.
pub const MAX_RESULT_BYTES: usize = 8 << 20;

/// The most steps that one run of a job may ask for.
pub const MAX_STEPS: usize = 10_000;

/// The most jobs that wait; more are refused. Nodes that submit at the very same moment may go over it by one each.
pub const MAX_WAITING: usize = 1_000;

/// How many finished jobs are kept; whoever finishes one removes those that finished before them.
pub const MAX_FINISHED: usize = 200;

/// A job that lost its node this many times, and recorded no step in between, fails.
pub const MAX_DEATHS: u32 = 3;

/// How often a job that failed for a passing reason is tried again without recording a step in between.
pub const MAX_RETRIES: u32 = 8;

/// The most bytes of a kind, a subject, a person, an idempotency key, or a step's name.
pub const MAX_NAME_BYTES: usize = 256;

/// How long the store may be away before a step that waits to be recorded gives up.
pub const STORE_PATIENCE: Duration = Duration::from_secs(600);
