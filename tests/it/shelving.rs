//! How models come to be there: pulled and created by engines, imported and made variants of for the built-in one, each
//! at another node than the one that is asked.

use std::fs;
use std::path::Path;

use crate::lab::{Lab, SOON, until};

/// A node that is asked, and one that has what it is asked for.
async fn two(speak: &str) -> Lab {
    let mut lab = Lab::cluster().await;
    lab.gateway_and_workers(speak, 1, &[], "[engine]\nstores = []").await;
    lab.nodes_are(0, "alive", &["gateway", "w0"], SOON).await;
    lab
}

async fn is_offered(lab: &Lab, model: &str) {
    until(&format!("{model} is offered"), SOON, async || {
        let worker = lab.nodes[0].worker("w0/engine").await;
        worker.is_some_and(|worker| worker.models.iter().any(|name| name == model))
    })
    .await;
}

/// The smallest file that is a model: one entry of each kind that it needs, one tensor.
fn gguf() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |number: u32| number.to_le_bytes().to_vec();
    let counts = [1_u64.to_le_bytes(), 2_u64.to_le_bytes()].concat();
    let tensor = [text("token_embd.weight"), number(1), 8_u64.to_le_bytes().to_vec(), number(0), vec![0; 8]].concat();
    let mut bytes = [
        b"GGUF".to_vec(),
        number(3),
        counts,
        [text("general.architecture"), number(8), text("llama")].concat(),
        [text("llama.block_count"), number(4), number(1)].concat(),
        tensor,
    ]
    .concat();
    bytes.resize(bytes.len().next_multiple_of(32) + 32, 0);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_fetches_a_model_only_when_the_house_is_open() {
    let lab = two("ollama").await;
    let pull = ["models", "pull", "new:1b", "--worker", "w0/engine"];
    let told = lab.nodes[0].refused(&pull).await;
    assert!(told.contains("the mode local-only does not allow") && told.contains("`tmctl mode set hybrid`"), "{told}");
    lab.nodes[0].done(&["mode", "set", "hybrid"]).await;
    assert_eq!(lab.nodes[0].done(&pull).await, "pulled new:1b at w0/engine\n");
    is_offered(&lab, "new:1b").await;
    let told = lab.nodes[0].done(&["--json", "models", "pull", "other:1b"]).await;
    let lines: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["status"], "success");
    assert_eq!(lines[0]["worker"], "w0/engine", "the only one that can");
    assert!(lines.iter().any(|line| line["total_bytes"].as_u64() > Some(0)), "{told}");
    let told = lab.nodes[0].refused(&["models", "pull", "x", "--worker", "nobody"]).await;
    assert!(told.contains("there is no worker `nobody`"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_makes_a_model_with_settings_of_its_own() {
    let lab = two("ollama").await;
    let create =
        ["models", "create", "brief", "--from", "fake", "--worker", "w0/engine", "--parameter", "temperature=0"];
    assert_eq!(lab.nodes[0].done(&create).await, "created brief from fake at w0/engine\n");
    is_offered(&lab, "brief").await;
    let unknown = ["models", "create", "x", "--from", "fake", "--worker", "w0/engine", "--parameter", "temprature=0"];
    let told = lab.nodes[0].refused(&unknown).await;
    assert!(told.contains("unknown field `temprature`"), "{told}");
    let told = lab.nodes[0].refused(&["models", "create", "x", "--from", "gone", "--worker", "w0/engine"]).await;
    assert!(told.contains("gone"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_node_comes_in_and_is_made_a_variant_of() {
    let lab = two("openai").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("talker.gguf");
    fs::write(&file, gguf()).unwrap();
    let file = file.to_str().unwrap();
    let told = lab.nodes[0].done(&["--json", "models", "import", file, "--node", "w0"]).await;
    let imported: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&imported["name"], &imported["node"], &imported["architecture"]),
        (&"talker".into(), &"w0".into(), &"llama".into())
    );
    let path = Path::new(imported["path"].as_str().unwrap()).to_owned();
    assert_eq!(fs::read(&path).unwrap(), gguf());
    assert!(lab.nodes[0].refused(&["models", "import", file, "--node", "w0"]).await.contains("is there already"));
    assert!(lab.nodes[0].refused(&["models", "import", file, "--node", "w7"]).await.contains("there is no node `w7`"));
    assert!(
        lab.nodes[0]
            .refused(&["models", "import", "talker.gguf", "--node", "w0"])
            .await
            .contains("is no absolute path")
    );
    let junk = dir.path().join("junk.gguf");
    fs::write(&junk, "junk").unwrap();
    let told = lab.nodes[0].refused(&["models", "import", junk.to_str().unwrap()]).await;
    assert!(told.contains("not a GGUF file") && told.contains("hint: give a file in GGUF format"), "{told}");
    let create = ["models", "create", "brief", "--from", "talker", "--node", "w0", "--system", "Be brief."];
    assert_eq!(lab.nodes[0].done(&create).await, "created brief from talker for the built-in engine of w0\n");
    let variant = fs::read_to_string(path.with_file_name("brief.toml")).unwrap();
    assert_eq!(variant, "base = \"talker\"\nsystem = \"Be brief.\"\n");
    assert!(
        lab.nodes[0]
            .refused(&["models", "create", "x", "--from", "gone", "--node", "w0"])
            .await
            .contains("`gone` is not there")
    );
}
