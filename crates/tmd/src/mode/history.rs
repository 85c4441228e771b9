//! The modes that were set, oldest first: what one goes back to, and who set what when and why. Bounded, kept in the store.

use base::config::Mode;
use base::{Code, Fault, Result};
use serde::{Deserialize, Serialize};

use super::SetMode;

/// A home changes its mode now and then; years of that fit.
const KEPT: usize = 100;

/// The modes that were set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(Vec<SetMode>);

/// What somebody, or a trigger, wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Why.
    pub reason: String,
    /// Where.
    pub set_by: String,
    /// The trigger that wants it; empty when a person does.
    pub trigger: String,
}

impl History {
    /// Begins with what holds, where nobody has written it down.
    pub fn holding(mut self, now: &SetMode) -> Self {
        if !self.0.iter().any(|one| one.is_same(now)) {
            let before = self.newest().map(|newest| newest.turn);
            let turn = before.map_or(now.turn, |before| before + 1);
            self.0.push(SetMode { turn, before, ..now.clone() });
        }
        self
    }

    /// The one that holds.
    pub fn newest(&self) -> Option<&SetMode> {
        self.0.last()
    }

    /// All, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &SetMode> {
        self.0.iter().rev()
    }

    /// Adds a mode behind the one that holds; gives it with its turn.
    pub fn set(&mut self, (mode, local_percent): (Mode, Option<u8>), wish: Wish, now_ms: u64) -> SetMode {
        let before = self.newest().map(|newest| newest.turn);
        self.add((mode, local_percent), before, wish, now_ms)
    }

    /// Goes back to the mode before the one that holds; once more, to the one before that.
    pub fn roll_back(&mut self, wish: Wish, now_ms: u64) -> Result<SetMode> {
        let before = self.newest().and_then(|newest| newest.before);
        let Some(turn) = before else {
            return Err(Fault::new(Code::Conflict, "there is no mode before the one that holds")
                .hint("`tmctl mode history` shows what was set; `tmctl mode set` sets another one"));
        };
        let Some(target) = self.0.iter().find(|one| one.turn == turn).cloned() else {
            return Err(Fault::new(Code::Conflict, "the mode before the one that holds is not kept any more")
                .hint("set it with `tmctl mode set`"));
        };
        let reason = match wish.reason.as_str() {
            "" => format!("back to turn {turn}"),
            why => format!("back to turn {turn}: {why}"),
        };
        Ok(self.add((target.mode, target.local_percent), target.before, Wish { reason, ..wish }, now_ms))
    }

    fn add(
        &mut self,
        (mode, local_percent): (Mode, Option<u8>),
        before: Option<u64>,
        wish: Wish,
        now_ms: u64,
    ) -> SetMode {
        let turn = self.newest().map_or(1, |newest| newest.turn + 1);
        let Wish { reason, set_by, trigger } = wish;
        let set = SetMode { mode, since_ms: now_ms, set_by, local_percent, reason, trigger, turn, before };
        self.0.push(set.clone());
        let over = self.0.len().saturating_sub(KEPT);
        self.0.drain(..over);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured() -> SetMode {
        SetMode::configured(Mode::LocalOnly, None, 1)
    }

    fn wish() -> Wish {
        Wish { set_by: "n".to_owned(), ..Wish::default() }
    }

    #[test]
    fn going_back_ends_at_the_configuration_and_says_so() {
        let mut history = History::default().holding(&configured());
        history.set((Mode::Hybrid, None), wish(), 2);
        history.set((Mode::Hybrid, Some(80)), wish(), 3);
        let mut back = || history.roll_back(wish(), 4).map(|set| (set.mode, set.local_percent, set.turn));
        assert_eq!(back().unwrap(), (Mode::Hybrid, None, 3));
        assert_eq!(back().unwrap(), (Mode::LocalOnly, None, 4));
        let fault = back().unwrap_err();
        assert!(fault.code == Code::Conflict && fault.hint.is_some(), "{fault:?}");
    }

    #[test]
    fn what_was_set_after_going_back_is_what_one_goes_back_from() {
        let mut history = History::default().holding(&configured());
        history.set((Mode::Hybrid, None), wish(), 2);
        history.roll_back(wish(), 3).unwrap();
        history.set((Mode::ExternalOnly, None), wish(), 4);
        let back = history.roll_back(Wish { reason: "too dear".to_owned(), ..wish() }, 5).unwrap();
        assert_eq!((back.mode, back.reason.as_str()), (Mode::LocalOnly, "back to turn 2: too dear"));
    }

    #[test]
    fn a_mode_that_an_older_node_set_is_taken_in_once() {
        let old = SetMode { set_by: "old".to_owned(), ..SetMode::configured(Mode::ExternalOnly, None, 9) };
        let mut history = History::default().holding(&configured());
        history.set((Mode::Hybrid, None), wish(), 2);
        let history = history.holding(&old).holding(&old);
        let turns: Vec<_> = history.newest_first().map(|one| (one.turn, one.mode)).collect();
        assert_eq!(turns, [(2, Mode::ExternalOnly), (1, Mode::Hybrid), (0, Mode::LocalOnly)]);
    }

    #[test]
    fn the_list_is_bounded_and_turns_go_on() {
        let mut history = History::default().holding(&configured());
        for _ in 0..KEPT + 10 {
            history.set((Mode::Hybrid, Some(1)), wish(), 1);
        }
        assert_eq!(history.newest_first().count(), KEPT);
        assert_eq!(history.newest().unwrap().turn, KEPT as u64 + 10);
    }
}
