//! What the gateway costs and how it behaves, next to nginx in the same run.
//!
//! The gateway under test has core 0 for itself; the load and the fake engines share core 1. CPU time of the gateway's
//! whole process tree per ask or token that the clients counted is the figure, and its ratio to nginx: rates and
//! latencies of a busy machine say little. Rounds alternate between the gateways, and the median counts. Every answer is
//! checked to the byte.

mod engines;
mod gateway;
mod load;
mod machine;
mod report;
mod scenarios;
pub mod statistics;

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use engines::Lab;
use gateway::Kind;
use report::{Measured, Report};
use scenarios::Scenario;

/// Core of the gateway under test.
const GATEWAY_CORE: usize = 0;
/// Core of the load and of the engines.
const LOAD_CORE: usize = 1;

/// Measures the gateway against nginx, with fake engines on loopback.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench")]
pub struct Options {
    /// Only these scenarios.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Rounds of each scenario; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Length of a measurement, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// What is measured against nginx; nginx against itself shows how far to trust the ratios.
    #[arg(long, value_enum, default_value_t = Kind::Tmd)]
    ours: Kind,
    /// Writes the table to this file as well.
    #[arg(long)]
    write: Option<PathBuf>,
}

/// Runs the scenarios and prints the table.
pub fn run(options: &Options) -> Result<()> {
    prepare()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let text = runtime.block_on(measure_all(options))?.to_string();
    std::io::stdout().write_all(text.as_bytes())?;
    if let Some(path) = &options.write {
        std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}

/// Pins this process (and with it the engines), and lets everything open as many files as the machine allows.
fn prepare() -> Result<()> {
    let mut core = CpuSet::new();
    core.set(LOAD_CORE);
    sched_setaffinity(None, &core).context("could not pin to core 1; hint: the bench needs two cores")?;
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).context("could not raise the limit of files")
}

async fn measure_all(options: &Options) -> Result<Report> {
    let mut report = Report::begin(options.ours, options.rounds, options.seconds);
    let scenarios = if options.only.is_empty() { Scenario::all() } else { options.only.clone() };
    for scenario in scenarios {
        let mut measured = Measured::new(scenario.figures().len());
        for round in 1..=options.rounds {
            for (ours, kind) in [(false, Kind::Nginx), (true, options.ours)] {
                writeln!(std::io::stderr(), "{scenario:?}, round {round}: {kind:?}")?;
                let lab = Lab::new(options.seconds);
                match scenario.measure(kind, &lab).await {
                    Ok(figures) => measured.add(ours, &figures),
                    Err(error) => {
                        let name = if ours { "ours" } else { "nginx" };
                        writeln!(std::io::stderr(), "{scenario:?} of {name} failed: {error:#}")?;
                        measured.fail(ours, &error);
                    }
                }
            }
        }
        report.add(scenario, measured);
    }
    report.end();
    Ok(report)
}
