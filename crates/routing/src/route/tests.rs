//! Tests of the router: who wins and why, who is refused and with which numbers, and what must hold for any cluster.

use std::time::{Duration, Instant};

use base::config::Mode;
use base::report::{Backend, NodeReport};
use base::{Code, Fault};
use proptest::prelude::*;

use super::*;
use crate::live::LiveMap;
use crate::settings::Settings;
use crate::testing::{GIB, catalogue, model, node, table, table_with};

struct Case {
    table: Table,
    live: LiveMap,
    now: Instant,
}

impl Case {
    fn new(nodes: &[NodeReport]) -> Self {
        Self::with(nodes, &Settings::default())
    }

    fn with(nodes: &[NodeReport], settings: &Settings) -> Self {
        let (live, now) = (LiveMap::default(), Instant::now());
        Self { table: table(nodes, &live, settings, now), live, now }
    }

    fn request(&self) -> Request<'static> {
        Request::new(self.table.catalogue().find("m").unwrap().model, 500)
    }

    fn winner(&self, request: &Request<'_>) -> Option<String> {
        route(&self.table, request, self.now).chosen.map(|chosen| chosen.worker.to_string())
    }

    fn fault(&self, request: &Request<'_>) -> Fault {
        let route = route(&self.table, request, self.now);
        assert!(route.chosen.is_none());
        route.fault(&self.table, request)
    }
}

fn changed(name: &str, change: impl FnOnce(&mut NodeReport)) -> NodeReport {
    let mut node = node(name, vec![model("m")]);
    change(&mut node);
    node
}

fn first_model(node: &mut NodeReport) -> &mut base::report::ModelReport {
    &mut node.workers[0].models[0]
}

#[test]
fn a_worker_of_which_nothing_is_known_is_left_alone_while_its_first_ask_takes_long() {
    let unknown = changed("unknown", |node| {
        (first_model(node).prefill_tok_s, first_model(node).decode_tok_s) = (None, None);
    });
    let case = Case::new(&[node("known", vec![model("m")]), unknown]);
    let request = Request { chance: 1, ..case.request() };
    let at = |ms| case.now + Duration::from_millis(ms);
    let terms = |ms| route(&case.table, &request, at(ms)).candidates[1].terms;
    let first = route(&case.table, &Request { excluded: &["known/w".into()], ..request }, at(0)).chosen.unwrap();
    let mut guard = first.begin(at(0));
    let expected_s = terms(0).decode;
    assert!(expected_s < 60.0, "{expected_s}");
    assert_eq!(terms(60_000).decode, 60.0);
    guard.first_token();
    assert_eq!(terms(90_000).decode, expected_s, "it is being answered");
}

#[test]
fn a_slow_worker_is_used_only_when_the_fast_one_would_make_wait_longer() {
    let slow = changed("slow", |node| first_model(node).decode_tok_s = Some(10.0));
    let case = Case::new(&[node("fast", vec![model("m")]), slow]);
    let request = case.request();
    let mut guards = Vec::new();
    let mut winners = Vec::new();
    for _ in 0..12 {
        let chosen = route(&case.table, &request, case.now).chosen.unwrap();
        winners.push(chosen.worker.to_string());
        guards.push(chosen.begin(case.now));
    }
    assert_eq!(winners[..2], ["fast/engine", "fast/engine"]);
    assert!(winners.iter().any(|winner| winner == "slow/engine"), "{winners:?}");
    drop(guards);
    assert_eq!(case.winner(&request).unwrap(), "fast/engine");
    assert_eq!(case.live.worker(&"fast/engine".into()).load(), Load::default());
}

#[test]
fn idle_equals_share_by_chance() {
    let case = Case::new(&[node("a", vec![model("m")]), node("b", vec![model("m")])]);
    let winner = |chance| case.winner(&Request { chance, ..case.request() }).unwrap();
    assert_ne!(winner(0), winner(1));
    assert_eq!(winner(0), winner(2));
}

#[test]
fn a_model_in_memory_wins_until_waiting_for_it_is_dearer_than_a_load() {
    let cold = changed("cold", |node| first_model(node).is_loaded = false);
    let case = Case::new(&[node("warm", vec![model("m")]), cold.clone()]);
    assert_eq!(case.winner(&case.request()).unwrap(), "warm/engine");
    let busy = changed("warm", |node| {
        (node.workers[0].busy, node.workers[0].queued) = (2, 30);
        node.workers[0].queued_output_tokens = 3200;
    });
    let case = Case::new(&[busy, cold]);
    assert_eq!(case.winner(&case.request()).unwrap(), "cold/engine");
}

#[test]
fn a_shared_prefix_draws_the_ask_to_its_cache() {
    let prefix: Vec<u64> = (1..=16).collect();
    let holder = changed("holder", |node| node.workers[0].prefixes = (1..=12).rev().collect());
    let case = Case::new(&[node("other", vec![model("m")]), holder]);
    let request = Request { prompt_tokens: 4096, prefix: &prefix, ..case.request() };
    let route = route(&case.table, &request, case.now);
    assert_eq!(route.chosen.as_ref().unwrap().worker.as_str(), "holder/engine");
    assert_eq!(route.chosen.unwrap().work.prompt_tokens, 4096 - 12 * 256);
}

#[test]
fn a_resume_goes_only_to_the_same_identity() {
    let other = changed("other", |node| first_model(node).id = "sha256:else".into());
    let case = Case::new(&[other, node("same", vec![model("m")])]);
    let id = ModelId::from("sha256:m");
    assert_eq!(case.winner(&Request { requires_id: Some(&id), ..case.request() }).unwrap(), "same/engine");
    let missing = ModelId::from("sha256:gone");
    assert_eq!(case.fault(&Request { requires_id: Some(&missing), ..case.request() }).code, Code::Unavailable);
}

#[test]
fn a_tripped_worker_is_left_and_used_again_once_it_answers() {
    let case = Case::new(&[node("a", vec![model("m")])]);
    let worker = case.live.worker(&"a/engine".into());
    (0..3).for_each(|_| worker.failed(Code::EngineFailed, case.now));
    let fault = case.fault(&case.request());
    assert_eq!((fault.code, fault.retry_after_s()), (Code::Unavailable, Some(1)));
    worker.succeeded();
    assert!(case.winner(&case.request()).is_some());
}

#[test]
fn an_ask_that_was_begun_goes_on_at_a_tripped_worker_when_nobody_else_is_left() {
    let case = Case::new(&[node("a", vec![model("m")]), node("b", vec![model("m")])]);
    let worker = case.live.worker(&"b/engine".into());
    (0..3).for_each(|_| worker.failed(Code::EngineCut, case.now));
    assert_eq!(case.winner(&case.request()).unwrap(), "a/engine");
    let failed = ["a/engine".into()];
    assert_eq!(case.winner(&Request { excluded: &failed, ..case.request() }).unwrap(), "b/engine");
}

#[test]
fn an_explanation_shows_every_candidate_with_its_terms_or_its_refusal() {
    let sick = changed("sick", |node| first_model(node).quarantined_s = Some(40));
    let case = Case::new(&[node("well", vec![model("m")]), sick]);
    let explained = route(&case.table, &case.request(), case.now).explain(&case.table);
    let [well, sick] = &explained[..] else { panic!("{explained:?}") };
    assert_eq!((well.worker.as_str(), well.terms.prefill, well.terms.decode), ("well/engine", 0.5, 2.0));
    assert_eq!(well.total_s, well.terms.named().iter().map(|(_, seconds)| seconds).sum::<f64>());
    assert_eq!(well.refused_because, None);
    let why = sick.refused_because.as_ref().map(ToString::to_string);
    assert_eq!(why.as_deref(), Some("model failed here, 40 s of quarantine left"));
}

#[test]
fn a_machine_that_a_stranger_uses_comes_second() {
    let strained = changed("strained", |node| {
        node.machine.cpu_used = 0.95;
        first_model(node).decode_tok_s = Some(500.0);
    });
    let case = Case::new(&[strained.clone(), node("calm", vec![model("m")])]);
    assert_eq!(case.winner(&case.request()).unwrap(), "calm/engine");
    assert_eq!(Case::new(&[strained]).winner(&case.request()).unwrap(), "strained/engine");
}

#[test]
fn asks_stay_in_the_house_unless_the_mode_lets_them_out() {
    let cloud = changed("cloud", |node| node.workers[0].backend = Backend::Anthropic);
    let settings = |mode| Settings { mode, ..Settings::default() };
    let case = Case::with(std::slice::from_ref(&cloud), &settings(Mode::LocalOnly));
    assert_eq!(case.fault(&case.request()).code, Code::PermissionDenied);
    let both = [cloud, node("home", vec![model("m")])];
    for (mode, winner) in [
        (Mode::LocalPreferred, "home/engine"),
        (Mode::ExternalPreferred, "cloud/engine"),
        (Mode::ExternalOnly, "cloud/engine"),
        (Mode::LocalOnly, "home/engine"),
    ] {
        let case = Case::with(&both, &settings(mode));
        assert_eq!(case.winner(&case.request()).unwrap(), winner, "{mode}");
    }
}

#[test]
fn in_hybrid_a_small_ask_stays_and_a_hard_one_goes_and_each_goes_on_elsewhere_where_its_side_cannot() {
    let cloud = changed("cloud", |node| node.workers[0].backend = Backend::Anthropic);
    let home = node("home", vec![model("m")]);
    let both = [cloud.clone(), home.clone()];
    let hybrid = |local_percent| Settings { mode: Mode::Hybrid, local_percent, ..Settings::default() };
    let case = Case::with(&both, &hybrid(None));
    let hard = Request { kind: base::Kind::Planning, ..case.request() };
    assert_eq!(case.winner(&case.request()).unwrap(), "home/engine");
    assert_eq!(case.winner(&hard).unwrap(), "cloud/engine");
    let shared = Case::with(&both, &hybrid(Some(80)));
    for (place, winner) in [(79, "home/engine"), (80, "cloud/engine")] {
        assert_eq!(shared.winner(&Request { place, ..shared.request() }).unwrap(), winner, "{place}");
    }
    let (at_home, outside) = (Case::with(&[home], &hybrid(None)), Case::with(&[cloud], &hybrid(None)));
    let hard = Request { kind: base::Kind::Planning, ..at_home.request() };
    assert_eq!(at_home.winner(&hard).unwrap(), "home/engine");
    assert_eq!(outside.winner(&outside.request()).unwrap(), "cloud/engine");
}

#[test]
fn nodes_that_are_not_routable_get_nothing() {
    let nodes = [node("a", vec![model("m")])];
    let (live, now) = (LiveMap::default(), Instant::now());
    let catalogue = catalogue(&nodes, &[], &[]);
    for state in NodeState::ALL {
        let table = table_with(&nodes, *state, &catalogue, &live, &Settings::default(), now);
        let request = Request::new(catalogue.find("m").unwrap().model, 10);
        assert_eq!(route(&table, &request, now).chosen.is_some(), state.is_routable(), "{state}");
    }
    let wake = Some(Duration::from_secs(20));
    let table =
        table_with(&nodes, NodeState::Asleep, &catalogue, &live, &Settings { wake, ..Settings::default() }, now);
    let woken = route(&table, &Request::new(catalogue.find("m").unwrap().model, 10), now);
    assert_eq!(woken.candidates[0].terms.wake, 20.0);
}

#[test]
fn refusals_tell_code_numbers_and_hint() {
    let queue = Settings { queue: 4, ..Settings::default() };
    let full = changed("a", |node| (node.workers[0].busy, node.workers[0].queued) = (2, 4));
    let large = changed("a", |node| {
        first_model(node).is_loaded = false;
        first_model(node).memory_bytes = 20 * GIB;
    });
    let blind = changed("a", |node| first_model(node).capabilities = vec![Capability::Completion]);
    let sick = changed("a", |node| first_model(node).quarantined_s = Some(40));
    let images = |request: Request<'static>| Request { needs: Needs { images: true, ..Needs::default() }, ..request };
    let long = |request: Request<'static>| Request { prompt_tokens: 9000, ..request };
    let same = |request: Request<'static>| request;
    type Change<'a> = &'a dyn Fn(Request<'static>) -> Request<'static>;
    let cases: [(NodeReport, Change<'_>, Code, &str); 5] = [
        (full, &same, Code::Overloaded, "queue is full with 4 asks"),
        (large, &same, Code::Unavailable, "needs 20 GiB, 14 GiB usable"),
        (blind, &images, Code::NotSupported, "lacks vision"),
        (sick, &same, Code::Unavailable, "40 s of quarantine"),
        (node("a", vec![model("m")]), &long, Code::ContextExceeded, "needs 9000 tokens of context, has 8192"),
    ];
    for (node, change, code, text) in cases {
        let case = Case::with(&[node], &queue);
        let fault = case.fault(&change(case.request()));
        assert_eq!(fault.code, code, "{fault:?}");
        assert!(fault.message.contains(text), "{fault:?}");
        assert!(fault.hint.is_some());
    }
}

#[test]
fn an_ask_that_would_begin_too_late_is_told_when_to_come_back() {
    let busy = changed("a", |node| {
        (node.workers[0].busy, node.workers[0].queued) = (2, 20);
        node.workers[0].queued_output_tokens = 22_000;
    });
    let case = Case::new(&[busy]);
    let fault = case.fault(&Request { deadline_left: Duration::from_secs(5), ..case.request() });
    assert_eq!(fault.code, Code::Overloaded);
    assert!(fault.retry_after_s().unwrap() > 100, "{fault:?}");
    // Where nearly all of it is another caller's, who takes turns with this one, its turn comes in time.
    let of_share = |share| Request { deadline_left: Duration::from_secs(30), share, ..case.request() };
    assert_eq!(case.fault(&of_share(1.0)).code, Code::Overloaded);
    assert!(route(&case.table, &of_share(0.01), Instant::now()).chosen.is_some());
}

prop_compose! {
    fn any_node(index: usize)(
        has in any::<bool>(), loaded in any::<bool>(), tools in any::<bool>(), other_id in any::<bool>(),
        busy in 0u32..4, queued in 0u32..600, output in 0u64..1_000_000, prompt in 0u64..1_000_000,
        decode in proptest::option::of(0.0f64..500.0), memory in 0u64..40, quarantined in proptest::option::of(0u64..2),
    ) -> NodeReport {
        let mut report = model("m");
        (report.is_loaded, report.decode_tok_s, report.quarantined_s) = (loaded, decode, quarantined);
        report.capabilities = if tools { vec![Capability::Completion, Capability::Tools] } else { vec![Capability::Completion] };
        if other_id {
            report.id = "sha256:else".into();
        }
        let mut node = node(&format!("n{index}"), if has { vec![report, model("x")] } else { vec![model("x")] });
        let worker = &mut node.workers[0];
        (worker.busy, worker.queued, worker.memory_bytes) = (busy, queued, memory * GIB);
        (worker.queued_output_tokens, worker.queued_prompt_tokens) = (output, prompt);
        node
    }
}

fn any_nodes() -> impl Strategy<Value = Vec<NodeReport>> {
    (any_node(0), any_node(1), any_node(2), any_node(3))
        .prop_map(|(a, b, c, d)| vec![a, b, c, d, node("sure", vec![model("m")])])
}

proptest! {
    #[test]
    fn what_is_chosen_can_do_it_and_every_term_is_a_time(
        nodes in any_nodes(), tools in any::<bool>(), resumed in any::<bool>(), chance in any::<u64>(), prompt in 1u32..20_000,
    ) {
        let case = Case::new(&nodes);
        let id = ModelId::from("sha256:m");
        let request = Request {
            needs: Needs { tools, ..Needs::default() },
            requires_id: resumed.then_some(&id),
            prompt_tokens: prompt,
            chance,
            ..case.request()
        };
        let route = route(&case.table, &request, case.now);
        for candidate in &route.candidates {
            let Terms { wait, load, wake, prefill, decode, regret } = candidate.terms;
            prop_assert!([wait, load, wake, prefill, decode, regret].iter().all(|term| term.is_finite() && *term >= 0.0));
        }
        let again = super::route(&case.table, &request, case.now);
        prop_assert_eq!(&route.candidates, &again.candidates);
        prop_assert_eq!(route.chosen.as_ref().map(|chosen| &chosen.worker), again.chosen.as_ref().map(|chosen| &chosen.worker));
        let Some(chosen) = route.chosen else { return Ok(()) };
        let node = nodes.iter().find(|node| node.workers[0].id == chosen.worker).unwrap();
        let model = node.workers[0].models.iter().find(|model| model.name == "m").unwrap();
        prop_assert!(!tools || model.capabilities.is_empty() || model.capabilities.contains(&Capability::Tools));
        prop_assert!(!resumed || model.id == id);
        prop_assert!(model.quarantined_s.is_none_or(|left| left == 0));
        prop_assert!(prompt < model.context_tokens);
        let memory = node.workers[0].memory_bytes;
        prop_assert!(model.is_loaded || memory == 0 || model.memory_bytes <= memory);
    }
}
