//! What a trigger makes of what was seen: nothing, a proposal, or a step. Pure.
//!
//! A step never opens a door that was shut: from local-only, and on a locked node, there are proposals alone. After a step
//! by any trigger this one waits for its window, so that two of them cannot swing to and fro.

use std::time::Duration;

use base::config::{Act, Mode, To, Trigger, When};
use base::units::format_duration;
use routing::Side;

/// Fewer asks than this say nothing of a share.
const LEAST_ASKS: u32 = 20;
/// Fewer measured speeds, or judged answers, than this say nothing.
const LEAST_PACES: u32 = 5;
const LEAST_JUDGED: u32 = 10;

/// What was seen of one side of the house's door in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Asks that leaned there and ended.
    pub asks: u32,
    /// Those of them that were not answered there, the client not to blame.
    pub failed: u32,
    /// Runs whose speed was compared with the measured one.
    pub paced: u32,
    /// Their mean share of it.
    pub pace: f64,
    /// Answers that were to keep to a schema.
    pub judged: u32,
    /// Those of them that did not.
    pub broken: u32,
}

/// How it is with the mode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// What holds.
    pub mode: Mode,
    /// With this share of asks at home.
    pub local_percent: Option<u8>,
    /// Whether the node is locked.
    pub is_locked: bool,
    /// How long ago a trigger made a step.
    pub since_step: Option<Duration>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Nothing.
    Nothing,
    /// Tell the owner.
    Propose(Target, String),
    /// Change the mode.
    Step(Target, String),
}

/// A mode with its share.
pub type Target = (Mode, Option<u8>);

/// What the trigger makes of it.
pub fn decide(trigger: &Trigger, standing: &Standing, seen: &Seen) -> Decision {
    let Some((to, side)) = leads(trigger, standing) else { return Decision::Nothing };
    let Some(why) = why(trigger, side, seen) else { return Decision::Nothing };
    if standing.since_step.is_some_and(|since| since < trigger.window) {
        return Decision::Nothing;
    }
    let opens = side == Side::Home;
    let is_shut = standing.is_locked || (standing.mode == Mode::LocalOnly && opens);
    match trigger.act {
        Act::Step if !is_shut => Decision::Step(to, why),
        Act::Step => Decision::Propose(to, format!("{why}; a step that opens the house is its owner's to make")),
        Act::Propose => Decision::Propose(to, why),
    }
}

/// Where the trigger leads from here, and the side that it leads away from, which it therefore looks at.
pub fn leads(trigger: &Trigger, standing: &Standing) -> Option<(Target, Side)> {
    let now = (standing.mode, standing.local_percent);
    let to = match trigger.to {
        To::Mode(mode) if mode == standing.mode => return None,
        To::Mode(mode) => (mode, None),
        To::LocalPercent(step) => (Mode::Hybrid, Some(stepped(share(now), step))),
    };
    let (from, until) = (exposure(now), exposure(to));
    match until.cmp(&from) {
        std::cmp::Ordering::Greater => Some((to, Side::Home)),
        std::cmp::Ordering::Less => Some((to, Side::Outside)),
        std::cmp::Ordering::Equal => None,
    }
}

/// The share of asks that lean home; in hybrid without one it is not known, and half is as good a beginning as any.
fn share((mode, local_percent): Target) -> u8 {
    match mode {
        Mode::LocalOnly | Mode::LocalPreferred => 100,
        Mode::Hybrid => local_percent.unwrap_or(50),
        Mode::ExternalPreferred | Mode::ExternalOnly => 0,
    }
}

fn stepped(share: u8, step: i8) -> u8 {
    u8::try_from((i16::from(share) + i16::from(step)).clamp(0, 100)).unwrap_or(0)
}

/// How open the house is, to compare.
fn exposure(target: Target) -> u16 {
    match target.0 {
        Mode::LocalOnly => 0,
        Mode::LocalPreferred => 1,
        Mode::Hybrid => 2 + 100 - u16::from(share(target)),
        Mode::ExternalPreferred => 103,
        Mode::ExternalOnly => 104,
    }
}

/// What is wrong on that side, in words; `None` where nothing is, or too little was seen.
fn why(trigger: &Trigger, side: Side, seen: &Seen) -> Option<String> {
    let place = match side {
        Side::Home => "home",
        Side::Outside => "outside",
    };
    let (threshold, window) = (trigger.threshold, format_duration(trigger.window));
    let is_over = |part: u32, all: u32| f64::from(part) / f64::from(all.max(1)) >= threshold;
    match trigger.when {
        When::Errors if seen.asks >= LEAST_ASKS && is_over(seen.failed, seen.asks) => Some(format!(
            "{} of {} asks that leaned {place} were not answered there within {window} (threshold {threshold})",
            seen.failed, seen.asks
        )),
        When::Slow if seen.paced >= LEAST_PACES && seen.pace < threshold => Some(format!(
            "answers from {place} came at {:.2} of the measured speed within {window} (threshold {threshold})",
            seen.pace
        )),
        When::Quality if seen.judged >= LEAST_JUDGED && is_over(seen.broken, seen.judged) => Some(format!(
            "{} of {} answers from {place} broke their schema within {window} (threshold {threshold})",
            seen.broken, seen.judged
        )),
        When::Errors | When::Slow | When::Quality => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(600);

    fn trigger(when: When, act: Act, to: To) -> Trigger {
        Trigger { name: "t".to_owned(), when, threshold: 0.5, window: WINDOW, act, to }
    }

    fn standing(mode: Mode, local_percent: Option<u8>) -> Standing {
        Standing { mode, local_percent, is_locked: false, since_step: None }
    }

    const FAILING: Seen = Seen { asks: 40, failed: 30, paced: 0, pace: 0.0, judged: 0, broken: 0 };

    #[test]
    fn a_share_is_lowered_step_by_step_and_not_below_nothing() {
        let lower = trigger(When::Errors, Act::Step, To::LocalPercent(-30));
        for (from, to) in [
            (standing(Mode::LocalPreferred, None), Some(70)),
            (standing(Mode::Hybrid, Some(80)), Some(50)),
            (standing(Mode::Hybrid, None), Some(20)),
            (standing(Mode::Hybrid, Some(10)), Some(0)),
        ] {
            let Decision::Step(target, why) = decide(&lower, &from, &FAILING) else { panic!("{from:?}") };
            assert_eq!(target, (Mode::Hybrid, to), "{from:?}");
            assert_eq!(why, "30 of 40 asks that leaned home were not answered there within 10m (threshold 0.5)");
        }
        let ended = standing(Mode::Hybrid, Some(0));
        assert_eq!(decide(&lower, &ended, &FAILING), Decision::Nothing);
    }

    #[test]
    fn each_kind_has_its_threshold_and_too_little_says_nothing() {
        let good = Seen { asks: 100, failed: 49, paced: 9, pace: 0.5, judged: 100, broken: 49 };
        for (when, bad, few) in [
            (When::Errors, Seen { failed: 50, ..good }, Seen { asks: 19, failed: 19, ..good }),
            (When::Slow, Seen { pace: 0.49, ..good }, Seen { pace: 0.01, paced: 4, ..good }),
            (When::Quality, Seen { broken: 50, ..good }, Seen { judged: 9, broken: 9, ..good }),
        ] {
            let step = trigger(when, Act::Step, To::Mode(Mode::Hybrid));
            let decided = |seen| decide(&step, &standing(Mode::LocalPreferred, None), seen);
            assert!(matches!(decided(&bad), Decision::Step(..)), "{when}");
            assert_eq!((decided(&good), decided(&few)), (Decision::Nothing, Decision::Nothing), "{when}");
        }
    }

    #[test]
    fn what_leads_home_looks_at_the_workers_outside() {
        let home = trigger(When::Errors, Act::Step, To::Mode(Mode::LocalPreferred));
        let from = standing(Mode::ExternalPreferred, None);
        assert_eq!(leads(&home, &from), Some(((Mode::LocalPreferred, None), Side::Outside)));
        assert_eq!(leads(&home, &standing(Mode::LocalOnly, None)).map(|(_, side)| side), Some(Side::Home));
        assert_eq!(leads(&home, &standing(Mode::LocalPreferred, None)), None);
    }

    #[test]
    fn after_a_step_a_trigger_waits_for_its_window() {
        let step = trigger(When::Errors, Act::Step, To::LocalPercent(-10));
        let at = |since_step| Standing { since_step, ..standing(Mode::Hybrid, Some(80)) };
        assert_eq!(decide(&step, &at(Some(WINDOW - Duration::from_millis(1))), &FAILING), Decision::Nothing);
        assert!(matches!(decide(&step, &at(Some(WINDOW)), &FAILING), Decision::Step(..)));
    }

    proptest! {
        #[test]
        fn no_trigger_opens_a_house_that_is_shut(
            when in 0..When::ALL.len(), to in 0..Mode::ALL.len(), step in -100..=100_i8, is_mode: bool,
            mode in 0..Mode::ALL.len(), is_locked: bool, local_percent in proptest::option::of(0..=100_u8),
        ) {
            let to = if is_mode { To::Mode(Mode::ALL[to]) } else { To::LocalPercent(step) };
            let trigger = trigger(When::ALL[when], Act::Step, to);
            let standing = Standing { is_locked, ..standing(Mode::ALL[mode], local_percent) };
            let seen = Seen { asks: 100, failed: 100, paced: 100, pace: 0.0, judged: 100, broken: 100 };
            if let Decision::Step(target, _) = decide(&trigger, &standing, &seen) {
                prop_assert!(!is_locked);
                prop_assert!(standing.mode != Mode::LocalOnly, "to {:?}", target);
            }
        }
    }
}
