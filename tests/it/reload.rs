//! A running node whose configuration changes: what is good and can change at once does, what is wrong changes nothing, and
//! no ask that runs is harmed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use proto::admin::{ReloadRequest, ReloadResponse};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::client::Told;
use tests::process::binary;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use toml::{Table, Value as Toml};

use crate::lab::{Face, Lab, Node, SOON, Setup, bounded, pieces, until};
use crate::load::Load;

/// Streams that run while a worker changes.
const STREAMS: usize = 12;
/// Mutated files, at least.
const FILES: usize = 200;

/// Everything that can be written down.
const WHOLE: &str = include_str!("../../crates/base/src/config/changes/one.toml");

async fn reload(node: &Node) -> Result<ReloadResponse, tonic::Status> {
    Ok(node.admin().reload(ReloadRequest::default()).await?.into_inner())
}

/// Changes the text of a node's file.
fn edit(node: &Node, change: impl FnOnce(String) -> String) {
    let before = fs::read_to_string(node.config()).unwrap();
    let after = change(before.clone());
    assert_ne!(before, after, "the edit changes nothing");
    fs::write(node.config(), after).unwrap();
}

fn worker(name: &str, url: &str, slots: u32) -> String {
    format!("[[workers]]\nname = \"{name}\"\nbackend = \"llamacpp\"\nurl = \"{url}\"\nslots = {slots}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_change_at_once_does_and_the_rest_is_named() {
    let mut lab = Lab::single();
    let (first, second) =
        (lab.engine("llamacpp", &["--token", "1ms"]).await, lab.engine("llamacpp", &["--token", "1ms"]).await);
    lab.node(Setup::new("a").worker("engine", "llamacpp", &first)).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    let unchanged = reload(node).await.unwrap();
    assert_eq!((unchanged.live.len(), unchanged.restart.len(), unchanged.faults.len()), (0, 0, 0), "{unchanged:?}");
    edit(node, |text| {
        text.replace("[[models]]\nname = \"fake\"\n", "[[models]]\nname = \"fake\"\naliases = [\"other-name\"]\n")
            + &worker("second", &second, 3)
            + "[roles]\nfast = [\"fake\"]\n[limits]\nbody = \"1MiB\"\nfirst_token = \"50s\"\nheader = \"300ms\"\n[telemetry]\nlog = \"debug\"\n"
    });
    let told = reload(node).await.unwrap();
    assert_eq!(
        told.live,
        ["workers.second", "models", "roles", "limits.first_token", "limits.header", "telemetry.log"]
    );
    assert_eq!((told.restart.as_slice(), told.faults.len()), (["limits.body".to_owned()].as_slice(), 0));
    lab.workers_are(0, "ready", 2).await;
    for name in ["other-name", "fast"] {
        let body = json!({"model": name, "messages": [{"role": "user", "content": "hi"}]});
        until(&format!("{name} is answered"), SOON, async || {
            node.client.post_json("/v1/chat/completions", &body).await.is_ok_and(|reply| reply.status == 200)
        })
        .await;
    }
    let second = node.worker("a/second").await.unwrap();
    assert_eq!(second.slots, 3);
    // A client that does not come to the end of its headers is let go sooner.
    let (mut slow, mut rest) = (TcpStream::connect(&node.http).await.unwrap(), Vec::new());
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    bounded("the end of a slow client", Duration::from_secs(5), slow.read_to_end(&mut rest)).await.unwrap();
    until("it logs at debug", SOON, async || node.child.stderr().contains(" DEBUG ")).await;
    // Pages of other origins may call from now on, and the mode of the file holds where nobody has set one.
    let page = node.client.clone().with_header("origin", "http://elsewhere.example");
    assert_eq!(page.get("/v1/models").await.unwrap().status, 403);
    edit(node, |text| {
        text.replace("[http]\n", "[http]\nallowed_origins = [\"http://elsewhere.example\"]\n")
            + "[privacy]\nmode = \"hybrid\"\nlocal_ranges = [\"100.64.0.0/10\"]\n"
    });
    let told = reload(node).await.unwrap();
    assert_eq!(told.live, ["http.allowed_origins", "privacy.mode", "privacy.local_ranges"]);
    assert_eq!((page.get("/v1/models").await.unwrap().status, node.mode().await.unwrap()), (200, "hybrid".to_owned()));
    node.set_mode("local-preferred").await.unwrap();
    edit(node, |text| text.replace("\"hybrid\"", "\"local-only\""));
    reload(node).await.unwrap();
    assert_eq!(node.mode().await.unwrap(), "local-preferred", "what the owner has set stays");
    // A signal does the same as the call, and what waits for a start is told again.
    edit(node, |text| text.replace("slots = 3", "slots = 5"));
    node.child.signal(Signal::HUP).unwrap();
    until("the worker has other slots", SOON, async || {
        node.worker("a/second").await.is_some_and(|worker| worker.slots == 5 && worker.state == "ready")
    })
    .await;
    assert!(node.child.stderr().contains("limits.body"), "{}", node.child.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_that_run_at_a_worker_that_changes_or_goes_come_to_their_end() {
    let mut lab = Lab::single();
    let slow = ["--token", "30ms"];
    let (first, second) = (lab.engine("llamacpp", &slow).await, lab.engine("llamacpp", &slow).await);
    lab.node(Setup::new("a").worker("engine", "llamacpp", &first)).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    let begin = async |round: &str| {
        let mut streams = JoinSet::new();
        for at in 0..STREAMS {
            let prompt = format!("{round} {at}");
            let mut stream = node.client.stream("/v1/chat/completions", &Face::Chat.body(&prompt)).await.unwrap();
            let mut told = Told::new(stream.status);
            pieces(&mut stream, &mut told, 1).await;
            streams.spawn(async move {
                stream.tell(&mut told).await;
                (prompt, told)
            });
        }
        streams
    };
    let all_are_whole = async |streams: JoinSet<(String, Told)>| {
        for (prompt, told) in streams.join_all().await {
            assert!(told.is_good(), "{prompt}: {told:?}");
            assert_eq!(told.text, Face::Chat.answer(&prompt));
        }
    };
    let load = Load::start(&[lab.http(0)]);
    let streams = begin("changes").await;
    edit(node, |text| text.replace("slots = 64", "slots = 32"));
    assert_eq!(reload(node).await.unwrap().live, ["workers.engine"]);
    until("it has other slots", SOON, async || node.worker("a/engine").await.is_some_and(|one| one.slots == 32)).await;
    load.goes_on(10).await;
    all_are_whole(streams).await;
    // Another worker with the same model comes, and the first one goes.
    edit(node, |text| text + &worker("second", &second, 32));
    reload(node).await.unwrap();
    lab.workers_are(0, "ready", 2).await;
    let streams = begin("goes").await;
    edit(node, |text| text.replace(&worker("engine", &first, 32), ""));
    assert_eq!(reload(node).await.unwrap().live, ["workers.engine"]);
    until("it is gone", SOON, async || node.worker("a/engine").await.is_none()).await;
    load.goes_on(10).await;
    all_are_whole(streams).await;
    let answered = load.stop().await;
    assert!(answered.iter().any(|(_, worker)| worker == "a/second"), "{answered:?}");
    let actors = node.actors().await.unwrap();
    let names: Vec<_> = actors.iter().filter(|actor| actor.supervisor == "workers").map(|actor| &*actor.name).collect();
    assert_eq!(names, ["worker/second"]);
    assert_eq!(node.metric("tm_actor_restarts_total").await, 0.0, "an exchange is no restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_the_node_starts_is_exchanged_once_it_is_idle() {
    let mut lab = Lab::single();
    let port = tests::port::free_port().unwrap();
    let program = binary("fake-engine").unwrap();
    let command = |tokens: u32| {
        let listen = format!("127.0.0.1:{port}");
        let tokens = tokens.to_string();
        let all = [
            program.to_str().unwrap(),
            "--listen",
            &listen,
            "--speak",
            "llamacpp",
            "--token",
            "20ms",
            "--tokens",
            &tokens,
        ];
        format!("command = {:?}", all)
    };
    let url = format!("http://127.0.0.1:{port}");
    lab.node(Setup::new("a").worker_with("own", "llamacpp", &url, &command(60))).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    let mut stream = node.client.stream("/v1/chat/completions", &Face::Chat.body("to the end")).await.unwrap();
    let mut told = Told::new(stream.status);
    pieces(&mut stream, &mut told, 1).await;
    edit(node, |text| text.replace(&command(60), &command(7)));
    assert_eq!(reload(node).await.unwrap().live, ["workers.own"]);
    stream.tell(&mut told).await;
    assert!(told.is_good() && told.text == Face::Chat.answer("to the end"), "{told:?}");
    until("the next engine answers", SOON, async || {
        let told = node.client.ask("/v1/chat/completions", &Face::Chat.body("and now")).await;
        told.is_ok_and(|told| told.is_good() && told.pieces <= 8)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_changes_nothing_and_every_fault_is_told_by_call_command_and_log() {
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    edit(node, |text| text.replace("slots = 64", "slots = 0") + "[roles]\nchief = [\"m\"]\n");
    let told = reload(node).await.unwrap();
    let fields: Vec<_> = told.faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!((fields.as_slice(), told.live.len()), (["workers.engine.slots", "roles.chief"].as_slice(), 0));
    assert!(told.faults.iter().all(|fault| !fault.hint.is_empty()), "{told:?}");
    let shown = node.tmctl(&["node", "reload"]).await;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(1), "{text}");
    assert!(text.contains("workers.engine.slots = 0") && text.contains("hint: "), "{text}");
    assert!(node.child.stderr().contains("roles.chief"), "{}", node.child.stderr());
    assert_eq!(node.worker("a/engine").await.unwrap().slots, 64);
    // A file that is gone, a secret that is not there, a filter that is none: refused as well.
    edit(node, |text| text.replace("slots = 0", "slots = 9\nkey_file = \"gone\"").replace("chief", "main"));
    let field = async || reload(node).await.unwrap().faults.into_iter().map(|fault| fault.field).collect::<Vec<_>>();
    assert_eq!(field().await, ["workers.engine.key_file"]);
    edit(node, |text| text.replace("key_file = \"gone\"\n", "") + "[telemetry]\nlog = \"a=b=c\"\n");
    assert_eq!(field().await, ["telemetry.log"]);
    assert_eq!(node.worker("a/engine").await.unwrap().slots, 64, "one that is refused is refused as a whole");
    let kept = fs::read_to_string(node.config()).unwrap();
    fs::remove_file(node.config()).unwrap();
    assert!(reload(node).await.unwrap_err().message().contains("could not read"));
    fs::write(node.config(), kept.replace("a=b=c", "info")).unwrap();
    let output = node.done(&["--json", "node", "reload", "a"]).await;
    let shown: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(shown["live"], json!(["workers.engine", "roles",]), "{shown}");
    until("it has other slots", SOON, async || node.worker("a/engine").await.is_some_and(|one| one.slots == 9)).await;
    let unknown = node.tmctl(&["node", "reload", "nobody"]).await;
    assert_eq!(unknown.status.code(), Some(1));
}

/// A file with one thing wrong, and the key that must be named.
struct Mutated {
    text: String,
    key: String,
    how: String,
}

/// The paths of everything that can be changed: keys, and places in lists of tables.
fn leaves(path: &[String], value: &Toml, all: &mut Vec<Vec<String>>) {
    let below = |step: String| [path, &[step]].concat();
    match value {
        Toml::Table(table) => table.iter().for_each(|(key, value)| leaves(&below(key.clone()), value, all)),
        Toml::Array(list) if !list.is_empty() && list.iter().all(Toml::is_table) => {
            list.iter().enumerate().for_each(|(at, value)| leaves(&below(at.to_string()), value, all));
        }
        _ => all.push(path.to_owned()),
    }
}

fn at<'a>(value: &'a mut Toml, path: &[String]) -> &'a mut Toml {
    path.iter().fold(value, |value, step| match value {
        Toml::Array(list) => &mut list[step.parse::<usize>().unwrap()],
        other => &mut other[step.as_str()],
    })
}

/// A good file that says everything; the files that it names are in `dir`.
fn whole(dir: &Path) -> Toml {
    for name in ["one", "one.pem", "one.key"] {
        // As a secret, and as the key of the store.
        fs::write(dir.join(name), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mut whole: Table = WHOLE.parse().unwrap();
    // What is in this file is checked as well, and whether the build has the other.
    whole["hooks"]["github"].as_table_mut().unwrap().remove("mapping");
    whole["research"].as_table_mut().unwrap().remove("qdrant");
    Toml::Table(whole)
}

fn mutations(good: &Toml) -> Vec<Mutated> {
    let mut all = Vec::new();
    let mut mutated = |how: &str, path: &[String], change: &dyn Fn(&mut Toml, &str)| {
        let (key, parent) = path.split_last().unwrap();
        let mut file = good.clone();
        change(at(&mut file, parent), key);
        let text = toml::to_string(&file).unwrap();
        all.push(Mutated { text, key: key.clone(), how: format!("{how} at {}", path.join(".")) });
    };
    let mut paths = Vec::new();
    leaves(&[], good, &mut paths);
    let table = Toml::Table([("a".to_owned(), Toml::Integer(1))].into_iter().collect());
    for path in &paths {
        mutated("a table", path, &|parent, key| parent[key] = table.clone());
        // A trigger may take one of a hundred asks away from home.
        if path.last().is_some_and(|key| key != "to") {
            mutated("-1", path, &|parent, key| parent[key] = Toml::Integer(-1));
        }
        mutated("an unknown key", path, &|parent, key| {
            let parent = parent.as_table_mut().unwrap();
            let value = parent.remove(key).unwrap();
            parent.insert(format!("{key}q"), value);
        });
        if path.last().is_some_and(|key| key == "listen") {
            for bad in ["127.0.0.1:99999", "127.0.0.1:", "nowhere", ":::1"] {
                mutated(bad, path, &|parent, key| parent[key] = Toml::String(bad.to_owned()));
            }
        }
        let is_secret = path.last().is_some_and(|key| {
            ["password_file", "key_file", "ca", "cert", "key", "issuer_cert", "issuer_key"].contains(&key.as_str())
        });
        if is_secret {
            mutated("a file that is not there", path, &|parent, key| parent[key] = Toml::String("gone".to_owned()));
        }
    }
    // There are no includes: one that is written is a key that nobody knows.
    for key in ["include", "includes", "import"] {
        let text = format!("{key} = [\"tmd.toml\"]\n{}", toml::to_string(good).unwrap());
        all.push(Mutated { text, key: key.to_owned(), how: format!("an {key}") });
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_wrong_files_are_each_refused_by_the_check_and_by_a_node_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let good = whole(dir.path());
    let path = dir.path().join("tmd.toml");
    let check = |text: &str| {
        fs::write(&path, text).unwrap();
        Command::new(binary("tmd").unwrap()).arg("check").arg("--config").arg(&path).output().unwrap()
    };
    let first = check(&toml::to_string(&good).unwrap());
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let mut lab = Lab::single();
    let url = lab.engine("llamacpp", &["--token", "1ms"]).await;
    lab.node(Setup::new("a").worker("engine", "llamacpp", &url)).await;
    lab.workers_are(0, "ready", 1).await;
    let node = &lab.nodes[0];
    // The names in the mutated files count from their folder.
    for name in ["one", "one.pem", "one.key"] {
        fs::copy(dir.path().join(name), node.config().with_file_name(name)).unwrap();
    }
    let (mutations, mut wrong) = (mutations(&good), Vec::new());
    assert!(mutations.len() >= FILES, "{}", mutations.len());
    for Mutated { text, key, how } in &mutations {
        let checked = check(text);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        let names =
            |field: &str| field.rsplit('.').next().is_some_and(|last| last == key || *last == format!("{key}q"));
        let is_told = said.lines().any(|line| names(line.split([' ', ':']).next().unwrap_or_default()));
        if checked.status.code() != Some(2) || !is_told || !said.contains("hint: ") || said.contains("panicked") {
            wrong.push(format!("check of {how}: {:?} {said}", checked.status));
        }
        fs::write(node.config(), text).unwrap();
        match reload(node).await {
            Ok(told) if told.live.is_empty() && told.faults.iter().any(|fault| names(&fault.field)) => {}
            other => wrong.push(format!("reload of {how}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), mutations.len(), wrong.join("\n"));
    let told = node.client.ask("/v1/chat/completions", &Face::Chat.body("still here?")).await.unwrap();
    assert_eq!(told.text, Face::Chat.answer("still here?"), "{told:?}");
    assert_eq!(node.worker("a/engine").await.unwrap().slots, 64);
    assert_eq!(node.metric("tm_actor_restarts_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reloads_another_by_name_unless_that_one_is_of_a_release_that_cannot() {
    let mut lab = Lab::cluster().await;
    lab.node(Setup::new("a")).await;
    lab.node(Setup::new("b")).await;
    lab.nodes_are(0, "alive", &["a", "b"], SOON).await;
    edit(&lab.nodes[1], |text| text + "[roles]\nfast = [\"fake\"]\n");
    let told = lab.nodes[0].done(&["node", "reload", "b"]).await;
    assert!(told.contains("b goes by its new configuration: roles"), "{told}");
    lab.nodes[1].child.terminate().unwrap();
    lab.nodes[1].child.wait(Duration::from_secs(20)).await.unwrap();
    lab.nodes[1].again_with(&["--as-version", "0.0.9", "--without-feature", "reload"]).await;
    let version = async || {
        let nodes = lab.nodes[0].nodes().await.unwrap_or_default();
        nodes.into_iter().find(|node| node.name == "b" && node.state == "alive").map(|node| node.version)
    };
    until("b is of another release", SOON, async || version().await.as_deref() == Some("0.0.9")).await;
    let refused = lab.nodes[0].tmctl(&["node", "reload", "b"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("runs release 0.0.9") && said.contains("hint: "), "{said}");
    let log = lab.nodes[1].child.stderr();
    assert!(!log.contains("was read again"), "it was not asked: {log}");
}
