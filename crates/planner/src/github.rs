//! GitHub's webhook: a signed delivery becomes edits of one tag's tasks, by a mapping file, once.
//!
//! Reading a delivery (`event`) and deciding what it means (`decide`) are pure; [`Hook::receive`] checks the signature
//! first and writes last. A delivery is marked in the transaction that makes its change, so that a crash between the two
//! neither loses nor repeats it. What strangers write is data: bounded, cleaned, never followed.

mod commits;
mod decide;
mod event;
mod link;
mod mapping;
mod settings;
mod signature;
mod text;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::config::Secret;
use base::{Code, Fault, Result};
use bytes::Bytes;
use serde_json::Value;

use crate::Tasks;
use crate::projects::{Done, Mark, Projects, Wanted};
pub use mapping::Mapping;
pub use settings::load;
pub use signature::{SIGNATURE, verify};

/// The header with the name of an event.
pub const EVENT: &str = "x-github-event";
/// The header with the id of a delivery.
pub const DELIVERY: &str = "x-github-delivery";

/// How long a delivery is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Between looks for deliveries that need not be remembered any more.
const SWEEP_EVERY: Duration = Duration::from_secs(10 * 60);
/// The kind of the marks of deliveries.
const MARKS: &str = "github";
/// GitHub's ids have 36.
const MOST_ID: usize = 64;
/// Changes that an answer shows.
const MOST_SHOWN: usize = 50;
/// A change in an answer is cut to this many bytes.
const MOST_CHANGE: usize = 300;

/// What was posted.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Of header [`EVENT`]; empty when it is missing.
    pub event: String,
    /// Of header [`DELIVERY`].
    pub id: String,
    /// Of header [`SIGNATURE`].
    pub signature: String,
    /// The bytes as they came.
    pub body: Bytes,
}

/// What became of a delivery that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// GitHub only tried whether somebody is there.
    Pong,
    /// Nobody here cares for it; nothing was stored.
    Ignored {
        /// Why.
        why: String,
    },
    /// It is remembered, and what it means is done.
    Taken {
        /// What is different, in words; the first of them.
        changes: Vec<String>,
        /// What a person should know.
        notes: Vec<String>,
    },
}

impl Received {
    /// A word of a closed set, for counting; refusals are counted by their code.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Pong => "ping",
            Self::Ignored { .. } => "ignored",
            Self::Taken { changes, .. } if changes.is_empty() => "unchanged",
            Self::Taken { .. } => "changed",
        }
    }
}

/// What deliveries are taken by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Shared with GitHub.
    pub secret: Secret,
    /// Whose tasks follow GitHub.
    pub project: String,
    /// Which of its tags.
    pub tag: String,
    /// What means what.
    pub mapping: Mapping,
}

/// The door for deliveries. One for each node.
#[derive(Debug)]
pub struct Hook {
    settings: Settings,
    /// Unix milliseconds of the last look for old marks.
    swept_ms: AtomicU64,
}

/// What is said where no webhook is configured.
pub fn not_configured() -> Fault {
    Fault::new(Code::NotFound, "no webhook for GitHub is configured")
        .hint("give [hooks.github] a secret and a project in the configuration, and start the node anew")
}

impl Hook {
    /// A door with these settings.
    pub fn new(settings: Settings) -> Self {
        Self { settings, swept_ms: AtomicU64::new(0) }
    }

    /// Takes a delivery: refuses what is not signed or not understood, changes the tasks, and remembers it.
    pub async fn receive(&self, projects: &Projects, delivery: &Delivery) -> Result<Received> {
        let Settings { secret, project, tag, mapping } = &self.settings;
        verify(secret.0.as_bytes(), &delivery.signature, &delivery.body)?;
        check_headers(delivery)?;
        if delivery.event == "ping" {
            return Ok(Received::Pong);
        }
        if !event::is_known(&delivery.event) {
            return Ok(Received::Ignored { why: format!("event `{}` is not handled", delivery.event) });
        }
        let happening = event::read(&delivery.event, &payload(&delivery.body)?)?;
        if let Some(why) = decide::unwanted(&happening, mapping) {
            return Ok(Received::Ignored { why });
        }
        let wanted = |tasks: &Tasks| {
            let decided = decide::decide(&happening, mapping, tasks);
            let wanted =
                Wanted { edits: decided.edits, who: decide::WHO.into(), why: decided.why, ..Wanted::default() };
            (wanted, decided.notes)
        };
        let mark = Mark::new(MARKS, &delivery.id);
        let done = projects.change_once(project, tag, &mark, wanted).await?;
        self.sweep(projects).await;
        done.map(taken).ok_or_else(|| replayed(&delivery.id))
    }

    /// Forgets old deliveries now and then. A failure costs room only, and the next time comes.
    async fn sweep(&self, projects: &Projects) {
        let now = base::time::unix_ms();
        let last = self.swept_ms.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(last) >= SWEEP_EVERY.as_millis() as u64;
        let is_mine = || self.swept_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !is_due || !is_mine() {
            return;
        }
        let before = now.saturating_sub(REMEMBERED.as_millis() as u64);
        if let Err(error) = projects.forget_marks(MARKS, before).await {
            tracing::warn!(%error, "could not forget old deliveries of GitHub");
        }
    }
}

fn check_headers(delivery: &Delivery) -> Result<()> {
    let is_word = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    for (header, value) in [(EVENT, &delivery.event), (DELIVERY, &delivery.id)] {
        if !is_word(value, MOST_ID) {
            return Err(Fault::invalid(format!("the delivery has no good header `{header}`"))
                .hint(format!("send the headers that GitHub sends: at most {MOST_ID} letters, digits, `-` and `_`")));
        }
    }
    Ok(())
}

fn payload(body: &[u8]) -> Result<Value> {
    let payload: Result<Value, _> = serde_json::from_slice(body);
    let payload = payload.map_err(|error| {
        Fault::invalid("the delivery is not JSON")
            .because(error)
            .hint("choose the content type application/json in the webhook's settings")
    })?;
    match payload.is_object() {
        true => Ok(payload),
        false => Err(Fault::invalid("the delivery is no JSON object").hint("send GitHub's own payload")),
    }
}

fn replayed(id: &str) -> Fault {
    Fault::new(Code::Conflict, format!("delivery `{id}` was taken before"))
        .hint("nothing is to be done: what it means was done then")
}

fn taken(done: Done) -> Received {
    let changes = done.changes.iter().take(MOST_SHOWN).map(|change| change.clipped(MOST_CHANGE).to_string());
    Received::Taken { changes: changes.collect(), notes: done.notes }
}
