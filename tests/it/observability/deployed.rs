//! The files of `deploy/observability` by themselves: configuration, alerts with a runbook and tests, dashboards.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;
use tests::process::binary;

use super::{folder, has, promtool};
use crate::nix::looked_at;
use crate::upstream::skipped;

/// The file's text.
fn read(path: &str) -> String {
    fs::read_to_string(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The dashboards, by file.
pub fn dashboards() -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = fs::read_dir(folder().join("dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap()))
        .collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

/// Every panel's expressions, with variables filled in as Grafana does.
pub fn expressions() -> Vec<String> {
    let targets = |panel: &Value| panel["targets"].as_array().cloned().unwrap_or_default();
    let mut all = Vec::new();
    for (_, board) in dashboards() {
        for target in board["panels"].as_array().unwrap().iter().flat_map(targets) {
            let expression = target["expr"].as_str().unwrap();
            let filled =
                expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$model", ".*");
            assert!(!filled.contains('$'), "a variable that nobody declares in {expression}");
            all.push(filled);
        }
    }
    all
}

#[test]
fn prometheus_takes_the_configuration_and_every_alert_keeps_its_tests() {
    if !has("promtool") {
        return;
    }
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "rules/taskmaster.yml"]);
    promtool(&["test", "rules", "rules/tests/taskmaster.yml"]);
}

#[test]
fn every_alert_waits_says_what_is_wrong_and_has_a_way_out_and_both_tests() {
    let (rules, tests, runbook) =
        (read("rules/taskmaster.yml"), read("rules/tests/taskmaster.yml"), read("runbook.md"));
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 20, "{}", alerts.len());
    let mut names = BTreeSet::new();
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        assert!(names.insert(name), "{name} stands twice");
        for field in ["expr: ", "for: ", "severity: ", "summary: "] {
            assert!(alert.contains(field), "{name} has no {field}");
        }
        let severity = alert.split("severity: ").nth(1).and_then(|rest| rest.lines().next());
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{name}: {severity:?}");
        let section = format!("deploy/observability/runbook.md#{}", name.to_lowercase());
        assert!(alert.contains(&section), "{name} leads to no section of its own");
        assert!(runbook.contains(&format!("\n## {name}\n\n")), "the runbook says nothing of {name}");
        // One that fires, and one that must not.
        let case = |title: &str| tests.split("  - name: ").find(|case| case.starts_with(&format!("{title}\n")));
        assert!(case(name).is_some_and(|case| case.contains("exp_labels:")), "no test lets {name} fire");
        let quiet = case(&format!("{name} keeps quiet"));
        assert!(quiet.is_some_and(|case| case.contains("exp_alerts: []")), "no test keeps {name} quiet");
    }
    let sections = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(sections.collect::<BTreeSet<_>>(), names, "the runbook's sections are the alerts");
}

#[test]
fn every_tmctl_command_of_the_runbook_can_be_typed() {
    let texts = read("runbook.md") + &read("README.md");
    let commands: BTreeSet<&str> =
        texts.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("tmctl ")).collect();
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let words = command.split(' ').skip(1);
        let output = std::process::Command::new(binary("tmctl").unwrap()).args(words).arg("--help").output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn dashboards_can_be_imported_anywhere() {
    let mut uids = BTreeSet::new();
    let boards = dashboards();
    assert_eq!(boards.len(), 4);
    for (name, board) in boards {
        let uid = board["uid"].as_str().unwrap().to_owned();
        assert!(uid.starts_with("taskmaster-") && uids.insert(uid), "{name}");
        assert!(board["id"].is_null() && board["schemaVersion"].is_u64(), "{name}");
        assert!(board["time"]["from"].as_str().unwrap().starts_with("now"), "{name} is about one day");
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: two panels have the id of {title}");
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title} has no unit");
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}: {title}");
                let wants_range = ["rate(", "increase("].iter().any(|word| expression.contains(word));
                assert_eq!(wants_range, expression.contains("[$__rate_interval]"), "{name}: {title}: {expression}");
            }
        }
    }
}

#[test]
fn every_expression_of_a_dashboard_is_promql() {
    if !has("promtool") {
        return;
    }
    let mut rules = "groups:\n  - name: dashboards\n    rules:\n".to_owned();
    for (at, expression) in expressions().iter().enumerate() {
        let quoted = expression.replace('\'', "''");
        let _ = writeln!(rules, "      - record: panel:{at}\n        expr: '{quoted}'");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dashboards.yml");
    fs::write(&path, &rules).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()]);
    // And what is none would be found.
    fs::write(&path, rules.replacen("sum", "summ", 1)).unwrap();
    let output = std::process::Command::new("promtool").args(["check", "rules"]).arg(&path).output().unwrap();
    assert!(!output.status.success());
}

#[test]
fn units_are_what_systemd_takes_and_are_hardly_exposed() {
    if std::process::Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skipped("there is no systemd-analyze; deploy/install-tools.sh systemd-analyze installs it");
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, program) in [("jaeger", "/usr/local/bin/jaeger"), ("otel-collector", "/usr/local/bin/otelcol-contrib")] {
        let text = read(&format!("{name}.service"));
        assert!(text.contains(program) && folder().join(format!("{name}.yaml")).is_file(), "{name}");
        // A program that exists, as far as systemd looks.
        let unit = dir.path().join(format!("{name}.service"));
        fs::write(&unit, text.replace(&format!("={program} "), "=/bin/true ")).unwrap();
        let (wrong, exposure) = looked_at(&unit);
        assert!(wrong.is_empty() && exposure <= 2.0, "{name}: {exposure} {wrong}");
    }
}

#[test]
fn what_a_collector_lets_through_has_nothing_of_what_was_said() {
    let collector = read("otel-collector.yaml");
    for attribute in ["gen_ai.input.messages", "gen_ai.output.messages"] {
        assert!(collector.contains(&format!("- key: {attribute}\n        action: delete")), "{attribute}");
    }
    let pipeline = collector.split("pipelines:").nth(1).unwrap();
    assert!(pipeline.contains("- attributes/no_content"), "{pipeline}");
}
