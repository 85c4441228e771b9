//! `tmctl keys`: API keys of clients, and what each may do. A key is shown once, when it is made; the cluster keeps only its
//! hash.

use std::time::Duration;

use base::time::{rfc3339, unix_ms};
use base::units::parse_duration;
use base::{Fault, Result, Scope};
use clap::Subcommand;
use proto::admin::{CreateKeyRequest, KeyItem, KeyLimits, ListKeysRequest, RevokeKeyRequest, RotateKeyRequest};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Style, Verdict};
use crate::table::{Cell, Table, Tone};
use crate::text::{self, List};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows them, what each may do, and what it was used for
    List,
    /// Makes one and prints it, this once
    Create(Create),
    /// Gives one a new text and prints it, this once; the old one is worthless at once
    Rotate {
        /// Name of the client that has it
        name: String,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
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

/// A key to be made.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Name of the client that gets it
    name: String,
    /// What it opens: infer, tasks, research, read, or admin for everything; without: all but admin
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', value_parser = scope)]
    scope: Vec<Scope>,
    /// A model that it may ask, by any of its names; may be given again; without: every model
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    model: Vec<String>,
    /// How long it is good, such as 12h or 90d; without: until it is revoked
    #[arg(long, value_name = "TIME", value_parser = life)]
    expires: Option<Duration>,
    /// Asks within an hour, in the whole cluster
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    asks_per_hour: Option<u64>,
    /// Tokens of questions and answers within an hour, in the whole cluster
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    tokens_per_hour: Option<u64>,
    /// Asks within a minute, at each node
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    asks_per_minute: Option<u32>,
    /// Asks that run or wait at once, at each node
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
}

fn scope(word: &str) -> std::result::Result<Scope, String> {
    Scope::parse(word).ok_or_else(|| {
        let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        format!("use {}", all.join(", "))
    })
}

fn life(text: &str) -> std::result::Result<Duration, String> {
    let read = parse_duration(text).filter(|life| *life >= Duration::from_secs(1));
    read.ok_or_else(|| "use a number with a unit, such as 12h or 90d".to_owned())
}

impl Create {
    fn request(&self) -> CreateKeyRequest {
        CreateKeyRequest {
            name: self.name.clone(),
            scopes: self.scope.iter().map(ToString::to_string).collect(),
            models: self.model.clone(),
            lives_s: self.expires.map_or(0, |life| life.as_secs()),
            limits: Some(KeyLimits {
                asks_per_hour: self.asks_per_hour.unwrap_or(0),
                tokens_per_hour: self.tokens_per_hour.unwrap_or(0),
                asks_per_minute: self.asks_per_minute.unwrap_or(0),
                at_once: self.at_once.unwrap_or(0),
            }),
        }
    }
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    match &verb {
        Some(Verb::Revoke { name, yes: false }) => return Err(unconfirmed(name).into()),
        Some(Verb::Rotate { name, yes: false }) => return Err(not_rotated(name).into()),
        _ => {}
    }
    let connection = servers.connect().await?;
    let mut admin = connection.admin();
    match verb.unwrap_or(Verb::List) {
        Verb::List => {
            let response = call(CALL_LIMIT, admin.list_keys(ListKeysRequest {})).await?;
            let list = List::of_now(&connection.server, response.keys.iter().map(item).collect());
            screen.show(|style| table(&response.keys, &connection.server, unix_ms(), style), &list)?;
        }
        Verb::Create(create) => {
            let response = call(CALL_LIMIT, admin.create_key(create.request())).await?;
            shown_once(screen, &create.name, &response.key)?;
        }
        Verb::Rotate { name, .. } => {
            let response = call(CALL_LIMIT, admin.rotate_key(RotateKeyRequest { name: name.clone() })).await?;
            shown_once(screen, &name, &response.key)?;
        }
        Verb::Revoke { name, .. } => {
            call(CALL_LIMIT, admin.revoke_key(RevokeKeyRequest { name: name.clone() })).await?;
            screen.show(|_| format!("the key of {name} is worthless now\n"), &Revoked { name: &name })?;
        }
    }
    Ok(Verdict::Done)
}

fn shown_once(screen: &mut Screen, name: &str, key: &str) -> Result<(), Ended> {
    screen.show(|_| format!("{key}\n"), &Created { name, key })?;
    screen.note("the key is shown this once; the cluster keeps only its hash\n");
    Ok(())
}

fn unconfirmed(name: &str) -> Fault {
    Fault::invalid(format!("the key of `{name}` would be refused from now on, and it cannot be brought back"))
        .hint("add --yes to do it; `tmctl keys create` makes a new one")
}

fn not_rotated(name: &str) -> Fault {
    Fault::invalid(format!("the key of `{name}` would be refused from now on, until its client has the new one"))
        .hint("add --yes to do it")
}

fn table(keys: &[KeyItem], server: &str, now_ms: u64, style: Style) -> String {
    let mut table = Table::new(["NAME", "SCOPES", "MODELS", "LIMITS", "ASKS/H", "TOKENS/H", "LAST ASK", "EXPIRES"]);
    for key in keys {
        let scopes = match key.scopes.is_empty() {
            // Its record cannot be read; only its name is known.
            true => "damaged; revoke it".to_owned(),
            false => key.scopes.join(","),
        };
        let models = if key.models.is_empty() { "all".to_owned() } else { key.models.join(",") };
        table.row([
            key.name.as_str().into(),
            scopes.into(),
            models.into(),
            limits(key).into(),
            key.asks_of_hour.to_string().into(),
            key.tokens_of_hour.to_string().into(),
            text::clock(key.used_unix_ms).into(),
            expires(key.expires_unix_ms, now_ms),
        ]);
    }
    table.render(style, "no keys; `tmctl keys create NAME` makes one") + &text::told_by(server)
}

fn expires(at_ms: u64, now_ms: u64) -> Cell {
    match at_ms {
        0 => "never".into(),
        at if at <= now_ms => Cell::new(format!("expired {}", text::clock(at)), Tone::Bad),
        at => text::clock(at).into(),
    }
}

/// What it may ask for, as it was typed.
fn limits(key: &KeyItem) -> String {
    let KeyLimits { asks_per_hour, tokens_per_hour, asks_per_minute, at_once } = key.limits.unwrap_or_default();
    let all = [
        (asks_per_hour, "asks/h"),
        (tokens_per_hour, "tokens/h"),
        (asks_per_minute.into(), "asks/min"),
        (at_once.into(), "at once"),
    ];
    let set: Vec<String> =
        all.iter().filter(|(amount, _)| *amount > 0).map(|(amount, what)| format!("{amount} {what}")).collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
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
    scopes: &'a [String],
    models: &'a [String],
    expires: Option<String>,
    asks_per_hour: Option<u64>,
    tokens_per_hour: Option<u64>,
    asks_per_minute: Option<u32>,
    at_once: Option<u32>,
    asks_of_hour: u64,
    tokens_of_hour: u64,
    last_ask: Option<String>,
}

fn item(key: &KeyItem) -> Item<'_> {
    let limits = key.limits.unwrap_or_default();
    let time = |at_ms: u64| (at_ms > 0).then(|| rfc3339(at_ms));
    Item {
        name: &key.name,
        created: rfc3339(key.created_unix_ms),
        scopes: &key.scopes,
        models: &key.models,
        expires: time(key.expires_unix_ms),
        asks_per_hour: Some(limits.asks_per_hour).filter(|&limit| limit > 0),
        tokens_per_hour: Some(limits.tokens_per_hour).filter(|&limit| limit > 0),
        asks_per_minute: Some(limits.asks_per_minute).filter(|&limit| limit > 0),
        at_once: Some(limits.at_once).filter(|&limit| limit > 0),
        asks_of_hour: key.asks_of_hour,
        tokens_of_hour: key.tokens_of_hour,
        last_ask: time(key.used_unix_ms),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    #[derive(Parser)]
    struct Typed {
        #[command(subcommand)]
        verb: Verb,
    }

    fn keys() -> Vec<KeyItem> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let all = KeyItem {
            name: "laptop".into(),
            created_unix_ms: samples::NOW,
            scopes: words(&["admin"]),
            used_unix_ms: samples::NOW,
            asks_of_hour: 12,
            tokens_of_hour: 34_567,
            ..KeyItem::default()
        };
        let phone = KeyItem {
            name: "phone".into(),
            scopes: words(&["infer", "read"]),
            models: words(&["llama3.1:8b", "qwen3:4b"]),
            expires_unix_ms: samples::NOW + 1000,
            limits: Some(KeyLimits { asks_per_hour: 100, tokens_per_hour: 50_000, asks_per_minute: 10, at_once: 2 }),
            used_unix_ms: 0,
            ..all.clone()
        };
        let gone = KeyItem { name: "gone".into(), expires_unix_ms: samples::NOW, ..phone.clone() };
        let damaged = KeyItem { name: "bad".into(), ..KeyItem::default() };
        vec![all, phone, gone, damaged]
    }

    #[test]
    fn keys_as_table_and_json() {
        let keys = keys();
        let text = table(&keys, "grey-area:3002", samples::NOW, Style::default())
            + &table(&[], "grey-area:3002", samples::NOW, Style::default())
            + &samples::json(&samples::list("grey-area:3002", keys.iter().take(2).map(item).collect()))
            + &fault_text(&unconfirmed("laptop"))
            + &fault_text(&not_rotated("laptop"));
        insta::assert_snapshot!("keys", text);
    }

    #[test]
    fn what_is_typed_is_what_is_asked_for() {
        let typed = |line: &str| Typed::try_parse_from(line.split(' ')).map(|typed| typed.verb);
        let line = "keys create phone --scope infer,read --model a --model b --expires 90d --asks-per-hour 5 \
            --tokens-per-hour 6 --asks-per-minute 7 --at-once 8";
        let Ok(Verb::Create(create)) = typed(line) else { panic!("not taken") };
        let request = create.request();
        assert_eq!(request.scopes, ["infer", "read"]);
        assert_eq!(request.models, ["a", "b"]);
        assert_eq!(request.lives_s, 90 * 86_400);
        let limits = KeyLimits { asks_per_hour: 5, tokens_per_hour: 6, asks_per_minute: 7, at_once: 8 };
        assert_eq!(request.limits, Some(limits));
        for wrong in ["--scope fly", "--expires soon", "--expires 0s", "--at-once 0", "--asks-per-hour 0"] {
            assert!(typed(&format!("keys create phone {wrong}")).is_err(), "{wrong}");
        }
    }
}
