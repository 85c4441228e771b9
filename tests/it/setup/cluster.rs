//! The guide, walked: three machines of a test bed are set up by the script, get certificates, a firewall, etcd and a key as
//! it says, and are a cluster; a fourth one joins by its line.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::process::binary;

use super::Machine;
use crate::bed::{Bed, eventually};
use crate::nix::are_there;

const NODES: [&str; 3] = ["a", "b", "c"];
const JOINS: &str = "d";
/// What is not there by then never will be; the machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(40);

/// The house: its machines' files below one folder, and their network.
struct House {
    bed: Bed,
    dir: tempfile::TempDir,
    machines: Vec<Machine>,
}

impl House {
    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn address(&self, node: &str) -> String {
        self.bed.call("ip", &[node]).unwrap().trim().to_owned()
    }

    /// What systemd hands over, for a node that has its files in `credentials`.
    fn environment(&self, node: &str, credentials: &str) -> [String; 2] {
        let data = self.path(&format!("{node}.data"));
        [format!("CREDENTIALS_DIRECTORY={credentials}"), format!("TMD_NODE__DATA_DIR={data}")]
    }

    /// `tmd` with these arguments on a node, to its end or (as `spawn`) from now on.
    fn tmd(&self, verb: &str, node: &str, credentials: &str, arguments: &[&str]) -> Result<String> {
        let program = binary("tmd")?.display().to_string();
        let [credentials, data] = self.environment(node, credentials);
        let place: &[&str] = if verb == "spawn" { &[node, "tmd"] } else { &[node] };
        self.bed.call(verb, &[place, &["env", &credentials, &data, &program], arguments].concat())
    }

    /// What `tmctl nodes` says at a node: who is alive, and whether one leads.
    fn alive(&self, node: &str, key: &str) -> Result<(Vec<String>, bool)> {
        let program = binary("tmctl")?.display().to_string();
        let said = self.bed.call("exec", &[node, &program, "--json", "--key", key, "nodes"])?;
        let told: Value = serde_json::from_str(&said)?;
        let nodes = told["items"].as_array().context("no list")?;
        let name = |node: &Value| node["name"].as_str().unwrap_or_default().to_owned();
        let alive = nodes.iter().filter(|node| node["state"] == "alive").map(name).collect();
        Ok((alive, nodes.iter().any(|node| node["leader"] == true)))
    }

    /// Waits until every one of `nodes` sees all of them, and a leader.
    async fn settled(&self, nodes: &[&str], key: &str) {
        for node in nodes {
            eventually(SOON, || async {
                let (mut alive, is_led) = self.alive(node, key)?;
                alive.sort();
                ensure!(
                    alive == nodes && is_led,
                    "{node} sees {alive:?}, led: {is_led}; {}",
                    self.bed.log(node, "tmd")
                );
                Ok(())
            })
            .await
            .unwrap();
        }
    }

    /// Whether etcd's port at `at` lets the fourth machine in.
    fn is_open(&self, at: &str) -> bool {
        let dial = format!("exec 3<>/dev/tcp/{at}/2379");
        self.bed.call("exec", &[JOINS, "timeout", "2", "bash", "-c", &dial]).is_ok()
    }

    /// The rules of every machine, as they are now.
    fn close(&self) {
        for (node, machine) in NODES.iter().zip(&self.machines) {
            let rules = machine.path("etc/taskmaster/firewall.nft");
            self.bed.call("exec", &[node, "nft", "-f", &rules.display().to_string()]).unwrap();
        }
    }
}

/// What an owner types on the machine with the authority.
fn tmctl(house: &House, arguments: &[&str]) -> String {
    let (pki, passphrase) = (house.path("pki"), house.path("passphrase"));
    let output = std::process::Command::new(binary("tmctl").unwrap())
        .args(arguments)
        .args(["--dir", &pki, "--passphrase-file", &passphrase])
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The environment that the unit of etcd has, its folders moved to where a test may write.
fn of_etcd(drop_in: &str, credentials: &Path, data: &str) -> Vec<String> {
    let text = drop_in
        .replace("/run/credentials/etcd.service", &credentials.display().to_string())
        .replace("/var/lib/etcd/taskmaster", data);
    text.lines().filter_map(|line| line.strip_prefix("Environment=")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_the_script_set_up_are_a_cluster_and_one_more_joins_by_its_line() {
    if !are_there(&["etcd", "nft"]) {
        return;
    }
    let all = [&NODES[..], &[JOINS]].concat();
    let Some(bed) = Bed::up("setup", &all).unwrap() else { return };
    let machines = NODES.iter().map(|_| Machine::debian()).collect();
    let house = House { bed, dir: tempfile::tempdir().unwrap(), machines };

    fs::write(house.path("passphrase"), "only for this house").unwrap();
    tmctl(&house, &["ca", "init"]);
    let listed = NODES.map(|node| format!("{node}={}", house.address(node))).join(",");
    for (node, machine) in NODES.iter().zip(&house.machines) {
        tmctl(&house, &["ca", "issue", node, "--address", &house.address(node)]);
        machine.set_up(&["--name", node, "--nodes", &listed, "node"]);
        for file in ["ca.pem".to_owned(), format!("{node}.pem"), format!("{node}.key")] {
            fs::copy(house.path(&format!("pki/{file}")), machine.path("etc/taskmaster/pki").join(&file)).unwrap();
        }
        let drop_in = machine.read("etc/systemd/system/etcd.service.d/taskmaster.conf");
        let data = house.path(&format!("{node}.etcd"));
        let environment = of_etcd(&drop_in, &machine.path("etc/taskmaster/pki"), &data);
        let environment: Vec<&str> = environment.iter().map(String::as_str).collect();
        house.bed.call("spawn", &[&[node, "etcd", "env"], &environment[..], &["etcd"]].concat()).unwrap();
    }
    house.close();
    for node in NODES {
        house.bed.call("waitport", &[node, "2379", "30"]).unwrap();
    }

    let pki = |machine: &Machine| machine.path("etc/taskmaster/pki").display().to_string();
    let config = |machine: &Machine| machine.path("etc/taskmaster/tmd.toml").display().to_string();
    let first = &house.machines[0];
    let arguments = ["first-key", "laptop", "--config", &config(first)];
    // Its member listens before the three have agreed on a leader.
    let key = eventually(SOON, || async { house.tmd("exec", NODES[0], &pki(first), &arguments) }).await.unwrap();
    let key = key.trim();
    for (node, machine) in NODES.iter().zip(&house.machines) {
        house.tmd("spawn", node, &pki(machine), &["--config", &config(machine)]).unwrap();
    }
    house.settled(&NODES, key).await;

    let members = NODES.map(|node| house.address(node));
    let (own, store) = (house.address(JOINS), members.clone().map(|member| format!("https://{member}:2379")));
    let line = tmctl(&house, &["node", "add", JOINS, "--address", &own, "--store", &store[0], "--store", &store[1]]);
    let code = line.trim().strip_prefix("tmd join ").unwrap();
    let joined = house.path("joined");
    house.tmd("exec", JOINS, &joined, &["join", code, "--dir", &joined]).unwrap();
    assert!(!house.is_open(&members[0]), "only nodes that are named reach what is for nodes");
    for machine in &house.machines {
        let rules = machine.path("etc/taskmaster/firewall.nft");
        let text = fs::read_to_string(&rules).unwrap().replace(&members[2], &format!("{}, {own}", members[2]));
        fs::write(&rules, text).unwrap();
    }
    house.close();
    assert!(house.is_open(&members[0]), "the machine that was added to the rules is let in");
    house.tmd("spawn", JOINS, &joined, &["--config", &format!("{joined}/{JOINS}.toml")]).unwrap();
    house.settled(&all, key).await;
}
