//! A tree of samples with keys and addresses of every kind, and false friends beside them.

use std::fs;

use super::*;

/// Letters and digits that no person would write; made here, so that no tool takes this file for a leak.
fn random(prefix: &str, length: usize) -> String {
    let letters = b"aB3dE5fG7hJ9kLm2Np4Qr6St8UvWxYz1";
    prefix.chars().chain((0..length).map(|at| letters[at * 7 % letters.len()] as char)).collect()
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// `place what` of each, with the folder taken off.
fn told(folder: &Path, home: Option<&Path>, variables: &[(String, String)]) -> Vec<String> {
    let found = look(folder, home, variables).unwrap();
    let short = |place: String| match home {
        Some(home) => place.replace(&home.display().to_string(), "~"),
        None => place,
    };
    let line = |finding: &Finding| {
        let place = finding.place().replace(&format!("{}/", folder.display()), "");
        format!("{} {}: {}", short(place), finding.what, finding.shown)
    };
    found.findings.iter().map(line).collect()
}

#[test]
fn keys_and_addresses_are_found_wherever_people_put_them_and_never_shown_whole() {
    let (project, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (claude, openai, pplx) = (random("sk-ant-api03-", 80), random("sk-proj-", 60), random("pplx-", 48));
    let plain = "0123456789abcdef0123456789abcdef";
    write(project.path(), ".env", &format!("# mine\nOPENAI_API_KEY={openai}\nexport MISTRAL_API_KEY='{plain}'\n"));
    write(project.path(), ".gitignore", ".env\n");
    write(
        project.path(),
        ".cursor/mcp.json",
        &format!("{{\"mcpServers\":{{\"t\":{{\"env\":{{\n\"ANTHROPIC_API_KEY\": \"{claude}\"}}}}}}}}"),
    );
    write(project.path(), ".vscode/settings.json", "{\n\"chat.url\": \"https://api.openai.com/v1\"\n}\n");
    write(
        project.path(),
        ".taskmaster/config.json",
        "{\"models\": {\n\"main\": {\n\"provider\": \"anthropic\",\n\"modelId\": \"c\"\n},\n\"research\": {\n\
         \"provider\": \"openai\",\n\"baseURL\": \"http://nas:3001/v1\"\n}}}\n",
    );
    write(
        project.path(),
        "src/deep/app.py",
        &format!("x = 1\nclient = P(key=\"{pplx}\", url='https://api.perplexity.ai/')\n"),
    );
    write(project.path(), "azure.yaml", "endpoint: https://home.openai.azure.com/openai\n");
    write(home.path(), ".zshrc", &format!("export GEMINI_API_KEY={}\n", random("AIzaSy", 33)));
    write(home.path(), ".continue/config.yaml", "apiBase: https://openrouter.ai/api/v1\n");
    write(home.path(), ".ssh/other", &format!("OPENAI_API_KEY={openai}\n"));
    let variables = [
        ("GROQ_API_KEY".to_owned(), random("gsk_", 52)),
        ("OPENAI_BASE_URL".to_owned(), "https://api.deepseek.com/v1".to_owned()),
        ("ANTHROPIC_BASE_URL".to_owned(), "http://127.0.0.1:3001".to_owned()),
    ];
    let told = told(project.path(), Some(home.path()), &variables);
    insta::assert_snapshot!(told.join("\n"));
    let found = look(project.path(), Some(home.path()), &variables).unwrap();
    let shown = page(&found.findings, found.files, &found.left_out, Style::default());
    for key in [&claude, &openai, &pplx, &random("AIzaSy", 33), &random("gsk_", 52)] {
        let part = key.get(key.len() - 16..).unwrap();
        assert!(!shown.contains(part) && !format!("{found:?}").contains(part), "a key is shown");
    }
    assert!(!shown.contains(plain) && found.findings.iter().all(|finding| !finding.instead.is_empty()));
}

#[test]
fn false_friends_are_left_alone() {
    let project = tempfile::tempdir().unwrap();
    let lines = [
        "import sklearn # pip install scikit-learn",
        "class: sk-folding-cube-and-other-spinners-2024-edition-final",
        "task-sk-ant-colony-optimisation-2 = 3",
        "id = \"sk-\"",
        "OPENAI_API_KEY=your_openai_key_goes_here_0123456789",
        "OPENAI_API_KEY=${OPENAI_API_KEY}",
        "OPENAI_API_KEY=",
        "OPENAI_API_KEY=none",
        "OPENAI_API_KEY=tm-0123456789abcdef0123456789abcdef",
        "MY_OPENAI_API_KEY_PATH=/run/secrets/0123456789abcdef0123456789",
        "key = os.environ[\"ANTHROPIC_API_KEY\"]",
        "see https://api.openai.com.example.org/ and https://notapi.openai.com/",
        "https://platform.openai.com/docs, mail to someone@api.openai.company",
        "https://api.x.aisle.example/ and openrouter.airline",
        "url = http://nas:3001/v1",
        "sha = pplx-1",
        "integrity sha512-hf_0123",
    ];
    write(project.path(), "notes.md", &lines.join("\n"));
    let key = random("sk-ant-api03-", 80);
    for ignored in ["node_modules/a/.env", ".git/config", "target/debug/x", ".venv/y"] {
        write(project.path(), ignored, &format!("ANTHROPIC_API_KEY={key}\n"));
    }
    fs::write(project.path().join("picture"), format!("\0{key}")).unwrap();
    let clean: [String; 0] = [];
    assert_eq!(told(project.path(), None, &[]), clean);
}

#[test]
fn what_is_too_large_is_said_and_links_are_not_followed() {
    let (project, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let key = random("sk-ant-api03-", 80);
    write(project.path(), "large.txt", &"x".repeat(MOST_BYTES as usize + 1));
    write(other.path(), "keys", &key);
    std::os::unix::fs::symlink(other.path(), project.path().join("linked")).unwrap();
    let found = look(project.path(), None, &[]).unwrap();
    assert!(found.findings.is_empty(), "{found:?}");
    assert!(found.left_out.len() == 1 && found.left_out[0].contains("large.txt"), "{found:?}");
    assert!(look(&project.path().join("gone"), None, &[]).unwrap_err().hint.is_some());
}
