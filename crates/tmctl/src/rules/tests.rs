//! Rules come, are brought up to date, and go; what is not ours stays.

use std::os::unix::fs::symlink;

use super::*;
use crate::scripted::{Script, Typed, type_in};

async fn rules(folder: &Path, words: &[&str]) -> Typed {
    let all: Vec<&str> =
        ["rules", "--dir", folder.to_str().unwrap()].into_iter().chain(words.iter().copied()).collect();
    type_in(&Script::default().serve(), &all).await
}

#[tokio::test]
async fn every_agent_gets_rules_where_it_reads_them_and_nothing_is_left_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = known(folder.path()).unwrap().into_iter().map(|known| known.agent).collect();
    let all = names.join(",");
    let added = rules(folder.path(), &["add", &all]).await;
    let listed = rules(folder.path(), &["list"]).await;
    let heads: String = Profile::value_variants()
        .iter()
        .map(|agent| fs::read_to_string(folder.path().join(agent.file(folder.path()))).unwrap())
        .filter(|text| !text.starts_with(MARKS.begin))
        .map(|text| text.split(MARKS.begin).next().unwrap().to_owned())
        .collect();
    let again = rules(folder.path(), &["add", "codex"]).await;
    let removed = rules(folder.path(), &["remove", &all]).await;
    let text = [added, listed, again, removed].map(|typed| typed.notes + &typed.data).join("\n");
    insta::assert_snapshot!("rules", text + "\n" + &heads);
    assert!(known(folder.path()).unwrap().iter().all(|known| !folder.path().join(known.file).exists()));
}

#[test]
fn what_the_owner_wrote_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("CLAUDE.md");
    let is_changed = |action| apply(folder.path(), &[Profile::Claude], action).unwrap()[0].is_changed;
    fs::write(&file, "# Mine\n").unwrap();
    assert!(is_changed(Action::Add));
    let once = fs::read_to_string(&file).unwrap();
    assert!(once.starts_with("# Mine\n\n<!-- taskmaster: begin -->\n## Tasks\n"), "{once}");
    fs::write(&file, once.replace("`next_task`", "an old tool") + "\nmore of mine\n").unwrap();
    assert!(is_changed(Action::Add));
    assert_eq!(fs::read_to_string(&file).unwrap(), once + "\nmore of mine\n");
    assert!(!is_changed(Action::Add), "a second time changes nothing");
    assert!(is_changed(Action::Remove));
    assert_eq!(fs::read_to_string(&file).unwrap(), "# Mine\n\nmore of mine\n");
    assert!(!is_changed(Action::Remove));
}

#[test]
fn a_link_in_the_folder_stays_one_and_one_that_leads_out_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("garden");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("AGENTS.md"), "# Mine\n").unwrap();
    symlink("AGENTS.md", folder.join("CLAUDE.md")).unwrap();
    let changed = apply(&folder, &[Profile::Claude, Profile::Codex], Action::Add).unwrap();
    assert_eq!(changed, [Changed { file: "CLAUDE.md", is_changed: true }], "one text for both");
    assert!(fs::symlink_metadata(folder.join("CLAUDE.md")).unwrap().is_symlink());
    assert!(fs::read_to_string(folder.join("AGENTS.md")).unwrap().contains(MARKS.begin));
    symlink(home.path(), folder.join(".cursor")).unwrap();
    let fault = apply(&folder, &[Profile::Cursor], Action::Add).unwrap_err();
    assert_eq!(fault.code, Code::PermissionDenied);
    assert!(!home.path().join("rules").exists());
}

#[test]
fn zed_and_cline_get_rules_in_the_file_that_they_read_already() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("CLAUDE.md"), "# Mine\n").unwrap();
    assert_eq!(Profile::Zed.file(folder.path()), "CLAUDE.md", "an AGENTS.md would hide it");
    fs::write(folder.path().join(".clinerules"), "mine\n").unwrap();
    assert_eq!((Profile::Zed.file(folder.path()), Profile::Cline.file(folder.path())), (".clinerules", ".clinerules"));
}

#[test]
fn rules_are_short_enough_for_every_agent() {
    // Windsurf cuts what is longer.
    assert!(with("", Profile::Windsurf.head()).chars().count() < 6000);
}

#[test]
fn an_agent_that_is_not_known_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let fault = apply_to(folder.path(), &["codex".into(), "emacs".into()], Action::Add).unwrap_err();
    assert!(fault.hint.unwrap().starts_with("known are amp, claude, cline"));
    assert!(!folder.path().join("AGENTS.md").exists());
}
