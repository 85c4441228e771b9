//! Pages that become documents: fetched by GET through `net`, where the mode allows it.
//!
//! Each redirect is judged anew by where it leads. Pages of the house are fetched from hosts that the owner named, and never
//! because one outside sends there: this node would ask its neighbours in the name of a stranger. No cookie, no key, no script, no second try.

use std::time::Duration;

use base::{BoxFuture, Code, Fault, Result};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use net::audit::caused_by;
use net::{ClientTls, Connector, Purpose, Roots, Verdict};
use research::fetch::{self, Fetch, Fetched};
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

/// From the first dial to the last byte, redirects included.
const WITHIN: Duration = Duration::from_secs(30);
/// The most bytes of a page.
const MOST_BYTES: usize = 16 << 20;
/// The most redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// Fetches pages.
pub struct Pages {
    connector: Connector,
    /// Hosts of the house that may be asked.
    of_the_house: Vec<String>,
    within: Duration,
}

/// What a server answered.
enum Answer {
    /// The page.
    Page(Bytes, String),
    /// It is there instead.
    Elsewhere(Url),
}

impl Pages {
    /// Through this connector; of the house from these hosts alone.
    pub fn new(connector: Connector, of_the_house: Vec<String>) -> Self {
        Self { connector, of_the_house, within: WITHIN }
    }

    /// Whether its owner named the page's host as one of the house.
    fn purpose(&self, url: &Url, host: &str, port: u16) -> Purpose {
        let is_default = url.port().is_none();
        let is_it = |named: &String| match named
            .rsplit_once(':')
            .and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)))
        {
            Some((name, named_port)) if !name.contains(':') || name.starts_with('[') => {
                name.eq_ignore_ascii_case(host) && port == named_port
            }
            _ => named.eq_ignore_ascii_case(host) && is_default,
        };
        if self.of_the_house.iter().any(is_it) { Purpose::HousePage } else { Purpose::Web }
    }
}

impl Fetch for Pages {
    fn fetch<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Fetched>> {
        Box::pin(async move {
            // Without what stands behind it: a query may hold what is nobody's business.
            let cause = format!("document {}://{}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path());
            let followed = caused_by(cause, self.follow(url));
            match tokio::time::timeout(self.within, followed).await {
                Ok(fetched) => fetched,
                Err(_) => {
                    let limit = base::units::format_duration(self.within);
                    let fault = Fault::new(Code::DeadlineExceeded, format!("`{url}` did not come within {limit}"));
                    Err(fault.hint("try again later, or save the page and add the file"))
                }
            }
        })
    }
}

impl Pages {
    async fn follow(&self, url: &Url) -> Result<Fetched> {
        let (mut at, mut has_left) = (url.clone(), false);
        for _ in 0..=MOST_REDIRECTS {
            match self.get(&at, &mut has_left).await? {
                Answer::Page(bytes, media) => return Ok(Fetched { bytes, media, final_url: at.into() }),
                Answer::Elsewhere(next) => at = next,
            }
        }
        let message = format!("`{url}` is redirected more than {MOST_REDIRECTS} times");
        Err(Fault::unavailable(message).hint("give the address where it ends"))
    }

    async fn get(&self, url: &Url, has_left: &mut bool) -> Result<Answer> {
        let host = url.host_str().ok_or_else(|| Fault::invalid(format!("`{url}` names no host")))?;
        let port = url.port_or_known_default().unwrap_or(80);
        let purpose = self.purpose(url, host, port);
        if url.scheme() == "https" {
            let (name, http1) = (host.to_owned(), net::tls::HTTP1);
            // Reads the trusted certificates.
            let tls = tokio::task::spawn_blocking(move || ClientTls::web(&Roots::system()?, &name, http1));
            let tls = tls.await.map_err(|error| Fault::internal("could not set up TLS").because(error))??;
            let stream = self.connector.connect_tls(purpose, host, port, self.within, &tls).await?;
            self.check_way(url, stream.get_ref().get_ref().0.peer_addr(), has_left)?;
            exchange(stream, url).await
        } else {
            let stream = self.connector.connect(purpose, host, port, self.within).await?;
            self.check_way(url, stream.peer_addr(), has_left)?;
            exchange(stream, url).await
        }
    }

    /// Refuses to come back into the house from outside.
    fn check_way(&self, url: &Url, peer: std::io::Result<std::net::SocketAddr>, has_left: &mut bool) -> Result<()> {
        let peer = peer.map_err(|error| Fault::unavailable(format!("`{url}` went away")).because(error))?;
        let is_outside = self.connector.policy().allows(peer.ip(), Purpose::Web) == Verdict::External;
        check_way(url, is_outside, has_left)
    }
}

fn check_way(url: &Url, is_outside: bool, has_left: &mut bool) -> Result<()> {
    if *has_left && !is_outside {
        let message = format!("a page outside of the house leads to `{url}`, which is inside");
        return Err(Fault::new(Code::PermissionDenied, message).hint("if you mean that page, give its own address"));
    }
    *has_left |= is_outside;
    Ok(())
}

/// Asks for the page over a connection that serves nothing else.
async fn exchange<S: AsyncRead + AsyncWrite + Send + Unpin>(stream: S, url: &Url) -> Result<Answer> {
    let broken = |error: hyper::Error| Fault::unavailable(format!("`{url}` could not be fetched")).because(error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let asked = async {
        let response = sender.send_request(request(url)?).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        if let Some(next) = redirect(url, head.status, &head.headers)? {
            return Ok(Answer::Elsewhere(next));
        }
        let media = check_head(url, head.status, &head.headers)?;
        Ok(Answer::Page(read(url, body).await?, media))
    };
    tokio::pin!(asked);
    tokio::select! {
        biased;
        answer = &mut asked => answer,
        // A server may close as soon as it has sent everything; what it sent is still to be read.
        _ = connection => asked.await,
    }
}

fn request(url: &Url) -> Result<Request<Empty<Bytes>>> {
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    let path = url.path();
    let target = url.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    Request::get(target)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "taskmaster")
        .header(header::ACCEPT, "text/html, text/markdown, text/plain, application/pdf, */*;q=0.5")
        .header(header::ACCEPT_ENCODING, "identity")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Fault::invalid(format!("`{url}` cannot be asked for")).because(error))
}

/// Where the server sends instead.
fn redirect(url: &Url, status: StatusCode, headers: &HeaderMap) -> Result<Option<Url>> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let nowhere =
        || Fault::unavailable(format!("`{url}` is redirected to nowhere")).hint("give the address where it ends");
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).ok_or_else(nowhere)?;
    let next = url.join(location).map_err(|error| nowhere().because(error))?;
    fetch::normal(next.as_str()).map(Some)
}

/// Refuses what is no page; gives its media type.
fn check_head(url: &Url, status: StatusCode, headers: &HeaderMap) -> Result<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !status.is_success() {
        let code = if matches!(status.as_u16(), 404 | 410) { Code::NotFound } else { Code::Unavailable };
        return Err(Fault::new(code, format!("`{url}` answered {status}")).hint("look at it with a browser"));
    }
    if text(header::CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        let fault = Fault::unavailable(format!("`{url}` comes compressed although nobody asked for that"));
        return Err(fault.hint("save the page and add the file"));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > MOST_BYTES) {
        return Err(too_large(url));
    }
    Ok(text(header::CONTENT_TYPE).unwrap_or_default().to_owned())
}

async fn read(url: &Url, mut body: Incoming) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::unavailable(format!("`{url}` broke off")).because(error))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MOST_BYTES {
            return Err(too_large(url));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn too_large(url: &Url) -> Fault {
    let message = format!("`{url}` is larger than {} MiB", MOST_BYTES >> 20);
    Fault::new(Code::TooLarge, message).hint("save it, and add the part that you need as a file")
}

#[cfg(test)]
mod tests;
