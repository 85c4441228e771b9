//! Who calls with wrong keys, by source address: what is told of it, and when it is too much. Pure.
//!
//! A right key is never refused for what others behind its address do: a key has 256 bits, so guessing is hopeless, and
//! what is bounded here is what it costs this node in lines and in answers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Refusals of one source are counted over this.
const WINDOW: Duration = Duration::from_secs(60);
/// Wrong keys of one source in that time that get a plain answer. A client that was given a wrong key tries less often.
const GUESSES: u32 = 20;
/// Refusals of one source in that time that are told; more would say the same.
const TOLD: u32 = 20;
/// Sources that are remembered; a home has fewer. All further ones share one entry.
const REMEMBERED: usize = 1024;

/// What is to be done about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether it is worth a line.
    pub is_told: bool,
    /// For how long the source is told to stay away.
    pub too_many: Option<Duration>,
}

/// The refusals of a while.
#[derive(Default)]
pub struct Guesses {
    sources: HashMap<IpAddr, Seen>,
    /// Of those that there is no room for.
    others: Option<Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    since: Instant,
    refusals: u32,
    guesses: u32,
}

impl Guesses {
    /// A call from `from` is refused; with `is_guess`, because nobody has such a key.
    pub fn refused(&mut self, from: IpAddr, is_guess: bool, now: Instant) -> Refusal {
        let source = source(from);
        if self.sources.len() >= REMEMBERED && !self.sources.contains_key(&source) {
            self.sources.retain(|_, seen| !seen.is_over(now));
        }
        let fresh = || Seen { since: now, refusals: 0, guesses: 0 };
        let seen = match self.sources.len() < REMEMBERED || self.sources.contains_key(&source) {
            true => self.sources.entry(source).or_insert_with(fresh),
            false => self.others.get_or_insert_with(fresh),
        };
        if seen.is_over(now) {
            *seen = fresh();
        }
        seen.refusals = seen.refusals.saturating_add(1);
        seen.guesses = seen.guesses.saturating_add(u32::from(is_guess));
        let left = WINDOW.saturating_sub(now.saturating_duration_since(seen.since));
        Refusal {
            // The first one that is too many is told as well.
            is_told: seen.refusals <= TOLD || (is_guess && seen.guesses == GUESSES + 1),
            too_many: (is_guess && seen.guesses > GUESSES).then_some(left),
        }
    }
}

impl Seen {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

/// One machine: of IPv6 its network, within which it may take any address.
fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_that_guesses_is_told_to_stay_away_and_no_other_is() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        for at in 1..=GUESSES {
            let refusal = guesses.refused(ip("10.0.0.6"), true, now);
            assert_eq!(refusal, Refusal { is_told: at <= TOLD, too_many: None }, "{at}");
        }
        let later = now + Duration::from_secs(20);
        let first = guesses.refused(ip("::ffff:10.0.0.6"), true, later);
        assert_eq!(first, Refusal { is_told: true, too_many: Some(Duration::from_secs(40)) });
        assert!(!guesses.refused(ip("10.0.0.6"), true, later).is_told);
        assert_eq!(guesses.refused(ip("10.0.0.7"), true, later).too_many, None);
        assert_eq!(guesses.refused(ip("10.0.0.6"), true, now + WINDOW).too_many, None);
    }

    #[test]
    fn calls_without_a_key_are_no_guesses_but_are_not_told_for_ever() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let told = (0..1000).filter(|_| {
            let refusal = guesses.refused(ip("10.0.0.6"), false, now);
            assert_eq!(refusal.too_many, None);
            refusal.is_told
        });
        assert_eq!(told.count(), TOLD as usize);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_machine() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let at = |host: u32| ip(&format!("fd00:1:2:3::{host:x}"));
        let last = (0..=GUESSES).map(|host| guesses.refused(at(host), true, now)).last().unwrap();
        assert!(last.too_many.is_some());
        assert_eq!(guesses.refused(ip("fd00:1:2:4::1"), true, now).too_many, None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_more_sources_do_not_get_more_guesses() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let far = |at: usize| IpAddr::V4((0x0b00_0000 + at as u32).into());
        for at in 0..REMEMBERED {
            guesses.refused(far(at), true, now);
        }
        let refused = (0..1000).filter(|at| guesses.refused(far(REMEMBERED + at), true, now).too_many.is_some());
        assert_eq!(refused.count(), 1000 - GUESSES as usize);
        assert_eq!(guesses.sources.len(), REMEMBERED);
        // Whose time is over makes room.
        guesses.refused(far(9999), true, now + WINDOW);
        assert_eq!(guesses.sources.len(), 1);
    }
}
