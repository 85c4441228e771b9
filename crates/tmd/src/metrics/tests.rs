//! Metrics as they are written: bounded, by convention, with exemplars where those may be.

use api::MetricsFormat;
use base::Usage;

use super::series::{MOST_HISTOGRAMS, MOST_SERIES, OTHERS};
use super::*;

fn end<'a>(model: &'a str, outcome: &'a str) -> AskEnd<'a> {
    let usage = Usage { prompt_tokens: 7, completion_tokens: 11, cached_tokens: 0 };
    AskEnd {
        face: "openai",
        dialect: Dialect::OpenAiChat,
        model: Some(model),
        outcome,
        total: Duration::from_millis(2100),
        first_token: Some(Duration::from_millis(100)),
        summary: Some(RunSummary { usage: Some(usage), ..RunSummary::default() }),
        trace: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
    }
}

fn written(metrics: &Metrics, format: MetricsFormat) -> String {
    metrics.text(&Gauges::declared(), format)
}

#[test]
fn ten_thousand_names_are_a_bounded_number_of_series() {
    let metrics = Metrics::new();
    for n in 0..10_000 {
        metrics.ask_ended(end(&format!("made-up-{n}"), "ok"));
    }
    let text = written(&metrics, MetricsFormat::Text);
    let count = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(count("tm_asks_total{"), MOST_SERIES + 1);
    assert_eq!(count("gen_ai_server_request_duration_seconds_count{"), MOST_HISTOGRAMS + 1);
    let others = format!("tm_asks_total{{face=\"{OTHERS}\",model=\"{OTHERS}\",outcome=\"{OTHERS}\"}} 9000");
    assert!(text.contains(&others), "what had no room was not counted together");
}

#[test]
fn exemplars_are_in_open_metrics_alone() {
    let metrics = Metrics::new();
    metrics.ask_ended(end("m", "ok"));
    let trace = "# {trace_id=\"0af7651916cd43dd8448eb211c80319c\"}";
    let open = written(&metrics, MetricsFormat::OpenMetrics);
    assert!(open.contains(trace) && open.ends_with("# EOF\n"), "{open}");
    let text = written(&metrics, MetricsFormat::Text);
    assert!(!text.contains("trace_id") && !text.contains("# EOF"), "{text}");
    assert_eq!(open.matches("# EOF").count(), 1);
}

#[test]
fn a_token_behind_the_first_takes_what_is_left_by_how_many_are_left() {
    let metrics = Metrics::new();
    metrics.ask_ended(end("m", "ok"));
    let text = written(&metrics, MetricsFormat::Text);
    let of = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"taskmaster\",gen_ai_request_model=\"m\"";
    for line in [
        format!("gen_ai_server_time_per_output_token_seconds_sum{{{of}}} 0.2"),
        format!("gen_ai_server_time_to_first_token_seconds_sum{{{of}}} 0.1"),
        format!("gen_ai_server_request_duration_seconds_sum{{{of},error_type=\"\"}} 2.1"),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn a_failed_ask_names_its_error_and_one_token_has_no_pace() {
    let metrics = Metrics::new();
    let usage = Usage { completion_tokens: 1, ..Usage::default() };
    let summary = Some(RunSummary { usage: Some(usage), ..RunSummary::default() });
    metrics.ask_ended(AskEnd { summary, ..end("m", "engine-cut") });
    let text = written(&metrics, MetricsFormat::Text);
    assert!(text.contains("error_type=\"engine-cut\""), "{text}");
    assert!(!text.contains("time_per_output_token_seconds_sum"), "{text}");
}

#[test]
fn names_are_written_as_they_are_declared() {
    let metrics = Metrics::new();
    metrics.ask_ended(end("m", "ok"));
    let text = written(&metrics, MetricsFormat::Text);
    assert!(text.contains("# TYPE tm_asks_total counter\n"), "{text}");
    assert!(text.contains("# HELP tm_retries_total Runs started again elsewhere before the first byte.\n"), "{text}");
    assert!(text.contains("\ntm_retries_total 0\n"), "{text}");
}
