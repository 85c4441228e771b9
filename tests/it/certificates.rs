//! Certificates in a running cluster: changed, renewed, revoked and counterfeited, with every connection between nodes over
//! mutual TLS.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use base::config::{Mode, Privacy, Tls};
use net::{Audit, Channels, ClientTls, Connector, Identity, Policy, Purpose};
use proto::node::node_client::NodeClient;
use proto::node::{HeartbeatRequest, NodeReport, RenewCertificateRequest};
use tests::etcd::Etcd;
use tests::port::free_port;
use tests::process::binary;
use tonic::transport::Channel;

use crate::lab::{Lab, SOON, Setup, until};
use crate::load::Load;

/// A node looks at its files every two seconds, and an issuer may have to be asked twice.
const RENEWED_WITHIN: Duration = Duration::from_secs(30);

/// The folder of the CA, and a folder for each node with what it was given.
pub struct House(tempfile::TempDir);

impl House {
    /// A house with a CA of its own.
    pub fn new() -> Self {
        let house = Self(tempfile::tempdir().unwrap());
        std::fs::write(house.path("passphrase"), "only for this house\n").unwrap();
        house.ca(&["init"]);
        house
    }

    /// A file of the house's folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn pki(&self, file: &str) -> PathBuf {
        self.path("pki").join(file)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary("tmctl").unwrap());
        command
            .args(arguments)
            .arg("--dir")
            .arg(self.path("pki"))
            .arg("--passphrase-file")
            .arg(self.path("passphrase"));
        command.output().unwrap()
    }

    /// Runs `tmctl ca`; what it printed.
    fn ca(&self, arguments: &[&str]) -> String {
        let output = self.run(&[&["ca"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Gives a node its certificate, and the CA as it is now.
    fn give(&self, node: &str) {
        for file in ["ca.pem".to_owned(), format!("{node}.pem"), format!("{node}.key")] {
            self.give_file(node, &file);
        }
    }

    fn give_file(&self, node: &str, file: &str) {
        let folder = self.path(node);
        std::fs::create_dir_all(&folder).unwrap();
        // Whole at once, as an owner's tool copies it.
        let (beside, target) = (folder.join("beside"), folder.join(file));
        std::fs::copy(self.pki(file), &beside).unwrap();
        std::fs::rename(beside, target).unwrap();
    }

    /// Issues a certificate for a node, and gives it.
    pub fn issue(&self, node: &str, more: &[&str]) {
        self.ca(&[&["issue", node, "--yes"], more].concat());
        self.give(node);
    }

    /// Makes a node one that issues.
    pub fn give_issuer(&self, node: &str) {
        self.ca(&["issuer", node, "--yes"]);
        for end in ["pem", "key"] {
            self.give_file(node, &format!("{node}-issuer.{end}"));
        }
    }

    /// The sections of a node that talks to others over TLS only, actors too.
    pub fn sections(&self, node: &str, issues: bool) -> String {
        let file = |end: &str| self.path(node).join(end).display().to_string();
        let issuer = match issues {
            true => format!(
                "issuer_cert = {:?}\nissuer_key = {:?}\n",
                file(&format!("{node}-issuer.pem")),
                file(&format!("{node}-issuer.key"))
            ),
            false => String::new(),
        };
        format!(
            "[actors]\nenabled = true\nlisten = \"127.0.0.1:{}\"\n[tls]\nca = {:?}\ncert = {:?}\nkey = {:?}\n{issuer}",
            free_port().unwrap(),
            file("ca.pem"),
            file(&format!("{node}.pem")),
            file(&format!("{node}.key")),
        )
    }

    /// A gateway `a` that holds an issuer, and `b` and `c` with an engine each.
    async fn cluster(&self, of_b: &[&str]) -> Lab {
        let mut lab = Lab::cluster().await;
        for (node, more) in [("a", &[] as &[&str]), ("b", of_b), ("c", &[])] {
            self.issue(node, more);
        }
        self.give_issuer("a");
        lab.node(Setup::new("a").more(&self.sections("a", true))).await;
        for node in ["b", "c"] {
            let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
            lab.node(Setup::new(node).worker("engine", "llamacpp", &url).more(&self.sections(node, false))).await;
        }
        for at in 0..3 {
            lab.nodes_are(at, "alive", &["a", "b", "c"], SOON).await;
            lab.workers_are(at, "ready", 2).await;
        }
        lab
    }

    /// An identity out of files that were set aside.
    fn identity(&self, ca: &Path, folder: &Path, name: &str) -> Identity {
        let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        Identity::load(&Tls { ca: ca.to_owned(), cert, key, issuer: None }).unwrap()
    }
}

/// Sets the files of a node aside as they are now.
fn set_aside(house: &House, node: &str, name: &str) -> PathBuf {
    let (from, to) = (house.path(node), house.path(name));
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}

/// A client of `node.v1` of node `at` that shows `identity`.
async fn caller(lab: &Lab, at: usize, identity: &Identity) -> NodeClient<Channel> {
    let nodes = lab.nodes[at].nodes().await.unwrap();
    let address = nodes.into_iter().find(|node| node.name == lab.nodes[at].name).unwrap().address;
    let privacy = Privacy { mode: Mode::LocalOnly, local_ranges: Vec::new() };
    let connector = Connector::new(Arc::new(Policy::new(&privacy).unwrap()), Audit::new());
    let tls = ClientTls::node(identity, &lab.nodes[at].name, net::tls::H2).unwrap();
    NodeClient::new(Channels::new(connector).channel(Purpose::Peer, &address, Some(&tls)).unwrap())
}

fn said(lab: &Lab, at: usize, text: &str) -> usize {
    lab.nodes[at].child.stderr().lines().filter(|line| line.contains(text)).count()
}

/// Waits until node `at` has said `text` more than `before` times.
async fn says(lab: &Lab, at: usize, text: &str, before: usize) {
    until(&format!("{} says `{text}`", lab.nodes[at].name), RENEWED_WITHIN, async || said(lab, at, text) > before)
        .await;
}

const CHANGED: &str = "the files of the certificate changed";
const RENEWED: &str = "the certificate of this node was renewed";

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_the_ca_change_under_load_without_a_failed_ask() {
    net::install_default_provider();
    let house = House::new();
    let lab = house.cluster(&[]).await;
    let old = set_aside(&house, "b", "old-b");
    let load = Load::start(&lab.gateways());
    load.goes_on(50).await;

    // New certificates by hand.
    for (at, node) in ["a", "b", "c"].into_iter().enumerate() {
        let before = said(&lab, at, CHANGED);
        house.ca(&["renew", node]);
        house.give(node);
        says(&lab, at, CHANGED, before).await;
        load.goes_on(20).await;
    }

    // The next CA beside the old one: first everybody trusts both, then the issuer is of the next, and the rest follows.
    house.ca(&["init", "--next"]);
    for (at, node) in ["a", "b", "c"].into_iter().enumerate() {
        let before = said(&lab, at, CHANGED);
        house.give_file(node, "ca.pem");
        says(&lab, at, CHANGED, before).await;
    }
    const OLD_CA: &str = "tm_cert_expiry_seconds{certificate=\"old-ca\"}";
    for at in 0..3 {
        until("the end of the old CA is told", SOON, async || lab.nodes[at].metric(OLD_CA).await > 0.0).await;
    }
    load.goes_on(20).await;
    // One of the old root is due again at once, so nobody takes it.
    assert!((0..3).all(|at| said(&lab, at, RENEWED) == 0), "renewed by the issuer of the old CA");
    house.give_issuer("a");
    for at in 0..3 {
        says(&lab, at, RENEWED, 0).await;
    }
    load.goes_on(50).await;

    // The old CA goes, and takes its certificates along.
    let overlap = house.path("overlap.pem");
    std::fs::copy(house.pki("ca.pem"), &overlap).unwrap();
    house.ca(&["retire", "--yes"]);
    for (at, node) in ["a", "b", "c"].into_iter().enumerate() {
        let before = said(&lab, at, CHANGED);
        house.give_file(node, "ca.pem");
        says(&lab, at, CHANGED, before).await;
    }
    load.goes_on(50).await;
    for at in 0..3 {
        lab.nodes_are(at, "alive", &["a", "b", "c"], SOON).await;
        lab.workers_are(at, "ready", 2).await;
    }
    let answered = load.stop().await;
    for worker in ["b/engine", "c/engine"] {
        assert!(
            answered.iter().any(|(_, by)| by == worker),
            "nobody was answered by {worker}: the test proves nothing"
        );
    }

    let stale = house.identity(&overlap, &old, "b");
    // A renewed certificate is a changed file as well, so what the node said may have been about that.
    until("the old certificate is refused", RENEWED_WITHIN, async || {
        let told = caller(&lab, 0, &stale).await.heartbeat(HeartbeatRequest { report: None }).await.unwrap_err();
        // Which is what it says of this message once it has read it.
        told.code() != tonic::Code::InvalidArgument
    })
    .await;
    says(&lab, 0, "its certificate is not signed by our CA", 0).await;
    for at in 0..3 {
        until("the old CA is told of no more", SOON, async || lab.nodes[at].metric(OLD_CA).await == 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nears_its_end_is_told_and_renewed_by_itself() {
    let house = House::new();
    // Of 90 days less than one is left; `a` holds no issuer yet.
    let mut lab = Lab::cluster().await;
    house.issue("a", &[]);
    house.issue("b", &["--for", "10h"]);
    lab.node(Setup::new("a").more(&house.sections("a", false))).await;
    lab.node(Setup::new("b").more(&house.sections("b", false))).await;
    lab.nodes_are(1, "alive", &["a", "b"], SOON).await;
    const LEFT: &str = "tm_cert_expiry_seconds{certificate=\"node\"}";
    let left = lab.nodes[1].metric(LEFT).await;
    assert!((35_000.0..=36_000.0).contains(&left), "{left}");
    assert!(lab.nodes[1].metric("tm_cert_expiry_seconds{certificate=\"ca\"}").await > 3649.0 * 86_400.0);
    let failure = async |is_active: bool| {
        let failures = lab.nodes[1].failures().await.unwrap();
        failures.into_iter().any(|one| {
            one.subject == "certificate node of b" && one.severity == "critical" && one.is_active == is_active
        })
    };
    until("the failure is on the list", SOON, async || failure(true).await).await;
    says(&lab, 1, "no node of the cluster issues certificates", 0).await;

    assert!(!lab.nodes[1].data().join("tls/renewed.pem").exists());
    let mut again = lab.nodes.remove(0);
    again.child.terminate().unwrap();
    again.child.wait(SOON).await.unwrap();
    assert!(!again.child.stderr().contains("its loop"), "a stop is no fault of a loop");
    house.give_issuer("a");
    lab.nodes.insert(0, again);
    // The same node, with an issuer now.
    let toml = std::fs::read_to_string(lab.nodes[0].config()).unwrap();
    let (plain, issuing) = (house.sections("a", false), house.sections("a", true));
    let tls = |text: &str| text[text.find("[tls]").unwrap()..].to_owned();
    std::fs::write(lab.nodes[0].config(), toml.replace(&tls(&plain), &tls(&issuing))).unwrap();
    lab.nodes[0].again().await;

    says(&lab, 1, RENEWED, 0).await;
    until("90 days are left", SOON, async || lab.nodes[1].metric(LEFT).await > 89.0 * 86_400.0).await;
    until("the failure is over", SOON, async || {
        let failures = lab.nodes[1].failures().await.unwrap();
        failures.iter().any(|one| one.subject == "certificate node of b" && !one.is_active)
    })
    .await;
    // A restart keeps what was renewed.
    lab.nodes[1].child.terminate().unwrap();
    lab.nodes[1].child.wait(SOON).await.unwrap();
    lab.nodes[1].again().await;
    assert!(lab.nodes[1].metric(LEFT).await > 89.0 * 86_400.0);
    lab.nodes_are(0, "alive", &["a", "b"], SOON).await;
}

/// Starts node `at` again, which must refuse to; what it said.
async fn refusal(lab: &Lab, at: usize) -> String {
    let mut child = lab.nodes[at].double();
    let status = child.wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", child.stderr());
    child.stderr()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_out_within_seconds_and_stays_out_without_the_store() {
    net::install_default_provider();
    let house = House::new();
    let mut lab = house.cluster(&[]).await;
    let stolen = house.identity(&house.path("c").join("ca.pem"), &house.path("c"), "c");
    let mut thief = caller(&lab, 0, &stolen).await;
    let told = thief.heartbeat(HeartbeatRequest { report: None }).await.unwrap_err();
    assert_eq!(told.code(), tonic::Code::InvalidArgument, "{told:?}");
    let server = lab.nodes[0].grpc.clone();
    let unconfirmed = house.run(&["--server", &server, "ca", "revoke", "c"]);
    assert_eq!(unconfirmed.status.code(), Some(1));
    let revoked = house.run(&["--server", &server, "ca", "revoke", "c", "--yes"]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));

    let ended = lab.nodes[2].child.wait(SOON).await.unwrap();
    let why = lab.nodes[2].child.stderr();
    assert_eq!(ended.code(), Some(1), "{why}");
    assert!(why.contains("the certificate of node `c` (serial ") && why.contains("hint: if it shall belong"), "{why}");
    for at in [0, 1] {
        lab.nodes_are(at, "revoked", &["c"], SOON).await;
        let mut thief = caller(&lab, at, &stolen).await;
        assert!(thief.heartbeat(HeartbeatRequest { report: None }).await.is_err());
        says(&lab, at, "its certificate was revoked", 0).await;
    }
    says(&lab, 0, "ended a connection: its certificate is refused now", 0).await;
    let health = lab.nodes[0].tmctl(&["health"]).await;
    assert!(String::from_utf8_lossy(&health.stdout).contains("node c is revoked"), "{health:?}");
    let listed = house.ca(&["show"]);
    assert!(listed.lines().any(|line| line.contains("revoked") && line.contains(" c ")), "{listed}");

    // A start without the store goes by what was known.
    lab.etcd.as_ref().unwrap().child.freeze().unwrap();
    assert!(refusal(&lab, 2).await.contains("the certificate of node `c`"));
    lab.nodes[1].child.kill().await.unwrap();
    lab.nodes[1].again().await;
    let mut thief = caller(&lab, 1, &stolen).await;
    assert!(thief.heartbeat(HeartbeatRequest { report: None }).await.is_err());
    says(&lab, 1, "its certificate was revoked", 0).await;
    lab.nodes_are(1, "stale", &["a"], SOON).await;
    lab.etcd.as_ref().unwrap().child.thaw().unwrap();

    // With a new certificate it is one of them again.
    house.issue("c", &[]);
    lab.nodes[2].again().await;
    for at in 0..3 {
        lab.nodes_are(at, "alive", &["a", "b", "c"], RENEWED_WITHIN).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_certificate_is_revoked_hands_over_and_stops() {
    let house = House::new();
    let mut lab = house.cluster(&[]).await;
    let led = lab.leader(0, SOON).await;
    let (at, other) = (lab.place(&led.0), (lab.place(&led.0) + 1) % 3);
    let revoked = house.run(&["--server", &lab.nodes[other].grpc, "ca", "revoke", &led.0, "--yes"]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    lab.next_leader(other, &led, SOON).await;
    let ended = lab.nodes[at].child.wait(SOON).await.unwrap();
    assert_eq!(ended.code(), Some(1), "{}", lab.nodes[at].child.stderr());
    lab.nodes_are(other, "revoked", &[&led.0], SOON).await;
    assert!(lab.nodes[other].nodes().await.unwrap().iter().all(|node| node.state != "revoked" || !node.leader));
    assert!(refusal(&lab, at).await.contains("was revoked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_sends_what_no_node_sends_is_refused_and_left_out_of_routing() {
    net::install_default_provider();
    let house = House::new();
    let lab = house.cluster(&[]).await;
    let poisoned = house.identity(&house.path("c").join("ca.pem"), &house.path("c"), "c");
    let mut caller = caller(&lab, 0, &poisoned).await;
    let report = |node: &str| NodeReport { node: node.to_owned(), version: "1".to_owned(), ..NodeReport::default() };
    let gpus = vec![proto::node::Gpu::default(); 10_000];
    let machine = Some(proto::node::Machine { gpus, ..Default::default() });
    let lies = [
        ("nothing", None),
        ("another's id", Some(report("b"))),
        ("10,000 GPUs", Some(NodeReport { machine, ..report("c") })),
        ("a name of 10 kB", Some(report(&"c".repeat(10_000)))),
        ("no name", Some(report(""))),
        ("another's id again", Some(report("a"))),
    ];
    for (what, report) in lies {
        let refused = caller.heartbeat(HeartbeatRequest { report }).await.expect_err(what);
        assert!(
            matches!(refused.code(), tonic::Code::InvalidArgument | tonic::Code::PermissionDenied),
            "{what}: {refused:?}"
        );
    }
    // A request that is junk, or for a key that the sender does not have, gets no certificate.
    let junk = RenewCertificateRequest { csr: vec![0x30; 1000].into() };
    assert_eq!(caller.renew_certificate(junk).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    until("a failure about c", SOON, async || {
        let failures = lab.nodes[0].failures().await.unwrap();
        failures.iter().any(|one| one.subject == "node c" && one.kind == "security" && one.remedy.contains("evict"))
    })
    .await;

    // The rest is unharmed, and no ask goes there from here, as soon as the routing table is made anew.
    until("asks go to b alone", SOON, async || {
        let load = Load::start(&[lab.http(0)]);
        load.goes_on(4).await;
        load.stop().await.iter().all(|(_, worker)| worker == "b/engine")
    })
    .await;
    let load = Load::start(&[lab.http(0)]);
    load.goes_on(50).await;
    let answered = load.stop().await;
    assert!(answered.iter().all(|(_, worker)| worker == "b/engine"), "{answered:?}");
    lab.nodes_are(1, "alive", &["a", "b", "c"], SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_gets_a_certificate_for_its_own_name_and_addresses_alone() {
    net::install_default_provider();
    let house = House::new();
    let lab = house.cluster(&[]).await;
    let member = house.identity(&house.path("c").join("ca.pem"), &house.path("c"), "c");
    let request = member.request().unwrap();
    let csr = || RenewCertificateRequest { csr: request.csr.clone().into() };
    let chain = caller(&lab, 0, &member).await.renew_certificate(csr()).await.unwrap().into_inner().chain;
    let own = net::certificate::Facts::of(&chain[0].to_vec().into()).unwrap();
    assert_eq!(own.addresses, member.certificate().addresses);
    assert!(!own.is_ca);
    // Whoever holds no issuer signs nothing.
    let refused = caller(&lab, 1, &member).await.renew_certificate(csr()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_reached_with_the_certificate_of_the_node_and_refuses_a_revoked_one() {
    let house = House::new();
    for node in ["etcd", "a", "b", "gone"] {
        house.issue(node, &[]);
    }
    // There must be a list, and somebody on it.
    let told = house.run(&["--server", "127.0.0.1:1", "ca", "revoke", "gone", "--yes"]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("tells the nodes later"), "{told:?}");
    let etcd = Etcd::start_with_tls(&house.path("pki")).await.unwrap();
    let mut lab = Lab::single();
    for node in ["a", "b"] {
        lab.node(Setup::new(node).etcd_at(&etcd.url).more(&house.sections(node, false))).await;
    }
    lab.nodes_are(0, "alive", &["a", "b"], SOON).await;
    lab.leader(1, SOON).await;

    // The list is read at each handshake.
    house.ca(&["show"]);
    let revoked = house.run(&["--server", &lab.nodes[0].grpc, "ca", "revoke", "b", "--yes"]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    lab.nodes_are(0, "revoked", &["b"], SOON).await;
    assert_eq!(lab.nodes[1].child.wait(SOON).await.unwrap().code(), Some(1));
    // Whoever makes it forget that meets etcd.
    std::fs::remove_dir_all(lab.nodes[1].data()).unwrap();
    lab.nodes[1].again().await;
    until("etcd refuses b", SOON, async || lab.nodes[1].metric("tm_view_stale_seconds").await > 3.0).await;
    assert_eq!(lab.nodes[0].metric("tm_view_stale_seconds").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_needs_one_line() {
    let house = House::new();
    let mut lab = Lab::cluster().await;
    lab.node(Setup::new("a")).await;
    // The lab's etcd is on loopback, which is no use elsewhere.
    let server = lab.nodes[0].grpc.clone();
    let refused = house.run(&["--server", &server, "node", "add", "nas", "--address", "10.0.0.7"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--store"), "{refused:?}");
    let store = ["--store", "http://10.0.0.1:2379"];
    let added = house.run(&[&["node", "add", "nas", "--address", "10.0.0.7"], &store[..]].concat());
    assert!(added.status.success(), "{added:?}");
    let line = String::from_utf8(added.stdout).unwrap();
    assert_eq!(line.lines().count(), 1);

    let machine = house.path("machine");
    std::fs::create_dir(&machine).unwrap();
    let tmd = |arguments: &[&str]| {
        Command::new(binary("tmd").unwrap()).args(arguments).current_dir(&machine).output().unwrap()
    };
    let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
    let joined = tmd(&arguments);
    assert!(joined.status.success(), "{joined:?}");
    let checked = tmd(&["check", "--config", "nas.toml"]);
    assert!(checked.status.success(), "{checked:?}");
    let config = String::from_utf8(tmd(&["config", "--config", "nas.toml"]).stdout).unwrap();
    assert!(config.contains("http://10.0.0.1:2379") && config.contains("10.0.0.7:3003"), "{config}");
    let again = tmd(&arguments);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists already"), "{again:?}");
}
