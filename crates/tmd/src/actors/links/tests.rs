//! Links between real processes over real sockets: ractor's registries are global to a process, so each node is one.
//!
//! A node is this test binary, started again to run only [`plays_a_node`], which obeys the lines on its standard input.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use base::Incarnation;
use base::config::{Mode, Privacy, Tls};
use base::report::NodeState;
use cluster::{Member, NodeView};
use net::ca::{self, Existing, Order, Passphrase};
use net::{Audit, ClientTls, Policy, Purpose, Roots};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const SOON: Duration = Duration::from_secs(10);
/// Where a node process finds who it is.
const ROLE: &str = "TMD_TEST_LINKS_ROLE";
/// Marks the lines that a node process says; the test harness writes to the same output.
const SAYS: &str = "@links ";

// ---- the house: a CA, and processes that are nodes of it ----

struct House(TempDir);

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        ca::init(dir.path(), &passphrase(), Existing::Keep).unwrap();
        Self(dir)
    }

    fn identity(&self, name: &str) -> Identity {
        let files = files(self.0.path(), name);
        if !files.cert.exists() {
            ca::issue(self.0.path(), &passphrase(), &Order::new(name, &[]), Existing::Keep).unwrap();
        }
        Identity::load(&files).unwrap()
    }

    /// A node with the certificate of its name and the cookie of the house.
    fn node(&self, name: &str) -> Node {
        self.start(Role { certificate: Some(name.to_owned()), ..Role::plain(name) })
    }

    fn start(&self, role: Role) -> Node {
        if let Some(certificate) = &role.certificate {
            self.identity(certificate);
        }
        Node::start(&Role { dir: self.0.path().to_owned(), ..role })
    }
}

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse").unwrap()
}

fn files(dir: &Path, name: &str) -> Tls {
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    Tls { ca: dir.join("ca.pem"), cert, key, issuer: None }
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Role {
    name: String,
    dir: PathBuf,
    certificate: Option<String>,
    cookie: String,
    listen: SocketAddr,
    incarnation: u64,
}

impl Role {
    fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dir: PathBuf::new(),
            certificate: None,
            cookie: "the cookie of the house, 32 bytes".to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            incarnation: 1,
        }
    }
}

struct Node {
    role: Role,
    child: Child,
    input: ChildStdin,
    says: Receiver<String>,
}

impl Node {
    fn start(role: &Role) -> Self {
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::plays_a_node"), "--nocapture", "--test-threads=1"])
            .env(ROLE, serde_json::to_string(role).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, says) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, words)) = line.split_once(SAYS) {
                    let _ = said.send(words.to_owned());
                }
            }
        });
        let input = child.stdin.take().unwrap();
        let mut node = Self { role: role.clone(), child, input, says };
        node.role.listen = node.snapshot()["listen"].as_str().unwrap().parse().unwrap();
        node
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Tells it who is in the cluster.
    fn sees(&mut self, nodes: &[&Role]) {
        let nodes: Vec<_> = nodes.iter().map(|role| (&role.name, role.listen, role.incarnation)).collect();
        self.tell(&serde_json::to_string(&nodes).unwrap());
    }

    /// Waits until it says a line that starts with `words`; the line.
    fn hear(&self, words: &str) -> String {
        let until = Instant::now() + SOON;
        loop {
            match self.says.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(words) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("`{}` did not say `{words}` in time", self.role.name),
                Err(RecvTimeoutError::Disconnected) => panic!("`{}` ended before it said `{words}`", self.role.name),
            }
        }
    }

    fn snapshot(&mut self) -> Value {
        self.tell("snapshot");
        serde_json::from_str(self.hear("{").as_str()).unwrap()
    }

    /// Waits until its snapshot shows `wanted`.
    fn shows(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + SOON;
        loop {
            let snapshot = self.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < until, "`{}` did not show {what}: {snapshot}", self.role.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two nodes with one session between them: `b` is dialled, and would refuse `a` until it knows of it.
fn linked_pair(house: &House) -> (Node, Node) {
    let (mut a, mut b) = (house.node("a"), house.node("b"));
    b.sees(&[&a.role, &b.role.clone()]);
    b.shows("the other node", |snapshot| snapshot["peers"][0]["node"] == "a");
    a.sees(&[&a.role.clone(), &b.role]);
    a.hear("notice b");
    b.hear("notice a");
    (a, b)
}

// ---- the node process ----

/// Says what the links tell.
struct Says {
    node: NodeId,
    incarnation: Incarnation,
    busy_slots: AtomicU32,
}

fn say(words: &str) {
    println!("\n{SAYS}{words}");
}

impl Hints for Says {
    fn peer_ended(&self, node: &NodeId) {
        say(&format!("ended {node}"));
    }

    fn notice(&self, from: &NodeId, notice: Notice) {
        say(&format!("notice {from} of life {} busy {}", notice.incarnation, notice.busy_slots));
    }

    fn own_notice(&self) -> Notice {
        Notice {
            node: self.node.clone(),
            incarnation: self.incarnation,
            busy_slots: self.busy_slots.load(Ordering::Relaxed),
            loaded_models: vec!["llama3.1:8b".to_owned()],
            traceparent: String::new(),
        }
    }
}

fn view(me: &NodeId, nodes: Vec<(String, SocketAddr, u64)>) -> ClusterView {
    let node = |(name, address, incarnation): (String, SocketAddr, u64)| NodeView {
        state: NodeState::Alive,
        member: Member {
            node: NodeId::new(name),
            incarnation: Incarnation(incarnation),
            peer_address: String::new(),
            actors_address: address.to_string(),
            grpc_address: String::new(),
        },
        report: None,
        heard: None,
    };
    ClusterView { nodes: nodes.into_iter().map(node).collect(), ..ClusterView::alone(me.clone()) }
}

fn connector() -> Connector {
    let privacy = Privacy { mode: Mode::LocalOnly, local_ranges: Vec::new() };
    Connector::new(Arc::new(Policy::new(&privacy).unwrap()), Audit::new())
}

#[test]
fn plays_a_node() {
    let Ok(role) = std::env::var(ROLE) else { return };
    net::install_default_provider();
    let role: Role = serde_json::from_str(&role).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(play(role));
}

async fn play(role: Role) {
    let node = NodeId::new(&role.name);
    let busy_slots = AtomicU32::new(0);
    let says = Arc::new(Says { node: node.clone(), incarnation: Incarnation(role.incarnation), busy_slots });
    let (change_view, views) = watch::channel(Arc::new(ClusterView::alone(node.clone())));
    let identity = role.certificate.map(|name| Arc::new(Identity::load(&files(&role.dir, &name)).unwrap()));
    let mut arguments = LinksArguments {
        node: node.clone(),
        listener: Listener { listen: role.listen, advertise: None },
        identity,
        connector: connector(),
        cookie: role.cookie,
        views,
        hints: says.clone(),
    };
    let (mut links, _) = Actor::spawn(Some("links".to_owned()), Links, arguments.clone()).await.unwrap();
    // The process is killed, or ends with the test that started it.
    let (heard, mut lines) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|l| heard.blocking_send(l)));
    while let Some(line) = lines.recv().await {
        if line == "snapshot" {
            let answer = links.call(LinksMessage::Snapshot, Some(SOON)).await.unwrap();
            say(&answer.unwrap());
        } else if let Some(address) = line.strip_prefix("restart ") {
            links.kill_and_wait(Some(SOON)).await.unwrap();
            arguments.listener.listen = address.parse().unwrap();
            links = Actor::spawn(Some("links".to_owned()), Links, arguments.clone()).await.unwrap().0;
        } else if let Some(slots) = line.strip_prefix("busy ") {
            says.busy_slots.store(slots.parse().unwrap(), Ordering::Relaxed);
        } else {
            change_view.send(Arc::new(view(&node, serde_json::from_str(&line).unwrap()))).unwrap();
        }
    }
    links.stop_and_wait(None, Some(SOON)).await.unwrap();
}

// ---- what is promised ----

#[test]
fn two_nodes_link_over_mutual_tls_and_tell_each_other_their_load() {
    let house = House::new();
    let (mut a, mut b) = linked_pair(&house);
    b.tell("busy 3");
    assert_eq!(a.hear("notice b of life 1 busy 3"), "notice b of life 1 busy 3");
    for node in [&mut a, &mut b] {
        let snapshot = node.snapshot();
        assert_eq!(snapshot["sessions"]["linked"], 1, "{snapshot}");
        assert_eq!(snapshot["sessions"]["opened"], 1, "{snapshot}");
    }
    assert_eq!(a.snapshot()["peers"][0]["link"]["dialled"], true);
    assert_eq!(b.snapshot()["peers"][0]["link"]["dialled"], false);
}

#[test]
fn a_node_that_dials_before_it_is_known_is_let_in_later() {
    let house = House::new();
    let (mut a, mut b) = (house.node("a"), house.node("b"));
    a.sees(&[&b.role]);
    b.shows("a refusal", |snapshot| snapshot["sessions"]["refused"].as_u64() > Some(0));
    b.sees(&[&a.role]);
    a.hear("notice b");
    b.hear("notice a");
    for node in [&mut a, &mut b] {
        let snapshot = node.snapshot();
        assert_eq!(snapshot["sessions"]["linked"], 1, "{snapshot}");
        assert_eq!(snapshot["sessions"]["now"], 1, "{snapshot}");
    }
    assert_eq!(b.snapshot()["sessions"]["opened"], 1, "what was refused was no session here");
}

#[test]
fn nodes_without_tls_link_over_loopback() {
    let house = House::new();
    let (mut a, mut b) = (house.start(Role::plain("a")), house.start(Role::plain("b")));
    a.sees(&[&b.role]);
    b.sees(&[&a.role]);
    a.hear("notice b");
    b.hear("notice a");
}

#[test]
fn a_killed_node_is_a_hint_within_a_second_and_linked_again_when_it_comes_back() {
    let house = House::new();
    for killed in ["a", "b"] {
        let (a, b) = linked_pair(&house);
        let (mut stays, mut goes) = if killed == "b" { (a, b) } else { (b, a) };
        let at = Instant::now();
        goes.child.kill().unwrap();
        stays.hear(&format!("ended {killed}"));
        assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
        goes.child.wait().unwrap();
        let mut returned =
            house.start(Role { incarnation: 2, certificate: Some(killed.to_owned()), ..goes.role.clone() });
        stays.sees(&[&returned.role]);
        returned.sees(&[&stays.role]);
        stays.hear(&format!("notice {killed} of life 2"));
        returned.hear("notice");
    }
}

#[test]
fn killed_links_start_again_from_their_arguments_and_are_linked_again() {
    let house = House::new();
    let (mut a, b) = linked_pair(&house);
    for _ in 0..3 {
        let address = a.role.listen;
        a.tell(&format!("restart {address}"));
        b.hear("ended a");
        b.hear("notice a");
        a.hear("notice b");
    }
}

#[test]
fn a_frozen_node_is_let_go_after_three_missed_answers_and_linked_again_when_it_thaws() {
    let house = House::new();
    let (mut a, b) = linked_pair(&house);
    b.signal(rustix::process::Signal::STOP);
    a.hear("ended b");
    let snapshot = a.shows("a closed session", |snapshot| snapshot["sessions"]["closed_silent"] == 1);
    assert_eq!(snapshot["sessions"]["linked"], 0, "{snapshot}");
    b.signal(rustix::process::Signal::CONT);
    b.hear("ended a");
    a.hear("notice b");
    b.hear("notice a");
}

#[test]
fn who_shows_no_certificate_or_none_of_a_member_is_refused_before_a_message_is_read() {
    let house = House::new();
    let mut b = house.node("b");
    b.sees(&[&Role { listen: "127.0.0.1:1".parse().unwrap(), ..Role::plain("a") }]);
    let roots = Roots::file(&house.0.path().join("ca.pem")).unwrap();
    let stranger = house.identity("stranger");
    let doors = [ClientTls::web(&roots, "b", &[]).unwrap(), ClientTls::node(&stranger, "b", &[]).unwrap()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let port = b.role.listen.port();
    runtime.block_on(async {
        for tls in doors {
            let stream = connector().connect_tls(Purpose::Actors, "127.0.0.1", port, SOON, &tls).await;
            // In TLS 1.3 the client is done before the server has looked at its certificate.
            let Ok(mut stream) = stream else { continue };
            let _ = stream.write_all(&[0; 64]).await;
            let mut answer = Vec::new();
            let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
            assert!(answer.is_empty(), "{read:?} {answer:?}");
        }
    });
    let snapshot = b.shows("a refusal", |snapshot| snapshot["sessions"]["refused"] == 1);
    assert_eq!(snapshot["sessions"]["opened"], 0, "{snapshot}");
}

#[test]
fn a_node_with_the_certificate_of_another_is_not_linked() {
    let house = House::new();
    let mut a = house.node("a");
    let mut wrong = house.start(Role { certificate: Some("c".to_owned()), ..Role::plain("b") });
    a.sees(&[&wrong.role]);
    wrong.sees(&[&a.role]);
    let snapshot = a.shows("failed dials", |snapshot| snapshot["peers"][0]["failures"].as_u64() > Some(1));
    assert_eq!(snapshot["sessions"]["opened"], 0, "{snapshot}");
    assert_eq!(wrong.snapshot()["sessions"]["opened"], 0);
}

#[test]
fn a_member_that_claims_to_be_another_is_let_go() {
    let house = House::new();
    let mut liar = house.start(Role { certificate: Some("a".to_owned()), ..Role::plain("aa") });
    let mut b = house.node("b");
    b.sees(&[&Role { name: "a".to_owned(), ..liar.role.clone() }, &liar.role]);
    liar.sees(&[&b.role]);
    let snapshot = b.shows("a refusal", |snapshot| snapshot["sessions"]["refused"].as_u64() > Some(0));
    assert_eq!(snapshot["sessions"]["linked"], 0, "{snapshot}");
}

#[test]
fn a_node_with_another_cookie_is_not_linked() {
    let house = House::new();
    let (mut a, mut b) = (
        house.node("a"),
        house.start(Role { cookie: "x".repeat(32), certificate: Some("b".to_owned()), ..Role::plain("b") }),
    );
    a.sees(&[&b.role]);
    b.sees(&[&a.role]);
    let snapshot = a.shows("failed dials", |snapshot| snapshot["peers"][0]["failures"].as_u64() > Some(1));
    assert_eq!(snapshot["sessions"]["linked"], 0, "{snapshot}");
}

#[tokio::test]
async fn nobody_comes_in_by_the_listener_of_ractor_cluster() {
    let house = House::new();
    let member = ClientTls::node(&house.identity("a"), "b", &[]).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = tokio_rustls::TlsAcceptor::from(wire::no_handshake().unwrap());
    let accept = async { acceptor.accept(listener.accept().await.unwrap().0).await.is_err() };
    let connector = connector();
    let dial = connector.connect_tls(Purpose::Actors, "127.0.0.1", port, SOON, &member);
    let (refused, dialled) = tokio::join!(accept, dial);
    assert!(refused && dialled.is_err());
}
