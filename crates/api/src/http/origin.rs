//! Which browser pages may call: those of the house and those that the owner allows.
//!
//! A page on the internet can make a visitor's browser send requests to this machine, directly (the `Origin` tells) or
//! through a name of its own that it points here (DNS rebinding: the `Host` tells). Programs send no `Origin`.

use base::{Code, Fault, Result};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HOST, HeaderValue, ORIGIN, VARY,
};
use http::{HeaderMap, Method, Version};

/// Ends of names that no public DNS server answers for.
const HOUSE_DOMAINS: [&str; 5] = [".localhost", ".local", ".lan", ".internal", ".home.arpa"];

/// Refuses a request that a foreign page sent, or that does not say clearly whom it means; else gives the page's origin,
/// when a page sent it.
///
/// `allowed` holds origins or hosts. On a listener that only this machine reaches (`is_loopback`), a foreign name in
/// `Host` is refused even without an `Origin`.
pub(super) fn check(
    version: Version,
    headers: &HeaderMap,
    allowed: &[String],
    is_loopback: bool,
) -> Result<Option<HeaderValue>> {
    let host = host(version, headers)?;
    if is_loopback && !is_of_the_house(host) && !is_allowed(allowed, host) {
        return Err(refused(format!("host `{}` is not a name of this machine", shown(host))));
    }
    let Some(value) = headers.get(ORIGIN) else { return Ok(None) };
    let origin = value.to_str().unwrap_or("?");
    let origin_host = origin.split_once("://").map_or("?", |(_, host)| host);
    let is_same_host = origin_host.eq_ignore_ascii_case(host) && is_of_the_house(host);
    if is_loopback_name(name_of(origin_host)) || is_same_host || is_allowed(allowed, origin) {
        return Ok(Some(value.clone()));
    }
    Err(refused(format!("pages of origin `{}` may not call this server", shown(origin))))
}

/// The one `Host` of a request; of several, whoever stands in front could have looked at another one. HTTP/1.0 may do
/// without.
fn host(version: Version, headers: &HeaderMap) -> Result<&str> {
    let mut all = headers.get_all(HOST).iter();
    let wrong = match (all.next(), all.next()) {
        (Some(_), Some(_)) => "the request has more than one header `Host`",
        (None, _) if version == Version::HTTP_10 => return Ok(""),
        (None, _) => "the request has no header `Host`",
        (Some(host), None) => match host.to_str() {
            Ok(host) => return Ok(host),
            Err(_) => "the header `Host` is no name",
        },
    };
    Err(Fault::invalid(wrong).hint("send one header `Host`, with the name or address that the server is reached by"))
}

/// Whether a browser asks what a page may send, before it sends it.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer's headers for a page that asks what it may send: any header that it names, since each client in a
/// browser has its own (a star would leave `Authorization` out).
pub(super) fn allow_sending(headers: &mut HeaderMap, asked: &HeaderMap) {
    if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

/// Lets the page of `origin` read the answer that `headers` belong to.
pub(super) fn allow_reading(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let read = "x-tm-ask, x-tm-node, x-tm-worker, x-tm-model, x-tm-fallback, retry-after";
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(read));
    headers.append(VARY, HeaderValue::from_static("origin"));
}

fn refused(message: String) -> Fault {
    Fault::new(Code::PermissionDenied, message)
        .hint("use a name of the house: `localhost`, an address, a bare machine name or `NAME.local`")
}

/// Client text for a message: short, and nothing that a terminal would act on.
fn shown(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(100).collect()
}

/// Whether `authority` or its host without a port is in the owner's list.
fn is_allowed(allowed: &[String], authority: &str) -> bool {
    allowed.iter().any(|entry| entry.eq_ignore_ascii_case(authority) || entry.eq_ignore_ascii_case(name_of(authority)))
}

/// Whether nobody outside can own the name: an address, a name without a dot, or one of a house's domains.
fn is_of_the_house(authority: &str) -> bool {
    let name = name_of(authority);
    let name = name.strip_suffix('.').unwrap_or(name);
    let ends_with = |domain: &str| {
        let end = name.len().checked_sub(domain.len()).and_then(|start| name.get(start..));
        end.is_some_and(|end| end.eq_ignore_ascii_case(domain))
    };
    !name.contains('.')
        || name.parse::<std::net::IpAddr>().is_ok()
        || HOUSE_DOMAINS.iter().any(|domain| ends_with(domain))
}

fn is_loopback_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn name_of(authority: &str) -> &str {
    if let Some((name, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return name;
    }
    authority.rsplit_once(':').map_or(authority, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(host: &str, origin: Option<&str>, is_loopback: bool) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        check(
            Version::HTTP_11,
            &headers,
            &["https://chat.example.org".to_owned(), "ai.example.org".to_owned()],
            is_loopback,
        )
        .is_ok()
    }

    #[test]
    fn a_request_says_once_whom_it_means() {
        for (version, hosts, is_clear) in [
            (Version::HTTP_11, &[][..], false),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_11, &["localhost"], true),
            (Version::HTTP_11, &["localhost", "localhost"], false),
            (Version::HTTP_10, &["localhost", "evil.example"], false),
        ] {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_static(host));
            }
            let checked = check(version, &headers, &[], true);
            assert_eq!(checked.is_ok(), is_clear, "{version:?} {hosts:?}");
            assert!(checked.is_ok() || checked.is_err_and(|fault| fault.code == Code::InvalidArgument));
        }
    }

    #[test]
    fn programs_and_pages_of_the_house_may_call() {
        for (host, origin) in [
            ("127.0.0.1:3001", None),
            ("localhost:3001", Some("http://localhost:5173")),
            ("[::1]:3001", Some("http://[::1]:3001")),
            ("grey-area:3001", Some("http://grey-area:3001")),
            ("192.168.1.5:3001", Some("http://192.168.1.5:3001")),
            ("grey-area.local", Some("http://127.0.0.1:8080")),
            ("localhost:3001", Some("https://chat.example.org")),
            ("ai.example.org:443", None),
        ] {
            assert!(verdict(host, origin, true), "{host} {origin:?}");
        }
        assert!(verdict("ai.elsewhere.org", None, false), "a program may use any name off loopback");
    }

    #[test]
    fn foreign_pages_and_rebound_names_may_not() {
        for (host, origin) in [
            ("127.0.0.1:3001", Some("https://evil.example")),
            ("127.0.0.1:3001", Some("null")),
            ("127.0.0.1:3001", Some("http://localhost.evil.example")),
            ("evil.example:3001", Some("http://evil.example:3001")),
            ("grey-area:3001", Some("http://sleeper-service:3001")),
        ] {
            assert!(!verdict(host, origin, false), "{host} {origin:?}");
        }
        assert!(!verdict("evil.example:3001", None, true));
    }
}
