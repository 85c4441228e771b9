//! Changing what may leave the house, on every node at once, with a history to go back in.

use base::config::Mode;
use base::time::unix_ms;
use base::{Code, Fault, Result};
use proto::admin::{
    GetModeResponse, ListModesResponse, ModeItem, RollbackModeRequest, SetModeRequest, SetModeResponse,
};
use proto::node::ControlRequest;
use proto::node::control_request::Command;

use super::admin::{ask_peers, view_of};
use crate::core::Core;
use crate::mode::SetMode;
use crate::mode::history::{History, Wish};
use crate::settings;

/// A reason that nobody reads to its end is none.
const MOST_REASON_BYTES: usize = 500;

/// The mode as this node goes by it.
pub(super) fn shown(core: &Core) -> GetModeResponse {
    let SetMode { mode, since_ms, set_by, local_percent, reason, turn, .. } = core.mode.get();
    GetModeResponse {
        mode: mode.to_string(),
        since_unix_ms: since_ms,
        set_by,
        is_locked: core.mode.is_locked(),
        not_followed: core.mode.not_followed().map(|mode| mode.to_string()).unwrap_or_default(),
        local_percent: local_percent.map(u32::from),
        reason,
        turn,
        proposals: core.watch.proposals(),
    }
}

/// The modes that were set.
pub(super) async fn listed(core: &Core) -> Result<ListModesResponse> {
    let history = settings::modes(core).await?;
    let item = |one: &SetMode| ModeItem {
        turn: one.turn,
        mode: one.mode.to_string(),
        local_percent: one.local_percent.map(u32::from),
        since_unix_ms: one.since_ms,
        set_by: one.set_by.clone(),
        reason: one.reason.clone(),
        trigger: one.trigger.clone(),
    };
    Ok(ListModesResponse { view: Some(view_of(core)), modes: history.newest_first().map(item).collect() })
}

/// An owner sets another mode.
pub(super) async fn set(core: &Core, by: &str, request: SetModeRequest) -> Result<SetModeResponse> {
    let mode = Mode::parse(&request.mode).ok_or_else(|| {
        let known: Vec<_> = Mode::ALL.iter().map(|mode| mode.as_str()).collect();
        Fault::invalid(format!("there is no mode `{}`", request.mode)).hint(format!("give one of {}", known.join(", ")))
    })?;
    let local_percent = share(mode, request.local_percent)?;
    let wish = wish(core, by, request.reason)?;
    core.mode.may_be(mode)?;
    change(core, |history| Ok(history.set((mode, local_percent), wish.clone(), unix_ms()))).await
}

/// An owner goes back.
pub(super) async fn roll_back(core: &Core, by: &str, request: RollbackModeRequest) -> Result<SetModeResponse> {
    let wish = wish(core, by, request.reason)?;
    change(core, |history| {
        let back = history.roll_back(wish.clone(), unix_ms())?;
        core.mode.may_be(back.mode).map(|()| back)
    })
    .await
}

/// Makes the change durable, then tells every node.
pub async fn change(core: &Core, make: impl FnMut(&mut History) -> Result<SetMode>) -> Result<SetModeResponse> {
    let before = core.mode.get().mode;
    let set = settings::save_mode(core, make).await?;
    settings::mode_is(core, set.clone());
    let json = serde_json::to_vec(&set).map_err(|error| Fault::internal("could not write the mode").because(error))?;
    let told = ask_peers(core, |mut client| {
        // The word is for a node of the release before.
        let command = Some(Command::Mode(set.mode.to_string()));
        let request = ControlRequest { command, set_mode_json: json.clone().into() };
        async move { client.control(request).await }
    });
    let (mut unreached_nodes, mut locked_nodes) = (Vec::new(), Vec::new());
    for (node, answer) in told.await {
        match answer {
            Ok(_) => {}
            Err(fault) if fault.code == Code::PermissionDenied => locked_nodes.push(node.to_string()),
            Err(_) => unreached_nodes.push(node.to_string()),
        }
    }
    let (mode, local_percent) = (set.mode.to_string(), set.local_percent.map(u32::from));
    Ok(SetModeResponse { before: before.to_string(), unreached_nodes, locked_nodes, mode, local_percent })
}

/// A mode that another node tells of.
pub fn told(word: &str, json: &[u8]) -> Result<SetMode> {
    if !json.is_empty() {
        return serde_json::from_slice(json)
            .map_err(|error| Fault::invalid("field `set_mode_json` is no mode that was set").because(error));
    }
    let mode = Mode::parse(word).ok_or_else(|| Fault::invalid(format!("there is no mode `{word}`")))?;
    Ok(SetMode { set_by: "another node".to_owned(), ..SetMode::configured(mode, None, unix_ms()) })
}

fn share(mode: Mode, percent: Option<u32>) -> Result<Option<u8>> {
    let Some(percent) = percent else { return Ok(None) };
    if mode != Mode::Hybrid {
        return Err(Fault::invalid(format!("mode {mode} has no share of asks that stay at home"))
            .hint("shares are for hybrid: `tmctl mode set hybrid --local-percent 80`"));
    }
    let fits = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
    fits.map(Some).ok_or_else(|| Fault::invalid(format!("{percent} is no share")).hint("give a number from 0 to 100"))
}

fn wish(core: &Core, by: &str, reason: String) -> Result<Wish> {
    if reason.len() > MOST_REASON_BYTES || reason.chars().any(char::is_control) {
        return Err(Fault::invalid("the reason is too long, or has characters that cannot be shown")
            .hint(format!("give one line of at most {MOST_REASON_BYTES} bytes")));
    }
    let set_by = if by.is_empty() { core.node.to_string() } else { format!("{} (key {by})", core.node) };
    Ok(Wish { reason, set_by, trigger: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_for_hybrid_and_of_a_hundred() {
        assert_eq!(share(Mode::Hybrid, Some(100)).unwrap(), Some(100));
        assert_eq!(share(Mode::ExternalOnly, None).unwrap(), None);
        for (mode, percent) in [(Mode::Hybrid, 101), (Mode::LocalOnly, 80), (Mode::ExternalPreferred, 0)] {
            assert!(share(mode, Some(percent)).unwrap_err().hint.is_some(), "{mode} {percent}");
        }
    }

    #[test]
    fn a_mode_of_an_older_node_is_its_word_alone() {
        let old = told("hybrid", b"").unwrap();
        assert_eq!((old.mode, old.turn, old.set_by.as_str()), (Mode::Hybrid, 0, "another node"));
        let set = SetMode { turn: 7, ..SetMode::configured(Mode::ExternalOnly, None, 3) };
        assert_eq!(told("hybrid", &serde_json::to_vec(&set).unwrap()).unwrap(), set);
        assert!(told("hybrid", b"{").is_err() && told("psychic", b"").is_err());
    }
}
