//! Where an engine is, and what every request to it says: the request head, made ready once per engine.

use base::{Fault, Result};

use super::{Method, Request};

/// An engine's base URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address, without brackets; what is dialled.
    pub host: String,
    /// Port; what is dialled.
    pub port: u16,
    /// Whether TLS is spoken.
    pub is_tls: bool,
    /// Path below which the engine's API is; empty or `/…` without a `/` at its end.
    path: String,
    /// Headers of every request, each with its line end.
    headers: String,
}

impl Endpoint {
    /// Reads `http://host:port/path` or `https://…`.
    pub fn parse(url: &str) -> Result<Self> {
        let wrong = || {
            Fault::invalid(format!("`{url}` is no address of an engine")).hint("write it like http://127.0.0.1:11434")
        };
        let uri: http::Uri = url.parse().map_err(|error: http::uri::InvalidUri| wrong().because(error))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let bare = authority.host().trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() || uri.query().is_some() {
            return Err(wrong());
        }
        Ok(Self {
            host: bare.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            is_tls,
            path: uri.path().trim_end_matches('/').to_owned(),
            headers: headers_for(authority.as_str()),
        })
    }

    /// A port of this machine.
    pub fn loopback(port: u16) -> Self {
        let (host, headers) = ("127.0.0.1".to_owned(), headers_for(&format!("127.0.0.1:{port}")));
        Self { host, port, is_tls: false, path: String::new(), headers }
    }

    /// Adds a header to every request, such as the key that the engine wants.
    pub fn header(mut self, name: &'static str, value: &str) -> Result<Self> {
        // A line end in a key file would let its text become headers; the value itself is never shown.
        if http::HeaderValue::from_str(value).is_err() {
            let message = format!("the value of header `{name}` has characters that a header cannot carry");
            return Err(Fault::invalid(message).hint("look for line ends and odd characters in the key file"));
        }
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        Ok(self)
    }

    /// The head of `request`, up to and with its blank line.
    pub(super) fn request_head(&self, request: &Request<'_>) -> Vec<u8> {
        let (method, path, headers) = (request.method, request.path, &self.headers);
        let mut head = Vec::with_capacity(self.path.len() + path.len() + headers.len() + 192);
        let verb: &[u8] = match method {
            Method::Get => b"GET ",
            Method::Post => b"POST ",
        };
        for part in [verb, self.path.as_bytes(), path.as_bytes(), b" HTTP/1.1\r\n", headers.as_bytes()] {
            head.extend_from_slice(part);
        }
        if method == Method::Post {
            let length = request.body.len();
            head.extend_from_slice(
                format!("Content-Type: application/json\r\nContent-Length: {length}\r\n").as_bytes(),
            );
        }
        if !request.traceparent.is_empty() {
            for part in ["traceparent: ", request.traceparent, "\r\n"] {
                head.extend_from_slice(part.as_bytes());
            }
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// What every request says whatever it asks for.
fn headers_for(authority: &str) -> String {
    format!("Host: {authority}\r\nUser-Agent: taskmaster/{}\r\nAccept: */*\r\n", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_apart() {
        let endpoint = Endpoint::parse("https://[::1]:8443/api/").unwrap().header("Authorization", "Bearer x").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port, endpoint.is_tls), ("::1", 8443, true));
        let head = String::from_utf8(endpoint.request_head(&Request::post("/v1/models", "{}"))).unwrap();
        assert!(head.starts_with("POST /api/v1/models HTTP/1.1\r\nHost: [::1]:8443\r\n"), "{head}");
        assert!(
            head.ends_with("Authorization: Bearer x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"),
            "{head}"
        );
        let request = Request::get("/").traced("00-1-2-01");
        let head = String::from_utf8(endpoint.request_head(&request)).unwrap();
        assert!(head.ends_with("Authorization: Bearer x\r\ntraceparent: 00-1-2-01\r\n\r\n"), "{head}");
        assert_eq!(Endpoint::parse("http://lab").unwrap().port, 80);
    }

    #[test]
    fn odd_urls_and_keys_are_refused() {
        for bad in ["", "lab:80", "ftp://lab", "http://", "http://a@lab", "http://lab/?x"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
        assert!(Endpoint::parse("http://lab").unwrap().header("Authorization", "a\r\nb: c").is_err());
    }
}
