//! The table: medians, ratios, and whether what is wanted is met.

use std::fmt;
use std::process::Command;

use super::gateway::Kind;
use super::machine;
use super::scenarios::{Bar, Figure, Scenario};
use super::statistics::median;

/// The figures of all rounds of a scenario.
pub struct Measured {
    nginx: Vec<Vec<f64>>,
    ours: Vec<Vec<f64>>,
    failed: Option<String>,
}

impl Measured {
    /// Nothing measured yet of so many figures.
    pub fn new(figures: usize) -> Self {
        Self { nginx: vec![Vec::new(); figures], ours: vec![Vec::new(); figures], failed: None }
    }

    /// Adds the figures of a round.
    pub fn add(&mut self, ours: bool, figures: &[f64]) {
        let side = if ours { &mut self.ours } else { &mut self.nginx };
        for (all, &figure) in side.iter_mut().zip(figures) {
            all.push(figure);
        }
    }

    /// A round failed.
    pub fn fail(&mut self, ours: bool, error: &anyhow::Error) {
        let name = if ours { "ours" } else { "nginx" };
        self.failed.get_or_insert(format!("{name}: {error:#}"));
    }
}

/// One line of the table.
struct Row {
    figure: Figure,
    nginx: Option<f64>,
    ours: Option<f64>,
}

/// The whole report.
pub struct Report {
    head: String,
    rows: Vec<Row>,
    failures: Vec<String>,
    load_at_begin: String,
    load_at_end: String,
}

impl Report {
    /// Notes where and how it is measured.
    pub fn begin(ours: Kind, rounds: usize, seconds: f64) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let all_cores = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default().matches("processor\t").count();
        let head = format!(
            "# Bench: nginx and {}\n\nMeasured by `make bench` on {}: {}, {all_cores} cores ({cores} for the load). \
             Medians of {rounds} rounds in turns, {seconds} s each; gateway on core 0, load and fake engines on core 1.\n",
            if ours == Kind::Tmd { "tmd" } else { "nginx again" },
            date(),
            machine::processor(),
        );
        let load_at_begin = machine::load_average();
        Self { head, rows: Vec::new(), failures: Vec::new(), load_at_begin, load_at_end: String::new() }
    }

    /// Adds a scenario.
    pub fn add(&mut self, scenario: Scenario, measured: Measured) {
        for ((figure, nginx), ours) in scenario.figures().into_iter().zip(&measured.nginx).zip(&measured.ours) {
            self.rows.push(Row { figure, nginx: median(nginx), ours: median(ours) });
        }
        self.failures.extend(measured.failed.map(|failed| format!("{scenario:?}: {failed}")));
    }

    /// Notes the load at the end.
    pub fn end(&mut self) {
        self.load_at_end = machine::load_average();
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}Load average {} before, {} after.\n", self.head, self.load_at_begin, self.load_at_end)?;
        writeln!(f, "| what | nginx | ours | ratio | first bar | aim |\n| --- | --- | --- | --- | --- | --- |")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        if !self.failures.is_empty() {
            writeln!(f, "\nNot measured, or not in every round:\n")?;
        }
        self.failures.iter().try_for_each(|failure| writeln!(f, "- {}", failure.replace('\n', " ")))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure { name, unit, bars } = self.figure;
        let show = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{} {unit}", number(value)));
        let ratio = match (self.nginx, self.ours) {
            // Near zero (added latency, failed asks) a ratio says nothing.
            (Some(nginx), Some(ours)) if nginx.abs() >= 1.0 => format!("{:.2}", ours / nginx),
            _ => "-".to_owned(),
        };
        let bar = |bar: Option<Bar>| {
            let Some(bar) = bar else { return String::new() };
            let wanted = match bar {
                Bar::Ratio(ratio) => format!("≤ {ratio} x"),
                Bar::AtMost(most) => format!("≤ {} {unit}", number(most)),
            };
            match self.ours.and_then(|ours| bar.is_met(self.nginx, ours)) {
                Some(true) => format!("{} met", wanted.trim_end()),
                Some(false) => format!("{} **missed**", wanted.trim_end()),
                None => wanted,
            }
        };
        let (first, aim) = (bar(bars.map(|bars| bars.0)), bar(bars.map(|bars| bars.1)));
        let (nginx, ours) = (show(self.nginx), show(self.ours));
        write!(f, "| {name} | {} | {} | {ratio} | {first} | {aim} |", nginx.trim_end(), ours.trim_end())
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    output.map_or_else(|_| "an unknown day".to_owned(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_is_met() {
        let mut report = Report::begin(Kind::Tmd, 3, 2.0);
        let mut measured = Measured::new(1);
        measured.add(false, &[20.0]);
        measured.add(true, &[26.0]);
        report.add(Scenario::Small, measured);
        let text = report.to_string();
        assert!(
            text.contains("| CPU / small ask | 20.0 µs | 26.0 µs | 1.30 | ≤ 1.5 x met | ≤ 1.1 x **missed** |"),
            "{text}"
        );
    }
}
