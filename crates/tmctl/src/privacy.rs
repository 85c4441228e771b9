//! `tmctl privacy`: what left the house and what was kept in, out of the journals of all nodes; and whether those are whole.

use std::time::Duration;

use base::time::{self, rfc3339};
use base::units::{format_duration, parse_duration};
use base::{Fault, Result};
use clap::Subcommand;
use proto::admin::{
    AuditItem, EgressItem, JournalItem, PrivacyReportRequest, PrivacyReportResponse, VerifyAuditRequest,
    VerifyAuditResponse,
};
use serde::Serialize;

use crate::client::{Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table, Tone};
use crate::text::{self, List};

/// Every node reads its whole journal for it.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// What can be done with the record of what was dialled.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Sums it up by destination and purpose
    Report {
        /// How far back, such as 24h or 30m
        #[arg(long, default_value = "24h", value_name = "TIME")]
        since: String,
        /// What stayed in the house, too
        #[arg(long)]
        all: bool,
    },
    /// Looks whether it was edited, cut or re-ordered; exit code 1 when it was
    Verify,
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    match verb.unwrap_or(Verb::Report { since: "24h".to_owned(), all: false }) {
        Verb::Report { since, all } => {
            let span = span(&since)?;
            let now = time::unix_ms();
            let since_unix_ms = now.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
            let mut admin = servers.connect().await?.admin();
            let response = call(READ_LIMIT, admin.privacy_report(PrivacyReportRequest { since_unix_ms })).await?;
            let asked = Asked { since_unix_ms, span, all, now };
            screen.show(|style| page(&response, &asked, style), &json(&response, &asked))?;
            Ok(if response.unreached_nodes.is_empty() { Verdict::Done } else { Verdict::NotWell })
        }
        Verb::Verify => {
            let mut admin = servers.connect().await?.admin();
            let response = call(READ_LIMIT, admin.verify_audit(VerifyAuditRequest {})).await?;
            screen.show(|_| verdicts(&response), &verdicts_json(&response))?;
            let is_well = response.unreached_nodes.is_empty() && response.nodes.iter().all(|node| node.is_good);
            Ok(if is_well { Verdict::Done } else { Verdict::NotWell })
        }
    }
}

/// What was asked for.
struct Asked {
    since_unix_ms: u64,
    span: Duration,
    all: bool,
    now: u64,
}

fn span(text: &str) -> Result<Duration> {
    parse_duration(text).ok_or_else(|| {
        Fault::invalid(format!("`{text}` is no time")).hint("write a number with its unit, such as 24h, 30m or 7d")
    })
}

fn page(response: &PrivacyReportResponse, asked: &Asked, style: Style) -> String {
    let nodes: Vec<&str> = response.journals.iter().map(|journal| journal.node.as_str()).collect();
    let mut told = format!("{}\n", headline(response, asked.span));
    let mut table = Table::new([
        "DESTINATION",
        "PURPOSE",
        "VERDICT",
        "COUNT",
        "FAILED",
        "REFUSED",
        "SENT",
        "RECEIVED",
        "NODE",
        "LAST FOR",
    ]);
    let shown: Vec<&EgressItem> = response.items.iter().filter(|item| asked.all || is_about_outside(item)).collect();
    for item in &shown {
        let tone = if item.left_the_house { Tone::Odd } else { Tone::Plain };
        table.row([
            format!("{}:{}", item.host, item.port).into(),
            item.purpose.as_str().into(),
            Cell::new(item.verdict.as_str(), tone),
            item.count.to_string().into(),
            item.failed.to_string().into(),
            item.refused.to_string().into(),
            text::size(item.sent_bytes).into(),
            text::size(item.received_bytes).into(),
            item.node.as_str().into(),
            text::or_dash(&item.reason).into(),
        ]);
    }
    if !shown.is_empty() {
        told.push_str(&table.render(style, ""));
    }
    let inside = response.items.len() - shown.len();
    if inside > 0 {
        let counted = text::counted(inside, "destination");
        told.push_str(&format!("{counted} of the house not shown; --all shows all\n"));
    }
    let open: u64 = response.items.iter().map(|item| item.count.saturating_sub(item.ended)).sum();
    if open > 0 && !shown.is_empty() {
        told.push_str("bytes are of connections that have ended\n");
    }
    for JournalItem { node, from_unix_ms, dropped, unread } in &response.journals {
        if *from_unix_ms > asked.since_unix_ms {
            told.push_str(&format!("the journal of {node} begins at {}\n", text::clock(*from_unix_ms)));
        }
        if *dropped + *unread > 0 {
            told.push_str(&format!(
                "the journal of {node} lacks {dropped} events that it could not take, and {unread} lines cannot be read\n"
            ));
        }
    }
    told.push_str(&unreached(&response.unreached_nodes));
    told.push_str(&format!("out of the journals of {}\n", nodes.join(", ")));
    text::visible(&told) + &text::seen_by(response.view.as_ref(), asked.now)
}

fn headline(response: &PrivacyReportResponse, span: Duration) -> String {
    let span = format_duration(span);
    let outside = response.items.iter().filter(|item| item.left_the_house);
    let (count, sent) =
        outside.fold((0, 0), |(count, sent), item| (count + item.count + item.failed, sent + item.sent_bytes));
    let refused: u64 = response.items.iter().map(|item| item.refused).sum();
    let kept_in = match refused {
        0 => String::new(),
        count => format!("; {count} connections were refused"),
    };
    let is_whole = is_whole(response);
    match (count, is_whole) {
        (0, true) => format!("nothing left the house in the last {span}{kept_in}"),
        (0, false) => format!("as far as is on record, nothing left the house in the last {span}{kept_in}"),
        _ => format!("{count} connections left the house in the last {span}, {} sent{kept_in}", text::size(sent)),
    }
}

/// Whether every node answered, and every journal holds all that happened.
fn is_whole(response: &PrivacyReportResponse) -> bool {
    response.unreached_nodes.is_empty() && response.journals.iter().all(|one| one.dropped + one.unread == 0)
}

fn is_about_outside(item: &EgressItem) -> bool {
    item.left_the_house || item.refused > 0
}

fn unreached(nodes: &[String]) -> String {
    match nodes {
        [] => String::new(),
        nodes => format!("not reached, and not in it: {}\n", nodes.join(", ")),
    }
}

fn verdicts(response: &VerifyAuditResponse) -> String {
    let mut told = String::new();
    for AuditItem { node, entries, first, last, is_good, bad_entry, bad_file, bad_what } in &response.nodes {
        told.push_str(&match is_good {
            true => format!("{node}: good, {entries} entries from {first} to {last} as they were written\n"),
            false => {
                format!("{node}: NOT as it was written: entry {bad_entry} in {}: {bad_what}\n", text::or_dash(bad_file))
            }
        });
    }
    told.push_str(&unreached(&response.unreached_nodes));
    text::visible(&told)
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    list: List<Item<'a>>,
    since: String,
    nothing_left: bool,
    journals: Vec<JournalOf<'a>>,
    unreached_nodes: &'a [String],
}

#[derive(Serialize)]
struct JournalOf<'a> {
    node: &'a str,
    from: String,
    dropped: u64,
    unread: u64,
}

#[derive(Serialize)]
struct Item<'a> {
    node: &'a str,
    purpose: &'a str,
    host: &'a str,
    port: u32,
    verdict: &'a str,
    left_the_house: bool,
    count: u64,
    failed: u64,
    refused: u64,
    sent_bytes: u64,
    received_bytes: u64,
    ended: u64,
    last: String,
    reason: &'a str,
}

fn json<'a>(response: &'a PrivacyReportResponse, asked: &Asked) -> impl Serialize + use<'a> {
    fn item(item: &EgressItem) -> Item<'_> {
        Item {
            node: &item.node,
            purpose: &item.purpose,
            host: &item.host,
            port: item.port,
            verdict: &item.verdict,
            left_the_house: item.left_the_house,
            count: item.count,
            failed: item.failed,
            refused: item.refused,
            sent_bytes: item.sent_bytes,
            received_bytes: item.received_bytes,
            ended: item.ended,
            last: rfc3339(item.last_unix_ms),
            reason: &item.reason,
        }
    }
    fn journal(journal: &JournalItem) -> JournalOf<'_> {
        let JournalItem { node, from_unix_ms, dropped, unread } = journal;
        JournalOf { node, from: rfc3339(*from_unix_ms), dropped: *dropped, unread: *unread }
    }
    let shown = response.items.iter().filter(|item| asked.all || is_about_outside(item));
    Report {
        list: List::new(response.view.as_ref(), shown.map(item).collect()),
        since: rfc3339(asked.since_unix_ms),
        nothing_left: is_whole(response) && !response.items.iter().any(|item| item.left_the_house),
        journals: response.journals.iter().map(journal).collect(),
        unreached_nodes: &response.unreached_nodes,
    }
}

#[derive(Serialize)]
struct Verdicts<'a> {
    #[serde(flatten)]
    list: List<VerdictOf<'a>>,
    unreached_nodes: &'a [String],
}

#[derive(Serialize)]
struct VerdictOf<'a> {
    node: &'a str,
    entries: u64,
    first: u64,
    last: u64,
    is_good: bool,
    bad_entry: Option<u64>,
    bad_file: Option<&'a str>,
    bad_what: Option<&'a str>,
}

fn verdicts_json(response: &VerifyAuditResponse) -> impl Serialize + '_ {
    fn verdict(item: &AuditItem) -> VerdictOf<'_> {
        let AuditItem { node, entries, first, last, is_good, bad_entry, bad_file, bad_what } = item;
        VerdictOf {
            node,
            entries: *entries,
            first: *first,
            last: *last,
            is_good: *is_good,
            bad_entry: (!is_good).then_some(*bad_entry),
            bad_file: text::filled(bad_file),
            bad_what: text::filled(bad_what),
        }
    }
    Verdicts {
        list: List::new(response.view.as_ref(), response.nodes.iter().map(verdict).collect()),
        unreached_nodes: &response.unreached_nodes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    fn asked(all: bool) -> Asked {
        let span = Duration::from_secs(86_400);
        Asked { since_unix_ms: samples::NOW - 86_400_000, span, all, now: samples::NOW }
    }

    fn item(host: &str, verdict: &str, left_the_house: bool) -> EgressItem {
        EgressItem {
            node: "grey-area".into(),
            purpose: if left_the_house { "cloud" } else { "engine" }.into(),
            host: host.into(),
            port: 443,
            verdict: verdict.into(),
            count: 7,
            sent_bytes: 4096,
            received_bytes: 1 << 20,
            ended: 6,
            last_unix_ms: samples::NOW,
            reason: "ask-0123 (workers.cloud)".into(),
            left_the_house,
            ..EgressItem::default()
        }
    }

    fn journal(node: &str) -> JournalItem {
        JournalItem { node: node.into(), from_unix_ms: samples::NOW - 3_600_000, ..JournalItem::default() }
    }

    #[test]
    fn a_report_says_first_whether_anything_left_the_house() {
        let quiet = PrivacyReportResponse {
            view: samples::view(),
            items: vec![item("127.0.0.1", "loopback", false)],
            journals: vec![journal("grey-area")],
            ..PrivacyReportResponse::default()
        };
        let mut text = page(&quiet, &asked(false), Style::default());
        text.push_str(&page(&quiet, &asked(true), Style::default()));
        let lacking = JournalItem { dropped: 5, ..journal("nas") };
        let unsure = PrivacyReportResponse { journals: vec![journal("grey-area"), lacking], ..quiet.clone() };
        text.push_str(&page(&unsure, &asked(false), Style::default()));
        let refused = EgressItem { count: 0, refused: 3, ..item("api.example", "refused_external", false) };
        let mut loud = quiet;
        loud.items.extend([item("api.anthropic.com", "external", true), refused]);
        loud.journals[0].dropped = 5;
        loud.unreached_nodes = vec!["nas".into()];
        text.push_str(&page(&loud, &asked(false), Style::default()));
        text.push_str(&samples::json(&json(&loud, &asked(false))));
        text.push_str(&fault_text(&span("a while").unwrap_err()));
        insta::assert_snapshot!("privacy_report", text);
    }

    #[test]
    fn a_verdict_names_the_first_bad_entry() {
        let good = AuditItem {
            node: "grey-area".into(),
            entries: 300,
            first: 1,
            last: 300,
            is_good: true,
            ..AuditItem::default()
        };
        let bad = AuditItem {
            node: "nas".into(),
            entries: 41,
            last: 41,
            is_good: false,
            bad_entry: 42,
            bad_file: "000000000001.jsonl".into(),
            bad_what: "it was changed after it was written".into(),
            ..good.clone()
        };
        let response = VerifyAuditResponse {
            view: samples::view(),
            nodes: vec![good, bad],
            unreached_nodes: vec!["sleeper-service".into()],
        };
        insta::assert_snapshot!("privacy_verify", verdicts(&response) + &samples::json(&verdicts_json(&response)));
    }
}
