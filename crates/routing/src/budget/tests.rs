//! Tests of budgets: nothing goes over a limit in any window, and what is refused is let in when it was told to come.

use proptest::prelude::*;

use super::*;

const HOUR_MS: u64 = 3_600_000;
const START_MS: u64 = 1_700_000_000_123;

fn limits(asks: u64) -> KeyLimits {
    KeyLimits { asks_per_hour: Some(asks), ..KeyLimits::default() }
}

fn ask(limits: &KeyLimits, hour: &mut Spent, now_ms: u64) -> Result<(), Reached> {
    may_begin(limits, hour, &Spent::default(), 0, now_ms)?;
    hour.note(Window::HOUR, 1, 0, now_ms);
    Ok(())
}

#[test]
fn without_limits_everything_may_begin() {
    let mut spent = Spent::default();
    spent.note(Window::HOUR, u64::MAX, u64::MAX, START_MS);
    spent.note(Window::HOUR, 1, 1, START_MS);
    assert_eq!(may_begin(&KeyLimits::default(), &spent, &spent, u32::MAX, START_MS), Ok(()));
}

#[test]
fn each_limit_is_named_with_its_amount_and_the_longest_wait_is_told() {
    let all =
        KeyLimits { asks_per_hour: Some(3), tokens_per_hour: Some(100), asks_per_minute: Some(2), at_once: Some(1) };
    let (mut hour, mut minute) = (Spent::default(), Spent::default());
    assert_eq!(may_begin(&all, &hour, &minute, 0, START_MS), Ok(()));
    let named = |hour: &Spent, minute: &Spent, running| {
        may_begin(&all, hour, minute, running, START_MS).map_err(|reached| reached.limit)
    };
    assert_eq!(named(&hour, &minute, 1), Err((1, "asks at once")));
    minute.note(Window::MINUTE, 2, 0, START_MS);
    assert_eq!(named(&hour, &minute, 1), Err((2, "asks of a minute")));
    hour.note(Window::HOUR, 2, 100, START_MS);
    assert_eq!(named(&hour, &minute, 1), Err((100, "tokens of an hour")));
    hour.note(Window::HOUR, 1, 0, START_MS);
    assert!(named(&hour, &minute, 1).is_err());
    let fault = may_begin(&all, &hour, &minute, 1, START_MS).unwrap_err().fault("phone");
    assert_eq!(fault.code, Code::Overloaded);
    let wait = fault.retry_after.unwrap();
    assert!(wait > Duration::from_secs(3600) && wait <= Duration::from_secs(3900), "{wait:?}");
    assert!(fault.message.contains("`phone`") && fault.hint.unwrap().contains("in "));
}

#[test]
fn what_a_wrong_clock_wrote_into_the_future_does_not_count_for_ever() {
    let mut spent = Spent::default();
    spent.note(Window::HOUR, 1000, 0, START_MS + 365 * 24 * HOUR_MS);
    assert_eq!(may_begin(&limits(1), &spent, &Spent::default(), 0, START_MS), Ok(()));
    spent.note(Window::HOUR, 1, 0, START_MS);
    assert_eq!(spent.sum(Window::HOUR, START_MS), (1, 0));
    assert!(spent.is_over(Window::HOUR, START_MS + 2 * HOUR_MS));
}

proptest! {
    /// In no hour, wherever it begins, do more asks begin than there may, and never is nobody let in for longer than it takes.
    #[test]
    fn no_hour_has_more_asks_than_its_limit(limit in 1u64..20, gaps in proptest::collection::vec(0u64..900_000, 1..300)) {
        let (limits, mut spent, mut now, mut begun) = (limits(limit), Spent::default(), START_MS, Vec::new());
        for gap in gaps {
            now += gap;
            match ask(&limits, &mut spent, now) {
                Ok(()) => begun.push(now),
                Err(reached) => prop_assert!(reached.opens_in <= Duration::from_millis(HOUR_MS + 300_000)),
            }
        }
        for (at, first) in begun.iter().enumerate() {
            let within = begun[at..].iter().take_while(|later| **later - first < HOUR_MS).count();
            prop_assert!(within as u64 <= limit, "{within} of {limit}");
        }
    }

    /// Who comes back when it was told is let in; who comes back a moment sooner is not.
    #[test]
    fn a_refusal_tells_when_it_opens(limit in 1u64..20, gaps in proptest::collection::vec(0u64..900_000, 20..200)) {
        let (limits, mut spent, mut now) = (limits(limit), Spent::default(), START_MS);
        for gap in gaps {
            now += gap;
            if let Err(reached) = ask(&limits, &mut spent, now) {
                let opens = now + reached.opens_in.as_millis() as u64;
                prop_assert!(may_begin(&limits, &spent, &Spent::default(), 0, opens - 1).is_err());
                prop_assert_eq!(may_begin(&limits, &spent, &Spent::default(), 0, opens), Ok(()));
            }
        }
    }

    /// Nodes that tell each other what they counted go over a limit only by what the others had not been told yet.
    #[test]
    fn nodes_go_over_a_limit_only_by_what_was_not_told(
        limit in 1u64..40,
        nodes in 2usize..5,
        asks in proptest::collection::vec((0usize..5, 0u64..400, proptest::bool::ANY), 1..300),
    ) {
        let (limits, mut now) = (limits(limit), START_MS);
        let mut own = vec![Spent::default(); nodes];
        let mut told = own.clone();
        let mut untold_most = 0;
        for (node, gap, tells) in asks {
            let node = node % nodes;
            now += gap;
            let mut all = own[node].clone();
            (0..nodes).filter(|&other| other != node).for_each(|other| all.take_on(&told[other]));
            if may_begin(&limits, &all, &Spent::default(), 0, now).is_ok() {
                own[node].note(Window::HOUR, 1, 0, now);
            }
            let sum = |all: &[Spent]| all.iter().map(|spent| spent.sum(Window::HOUR, now).0).sum::<u64>();
            untold_most = untold_most.max(sum(&own) - sum(&told));
            if tells {
                told[node] = own[node].clone();
            }
            prop_assert!(sum(&own) <= limit + untold_most, "{} over {limit}, {untold_most} not told", sum(&own));
        }
    }
}
