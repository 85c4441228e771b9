//! Frames of a small cluster, and what keys do to them.

use proto::admin::{AskItem, GpuPoint, HealthResponse, ListAsksResponse, ListLoadResponse, LoadPoint, NodeLoad};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::*;
use crate::samples;

fn state() -> State {
    let ask = |outcome: &str, worker: &str, seconds| AskItem {
        ask: "ask-7".into(),
        asked_model: "auto".into(),
        model: "llama3.1:8b".into(),
        worker: worker.into(),
        outcome: outcome.into(),
        seconds,
        ..AskItem::default()
    };
    let asks =
        vec![ask("running", "grey-area/ollama", 4.2), ask("ok", "grey-area/ollama", 1.6), ask("engine-cut", "", 0.3)];
    let point = |at: u32| LoadPoint {
        cpu_used: f64::from(at) / 20.0,
        gpus: vec![GpuPoint { used: 1.0 - f64::from(at) / 20.0, memory_used_bytes: 1 }],
        ..LoadPoint::default()
    };
    let points = (0..=20).map(point).collect();
    let picture = Picture {
        nodes: samples::nodes(),
        workers: samples::workers(),
        health: HealthResponse {
            view: samples::view(),
            verdict: "degraded".into(),
            reasons: vec!["node sleeper-service is lost".into()],
        },
        mode: samples::mode("local-only"),
        asks: ListAsksResponse { view: samples::view(), asks, running: 1, unreached_nodes: Vec::new() },
        load: ListLoadResponse {
            view: samples::view(),
            every_s: 5.0,
            nodes: vec![NodeLoad { node: "grey-area".into(), points }],
        },
        failures: samples::failures(),
        jobs: Ok(samples::planning::jobs()),
    };
    let event = WatchEventsResponse {
        at_unix_ms: samples::NOW,
        kind: "node".into(),
        subject: "sleeper-service".into(),
        text: "suspect:\n\x1b[31mno heartbeat".into(),
    };
    State { picture: Some(picture), events: VecDeque::from([event]), ..State::default() }
}

fn frame(state: &State, (width, height): (u16, u16), colours: Colours) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::draw(state, frame.area(), frame.buffer_mut(), colours, samples::NOW)).unwrap();
    terminal
}

#[test]
fn frames_of_all_sizes() {
    let state = state();
    let mut text = String::new();
    for size in [(80, 24), (140, 40), (40, 12)] {
        text.push_str(&format!("{}x{}\n{}\n", size.0, size.1, frame(&state, size, Colours::Off).backend()));
    }
    insta::assert_snapshot!("top", text);
}

#[test]
fn no_size_is_too_small() {
    for size in [(1, 1), (80, 2), (3, 24), (300, 100)] {
        frame(&state(), size, Colours::On);
    }
}

#[test]
fn what_a_server_says_commands_no_terminal() {
    let terminal = frame(&state(), (140, 40), Colours::Off);
    let shown = terminal.backend().to_string();
    assert!(!shown.contains('\x1b') && shown.contains("no heartbeat"), "{shown}");
}

#[test]
fn colours_are_there_only_where_they_are_wanted() {
    let has = |colours| {
        let terminal = frame(&state(), (80, 24), colours);
        terminal.backend().buffer().content.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(has(Colours::On) && !has(Colours::Off));
}

#[test]
fn a_panel_can_have_the_screen_for_itself_and_be_scrolled() {
    let mut state = state();
    assert_eq!(pressed(&mut state, Key::Panel(4)), Wish::Draw);
    let one = |state: &State| frame(state, (80, 12), Colours::Off).backend().to_string();
    assert!(one(&state).contains("2 GiB left") && one(&state).contains("llamacpp"));
    assert_eq!(pressed(&mut state, Key::Down), Wish::Draw);
    assert!(!one(&state).contains("2 GiB left") && one(&state).contains("llamacpp"));
    // The last row stays.
    pressed(&mut state, Key::Down);
    assert!(one(&state).contains("llamacpp"));
    for panel in [Some(Panel::Events), None, Some(Panel::Nodes)] {
        pressed(&mut state, Key::Next);
        assert_eq!(state.alone, panel);
    }
    pressed(&mut state, Key::All);
    assert_eq!(
        (state.alone, pressed(&mut state, Key::Panel(8)), pressed(&mut state, Key::End)),
        (None, Wish::Nothing, Wish::End)
    );
}

#[test]
fn before_the_first_look_and_after_a_failed_one_it_says_so() {
    let text = |state: &State| frame(state, (80, 24), Colours::Off).backend().to_string();
    assert!(text(&State::default()).contains("looking at the cluster"));
    let fault = Fault::new(Code::Unreachable, "could not reach `grey-area:3002`").hint("start it");
    assert!(text(&State { fault: Some(fault), ..State::default() }).contains("could not reach"));
    let fault = Some(Fault::new(Code::Unreachable, "could not reach `grey-area:3002`").hint("start it"));
    let old = text(&State { fault, ..state() });
    assert!(old.contains("could not reach") && old.contains("grey-area leads"), "{old}");
}
