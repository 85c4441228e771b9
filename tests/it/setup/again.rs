//! `deploy/setup` run once more, as after an upgrade: what an owner changed in between holds, and the node's own check is
//! given what its unit hands over.

use std::fs;
use std::process::Command;

use tests::process::binary;

use super::{EVERYTHING, Machine, NODES, root};

const UNITS: &str = "etc/systemd/system";
const TOML: &str = "etc/taskmaster/tmd.toml";
const OPEN: &str = "etc/systemd/system/taskmaster.service.d/open.conf";

impl Machine {
    /// With a `tmd` that really looks at configurations.
    fn that_checks() -> Self {
        let machine = Self::debian();
        let tmd = binary("tmd").unwrap().display().to_string();
        machine.build("tmd", &format!("\nexec {tmd} \"$@\""));
        machine
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// Puts the files of `name` where its unit looks for them.
    fn give_certificates(&self, name: &str) {
        for file in ["ca.pem".to_owned(), "crl.pem".to_owned(), format!("{name}.pem"), format!("{name}.key")] {
            self.write(&format!("etc/taskmaster/pki/{file}"), "");
        }
    }
}

/// What is left for people, line by line.
fn left(said: &str) -> Vec<&str> {
    said.split_once("left for you:\n").unwrap_or_else(|| panic!("{said}")).1.lines().map(str::trim).collect()
}

#[test]
fn certificates_that_are_not_there_yet_are_the_first_that_is_left_and_no_mistake() {
    let machine = Machine::that_checks();
    let said = machine.set_up(&["--nodes", NODES, "node", "engine"]);
    assert!(left(&said)[0].ends_with("/pki/ca.pem /etc/taskmaster/pki/grey-area.pem /etc/taskmaster/pki/grey-area.key /etc/taskmaster/pki/crl.pem"), "{said}");
    machine.give_certificates("grey-area");
    let said = machine.set_up(&["--again"]);
    assert!(left(&said)[0].starts_with("systemctl enable --now taskmaster-firewall"), "{said}");
    fs::remove_file(machine.path("etc/taskmaster/pki/crl.pem")).unwrap();
    let said = machine.set_up(&["--again"]);
    assert!(left(&said)[0].ends_with(": /etc/taskmaster/pki/crl.pem") && left(&said)[1].contains("ca renew"), "{said}");
}

#[test]
fn the_check_sees_what_the_unit_hands_over_and_what_is_wrong_is_said_behind_all_that_is_left() {
    let machine = Machine::that_checks();
    machine.set_up(&["--nodes", NODES, "--open", "node"]);
    machine.give_certificates("grey-area");
    // A secret of the owner's own, handed over by a drop-in of the owner's own.
    machine.write("etc/taskmaster/claude.key", "secret");
    let drop_in = "[Service]\nLoadCredential=claude.key:/etc/taskmaster/claude.key\n";
    machine.write(&format!("{UNITS}/taskmaster.service.d/override.conf"), drop_in);
    let worker = "\n[[workers]]\nname = \"claude\"\nbackend = \"anthropic\"\nkey_file = \"claude.key\"\n";
    let good = machine.read(TOML) + worker;
    machine.write(TOML, &good);
    machine.set_up(&["--again"]);

    machine.write(TOML, &(good + "\n[htpp]\nlisten = \"0.0.0.0:1\"\n"));
    let output = machine.run(&["--again"]);
    let (said, refused) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(!output.status.success() && refused.contains("htpp") && refused.contains("mend"), "{said}\n{refused}");
    assert!(!left(&said).is_empty(), "{said}");
}

#[test]
fn the_machine_itself_is_set_up_to_the_end_of_what_is_left() {
    // What is written stays in a picture of this machine that is gone with the namespace.
    let script = format!(
        "set -e; t=$(mktemp -d); mount -t tmpfs tmpfs $t; for at in etc usr srv; do mkdir -p $t/$at/up $t/$at/work; \
         mount -t overlay overlay -o lowerdir=/$at,upperdir=$t/$at/up,workdir=$t/$at/work /$at; done; \
         printf 'ID=debian\\nVERSION_ID=12\\n' >$t/os; mount --bind $t/os /etc/os-release 2>/dev/null || cp $t/os /etc/os-release; \
         mkdir $t/built; for one in tmd tmctl; do ln -s \"$TM_BUILT/$one\" $t/built/; done; echo ready; \
         {} --no-packages --name grey-area --binaries $t/built --nodes {NODES} node",
        root().join("deploy/setup").display()
    );
    let tmd = binary("tmd").unwrap();
    let output =
        Command::new("unshare").args(["--mount", "sh", "-c", &script]).env("TM_BUILT", tmd.parent().unwrap()).output();
    let Ok(output) = output else { return crate::upstream::skipped("there is no unshare") };
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !said.starts_with("ready") {
        return crate::upstream::skipped(&format!("this machine cannot have a picture of itself: {wrong}"));
    }
    assert!(output.status.success() && said.contains("/etc/taskmaster/pki/ca.pem"), "{said}\n{wrong}");
}

#[test]
fn a_node_that_was_locked_again_stays_so_and_one_option_does_it() {
    let machine = Machine::debian();
    machine.set_up(&["--open", "node"]);
    machine.set_up(&["--again"]);
    assert!(machine.path(OPEN).exists() && machine.read(TOML).contains("\nlock = false\n"));
    // By hand, as the way from a cloud says.
    fs::remove_file(machine.path(OPEN)).unwrap();
    machine.write(TOML, &machine.read(TOML).replace("\nlock = false\n", "\nlock = true\n"));
    for _ in 0..2 {
        let said = machine.set_up(&["--again"]);
        assert!(!machine.path(OPEN).exists(), "{said}");
    }
    assert!(!machine.read("etc/taskmaster/setup.options").contains("--open"));

    machine.set_up(&["--again", "--open"]);
    assert!(machine.path(OPEN).exists(), "whoever says so opens it");
    let said = machine.set_up(&["--again", "--locked"]);
    assert!(!machine.path(OPEN).exists() && said.contains("removed  /etc/systemd/system"), "{said}");
}

#[test]
fn a_kernel_that_differs_from_what_the_node_says_is_told_of_first() {
    let machine = Machine::debian();
    machine.set_up(&["node"]);
    let edited = machine.read(TOML) + "\n[limits]\nbody = \"64MiB\"\n";
    machine.write(TOML, &edited);
    let said = machine.set_up(&["--again", "--open"]);
    assert!(left(&said)[0].contains("lock = false under [privacy]"), "{said}");
    machine.write(TOML, &edited.replace("\nlock = true\n", "\nlock = false\n"));
    let said = machine.set_up(&["--again"]);
    assert!(!left(&said)[0].contains("[privacy]"), "{said}");
    let said = machine.set_up(&["--again", "--locked"]);
    assert!(left(&said)[0].contains("lock = true under [privacy]"), "{said}");
}

#[test]
fn what_an_owner_says_of_etcd_comes_after_what_setup_says() {
    let machine = Machine::debian();
    machine.set_up(&["--nodes", NODES, "node"]);
    let folder = format!("{UNITS}/etcd.service.d");
    let ours: Vec<_> = fs::read_dir(machine.path(&folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(ours.len() == 1 && ours[0].to_str().unwrap() < "override.conf", "{ours:?}");

    // The name of an earlier release, as it was written and as its owner changed it.
    let (new, old) = (format!("{folder}/10-taskmaster.conf"), format!("{folder}/taskmaster.conf"));
    let record = machine.read("etc/taskmaster/setup.written");
    let earlier = record.replace("10-taskmaster.conf", "taskmaster.conf");
    for (text, stays) in [(machine.read(&new), false), (machine.read(&new) + "# mine\n", true)] {
        machine.write(&old, &text);
        machine.write("etc/taskmaster/setup.written", &earlier);
        machine.set_up(&["--again"]);
        assert_eq!(machine.path(&old).exists(), stays);
    }
}

#[test]
fn a_guest_asks_the_others_members_and_is_let_in_by_them() {
    let guests = ["--again", "--guests", "laptop=192.168.1.13"];
    let machine = Machine::debian();
    machine.set_up(&[&EVERYTHING[..], &["--nodes", "grey-area=192.168.1.10"]].concat());
    machine.set_up(&guests);
    assert!(machine.read("etc/taskmaster/firewall.nft").contains("{ 192.168.1.10, 192.168.1.13 }"));
    let etcd = machine.read(&format!("{UNITS}/etcd.service.d/10-taskmaster.conf"));
    assert!(etcd.contains("ETCD_INITIAL_CLUSTER=grey-area=https://192.168.1.10:2380\n"), "{etcd}");
    machine.set_up(&["--again", "--guests", ""]);
    assert!(!machine.read("etc/taskmaster/firewall.nft").contains("192.168.1.13"));

    let laptop = Machine::debian();
    let said =
        laptop.set_up(&["--name", "laptop", "--nodes", NODES, "--guests", "laptop=192.168.1.13", "node", "engine"]);
    assert!(
        !laptop.path(&format!("{UNITS}/etcd.service.d")).exists() && said.contains("tmctl node add laptop"),
        "{said}"
    );
    let config = laptop.config();
    assert!(config.privacy_lock && config.auth == base::config::Auth::Store, "as every node of the cluster");
    let urls = ["10", "11", "12"].map(|end| format!("https://192.168.1.{end}:2379"));
    assert!(laptop.read(TOML).contains(&format!("endpoints = {urls:?}\n")), "{}", laptop.read(TOML));
}

#[test]
fn another_system_with_systemd_gets_the_same_files_and_is_told_its_packages() {
    let machine = Machine::of("fedora", "43");
    let said = machine.set_up(&["--nodes", NODES, "node"]);
    assert!(said.contains("setup: grey-area, fedora 43, as node\n"), "{said}");
    let packages = left(&said).into_iter().find(|line| line.starts_with("by the means of this system")).unwrap();
    assert!(["etcd", "nftables", "age"].iter().all(|package| packages.contains(package)), "{packages}");
    assert!(machine.path(&format!("{UNITS}/etcd.service.d/10-taskmaster.conf")).exists());
}
