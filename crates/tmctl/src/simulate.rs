//! `tmctl simulate`: the daemon's own router on recorded arrivals, beside the policies that others use. No server is asked.

use std::path::PathBuf;

use base::Result;
use routing::simulate::{Options, Policy, run as simulate};

use crate::screen::{Ended, Screen, Verdict};

/// What to simulate.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Arrivals: CSV with a header, or Mooncake's JSON lines
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Nodes and what they hold: TOML
    #[arg(long, value_name = "FILE")]
    nodes: PathBuf,
    /// Only this policy; may be given again. All are compared when it is left out
    #[arg(long = "policy", value_parser = policy)]
    policies: Vec<Policy>,
    /// Decides which rows are kept and how ties end
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of rows that is kept, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    thin: f64,
    /// How much faster than recorded the rows arrive
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    rate: f64,
}

/// Runs every policy and shows its figures.
pub fn run(screen: &mut Screen, args: Args) -> Result<Verdict, Ended> {
    let Args { trace, nodes, policies, seed, thin, rate } = args;
    let outcome = simulate(&Options { trace, nodes, policies, seed, thin, rate })?;
    screen.show(|_| outcome.to_table(), &outcome.to_json())?;
    Ok(Verdict::Done)
}

fn policy(text: &str) -> Result<Policy, String> {
    let names = || Policy::ALL.iter().map(|policy| policy.as_str()).collect::<Vec<_>>().join(", ");
    Policy::parse(text).ok_or_else(|| format!("give one of {}", names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_does_not_exist_is_refused_with_those_that_do() {
        assert_eq!(policy("tm"), Ok(Policy::Tm));
        insta::assert_snapshot!("simulate_policy", policy("magic").unwrap_err());
    }
}
