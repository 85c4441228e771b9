//! `tmctl mode`: what may leave the house; `set` changes it on every node.

use base::config::Mode;
use base::time::rfc3339;
use base::{Fault, Result};
use clap::Subcommand;
use proto::admin::{GetModeRequest, GetModeResponse, SetModeRequest, SetModeResponse};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Verdict};
use crate::text;

/// What can be done with the mode.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows it
    Show,
    /// Changes it
    Set {
        /// local-only, local-preferred, hybrid, external-preferred or external-only
        mode: String,
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
        Verb::Set { mode } => {
            let mode = parse(&mode)?;
            let mut admin = servers.connect().await?.admin();
            let response = call(CALL_LIMIT, admin.set_mode(SetModeRequest { mode: mode.to_string() })).await?;
            screen.show(|_| changed(mode, &response), &changed_json(mode, &response))?;
            Ok(if response.unreached_nodes.is_empty() { Verdict::Done } else { Verdict::NotWell })
        }
    }
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
    text::visible(&format!(
        "{}: {meaning}\nsince {}, set by {by}\n",
        response.mode,
        text::clock(response.since_unix_ms)
    ))
}

fn changed(mode: Mode, response: &SetModeResponse) -> String {
    let mut told = format!("{mode} (before: {})\n", text::or_dash(&response.before));
    if !response.unreached_nodes.is_empty() {
        let nodes = response.unreached_nodes.join(", ");
        told.push_str(&format!("not reached, and still in the mode before until they are back: {nodes}\n"));
    }
    text::visible(&told)
}

#[derive(Serialize)]
struct Shown<'a> {
    mode: &'a str,
    since: String,
    set_by: &'a str,
}

fn json(response: &GetModeResponse) -> impl Serialize + '_ {
    Shown { mode: &response.mode, since: rfc3339(response.since_unix_ms), set_by: &response.set_by }
}

#[derive(Serialize)]
struct Changed<'a> {
    mode: Mode,
    before: &'a str,
    unreached_nodes: &'a [String],
}

fn changed_json(mode: Mode, response: &SetModeResponse) -> impl Serialize + '_ {
    Changed { mode, before: &response.before, unreached_nodes: &response.unreached_nodes }
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
        text.push_str(&samples::json(&json(&samples::mode("local-only"))));
        insta::assert_snapshot!("mode", text);
    }

    #[test]
    fn a_change_names_the_nodes_that_it_did_not_reach() {
        let mut response = SetModeResponse { before: "hybrid".into(), unreached_nodes: vec![] };
        let mut text = changed(Mode::LocalOnly, &response);
        response.unreached_nodes = vec!["sleeper-service".into()];
        text.push_str(&changed(Mode::LocalOnly, &response));
        text.push_str(&samples::json(&changed_json(Mode::LocalOnly, &response)));
        text.push_str(&fault_text(&parse("offline").unwrap_err()));
        insta::assert_snapshot!("mode_set", text);
    }
}
