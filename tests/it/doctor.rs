//! `tmctl doctor` with a node that runs: what programs are told of it is looked at as they would.

use std::process::{Command, Output};

use serde_json::json;
use tests::process::binary;

use crate::lab::{Lab, Setup};

/// Runs it in a folder of its own, with these variables and none of this machine's.
fn doctor(lab: &Lab, folder: &std::path::Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("tmctl").unwrap());
    command.current_dir(folder).env_clear().env("HOME", folder).envs(variables.iter().copied());
    command.args(["--server", &lab.nodes[0].grpc, "doctor"]).args(arguments).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_are_told_of_a_node_is_looked_at_as_they_would() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    let aliases = "[[models]]\nname = \"fake\"\naliases = [\"house\"]\n[auth]\nkeys = \"store\"";
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url).more(aliases)).await;
    let node = &lab.nodes[0];
    let config = node.config().to_owned();
    lab.nodes[0].child.kill().await.unwrap();
    let made =
        Command::new(binary("tmd").unwrap()).args(["first-key", "laptop", "--config"]).arg(&config).output().unwrap();
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    lab.nodes[0].again().await;
    let folder = tempfile::tempdir().unwrap();
    let base = format!("http://{}/v1", lab.nodes[0].http);
    let told = |key: &str, model: &str| {
        let variables =
            [("OPENAI_BASE_URL", base.as_str()), ("OPENAI_API_KEY", key), ("OPENAI_MODEL", model), ("TMCTL_KEY", key)];
        let output = doctor(&lab, folder.path(), &variables, &["--config", config.to_str().unwrap()]);
        String::from_utf8(output.stdout).unwrap()
    };
    crate::lab::until("the model is there", crate::lab::SOON, async || told(&key, "fake").contains("has fake")).await;
    assert!(told(&key, "house").contains("house"), "{}", told(&key, "house"));
    assert!(told(&key, "house").contains("ready: a/engine"), "{}", told(&key, "house"));
    assert!(!told(&key, "house").contains("no model"), "{}", told(&key, "house"));
    assert!(told(&key, "gpt-5").contains("has no model `gpt-5`"));
    assert!(told("tm-wrong", "").contains("does not take the key"));
    let file = json!({"models": {"main": {"provider": "openai", "modelId": "fake", "baseURL": base, "apiKey": key}}});
    std::fs::create_dir(folder.path().join(".taskmaster")).unwrap();
    std::fs::write(folder.path().join(".taskmaster/config.json"), file.to_string()).unwrap();
    let output = doctor(&lab, folder.path(), &[("TMCTL_KEY", &key)], &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains(".taskmaster/config.json") && text.contains("has fake"), "{text}");
    // The same project has nothing of a cloud in it; a key that is put there is found.
    let clean = doctor(&lab, folder.path(), &[], &["--migration", "."]);
    assert_eq!(clean.status.code(), Some(0), "{}", String::from_utf8_lossy(&clean.stdout));
    std::fs::write(folder.path().join(".env"), format!("A=1\nANTHROPIC_API_KEY=sk-ant-api03-{}\n", "aB3".repeat(20)))
        .unwrap();
    let found = doctor(&lab, folder.path(), &[], &["--migration"]);
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.status.code(), Some(1), "{text}");
    assert!(text.contains(".env:2") && text.contains("sk-ant-…") && !text.contains("aB3aB3"), "{text}");
}
