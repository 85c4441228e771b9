//! Both places where answers are kept; Redis is a real one.

#[path = "../../../../tests/src/port.rs"]
mod port;

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::time::Deadline;
use base::{AskHead, ByteSize, Dialect, Result};

use port::free_port;

use super::*;
use crate::http1::Dial;
use crate::scripted;

const TTL: Duration = Duration::from_secs(60);

fn ask(sampling: Sampling, stream: bool, body: &'static str) -> Ask {
    let plain = AskHead::plain(Dialect::OpenAiChat, Deadline::after(Instant::now(), TTL));
    let head = AskHead { stream, sampling, ..plain };
    Ask { head, body: Bytes::from_static(body.as_bytes()) }
}

fn key(body: &'static str) -> Key {
    Key::of(&ModelId::from("m"), &ask(Sampling::Deterministic, false, body)).unwrap()
}

fn answer(body: impl Into<Bytes>) -> Cached {
    Cached { body: body.into(), usage: Some(Usage::default()), finish: Some(Finish::Stop) }
}

/// A table in memory that outlives the cache on top of it.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<BTreeMap<Vec<u8>, Bytes>>>);

impl Shelf for Table {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.lock().unwrap().insert(key.to_vec(), Bytes::copy_from_slice(value));
        Ok(())
    }
    fn remove(&self, key: &[u8]) -> Result<()> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        self.0.lock().unwrap().iter().for_each(|(key, value)| each(key, value));
        Ok(())
    }
}

#[test]
fn key_differs_with_everything_that_changes_the_answer() {
    let model = ModelId::from("m");
    let keys = [
        Key::of(&model, &ask(Sampling::Deterministic, false, "{}")),
        Key::of(&model, &ask(Sampling::Deterministic, true, "{}")),
        Key::of(&model, &ask(Sampling::Deterministic, false, "{ }")),
        Key::of(&ModelId::from("m2"), &ask(Sampling::Deterministic, false, "{}")),
    ];
    let distinct: std::collections::HashSet<Key> = keys.iter().map(|key| key.unwrap()).collect();
    assert_eq!(distinct.len(), keys.len());
    assert_eq!(keys[0], Key::of(&model, &ask(Sampling::Deterministic, false, "{}")));
}

#[test]
fn ask_that_may_vary_has_no_key() {
    assert_eq!(Key::of(&ModelId::from("m"), &ask(Sampling::Varying, false, "{}")), None);
}

#[test]
fn local_answer_is_given_until_it_is_too_old() {
    let cache = LocalCache::open(Table::default(), TTL, ByteSize::mib(1)).unwrap();
    cache.put_at(&key("a"), &answer("one"), 1_000).unwrap();
    assert_eq!(cache.get_at(&key("a"), 60_999).unwrap(), Some(answer("one")));
    assert_eq!(cache.get_at(&key("b"), 1_000).unwrap(), None);
    assert_eq!(cache.get_at(&key("a"), 61_000).unwrap(), None);
    assert_eq!(cache.size(), ByteSize(0));
}

#[test]
fn oldest_local_answers_go_first_and_the_bound_holds() {
    let table = Table::default();
    let cache = LocalCache::open(table.clone(), TTL, ByteSize(2_500)).unwrap();
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        cache.put_at(&key(name), &answer(vec![b'x'; 1_000]), at as u64).unwrap();
    }
    let kept = ["a", "b", "c"].map(|name| cache.get_at(&key(name), 3).unwrap().is_some());
    assert_eq!((kept, table.0.lock().unwrap().len()), ([false, true, true], 2));
    cache.put_at(&key("d"), &answer(vec![b'x'; 3_000]), 4).unwrap();
    assert!(cache.get_at(&key("d"), 4).unwrap().is_none() && cache.size() <= ByteSize(2_500));
}

#[tokio::test]
async fn local_answers_survive_a_restart_and_damaged_ones_are_removed() {
    let table = Table::default();
    let cache = LocalCache::open(table.clone(), TTL, ByteSize::mib(1)).unwrap();
    cache.put(&key("a"), &answer("one")).await;
    cache.put_at(&key("old"), &answer("old"), 5).unwrap();
    table.put(b"odd", b"junk").unwrap();
    drop(cache);
    let cache = LocalCache::open(table.clone(), TTL, ByteSize::mib(1)).unwrap();
    assert_eq!(cache.get(&key("a")).await, Some(answer("one")));
    assert_eq!(table.0.lock().unwrap().len(), 1);
}

#[test]
fn local_answers_are_kept_in_a_table_of_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let tables = store::Local::open(dir.path()).unwrap().store;
        LocalCache::open(tables.table("answers").unwrap(), TTL, ByteSize::mib(1)).unwrap()
    };
    let cache = open();
    let now = base::time::unix_ms();
    cache.put_at(&key("a"), &answer("one"), now).unwrap();
    drop(cache);
    assert_eq!(open().get_at(&key("a"), now).unwrap(), Some(answer("one")));
}

/// A real server on a port of the kernel's choice; ended by its own handle.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(port: Option<u16>) -> Self {
        Self::with(port, &[])
    }

    fn with(port: Option<u16>, more: &[&str]) -> Self {
        let port = port.unwrap_or_else(|| free_port().unwrap());
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(port.to_string())
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn redis(port: u16) -> RedisCache {
    RedisCache::new(&format!("redis://127.0.0.1:{port}/0"), None, dial(port), TTL).unwrap()
}

fn dial(port: u16) -> Dial {
    scripted::dial(([127, 0, 0, 1], port).into())
}

/// Writes and reads until the answer is given; nothing waits for Redis, so neither does the first call.
async fn wait_for_hit(cache: &RedisCache, key: &Key) {
    let until = Instant::now() + Duration::from_secs(20);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while cache.get(key).await != Some(answer("one")) {
        assert!(Instant::now() < until, "no hit in time");
        cache.put(key, &answer("one")).await;
        tick.tick().await;
    }
}

#[tokio::test]
async fn redis_gives_what_it_was_given_also_after_a_restart_of_it() {
    let server = Server::start(None);
    let port = server.port;
    let cache = redis(port);
    wait_for_hit(&cache, &key("a")).await;
    assert_eq!(cache.get(&key("b")).await, None);
    drop(server);
    assert_eq!(cache.get(&key("a")).await, None);
    let _server = Server::start(Some(port));
    wait_for_hit(&cache, &key("a")).await;
}

#[tokio::test]
async fn redis_with_a_password_is_told_the_one_of_the_file_and_not_the_one_of_the_url() {
    let server = Server::with(None, &["--requirepass", "right"]);
    let url = format!("redis://:wrong@127.0.0.1:{}/0", server.port);
    let cache = RedisCache::new(&url, Some("right"), dial(server.port), TTL).unwrap();
    wait_for_hit(&cache, &key("a")).await;
}

#[tokio::test]
async fn frozen_redis_costs_one_ask_its_patience_and_the_others_nothing() {
    const ASKS: u32 = 50;
    let server = Server::start(None);
    let cache = redis(server.port);
    wait_for_hit(&cache, &key("a")).await;
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let asked = Instant::now();
    for _ in 0..ASKS {
        assert_eq!(cache.get(&key("a")).await, None);
    }
    assert!(asked.elapsed() < Duration::from_millis(50) * ASKS / 2, "{:?}", asked.elapsed());
}

#[test]
fn address_that_is_no_redis_is_refused() {
    assert!(RedisCache::new("http://127.0.0.1", None, dial(1), TTL).is_err());
}

#[tokio::test]
async fn redis_that_is_away_is_a_miss() {
    let cache = redis(free_port().unwrap());
    cache.put(&key("a"), &answer("one")).await;
    assert_eq!(cache.get(&key("a")).await, None);
}
