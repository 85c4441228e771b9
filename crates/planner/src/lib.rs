//! Task Master's core: task trees and the rules that they keep, the tasks.json format, and plans made from requirements.
//!
//! Everything here decides over values: no I/O but in [`tasks_file`], no clock. Jobs and the store are in `projects`.

mod circles;
pub mod gates;
pub mod prd;
pub mod requirements;
pub mod structural;
pub mod task;
pub mod tasks;
pub mod templates;
mod words;

pub use gates::Gates;
pub use prd::{Oddity, Prd, PrdError, Section};
pub use requirements::{Extracted, Requirement, Strength};
pub use task::{Complexity, Extra, Priority, Raw, Source, Status, Task, TaskId};
pub use tasks::Tasks;
