//! Whose handshakes are refused again and again: such an address is left out for a while, so that guessing and flooding cost
//! it time and this node almost nothing. Pure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use base::retry::Intensity;

/// A node whose certificate has just run out dials a few times each second.
const REFUSALS: usize = 20;
const WITHIN: Duration = Duration::from_secs(10);

/// Refusals of one address that are told in that time; more would say the same.
const TOLD: usize = 4;

/// Addresses that are remembered; a home has fewer.
const REMEMBERED: usize = 1024;

/// What is to be done about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is worth a line.
    Told,
    /// The same was told a moment ago.
    Again,
    /// The address is left out from now on.
    Out,
}

/// All of them.
#[derive(Default)]
pub(super) struct Sources(HashMap<IpAddr, Refusals>);

struct Refusals {
    all: Intensity,
    told: Intensity,
}

impl Sources {
    /// A handshake with `address` was refused.
    pub fn refused(&mut self, address: IpAddr, now: Instant) -> Refusal {
        let address = address.to_canonical();
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&address) {
            self.0.retain(|_, refusals| !refusals.all.has_room(now));
            if self.0.len() >= REMEMBERED {
                return Refusal::Told;
            }
        }
        let refusals = self
            .0
            .entry(address)
            .or_insert_with(|| Refusals { all: Intensity::new(REFUSALS, WITHIN), told: Intensity::new(TOLD, WITHIN) });
        refusals.all.note(now);
        if !refusals.all.has_room(now) && !address.is_loopback() {
            return Refusal::Out;
        }
        if !refusals.told.has_room(now) {
            return Refusal::Again;
        }
        refusals.told.note(now);
        Refusal::Told
    }

    /// Whether `address` is left out. Every program of this machine has the same one, and one of them must not shut out the
    /// others.
    pub fn is_out(&self, address: IpAddr, now: Instant) -> bool {
        let address = address.to_canonical();
        !address.is_loopback() && self.0.get(&address).is_some_and(|refusals| !refusals.all.has_room(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_refused_too_often_is_left_out_for_a_while_and_no_other_is() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        let [bad, good, own] = ["10.0.0.6", "10.0.0.7", "127.0.0.1"].map(|text| text.parse::<IpAddr>().unwrap());
        for at in 1..REFUSALS {
            let wanted = if at <= TOLD { Refusal::Told } else { Refusal::Again };
            assert_eq!((sources.refused(bad, now), sources.refused(own, now)), (wanted, wanted), "{at}");
        }
        assert!(!sources.is_out(bad, now));
        assert!(sources.refused(bad, now) == Refusal::Out && sources.is_out(bad, now));
        assert!(sources.is_out("::ffff:10.0.0.6".parse().unwrap(), now), "the same machine");
        assert_eq!(sources.refused(own, now), Refusal::Again);
        assert!(!sources.is_out(own, now) && !sources.is_out(good, now));
        assert!(!sources.is_out(bad, now + WITHIN));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_keeps_the_worst() {
        let (mut sources, now) = (Sources::default(), Instant::now());
        let bad: IpAddr = "10.0.0.6".parse().unwrap();
        for _ in 0..REFUSALS {
            sources.refused(bad, now);
        }
        for at in 0..3 * REMEMBERED as u32 {
            sources.refused(IpAddr::V4((0x0b00_0000 + at).into()), now);
            assert!(sources.0.len() <= REMEMBERED);
        }
        assert!(sources.is_out(bad, now));
    }
}
