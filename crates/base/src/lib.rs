//! The shared words of Taskmaster: ids, asks and answers, reports, errors, units, time and the one configuration.
//!
//! Everything here is a value. No I/O, no runtime, no wire format: a crate that depends only on `base` can be tested
//! without a process around it. What each word means is in `crates/README.md`.

pub mod answer;
pub mod ask;
pub mod beside;
pub mod config;
pub mod error;
pub mod grant;
pub mod ids;
pub mod json;
pub mod peek;
pub mod report;
pub mod retry;
pub mod time;
pub mod units;

pub use answer::{Answer, AnswerHead, BoxFrames, Event, EventAnswer, Events, Finish, Frames, RunSummary, Usage};
pub use ask::{Ask, AskHead, Continuation, Dialect, Face, Kind, Needs, Priority, Sampling};
pub use error::{Code, Fault, Result};
pub use grant::{Grant, KeyLimits, Scope};
pub use ids::{AskId, Epoch, Incarnation, ModelId, NodeId, RunId, WorkerId};
pub use units::ByteSize;

/// A boxed future that may be sent between threads; what object-safe traits of the workspace return.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
