//! The rule of egress: which address may be dialled for which purpose in which mode. Pure, but for the switchable mode.
//!
//! An address is judged after resolution, never by its name. What is refused in every mode (link-local and with it the
//! metadata services of clouds, multicast, unspecified) stays refused even where `privacy.local_ranges` covers it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use base::config::{Mode, Privacy};
use base::{Fault, Result};
use ipnet::IpNet;

/// What a connection is for; the closed set of labels of metrics and audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// `node.v1` of another node.
    Peer,
    /// ractor_cluster of another node.
    Actors,
    /// A member of etcd.
    Etcd,
    /// An engine of the house.
    Engine,
    /// An engine outside of the house; may leave it.
    Cloud,
    /// A page that becomes a document; leaves the house, and is never one of the house: whoever may name a page must not
    /// reach what stands in the house by it.
    Web,
    /// A page of the house that its owner named.
    HousePage,
    /// A Redis of the house.
    Cache,
    /// A collector of traces.
    Telemetry,
    /// A Qdrant of the house.
    Qdrant,
    /// `tmctl` to a node.
    Client,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: &'static [Purpose] = &[
        Purpose::Peer,
        Purpose::Actors,
        Purpose::Etcd,
        Purpose::Engine,
        Purpose::Cloud,
        Purpose::Web,
        Purpose::HousePage,
        Purpose::Cache,
        Purpose::Telemetry,
        Purpose::Qdrant,
        Purpose::Client,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Purpose::Peer => "peer",
            Purpose::Actors => "actors",
            Purpose::Etcd => "etcd",
            Purpose::Engine => "engine",
            Purpose::Cloud => "cloud",
            Purpose::Web => "web",
            Purpose::HousePage => "house-page",
            Purpose::Cache => "cache",
            Purpose::Telemetry => "telemetry",
            Purpose::Qdrant => "qdrant",
            Purpose::Client => "client",
        }
    }

    /// What stands at the other end, for people.
    pub(crate) const fn destination(self) -> &'static str {
        match self {
            Purpose::Peer | Purpose::Actors | Purpose::Client => "node",
            Purpose::Etcd => "etcd",
            Purpose::Engine => "engine",
            Purpose::Cloud => "cloud",
            Purpose::Web | Purpose::HousePage => "page",
            Purpose::Cache => "Redis",
            Purpose::Telemetry => "collector",
            Purpose::Qdrant => "Qdrant",
        }
    }

    /// Whether it may leave the house, where the mode lets anything out.
    pub(crate) const fn may_leave(self) -> bool {
        matches!(self, Purpose::Cloud | Purpose::Web)
    }
}

/// What the rule says about one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// This machine.
    Loopback,
    /// The house.
    Local,
    /// Outside of the house, as the mode allows.
    External,
    /// Outside of the house, and mode or purpose do not allow it.
    RefusedExternal,
    /// Never dialled: link-local, metadata, multicast, broadcast, unspecified.
    RefusedSpecial,
    /// This machine or the house, where the purpose leads outside alone.
    RefusedInside,
}

impl Verdict {
    /// Every verdict, in the order of [`Verdict::index`].
    pub const ALL: &'static [Verdict] = &[
        Verdict::Loopback,
        Verdict::Local,
        Verdict::External,
        Verdict::RefusedExternal,
        Verdict::RefusedSpecial,
        Verdict::RefusedInside,
    ];

    /// The label of `tm_egress_total`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Loopback => "loopback",
            Verdict::Local => "local",
            Verdict::External => "external",
            Verdict::RefusedExternal => "refused_external",
            Verdict::RefusedSpecial => "refused_special",
            Verdict::RefusedInside => "refused_inside",
        }
    }

    /// Whether the address may be dialled.
    pub const fn is_allowed(self) -> bool {
        matches!(self, Verdict::Loopback | Verdict::Local | Verdict::External)
    }

    /// Its place in [`Verdict::ALL`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// The rule, with the mode that the owner may switch while the node runs.
#[derive(Debug)]
pub struct Policy {
    mode: AtomicUsize,
    local: ArcSwap<Vec<IpNet>>,
}

impl Policy {
    /// The rule that `privacy` describes.
    pub fn new(privacy: &Privacy) -> Result<Self> {
        let local = ArcSwap::from_pointee(networks(&privacy.local_ranges)?);
        Ok(Self { mode: AtomicUsize::new(privacy.mode as usize), local })
    }

    /// Other networks count as the house from the next dial on. Changes nothing where one cannot be read.
    pub fn set_local(&self, ranges: &[String]) -> Result<()> {
        self.local.store(Arc::new(networks(ranges)?));
        Ok(())
    }

    /// The mode that holds now.
    pub fn mode(&self) -> Mode {
        // Only `as usize` of a mode is ever stored; the fallback is the strictest mode all the same.
        Mode::ALL.get(self.mode.load(Ordering::Acquire)).copied().unwrap_or(Mode::LocalOnly)
    }

    /// Switches the mode; connections that are open stay open, the next dial obeys.
    pub fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as usize, Ordering::Release);
    }

    /// Whether `address` may be dialled for `purpose` now.
    pub fn allows(&self, address: IpAddr, purpose: Purpose) -> Verdict {
        let address = address.to_canonical();
        let leads_out_alone = purpose == Purpose::Web;
        if address.is_loopback() {
            if leads_out_alone { Verdict::RefusedInside } else { Verdict::Loopback }
        } else if is_special(address) {
            Verdict::RefusedSpecial
        } else if self.local.load().iter().any(|range| range.contains(&address)) {
            if leads_out_alone { Verdict::RefusedInside } else { Verdict::Local }
        } else if purpose.may_leave() && self.mode() != Mode::LocalOnly {
            Verdict::External
        } else {
            Verdict::RefusedExternal
        }
    }

    /// Whether asking the name server at `address` may leave the house; in other modes than local-only any may be asked.
    pub(crate) fn allows_name_server(&self, address: IpAddr) -> Verdict {
        let verdict = self.allows(address, Purpose::Cloud);
        // A link-local address cannot leave the link, and home routers announce themselves as name servers by it.
        if verdict == Verdict::RefusedSpecial && is_link_local(address.to_canonical()) {
            Verdict::Local
        } else {
            verdict
        }
    }
}

fn networks(ranges: &[String]) -> Result<Vec<IpNet>> {
    let network = |range: &String| {
        range.parse::<IpNet>().map_err(|error| {
            Fault::invalid(format!("could not read `{range}` in `privacy.local_ranges`"))
                .hint("write networks as CIDR, such as 192.168.0.0/16")
                .because(error)
        })
    };
    ranges.iter().map(network).collect()
}

/// The metadata service of AWS, inside the unique local range.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_special_v4(v4),
        IpAddr::V6(v6) => {
            v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || v6 == METADATA
                || embedded_v4(v6).is_some_and(|v4| v4.is_loopback() || is_special_v4(v4))
        }
    }
}

fn is_special_v4(v4: Ipv4Addr) -> bool {
    // All of 0.0.0.0/8: Linux dials this machine for the first of them.
    v4.octets()[0] == 0 || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The IPv4 address that a translator would dial for `::a.b.c.d` or `64:ff9b::a.b.c.d`.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let prefix = [a, b, c, d, e, f];
    let embeds = prefix == [0; 6] || prefix == [0x64, 0xff9b, 0, 0, 0, 0];
    embeds.then(|| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn home(mode: Mode) -> Policy {
        let ranges = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];
        Policy::new(&Privacy { mode, local_ranges: ranges.map(str::to_owned).to_vec() }).unwrap()
    }

    #[test]
    fn other_ranges_count_from_the_next_address_on_and_bad_ones_change_nothing() {
        let (policy, address) = (home(Mode::LocalOnly), "100.64.0.1".parse().unwrap());
        assert_eq!(policy.allows(address, Purpose::Engine), Verdict::RefusedExternal);
        assert!(policy.set_local(&["100.64.0.0/10".to_owned(), "nowhere".to_owned()]).is_err());
        assert_eq!(policy.allows(address, Purpose::Engine), Verdict::RefusedExternal);
        policy.set_local(&["100.64.0.0/10".to_owned()]).unwrap();
        assert_eq!(policy.allows(address, Purpose::Engine), Verdict::Local);
        assert_eq!(policy.allows("10.1.2.3".parse().unwrap(), Purpose::Engine), Verdict::RefusedExternal);
    }

    #[test]
    fn each_kind_of_address_gets_its_verdict() {
        use Verdict::*;
        // address, in local-only, for a cloud in hybrid, for an engine in hybrid
        let table = [
            ("127.0.0.1", Loopback, Loopback, Loopback),
            ("127.255.255.254", Loopback, Loopback, Loopback),
            ("::1", Loopback, Loopback, Loopback),
            ("::ffff:127.0.0.1", Loopback, Loopback, Loopback),
            ("10.1.2.3", Local, Local, Local),
            ("172.31.255.255", Local, Local, Local),
            ("172.32.0.0", RefusedExternal, External, RefusedExternal),
            ("192.168.1.7", Local, Local, Local),
            ("::ffff:192.168.1.7", Local, Local, Local),
            ("fd12:3456::1", Local, Local, Local),
            ("fc00::1", RefusedExternal, External, RefusedExternal),
            ("1.1.1.1", RefusedExternal, External, RefusedExternal),
            ("::ffff:1.1.1.1", RefusedExternal, External, RefusedExternal),
            ("2606:4700::1111", RefusedExternal, External, RefusedExternal),
            ("100.64.0.1", RefusedExternal, External, RefusedExternal),
            ("169.254.169.254", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("::ffff:169.254.169.254", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("64:ff9b::a9fe:a9fe", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("64:ff9b::7f00:1", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("::127.0.0.1", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("fd00:ec2::254", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("fe80::1", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("0.0.0.0", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("0.1.2.3", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("::", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("224.0.0.251", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("ff02::fb", RefusedSpecial, RefusedSpecial, RefusedSpecial),
            ("255.255.255.255", RefusedSpecial, RefusedSpecial, RefusedSpecial),
        ];
        for (text, local_only, cloud, engine) in table {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(home(Mode::LocalOnly).allows(address, Purpose::Cloud), local_only, "{text} in local-only");
            assert_eq!(home(Mode::Hybrid).allows(address, Purpose::Cloud), cloud, "{text} for a cloud");
            assert_eq!(home(Mode::Hybrid).allows(address, Purpose::Engine), engine, "{text} for an engine");
        }
    }

    #[test]
    fn a_range_that_covers_everything_opens_no_special_address() {
        let all = ["0.0.0.0/0", "::/0"].map(str::to_owned).to_vec();
        let policy = Policy::new(&Privacy { mode: Mode::LocalOnly, local_ranges: all }).unwrap();
        let metadata: IpAddr = "169.254.169.254".parse().unwrap();
        assert_eq!(policy.allows(metadata, Purpose::Engine), Verdict::RefusedSpecial);
    }

    #[test]
    fn a_switched_mode_holds_for_the_next_dial() {
        let policy = home(Mode::LocalOnly);
        let outside: IpAddr = "1.1.1.1".parse().unwrap();
        for &mode in Mode::ALL {
            policy.set_mode(mode);
            assert_eq!(policy.mode(), mode);
            assert_eq!(policy.allows(outside, Purpose::Cloud).is_allowed(), mode != Mode::LocalOnly, "{mode}");
        }
    }

    #[test]
    fn a_range_that_cannot_be_read_is_named() {
        let privacy = Privacy { mode: Mode::LocalOnly, local_ranges: vec!["10.0.0.0/33".to_owned()] };
        assert!(Policy::new(&privacy).unwrap_err().message.contains("10.0.0.0/33"));
    }

    #[test]
    fn a_page_that_anybody_may_name_is_never_one_of_the_house() {
        let inside = ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.7", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fd12::1"];
        for (text, &mode) in inside.iter().flat_map(|text| Mode::ALL.iter().map(move |mode| (text, mode))) {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(home(mode).allows(address, Purpose::Web), Verdict::RefusedInside, "{text} in {mode}");
            assert!(home(mode).allows(address, Purpose::HousePage).is_allowed(), "{text} in {mode}");
        }
        let outside: IpAddr = "1.1.1.1".parse().unwrap();
        assert_eq!(home(Mode::ExternalOnly).allows(outside, Purpose::HousePage), Verdict::RefusedExternal);
    }

    #[test]
    fn verdicts_stand_at_their_index() {
        for (at, verdict) in Verdict::ALL.iter().enumerate() {
            assert_eq!(verdict.index(), at);
        }
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
            any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
            any::<u32>().prop_map(|bits| IpAddr::V6(Ipv4Addr::from(bits).to_ipv6_mapped())),
        ]
    }

    proptest! {
        #[test]
        fn local_only_never_lets_an_address_outside_of_the_house_pass(address in any_address(), purpose in 0..Purpose::ALL.len()) {
            let policy = home(Mode::LocalOnly);
            if policy.allows(address, Purpose::ALL[purpose]).is_allowed() {
                let inside = match address.to_canonical() {
                    IpAddr::V4(v4) => v4.is_loopback() || v4.is_private(),
                    IpAddr::V6(v6) => v6.is_loopback() || v6.octets()[0] == 0xfd,
                };
                prop_assert!(inside, "{} passed", address);
            }
        }

        #[test]
        fn only_clouds_and_pages_leave_the_house_in_any_mode(address in any_address(), mode in 0..Mode::ALL.len(), purpose in 0..Purpose::ALL.len()) {
            let (mode, purpose) = (Mode::ALL[mode], Purpose::ALL[purpose]);
            if home(mode).allows(address, purpose) == Verdict::External {
                prop_assert!(matches!(purpose, Purpose::Cloud | Purpose::Web));
            }
        }
    }
}
