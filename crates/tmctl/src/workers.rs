//! `tmctl workers`: engines and GPUs that run models, and how busy they are.

use base::{Result, time};
use proto::admin::{ListWorkersRequest, ListWorkersResponse, WorkerItem};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table};
use crate::text::{self, List};

/// More model names than this in a row are counted, not named.
const NAMED_MODELS: usize = 3;

/// Shows the workers.
pub async fn run(servers: &Servers, screen: &mut Screen) -> Result<Verdict, Ended> {
    let mut admin = servers.connect().await?.admin();
    let response = call(CALL_LIMIT, admin.list_workers(ListWorkersRequest {})).await?;
    screen.show(|style| table(&response, time::unix_ms(), style), &json(&response))?;
    Ok(Verdict::Done)
}

fn table(response: &ListWorkersResponse, now_unix_ms: u64, style: Style) -> String {
    let mut table = Table::new(["NAME", "BACKEND", "STATE", "BUSY", "QUEUED", "LOADED", "MODELS", "REASON"]);
    for worker in &response.workers {
        table.row([
            worker.name.as_str().into(),
            text::or_dash(&worker.backend).into(),
            Cell::state(&worker.state),
            format!("{} of {}", worker.busy, worker.slots).into(),
            worker.queued.to_string().into(),
            some_of(&worker.loaded).into(),
            worker.models.len().to_string().into(),
            worker.reason.as_str().into(),
        ]);
    }
    table.render(style, "no workers; `tmctl doctor` looks for engines on this machine")
        + &text::seen_by(response.view.as_ref(), now_unix_ms)
}

fn some_of(names: &[String]) -> String {
    let mut text = names.iter().take(NAMED_MODELS).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MODELS {
        text.push_str(&format!(" and {} more", names.len() - NAMED_MODELS));
    }
    if text.is_empty() { "-".to_owned() } else { text }
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    node: &'a str,
    backend: &'a str,
    state: &'a str,
    reason: Option<&'a str>,
    slots: u32,
    busy: u32,
    queued: u32,
    models: &'a [String],
    loaded: &'a [String],
}

fn json(response: &ListWorkersResponse) -> impl Serialize + '_ {
    fn item(worker: &WorkerItem) -> Item<'_> {
        Item {
            name: &worker.name,
            node: &worker.node,
            backend: &worker.backend,
            state: &worker.state,
            reason: text::filled(&worker.reason),
            slots: worker.slots,
            busy: worker.busy,
            queued: worker.queued,
            models: &worker.models,
            loaded: &worker.loaded,
        }
    }
    List::new(response.view.as_ref(), response.workers.iter().map(item).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn workers_as_table_and_json() {
        let response = samples::workers();
        insta::assert_snapshot!("workers", table(&response, samples::NOW, Style::default()));
        insta::assert_snapshot!("workers_json", samples::json(&json(&response)));
        let none = ListWorkersResponse { workers: vec![], ..response };
        insta::assert_snapshot!("workers_none", table(&none, samples::NOW, Style::default()));
    }
}
