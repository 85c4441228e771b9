//! Who sends a request: its key, where it comes from, and whether that opens what it asks for.

use std::net::IpAddr;
use std::sync::Arc;

use base::grant::looks_like_a_key;
use base::{Fault, Grant, Result};
use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, Uri};

use crate::scopes::{self, Need};
use crate::{Desk, desk::Caller};

/// Names that other servers take a key under in an address.
const KEY_NAMES: [&str; 6] = ["key", "api_key", "api-key", "apikey", "access_token", "token"];

/// The address at the other end of a connection, among a request's extensions; `None` where the kernel does not tell.
#[derive(Clone, Copy)]
pub(super) struct From(pub(super) Option<IpAddr>);

/// Lets a request in, or says why not. `route` is the pattern that it matched.
pub(super) fn admit(
    desk: &dyn Desk,
    (method, route): (&Method, &str),
    (headers, uri): (&HeaderMap, &Uri),
    from: Option<IpAddr>,
) -> Result<Arc<Grant>> {
    let need = scopes::of_http(method.as_str(), route);
    let need = need.ok_or_else(|| Fault::internal(format!("nobody may call `{route}`: it has no scope")))?;
    if need == Need::Open {
        return Ok(Grant::everything().clone());
    }
    let key = key(headers);
    let has_key_in_address = has_key(uri.query().unwrap_or_default(), key.is_some());
    desk.authenticate(&Caller { key, has_key_in_address, from, call: route }, need.scope())
}

/// The key that a client sent, in OpenAI's or in Anthropic's way.
fn key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(crate::bearer);
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
}

/// Whether a key stands in a query: one of ours anywhere, or under a name for keys where none came as it should.
fn has_key(query: &str, came_as_it_should: bool) -> bool {
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_named_so = KEY_NAMES.iter().any(|known| name.eq_ignore_ascii_case(known));
        looks_like_a_key(value) || looks_like_a_key(name) || (is_named_so && !came_as_it_should)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_as_bearer_or_as_api_key() {
        for (name, value, expected) in [
            ("authorization", "Bearer abc", Some("abc")),
            ("authorization", "bearer  abc ", Some("abc")),
            ("authorization", "Bearer", None),
            ("authorization", "Bearer ", Some("")),
            ("x-api-key", "abc", Some("abc")),
            ("authorization", "Basic abc", None),
            ("authorization", "abc", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(key(&headers), expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_key_in_a_query_is_seen() {
        let real = format!("tm-{}", "a".repeat(43));
        for (query, came_as_it_should, expected) in [
            ("", false, false),
            ("status=pending&limit=3", false, false),
            ("api_key=abc", false, true),
            ("x=1&KEY=abc", false, true),
            ("api_key=none", true, false),
            (&format!("at={real}"), true, true),
            (&format!("{real}&x"), false, true),
        ] {
            assert_eq!(has_key(query, came_as_it_should), expected, "{query}");
        }
    }
}
