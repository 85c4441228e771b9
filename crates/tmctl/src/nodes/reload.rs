//! `tmctl node reload`: a node reads its configuration again, and says what changed, what waits, or what is wrong.

use proto::admin::{ReloadRequest, ReloadResponse};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Verdict};

/// Lets the node read; not well when its configuration is wrong.
pub async fn run(servers: &Servers, screen: &mut Screen, node: String) -> Result<Verdict, Ended> {
    let mut admin = servers.connect().await?.admin();
    let response = call(CALL_LIMIT, admin.reload(ReloadRequest { node })).await?;
    screen.show(|_| text(&response), &json(&response))?;
    Ok(if response.faults.is_empty() { Verdict::Done } else { Verdict::NotWell })
}

fn text(response: &ReloadResponse) -> String {
    let node = &response.node;
    if !response.faults.is_empty() {
        let mut text = format!("the configuration of {node} is wrong; the one before holds\n");
        for fault in &response.faults {
            let value = if fault.value.is_empty() { String::new() } else { format!(" = {}", fault.value) };
            text.push_str(&format!("{}{value}: {}\n  hint: {}\n", fault.field, fault.problem, fault.hint));
        }
        return text;
    }
    let mut text = match response.live.as_slice() {
        [] => format!("{node} has read its configuration; nothing changes at once\n"),
        live => format!("{node} goes by its new configuration: {}\n", live.join(", ")),
    };
    if !response.restart.is_empty() {
        text.push_str(&format!("changed as well, and waiting for a restart of tmd: {}\n", response.restart.join(", ")));
    }
    text
}

#[derive(Serialize)]
struct Shown<'a> {
    node: &'a str,
    live: &'a [String],
    restart: &'a [String],
    faults: Vec<Fault<'a>>,
}

#[derive(Serialize)]
struct Fault<'a> {
    field: &'a str,
    value: &'a str,
    problem: &'a str,
    hint: &'a str,
}

fn json(response: &ReloadResponse) -> impl Serialize + '_ {
    Shown {
        node: &response.node,
        live: &response.live,
        restart: &response.restart,
        faults: response.faults.iter().map(shown).collect(),
    }
}

fn shown(fault: &proto::admin::ConfigFault) -> Fault<'_> {
    let proto::admin::ConfigFault { field, value, problem, hint } = fault;
    Fault { field, value, problem, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn what_changed_what_waits_and_what_is_wrong_is_told() {
        let told = |live: &[&str], restart: &[&str], faults: Vec<proto::admin::ConfigFault>| ReloadResponse {
            node: "nas".to_owned(),
            live: live.iter().map(ToString::to_string).collect(),
            restart: restart.iter().map(ToString::to_string).collect(),
            faults,
        };
        let fault = proto::admin::ConfigFault {
            field: "http.listen".to_owned(),
            value: "7".to_owned(),
            problem: "is not an address".to_owned(),
            hint: "give an address".to_owned(),
        };
        let all = [
            told(&[], &[], vec![]),
            told(&["roles", "workers.gpu"], &["http.listen"], vec![]),
            told(&[], &["store"], vec![]),
            told(&[], &[], vec![fault]),
        ];
        insta::assert_snapshot!("nodes_reload", all.iter().map(text).collect::<String>());
        insta::assert_snapshot!("nodes_reload_json", samples::json(&json(&all[3])));
    }
}
