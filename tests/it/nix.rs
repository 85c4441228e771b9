//! The NixOS module and the plain units, as far as they can be looked at without NixOS and without systemd as the first
//! process: evaluated with nixpkgs' own lib, read back by the configuration's own reader, scored by systemd-analyze.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use base::config::{Config, Mode, Sources};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::process::{binary, root};

use crate::upstream::{kit, skipped};

/// A crate whose test inputs are a tree of nixpkgs: the one way to its lib through the package registry alone.
const CARRIER: &str = "nixel";
const CARRIER_VERSION: &str = "5.2.0";
/// Most exposure that systemd-analyze may see, without and with the devices of a GPU.
const EXPOSURE: f64 = 2.0;
const EXPOSURE_GPU: f64 = 2.5;

/// Whether all of `programs` can be run; which one cannot is said.
pub fn are_there(programs: &[&str]) -> bool {
    for program in programs {
        if Command::new(program).arg("--version").output().is_err() {
            skipped(&format!("there is no {program}; deploy/install-tools.sh {program} installs it"));
            return false;
        }
    }
    true
}

/// nixpkgs' lib, fetched once; `None`, with the reason, where it cannot be had.
fn nixpkgs_lib() -> Option<&'static Path> {
    static LIB: OnceLock<Option<(TempDir, PathBuf)>> = OnceLock::new();
    LIB.get_or_init(|| match fetch_lib() {
        Ok(fetched) => Some(fetched),
        Err(why) => {
            skipped(&format!("there is no lib of nixpkgs: {why}"));
            None
        }
    })
    .as_ref()
    .map(|(_, lib)| lib.as_path())
}

fn fetch_lib() -> Result<(TempDir, PathBuf), String> {
    let dir = tempfile::tempdir().unwrap();
    let manifest = format!(
        "[package]\nname = \"carrier\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\n\
         {CARRIER} = \"={CARRIER_VERSION}\"\n"
    );
    fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    fs::write(dir.path().join("src/lib.rs"), "").unwrap();
    let cargo = |verb: &[&str]| Command::new("cargo").args(verb).current_dir(dir.path()).output().unwrap();
    let fetched = cargo(&["fetch", "--quiet"]);
    if !fetched.status.success() {
        return Err(String::from_utf8_lossy(&fetched.stderr).trim().to_owned());
    }
    let told = cargo(&["metadata", "--format-version", "1", "--offline"]);
    let told: Value = serde_json::from_slice(&told.stdout).map_err(|error| error.to_string())?;
    let carrier = told["packages"].as_array().unwrap().iter().find(|package| package["name"] == CARRIER).unwrap();
    let sources = Path::new(carrier["manifest_path"].as_str().unwrap()).parent().unwrap();
    let lib = sources.join("tests/inputs/nixpkgs/lib");
    lib.join("modules.nix").is_file().then_some((dir, lib)).ok_or_else(|| format!("{CARRIER} does not carry it"))
}

/// What the module makes of `configuration`, a Nix expression: a module, or the name of an example in quotes.
fn evaluate(lib: &Path, configuration: &str) -> Result<Value, String> {
    let evaluate = root().join("nix/tests/evaluate.nix");
    let expression =
        format!("import {} {{ libdir = {}; configuration = {configuration}; }}", evaluate.display(), lib.display());
    nix(&expression)
}

fn nix(expression: &str) -> Result<Value, String> {
    let arguments = ["--eval", "--strict", "--json", "--expr", expression];
    let output = Command::new("nix-instantiate").args(arguments).output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The lib, where this machine can evaluate at all.
fn able() -> Option<&'static Path> {
    if !are_there(&["nix-instantiate"]) {
        return None;
    }
    // Without a daemon it wants a store of its own, which root alone can make.
    let tried =
        Command::new("nix-instantiate").args(["--eval", "--expr", "builtins.toFile \"x\" \"\""]).output().unwrap();
    if !tried.status.success() {
        skipped(&format!("nix-instantiate does not work: {}", String::from_utf8_lossy(&tried.stderr).trim()));
        return None;
    }
    nixpkgs_lib()
}

fn good(lib: &Path, configuration: &str) -> Value {
    let told = evaluate(lib, configuration).unwrap_or_else(|error| panic!("{configuration}: {error}"));
    assert_eq!(told["failed"], Value::Array(vec![]), "{configuration}");
    told
}

/// What a node says of the settings that the module wrote, as systemd would start it.
fn understood(settings: &Value) -> Config {
    let folder = ("CREDENTIALS_DIRECTORY".to_owned(), "/run/credentials/taskmaster.service".to_owned());
    understood_with(settings, vec![folder])
}

fn understood_with(settings: &Value, env: Vec<(String, String)>) -> Config {
    let text = toml::to_string(settings).unwrap();
    let file = Some((PathBuf::from("/etc/taskmaster.toml"), text.clone()));
    Config::resolve(&Sources { file, env, ..Sources::default() }).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// The directives of a unit: a name may stand several times.
type Directives = BTreeMap<String, Vec<String>>;

fn directives(service: &Value) -> Directives {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let values =
        |value: &Value| value.as_array().map_or_else(|| vec![text(value)], |all| all.iter().map(text).collect());
    let all = service.as_object().unwrap().iter().map(|(name, value)| (name.clone(), values(value)));
    all.filter(|(_, values)| !values.is_empty()).collect()
}

/// The directives of a section of a unit file.
fn section(text: &str, wanted: &str) -> Directives {
    let mut found = Directives::new();
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_inside = line == wanted;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| is_inside && !line.starts_with('#')) {
            found.entry(name.to_owned()).or_default().push(value.to_owned());
        }
    }
    found
}

/// What systemd finds wrong with the unit file, and how exposed it calls the service.
pub fn looked_at(unit: &Path) -> (String, f64) {
    let analyze =
        |arguments: &[&str]| -> Output { Command::new("systemd-analyze").args(arguments).arg(unit).output().unwrap() };
    let name = unit.file_name().unwrap().to_string_lossy();
    let verified = analyze(&["verify", "--man=no", "--recursive-errors=no"]);
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let wrong: Vec<&str> = said.lines().filter(|line| line.contains(&*name)).collect();
    let scored = analyze(&["security", "--offline=true", "--no-pager"]);
    let scored = String::from_utf8_lossy(&scored.stdout).into_owned();
    let level = scored.lines().find_map(|line| line.split_once("exposure level for ")?.1.split(' ').nth(1));
    let level = level.and_then(|level| level.parse().ok()).unwrap_or_else(|| panic!("no exposure level in {scored}"));
    (wrong.join("\n"), level)
}

/// Writes the unit that the module made, with a program that exists.
fn written(dir: &Path, service: &Value) -> PathBuf {
    let tmd = binary("tmd").unwrap();
    let mut text = "[Unit]\nDescription=a unit\n[Service]\n".to_owned();
    for (name, values) in directives(service) {
        for value in values {
            let _ = writeln!(text, "{name}={}", value.replace("/packages/taskmaster/bin/tmd", &tmd.to_string_lossy()));
        }
    }
    let path = dir.join("taskmaster.service");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_module_keeps_what_the_acceptance_asks() {
    let Some(script) = kit("nix_check.sh") else { return };
    if !are_there(&["systemd-analyze", "python3"]) || able().is_none() {
        return;
    }
    let output = Command::new("bash").arg(script).arg(root().join("nix")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let broken: Vec<&str> = said.lines().filter(|line| !line.starts_with("ok ")).collect();
    assert_eq!(output.status.code(), Some(0), "{}\n{}", broken.join("\n"), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn each_example_is_a_node_that_starts_with_the_settings_it_is_given() {
    let Some(lib) = able() else { return };
    for name in ["grey-area", "sleeper-service"] {
        let told = good(lib, &format!("\"{name}\""));
        assert_eq!(told["warnings"], Value::Array(vec![]), "{name}");
        let config = understood(&told["settings"]);
        assert_eq!(config.node.name.as_str(), name);
        let key = PathBuf::from(format!("/run/credentials/taskmaster.service/{name}.key"));
        assert_eq!(config.tls.unwrap().key, key, "the unit hands it over");
        let handed = &directives(&told["unit"]["serviceConfig"])["LoadCredential"];
        let line = format!("{name}.key:/etc/taskmaster/pki/{name}.key");
        assert!(handed.contains(&line), "{handed:?}");
    }
}

#[test]
fn the_wish_s_own_node_starts_with_its_own_environment() {
    let Some(lib) = able() else { return };
    let wish = "{ services.taskmaster = { enable = true; port = 3001; user = \"sma\"; group = \"users\"; environmentFile = \
                \"/etc/taskmaster/env\"; dataDir = \"/mnt/storage/taskmaster\"; }; }";
    let settings = good(lib, wish)["settings"].clone();
    let env = [
        ("AI_PROVIDER", "ollama"),
        ("OLLAMA_API_URL", "http://grey-area:11434/api"),
        ("OLLAMA_MODEL", "taskmaster-optimized"),
        ("OLLAMA_FALLBACK_MODELS", "llama3.2:8b,gemma2:9b,mistral:7b"),
        ("TASKMASTER_PORT", "3001"),
        ("DATABASE_URL", "sqlite:///mnt/storage/taskmaster.db"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let config = understood_with(&settings, env);
    assert_eq!((config.workers[0].url.as_str(), config.http_listen.port()), ("http://grey-area:11434", 3001));
    assert!(config.privacy_lock);
}

#[test]
fn the_machines_of_the_cluster_test_are_nodes_that_start() {
    let Some(lib) = able() else { return };
    let test = root().join("nix/tests/cluster.nix");
    let thing = "{ outPath = \"/thing\"; type = \"derivation\"; name = \"thing\"; }";
    for name in ["one", "two", "three"] {
        let machine = format!(
            "(let lib = import {lib}; pkgs = {{ inherit lib; callPackage = _: _: {thing}; runCommand = _: _: _: {thing}; \
             testers.runNixOSTest = test: test; }}; in {{ imports = [ (import {test} {{ inherit pkgs; }}).nodes.{name} ]; \
             networking.hostName = \"{name}\"; }})",
            lib = lib.display(),
            test = test.display()
        );
        let config = understood(&good(lib, &machine)["settings"]);
        assert_eq!(config.node.name.as_str(), name);
    }
}

#[test]
fn the_package_builds_what_the_module_starts() {
    let Some(lib) = able() else { return };
    let package = |more: &str| {
        let expression = format!(
            "import {} {{ lib = import {}; rustPlatform = {{ buildRustPackage = asked: removeAttrs asked [ \"src\" \
             \"cargoLock\" ]; bindgenHook = \"bindgen\"; }}; protobuf = \"/protobuf\"; cmake = \"cmake\"; installShellFiles = \"shells\"; \
             stdenv = {{ buildPlatform.canExecute = _: true; hostPlatform = {{ }}; }}; {more} }}",
            root().join("nix/package.nix").display(),
            lib.display()
        );
        nix(&expression).unwrap()
    };
    let (plain, with_engine) = (package(""), package("withEngine = true;"));
    let workspace: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(plain["version"].as_str(), workspace["workspace"]["package"]["version"].as_str());
    assert_eq!(plain["cargoBuildFlags"], serde_json::json!(["--package=tmd", "--package=tmctl"]));
    assert!(with_engine["cargoBuildFlags"].to_string().contains("--package=engine"));
    let installed = plain["postInstall"].as_str().unwrap();
    for command in
        ["tmctl completions $shell", "tmctl man man1", "tmd man man1", "installManPage", "installShellCompletion"]
    {
        assert!(installed.contains(command), "{installed}");
    }
    assert!(plain["nativeBuildInputs"].to_string().contains("shells"));
}

#[test]
fn a_node_with_an_account_of_its_own_may_write_its_data_and_nothing_else() {
    let Some(lib) = able() else { return };
    let told = good(lib, "{ services.taskmaster = { enable = true; user = \"sma\"; dataDir = \"/srv/tm\"; }; }");
    let unit = directives(&told["unit"]["serviceConfig"]);
    assert_eq!(
        (unit["User"].as_slice(), unit["ReadWritePaths"].as_slice()),
        (&["sma".into()][..], &["/srv/tm".into()][..])
    );
    assert!(!unit.contains_key("DynamicUser") && !unit.contains_key("StateDirectory"));
    assert_eq!(understood(&told["settings"]).node.data_dir, PathBuf::from("/srv/tm"));
    let told = good(lib, "{ services.taskmaster.enable = true; }");
    let unit = directives(&told["unit"]["serviceConfig"]);
    assert!(unit["DynamicUser"] == ["true"] && unit["StateDirectory"] == ["taskmaster"]);
    assert!(!unit.contains_key("ReadWritePaths"));
}

#[test]
fn a_node_with_a_sealed_store_is_handed_its_key_and_one_that_makes_backups_may_write_them() {
    let Some(lib) = able() else { return };
    let told = good(
        lib,
        "{ services.taskmaster = { enable = true; user = \"sma\"; dataDir = \"/srv/tm\"; credentials.\"store.key\" = \
         \"/etc/taskmaster/store.key\"; settings = { store = { encryption = true; key_file = \"store.key\"; }; backup = { to \
         = \"/srv/backups\"; recipient = \"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\"; }; }; }; }",
    );
    let unit = directives(&told["unit"]["serviceConfig"]);
    assert_eq!(unit["LoadCredential"], ["store.key:/etc/taskmaster/store.key"]);
    assert_eq!(unit["ReadWritePaths"], ["/srv/tm", "/srv/backups"]);
    let config = understood(&told["settings"]);
    let key = PathBuf::from("/run/credentials/taskmaster.service/store.key");
    assert_eq!(config.encryption.unwrap().key_file, key);
    assert_eq!(config.backup.unwrap().to, PathBuf::from("/srv/backups"));
}

#[test]
fn folders_of_people_are_shown_to_a_node_that_watches_them_and_no_others() {
    let Some(lib) = able() else { return };
    let protect = |folder: &str| {
        let told =
            good(lib, &format!("{{ services.taskmaster = {{ enable = true; research.folders = [ {folder:?} ]; }}; }}"));
        let unit = directives(&told["unit"]["serviceConfig"]);
        assert_eq!(understood(&told["settings"]).research.folders, [PathBuf::from(folder)]);
        (unit["ProtectHome"][0].clone(), unit.get("BindReadOnlyPaths").cloned().unwrap_or_default())
    };
    let person = ["", "home", "geir", "docs"].join("/");
    assert_eq!(protect(&person), ("tmpfs".to_owned(), vec![person.clone()]));
    assert_eq!(protect("/srv/home/docs"), ("true".to_owned(), vec![]));
}

#[test]
fn a_virtual_host_that_hands_on_to_the_node_is_known_to_it_and_its_clients_need_keys() {
    let Some(lib) = able() else { return };
    let host = |port: u16| {
        format!(
            "{{ services.taskmaster.enable = true; services.nginx.virtualHosts.\"taskmaster.home-lab\".locations.\"/\" = \
             {{ proxyPass = \"http://localhost:{port}\"; proxyWebsockets = true; }}; }}"
        )
    };
    let known = understood(&good(lib, &host(3001))["settings"]);
    assert!(known.http_allowed_origins.iter().any(|name| name == "taskmaster.home-lab"));
    assert_eq!(known.auth, base::config::Auth::Store);
    let other = understood(&good(lib, &host(8080))["settings"]);
    assert_eq!((other.http_allowed_origins, other.auth), (vec![], base::config::Auth::Off));
}

#[test]
fn a_locked_node_is_kept_in_the_house_by_the_kernel_and_an_open_one_is_not() {
    let Some(lib) = able() else { return };
    let with = |more: &str| good(lib, &format!("{{ services.taskmaster = {{ enable = true; {more} }}; }}"));
    let told = with("settings.privacy.local_ranges = [ \"192.168.7.0/24\" ];");
    let unit = directives(&told["unit"]["serviceConfig"]);
    assert_eq!(unit["IPAddressDeny"], ["any"]);
    assert_eq!(unit["IPAddressAllow"], ["localhost", "192.168.7.0/24"]);
    let config = understood(&told["settings"]);
    assert!(config.privacy_lock && config.privacy.mode == Mode::LocalOnly);
    let told = with("settings.privacy.mode = \"hybrid\";");
    let unit = directives(&told["unit"]["serviceConfig"]);
    assert!(!unit.contains_key("IPAddressDeny") && !understood(&told["settings"]).privacy_lock);
}

#[test]
fn the_devices_of_a_gpu_cost_little_and_other_units_have_none() {
    let Some(lib) = able() else { return };
    if !are_there(&["systemd-analyze"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (gpu, most) in [("null", EXPOSURE), ("\"cuda\"", EXPOSURE_GPU), ("\"rocm\"", EXPOSURE_GPU)] {
        let told = good(lib, &format!("{{ services.taskmaster = {{ enable = true; worker.gpu = {gpu}; }}; }}"));
        let (wrong, exposure) = looked_at(&written(dir.path(), &told["unit"]["serviceConfig"]));
        assert!(wrong.is_empty() && exposure <= most, "{gpu}: {exposure} {wrong}");
    }
}

#[test]
fn only_the_other_nodes_reach_what_is_for_nodes() {
    let Some(lib) = able() else { return };
    let nodes = "nodes = { a-machine = \"10.0.0.1\"; b = \"10.0.0.2\"; c = \"fd00::3\"; };";
    let cluster = |more: &str| {
        let node =
            format!("enable = true; pki = \"/pki\"; etcd.enable = true; worker.sharedPorts = [ 11434 ]; {nodes}");
        good(lib, &format!("{{ services.taskmaster = {{ {node} }}; {more} }}"))
    };
    let etcd = &cluster("")["etcd"];
    // Off loopback etcd wants a certificate: a machine without a member has its own.
    assert_eq!(etcd["listenClientUrls"], json!(["http://127.0.0.1:2379", "https://10.0.0.1:2379"]));
    let urls = ["a-machine=https://10.0.0.1:2380", "b=https://10.0.0.2:2380", "c=https://[fd00::3]:2380"];
    assert_eq!(etcd["initialCluster"], json!(urls), "as deploy/setup writes them: members agree on one form");
    assert_eq!(etcd["initialAdvertisePeerUrls"], json!(["https://10.0.0.1:2380"]));
    for list in ["CLIENT_CRL_FILE", "PEER_CRL_FILE"] {
        assert_eq!(
            etcd["extraConf"][list], "/run/credentials/etcd.service/crl.pem",
            "what is revoked is let in no more"
        );
    }
    assert!(etcd["clientCertAuth"] == true && etcd["trustedCaFile"] == "/run/credentials/etcd.service/ca.pem");
    let firewall = cluster("")["firewall"].clone();
    assert_eq!(firewall["allowedTCPPorts"], Value::Array(vec![]), "nothing is open to everybody");
    let rules = firewall["extraCommands"].as_str().unwrap();
    for port in [3003, 3004, 2379, 2380, 11434] {
        for (tables, address) in [("iptables", "10.0.0.2"), ("ip6tables", "fd00::3")] {
            let rule = format!("{tables} -w -A nixos-fw -p tcp -s {address} --dport {port} -j nixos-fw-accept");
            assert!(rules.lines().any(|line| line == rule), "{rule}\n{rules}");
        }
    }
    assert_eq!(rules.lines().count(), 10, "{rules}");
    let firewall = cluster("networking.nftables.enable = true;")["firewall"].clone();
    let rules = firewall["extraInputRules"].as_str().unwrap();
    assert!(rules.contains("ip saddr 10.0.0.2 tcp dport { 3003, 3004, 2379, 2380, 11434 } accept"), "{rules}");
    assert!(rules.contains("ip6 saddr fd00::3 ") && firewall["extraCommands"] == "", "{rules}");
}

#[test]
fn what_cannot_work_is_refused_with_what_to_set() {
    let Some(lib) = able() else { return };
    for (wrong, hint) in [
        ("dataDir = \"/srv/x\";", "set services.taskmaster.user"),
        ("nodes.b = \"10.0.0.2\"; pki = \"/pki\"; etcd.enable = true;", "add it with its address"),
        ("nodes.a-machine = \"10.0.0.1\"; etcd.enable = true;", "set services.taskmaster.pki"),
        ("nodes.a-machine = \"10.0.0.1\"; pki = \"/pki\";", "enable services.taskmaster.etcd"),
        ("credentials.x = \"${builtins.storeDir}/x\";", "a file outside"),
        ("environmentFile = \"${builtins.storeDir}/x\";", "a file outside"),
        ("settings.hooks.github = { secret = \"0123456789abcdef\"; project = \"home\"; };", "use secret_file"),
        ("settings.privacy = { mode = \"hybrid\"; lock = true; };", "privacy.lock = false"),
        ("settings.backup.to = \"/srv/backups\";", "set services.taskmaster.user"),
        ("settings.store.encryption = true;", "name it in store.key_file"),
        (
            "gateway.enable = false; worker.enable = false; research.enable = false;",
            "enable gateway, worker or research",
        ),
    ] {
        let told = evaluate(lib, &format!("{{ services.taskmaster = {{ enable = true; {wrong} }}; }}")).unwrap();
        assert!(told["failed"].to_string().contains(hint), "{wrong}: {}", told["failed"]);
    }
}

#[test]
fn the_plain_unit_says_what_the_module_s_unit_says() {
    let Some(lib) = able() else { return };
    let module = good(lib, "{ services.taskmaster.enable = true; }")["unit"].clone();
    let text = fs::read_to_string(root().join("deploy/systemd/taskmaster.service")).unwrap();
    let mut plain = section(&text, "[Service]");
    for (name, arguments) in [("ExecStart", " --config "), ("ExecStartPre", " check --config ")] {
        // The same but for where things are.
        let said = plain.remove(name).unwrap();
        assert!(said.len() == 1 && said[0].contains(arguments), "{said:?}");
    }
    // Only here: on NixOS another configuration is another file in the store, and so another unit, which is started anew.
    let reload = plain.remove("ExecReload").unwrap();
    assert!(reload.len() == 2 && reload[0].contains(" check --config ") && reload[1].ends_with("kill -HUP $MAINPID"));
    let mut ours = directives(&module["serviceConfig"]);
    ours.retain(|name, _| !name.starts_with("ExecStart"));
    assert_eq!(plain, ours);
    let unit = section(&text, "[Unit]");
    assert_eq!(unit["StartLimitBurst"], [module["startLimitBurst"].to_string()]);
    assert_eq!(unit["StartLimitIntervalSec"], [module["startLimitIntervalSec"].to_string()]);
    for (name, gpu) in [("cuda", "\"cuda\""), ("rocm", "\"rocm\"")] {
        let drop_in =
            fs::read_to_string(root().join(format!("deploy/systemd/taskmaster.service.d/{name}.conf"))).unwrap();
        let told = good(lib, &format!("{{ services.taskmaster = {{ enable = true; worker.gpu = {gpu}; }}; }}"));
        let mut with_gpu = directives(&told["unit"]["serviceConfig"]);
        with_gpu.retain(|name, values| !name.starts_with("ExecStart") && ours.get(name) != Some(values));
        assert_eq!(section(&drop_in, "[Service]"), with_gpu, "{name}");
    }
}

#[test]
fn a_node_that_crashes_leaves_no_keys_and_no_words_in_a_core_dump() {
    // The module's unit says the same: that is the test above, where Nix is there.
    let text = fs::read_to_string(root().join("deploy/systemd/taskmaster.service")).unwrap();
    assert_eq!(section(&text, "[Service]")["LimitCORE"], ["0"]);
}

#[test]
fn the_plain_unit_and_what_is_dropped_into_it_are_good_and_closed() {
    if !are_there(&["systemd-analyze"]) {
        return;
    }
    let plain = root().join("deploy/systemd");
    let tmd = binary("tmd").unwrap();
    let dropped = fs::read_dir(plain.join("taskmaster.service.d")).unwrap().map(|entry| entry.unwrap().path());
    let mut dropped: Vec<Option<PathBuf>> = dropped.map(Some).collect();
    assert!(dropped.len() >= 4);
    dropped.push(None);
    for drop_in in dropped {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("taskmaster.service");
        let mut text = fs::read_to_string(plain.join("taskmaster.service")).unwrap();
        text = text.replace("/usr/local/bin/tmd", &tmd.to_string_lossy());
        // Offline, drop-ins are not looked for: what one says, said last, is what it does.
        let more = drop_in.as_ref().map(|path| fs::read_to_string(path).unwrap()).unwrap_or_default();
        fs::write(&unit, format!("{text}\n{more}")).unwrap();
        let (wrong, exposure) = looked_at(&unit);
        assert!(wrong.is_empty() && exposure <= EXPOSURE_GPU, "{drop_in:?}: {exposure} {wrong}");
        assert!(drop_in.is_some() || exposure <= EXPOSURE, "{exposure}");
    }
}

#[test]
fn the_container_s_configuration_is_good() {
    let path = root().join("deploy/compose/tmd.toml");
    let file = Some((path.clone(), fs::read_to_string(path).unwrap()));
    let config = Config::resolve(&Sources { file, ..Sources::default() }).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(config.privacy_lock);
}
