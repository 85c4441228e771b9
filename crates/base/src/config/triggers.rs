//! What may propose another mode, or change it: named triggers of `[[privacy.triggers]]`.

use std::time::Duration;

use toml::Value;

use super::Mode;
use super::reader::{ConfigFault, Section};
use super::values::*;
use crate::ask::words;

words! {
    /// What a trigger looks at.
    When {
        /// The share of asks that failed.
        Errors "errors",
        /// How fast answers come, as a share of what was measured.
        Slow "slow",
        /// The share of answers that broke the schema that they were asked for.
        Quality "quality",
    }
}

words! {
    /// What a trigger does.
    Act {
        /// Tells the owner.
        Propose "propose",
        /// Makes the step, where that opens no door that was shut.
        Step "step",
    }
}

/// Where a trigger leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To a mode.
    Mode(Mode),
    /// To hybrid, with so many more (or fewer) of a hundred asks at home.
    LocalPercent(i8),
}

/// A named trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// What it looks at.
    pub when: When,
    /// The share from which on it acts, above 0 and up to 1; for `slow`, the share of the speed below which it does.
    pub threshold: f64,
    /// The time that it looks back, and within which it acts once.
    pub window: Duration,
    /// What it does.
    pub act: Act,
    /// Where it leads.
    pub to: To,
}

/// More than anybody can keep apart.
const MOST: usize = 16;

/// Reads the triggers; a name that stands twice is a fault.
pub(super) fn triggers(sections: Vec<Section>, faults: &mut Vec<ConfigFault>) -> Vec<Trigger> {
    let mut triggers: Vec<Trigger> = Vec::new();
    for section in sections {
        let Some(trigger) = trigger(section, faults) else { continue };
        let problem = match triggers.len() {
            MOST => Some(format!("is one more than the {MOST} that there may be")),
            _ => triggers.iter().any(|one| one.name == trigger.name).then(|| "stands there twice".to_owned()),
        };
        match problem {
            Some(problem) => faults.push(ConfigFault {
                field: "privacy.triggers".to_owned(),
                value: trigger.name,
                problem,
                hint: "keep fewer, each with a name of its own".to_owned(),
            }),
            None => triggers.push(trigger),
        }
    }
    triggers
}

fn trigger(mut s: Section, faults: &mut Vec<ConfigFault>) -> Option<Trigger> {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let name = s.get("name", "a name of up to 64 letters, digits, `-`, `_`", |v| {
        text(v).filter(|name| !name.is_empty() && name.len() <= 64 && name.bytes().all(is_letter))
    });
    let when = s.get("when", &format!("one of {}", all(When::ALL, When::as_str)), |v| When::parse(v.as_str()?));
    let threshold = s.get("threshold", "a share above 0 and up to 1, such as 0.2", |v| {
        number(v).filter(|share| *share > 0.0 && *share <= 1.0)
    });
    let window = s.get("window", "a duration from 10s to 24h, such as \"10m\"", |v| {
        duration(v).filter(|window| (Duration::from_secs(10)..=Duration::from_secs(86_400)).contains(window))
    });
    let act = s.get("act", &format!("one of {}", all(Act::ALL, Act::as_str)), |v| Act::parse(v.as_str()?));
    let to = s.get("to", "a mode such as \"hybrid\", or a step of the share at home such as -10", to);
    s.must_have("name", name.is_some(), "give it a name, which stands in the history of the mode");
    s.must_have("when", when.is_some(), "say what it looks at");
    s.must_have("threshold", threshold.is_some(), "say from which share on it acts");
    s.must_have("to", to.is_some(), "say where it leads");
    s.finish(faults);
    Some(Trigger {
        name: name?,
        when: when?,
        threshold: threshold?,
        window: window.unwrap_or(Duration::from_secs(600)),
        act: act.unwrap_or(Act::Propose),
        to: to?,
    })
}

fn to(value: &Value) -> Option<To> {
    match value {
        Value::String(mode) => Mode::parse(mode).map(To::Mode),
        Value::Integer(step) if *step != 0 => {
            i8::try_from(*step).ok().filter(|step| (-100..=100).contains(step)).map(To::LocalPercent)
        }
        _ => None,
    }
}

impl std::fmt::Display for To {
    /// As a configuration writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mode(mode) => write!(f, "\"{mode}\""),
            Self::LocalPercent(step) => write!(f, "{step}"),
        }
    }
}
