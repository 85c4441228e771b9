//! The members of an etcd cluster and how to call them: one client each, the last good one first, the next one when it
//! does not answer, rounds with a pause until the deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::config::Etcd;
use etcd_client::{Client, ConnectOptions, KvClient, WatchClient};
use tokio::sync::OnceCell;
use tonic::{Code, Status};

use crate::{LeaseId, Result, StoreError};

/// A channel to one member.
pub type Channel = tonic::transport::Channel;

/// Makes the channel to a member from its URL; lazily connected, so only a URL that means nothing is a fault.
pub type Dial = Arc<dyn Fn(&str) -> base::Result<Channel> + Send + Sync>;

/// Before all members are tried once more.
const PAUSE: Duration = Duration::from_millis(50);

/// A member that hangs leaves time for at least this many others within a call's deadline.
const TRIES_PER_CALL: u32 = 3;

/// No answer is too large to read: a limit would only turn a legal answer into one that fails for ever.
const LARGEST_ANSWER: usize = 1 << 30;

/// All members of the cluster.
pub(super) struct Members {
    members: Vec<Member>,
    preferred: AtomicUsize,
    options: ConnectOptions,
    timeout: Duration,
}

struct Member {
    channel: Channel,
    client: OnceCell<Client>,
}

/// Why one attempt at one member failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request never left; it is safe to repeat anything.
    NotSent(String),
    /// No answer, or one that leaves open whether the request had an effect.
    NoAnswer(String),
    /// The cluster's own answer; another member would say the same.
    Answered(StoreError),
}

impl Members {
    pub fn new(config: &Etcd, dial: &Dial) -> Result<Self> {
        // A member that has lost the others says so, instead of serving streams on which nothing ever happens.
        let mut options = ConnectOptions::new().with_auto_token_refresh(true).with_require_leader(true);
        if let Some((user, file)) = &config.user {
            let password = std::fs::read_to_string(file)
                .map_err(|error| StoreError::failed(format!("could not read `{}`: {error}", file.display())))?;
            options = options.with_user(user, password.trim_end());
        }
        if config.endpoints.is_empty() {
            return Err(StoreError::invalid("no etcd endpoint is given"));
        }
        let member = |url: &String| {
            let channel = dial(url).map_err(|fault| StoreError::invalid(fault.full_message()))?;
            Ok(Member { channel, client: OnceCell::new() })
        };
        Ok(Self {
            members: config.endpoints.iter().map(member).collect::<Result<_>>()?,
            preferred: AtomicUsize::new(0),
            options,
            timeout: config.timeout,
        })
    }

    /// Calls members in turn until one answers. Only for calls that are safe to repeat.
    pub async fn call<T, Fut>(&self, deadline: Instant, call: impl Fn(Client) -> Fut) -> Result<T>
    where
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut tries = self.tries(deadline);
        let mut why = "no time was left".to_owned();
        while let Some((member, limit)) = tries.next().await {
            match self.attempt(member, limit, &call).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Answered(error)) => return Err(error),
                Err(Failure::NotSent(cause) | Failure::NoAnswer(cause)) => why = cause,
            }
        }
        Err(StoreError::Unavailable { why })
    }

    /// One attempt at one member, which is preferred from now on if it answers.
    pub async fn attempt<T, Fut>(
        &self,
        member: usize,
        limit: Duration,
        call: impl Fn(Client) -> Fut,
    ) -> Result<T, Failure>
    where
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let attempt = async {
            let client = self.client(member).await?;
            match call(client.clone()).await {
                // Streams meet a token that has expired without the client library noticing.
                Err(error) if is_stale_token(&error) => {
                    client.refresh_token().await?;
                    call(client).await
                }
                answer => answer,
            }
        };
        match tokio::time::timeout(limit, attempt).await {
            Ok(Ok(answer)) => {
                self.preferred.store(member, Ordering::Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) => Err(classify(error)),
            Err(_) => Err(Failure::NoAnswer(format!("no answer within {limit:?}"))),
        }
    }

    /// Whom to try in which order until `deadline`.
    pub fn tries(&self, deadline: Instant) -> Tries {
        let limit = if self.members.len() == 1 { self.timeout } else { self.timeout / TRIES_PER_CALL };
        let first = self.preferred.load(Ordering::Relaxed);
        Tries { first, count: self.members.len(), tried: 0, deadline, limit }
    }

    /// The member that answered last.
    pub fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Begins with another member than `member` from now on.
    pub fn avoid(&self, member: usize) {
        self.preferred.store((member + 1) % self.members.len(), Ordering::Relaxed);
    }

    async fn client(&self, member: usize) -> Result<Client, etcd_client::Error> {
        let Some(member) = self.members.get(member) else {
            return Err(etcd_client::Error::EndpointError("no such member".to_owned()));
        };
        let channel = etcd_client::Channel::Tonic(member.channel.clone());
        let connect = || Client::from_channel(channel, Some(self.options.clone()));
        member.client.get_or_try_init(connect).await.cloned()
    }
}

/// The order of attempts of one call.
pub(super) struct Tries {
    first: usize,
    count: usize,
    tried: usize,
    deadline: Instant,
    limit: Duration,
}

impl Tries {
    /// The next member and how long it may take; `None` at the deadline.
    pub async fn next(&mut self) -> Option<(usize, Duration)> {
        if self.tried > 0 && self.tried.is_multiple_of(self.count) {
            tokio::time::sleep(PAUSE.min(self.left())).await;
        }
        let left = self.left();
        let member = (self.first + self.tried) % self.count;
        self.tried += 1;
        (!left.is_zero()).then(|| (member, left.min(self.limit)))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The part of `client` for keys and values.
pub(super) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(LARGEST_ANSWER)
}

/// The part of `client` for watches.
pub(super) fn watches(client: &Client) -> WatchClient {
    client.watch_client().max_decoding_message_size(LARGEST_ANSWER)
}

fn is_stale_token(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.code() == Code::Unauthenticated)
}

/// What an error of the client library means for the one who called.
fn classify(error: etcd_client::Error) -> Failure {
    use etcd_client::Error;
    match error {
        Error::GRpcStatus(status) => classify_status(&status),
        // The library's words for an answer with TTL 0.
        Error::LeaseKeepAliveError(_) => Failure::Answered(StoreError::LeaseLost { lease: LeaseId(0) }),
        Error::TransportError(error) => Failure::NotSent(error.to_string()),
        Error::EndpointError(why) | Error::WatchError(why) => Failure::NoAnswer(why),
        error => Failure::Answered(StoreError::failed(error)),
    }
}

fn classify_status(status: &Status) -> Failure {
    let why = match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    };
    match status.code() {
        Code::Unavailable | Code::Unknown if never_connected(status) => Failure::NotSent(why),
        Code::Unavailable if why.contains("no leader") => Failure::NotSent(why),
        // A full database says so; other exhaustion ("too many requests") passes.
        Code::ResourceExhausted if why.contains("space exceeded") => {
            let hint =
                "compact and defragment etcd, then `etcdctl alarm disarm`; `--quota-backend-bytes` gives it more room";
            Failure::Answered(StoreError::Full { why, hint })
        }
        Code::Unauthenticated | Code::PermissionDenied => Failure::Answered(StoreError::Denied { why }),
        Code::InvalidArgument if why.contains("user") || why.contains("password") => {
            Failure::Answered(StoreError::Denied { why })
        }
        Code::InvalidArgument => Failure::Answered(StoreError::Invalid { why }),
        Code::NotFound if why.contains("lease") => Failure::Answered(StoreError::LeaseLost { lease: LeaseId(0) }),
        Code::FailedPrecondition | Code::NotFound | Code::OutOfRange | Code::Unimplemented => {
            Failure::Answered(StoreError::Failed { why })
        }
        _ => Failure::NoAnswer(why),
    }
}

fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
