//! Names to addresses, without leaving the house to find out: literals, loopback names and the hosts file first.
//!
//! A DNS query is egress of its own. The system's resolver may ask any of its name servers, so all of them must pass the
//! rule before a name is handed to it. A name server of the house asks on outside, so in local-only it never hears the
//! name of a cloud.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use base::config::Mode;
use base::{BoxFuture, Code, Fault, Result};

use crate::audit::{Audit, Entry, Event};
use crate::policy::{Policy, Purpose};

/// Asks the system's resolver, which may ask the network.
type Query = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

const DNS_PORT: u16 = 53;

/// Where names are looked up.
pub(crate) struct Resolver {
    pub(crate) hosts: PathBuf,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) query: Box<Query>,
}

impl Resolver {
    /// This machine's files and resolver.
    pub(crate) fn system() -> Self {
        Self {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            query: Box::new(|host| Box::pin(ask_system(host))),
        }
    }

    /// The addresses of `host`, none of them judged yet; never empty.
    pub(crate) async fn resolve(
        &self,
        host: &str,
        policy: &Policy,
        audit: &Audit,
        (purpose, reason): (Purpose, &Arc<str>),
    ) -> Result<Vec<IpAddr>> {
        if let Ok(literal) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(vec![literal]);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if is_disguised_literal(&name) {
            return Err(Fault::invalid(format!("`{host}` is neither a name nor an address"))
                .hint("write an address as four decimal numbers, such as 192.168.1.10"));
        }
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let known = addresses_in_hosts(&read(&self.hosts).await, &name);
        if !known.is_empty() {
            return Ok(known);
        }
        if purpose.may_leave() && policy.mode() == Mode::LocalOnly {
            return Err(Fault::new(
                Code::PermissionDenied,
                format!("did not ask for the address of `{name}`: a name server would ask outside, and the mode is local-only"),
            )
            .hint("allow it with `tmctl mode set hybrid`; if it is in the house, write its address or add it to /etc/hosts"));
        }
        self.check_name_servers(&name, policy, audit, (purpose, reason)).await?;
        match (self.query)(name).await {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(unknown_name(host)),
            Err(error) => Err(unknown_name(host).because(error)),
        }
    }

    async fn check_name_servers(
        &self,
        name: &str,
        policy: &Policy,
        audit: &Audit,
        why: (Purpose, &Arc<str>),
    ) -> Result<()> {
        for server in name_servers(&read(&self.resolv_conf).await) {
            let verdict = policy.allows_name_server(server);
            if verdict.is_allowed() && server.is_loopback() {
                continue;
            }
            let entry = Entry::now(why, (name, DNS_PORT), server, verdict);
            audit.note(entry.clone());
            if !verdict.is_allowed() {
                return Err(Fault::new(
                    Code::PermissionDenied,
                    format!(
                        "could not resolve `{name}`: name server {server} is outside the house and the mode is {}",
                        policy.mode()
                    ),
                )
                .hint("add the name to /etc/hosts, write its address instead, or use a name server of the house"));
            }
            audit.happened(Event::LookedUp(entry));
        }
        Ok(())
    }
}

async fn ask_system(host: String) -> io::Result<Vec<IpAddr>> {
    let mut found = Vec::new();
    for address in tokio::net::lookup_host((host, 0)).await? {
        if !found.contains(&address.ip()) {
            found.push(address.ip());
        }
    }
    Ok(found)
}

/// The text of a file of the system; one that is absent says nothing, as for the C library.
async fn read(path: &PathBuf) -> String {
    tokio::fs::read_to_string(path).await.unwrap_or_default()
}

fn unknown_name(host: &str) -> Fault {
    Fault::unavailable(format!("could not resolve `{host}`")).hint("check the name, or write the address instead")
}

/// Whether the C library would read the name as an address that Rust does not: `0x7f.1`, `127.1`, `2130706433`.
fn is_disguised_literal(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    last.is_empty() || hex || last.bytes().all(|byte| byte.is_ascii_digit())
}

fn addresses_in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The name servers of a `resolv.conf`; loopback when it names none. One that cannot be read counts as unspecified,
/// which no rule allows.
fn name_servers(text: &str) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let address = words.next().unwrap_or_default();
        let without_zone = address.split('%').next().unwrap_or(address);
        servers.push(without_zone.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into()));
    }
    if servers.is_empty() {
        servers.push(Ipv4Addr::LOCALHOST.into());
    }
    servers
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::policy::Verdict;
    use crate::policy::tests::home;

    /// A resolver over files in `dir` whose queries answer with `answers`, one after the other, and are counted.
    pub(crate) fn scripted(
        dir: &tempfile::TempDir,
        hosts: &str,
        resolv_conf: &str,
        answers: Vec<Vec<&'static str>>,
    ) -> (Resolver, Arc<AtomicUsize>) {
        let (hosts_path, resolv_path) = (dir.path().join("hosts"), dir.path().join("resolv.conf"));
        std::fs::write(&hosts_path, hosts).unwrap();
        std::fs::write(&resolv_path, resolv_conf).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let query = Box::new(move |_: String| -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            let turn = count.fetch_add(1, Ordering::Relaxed);
            let answer = answers.get(turn).map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect());
            Box::pin(async move { answer.ok_or_else(|| io::Error::other("no answer scripted")) })
        });
        (Resolver { hosts: hosts_path, resolv_conf: resolv_path, query }, asked)
    }

    #[tokio::test]
    async fn literals_loopback_and_hosts_ask_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = "# lab\n192.168.1.9 grey-area ga # old\nfd00::9 Grey-Area\nbroken line\n";
        let (resolver, asked) = scripted(&dir, hosts, "nameserver 9.9.9.9", Vec::new());
        let (policy, audit) = (home(Mode::LocalOnly), Audit::new());
        for (host, expected) in [
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
            ("localhost", "127.0.0.1 ::1"),
            ("a.LocalHost.", "127.0.0.1 ::1"),
            ("grey-area", "192.168.1.9 fd00::9"),
            ("GA", "192.168.1.9"),
        ] {
            let found = resolver.resolve(host, &policy, &audit, (Purpose::Peer, &"".into())).await.unwrap();
            let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
            assert_eq!(found.join(" "), expected, "{host}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn disguised_literals_are_refused_without_a_query() {
        let dir = tempfile::tempdir().unwrap();
        let (resolver, asked) = scripted(&dir, "", "nameserver 127.0.0.53", Vec::new());
        let (policy, audit) = (home(Mode::Hybrid), Audit::new());
        for host in ["0x7f.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "1.2.3.4.5", "", ".", "a.0x"] {
            let fault = resolver.resolve(host, &policy, &audit, (Purpose::Cloud, &"".into())).await.unwrap_err();
            assert_eq!(fault.code, Code::InvalidArgument, "{host}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn local_only_asks_no_name_server_outside_of_the_house() {
        let dir = tempfile::tempdir().unwrap();
        for (resolv_conf, allowed) in [
            ("nameserver 9.9.9.9", false),
            ("nameserver 192.168.1.1\nnameserver 9.9.9.9", false),
            ("nameserver 0x7f.1", false),
            ("nameserver 192.168.1.1", true),
            ("nameserver fe80::1%eth0", true),
            ("search lan", true),
        ] {
            let (resolver, asked) = scripted(&dir, "", resolv_conf, vec![vec!["192.168.1.4"]]);
            let audit = Audit::new();
            let found =
                resolver.resolve("nas.lan", &home(Mode::LocalOnly), &audit, (Purpose::Engine, &"".into())).await;
            assert_eq!(found.is_ok(), allowed, "{resolv_conf}");
            assert_eq!(asked.load(Ordering::Relaxed), usize::from(allowed), "{resolv_conf}");
        }
    }

    #[tokio::test]
    async fn local_only_never_asks_for_the_address_of_a_cloud() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = "192.168.1.9 own-cloud";
        let (resolver, asked) = scripted(&dir, hosts, "nameserver 192.168.1.1", vec![vec!["1.1.1.1"]]);
        let (policy, audit) = (home(Mode::LocalOnly), Audit::new());
        for purpose in [Purpose::Cloud, Purpose::Web] {
            let fault = resolver.resolve("api.example", &policy, &audit, (purpose, &"".into())).await.unwrap_err();
            assert_eq!((fault.code, asked.load(Ordering::Relaxed)), (Code::PermissionDenied, 0));
        }
        assert!(resolver.resolve("own-cloud", &policy, &audit, (Purpose::Cloud, &"".into())).await.is_ok());
    }

    #[tokio::test]
    async fn a_query_to_a_name_server_outside_is_on_record() {
        let dir = tempfile::tempdir().unwrap();
        let (resolver, _) = scripted(&dir, "", "nameserver 9.9.9.9", vec![vec!["1.1.1.1"]]);
        let audit = Audit::new();
        resolver.resolve("api.example", &home(Mode::Hybrid), &audit, (Purpose::Cloud, &"".into())).await.unwrap();
        let entry = &audit.recent()[0];
        assert_eq!((&*entry.host, entry.port, entry.verdict), ("api.example", 53, Verdict::External));
    }
}
