//! Who or what changed tasks, when and why; and a change taken back.

use base::time::rfc3339;
use proto::planning::{HistoryItem, HistoryRequest, UndoRequest};
use serde::Serialize;

use crate::changes::{self, DifferenceItem};
use crate::client::{CALL_LIMIT, call};
use crate::place::At;
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{self, List, counted, filled, visible};

/// Which changes.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only those of this task
    id: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Only those before this revision
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "REVISION")]
    before: u64,
}

/// Shows them, newest first.
pub async fn history(at: &mut At, screen: &mut Screen, which: Which) -> Result<Verdict, Ended> {
    let Which { id, limit, before: before_revision } = which;
    let request = HistoryRequest { place: at.place(), id: id.unwrap_or_default(), before_revision, limit };
    let items = call(CALL_LIMIT, at.planning.history(request)).await?.items;
    let list = List::of_now(&at.server, items.iter().map(item).collect());
    screen.show(|_| page(&items) + &text::told_by(&at.server), &list)?;
    Ok(Verdict::Done)
}

fn page(items: &[HistoryItem]) -> String {
    if items.is_empty() {
        return "nothing was changed yet\n".to_owned();
    }
    items.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(item: &HistoryItem) -> String {
    let who = text::or_dash(&item.who);
    let why = if item.why.is_empty() { String::new() } else { format!("why: {}\n", item.why) };
    let head = format!("{}  {}  {who}: {}\n{why}", item.revision, text::clock(item.at_unix_ms), item.what);
    let more = match item.left_out {
        0 => String::new(),
        count => format!("and {} that were too many to keep\n", counted(count as usize, "difference")),
    };
    visible(&head) + &changes::differences(&item.differences) + &more
}

#[derive(Serialize)]
struct Item<'a> {
    revision: u64,
    at: String,
    who: &'a str,
    what: &'a str,
    why: Option<&'a str>,
    differences: Vec<DifferenceItem<'a>>,
    left_out: u32,
}

fn item(item: &HistoryItem) -> Item<'_> {
    Item {
        revision: item.revision,
        at: rfc3339(item.at_unix_ms),
        who: &item.who,
        what: &item.what,
        why: filled(&item.why),
        differences: changes::items(&item.differences),
        left_out: item.left_out,
    }
}

/// Takes a change back; 0 is the last one.
pub async fn undo(at: &mut At, screen: &mut Screen, revision: u64, dry_run: bool) -> Result<Verdict, Ended> {
    let request = UndoRequest { place: at.place(), revision, dry_run };
    let done = call(CALL_LIMIT, at.planning.undo(request)).await?.done.unwrap_or_default();
    if dry_run && done.conflict.is_none() {
        screen.note("this would be done:\n");
        screen.show(|_| changes::body(&done), &changes::json(&done))?;
        return Ok(Verdict::Done);
    }
    changes::show(screen, &at.place, &done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_history_as_text_and_json() {
        let items = samples::planning::history();
        let json = samples::json(&samples::list("grey-area:3002", items.iter().map(item).collect()));
        insta::assert_snapshot!("tasks_history", page(&items) + &page(&[]) + &json);
    }
}
