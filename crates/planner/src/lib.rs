//! Task Master's core: task trees and the rules that they keep, the tasks.json format, and plans made from requirements.
//!
//! Deciding is pure: `edit`, `graph`, `query`, `report`, `prd`, `requirements`, `structural` and `gates` take values and
//! give values. `projects` keeps them in the store, `tasks_file` in a folder, `work` does what wants a model, as jobs.

mod circles;
mod digest;
pub mod edit;
pub mod gates;
pub mod github;
pub mod graph;
pub mod model;
pub mod planning;
pub mod prd;
pub mod projects;
pub mod query;
pub mod render;
pub mod report;
pub mod requirements;
pub mod schema;
pub mod structural;
pub mod sync;
pub mod task;
pub mod tasks;
pub mod tasks_file;
pub mod templates;
pub mod wire;
mod words;
pub mod work;

pub use edit::{Edit, NewTask};
pub use planning::Planning;
pub use task::{Complexity, Extra, Priority, Raw, Source, Status, Task, TaskId};
pub use tasks::Tasks;
