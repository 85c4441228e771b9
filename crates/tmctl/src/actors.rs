//! `tmctl actors`: the actors of the called server, who supervises them and how often they were restarted.

use base::Result;
use proto::admin::{ActorItem, ListActorsRequest, ListActorsResponse};
use serde::Serialize;
use serde_json::Value;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table};
use crate::text::{self, List};

/// Shows the actors; JSON adds the picture that each gives of itself.
pub async fn run(servers: &Servers, screen: &mut Screen) -> Result<Verdict, Ended> {
    let mut admin = servers.connect().await?.admin();
    let response = call(CALL_LIMIT, admin.list_actors(ListActorsRequest {})).await?;
    let list = List::of_now(&response.node, response.actors.iter().map(item).collect());
    screen.show(|style| table(&response, style), &list)?;
    Ok(Verdict::Done)
}

fn table(response: &ListActorsResponse, style: Style) -> String {
    let mut table = Table::new(["NAME", "SUPERVISOR", "STATE", "RESTARTS"]);
    for actor in &response.actors {
        table.row([
            actor.name.as_str().into(),
            text::or_dash(&actor.supervisor).into(),
            Cell::state(&actor.state),
            actor.restarts.to_string().into(),
        ]);
    }
    let node = text::visible(text::or_dash(&response.node));
    table.render(style, "no actors") + &format!("of {node}, just now; --json shows each one's state\n")
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    supervisor: Option<&'a str>,
    state: &'a str,
    restarts: u32,
    snapshot: Value,
}

fn item(actor: &ActorItem) -> Item<'_> {
    // What is no JSON is shown as the text that it is.
    let snapshot = match actor.snapshot_json.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    };
    Item {
        name: &actor.name,
        supervisor: text::filled(&actor.supervisor),
        state: &actor.state,
        restarts: actor.restarts,
        snapshot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn actors_as_table_and_json() {
        let response = samples::actors();
        insta::assert_snapshot!("actors", table(&response, Style::default()));
        let items = response.actors.iter().map(item).collect();
        insta::assert_snapshot!("actors_json", samples::json(&samples::list(&response.node, items)));
    }
}
