//! The router on recorded arrivals: a virtual clock, the nodes of a file, and the same code that routes in the daemon.
//!
//! What is modelled: each node serves its queue into its slots at fixed speeds, without slow-down by batching; a model
//! is loaded when its turn comes, pushing out the least recently used idle one. Only the policy `oracle` sees how long
//! answers will be; the others learn the mean as they go. `tm` also brings its gate: asks for models in memory go first,
//! within `max_wait`; all other policies have plain queues.

mod figures;
mod nodes;
mod policy;
mod trace;
mod world;

use std::path::{Path, PathBuf};

use base::{Code, Fault};

pub use figures::{Figures, Outcome, Quantiles};
pub use nodes::{NodeModel, NodeSpec, Nodes};
pub use policy::Policy;
pub use trace::{Arrival, Trace};

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Arrivals: CSV with a header, or Mooncake's JSON lines.
    pub trace: PathBuf,
    /// Nodes: TOML.
    pub nodes: PathBuf,
    /// What to compare; everything when empty.
    pub policies: Vec<Policy>,
    /// Decides which rows are kept and how ties end.
    pub seed: u64,
    /// Share of rows that is kept, 0 to 1.
    pub thin: f64,
    /// How much faster than recorded the rows arrive.
    pub rate: f64,
}

/// Reads the two files and runs every policy.
pub fn run(options: &Options) -> Result<Outcome, Fault> {
    if !(options.thin > 0.0 && options.thin <= 1.0) {
        return Err(Fault::invalid(format!("`thin` is {}, not a share", options.thin))
            .hint("give a number above 0 and up to 1"));
    }
    if !(options.rate > 0.0 && options.rate.is_finite()) {
        return Err(Fault::invalid(format!("`rate` is {}, not a factor", options.rate))
            .hint("give a number above 0, such as 2"));
    }
    let mut trace = Trace::parse(&read(&options.trace)?).map_err(|fault| in_file(fault, &options.trace))?;
    let nodes = Nodes::parse(&read(&options.nodes)?).map_err(|fault| in_file(fault, &options.nodes))?;
    trace.thin(options.thin, options.seed);
    trace.speed_up(options.rate);
    let policies = if options.policies.is_empty() { Policy::ALL } else { &options.policies };
    compare(&trace, &nodes, policies, options.seed)
}

/// Runs every policy on arrivals and nodes that are in memory.
pub fn compare(trace: &Trace, nodes: &Nodes, policies: &[Policy], seed: u64) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::default();
    for &policy in policies {
        let figures = world::World::new(trace, nodes, policy, seed)?.run();
        outcome.policies.push((policy, figures));
    }
    Ok(outcome)
}

fn in_file(mut fault: Fault, path: &Path) -> Fault {
    fault.message = format!("{}: {}", path.display(), fault.message);
    fault
}

fn read(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::InvalidArgument };
        Fault::new(code, format!("could not read `{}`", path.display()))
            .because(error)
            .hint("give the path of a readable text file")
    })
}

#[cfg(test)]
mod tests;
