//! What the journal holds: a line of JSON for each thing that happened, each with the hash of the line before it.

use std::sync::Arc;

use base::config::Mode;
use serde::{Deserialize, Serialize};

use super::Entry;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A journal was opened: a new life of the node.
    Opened {
        /// What was wrong with the head then; empty when nothing was.
        complaint: String,
    },
    /// A connection stands.
    Dialled(u64, Entry),
    /// It ended, after so many bytes there and back.
    Ended(u64, Entry, u64, u64),
    /// It did not come about, for this reason.
    Failed(Entry, String),
    /// It was not dialled.
    Refused(Entry),
    /// A name server of the network was asked for the address of a name.
    LookedUp(Entry),
    /// So many events did not fit the queue.
    Dropped(u64),
    /// Something that is no connection.
    Fact(Fact),
}

/// What makes two failures the same: event, purpose, port and host.
pub(super) type FoldKey = (&'static str, &'static str, u16, Arc<str>);

/// Something to be kept on record that is no connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// What may leave the house was changed.
    ModeSet {
        /// To this.
        mode: Mode,
        /// With this share of asks at home.
        local_percent: Option<u8>,
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
    /// An API key was made.
    KeyCreated {
        /// Its name.
        name: String,
        /// By whom.
        by: String,
    },
    /// An API key was made worthless.
    KeyRevoked {
        /// Its name.
        name: String,
        /// By whom.
        by: String,
    },
    /// An engine was told to fetch a model, which it does by itself, from outside.
    ModelPulled {
        /// Its name.
        model: String,
        /// The worker whose engine it is.
        worker: String,
    },
    /// Somebody without a good key was turned away.
    SignInRefused {
        /// Who, as far as that is known; never the key.
        from: String,
        /// Why.
        reason: String,
    },
}

/// A line as it stands on the disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    /// Its number; each is one more than the one before.
    pub n: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The same for people.
    pub at: String,
    /// The kind of event.
    pub event: String,
    /// What the connection is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub purpose: String,
    /// The destination as it was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The address that was judged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// What the rule said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verdict: String,
    /// Which connection of this life of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// Bytes that went there, TLS included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Bytes that came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// What was set, made or revoked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// Who did it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Which ask, document or setting caused it, or why it was done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// How many events the line stands for, where that is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// SHA-256 of the line before, in hex; empty for the first one of all.
    pub before: String,
}

/// What `Line::event` says of a connection that stands, and so on.
pub(super) const DIALLED: &str = "dialled";
pub(super) const ENDED: &str = "ended";
pub(super) const FAILED: &str = "failed";
pub(super) const REFUSED: &str = "refused";
pub(super) const LOOKED_UP: &str = "looked-up";
pub(super) const OPENED: &str = "opened";
pub(super) const DROPPED: &str = "dropped";
pub(super) const MODEL_PULLED: &str = "model-pulled";

/// Texts of others are cut to this many characters.
const LONGEST: usize = 500;

impl Line {
    /// The line for `times` events such as this one; its place in the chain is still to be filled in.
    pub(super) fn of(at_ms: u64, event: &Event, times: u64) -> Self {
        let line = match event {
            Event::Opened { complaint } => Self { error: complaint.clone(), ..named(OPENED) },
            Event::Dialled(connection, entry) => Self { connection: Some(*connection), ..about(DIALLED, entry) },
            Event::Ended(connection, entry, sent, received) => Self {
                connection: Some(*connection),
                sent: Some(*sent),
                received: Some(*received),
                ..about(ENDED, entry)
            },
            Event::Failed(entry, error) => Self { error: cut(error), ..about(FAILED, entry) },
            Event::Refused(entry) => about(REFUSED, entry),
            Event::LookedUp(entry) => about(LOOKED_UP, entry),
            Event::Dropped(_) => named(DROPPED),
            Event::Fact(fact) => of_fact(fact),
        };
        let times = if let Event::Dropped(count) = event { *count } else { times };
        let is_one = times == 1 && !matches!(event, Event::Dropped(_));
        Self { at_ms, at: base::time::rfc3339(at_ms), times: (!is_one).then_some(times), ..line }
    }

    /// How many events it stands for.
    pub fn count(&self) -> u64 {
        self.times.unwrap_or(1)
    }
}

impl Event {
    /// Events of which many may come are written once, and then as a count, by this key; `None`: each is written.
    pub(super) fn fold_key(&self) -> Option<FoldKey> {
        let of = |event, entry: &Entry| (event, entry.purpose.as_str(), entry.port, entry.host.clone());
        match self {
            Event::Failed(entry, _) => Some(of(FAILED, entry)),
            Event::Refused(entry) => Some(of(REFUSED, entry)),
            Event::Fact(Fact::SignInRefused { from, .. }) => Some(("sign-in", "", 0, from.as_str().into())),
            _ => None,
        }
    }
}

fn named(event: &str) -> Line {
    Line { event: event.to_owned(), ..Line::default() }
}

fn about(event: &str, entry: &Entry) -> Line {
    Line {
        purpose: entry.purpose.as_str().to_owned(),
        host: cut(&entry.host),
        port: Some(entry.port),
        address: entry.address.to_string(),
        verdict: entry.verdict.as_str().to_owned(),
        reason: cut(&entry.reason),
        ..named(event)
    }
}

fn of_fact(fact: &Fact) -> Line {
    match fact {
        Fact::ModeSet { mode, local_percent, by, reason } => {
            let share = local_percent.map(|percent| format!(", {percent} % at home")).unwrap_or_default();
            Line { what: format!("{mode}{share}"), by: cut(by), reason: cut(reason), ..named("mode-set") }
        }
        Fact::KeyCreated { name, by } => Line { what: cut(name), by: cut(by), ..named("key-created") },
        Fact::KeyRevoked { name, by } => Line { what: cut(name), by: cut(by), ..named("key-revoked") },
        Fact::ModelPulled { model, worker } => Line { what: cut(model), by: cut(worker), ..named(MODEL_PULLED) },
        Fact::SignInRefused { from, reason } => Line { by: cut(from), reason: cut(reason), ..named("sign-in-refused") },
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}
