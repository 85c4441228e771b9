//! The manual pages that the daemon writes of itself; those of `tmctl` are tested beside it.

use std::process::Command;

use tests::process::binary;

#[test]
fn each_command_of_the_daemon_has_a_page_and_what_is_hidden_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(binary("tmd").unwrap()).arg("man").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut pages: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    // Clap adds `help` by itself.
    pages.retain(|page| !page.contains("help"));
    assert_eq!(pages, ["tmd-check.1", "tmd-config.1", "tmd-first-key.1", "tmd-join.1", "tmd.1"]);
    for page in pages {
        let text = std::fs::read_to_string(folder.path().join(&page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS") && text.len() > 100, "{page}: {text}");
    }
    let refused = Command::new(binary("tmd").unwrap()).args(["man", "/dev/null/x"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
}
