//! Which model, which worker, which placement: decided by pure functions from values, for the daemon and the simulator.
//!
//! No I/O (but for the simulator's input files), no clock (`now` is passed), no randomness (a chance is passed). An ask
//! takes the way [`model::choose`] -> [`route::route`] over one [`Table`], a snapshot that is rebuilt with each report;
//! the leader asks [`placement::plan`]; a worker's gate queues in an [`admission::Queue`].

pub mod admission;
pub mod breaker;
pub mod budget;
pub mod leaning;
pub mod live;
pub mod model;
pub mod patience;
pub mod placement;
pub mod rates;
pub mod route;
pub mod settings;
pub mod simulate;
pub mod table;
#[cfg(test)]
mod testing;

pub use admission::Queue;
pub use breaker::Breaker;
pub use leaning::{Leaning, Side};
pub use live::{LiveGuard, LiveMap, Work, WorkerLive};
pub use model::{Catalogue, Choice, ModelIndex, Shipped, choose};
pub use placement::{Demand, Move, Plan, plan};
pub use route::{Chosen, Request, Route, route};
pub use settings::Settings;
pub use table::Table;
