//! `tmctl mode`: what may leave the house; `set` changes it on every node, `rollback` takes the last change back.

use base::config::Mode;
use base::time::rfc3339;
use base::{Fault, Result};
use clap::Subcommand;
use proto::admin::{
    GetModeRequest, GetModeResponse, ListModesRequest, ListModesResponse, ModeItem, ModeProposal, RollbackModeRequest,
    SetModeRequest, SetModeResponse,
};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::Table;
use crate::text::{self, List};

/// What can be done with the mode.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows it
    Show,
    /// Changes it
    Set {
        /// local-only, local-preferred, hybrid, external-preferred or external-only
        mode: String,
        /// So many of a hundred asks stay at home; for hybrid only. Without it, those that do not look hard
        #[arg(long, value_name = "NUMBER")]
        local_percent: Option<u32>,
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Shows the modes that were set, newest first
    History,
    /// Goes back to the mode before; once more, to the one before that
    Rollback {
        /// Why, for the history
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    match verb.unwrap_or(Verb::Show) {
        Verb::Show => {
            let mut admin = servers.connect().await?.admin();
            let response = call(CALL_LIMIT, admin.get_mode(GetModeRequest {})).await?;
            screen.show(|_| shown(&response), &json(&response))?;
            Ok(Verdict::Done)
        }
        Verb::Set { mode, local_percent, reason } => {
            let mode = parse(&mode)?;
            let mut admin = servers.connect().await?.admin();
            let request = SetModeRequest { mode: mode.to_string(), local_percent, reason };
            let response = call(CALL_LIMIT, admin.set_mode(request)).await?;
            tell(screen, &response)
        }
        Verb::History => {
            let mut admin = servers.connect().await?.admin();
            let response = call(CALL_LIMIT, admin.list_modes(ListModesRequest {})).await?;
            screen.show(|style| history(&response, base::time::unix_ms(), style), &history_json(&response))?;
            Ok(Verdict::Done)
        }
        Verb::Rollback { reason } => {
            let mut admin = servers.connect().await?.admin();
            let response = call(CALL_LIMIT, admin.rollback_mode(RollbackModeRequest { reason })).await?;
            tell(screen, &response)
        }
    }
}

fn tell(screen: &mut Screen, response: &SetModeResponse) -> Result<Verdict, Ended> {
    screen.show(|_| changed(response), &changed_json(response))?;
    Ok(if response.unreached_nodes.is_empty() { Verdict::Done } else { Verdict::NotWell })
}

fn parse(text: &str) -> Result<Mode> {
    Mode::parse(text).ok_or_else(|| {
        let words: Vec<_> = Mode::ALL.iter().map(|mode| mode.as_str()).collect();
        Fault::invalid(format!("`{text}` is no mode")).hint(format!("give one of {}", words.join(", ")))
    })
}

fn shown(response: &GetModeResponse) -> String {
    let meaning = match Mode::parse(&response.mode) {
        Some(Mode::LocalOnly) => "nothing leaves the house",
        Some(Mode::LocalPreferred) => "only what no local worker can do leaves the house",
        Some(Mode::Hybrid) => "what is too hard for local workers leaves the house",
        Some(Mode::ExternalPreferred) => "asks leave the house first; local workers stand in",
        Some(Mode::ExternalOnly) => "every ask leaves the house",
        None => "a mode that this tmctl does not know",
    };
    let by = text::or_dash(&response.set_by);
    let since = text::clock(response.since_unix_ms);
    let mut told = format!("{}: {meaning}\nsince {since}, set by {by}\n", response.mode);
    if let Some(percent) = response.local_percent {
        told.push_str(&format!("{percent} of 100 asks stay at home, whatever they look like\n"));
    }
    if !response.reason.is_empty() {
        told.push_str(&format!("because: {}\n", response.reason));
    }
    if response.is_locked {
        told.push_str("locked: this node stays local-only whatever the cluster is set to\n");
    }
    if !response.not_followed.is_empty() {
        told.push_str(&format!("the rest of the cluster is set to {}\n", response.not_followed));
    }
    for ModeProposal { trigger, mode, local_percent, reason, at_unix_ms } in &response.proposals {
        let (share, at) = (share(*local_percent), text::clock(*at_unix_ms));
        told.push_str(&format!("trigger {trigger} proposes {mode}{share} since {at}: {reason}\n"));
    }
    text::visible(&told)
}

fn share(local_percent: Option<u32>) -> String {
    local_percent.map(|percent| format!(", {percent} % at home")).unwrap_or_default()
}

fn history(response: &ListModesResponse, now_unix_ms: u64, style: Style) -> String {
    let mut table = Table::new(["TURN", "SINCE", "MODE", "AT HOME", "SET BY", "REASON"]);
    for ModeItem { turn, mode, local_percent, since_unix_ms, set_by, reason, trigger } in &response.modes {
        let by = if trigger.is_empty() { set_by.clone() } else { format!("trigger {trigger} at {set_by}") };
        table.row([
            turn.to_string().into(),
            text::clock(*since_unix_ms).into(),
            mode.as_str().into(),
            local_percent.map_or("-".to_owned(), |percent| format!("{percent} %")).into(),
            text::or_dash(&by).into(),
            text::or_dash(reason).into(),
        ]);
    }
    table.render(style, "no mode was set") + &text::seen_by(response.view.as_ref(), now_unix_ms)
}

fn changed(response: &SetModeResponse) -> String {
    let (mode, before) = (text::or_dash(&response.mode), text::or_dash(&response.before));
    let mut told = format!("{mode}{} (before: {before})\n", share(response.local_percent));
    if !response.unreached_nodes.is_empty() {
        let nodes = response.unreached_nodes.join(", ");
        told.push_str(&format!("not reached, and still in the mode before until they are back: {nodes}\n"));
    }
    if !response.locked_nodes.is_empty() {
        told.push_str(&format!("locked, and still local-only: {}\n", response.locked_nodes.join(", ")));
    }
    text::visible(&told)
}

#[derive(Serialize)]
struct Shown<'a> {
    mode: &'a str,
    since: String,
    set_by: &'a str,
    is_locked: bool,
    not_followed: &'a str,
    local_percent: Option<u32>,
    reason: Option<&'a str>,
    turn: u64,
    proposals: Vec<Proposal<'a>>,
}

#[derive(Serialize)]
struct Proposal<'a> {
    trigger: &'a str,
    mode: &'a str,
    local_percent: Option<u32>,
    reason: &'a str,
    at: String,
}

fn json(response: &GetModeResponse) -> impl Serialize + '_ {
    fn proposal(proposal: &ModeProposal) -> Proposal<'_> {
        let ModeProposal { trigger, mode, local_percent, reason, at_unix_ms } = proposal;
        Proposal { trigger, mode, local_percent: *local_percent, reason, at: rfc3339(*at_unix_ms) }
    }
    Shown {
        mode: &response.mode,
        since: rfc3339(response.since_unix_ms),
        set_by: &response.set_by,
        is_locked: response.is_locked,
        not_followed: &response.not_followed,
        local_percent: response.local_percent,
        reason: text::filled(&response.reason),
        turn: response.turn,
        proposals: response.proposals.iter().map(proposal).collect(),
    }
}

#[derive(Serialize)]
struct Turn<'a> {
    turn: u64,
    mode: &'a str,
    local_percent: Option<u32>,
    since: String,
    set_by: &'a str,
    reason: Option<&'a str>,
    trigger: Option<&'a str>,
}

fn history_json(response: &ListModesResponse) -> impl Serialize + '_ {
    fn turn(item: &ModeItem) -> Turn<'_> {
        Turn {
            turn: item.turn,
            mode: &item.mode,
            local_percent: item.local_percent,
            since: rfc3339(item.since_unix_ms),
            set_by: &item.set_by,
            reason: text::filled(&item.reason),
            trigger: text::filled(&item.trigger),
        }
    }
    List::new(response.view.as_ref(), response.modes.iter().map(turn).collect())
}

#[derive(Serialize)]
struct Changed<'a> {
    mode: &'a str,
    local_percent: Option<u32>,
    before: &'a str,
    unreached_nodes: &'a [String],
    locked_nodes: &'a [String],
}

fn changed_json(response: &SetModeResponse) -> impl Serialize + '_ {
    let SetModeResponse { before, unreached_nodes, locked_nodes, mode, local_percent } = response;
    Changed { mode, local_percent: *local_percent, before, unreached_nodes, locked_nodes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    #[test]
    fn each_mode_says_what_it_means() {
        let mut text = String::new();
        for mode in Mode::ALL.iter().map(|mode| mode.as_str()).chain(["psychic"]) {
            text.push_str(&shown(&samples::mode(mode)));
        }
        let mut locked = samples::mode("local-only");
        (locked.is_locked, locked.not_followed) = (true, "hybrid".into());
        text.push_str(&shown(&locked));
        text.push_str(&samples::json(&json(&locked)));
        let mut shared = samples::mode("hybrid");
        (shared.local_percent, shared.reason, shared.turn) = (Some(80), "slow evenings".into(), 7);
        shared.proposals = vec![ModeProposal {
            trigger: "too-many-errors".into(),
            mode: "hybrid".into(),
            local_percent: Some(70),
            reason: "30 of 40 runs at home failed within 10m (threshold 0.5)".into(),
            at_unix_ms: samples::NOW,
        }];
        text.push_str(&shown(&shared));
        text.push_str(&samples::json(&json(&shared)));
        insta::assert_snapshot!("mode", text);
    }

    #[test]
    fn the_history_says_who_set_what_when_and_why() {
        let configured = ModeItem {
            mode: "local-only".into(),
            since_unix_ms: samples::NOW - 86_400_000,
            set_by: "configuration".into(),
            ..ModeItem::default()
        };
        let stepped = ModeItem {
            turn: 1,
            mode: "hybrid".into(),
            local_percent: Some(70),
            since_unix_ms: samples::NOW,
            set_by: "grey-area".into(),
            reason: "30 of 40 runs at home failed".into(),
            trigger: "too-many-errors".into(),
        };
        let response = ListModesResponse { view: samples::view(), modes: vec![stepped, configured] };
        let text = history(&response, samples::NOW, Style::default()) + &samples::json(&history_json(&response));
        insta::assert_snapshot!("mode_history", text);
    }

    #[test]
    fn a_change_names_the_nodes_that_it_did_not_reach() {
        let mut response = SetModeResponse {
            before: "local-only".into(),
            mode: "hybrid".into(),
            local_percent: Some(80),
            ..SetModeResponse::default()
        };
        let mut text = changed(&response);
        (response.mode, response.before, response.local_percent) = ("local-only".into(), "hybrid".into(), None);
        response.unreached_nodes = vec!["sleeper-service".into()];
        response.locked_nodes = vec!["grey-area".into()];
        text.push_str(&changed(&response));
        text.push_str(&samples::json(&changed_json(&response)));
        text.push_str(&fault_text(&parse("offline").unwrap_err()));
        insta::assert_snapshot!("mode_set", text);
    }
}
