//! `tmctl simulate`: the daemon's own router on recorded arrivals, beside the policies that others use. No server is asked.

use std::path::PathBuf;

use base::Result;
use routing::simulate::{Figures, Options, Outcome, Policy, run as simulate};

use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table};

/// The columns that hold seconds.
const TIMES: [&str; 7] =
    ["TOTAL P50", "TOTAL P95", "TOTAL P99", "WAIT MEAN", "WAIT P95", "FIRST TOKEN P50", "FIRST TOKEN P95"];
/// What the columns and the two policies that are not plain mean.
const LEGEND: &str = "\
simulated, counted from an ask's arrival: TOTAL to the last token, WAIT to the start of its prompt (a load included)
`tm` is the daemon's own router; `oracle` knows how long each answer will be, which no router can
";

/// What to simulate.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Arrivals: CSV with the columns t_ms,in_tokens,out_tokens, or Mooncake's JSON lines
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Nodes: TOML with a [[node]] for each: name, prefill_tok_s, decode_tok_s, slots; if need be vram_gib, models
    #[arg(long, value_name = "FILE")]
    nodes: PathBuf,
    /// Only this policy; may be given again. All are compared when it is left out
    #[arg(long = "policy", value_parser = policy)]
    policies: Vec<Policy>,
    /// Decides which rows are kept and how ties end
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of rows that is kept, above 0 and up to 1
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
    screen.show(|style| page(&outcome, style), &outcome.to_json())?;
    Ok(Verdict::Done)
}

fn page(outcome: &Outcome, style: Style) -> String {
    let heading = ["POLICY", "ASKS", "REFUSED", "LOADS"].into_iter().chain(TIMES);
    let mut table = Table::with_heading(heading.map(Cell::from).collect());
    for (policy, figures) in &outcome.policies {
        table.row(row(*policy, figures));
    }
    table.render(style, "no policy ran") + LEGEND
}

fn row(policy: Policy, figures: &Figures) -> Vec<Cell> {
    let Figures { n, refused, loads, latency_s: total, wait_s: wait, ttft_s: first } = figures;
    let counts = [n, refused, loads].map(|count| count.to_string().into());
    // In one unit and to the right, so that policies can be compared at a glance.
    let seconds = [total.p50, total.p95, total.p99, wait.mean, wait.p95, first.p50, first.p95];
    let times = TIMES.into_iter().zip(seconds).map(|(head, value)| format!("{value:>0$.2} s", head.len() - 2).into());
    [policy.as_str().into()].into_iter().chain(counts).chain(times).collect()
}

fn policy(text: &str) -> Result<Policy, String> {
    let names = || Policy::ALL.iter().map(|policy| policy.as_str()).collect::<Vec<_>>().join(", ");
    Policy::parse(text).ok_or_else(|| format!("give one of {}", names()))
}

#[cfg(test)]
mod tests {
    use routing::simulate::Quantiles;

    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    #[test]
    fn figures_as_table_and_json() {
        let times = |p50| Quantiles { p50, p95: 9.0 * p50, p99: 12.5 * p50, mean: 1.5 * p50 };
        let figures = |p50| Figures {
            n: 900,
            latency_s: times(p50),
            wait_s: times(p50 / 3.0),
            ttft_s: times(p50 / 2.0),
            ..Figures::default()
        };
        let worse = Figures { refused: 12, loads: 3, ..figures(161.3) };
        let outcome = Outcome { policies: vec![(Policy::Tm, figures(2.4)), (Policy::LeastConnections, worse)] };
        insta::assert_snapshot!("simulate", page(&outcome, Style::default()));
        insta::assert_snapshot!("simulate_json", samples::json(&outcome.to_json()));
    }

    #[test]
    fn files_and_figures_that_cannot_be_used_are_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let (trace, nodes) = (folder.path().join("trace.csv"), folder.path().join("nodes.toml"));
        let none = Options { trace, nodes, policies: vec![], seed: 1, thin: 1.0, rate: 1.0 };
        let mut text = String::new();
        let mut refused = |options: &Options| {
            let fault = simulate(options).unwrap_err();
            assert!(fault.hint.is_some(), "{fault:?}");
            text.push_str(&fault_text(&fault).replace(&folder.path().display().to_string(), "FOLDER"));
        };
        refused(&Options { thin: 0.0, ..none.clone() });
        refused(&Options { rate: -1.0, ..none.clone() });
        refused(&none);
        std::fs::write(&none.trace, "when,in_tokens\n").unwrap();
        refused(&none);
        std::fs::write(&none.trace, "t_ms,in_tokens,out_tokens\n0,10,ten\n").unwrap();
        refused(&none);
        std::fs::write(&none.trace, "t_ms,in_tokens,out_tokens\n0,10,10\n").unwrap();
        for nodes in
            ["node = 1\n", "node = []\n", "[[node]]\nname = \"a\"\nprefill_tok_s = 0\ndecode_tok_s = 1\nslots = 1\n"]
        {
            std::fs::write(&none.nodes, nodes).unwrap();
            refused(&none);
        }
        insta::assert_snapshot!("simulate_refused", text);
    }

    #[test]
    fn a_policy_that_does_not_exist_is_refused_with_those_that_do() {
        assert_eq!(policy("tm"), Ok(Policy::Tm));
        insta::assert_snapshot!("simulate_policy", policy("magic").unwrap_err());
    }
}
