//! The program itself: what it says without a server, and its exit codes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn tmctl(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tmctl"));
    for variable in [
        "TMCTL_SERVER",
        "TMCTL_KEY",
        "TMCTL_CA",
        "TMCTL_CA_DIR",
        "TMCTL_CA_PASSPHRASE_FILE",
        "TMCTL_PROJECT",
        "TMCTL_TAG",
    ] {
        command.env_remove(variable);
    }
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// An address of this machine that nobody listens on.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn help_names_every_noun() {
    let output = tmctl(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!("help", text(&output.stdout));
}

#[test]
fn wrong_usage_is_2_and_an_unreachable_server_is_3() {
    for usage in [
        &["frobnicate"][..],
        &["explain"],
        &["failures", "report", "--kind", "bad", "--subject", "x"],
        &["plan"],
        &["tasks", "add"],
    ] {
        assert_eq!(tmctl(usage).status.code(), Some(2), "{usage:?}");
    }
    let server = nobody();
    for noun in [
        "nodes", "workers", "models", "failures", "mode", "health", "actors", "keys", "events", "projects", "tasks",
        "jobs",
    ] {
        let output = tmctl(&["--server", &server, noun]);
        assert_eq!(output.status.code(), Some(3), "{noun}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{noun}");
    }
    let output = tmctl(&["--server", &server, "chat", "-m", "hello"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[test]
fn what_was_not_confirmed_is_refused_before_any_server_is_asked() {
    for unconfirmed in [&["nodes", "drain", "grey-area"][..], &["keys", "revoke", "laptop"]] {
        let output = tmctl(unconfirmed);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("--yes"), "{}", text(&output.stderr));
    }
}

#[test]
fn errors_are_json_when_json_is_wanted() {
    let output = tmctl(&["--json", "--server", &nobody(), "nodes"]);
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with(r#"{"error":{"code":"unreachable","#), "{stderr}");
}

#[test]
fn doctor_tells_what_is_wrong_and_that_something_is() {
    let output = tmctl(&["--server", &nobody(), "doctor"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let found = text(&output.stdout);
    assert!(found.contains("FAIL  server") && found.contains("hint:") && found.contains("disk"), "{found}");
}

#[test]
fn a_node_gets_its_certificate_from_the_authority_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority");
    let dir = authority.to_str().unwrap();
    let passphrase = folder.path().join("passphrase");
    std::fs::write(&passphrase, "correct horse\n").unwrap();
    let ca = |arguments: &[&str]| {
        let open = ["--dir", dir, "--passphrase-file", passphrase.to_str().unwrap()];
        tmctl(&[&["ca"], arguments, &open[..]].concat())
    };
    assert_eq!(ca(&["issue", "grey-area"]).status.code(), Some(1), "there is no authority yet");
    let unasked = tmctl(&["ca", "init", "--dir", dir]);
    assert!(text(&unasked.stderr).contains("--passphrase-file"), "{}", text(&unasked.stderr));
    for arguments in [&["init"][..], &["issue", "grey-area", "--address", "10.0.0.7"], &["renew", "grey-area"]] {
        let output = ca(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let files = ["ca.pem", "ca.key", "grey-area.pem", "grey-area.key"];
    assert!(files.iter().all(|file| authority.join(file).exists()));
    assert_eq!(ca(&["init"]).status.code(), Some(1), "an authority is not replaced unasked");
    let shown = tmctl(&["ca", "show", "--dir", dir]);
    assert!(text(&shown.stdout).contains("10.0.0.7"), "{}", text(&shown.stdout));
}

#[test]
fn simulate_compares_policies_on_the_given_files() {
    let folder = tempfile::tempdir().unwrap();
    let [trace, nodes] = ["trace.csv", "nodes.toml"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    std::fs::write(&trace, "t_ms,in_tokens,out_tokens\n0,100,50\n500,200,20\n").unwrap();
    std::fs::write(&nodes, "[[node]]\nname = \"a\"\nprefill_tok_s = 1000.0\ndecode_tok_s = 50.0\nslots = 2\n").unwrap();
    let output =
        tmctl(&["--json", "simulate", "--trace", &trace, "--nodes", &nodes, "--policy", "tm", "--policy", "oracle"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["policies"]["tm"]["n"], 2);
    assert!(json["policies"]["cost"].is_null(), "only what was asked for runs");
}

#[test]
fn simulate_says_which_file_it_cannot_read() {
    let output = tmctl(&["simulate", "--trace", "/nonexistent.csv", "--nodes", "/nonexistent.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("/nonexistent.csv") && stderr.contains("hint:"), "{stderr}");
}

#[test]
fn a_folder_becomes_a_project_and_an_old_one_is_only_moved_with_a_yes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let old = folder.path().join("tasks/tasks.json");
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, "{}").unwrap();
    let output = tmctl(&["--server", "grey-area:3002", "init", "--dir", dir, "--name", "garden"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let config = std::fs::read_to_string(folder.path().join(".taskmaster/config.json")).unwrap();
    assert!(config.contains("http://grey-area:3001/v1") && config.contains("garden"), "{config}");
    let output = tmctl(&["migrate", "--dir", dir]);
    assert_eq!((output.status.code(), old.exists()), (Some(1), true));
    assert!(text(&output.stderr).contains("--yes"));
    assert_eq!(tmctl(&["migrate", "--dir", dir, "--yes"]).status.code(), Some(0));
    assert!(!old.exists() && folder.path().join(".taskmaster/tasks/tasks.json").exists());
}

#[test]
fn every_shell_gets_completions_and_those_of_bash_complete() {
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef tmctl"), ("fish", "complete -c tmctl")] {
        let output = tmctl(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(text(&output.stdout).contains(sign), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("tmctl.bash");
    std::fs::write(&script, tmctl(&["completions", "bash"]).stdout).unwrap();
    let bash = |arguments: &[&str]| Command::new("bash").args(arguments).output().unwrap();
    let checked = bash(&["-n", script.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let completed = |words: &[&str]| {
        let (last, before) = (words.last().unwrap(), words[words.len() - 2]);
        let complete = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _tmctl tmctl '{last}' '{before}'; echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.join(" "),
            words.len() - 1
        );
        let output = bash(&["--norc", "-c", &complete]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(completed(&["tmctl", "work"]), "workers");
    assert_eq!(completed(&["tmctl", "nodes", "rel"]), "reload");
    assert_eq!(completed(&["tmctl", "nodes", "drain", "--und"]), "--undo");
    assert_eq!(completed(&["tmctl", "completions", "fi"]), "fish");
}
