//! What counts as alive, suspect and lost, over made-up histories of leases and heartbeats.

use base::Incarnation;
use proptest::prelude::*;

use super::*;

const PATIENCE: Patience = Patience { suspect_after: Duration::from_secs(2), forget_after: Duration::from_secs(60) };
const TTL: Duration = Duration::from_secs(4);

fn at(now: Instant, stale_since: Option<Instant>) -> Moment {
    Moment { now, stale_since, lease_ttl: TTL, patience: PATIENCE }
}

fn report(incarnation: u64, sequence: u64, address: &str) -> NodeReport {
    NodeReport {
        node: "a".into(),
        incarnation: Incarnation(incarnation),
        sequence,
        peer_address: address.to_owned(),
        actors_address: String::new(),
        grpc_address: String::new(),
        is_draining: false,
        leads: None,
        version: String::new(),
        machine: Default::default(),
        workers: Vec::new(),
        research: None,
        features: Vec::new(),
    }
}

fn known(incarnation: u64, address: &str) -> Known {
    Known::new(Member::of(&report(incarnation, 0, address)))
}

#[test]
fn two_witnesses_decide_the_state() {
    let now = Instant::now() + Duration::from_secs(100);
    let ago = |seconds: u64| now - Duration::from_secs(seconds);
    let cases = [
        // lease, heard s ago, draining, store away for s, state
        (true, Some(0), false, None, NodeState::Alive),
        (false, Some(0), false, None, NodeState::Stale),
        (true, Some(3), false, None, NodeState::Suspect),
        (true, None, false, None, NodeState::Suspect),
        (false, Some(3), false, None, NodeState::Lost),
        (false, None, false, None, NodeState::Lost),
        (true, Some(1), true, None, NodeState::Draining),
        (true, Some(3), true, None, NodeState::Suspect),
        (true, Some(0), false, Some(1), NodeState::Stale),
        (true, Some(0), false, Some(90), NodeState::Stale),
        (true, Some(3), false, Some(1), NodeState::Suspect),
        (true, Some(3), false, Some(5), NodeState::Lost),
    ];
    for (has_lease, heard, is_draining, away, expected) in cases {
        let heard_at = heard.map(|seconds| (Arc::new(NodeReport { is_draining, ..report(1, 1, "") }), ago(seconds)));
        let node = Known { has_lease, heard: heard_at, ..known(1, "") };
        let state = node.state(&at(now, away.map(ago)));
        assert_eq!(state, expected, "lease {has_lease}, heard {heard:?} s ago, draining {is_draining}, away {away:?}");
    }
}

#[test]
fn a_report_of_an_earlier_life_is_old_whatever_its_sequence() {
    let now = at(Instant::now(), None);
    let mut node = known(2, "");
    assert_eq!(node.hear(report(2, 5, ""), &now), Verdict::Taken);
    assert_eq!(node.hear(report(2, 5, ""), &now), Verdict::Old);
    assert_eq!(node.hear(report(1, 900, ""), &now), Verdict::Old);
    assert_eq!(node.hear(report(3, 1, ""), &now), Verdict::Taken);
    assert_eq!(node.member.incarnation, Incarnation(3));
}

#[test]
fn another_machine_cannot_take_a_name_while_its_lease_is_held() {
    let now = Instant::now();
    let mut node = known(2, "one:1");
    node.is_named(node.member.clone());
    assert_eq!(node.hear(report(7, 1, "two:1"), &at(now, None)), Verdict::Disputed);
    assert_eq!(node.member.peer_address, "one:1");
    assert_eq!(node.hear(report(3, 1, "one:1"), &at(now, None)), Verdict::Taken, "a restart at the same address");
    node.has_lease = false;
    assert_eq!(node.hear(report(7, 1, "two:1"), &at(now, None)), Verdict::Taken, "it moved");
    assert_eq!(node.member.peer_address, "two:1");
}

#[test]
fn a_machine_that_lost_its_disk_is_heard_once_the_store_names_it() {
    let now = at(Instant::now(), None);
    let mut node = known(50, "");
    node.hear(report(50, 900, ""), &now);
    assert_eq!(node.hear(report(1, 1, ""), &now), Verdict::Old);
    node.is_named(Member::of(&report(1, 0, "")));
    assert_eq!(node.state(&now), NodeState::Suspect);
    assert_eq!(node.hear(report(1, 2, ""), &now), Verdict::Taken);
    assert_eq!(node.state(&now), NodeState::Alive);
}

/// Heartbeats each 400 ms, but none while the link is down; gives back how often the node came and went.
fn flap(down: Duration, up: Duration, times: u32) -> (u32, NodeState) {
    let start = Instant::now();
    let mut node = Known { has_lease: true, ..known(1, "") };
    let (mut sequence, mut turns, mut last) = (0, 0, NodeState::Alive);
    let period = down + up;
    for tick in 0..(period * times).as_millis() / 100 {
        let since = Duration::from_millis(100) * u32::try_from(tick).unwrap();
        let in_period = Duration::from_millis((since.as_millis() % period.as_millis()).try_into().unwrap());
        let now = at(start + since, None);
        if in_period < up && tick % 4 == 0 {
            sequence += 1;
            node.hear(report(1, sequence, ""), &now);
        }
        let state = node.state(&now);
        turns += u32::from(state != last);
        last = state;
    }
    (turns, last)
}

#[test]
fn a_link_that_flaps_is_left_alone_until_it_is_steady() {
    let (turns, _) = flap(Duration::from_secs(3), Duration::from_secs(3), 20);
    assert!(turns <= 3, "{turns} changes in two minutes");
    let (turns, last) = flap(Duration::ZERO, Duration::from_secs(60), 1);
    assert_eq!((turns, last), (0, NodeState::Alive));
}

#[test]
fn after_one_break_a_node_is_trusted_at_once() {
    let start = Instant::now();
    let mut node = Known { has_lease: true, ..known(1, "") };
    node.hear(report(1, 1, ""), &at(start, None));
    let back = at(start + Duration::from_secs(10), None);
    assert_eq!(node.state(&back), NodeState::Suspect);
    node.hear(report(1, 2, ""), &back);
    assert_eq!(node.state(&back), NodeState::Alive);
}

#[test]
fn a_node_that_restarts_often_is_trusted_as_soon_as_it_is_back() {
    let start = Instant::now();
    let mut node = known(0, "");
    for life in 1..8 {
        let back = at(start + Duration::from_secs(5 * life), None);
        node.is_named(Member::of(&report(life, 0, "")));
        assert_ne!(node.state(&back), NodeState::Alive);
        node.hear(report(life, 1, ""), &back);
        assert_eq!(node.state(&back), NodeState::Alive, "life {life}");
    }
}

#[test]
fn a_pause_of_our_own_is_nobody_elses_silence() {
    let start = Instant::now();
    let mut node = Known { has_lease: false, ..known(1, "") };
    node.hear(report(1, 1, ""), &at(start, None));
    let pause = Duration::from_secs(30);
    node.forgive(pause, start + pause);
    assert_eq!(node.state(&at(start + pause, None)), NodeState::Stale);
    node.forgive(pause, start + pause + Duration::from_secs(1));
    assert_eq!(node.heard.unwrap().1, start + pause + Duration::from_secs(1), "never in the future");
}

#[test]
fn a_lost_node_is_forgotten_once_the_store_has_said_that_its_lease_is_gone() {
    let now = Instant::now() + Duration::from_secs(100);
    let lost = Known { has_lease: true, lost_since: Some(now - Duration::from_secs(61)), ..known(1, "") };
    assert!(!lost.is_forgotten(&at(now, Some(now - Duration::from_secs(70)))));
    assert!(Known { has_lease: false, ..lost }.is_forgotten(&at(now, None)));
}

proptest! {
    /// Whatever order reports come in, the newest one is kept.
    #[test]
    fn the_newest_report_is_kept(reports in prop::collection::vec((1u64..4, 1u64..20), 1..40)) {
        let now = at(Instant::now(), None);
        let mut node = known(0, "");
        for (incarnation, sequence) in &reports {
            node.hear(report(*incarnation, *sequence, ""), &now);
        }
        let kept = node.heard.map(|(report, _)| (report.incarnation.0, report.sequence));
        prop_assert_eq!(kept, reports.iter().max().copied());
    }
}

#[test]
fn a_refused_connection_counts_only_where_heartbeats_stay_away_too() {
    let heartbeat = Duration::from_millis(400);
    let now = Instant::now();
    let mut node = Known { has_lease: true, ..known(1, "a:1") };
    assert_eq!(node.hear(report(1, 1, "a:1"), &at(now, None)), Verdict::Taken);
    node.nobody_answers(now + heartbeat / 2, heartbeat);
    assert_eq!(node.state(&at(now + heartbeat / 2, None)), NodeState::Alive);
    node.nobody_answers(now + heartbeat * 2, heartbeat);
    assert_eq!(node.state(&at(now + heartbeat * 2, None)), NodeState::Suspect);
    assert_eq!(node.hear(report(1, 2, "a:1"), &at(now + heartbeat * 3, None)), Verdict::Taken);
    assert_eq!(node.state(&at(now + heartbeat * 3, None)), NodeState::Alive);
}
