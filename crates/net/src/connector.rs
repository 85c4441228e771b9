//! The one place that dials. Resolve, judge every address, dial only what passed, leave a line in the audit.
//!
//! The address that was judged is the address that is dialled: a name that changes its mind between the two (DNS
//! rebinding) gains nothing. Clones are cheap and share the policy, so a switched mode holds for all of them. What comes
//! back counts its bytes, and tells the audit when it ends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::config::Mode;
use base::{Code, Fault, Result};
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::audit::{Audit, Entry, Event, reason};
use crate::outgoing::Outgoing;
use crate::policy::{Policy, Purpose, Verdict};
use crate::resolve::Resolver;
use crate::tls::{ClientStream, ClientTls};

/// A silent connection is probed after this long, then every [`PROBE_EVERY`], [`PROBES`] times.
const PROBE_AFTER: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBES: u32 = 3;

/// Sent bytes that nobody acknowledges for this long end the connection: a pulled cable is noticed within seconds, not
/// after the kernel's 15 minutes of retransmission.
const UNACKNOWLEDGED_MS: u32 = 10_000;

/// Dials for the whole program.
#[derive(Clone)]
pub struct Connector {
    inner: Arc<Inner>,
    /// The setting that names what is dialled; empty where an ask or a document does.
    setting: Arc<str>,
}

struct Inner {
    policy: Arc<Policy>,
    audit: Audit,
    resolver: Resolver,
}

impl Connector {
    /// A connector that obeys `policy` and reports to `audit`.
    pub fn new(policy: Arc<Policy>, audit: Audit) -> Self {
        Self::with_resolver(policy, audit, Resolver::system())
    }

    pub(crate) fn with_resolver(policy: Arc<Policy>, audit: Audit, resolver: Resolver) -> Self {
        Self { inner: Arc::new(Inner { policy, audit, resolver }), setting: "".into() }
    }

    /// The same connector, for what this setting names: it stands in the audit as the reason.
    pub fn set_by(&self, setting: &str) -> Self {
        Self { inner: self.inner.clone(), setting: setting.into() }
    }

    /// The rule that it obeys.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.inner.policy
    }

    /// The record that it writes.
    pub fn audit(&self) -> &Audit {
        &self.inner.audit
    }

    /// A connection to `host:port`; `timeout` covers everything.
    pub async fn connect(&self, purpose: Purpose, host: &str, port: u16, timeout: Duration) -> Result<Outgoing> {
        self.dial(&self.dial_of(purpose, host, port, timeout)).await
    }

    /// A TLS connection to `host:port` whose certificate `tls` accepts; `timeout` covers everything, the handshake too.
    pub async fn connect_tls(
        &self,
        purpose: Purpose,
        host: &str,
        port: u16,
        timeout: Duration,
        tls: &ClientTls,
    ) -> Result<ClientStream> {
        let dial = self.dial_of(purpose, host, port, timeout);
        let stream = self.dial(&dial).await?;
        match timeout_at(dial.deadline, tls.handshake(stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(tls.explain(&error, purpose, &format!("{host}:{port}"))),
            Err(_) => Err(dial.too_late("did not finish its TLS handshake")),
        }
    }

    /// Judged addresses of `host:port`, for a library that can only dial itself; each counts as dialled.
    pub async fn checked_addresses(
        &self,
        purpose: Purpose,
        host: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>> {
        let dial = self.dial_of(purpose, host, port, timeout);
        let judged = self.judged(&dial).await?;
        for (address, verdict) in &judged {
            let entry = dial.entry(address.ip(), *verdict);
            self.inner.audit.note(entry.clone());
            self.inner.audit.happened(Event::Dialled(self.inner.audit.number(), entry));
        }
        Ok(judged.into_iter().map(|(address, _)| address).collect())
    }

    /// Refuses what may not be dialled, for a program of others that dials by itself. What it resolves later may differ.
    pub async fn judge(&self, purpose: Purpose, host: &str, port: u16, timeout: Duration) -> Result<()> {
        self.judged(&self.dial_of(purpose, host, port, timeout)).await.map(drop)
    }

    fn dial_of<'a>(&self, purpose: Purpose, host: &'a str, port: u16, timeout: Duration) -> Dial<'a> {
        let deadline = Instant::now() + timeout;
        Dial { purpose, host, port, timeout, deadline, reason: reason(&self.setting) }
    }

    /// Tries each judged address in turn; what is left of the time is shared by those that are left.
    async fn dial(&self, dial: &Dial<'_>) -> Result<Outgoing> {
        let addresses = self.judged(dial).await?;
        let audit = &self.inner.audit;
        let mut last_error = None;
        for (tried, (address, verdict)) in addresses.iter().enumerate() {
            let left = dial.deadline.saturating_duration_since(Instant::now());
            let sharers = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let entry = dial.entry(address.ip(), *verdict);
            audit.note(entry.clone());
            let connected = tokio::time::timeout(left / sharers, TcpStream::connect(address)).await;
            let error = match connected {
                Ok(Ok(stream)) => match tune_outgoing(&stream) {
                    Ok(()) => return Ok(Outgoing::new(stream, entry, audit.clone())),
                    Err(error) => Some(error),
                },
                Ok(Err(error)) => Some(error),
                Err(_) => None,
            };
            let why = error.as_ref().map_or_else(|| "did not answer in time".to_owned(), io::Error::to_string);
            audit.happened(Event::Failed(entry, why));
            last_error = error.or(last_error);
        }
        Err(last_error.map_or_else(|| dial.too_late("did not answer"), |error| dial.failed(error)))
    }

    /// The addresses that may be dialled, with their verdicts; a fault when there is none.
    async fn judged(&self, dial: &Dial<'_>) -> Result<Vec<(SocketAddr, Verdict)>> {
        let Inner { policy, audit, resolver } = &*self.inner;
        let resolving = resolver.resolve(dial.host, policy, audit, (dial.purpose, &dial.reason));
        let found =
            timeout_at(dial.deadline, resolving).await.map_err(|_| dial.too_late("could not be resolved"))??;
        let (mut allowed, mut refused) = (Vec::with_capacity(found.len()), None);
        for address in found {
            let address = address.to_canonical();
            let verdict = policy.allows(address, dial.purpose);
            if verdict.is_allowed() {
                allowed.push((SocketAddr::new(address, dial.port), verdict));
            } else {
                audit.note(dial.entry(address, verdict));
                refused = refused.or(Some((address, verdict)));
            }
        }
        match refused {
            Some((address, verdict)) if allowed.is_empty() => Err(dial.refused(address, verdict, policy.mode())),
            _ => Ok(allowed),
        }
    }
}

/// One wish to connect, and what its faults say.
struct Dial<'a> {
    purpose: Purpose,
    host: &'a str,
    port: u16,
    timeout: Duration,
    deadline: Instant,
    reason: Arc<str>,
}

impl Dial<'_> {
    fn entry(&self, address: IpAddr, verdict: Verdict) -> Entry {
        Entry::now((self.purpose, &self.reason), (self.host, self.port), address, verdict)
    }

    fn refused(&self, address: IpAddr, verdict: Verdict, mode: Mode) -> Fault {
        let (why, hint) = match (verdict, self.purpose) {
            (Verdict::RefusedSpecial, _) => ("is an address that is never dialled".to_owned(), "use another address"),
            (Verdict::RefusedInside, _) => (
                "is inside the house, where nothing is fetched that its owner did not name".to_owned(),
                "name the host of a page under `pages` below [research] of this node; bring other files by hand",
            ),
            (_, purpose) if purpose.may_leave() => (
                format!("is outside the house and the mode is {mode}"),
                "allow it with `tmctl mode set hybrid`, or add its network to `privacy.local_ranges` if it is yours",
            ),
            _ => (
                format!("is outside the house, where no {} may be", self.purpose.destination()),
                "add its network to `privacy.local_ranges` if it is yours",
            ),
        };
        let message = format!("refused to connect to `{}:{}`: {address} {why}", self.host, self.port);
        Fault::new(Code::PermissionDenied, message).hint(hint)
    }

    fn failed(&self, error: io::Error) -> Fault {
        let what = self.purpose.destination();
        self.unreachable(format!("could not connect to {what} `{}:{}`", self.host, self.port)).because(error)
    }

    fn too_late(&self, what: &str) -> Fault {
        let limit = base::units::format_duration(self.timeout);
        self.unreachable(format!("{} `{}:{}` {what} within {limit}", self.purpose.destination(), self.host, self.port))
    }

    fn unreachable(&self, message: String) -> Fault {
        let code = if self.purpose == Purpose::Client { Code::Unreachable } else { Code::Unavailable };
        Fault::new(code, message).hint(format!("check that it runs and listens on port {}", self.port))
    }
}

/// For a connection that this program dialled.
fn tune_outgoing(stream: &TcpStream) -> io::Result<()> {
    tune(stream)?;
    Ok(sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?)
}

/// For any connection. Accepted ones get no bound on unacknowledged bytes: the kernel counts a client that reads slowly
/// as silent, and `limits.write` decides about those.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    Ok(sockopt::set_tcp_keepcnt(stream, PROBES)?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;
    use crate::policy::tests::home;
    use crate::resolve::tests::scripted;

    const SOON: Duration = Duration::from_secs(5);

    fn connector(mode: Mode) -> Connector {
        Connector::new(Arc::new(home(mode)), Audit::new())
    }

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn a_dialled_socket_is_tuned_and_on_record() {
        let (_listener, port) = listener().await;
        let connector = connector(Mode::LocalOnly);
        let stream = connector.connect(Purpose::Engine, "localhost", port, SOON).await.unwrap();
        assert!(stream.socket().nodelay().unwrap());
        assert!(sockopt::socket_keepalive(stream.socket()).unwrap());
        assert_eq!(sockopt::tcp_user_timeout(stream.socket()).unwrap(), UNACKNOWLEDGED_MS);
        let recent = connector.audit().recent();
        assert_eq!((recent.len(), recent[0].verdict, recent[0].port), (1, Verdict::Loopback, port));
    }

    #[tokio::test]
    async fn a_mapped_literal_is_dialled_as_what_it_is() {
        let (_listener, port) = listener().await;
        let stream = connector(Mode::LocalOnly).connect(Purpose::Engine, "::ffff:127.0.0.1", port, SOON).await.unwrap();
        assert!(stream.peer_addr().unwrap().is_ipv4());
    }

    #[tokio::test]
    async fn refused_destinations_say_which_address_and_what_to_do() {
        for (mode, purpose, host, needle) in [
            (Mode::LocalOnly, Purpose::Cloud, "1.1.1.1", "local-only"),
            (Mode::LocalOnly, Purpose::Cloud, "[::ffff:1.1.1.1]", "1.1.1.1"),
            (Mode::LocalOnly, Purpose::Web, "1.1.1.1", "local-only"),
            (Mode::Hybrid, Purpose::Web, "169.254.169.254", "never dialled"),
            (Mode::Hybrid, Purpose::Web, "127.0.0.1", "inside the house"),
            (Mode::LocalOnly, Purpose::Web, "[::ffff:10.0.0.1]", "inside the house"),
            (Mode::Hybrid, Purpose::Engine, "1.1.1.1", "no engine may be"),
            (Mode::Hybrid, Purpose::Cloud, "169.254.169.254", "never dialled"),
            (Mode::Hybrid, Purpose::Cloud, "0.0.0.0", "never dialled"),
        ] {
            let connector = connector(mode);
            let fault = connector.connect(purpose, host, 443, SOON).await.unwrap_err();
            assert_eq!(fault.code, Code::PermissionDenied, "{host}");
            assert!(fault.message.contains(needle), "{}", fault.message);
            assert!(fault.hint.is_some());
            assert!(!connector.audit().recent()[0].verdict.is_allowed());
        }
    }

    #[tokio::test]
    async fn a_name_that_changes_its_mind_is_judged_by_each_answer() {
        let dir = tempfile::tempdir().unwrap();
        let (_listener, port) = listener().await;
        let answers = vec![vec!["127.0.0.1"], vec!["1.1.1.1"], vec!["169.254.169.254", "127.0.0.1"]];
        let (resolver, _) = scripted(&dir, "", "", answers);
        let connector = Connector::with_resolver(Arc::new(home(Mode::LocalOnly)), Audit::new(), resolver);
        connector.connect(Purpose::Engine, "rebinding.lan", port, SOON).await.unwrap();
        let fault = connector.connect(Purpose::Engine, "rebinding.lan", port, SOON).await.unwrap_err();
        assert_eq!(fault.code, Code::PermissionDenied);
        // Of a mixed answer only the part that passed is dialled.
        let stream = connector.connect(Purpose::Engine, "rebinding.lan", port, SOON).await.unwrap();
        assert!(stream.peer_addr().unwrap().ip().is_loopback());
    }

    #[tokio::test]
    async fn a_page_whose_name_moves_into_the_house_is_not_dialled_there() {
        let dir = tempfile::tempdir().unwrap();
        let (listener, port) = listener().await;
        let answers = vec![vec!["127.0.0.1"], vec!["::1", "10.0.0.7"], vec!["::ffff:127.0.0.1"]];
        let (resolver, _) = scripted(&dir, "", "", answers);
        let connector = Connector::with_resolver(Arc::new(home(Mode::Hybrid)), Audit::new(), resolver);
        for _ in 0..3 {
            let fault = connector.connect(Purpose::Web, "rebinding.example", port, SOON).await.unwrap_err();
            assert!(fault.code == Code::PermissionDenied && fault.message.contains("inside the house"), "{fault}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(nobody.is_err(), "somebody dialled");
    }

    #[tokio::test]
    async fn a_hosts_entry_cannot_smuggle_an_address_past_the_rule() {
        let dir = tempfile::tempdir().unwrap();
        let (resolver, _) = scripted(&dir, "1.1.1.1 nas", "", Vec::new());
        let connector = Connector::with_resolver(Arc::new(home(Mode::LocalOnly)), Audit::new(), resolver);
        let fault = connector.connect(Purpose::Engine, "nas", 80, SOON).await.unwrap_err();
        assert_eq!(fault.code, Code::PermissionDenied);
    }

    #[tokio::test]
    async fn a_second_address_is_tried_when_the_first_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let (_listener, port) = listener().await;
        let (resolver, _) = scripted(&dir, "127.0.0.9 nas\n127.0.0.1 nas\n", "", Vec::new());
        let connector = Connector::with_resolver(Arc::new(home(Mode::LocalOnly)), Audit::new(), resolver);
        connector.connect(Purpose::Engine, "nas", port, SOON).await.unwrap();
        assert_eq!(connector.audit().recent().len(), 2);
    }

    #[tokio::test]
    async fn a_closed_port_is_unavailable_and_unreachable_for_tmctl() {
        let (listener, port) = listener().await;
        drop(listener);
        let connector = connector(Mode::LocalOnly);
        for (purpose, code) in [(Purpose::Engine, Code::Unavailable), (Purpose::Client, Code::Unreachable)] {
            let fault = connector.connect(purpose, "127.0.0.1", port, SOON).await.unwrap_err();
            assert_eq!(fault.code, code);
            assert!(fault.full_message().contains("refused"), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_resolver_that_never_answers_ends_with_the_timeout() {
        let resolver = Resolver {
            hosts: "/nonexistent".into(),
            resolv_conf: "/nonexistent".into(),
            query: Box::new(|_| Box::pin(std::future::pending())),
        };
        let connector = Connector::with_resolver(Arc::new(home(Mode::LocalOnly)), Audit::new(), resolver);
        let fault = connector.connect(Purpose::Engine, "nas", 80, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(fault.message, "engine `nas:80` could not be resolved within 50ms");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn local_only_never_hands_out_an_address_outside_of_the_house(
            bits in proptest::collection::vec(any::<u32>(), 1..6),
            home_at in 0..6_usize,
        ) {
            let mut answer: Vec<IpAddr> = bits.into_iter().map(|bits| Ipv4Addr::from(bits).into()).collect();
            answer.insert(home_at.min(answer.len()), Ipv4Addr::new(192, 168, 1, 9).into());
            let query = move |_| -> base::BoxFuture<'static, _> { Box::pin(std::future::ready(Ok(answer.clone()))) };
            let resolver =
                Resolver { hosts: "/nonexistent".into(), resolv_conf: "/nonexistent".into(), query: Box::new(query) };
            let connector = Connector::with_resolver(Arc::new(home(Mode::LocalOnly)), Audit::new(), resolver);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let handed_out = runtime.block_on(connector.checked_addresses(Purpose::Engine, "name", 443, SOON)).unwrap();
            prop_assert!(!handed_out.is_empty());
            for address in handed_out {
                let IpAddr::V4(v4) = address.ip() else { panic!("{address} was never an answer") };
                prop_assert!(v4.is_private() || v4.is_loopback(), "{} was handed out", v4);
            }
        }
    }
}
