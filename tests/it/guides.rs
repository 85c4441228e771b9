//! What the texts for owners say, checked against what there is: links lead somewhere, commands can be typed, settings
//! exist, and the messages that are explained are messages of the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base::config::{Config, Sources};
use tests::process::{binary, root};

/// Where every symptom is a heading that quotes the program.
const SYMPTOMS: &str = "deploy/troubleshooting.md";

/// Breaches of a rule, one line each; none is the pass.
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

/// Every file below `folder` that ends with `end`, with its text, by its path from the root.
fn files(folder: &str, end: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_made =
                matches!(name.as_str(), "target" | "shared" | "node_modules" | "result") || name.starts_with('.');
            if entry.file_type().unwrap().is_dir() {
                folders.extend((!is_made).then(|| entry.path()));
            } else if name.ends_with(end) {
                let path = entry.path().strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((path, fs::read_to_string(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The texts for owners: the README and what is in `deploy`.
fn guides() -> Vec<(String, String)> {
    let readme = ("README.md".to_owned(), fs::read_to_string(root().join("README.md")).unwrap());
    [vec![readme], files("deploy", ".md")].concat()
}

/// The blocks between fences, with the word behind the fence.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut inside: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), inside.take()) {
            (Some(word), None) => inside = Some((word.to_owned(), String::new())),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some((word, block))) => inside = Some((word, block + line + "\n")),
            (None, None) => {}
        }
    }
    blocks
}

/// A text without its fenced blocks.
fn prose(text: &str) -> String {
    let mut is_inside = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_inside = !is_inside;
        } else if !is_inside {
            prose += line;
            prose.push('\n');
        }
    }
    prose
}

/// What stands between single backticks in the prose, which may break lines.
fn spans(text: &str) -> Vec<String> {
    let prose = prose(text);
    let paragraphs = prose.split("\n\n");
    let of = |paragraph: &str| paragraph.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    paragraphs.flat_map(of).map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// How a heading is called in an address.
fn slug(heading: &str) -> String {
    let letters = heading.trim().to_lowercase();
    let kept = letters.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn headings(text: &str) -> Vec<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
}

#[test]
fn every_link_between_texts_leads_somewhere() {
    let texts = files("", ".md");
    assert!(texts.len() >= 10, "{}", texts.len());
    let mut breaches = Vec::new();
    for (path, text) in &texts {
        let folder = Path::new(path).parent().unwrap();
        for link in
            prose(text).split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link.to_owned())
        {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { root().join(path) } else { root().join(folder).join(file) };
            if !target.exists() {
                breaches.push(format!("{path}: there is no {link}"));
            } else if !anchor.is_empty() {
                let there = fs::read_to_string(&target).unwrap();
                let is_marked = there.contains(&format!("<a id=\"{anchor}\">"));
                if !is_marked && !headings(&there).iter().any(|heading| slug(heading) == anchor) {
                    breaches.push(format!("{path}: {link} has no such heading"));
                }
            }
        }
    }
    assert_none(&breaches);
}

/// The commands of `program` in a text: lines of its blocks, and spans of its prose.
fn commands(text: &str, program: &str) -> Vec<String> {
    let blocks = blocks(text);
    let shells = blocks.iter().filter(|(word, _)| matches!(word.as_str(), "sh" | "bash" | "console" | ""));
    let lines = shells.flat_map(|(_, block)| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>());
    let parts = lines.chain(spans(text)).flat_map(|line| {
        let said = line.split(" #").next().unwrap_or_default().to_owned();
        said.split([';', '|', '>', '<']).flat_map(|part| part.split("&&")).map(str::to_owned).collect::<Vec<_>>()
    });
    let is_before = |word: &&str| {
        matches!(*word, "$" | "sudo")
            || word
                .split_once('=')
                .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
    };
    let bare = parts.map(|part| part.split_whitespace().skip_while(is_before).collect::<Vec<_>>().join(" "));
    bare.filter(|command| command.split(' ').next() == Some(program) && command.contains(' ')).collect()
}

/// What the program says against a command, which is not done: nouns, verbs and options before `--help` must exist.
fn refusal(program: &Path, command: &str) -> Option<String> {
    let words = command.split_whitespace().skip(1).map(|word| word.trim_matches(['"', '\'']));
    // A description such as `plan parse|append` or `--hint` alone is no command line; what is left of `…` is.
    let words = words.take_while(|word| !word.starts_with('…'));
    let output = Command::new(program).args(words).arg("--help").output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_command_of_the_guides_can_be_typed() {
    let mut breaches = Vec::new();
    for program in ["tmctl", "tmd"] {
        let path = binary(program).unwrap();
        let mut count = 0;
        for (guide, text) in guides() {
            for command in commands(&text, program) {
                count += 1;
                breaches.extend(refusal(&path, &command).map(|why| format!("{guide}: {command}\n{why}")));
            }
        }
        assert!(count >= 5, "{count} commands of {program}");
    }
    assert_none(&breaches);
}

#[test]
fn every_command_of_setup_has_options_that_there_are() {
    let setup = root().join("deploy/setup");
    let typed: Vec<String> = guides().iter().flat_map(|(_, text)| commands(text, "deploy/setup")).collect();
    assert!(typed.len() >= 8, "{typed:?}");
    let refused = |command: &String| {
        // Only told what it would do, and ended by the help behind it.
        let words = command.split(' ').skip(1).map(|word| word.trim_matches('\''));
        let output = Command::new(&setup).arg("--dry-run").args(words).arg("--help").output().unwrap();
        let is_help = output.stdout.starts_with(b"deploy/setup [OPTIONS]");
        (!is_help).then(|| format!("{command}: {}", String::from_utf8_lossy(&output.stderr)))
    };
    assert_none(&typed.iter().filter_map(refused).collect::<Vec<_>>());
}

#[test]
fn every_make_command_of_the_guides_exists() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let named: Vec<String> = guides().iter().flat_map(|(_, text)| commands(text, "make")).collect();
    assert!(named.len() >= 2, "the README shows its two commands: {named:?}");
    let is_missing = |command: &&String| {
        let target = command.split(' ').nth(1).unwrap_or_default();
        !makefile.lines().any(|line| line.starts_with(&format!("{target}:")))
    };
    assert_none(&named.iter().filter(is_missing).cloned().collect::<Vec<_>>());
}

/// What is not known in a configuration.
fn unknown(text: &str) -> Vec<String> {
    let file = Some((PathBuf::from("/etc/taskmaster/tmd.toml"), text.to_owned()));
    let faults =
        Config::resolve(&Sources { file, ..Sources::default() }).err().map(|faults| faults.0).unwrap_or_default();
    let of_names = faults.iter().filter(|fault| matches!(fault.problem.as_str(), "is not known" | "is no role"));
    of_names.map(|fault| format!("{} {}; {}", fault.field, fault.problem, fault.hint)).collect()
}

/// The sections of a configuration, as it names them itself.
fn sections() -> BTreeSet<String> {
    let told = unknown("no-section-is-called-so = 1");
    let known = told.first().and_then(|told| told.split_once("known here: ")).unwrap().1;
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_setting_that_the_guides_name_exists() {
    let sections = sections();
    assert!(sections.len() >= 15, "{sections:?}");
    let mut breaches = Vec::new();
    let mut count = 0;
    for (guide, text) in guides() {
        for span in spans(&text) {
            let name = span.split([' ', '=']).next().unwrap_or_default();
            let Some((section, rest)) = name.split_once('.') else { continue };
            let is_name = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            let is_file = ["toml", "md", "rs", "pem", "key", "json", "service", "yaml", "yml", "lan"]
                .iter()
                .any(|end| rest.ends_with(end));
            if !sections.contains(section) || !rest.split('.').all(is_name) || (is_file && rest != "key") {
                continue;
            }
            count += 1;
            let text = match section {
                "workers" | "models" => format!("[[{section}]]\n{rest} = {{}}"),
                _ => format!("{section}.{rest} = {{}}"),
            };
            breaches.extend(unknown(&text).into_iter().map(|why| format!("{guide}: `{span}`: {why}")));
        }
        for (word, block) in blocks(&text).into_iter().filter(|(word, _)| word == "toml") {
            count += 1;
            breaches.extend(unknown(&block).into_iter().map(|why| format!("{guide}: a block of {word}: {why}")));
            if let Err(error) = block.parse::<toml::Table>() {
                breaches.push(format!("{guide}: {error}"));
            }
        }
    }
    assert!(count >= 20, "{count} settings");
    assert_none(&breaches);
}

#[test]
fn every_message_that_is_explained_is_one_of_the_program() {
    // Long texts are broken by a backslash at the end of the line.
    let joined = |text: &str| {
        let mut lines = text.split("\\\n");
        let first = lines.next().unwrap_or_default().to_owned();
        lines.fold(first, |all, line| all + line.trim_start())
    };
    let program: Vec<String> = files("crates", ".rs").iter().map(|(_, text)| joined(text)).collect();
    let text = fs::read_to_string(root().join(SYMPTOMS)).unwrap();
    let symptoms: Vec<String> =
        prose(&text).lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    assert!(symptoms.len() >= 25, "{} symptoms", symptoms.len());
    let mut breaches = Vec::new();
    let mut quoted = 0;
    for symptom in &symptoms {
        for message in symptom.split('`').skip(1).step_by(2) {
            for part in message.split('…').map(|part| part.trim_matches([' ', ','])).filter(|part| part.len() > 3) {
                quoted += 1;
                if !program.iter().any(|file| file.contains(part)) {
                    breaches.push(format!("no part of the program says `{part}`"));
                }
            }
        }
    }
    assert!(quoted >= 20, "{quoted} messages");
    assert_none(&breaches);
}
