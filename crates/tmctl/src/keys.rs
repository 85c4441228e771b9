//! `tmctl keys`: API keys of clients. A key is shown once, when it is made; the cluster keeps only its hash.

use base::time::rfc3339;
use base::{Fault, Result};
use clap::Subcommand;
use proto::admin::{CreateKeyRequest, KeyItem, ListKeysRequest, RevokeKeyRequest};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::Table;
use crate::text::{self, List};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows their names
    List,
    /// Makes one and prints it, this once
    Create {
        /// Name of the client that gets it
        name: String,
    },
    /// Makes one worthless
    Revoke {
        /// Name of the client that has it
        name: String,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    if let Some(Verb::Revoke { name, yes: false }) = &verb {
        return Err(unconfirmed(name).into());
    }
    let connection = servers.connect().await?;
    let mut admin = connection.admin();
    match verb.unwrap_or(Verb::List) {
        Verb::List => {
            let response = call(CALL_LIMIT, admin.list_keys(ListKeysRequest {})).await?;
            let list = List::of_now(&connection.server, response.keys.iter().map(item).collect());
            screen.show(|style| table(&response.keys, &connection.server, style), &list)?;
        }
        Verb::Create { name } => {
            let response = call(CALL_LIMIT, admin.create_key(CreateKeyRequest { name: name.clone() })).await?;
            screen.show(|_| format!("{}\n", response.key), &Created { name: &name, key: &response.key })?;
            screen.note("the key is shown this once; the cluster keeps only its hash\n");
        }
        Verb::Revoke { name, .. } => {
            call(CALL_LIMIT, admin.revoke_key(RevokeKeyRequest { name: name.clone() })).await?;
            screen.show(|_| format!("the key of {name} is worthless now\n"), &Revoked { name: &name })?;
        }
    }
    Ok(Verdict::Done)
}

fn unconfirmed(name: &str) -> Fault {
    Fault::invalid(format!("the key of `{name}` would be refused from now on, and it cannot be brought back"))
        .hint("add --yes to do it; `tmctl keys create` makes a new one")
}

fn table(keys: &[KeyItem], server: &str, style: Style) -> String {
    let mut table = Table::new(["NAME", "CREATED"]);
    for key in keys {
        let created = match key.created_unix_ms {
            // Its record cannot be read; only its name is known.
            0 => "damaged; revoke it".to_owned(),
            at => text::clock(at),
        };
        table.row([key.name.as_str().into(), created.into()]);
    }
    table.render(style, "no keys; `tmctl keys create NAME` makes one") + &text::told_by(server)
}

#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    key: &'a str,
}

#[derive(Serialize)]
struct Revoked<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    created: String,
}

fn item(key: &KeyItem) -> Item<'_> {
    Item { name: &key.name, created: rfc3339(key.created_unix_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    #[test]
    fn keys_as_table_and_json() {
        let keys = [KeyItem { name: "laptop".into(), created_unix_ms: samples::NOW }];
        let text = table(&keys, "grey-area:3002", Style::default())
            + &table(&[], "grey-area:3002", Style::default())
            + &samples::json(&samples::list("grey-area:3002", keys.iter().map(item).collect()))
            + &fault_text(&unconfirmed("laptop"));
        insta::assert_snapshot!("keys", text);
    }
}
