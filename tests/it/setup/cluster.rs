//! The guide, walked: three machines of a test bed are set up by the script, get certificates, a firewall, etcd and a key as
//! it says, and are a cluster; a fourth one joins by its line, and leaves for good. One that began alone grows to three.

use std::fs;
use std::path::{Path, PathBuf};
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

/// The environment that the unit of etcd has, out of all its drop-ins as systemd reads them, its folders moved to where a test
/// may write.
fn of_etcd(machine: &Machine, data: &str) -> Vec<String> {
    let folder = machine.path("etc/systemd/system/etcd.service.d");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let text = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect::<Vec<_>>().join("\n");
    let text = text.replace("/run/credentials/etcd.service", &pki(machine)).replace("/var/lib/etcd/taskmaster", data);
    text.lines().filter_map(|line| line.strip_prefix("Environment=")).map(str::to_owned).collect()
}

impl House {
    fn up(lab: &str, nodes: &[&str]) -> Option<Self> {
        let bed = Bed::up(lab, nodes).unwrap()?;
        let machines = nodes.iter().map(|_| Machine::debian()).collect();
        let house = Self { bed, dir: tempfile::tempdir().unwrap(), machines };
        fs::write(house.path("passphrase"), "only for this house").unwrap();
        tmctl(&house, &["ca", "init"]);
        Some(house)
    }

    fn listed(&self, nodes: &[&str]) -> String {
        nodes.iter().map(|node| format!("{node}={}", self.address(node))).collect::<Vec<_>>().join(",")
    }

    /// A certificate for the node, and the files of a member where the guide wants them.
    fn certify(&self, node: &str, machine: &Machine) {
        tmctl(self, &["ca", "issue", node, "--address", &self.address(node)]);
        for file in ["ca.pem".to_owned(), "crl.pem".to_owned(), format!("{node}.pem"), format!("{node}.key")] {
            fs::copy(self.path(&format!("pki/{file}")), folder(machine).join(&file)).unwrap();
        }
    }

    fn start_etcd(&self, node: &str, machine: &Machine) {
        let environment = of_etcd(machine, &self.path(&format!("{node}.etcd")));
        let environment: Vec<&str> = environment.iter().map(String::as_str).collect();
        self.bed.call("spawn", &[&[node, "etcd", "env"], &environment[..], &["etcd"]].concat()).unwrap();
    }

    async fn restart_etcd(&self, node: &str, machine: &Machine) {
        self.bed.call("kill", &[node, "etcd", "TERM"]).unwrap();
        eventually(SOON, || async {
            ensure!(self.bed.call("alive", &[node, "etcd"]).is_err(), "it ends");
            Ok(())
        })
        .await
        .unwrap();
        // Its record is taken away by this alone; that nothing is left to be killed is well.
        let _ = self.bed.call("kill", &[node, "etcd"]);
        self.start_etcd(node, machine);
        self.is_healthy(node).await;
    }

    /// Waits until the node's own member takes part.
    async fn is_healthy(&self, node: &str) {
        eventually(SOON, || async {
            let said = self.bed.call("exec", &[node, "curl", "--silent", "http://127.0.0.1:2379/health"])?;
            ensure!(said.contains("true"), "{node}: {said} {}", self.bed.log(node, "etcd"));
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Asks the member at `at` from `node`, with the certificate of that node.
    fn asks(&self, node: &str, machine: &Machine, at: &str) -> Result<String> {
        let pki = |file: &str| folder(machine).join(file).display().to_string();
        let (ca, cert, key) = (pki("ca.pem"), pki(&format!("{node}.pem")), pki(&format!("{node}.key")));
        let files = ["--cacert", &ca, "--cert", &cert, "--key", &key];
        let ask = ["--silent", "--show-error", "--max-time", "5", &format!("https://{at}:2379/health")];
        self.bed.call("exec", &[&[node, "curl"], &files[..], &ask].concat())
    }
}

/// Where the guide has a machine's certificates.
fn folder(machine: &Machine) -> PathBuf {
    machine.path("etc/taskmaster/pki")
}

fn pki(machine: &Machine) -> String {
    folder(machine).display().to_string()
}

fn config(machine: &Machine) -> String {
    machine.path("etc/taskmaster/tmd.toml").display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_the_script_set_up_are_a_cluster_and_one_more_joins_by_its_line_and_leaves() {
    if !are_there(&["etcd", "nft", "curl"]) {
        return;
    }
    let all = [&NODES[..], &[JOINS]].concat();
    let Some(house) = House::up("setup", &all) else { return };
    let listed = house.listed(&NODES);
    let members = &house.machines[..NODES.len()];
    for (node, machine) in NODES.iter().zip(members) {
        machine.set_up(&["--name", node, "--nodes", &listed, "node"]);
        house.certify(node, machine);
        house.start_etcd(node, machine);
    }
    house.close();
    for node in NODES {
        house.bed.call("waitport", &[node, "2379", "30"]).unwrap();
    }

    let first = &members[0];
    let arguments = ["first-key", "laptop", "--config", &config(first)];
    // Its member listens before the three have agreed on a leader.
    let key = eventually(SOON, || async { house.tmd("exec", NODES[0], &pki(first), &arguments) }).await.unwrap();
    let key = key.trim();
    for (node, machine) in NODES.iter().zip(members) {
        house.tmd("spawn", node, &pki(machine), &["--config", &config(machine)]).unwrap();
    }
    house.settled(&NODES, key).await;

    let addresses = NODES.map(|node| house.address(node));
    let (own, store) = (house.address(JOINS), addresses.clone().map(|member| format!("https://{member}:2379")));
    let line = tmctl(&house, &["node", "add", JOINS, "--address", &own, "--store", &store[0], "--store", &store[1]]);
    let code = line.trim().strip_prefix("tmd join ").unwrap();
    let (joined, guest) = (house.path("joined"), &house.machines[NODES.len()]);
    let guests = house.listed(&[JOINS]);
    guest.set_up(&["--name", JOINS, "--nodes", &listed, "--guests", &guests, "node"]);
    house.tmd("exec", JOINS, &joined, &["join", code, "--dir", &joined, "--config", &config(guest)]).unwrap();
    for file in ["ca.pem", "d.pem", "d.key"] {
        fs::copy(Path::new(&joined).join(file), folder(guest).join(file)).unwrap();
    }
    fs::copy(Path::new(&joined).join("d.toml"), config(guest)).unwrap();
    assert!(!house.is_open(&addresses[0]), "only nodes that are named reach what is for nodes");
    for (node, machine) in NODES.iter().zip(members) {
        machine.set_up(&["--again", "--name", node, "--guests", &guests]);
    }
    house.close();
    assert!(house.is_open(&addresses[0]), "the machine that was added to the rules is let in");
    house.tmd("spawn", JOINS, &pki(guest), &["--config", &config(guest)]).unwrap();
    house.settled(&all, key).await;
    house.asks(JOINS, guest, &addresses[0]).unwrap();

    // It is stolen. The nodes are told, and the members of etcd get the list.
    let (program, dir, passphrase) = (binary("tmctl").unwrap(), house.path("pki"), house.path("passphrase"));
    let revoke = ["--key", key, "ca", "revoke", JOINS, "--yes", "--dir", &dir, "--passphrase-file", &passphrase];
    house.bed.call("exec", &[&[NODES[0], &program.display().to_string()], &revoke[..]].concat()).unwrap();
    for (node, machine) in NODES.iter().zip(members) {
        fs::copy(house.path("pki/crl.pem"), folder(machine).join("crl.pem")).unwrap();
        house.restart_etcd(node, machine).await;
    }
    for address in &addresses {
        let told = house.asks(JOINS, guest, address);
        assert!(told.is_err(), "a revoked certificate is let in: {told:?}");
        house.asks(NODES[1], &members[1], address).unwrap();
    }
    for (node, machine) in NODES.iter().zip(members) {
        machine.set_up(&["--again", "--name", node, "--guests", ""]);
    }
    house.close();
    assert!(!house.is_open(&addresses[0]), "its address is out of the rules");
    house.settled(&NODES, key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_of_one_machine_grows_to_three_as_the_guide_says() {
    if !are_there(&["etcd", "curl"]) {
        return;
    }
    let Some(house) = House::up("grows", &NODES) else { return };
    let (listed, first) = (house.listed(&NODES), &house.machines[0]);
    first.set_up(&["--name", NODES[0], "--nodes", &house.listed(&NODES[..1]), "node"]);
    house.certify(NODES[0], first);
    house.start_etcd(NODES[0], first);
    house.is_healthy(NODES[0]).await;

    let urls = NODES.map(|node| format!("{node}=https://{}:2380", house.address(node)));
    for (at, node) in NODES.iter().enumerate().skip(1) {
        let machine = &house.machines[at];
        machine.set_up(&["--name", node, "--nodes", &listed, "node"]);
        house.certify(node, machine);
        // As `etcdctl member add` does it; a third one is refused while the second is new.
        let asked = format!("{{\"peerURLs\": [\"https://{}:2380\"]}}", house.address(node));
        let add = ["--silent", "--data", &asked, "http://127.0.0.1:2379/v3/cluster/member/add"];
        eventually(SOON, || async {
            let said = house.bed.call("exec", &[&[NODES[0], "curl"], &add[..]].concat())?;
            ensure!(said.contains("\"member\""), "{said}");
            Ok(())
        })
        .await
        .unwrap();
        // The two lines that it prints, as `systemctl edit etcd` keeps them.
        let lines = format!(
            "[Service]\nEnvironment=ETCD_INITIAL_CLUSTER={}\nEnvironment=ETCD_INITIAL_CLUSTER_STATE=existing\n",
            urls[..=at].join(",")
        );
        fs::write(machine.path("etc/systemd/system/etcd.service.d/override.conf"), lines).unwrap();
        house.start_etcd(node, machine);
        house.is_healthy(node).await;
    }
    // What the first is told of the three changes nothing for a member that has its data.
    first.set_up(&["--again", "--name", NODES[0], "--nodes", &listed]);
    house.restart_etcd(NODES[0], first).await;
}
