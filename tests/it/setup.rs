//! `deploy/setup` as it is run: what it says first, what it writes into a folder that stands for a machine, and what it
//! leaves alone. Nothing is installed.

mod again;
mod cluster;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base::config::{Config, Sources};
use tempfile::TempDir;
use tests::process::{binary, root};

use crate::nix::{are_there, looked_at};

const NODES: &str = "grey-area=192.168.1.10,sleeper-service=192.168.1.11,nas=192.168.1.12";
/// What a machine with everything is given.
const EVERYTHING: [&str; 10] =
    ["--nodes", NODES, "--gpu", "cuda", "--redis", "node", "gateway", "engine", "research", "monitoring"];

/// A folder that stands for a machine, and one with programs.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// One whose system is called `id` in `version`.
    fn of(id: &str, version: &str) -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(machine.path("etc")).unwrap();
        fs::write(machine.path("etc/os-release"), format!("ID={id}\nVERSION_ID=\"{version}\"\n")).unwrap();
        fs::create_dir(machine.dir.path().join("built")).unwrap();
        for program in ["tmd", "tmctl", "tm-engine"] {
            machine.build(program, "one");
        }
        machine
    }

    fn debian() -> Self {
        Self::of("debian", "12")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A program that only has to be there.
    fn build(&self, program: &str, version: &str) {
        let path = self.dir.path().join("built").join(program);
        fs::write(&path, format!("#!/bin/sh\n# {version}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(root().join("deploy/setup"));
        command.args(["--no-packages", "--name", "grey-area", "--root"]).arg(self.path(""));
        command.arg("--binaries").arg(self.dir.path().join("built")).args(arguments).output().unwrap()
    }

    /// What it says when it does it.
    fn set_up(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Every file of the machine with its text.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
                match entry.file_type().unwrap().is_dir() {
                    true => folders.push(entry.path()),
                    false => drop(files.insert(entry.path(), fs::read_to_string(entry.path()).unwrap())),
                }
            }
        }
        files
    }

    /// What a node makes of the configuration, with secrets as its unit hands them over.
    fn config(&self) -> Config {
        let path = self.path("etc/taskmaster/tmd.toml");
        let env = vec![("CREDENTIALS_DIRECTORY".to_owned(), "/run/credentials/taskmaster.service".to_owned())];
        let file = Some((path, self.read("etc/taskmaster/tmd.toml")));
        Config::resolve(&Sources { file, env, ..Sources::default() }).unwrap_or_else(|faults| panic!("{faults}"))
    }
}

/// The plan, without what people do: that is prose.
fn plan(said: &str) -> &str {
    said.split("left for you:").next().unwrap()
}

#[test]
fn a_dry_run_says_everything_and_writes_nothing() {
    let machine = Machine::debian();
    let before = machine.files();
    let arguments = [&["--dry-run"], &EVERYTHING[..]].concat();
    let said = machine.set_up(&arguments);
    assert_eq!(machine.files(), before);
    let expected = fs::read_to_string(root().join("tests/it/setup/dry-run.txt")).unwrap();
    assert_eq!(said, expected, "if that is meant, write it into tests/it/setup/dry-run.txt");
}

#[test]
fn what_is_written_is_a_node_and_units_that_systemd_takes() {
    let machine = Machine::debian();
    machine.set_up(&[&["--llama-cpp-python", "/srv/models/talker.gguf"], &EVERYTHING[..]].concat());
    // What systemd hands to the node.
    let credentials = machine.path("credentials");
    fs::create_dir(&credentials).unwrap();
    for name in ["ca.pem", "grey-area.pem", "grey-area.key"] {
        fs::write(credentials.join(name), "").unwrap();
    }
    let checked = Command::new(binary("tmd").unwrap())
        .args(["check", "--config"])
        .arg(machine.path("etc/taskmaster/tmd.toml"))
        .env("CREDENTIALS_DIRECTORY", &credentials)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let config = machine.config();
    assert_eq!(config.tls.unwrap().key, Path::new("/run/credentials/taskmaster.service/grey-area.key"));
    assert!(config.privacy_lock && config.peers.advertise.as_deref() == Some("192.168.1.10:3003"));
    let etcd = machine.read("etc/systemd/system/etcd.service.d/10-taskmaster.conf");
    let members =
        "grey-area=https://192.168.1.10:2380,sleeper-service=https://192.168.1.11:2380,nas=https://192.168.1.12:2380";
    assert!(etcd.contains(&format!("\nEnvironment=ETCD_INITIAL_CLUSTER={members}\n")), "{etcd}");

    if !are_there(&["systemd-analyze"]) {
        return;
    }
    // Offline, drop-ins are not looked for: what they say, said last, is what they do.
    let units = machine.path("etc/systemd/system");
    let dropped = |unit: &str| {
        let entries = fs::read_dir(units.join(format!("{unit}.service.d"))).unwrap();
        entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect::<Vec<_>>().join("\n")
    };
    let program = |text: String, program: &str| text.replace(program, "/bin/true");
    let verified = tempfile::tempdir().unwrap();
    let python = machine.read("etc/systemd/system/taskmaster-llama-cpp.service");
    let node = machine.read("etc/systemd/system/taskmaster.service") + "\n" + &dropped("taskmaster");
    let bare = |program: &str| format!("[Unit]\nDescription={program}\n[Service]\nExecStart=/bin/true\n");
    for (name, text) in [
        ("taskmaster", program(node, "/usr/local/bin/tmd")),
        ("etcd", bare("etcd") + &dropped("etcd")),
        (
            "taskmaster-firewall",
            program(machine.read("etc/systemd/system/taskmaster-firewall.service"), "/usr/sbin/nft"),
        ),
        ("taskmaster-llama-cpp", program(python, "/opt/taskmaster/llama-cpp-python/bin/python3")),
        ("prometheus", bare("prometheus") + &program(dropped("prometheus"), "/usr/bin/prometheus")),
    ] {
        let unit = verified.path().join(format!("{name}.service"));
        fs::write(&unit, text).unwrap();
        assert_eq!(looked_at(&unit).0, "", "{name}");
    }
}

#[test]
fn nginx_and_prometheus_take_what_is_written_for_them() {
    if !are_there(&["nginx", "promtool"]) {
        return;
    }
    let machine = Machine::debian();
    machine.set_up(&EVERYTHING);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    // No port of this machine: a test of a configuration opens what it listens on.
    let site = machine.read("etc/nginx/conf.d/taskmaster.conf").replace("listen [::]:80;", "");
    let site = site.replace("listen 80;", &format!("listen unix:{};", path("socket")));
    let logs = format!("error_log {0}; pid {1}; events {{}} http {{ access_log off; ", path("error.log"), path("pid"));
    fs::write(path("nginx.conf"), format!("{logs}{site} }}")).unwrap();
    let tested = Command::new("nginx").args(["-t", "-c", &path("nginx.conf"), "-p", &path("")]).output().unwrap();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));

    let prometheus = machine.path("etc/taskmaster/prometheus");
    fs::write(prometheus.join("metrics.key"), "tm-key").unwrap();
    let checked =
        Command::new("promtool").args(["check", "config"]).arg(prometheus.join("prometheus.yml")).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let nodes = machine.read("etc/taskmaster/prometheus/nodes.yml");
    assert!(nodes.contains("\"192.168.1.10:3001\"") && nodes.contains("\"192.168.1.12:3001\""), "{nodes}");
}

#[test]
fn a_node_alone_asks_nothing_of_the_house_and_one_behind_nginx_wants_keys() {
    let machine = Machine::debian();
    let said = machine.set_up(&["node", "engine"]);
    let config = machine.config();
    assert!(config.http_listen.ip().is_loopback() && config.auth == base::config::Auth::Off);
    assert_eq!(config.workers.len(), 1, "the built-in engine");
    assert!(config.tls.is_none() && !said.contains("etcd"), "{said}");
    let python = Machine::debian();
    python.set_up(&["node", "--llama-cpp-python", "/srv/models/talker.gguf"]);
    let workers = python.config().workers;
    assert!(workers.iter().any(|worker| worker.backend.as_str() == "llamacpp-python"), "{workers:?}");
    let unit = python.read("etc/systemd/system/taskmaster-llama-cpp.service");
    assert!(
        unit.contains(" --model /srv/models/talker.gguf ") && unit.contains("\nUser=taskmaster-engine\n"),
        "{unit}"
    );
    let behind = Machine::debian();
    behind.set_up(&["gateway", "--site", "ai.home-lab"]);
    let config = behind.config();
    assert!(config.http_listen.ip().is_loopback() && config.auth == base::config::Auth::Store);
    assert!(config.http_allowed_origins.contains(&"ai.home-lab".to_owned()), "{:?}", config.http_allowed_origins);
    assert!(behind.read("etc/nginx/conf.d/taskmaster.conf").contains("server_name ai.home-lab;"));
}

#[test]
fn a_second_run_changes_nothing() {
    let machine = Machine::debian();
    machine.set_up(&EVERYTHING);
    let before = machine.files();
    for again in [&EVERYTHING[..], &["--again"]] {
        let said = machine.set_up(again);
        assert_eq!(machine.files(), before);
        assert!(plan(&said).ends_with("  nothing to do\n"), "{said}");
    }
}

#[test]
fn what_others_wrote_stays_and_what_setup_wrote_is_brought_up_to_date() {
    let machine = Machine::debian();
    fs::create_dir_all(machine.path("etc/nginx/conf.d")).unwrap();
    fs::write(machine.path("etc/nginx/conf.d/taskmaster.conf"), "# mine\n").unwrap();
    let said = machine.set_up(&["gateway"]);
    assert!(said.contains("beside   /etc/nginx/conf.d/taskmaster.conf.new"), "{said}");
    assert_eq!(machine.read("etc/nginx/conf.d/taskmaster.conf"), "# mine\n");
    assert!(machine.read("etc/nginx/conf.d/taskmaster.conf.new").contains("proxy_pass"));

    // The configuration is edited, a later release is built: the one stays, the other comes in.
    let toml = machine.read("etc/taskmaster/tmd.toml") + "\n[limits]\nbody = \"64MiB\"\n";
    fs::write(machine.path("etc/taskmaster/tmd.toml"), &toml).unwrap();
    machine.build("tmd", "two");
    let said = machine.set_up(&["gateway"]);
    assert!(said.contains("replaced /usr/local/bin/tmd\n"), "{said}");
    assert!(said.contains("yours    /etc/taskmaster/tmd.toml"), "{said}");
    assert_eq!(machine.read("etc/taskmaster/tmd.toml"), toml);
    assert!(!machine.path("etc/taskmaster/tmd.toml.new").exists());

    // Other roles make another configuration: it lies beside the edited one.
    let said = machine.set_up(&["gateway", "research"]);
    assert!(said.contains("beside   /etc/taskmaster/tmd.toml.new"), "{said}");
    assert_eq!(machine.read("etc/taskmaster/tmd.toml"), toml);
    assert!(machine.read("etc/taskmaster/tmd.toml.new").contains("/srv/documents"));
}

#[test]
fn what_cannot_be_set_up_is_refused_with_what_to_do() {
    let debian = Machine::debian();
    for (machine, arguments, message, hint) in [
        (&Machine::of("nixos", "26.05"), &["node"][..], "this is NixOS", "nixosModules.default"),
        (&debian, &[], "no role is named", "--dry-run"),
        (&debian, &["--again"], "there was no last time here", "--help"),
        (&debian, &["nodes"], "`nodes` is no role and no option", "--help"),
        (&debian, &["node", "--gpu", "intel"], "`intel` is no kind of GPU", "cuda"),
        (&debian, &["node", "--nodes", "nas=192.168.1.12"], "--nodes does not name this machine", "--name"),
        (&debian, &["node", "--nodes", "grey-area=10.0.0.1,nas=10.0.0.2"], "2 nodes would share", "--guests"),
        (&debian, &["node", "--guests", "grey-area=10.0.0.1"], "--guests stands without --nodes", "share the etcd"),
        (&debian, &["node", "--nodes", "nas=10.0.0.2", "--guests", "nas=10.0.0.2"], "`nas` is named twice", "once"),
        (&debian, &["node", "--nodes", "grey-area=nas.lan"], "names no node and its address", "192.168.1.10"),
        (&debian, &["node", "--name", "a b"], "cannot be the name of a node", "letters"),
    ] {
        let before = machine.files();
        let output = machine.run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(message), "{arguments:?}: {said}");
        assert!(said.lines().any(|line| line.starts_with("  hint: ") && line.contains(hint)), "{arguments:?}: {said}");
        assert_eq!(machine.files(), before, "{arguments:?}");
    }
}

#[test]
fn scripts_are_without_a_finding() {
    if !are_there(&["shellcheck"]) {
        return;
    }
    let checked = Command::new("shellcheck").arg(root().join("deploy/setup")).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
