//! `tmctl failures`: what broke and what was done about it; `report` tells of one that only the owner saw.

use base::{Result, time};
use clap::Subcommand;
use proto::admin::{FailureItem, ListFailuresRequest, ListFailuresResponse, ReportFailureRequest};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table};
use crate::text::{self, List};

/// What can be done with failures.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows them, newest first
    List {
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Tells of a failure that was seen from outside
    Report {
        /// What failed: a node, a worker as node/worker, a model
        #[arg(long)]
        subject: String,
        /// What kind of failure it is
        #[arg(long, value_parser = KINDS)]
        kind: String,
        /// How bad it is
        #[arg(long, value_parser = SEVERITIES, default_value = "medium")]
        severity: String,
        /// What was seen
        #[arg(long, default_value = "")]
        detail: String,
    },
}

const KINDS: [&str; 6] =
    ["system-error", "performance-degradation", "resource-exhaustion", "model-failure", "network", "security"];
const SEVERITIES: [&str; 4] = ["low", "medium", "high", "critical"];

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    let mut admin = servers.connect().await?.admin();
    match verb.unwrap_or(Verb::List { limit: 100 }) {
        Verb::List { limit } => {
            let response = call(CALL_LIMIT, admin.list_failures(ListFailuresRequest { limit })).await?;
            screen.show(|style| table(&response, time::unix_ms(), style), &json(&response))?;
        }
        Verb::Report { subject, kind, severity, detail } => {
            let request = ReportFailureRequest { subject, kind, severity, detail };
            let response = call(CALL_LIMIT, admin.report_failure(request)).await?;
            screen.show(|_| format!("reported as {}\n", response.id), &Reported { id: &response.id })?;
        }
    }
    Ok(Verdict::Done)
}

fn table(response: &ListFailuresResponse, now_unix_ms: u64, style: Style) -> String {
    let mut table = Table::new(["ID", "AT", "SUBJECT", "KIND", "SEVERITY", "REMEDY", "OUTCOME", "DETAIL"]);
    for failure in &response.failures {
        let severity = match failure.severity.as_str() {
            "critical" => Cell::state("critical"),
            other => other.into(),
        };
        let outcome = if failure.is_active { "open" } else { text::or_dash(&failure.outcome) };
        table.row([
            failure.id.as_str().into(),
            text::clock(failure.at_unix_ms).into(),
            failure.subject.as_str().into(),
            failure.kind.as_str().into(),
            severity,
            text::or_dash(&failure.remedy).into(),
            outcome.into(),
            failure.detail.as_str().into(),
        ]);
    }
    let sum = match response.failures.is_empty() {
        true => String::new(),
        false => format!(
            "{} open; {} of the ended ones were mended\n",
            response.active,
            text::percent(response.recovery_rate)
        ),
    };
    table.render(style, "no failures") + &sum + &text::seen_by(response.view.as_ref(), now_unix_ms)
}

#[derive(Serialize)]
struct Reported<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct Failures<'a> {
    #[serde(flatten)]
    list: List<Item<'a>>,
    active: u32,
    recovery_rate: f64,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    at: String,
    subject: &'a str,
    kind: &'a str,
    severity: &'a str,
    remedy: Option<&'a str>,
    outcome: Option<&'a str>,
    detail: &'a str,
    is_active: bool,
}

fn json(response: &ListFailuresResponse) -> impl Serialize + '_ {
    fn item(failure: &FailureItem) -> Item<'_> {
        Item {
            id: &failure.id,
            at: time::rfc3339(failure.at_unix_ms),
            subject: &failure.subject,
            kind: &failure.kind,
            severity: &failure.severity,
            remedy: text::filled(&failure.remedy),
            outcome: text::filled(&failure.outcome),
            detail: &failure.detail,
            is_active: failure.is_active,
        }
    }
    Failures {
        list: List::new(response.view.as_ref(), response.failures.iter().map(item).collect()),
        active: response.active,
        recovery_rate: response.recovery_rate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn failures_as_table_and_json() {
        let response = samples::failures();
        insta::assert_snapshot!("failures", table(&response, samples::NOW, Style::default()));
        insta::assert_snapshot!("failures_json", samples::json(&json(&response)));
        let none = ListFailuresResponse { view: samples::view(), ..Default::default() };
        insta::assert_snapshot!("failures_none", table(&none, samples::NOW, Style::default()));
    }
}
