//! Going on behind a text that an earlier run gave: on the very tokens that the earlier run went, not on others that
//! happen to spell the same.
//!
//! The text is tokenised anew, as a draft. The model then says at each place what it would have written there, which
//! costs one pass over the draft and no more. Where its choice spells the text differently than the draft, its choice is
//! what the earlier run took. Where it spells another text, the earlier run had other numbers (another machine, another
//! batch), and the draft stands.

/// A text that is being gone over again.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    left: Vec<u8>,
}

/// What a choice of the model means for the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The draft stands for one more token.
    Stands,
    /// The model's own choice is the way; what is left of the text is to be tokenised again.
    Otherwise,
    /// The model's choice spells all that is left and this many bytes more, which are new.
    Over {
        /// Bytes of the choice that the text had already.
        known: usize,
    },
}

impl Replay {
    /// Over all of `text`.
    pub fn new(text: &str) -> Self {
        Self { left: text.as_bytes().to_vec() }
    }

    /// What of the text was not gone over yet.
    pub fn left(&self) -> &[u8] {
        &self.left
    }

    /// Judges the model's choice, which spells `chosen`, where the draft has a token that spells `drafted`.
    pub fn judge(&mut self, chosen: &[u8], drafted: &[u8], is_same_token: bool) -> Verdict {
        let (verdict, known) = match () {
            () if is_same_token => (Verdict::Stands, drafted.len()),
            () if chosen.is_empty() => (Verdict::Stands, drafted.len()),
            () if self.left.starts_with(chosen) => (Verdict::Otherwise, chosen.len()),
            () if chosen.starts_with(&self.left) => (Verdict::Over { known: self.left.len() }, self.left.len()),
            () => (Verdict::Stands, drafted.len()),
        };
        self.left.drain(..known.min(self.left.len()));
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draft_stands_where_the_model_agrees_or_spells_another_text() {
        let mut replay = Replay::new("the cat");
        assert_eq!(replay.judge(b"the", b"the", true), Verdict::Stands);
        assert_eq!(replay.judge(b" dog", b" cat", false), Verdict::Stands);
        assert!(replay.left().is_empty());
    }

    #[test]
    fn models_own_way_to_spell_the_same_text_is_taken() {
        let mut replay = Replay::new("the cat");
        assert_eq!(replay.judge(b"t", b"the", false), Verdict::Otherwise);
        assert_eq!(replay.left(), b"he cat");
    }

    #[test]
    fn a_choice_that_goes_beyond_the_text_ends_the_replay_with_the_new_bytes() {
        let mut replay = Replay::new("ca");
        assert_eq!(replay.judge(b"cat", b"ca", false), Verdict::Over { known: 2 });
        assert!(replay.left().is_empty());
    }

    #[test]
    fn a_mark_that_spells_nothing_does_not_count() {
        let mut replay = Replay::new("ca");
        assert_eq!(replay.judge(b"", b"ca", false), Verdict::Stands);
        assert!(replay.left().is_empty());
    }
}
