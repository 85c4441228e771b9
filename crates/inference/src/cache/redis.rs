//! The cache that all nodes share, in Redis. A Redis that is away or slow is a miss, and costs an ask next to nothing.
//! Where encryption is on, it gets sealed answers under hashes, and an answer that is not is a miss.
//!
//! One task owns the connection for as long as it lives. An ask that finds none starts that task and does not wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base::{BoxFuture, Fault, Result, time};
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{IntoConnectionInfo, RedisConnectionInfo, RedisError};
use store::Seal;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{AnswerCache, Cached, Key, MOST_ENTRY_BYTES, entry};
use crate::http1::Dial;

/// An answer of Redis that takes longer is not worth waiting for.
const PATIENCE: Duration = Duration::from_millis(50);
/// Bound on opening a connection, which no ask waits for.
const CONNECT: Duration = Duration::from_secs(2);
/// Between attempts to open one.
const RETRY: Duration = Duration::from_secs(1);

/// Answers in Redis.
pub struct RedisCache {
    shared: Arc<Shared>,
    ttl: Duration,
    seal: Seal,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Shared {
    settings: RedisConnectionInfo,
    dial: Dial,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    /// The guard ends the task that drives it.
    connection: Option<(MultiplexedConnection, DropGuard)>,
    retry_at: Option<Instant>,
}

impl RedisCache {
    /// The Redis behind `dial`, with the database, user and password of `url`, or another `password`. Connects when it is
    /// first used.
    pub fn new(url: &str, password: Option<&str>, dial: Dial, ttl: Duration) -> Result<Self> {
        let info = url.into_connection_info().map_err(|error| {
            let message = format!("`{url}` is no address of a Redis");
            Fault::invalid(message).because(error).hint("write it like redis://127.0.0.1:6379")
        })?;
        let settings = info.redis_settings().clone();
        let settings = match password {
            Some(password) => settings.set_password(password),
            None => settings,
        };
        let shared = Shared { settings, dial, link: Mutex::default() };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Ok(Self { shared: Arc::new(shared), ttl, seal: Seal::default(), tasks, stop })
    }

    /// This one, with answers sealed where `seal` is on.
    pub fn sealed(mut self, seal: Seal) -> Self {
        self.seal = seal;
        self
    }

    /// What is kept as it is written and read.
    fn opened(&self, key: &Key, found: Vec<u8>) -> Option<Bytes> {
        match self.seal.is_on() {
            true => self.seal.open(name(key).as_bytes(), &found).ok().map(Bytes::from),
            false => Some(found.into()),
        }
    }

    /// The connection, if there is one; if not, opening one is begun at most every [`RETRY`].
    fn connection(&self) -> Option<MultiplexedConnection> {
        let now = Instant::now();
        let mut link = self.shared.link();
        if let Some((connection, _)) = &link.connection {
            return Some(connection.clone());
        }
        if link.retry_at.is_none_or(|at| at <= now) {
            link.retry_at = Some(now + CONNECT.max(RETRY));
            let (shared, stop) = (self.shared.clone(), self.stop.clone());
            self.tasks.spawn(async move { stop.run_until_cancelled(shared.serve()).await });
        }
        None
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut connection = self.connection()?;
        match tokio::time::timeout(PATIENCE, command.query_async(&mut connection)).await {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => tracing::debug!(%error, "Redis refused"),
            Err(_) => tracing::debug!("Redis did not answer in time"),
        }
        // Whatever it was: the asks of the next moment do not wait for this Redis.
        self.shared.hang_up();
        None
    }
}

impl Drop for RedisCache {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl AnswerCache for RedisCache {
    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Option<Cached>> {
        Box::pin(async {
            let found: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg(name(key))).await?;
            entry::read(self.opened(key, found?)?).map(|entry| entry.answer)
        })
    }

    fn put<'a>(&'a self, key: &'a Key, answer: &'a Cached) -> BoxFuture<'a, ()> {
        Box::pin(async {
            let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
            if answer.body.len() > MOST_ENTRY_BYTES || ttl_ms == 0 {
                return;
            }
            let mut value = entry::write(time::unix_ms(), answer);
            if self.seal.is_on() {
                match self.seal.seal(name(key).as_bytes(), &value) {
                    Ok(sealed) => value = sealed,
                    Err(error) => return tracing::warn!(%error, "an answer is not kept"),
                }
            }
            self.ask::<()>(redis::cmd("SET").arg(name(key)).arg(value).arg("PX").arg(ttl_ms)).await;
        })
    }
}

impl Shared {
    /// Opens a connection, offers it, and drives it to its end.
    async fn serve(self: Arc<Self>) {
        let opened = tokio::time::timeout(CONNECT, self.open()).await;
        match opened {
            Ok(Ok((connection, driver))) => {
                tracing::info!("connected to Redis");
                let over = CancellationToken::new();
                let guard = over.clone().drop_guard();
                *self.link() = Link { connection: Some((connection, guard)), retry_at: None };
                if over.run_until_cancelled(driver).await.is_some() {
                    self.hang_up();
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "Redis cannot be reached"),
            Err(_) => tracing::debug!("Redis cannot be reached in time"),
        }
    }

    async fn open(&self) -> Result<(MultiplexedConnection, impl Future<Output = ()>)> {
        let stream = (self.dial)().await?;
        let opened = MultiplexedConnection::new(&self.settings, stream).await;
        opened.map_err(|error: RedisError| Fault::unavailable("could not greet Redis").because(error))
    }

    fn hang_up(&self) {
        *self.link() = Link { connection: None, retry_at: Some(Instant::now() + RETRY) };
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // Every value of it is a valid one.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(key: &Key) -> String {
    format!("tm:answer:{key}")
}
