//! What was asked for with each key: counted here without a wait, told to the other nodes through the store.
//!
//! A node writes what it has counted when something changed, at most once a second, and only every half minute where no
//! key with a budget is concerned. So the asks of an hour may go over a key's budget by those that other nodes took
//! within the last second, or since the store went away. It is kept over a restart. What is limited at each node (asks
//! of a minute, asks at once) is counted in memory alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::time::unix_ms;
use base::{AskHead, Grant, KeyLimits, Result};
use routing::budget::{Spent, Window, may_begin};
use serde::{Deserialize, Serialize};
use store::{Txn, WatchEvent};
use tokio::time::MissedTickBehavior;

use crate::core::Core;

const SPENT: &str = "spent/";
/// Between two looks at whether there is something to tell.
const LOOK: Duration = Duration::from_secs(1);
/// What no budget depends on is told so often.
const BY_THE_WAY: Duration = Duration::from_secs(30);

/// The count of a node.
#[derive(Default)]
pub struct Spending(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    own: HashMap<Arc<str>, Own>,
    /// Of the other nodes, by their names.
    others: HashMap<String, BTreeMap<String, Told>>,
    /// What this node told in its last life was taken on.
    has_recalled: bool,
    news: News,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    #[default]
    None,
    /// For lists only.
    ByTheWay,
    /// A budget depends on it.
    ForBudgets,
}

/// What one key asked for here.
#[derive(Default)]
struct Own {
    told: Told,
    minute: Spent,
    running: u32,
}

/// What others are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    used_ms: u64,
    hour: Spent,
}

/// An ask that was let in; it counts as running until it is dropped.
pub struct Spend {
    core: Arc<Core>,
    grant: Arc<Grant>,
}

/// What a key was used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Within the last hour.
    pub asks: u64,
    /// Within the last hour.
    pub tokens: u64,
    /// When it was used last for an ask, in Unix milliseconds; 0: nobody knows of any.
    pub last_ms: u64,
}

impl Spend {
    /// Lets an ask of `grant` in, or says when to come back.
    pub fn begin(core: &Arc<Core>, grant: &Arc<Grant>) -> Result<Self> {
        core.keys.spending.lock().begin(grant, unix_ms())?;
        Ok(Self { core: core.clone(), grant: grant.clone() })
    }

    /// So much was asked and answered.
    pub fn tokens(&self, tokens: u64) {
        self.core.keys.spending.lock().note(&self.grant, 0, tokens, unix_ms());
    }
}

impl Drop for Spend {
    fn drop(&mut self) {
        self.core.keys.spending.lock().ended(&self.grant.name);
    }
}

impl Spending {
    /// What the key called `name` was used for in the whole cluster.
    pub fn of(&self, name: &str) -> Use {
        let (now_ms, counts) = (unix_ms(), self.lock());
        let (asks, tokens) = counts.hour_of(name).sum(Window::HOUR, now_ms);
        Use { asks, tokens, last_ms: counts.told(name).map(|told| told.used_ms).max().unwrap_or_default() }
    }

    /// How much of what waits goes before an ask, where keys take turns: what others have up to as many as its own key has,
    /// and its own. This node's asks stand for those of all.
    pub fn share(&self, head: &AskHead) -> f64 {
        head.grant.as_ref().map_or(1.0, |grant| self.lock().share(&grant.name))
    }

    /// Counts are whole after each change, so a thread that died in between leaves none broken.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn begin(&mut self, grant: &Grant, now_ms: u64) -> Result<()> {
        if grant.limits != KeyLimits::default() {
            let hour = self.hour_of(&grant.name);
            let nothing = Own::default();
            let own = self.own.get(&grant.name).unwrap_or(&nothing);
            let reached = may_begin(&grant.limits, &hour, &own.minute, own.running, now_ms);
            reached.map_err(|reached| reached.fault(&grant.name))?;
        }
        let own = self.note(grant, 1, 0, now_ms);
        own.minute.note(Window::MINUTE, 1, 0, now_ms);
        own.running += 1;
        Ok(())
    }

    fn note(&mut self, grant: &Grant, asks: u64, tokens: u64, now_ms: u64) -> &mut Own {
        let KeyLimits { asks_per_hour, tokens_per_hour, .. } = grant.limits;
        let has_budget = asks_per_hour.is_some() || tokens_per_hour.is_some();
        self.news = self.news.max(if has_budget { News::ForBudgets } else { News::ByTheWay });
        let own = self.own.entry(grant.name.clone()).or_default();
        own.told.used_ms = own.told.used_ms.max(now_ms);
        own.told.hour.note(Window::HOUR, asks, tokens, now_ms);
        own
    }

    fn ended(&mut self, name: &str) {
        if let Some(own) = self.own.get_mut(name) {
            own.running = own.running.saturating_sub(1);
        }
    }

    fn share(&self, name: &str) -> f64 {
        let own = self.own.get(name).map_or(0, |own| own.running);
        let (mut before, mut all) = (0u32, 0u32);
        for (other, counted) in &self.own {
            // The ask itself is counted already.
            let (counted, most) = if **other == *name { (own.saturating_sub(1), own) } else { (counted.running, own) };
            before = before.saturating_add(counted.min(most));
            all = all.saturating_add(counted);
        }
        if all == 0 { 1.0 } else { f64::from(before) / f64::from(all) }
    }

    fn told<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Told> {
        let own = self.own.get(name).map(|own| &own.told);
        own.into_iter().chain(self.others.values().filter_map(move |node| node.get(name)))
    }

    /// In the whole cluster.
    fn hour_of(&self, name: &str) -> Spent {
        let mut hour = Spent::default();
        self.told(name).for_each(|told| hour.take_on(&told.hour));
        hour
    }

    /// What `node` told, as it stands in the store. What this node told itself is only read after a start.
    fn hear(&mut self, node: &str, me: &str, told: BTreeMap<String, Told>) {
        if node != me {
            self.others.insert(node.to_owned(), told);
            return;
        }
        if self.has_recalled {
            return;
        }
        for (name, told) in told {
            let own = self.own.entry(name.into()).or_default();
            own.told.used_ms = own.told.used_ms.max(told.used_ms);
            own.told.hour.take_on(&told.hour);
        }
    }

    /// What is to be told now, of the keys that there are; `None` when it can wait.
    fn due(&mut self, waited: Duration, is_there: impl Fn(&str) -> bool) -> Option<BTreeMap<String, Told>> {
        let is_due = match self.news {
            News::None => false,
            News::ByTheWay => waited >= BY_THE_WAY,
            News::ForBudgets => true,
        };
        // Before it has read what it told last, it would write over that.
        if !is_due || !self.has_recalled {
            return None;
        }
        self.news = News::None;
        self.own.retain(|name, own| own.running > 0 || is_there(name));
        Some(self.own.iter().map(|(name, own)| (name.to_string(), own.told.clone())).collect())
    }
}

/// Trades counts with the other nodes until the store is closed.
pub async fn share(core: Arc<Core>) {
    let mut watch = core.store.watch(SPENT, None);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told_at, mut is_away) = (Instant::now(), false);
    loop {
        tokio::select! {
            event = watch.next() => match event {
                Some(event) => heard(&core, event),
                None => break,
            },
            _ = looks.tick() => {
                let due = core.keys.spending.lock().due(told_at.elapsed(), |name| core.keys.has(name));
                let Some(told) = due else { continue };
                let tell = tell(&core, &told).await;
                if let Err(error) = &tell {
                    core.keys.spending.lock().news = News::ForBudgets;
                    if !is_away {
                        tracing::warn!(?error, "could not tell the other nodes what keys were used for; each counts alone");
                    }
                } else {
                    told_at = Instant::now();
                }
                is_away = tell.is_err();
            }
        }
    }
    // The store ends its watches only when the node stops, and then this is not polled for long.
    std::future::pending().await
}

async fn tell(core: &Core, told: &BTreeMap<String, Told>) -> Result<()> {
    let value = serde_json::to_vec(told)
        .map_err(|error| base::Fault::internal("could not write what keys were used for").because(error))?;
    core.store.commit(Txn::new().put(format!("{SPENT}{}", core.node), value)).await?;
    Ok(())
}

fn heard(core: &Core, event: WatchEvent) {
    let mut counts = core.keys.spending.lock();
    let mut hear = |key: &str, value: &[u8]| {
        let Some(node) = key.strip_prefix(SPENT) else { return };
        match serde_json::from_slice(value) {
            Ok(told) => counts.hear(node, core.node.as_str(), told),
            Err(error) => tracing::error!(key, %error, "what keys were used for at a node cannot be read"),
        }
    };
    match event {
        WatchEvent::Reset(listing) => {
            listing.entries.iter().for_each(|entry| hear(&entry.key, &entry.value));
            let is_there =
                |node: &String| listing.entries.iter().any(|entry| entry.key.strip_prefix(SPENT) == Some(node));
            counts.others.retain(|node, _| is_there(node));
            counts.has_recalled = true;
        }
        WatchEvent::Put(entry) => hear(&entry.key, &entry.value),
        WatchEvent::Deleted { key, .. } => {
            if let Some(node) = key.strip_prefix(SPENT) {
                counts.others.remove(node);
            }
        }
        WatchEvent::Damaged(damaged) => {
            tracing::error!(key = damaged.key, reason = damaged.reason, "what keys were used for at a node is damaged");
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Code;

    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn grant(name: &str, limits: KeyLimits) -> Grant {
        Grant { name: name.into(), limits, ..Grant::clone(Grant::everything()) }
    }

    fn budget(asks: u64) -> KeyLimits {
        KeyLimits { asks_per_hour: Some(asks), ..KeyLimits::default() }
    }

    fn recalled() -> Counts {
        Counts { has_recalled: true, ..Counts::default() }
    }

    #[test]
    fn what_another_node_counted_counts_here() {
        let (mut here, mut there) = (recalled(), recalled());
        let phone = grant("phone", budget(3));
        for _ in 0..2 {
            there.begin(&phone, NOW).unwrap();
        }
        let told = there.due(Duration::ZERO, |_| true).unwrap();
        assert_eq!(there.due(Duration::ZERO, |_| true), None, "nothing new");
        here.hear("there", "here", told);
        here.begin(&phone, NOW).unwrap();
        let fault = here.begin(&phone, NOW).unwrap_err();
        assert_eq!(fault.code, Code::Overloaded);
        assert!(here.begin(&grant("other", budget(1)), NOW).is_ok());
    }

    #[test]
    fn a_node_goes_on_counting_where_its_last_life_ended() {
        let phone = grant("phone", budget(2));
        let mut before = recalled();
        before.begin(&phone, NOW).unwrap();
        let told = before.due(Duration::ZERO, |_| true).unwrap();
        let told: BTreeMap<String, Told> = serde_json::from_slice(&serde_json::to_vec(&told).unwrap()).unwrap();
        let mut after = Counts::default();
        // It has begun already when the store answers, and has told nothing until then.
        after.begin(&phone, NOW).unwrap();
        assert_eq!(after.due(Duration::ZERO, |_| true), None);
        after.hear("me", "me", told.clone());
        after.has_recalled = true;
        after.hear("me", "me", told);
        assert_eq!(after.hour_of("phone").sum(Window::HOUR, NOW), (2, 0));
        assert!(after.begin(&phone, NOW).is_err());
    }

    #[test]
    fn the_many_of_one_key_are_not_before_the_one_of_another() {
        let mut counts = recalled();
        let [loud, quiet] = ["loud", "quiet"].map(|name| grant(name, KeyLimits::default()));
        for _ in 0..100 {
            counts.begin(&loud, NOW).unwrap();
        }
        assert_eq!(counts.share("loud"), 1.0);
        counts.begin(&quiet, NOW).unwrap();
        assert_eq!(counts.share("quiet"), 0.01);
        assert_eq!(counts.share("loud"), 1.0);
        counts.begin(&quiet, NOW).unwrap();
        assert!((counts.share("quiet") - 3.0 / 101.0).abs() < 1e-9);
    }

    #[test]
    fn asks_at_once_are_freed_when_they_end_and_keys_that_are_gone_are_forgotten() {
        let mut counts = recalled();
        let phone = grant("phone", KeyLimits { at_once: Some(1), ..KeyLimits::default() });
        counts.begin(&phone, NOW).unwrap();
        assert!(counts.begin(&phone, NOW).is_err());
        assert!(counts.due(BY_THE_WAY, |_| false).unwrap().contains_key("phone"), "it runs");
        counts.ended("phone");
        counts.begin(&phone, NOW).unwrap();
        counts.ended("phone");
        assert_eq!(counts.due(Duration::ZERO, |_| false), None, "no budget depends on it");
        assert_eq!(counts.due(BY_THE_WAY, |_| false), Some(BTreeMap::new()));
    }
}
