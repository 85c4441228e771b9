//! `tmctl nodes`: the machines of the cluster; `drain` takes one out of routing, `add` prints what a new one needs.

mod add;
mod reload;

use base::{Fault, Result, time};
use clap::Subcommand;
use proto::admin::{DrainRequest, DrainResponse, GpuItem, ListNodesRequest, ListNodesResponse, NodeItem};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table};
use crate::text::{self, List};

/// What can be done with nodes.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows them
    List,
    /// Issues a certificate for a new machine and prints the one line that makes it a node
    Add(add::Args),
    /// Lets a node read its configuration again; what is wrong with it is told, and then nothing changes
    Reload {
        /// The node's name; the server itself without one
        node: Option<String>,
    },
    /// Takes a node out of routing; what it has is finished
    Drain {
        /// The node's name
        node: String,
        /// Takes it back in
        #[arg(long)]
        undo: bool,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    match verb.unwrap_or(Verb::List) {
        Verb::List => {
            let mut admin = servers.connect().await?.admin();
            let response = call(CALL_LIMIT, admin.list_nodes(ListNodesRequest {})).await?;
            screen.show(|style| table(&response, time::unix_ms(), style), &json(&response))?;
        }
        Verb::Reload { node } => return reload::run(servers, screen, node.unwrap_or_default()).await,
        Verb::Add(args) => return add::run(servers, screen, args).await,
        Verb::Drain { node, undo, yes } => {
            if !undo && !yes {
                return Err(unconfirmed(&node).into());
            }
            let mut admin = servers.connect().await?.admin();
            let request = DrainRequest { node: node.clone(), undo };
            let response = call(CALL_LIMIT, admin.drain(request)).await?;
            screen
                .show(|_| drained(&node, undo, &response), &Drained { node: &node, undo, running: response.running })?;
        }
    }
    Ok(Verdict::Done)
}

fn unconfirmed(node: &str) -> Fault {
    Fault::invalid(format!(
        "`{node}` would get no new asks; what runs there is finished, and its models move to other nodes"
    ))
    .hint("add --yes to do it; `--undo` takes the node back in")
}

fn drained(node: &str, undo: bool, response: &DrainResponse) -> String {
    match (undo, response.running) {
        (true, _) => format!("{node} takes asks again\n"),
        (false, 0) => format!("{node} drains; nothing runs there\n"),
        (false, running) => format!("{node} drains; {running} asks are still running there\n"),
    }
}

fn table(response: &ListNodesResponse, now_unix_ms: u64, style: Style) -> String {
    let mut table = Table::new(["NAME", "STATE", "LEADS", "ADDRESS", "VERSION", "HEARD", "CPU", "MEMORY FREE", "GPU"]);
    for node in &response.nodes {
        let leads = if node.leader { format!("epoch {}", node.epoch) } else { String::new() };
        table.row([
            node.name.as_str().into(),
            Cell::state(&node.state),
            leads.into(),
            text::or_dash(&node.address).into(),
            text::or_dash(&node.version).into(),
            format!("{} ago", text::seconds(node.heard_s)).into(),
            text::percent(node.cpu_used).into(),
            text::part(node.memory_free_bytes, node.memory_bytes).into(),
            gpus(&node.gpus),
        ]);
    }
    let leader = response.nodes.iter().any(|node| node.leader);
    let warning = if leader { "" } else { "nobody leads: asks go on, planning and new jobs wait\n" };
    table.render(style, "no nodes") + warning + &text::seen_by(response.view.as_ref(), now_unix_ms)
}

fn gpus(gpus: &[GpuItem]) -> Cell {
    if gpus.is_empty() {
        return "-".into();
    }
    let one = |gpu: &GpuItem| match gpu.fault.as_str() {
        "" => {
            let free = gpu.memory_bytes.saturating_sub(gpu.memory_used_bytes);
            format!("{} {} free, {}", gpu.name, text::part(free, gpu.memory_bytes), text::percent(gpu.used))
        }
        fault => format!("{} BROKEN: {fault}", gpu.name),
    };
    gpus.iter().map(one).collect::<Vec<_>>().join("; ").into()
}

#[derive(Serialize)]
struct Drained<'a> {
    node: &'a str,
    undo: bool,
    running: u32,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    state: &'a str,
    incarnation: u64,
    leader: bool,
    address: &'a str,
    grpc_address: &'a str,
    version: &'a str,
    heard_s: f64,
    epoch: Option<u64>,
    cpu_used: f64,
    memory_bytes: u64,
    memory_free_bytes: u64,
    gpus: Vec<Gpu<'a>>,
}

#[derive(Serialize)]
struct Gpu<'a> {
    name: &'a str,
    memory_bytes: u64,
    memory_used_bytes: u64,
    used: f64,
    power_w: Option<f64>,
    temperature_c: Option<f64>,
    fault: Option<&'a str>,
}

fn json(response: &ListNodesResponse) -> impl Serialize + '_ {
    List::new(response.view.as_ref(), response.nodes.iter().map(item).collect())
}

fn item(node: &NodeItem) -> Item<'_> {
    Item {
        name: &node.name,
        state: &node.state,
        incarnation: node.incarnation,
        leader: node.leader,
        address: &node.address,
        grpc_address: &node.grpc_address,
        version: &node.version,
        heard_s: node.heard_s,
        epoch: node.leader.then_some(node.epoch),
        cpu_used: node.cpu_used,
        memory_bytes: node.memory_bytes,
        memory_free_bytes: node.memory_free_bytes,
        gpus: node.gpus.iter().map(gpu).collect(),
    }
}

fn gpu(gpu: &GpuItem) -> Gpu<'_> {
    Gpu {
        name: &gpu.name,
        memory_bytes: gpu.memory_bytes,
        memory_used_bytes: gpu.memory_used_bytes,
        used: gpu.used,
        power_w: gpu.power_w,
        temperature_c: gpu.temperature_c,
        fault: text::filled(&gpu.fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    #[test]
    fn nodes_as_table_and_json() {
        let response = samples::nodes();
        insta::assert_snapshot!("nodes", table(&response, samples::NOW, Style::default()));
        insta::assert_snapshot!("nodes_json", samples::json(&json(&response)));
        insta::assert_snapshot!("nodes_none", table(&ListNodesResponse::default(), samples::NOW, Style::default()));
    }

    #[test]
    fn draining_says_what_will_happen_and_what_happened() {
        let mut text = fault_text(&unconfirmed("grey-area"));
        for (undo, running) in [(false, 3), (false, 0), (true, 0)] {
            text.push_str(&drained("grey-area", undo, &DrainResponse { running }));
        }
        insta::assert_snapshot!("nodes_drain", text);
    }
}
