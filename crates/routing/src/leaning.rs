//! Which side of the house's door an ask leans to, by the mode: at home, or outside. A leaning is a preference; what must
//! never cross the door is refused worker by worker.
//!
//! In `hybrid` a share that the owner set decides, by the ask's own number, so that the same ask leans the same way each
//! time; without one how hard the ask looks does.

use std::fmt;

use base::Kind;
use base::config::Mode;

use crate::model::complexity;
use crate::route::Request;
use crate::settings::Settings;

/// From this hardness on an ask leans outside.
pub const HARD_FROM: f64 = 0.5;
/// Answers up to this size are nothing special; from there each doubling counts.
const SHORT_ANSWER_TOKENS: f64 = 1024.0;
/// What each doubling of the answer adds, and how many count.
const BY_ANSWER: f64 = 0.05;
const ANSWER_DOUBLINGS: f64 = 4.0;
/// What thinking first adds.
const BY_REASONING: f64 = 0.25;

/// A side of the house's door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Workers of the house.
    Home,
    /// Workers outside.
    Outside,
}

impl Side {
    /// The side that a worker is on.
    pub fn of(is_external: bool) -> Self {
        if is_external { Self::Outside } else { Self::Home }
    }
}

/// Which side an ask leans to, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaning {
    /// The mode leaves no choice, or prefers a side for every ask.
    ByMode(Mode),
    /// The owner's share decides: `place` is the ask's own number below 100.
    ByShare {
        /// So many of a hundred asks lean home.
        local_percent: u8,
        /// Which of a hundred this one is.
        place: u8,
    },
    /// How hard it looks decides.
    ByHardness(Hardness),
}

impl Leaning {
    /// Where an ask leans to.
    pub fn of(settings: &Settings, request: &Request<'_>) -> Self {
        match (settings.mode, settings.local_percent) {
            (Mode::Hybrid, Some(local_percent)) => Self::ByShare { local_percent, place: request.place },
            (Mode::Hybrid, None) => Self::ByHardness(Hardness::of(request)),
            (mode, _) => Self::ByMode(mode),
        }
    }

    /// The side.
    pub fn side(&self) -> Side {
        match self {
            Self::ByMode(Mode::ExternalPreferred | Mode::ExternalOnly) => Side::Outside,
            Self::ByMode(_) => Side::Home,
            Self::ByShare { local_percent, place } => Side::of(place >= local_percent),
            Self::ByHardness(hardness) => Side::of(hardness.total() >= HARD_FROM),
        }
    }
}

impl fmt::Display for Leaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side() {
            Side::Home => "at home",
            Side::Outside => "outside",
        };
        match self {
            Self::ByMode(mode) => write!(f, "{side}, by mode {mode}"),
            Self::ByShare { local_percent, place } => {
                write!(f, "{side}, by share: {local_percent} of 100 asks stay at home, and this is number {place}")
            }
            Self::ByHardness(hardness) => write!(f, "{side}, by complexity: {hardness}"),
        }
    }
}

/// How hard an ask looks, by its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hardness {
    kind: Kind,
    prompt_tokens: u32,
    /// By its kind, the length of its prompt, tools and schema.
    asked: f64,
    /// By the length of the answer that is asked for.
    answer: f64,
    /// By the wish that the model thinks first.
    reasoning: f64,
}

impl Hardness {
    /// Of an ask; nobody reads the prompt for it.
    pub fn of(request: &Request<'_>) -> Self {
        let Request { kind, needs, prompt_tokens, max_output_tokens, .. } = *request;
        let is_text = !matches!(kind, Kind::Embedding | Kind::Rerank);
        let answer = f64::from(max_output_tokens.filter(|_| is_text).unwrap_or(1).max(1));
        let doublings = (answer / SHORT_ANSWER_TOKENS).log2().clamp(0.0, ANSWER_DOUBLINGS);
        Self {
            kind,
            prompt_tokens,
            asked: complexity(kind, needs, prompt_tokens),
            answer: BY_ANSWER * doublings,
            reasoning: if needs.reasoning && is_text { BY_REASONING } else { 0.0 },
        }
    }

    /// All of it, 0 to 1.
    pub fn total(&self) -> f64 {
        (self.asked + self.answer + self.reasoning).min(1.0)
    }
}

impl fmt::Display for Hardness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, prompt_tokens, asked, answer, reasoning } = self;
        write!(
            f,
            "{:.2} of {HARD_FROM:.2} ({asked:.2} for {kind}, {prompt_tokens} tokens, its tools and schema",
            self.total()
        )?;
        if *answer > 0.0 {
            write!(f, ", {answer:.2} for a long answer")?;
        }
        if *reasoning > 0.0 {
            write!(f, ", {reasoning:.2} for thinking")?;
        }
        f.write_str(")")
    }
}

/// The place of an ask among a hundred, by its id alone.
pub fn place(ask: base::AskId) -> u8 {
    // The id is random; its halves are mixed so that one that somebody chose is as good.
    let folded = (ask.0 >> 64) as u64 ^ ask.0 as u64;
    let mixed = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    u8::try_from((mixed >> 32) % 100).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use base::{AskId, Needs};
    use proptest::prelude::*;

    use super::*;
    use crate::model::ModelIndex;

    fn request(prompt_tokens: u32) -> Request<'static> {
        Request::new(ModelIndex::default(), prompt_tokens)
    }

    fn side(mode: Mode, request: &Request<'_>) -> Side {
        Leaning::of(&Settings { mode, ..Settings::default() }, request).side()
    }

    #[test]
    fn small_asks_stay_at_home_and_each_sign_of_hardness_can_send_one_outside() {
        let (tools, thinks) =
            (Needs { tools: true, schema: true, ..Needs::default() }, Needs { reasoning: true, ..Needs::default() });
        for (request, wanted) in [
            (request(12), Side::Home),
            (request(4000), Side::Home),
            (Request { needs: tools, ..request(4000) }, Side::Outside),
            (Request { needs: thinks, ..request(12) }, Side::Home),
            (Request { needs: thinks, ..request(1100) }, Side::Outside),
            (Request { max_output_tokens: Some(16_384), needs: thinks, ..request(12) }, Side::Outside),
            (Request { kind: Kind::Planning, ..request(12) }, Side::Outside),
            (
                Request { kind: Kind::Embedding, max_output_tokens: Some(100_000), needs: thinks, ..request(100_000) },
                Side::Home,
            ),
        ] {
            let leaning = Leaning::of(&Settings { mode: Mode::Hybrid, ..Settings::default() }, &request);
            assert_eq!(leaning.side(), wanted, "{leaning}");
        }
    }

    #[test]
    fn a_leaning_says_why() {
        let settings = Settings { mode: Mode::Hybrid, ..Settings::default() };
        let told = Leaning::of(&settings, &request(12)).to_string();
        assert_eq!(told, "at home, by complexity: 0.20 of 0.50 (0.20 for general, 12 tokens, its tools and schema)");
        let share = Settings { local_percent: Some(80), ..settings };
        let told = Leaning::of(&share, &Request { place: 80, ..request(12) }).to_string();
        assert_eq!(told, "outside, by share: 80 of 100 asks stay at home, and this is number 80");
        let told = Leaning::ByMode(Mode::LocalPreferred).to_string();
        assert_eq!(told, "at home, by mode local-preferred");
    }

    #[test]
    fn a_share_is_met_within_noise_and_the_same_ask_leans_the_same_way() {
        const ASKS: u32 = 20_000;
        for percent in [0, 5, 50, 80, 100] {
            let settings = Settings { mode: Mode::Hybrid, local_percent: Some(percent), ..Settings::default() };
            let mut at_home = 0;
            for _ in 0..ASKS {
                let request = Request { place: place(AskId::random()), ..request(100_000) };
                let leans = |request: &Request<'_>| Leaning::of(&settings, request).side();
                assert_eq!(leans(&request), leans(&request));
                at_home += u32::from(leans(&request) == Side::Home);
            }
            let share = f64::from(at_home) / f64::from(ASKS) * 100.0;
            assert!((share - f64::from(percent)).abs() <= 2.0, "{share} % instead of {percent} %");
        }
    }

    proptest! {
        #[test]
        fn every_mode_has_its_side_whatever_the_ask(tokens in 1..200_000_u32, place in 0..100_u8, local_percent in 0..=100_u8) {
            let request = Request { place, ..request(tokens) };
            prop_assert_eq!(side(Mode::LocalOnly, &request), Side::Home);
            prop_assert_eq!(side(Mode::LocalPreferred, &request), Side::Home);
            prop_assert_eq!(side(Mode::ExternalPreferred, &request), Side::Outside);
            prop_assert_eq!(side(Mode::ExternalOnly, &request), Side::Outside);
            // A share means something in hybrid alone.
            let settings = Settings { mode: Mode::LocalOnly, local_percent: Some(local_percent), ..Settings::default() };
            prop_assert_eq!(Leaning::of(&settings, &request).side(), Side::Home);
        }
    }

    #[test]
    fn no_place_is_outside_of_a_hundred() {
        assert!([0, 1, u128::MAX].into_iter().all(|id| place(AskId(id)) < 100));
    }
}
