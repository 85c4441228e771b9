//! Rules of the house that a machine can check, by reading files: edges between crates, headers, lengths, who may dial,
//! who may read the environment. What stands in texts is `guides.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use base::config::{Config, Sources};
use tests::process::root;

/// Which crates of the workspace a crate may use; the table of `crates/README.md`, for the crates that exist.
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("proto", &["base"]),
    ("net", &["base"]),
    ("store", &["base", "net"]),
    ("routing", &["base"]),
    ("inference", &["base", "proto", "net", "store"]),
    ("engine", &["base", "proto"]),
    ("cluster", &["base", "proto", "net", "store"]),
    ("jobs", &["base", "store"]),
    ("planner", &["base", "proto", "store", "jobs"]),
    ("extract", &["base"]),
    ("backup", &["base"]),
    ("research", &["base", "proto", "store", "jobs", "extract"]),
    ("api", &["base", "proto", "net", "store", "jobs", "planner", "research"]),
    (
        "tmd",
        &[
            "base",
            "proto",
            "net",
            "store",
            "routing",
            "inference",
            "cluster",
            "jobs",
            "planner",
            "extract",
            "research",
            "api",
            "backup",
        ],
    ),
    ("tmctl", &["base", "proto", "net", "routing", "planner", "backup"]),
];
/// Files longer than this are split.
const MOST_LINES: usize = 600;
/// Where the process's environment is read: the two command lines, once each.
const MAY_READ_ENVIRONMENT: &[&str] = &["crates/tmd/src/command.rs", "crates/tmctl/src/screen.rs"];
/// What opens a connection or asks a resolver; only `net` does.
const DIALS: &[&str] = &[
    "TcpStream::connect",
    "TcpStream::from_std",
    "TcpSocket::",
    "UdpSocket",
    "lookup_host",
    "to_socket_addrs",
    "ToSocketAddrs",
    "HttpConnector",
    "connect_with_connector",
    ".connect_lazy(",
    "Endpoint::connect",
    "net::connect(",
    "socket_with(",
    "reqwest",
    "ureq",
    "hickory",
];

/// Breaches of a rule, one line each; none is the pass.
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A text file of the tree, its path counted from the root.
struct Source {
    path: String,
    text: String,
}

/// Every text file that belongs to the tree.
fn tree() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                let is_hidden = name.starts_with('.') && !matches!(name.as_str(), ".ci" | ".cargo");
                let is_made = matches!(name.as_str(), "target" | "shared" | "node_modules" | "__pycache__" | "result");
                if !is_hidden && !is_made {
                    folders.push(path);
                }
            } else if kind.is_file()
                // In a second work tree it is a file, and names the first one.
                && name != ".git"
                && let Ok(text) = fs::read_to_string(root().join(&path))
            {
                sources.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    sources
}

/// Every Rust file but this one, whose words would be found by its own rules.
fn rust() -> Vec<Source> {
    tree().into_iter().filter(|file| file.path.ends_with(".rs") && file.path != "tests/it/tidy.rs").collect()
}

/// The lines that are shipped: no tests, no test helpers, no comments. With their numbers.
fn shipped() -> Vec<(String, Vec<(usize, String)>)> {
    let files = rust();
    let is_test_file = test_files(&files);
    let shipped = files.iter().filter(|file| {
        let is_of_tests = file.path.starts_with("tests/") || file.path.split('/').any(|part| part == "tests");
        let is_built_in = !["/benches/", "/examples/", "/build.rs"].iter().any(|part| file.path.contains(part));
        is_built_in && !is_of_tests && !is_test_file.iter().any(|test| file.path.starts_with(test))
    });
    let lines = |file: &Source| {
        let code = file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        (file.path.clone(), lines.map(|(at, line)| (at + 1, line.to_owned())).collect())
    };
    shipped.map(lines).collect()
}

/// Beginnings of the paths of modules that are compiled for tests alone.
fn test_files(files: &[Source]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for file in files {
        let stem = file.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "lib" | "main")) => folder,
            _ => stem,
        };
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            if let ["#[cfg(test)]", module] = pair
                && let Some(name) = module.rsplit_once("mod ").and_then(|(_, name)| name.strip_suffix(';'))
            {
                paths.extend([format!("{folder}/{name}.rs"), format!("{folder}/{name}/")]);
            }
        }
    }
    paths
}

/// Lines of shipped code that contain one of `words`, in files that `is_meant`.
fn shipped_lines_with(words: &[&str], is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, lines) in shipped().into_iter().filter(|(path, _)| is_meant(path)) {
        for (number, line) in lines {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

/// The names under `[dependencies]` and `[dev-dependencies]` and the like of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut is_inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            is_inside = line.ends_with("dependencies]");
        } else if is_inside && !line.starts_with('#') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            names.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    names
}

/// The crates of the workspace with what each uses, without `tests`, which may use any.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let folders = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap());
    let folders = folders.filter(|entry| entry.path().join("Cargo.toml").is_file());
    let named = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
    named.map(|name| (name.clone(), dependencies(&read(&format!("crates/{name}/Cargo.toml"))))).collect()
}

#[test]
fn a_crate_uses_only_crates_that_the_map_allows() {
    let crates = crates();
    let mut breaches = Vec::new();
    for (name, uses) in &crates {
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| known == name) else {
            breaches.push(format!("{name} is not on the map"));
            continue;
        };
        for used in uses.iter().filter(|used| crates.contains_key(*used)) {
            if !allowed.contains(&used.as_str()) {
                breaches.push(format!("{name} uses {used}"));
            }
        }
    }
    assert_none(&breaches);
}

#[test]
fn the_map_of_the_crates_names_every_crate_and_its_edges() {
    let map = read("crates/README.md");
    let row = |name: &str| map.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).map(str::to_owned);
    let mut breaches = Vec::new();
    for (name, allowed) in MAY_USE {
        let edges = allowed.iter().map(|edge| format!("`{edge}`")).collect::<Vec<_>>().join(", ");
        let edges = if edges.is_empty() { "-".to_owned() } else { edges };
        if !row(name).is_some_and(|row| row.ends_with(&format!("| {edges} |"))) {
            breaches.push(format!("the row of {name} should end with: | {edges} |"));
        }
    }
    assert_none(&breaches);
}

#[test]
fn every_file_opens_with_what_it_is() {
    let is_bare = |file: &Source| !file.text.starts_with("//!");
    assert_none(&rust().into_iter().filter(is_bare).map(|file| file.path).collect::<Vec<_>>());
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let is_long = |file: &Source| file.text.lines().count() > MOST_LINES;
    assert_none(&rust().into_iter().filter(is_long).map(|file| file.path).collect::<Vec<_>>());
}

#[test]
fn nothing_is_silenced_unsafe_or_left_to_do() {
    const WORDS: &[&str] =
        &["#[allow", "#![allow", "todo!(", "unimplemented!(", "unsafe {", "unsafe fn", "unsafe impl"];
    let mut found = Vec::new();
    for file in rust() {
        for (at, line) in file.text.lines().enumerate() {
            if WORDS.iter().any(|word| line.contains(word)) || line.trim() == "#[ignore]" {
                found.push(format!("{}:{}: {}", file.path, at + 1, line.trim()));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn only_net_dials() {
    assert_none(&shipped_lines_with(DIALS, |path| !path.starts_with("crates/net/")));
}

#[test]
fn only_the_command_lines_read_the_environment() {
    let words = ["env::var(", "env::vars(", "env::var_os(", "env::vars_os("];
    assert_none(&shipped_lines_with(&words, |path| !MAY_READ_ENVIRONMENT.contains(&path)));
}

#[test]
fn only_the_daemon_knows_ractor() {
    let knows = |uses: &BTreeSet<String>| uses.iter().any(|used| used.starts_with("ractor"));
    let knowing = crates().into_iter().filter(|(_, uses)| knows(uses)).map(|(name, _)| name);
    assert_eq!(knowing.collect::<Vec<_>>(), ["tmd"]);
}

/// Words such as `tm_asks_total` in `text`.
fn metrics_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("tm_") && word.len() > 3).map(str::to_owned).collect()
}

#[test]
fn each_metric_is_declared_once_and_told_in_its_readme() {
    const LISTS: [&str; 2] = ["crates/tmd/src/metrics.rs", "crates/tmd/src/metrics/gauges.rs"];
    let declared: Vec<String> = LISTS.iter().flat_map(|list| metrics_in(&read(list))).collect();
    let unique: BTreeSet<String> = declared.iter().cloned().collect();
    assert_eq!(declared.len(), unique.len(), "one of these stands twice: {declared:?}");
    let told: BTreeSet<String> = metrics_in(&read("deploy/observability/README.md")).into_iter().collect();
    assert_eq!(told, unique);
    let elsewhere = |path: &str| !LISTS.contains(&path);
    assert_none(&shipped_lines_with(&["\"tm_"], elsewhere));
}

#[test]
fn the_tree_names_no_machine_and_no_registry() {
    const HOMES: &[&str] = &["/home/", "/root/", "/work/", "/Users/"];
    let mut breaches = Vec::new();
    for file in tree().iter().filter(|file| file.path != "tests/it/tidy.rs") {
        for (at, line) in file.text.lines().enumerate() {
            let names_home = HOMES.iter().any(|home| {
                line.match_indices(home).any(|(at, _)| {
                    let before = line.get(..at).and_then(|before| before.chars().next_back());
                    !before.is_some_and(|before| before.is_alphanumeric() || "}$.~*".contains(before))
                })
            });
            if names_home {
                breaches.push(format!("{}:{}: {line}", file.path, at + 1));
            }
        }
    }
    let lock = read("Cargo.lock");
    let foreign =
        lock.lines().filter(|line| line.starts_with("source = ") && !line.contains("rust-lang/crates.io-index"));
    breaches.extend(foreign.map(|line| format!("Cargo.lock: {line}")));
    let sources = read(".cargo/config.toml");
    breaches.extend(
        sources.lines().filter(|line| line.starts_with("[source") || line.starts_with("[registr")).map(str::to_owned),
    );
    assert_none(&breaches);
}

#[test]
fn the_example_configuration_is_good() {
    let path = root().join("deploy/grey-area.toml");
    let sources = Sources { file: Some((path, read("deploy/grey-area.toml"))), ..Sources::default() };
    let config = Config::resolve(&sources).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.node.name.as_str(), "grey-area");
}

/// The packages of the lock file that need `name`.
fn needed_by(name: &str) -> Vec<String> {
    let lock = read("Cargo.lock");
    let needs = |package: &&str| package.lines().any(|line| line.trim() == format!("\"{name}\","));
    let named =
        |package: &str| package.lines().find_map(|line| line.strip_prefix("name = ")).map(|name| name.replace('"', ""));
    lock.split("[[package]]").filter(needs).filter_map(named).collect()
}

#[test]
fn there_is_one_cryptography_provider() {
    // rustls-webpki names ring as a choice, which nobody makes; the lock file keeps it for that.
    assert_eq!(needed_by("ring"), ["rustls-webpki"]);
    let manifests = tree().into_iter().filter(|file| file.path.ends_with("Cargo.toml"));
    let choosing = manifests.filter(|file| file.text.contains("\"ring\"") || file.text.contains("tls-ring"));
    assert_none(&choosing.map(|file| file.path).collect::<Vec<_>>());
    for other in ["openssl-sys", "native-tls", "reqwest"] {
        assert_eq!(needed_by(other), [""; 0], "{other}");
    }
}

#[test]
fn licences_crates_and_sources_are_checked() {
    let deny = read("deny.toml");
    for section in ["[licenses]", "[bans]", "[sources]"] {
        assert!(deny.lines().any(|line| line == section), "deny.toml has no {section}");
    }
    for rule in ["unknown-registry = \"deny\"", "unknown-git = \"deny\"", "name = \"ring\""] {
        assert!(deny.contains(rule), "deny.toml does not say {rule}");
    }
}
