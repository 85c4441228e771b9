//! What triggers look at: how asks of the last while ended, on each side of the house's door; and what they make of it.
//!
//! Each node watches the asks of its own clients, and the speeds of its own workers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::config::{Trigger, When};
use base::time::unix_ms;
use base::{Code, Fault, ModelId, Result, WorkerId};
use proto::admin::ModeProposal;
use routing::Side;

use super::SetMode;
use super::history::{History, Wish};
use super::triggers::{Decision, Seen, Standing, Target, decide, leads};
use crate::benching;
use crate::core::{Core, Seen as Sighted};
use crate::desk::modes;
use crate::failures::{FailureKind, Severity, Sighting, Subject};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Samples that are kept; where more come within a window, it is shorter.
const KEPT: usize = 20_000;

/// The samples of a node, and what its triggers propose.
#[derive(Default)]
pub struct Watch {
    triggers: Vec<Trigger>,
    samples: Mutex<VecDeque<Sample>>,
    proposals: Mutex<BTreeMap<String, ModeProposal>>,
}

struct Sample {
    at: Instant,
    side: Side,
    told: Told,
}

enum Told {
    /// An ask ended so.
    Ended { is_failed: bool },
    /// An answer was to keep to a schema.
    Judged { is_broken: bool },
    /// A worker wrote this fast.
    Paced { worker: WorkerId, model: ModelId, tok_s: f64 },
}

/// For each worker and model how often it wrote, and the sum of its tokens per second.
type Paces = HashMap<(WorkerId, ModelId), (u32, f64)>;

impl Watch {
    /// For these triggers; without any, nothing is kept.
    pub fn new(triggers: Vec<Trigger>) -> Self {
        Self { triggers, ..Self::default() }
    }

    /// An ask that leaned to this side ended; failed, where it was not answered there.
    pub fn ended(&self, side: Side, is_failed: bool) {
        self.note(side, Told::Ended { is_failed });
    }

    /// An answer was judged by the schema that it was to keep to.
    pub fn judged(&self, side: Side, is_broken: bool) {
        self.note(side, Told::Judged { is_broken });
    }

    /// A worker wrote an answer this fast.
    pub fn paced(&self, side: Side, worker: &WorkerId, model: &ModelId, tok_s: f64) {
        if self.triggers.iter().any(|trigger| trigger.when == When::Slow) {
            self.note(side, Told::Paced { worker: worker.clone(), model: model.clone(), tok_s });
        }
    }

    /// What is proposed now.
    pub fn proposals(&self) -> Vec<ModeProposal> {
        lock(&self.proposals).values().cloned().collect()
    }

    fn note(&self, side: Side, told: Told) {
        if self.triggers.is_empty() {
            return;
        }
        let mut samples = lock(&self.samples);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(Sample { at: Instant::now(), side, told });
    }

    /// What was seen of a side since `from`; its paces are still to be compared with what was measured.
    fn seen(&self, side: Side, from: Option<Instant>) -> (Seen, Paces) {
        let (mut seen, mut paces) = (Seen::default(), Paces::new());
        let samples = lock(&self.samples);
        let recent = samples.iter().rev().take_while(|sample| from.is_none_or(|from| sample.at >= from));
        for Sample { told, .. } in recent.filter(|sample| sample.side == side) {
            match told {
                Told::Ended { is_failed } => {
                    seen.asks += 1;
                    seen.failed += u32::from(*is_failed);
                }
                Told::Judged { is_broken } => {
                    seen.judged += 1;
                    seen.broken += u32::from(*is_broken);
                }
                Told::Paced { worker, model, tok_s } => {
                    let (count, sum) = paces.entry((worker.clone(), model.clone())).or_default();
                    *count += 1;
                    *sum += tok_s;
                }
            }
        }
        (seen, paces)
    }
}

/// Looks at the samples again and again, until the node stops.
pub async fn keep(core: Arc<Core>) {
    if core.watch.triggers.is_empty() {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(EVERY).await;
        for trigger in &core.watch.triggers {
            look(&core, trigger).await;
        }
    }
}

async fn look(core: &Core, trigger: &Trigger) {
    let now = core.mode.get();
    let standing = standing(core, &now, None);
    let seen = seen(core, trigger, &standing, &now);
    match decide(trigger, &standing, &seen) {
        Decision::Nothing => drop(lock(&core.watch.proposals).remove(&trigger.name)),
        Decision::Propose(target, why) => propose(core, trigger, target, why),
        Decision::Step(_, _) => {
            if let Err(fault) = step(core, trigger, &seen).await {
                tracing::debug!(trigger = trigger.name, error = ?fault, "no step was made");
            }
        }
    }
}

/// What was seen in the trigger's window since the mode holds: what was before says nothing of it.
fn seen(core: &Core, trigger: &Trigger, standing: &Standing, now: &SetMode) -> Seen {
    let Some((_, side)) = leads(trigger, standing) else { return Seen::default() };
    let held = Duration::from_millis(unix_ms().saturating_sub(now.since_ms));
    let from = Instant::now().checked_sub(trigger.window.min(held));
    let (mut seen, paces) = core.watch.seen(side, from);
    for ((worker, model), (count, sum)) in paces {
        if let Some(measured) = benching::measured_speed(core, &worker, &model) {
            seen.paced += count;
            seen.pace += sum / measured;
        }
    }
    seen.pace /= f64::from(seen.paced.max(1));
    seen
}

fn standing(core: &Core, now: &SetMode, history: Option<&History>) -> Standing {
    let by_trigger = |one: &&SetMode| !one.trigger.is_empty();
    let last = match history {
        Some(history) => history.newest_first().find(by_trigger).map(|one| one.since_ms),
        None => Some(now).filter(by_trigger).map(|one| one.since_ms),
    };
    Standing {
        mode: now.mode,
        local_percent: now.local_percent,
        is_locked: core.mode.is_locked(),
        since_step: last.map(|at| Duration::from_millis(unix_ms().saturating_sub(at))),
    }
}

/// Makes the step, where what the store knows allows it still: another node may have been quicker.
async fn step(core: &Core, trigger: &Trigger, seen: &Seen) -> Result<()> {
    let made = modes::change(core, |history| {
        let now = history.newest().cloned().unwrap_or_else(|| core.mode.get());
        match decide(trigger, &standing(core, &now, Some(history)), seen) {
            Decision::Step(target, why) => {
                let wish = Wish { reason: why, set_by: core.node.to_string(), trigger: trigger.name.clone() };
                Ok(history.set(target, wish, unix_ms()))
            }
            _ => Err(Fault::new(Code::Conflict, "the mode was changed just now")),
        }
    })
    .await?;
    let text = format!("trigger {} set {} (before: {})", trigger.name, made.mode, made.before);
    tracing::warn!(trigger = trigger.name, mode = made.mode, before = made.before, "a trigger changed the mode");
    tell(core, trigger, text);
    Ok(())
}

fn propose(core: &Core, trigger: &Trigger, (mode, local_percent): Target, why: String) {
    let proposal = ModeProposal {
        trigger: trigger.name.clone(),
        mode: mode.to_string(),
        local_percent: local_percent.map(u32::from),
        reason: why.clone(),
        at_unix_ms: unix_ms(),
    };
    let mut proposals = lock(&core.watch.proposals);
    let is_new = !proposals.contains_key(&trigger.name);
    let at_unix_ms = proposals.get(&trigger.name).map_or(proposal.at_unix_ms, |before| before.at_unix_ms);
    proposals.insert(trigger.name.clone(), ModeProposal { at_unix_ms, ..proposal });
    drop(proposals);
    if is_new {
        let share = local_percent.map(|percent| format!(" with {percent} % at home")).unwrap_or_default();
        tell(core, trigger, format!("trigger {} proposes {mode}{share}: {why}", trigger.name));
    }
}

fn tell(core: &Core, trigger: &Trigger, text: String) {
    core.happened("mode", core.node.as_str(), text.clone());
    let kind = match trigger.when {
        When::Errors => FailureKind::SystemError,
        When::Slow => FailureKind::PerformanceDegradation,
        When::Quality => FailureKind::ModelFailure,
    };
    let subject = Subject::Other(format!("trigger {}", trigger.name));
    core.tell(Sighted::Wrong(Sighting { subject, kind, severity: Severity::Low, detail: text }));
}

/// Each sample and each proposal is whole by itself, whatever became of who wrote it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
