//! Task Master's core: task trees and the rules that they keep, the tasks.json format, and plans made from requirements.
//!
//! Everything here decides over values: no I/O but in [`tasks_file`], no clock. Jobs and the store are in `projects`.

pub mod prd;
pub mod requirements;
pub mod task;
pub mod tasks;
mod words;

pub use prd::{Oddity, Prd, PrdError, Section};
pub use requirements::{Extracted, Requirement, Strength};
pub use task::{Complexity, Extra, Priority, Raw, Source, Status, Task, TaskId};
pub use tasks::Tasks;
