//! Pages of a server in this process: what is taken, what is refused, and where nothing is sent at all.

use std::sync::Arc;
use std::time::Instant;

use base::config::{Mode, Privacy};
use net::{Audit, Policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

/// A server that answers each path with bytes as they stand, and remembers what it was asked.
struct Site {
    port: u16,
    asked: Arc<std::sync::Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Site {
    async fn serve(answer: impl Fn(&str, u16) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (mut serving, heard) = (JoinSet::new(), asked.clone());
        serving.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let request = String::from_utf8(request).unwrap();
                let answer = answer(request.split(' ').nth(1).unwrap(), port);
                heard.lock().unwrap().push(request);
                // Whoever was refused has gone before the end.
                let _ = stream.write_all(&answer).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        });
        Self { port, asked, _serving: serving }
    }

    fn url(&self, path: &str) -> Url {
        fetch::normal(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

/// Of the house, `site` may be asked.
fn pages(mode: Mode, site: &Site) -> Pages {
    let privacy = Privacy { mode, local_ranges: vec!["10.0.0.0/8".into()] };
    let named = ["127.0.0.1", "localhost"].map(|host| format!("{host}:{}", site.port)).to_vec();
    Pages::new(Connector::new(Arc::new(Policy::new(&privacy).unwrap()), Audit::new()), named)
}

fn redirected(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn page(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}").into_bytes()
}

#[tokio::test]
async fn a_page_of_the_house_is_fetched_in_local_only_behind_its_redirects() {
    let site = Site::serve(|path, port| match path {
        "/old?q=1" => redirected("new"),
        "/new" => redirected(&format!("http://localhost:{port}/page#part")),
        _ => page("Content-Type: text/html; charset=utf-8\r\n", "<title>Pumps</title>"),
    })
    .await;
    let fetched = pages(Mode::LocalOnly, &site).fetch(&site.url("/old?q=1")).await.unwrap();
    assert_eq!((&*fetched.bytes, fetched.media.as_str()), (&b"<title>Pumps</title>"[..], "text/html; charset=utf-8"));
    assert_eq!(fetched.final_url, format!("http://localhost:{}/page", site.port));
    let asked = site.asked.lock().unwrap()[0].to_lowercase();
    assert!(asked.starts_with("get /old?q=1 http/1.1\r\n"), "{asked}");
    for header in [&format!("host: 127.0.0.1:{}", site.port), "user-agent: taskmaster", "accept-encoding: identity"] {
        assert!(asked.contains(&format!("{header}\r\n")), "{header} in {asked}");
    }
}

#[tokio::test]
async fn nothing_outside_of_the_house_is_asked_in_local_only_not_even_its_address() {
    let site = Site::serve(|path, _| match path {
        "/name" => redirected("http://example.org/"),
        _ => redirected("http://1.1.1.1/"),
    })
    .await;
    let pages = pages(Mode::LocalOnly, &site);
    let outside = ["http://example.org/", "https://1.1.1.1/"].map(|url| fetch::normal(url).unwrap());
    for url in [&outside[0], &outside[1], &site.url("/name"), &site.url("/address")] {
        let fault = pages.fetch(url).await.unwrap_err();
        assert_eq!(fault.code, Code::PermissionDenied, "{url}: {fault}");
        assert!(fault.message.contains("local-only") && fault.hint.is_some(), "{url}: {fault:?}");
    }
    let left = pages.connector.audit().recent();
    assert!(left.iter().all(|entry| &*entry.host == "127.0.0.1" || !entry.verdict.is_allowed()), "{left:?}");
}

#[tokio::test]
async fn a_redirect_leads_to_no_special_address_no_other_scheme_and_not_round_and_round() {
    let site = Site::serve(|path, _| match path {
        "/metadata" => redirected("http://169.254.169.254/latest"),
        "/file" => redirected("file:///etc/passwd"),
        "/secret" => redirected("http://me:secret@localhost/"),
        "/nowhere" => b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => redirected("/round"),
    })
    .await;
    let pages = pages(Mode::Hybrid, &site);
    for (path, code, needle) in [
        ("/metadata", Code::PermissionDenied, "never dialled"),
        ("/file", Code::InvalidArgument, "file:"),
        ("/secret", Code::InvalidArgument, "password"),
        ("/nowhere", Code::Unavailable, "nowhere"),
        ("/round", Code::Unavailable, "more than 5 times"),
    ] {
        let fault = pages.fetch(&site.url(path)).await.unwrap_err();
        assert_eq!(fault.code, code, "{path}: {fault}");
        assert!(fault.message.contains(needle), "{path}: {fault}");
    }
    assert_eq!(site.asked(), 4 + 1 + MOST_REDIRECTS);
}

#[tokio::test]
async fn nothing_of_the_house_is_asked_that_its_owner_did_not_name_nor_by_a_redirect() {
    let engine = Site::serve(|_, _| page("", "a secret of the house")).await;
    let port = engine.port;
    let site =
        Site::serve(move |path, _| redirected(&format!("http://{}:{port}/", path.trim_start_matches('/')))).await;
    for mode in [Mode::LocalOnly, Mode::Hybrid] {
        let pages = pages(mode, &site);
        let hosts =
            ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "10.0.0.1", "169.254.169.254", "127.1", "0x7f.1"];
        for host in hosts {
            let Ok(direct) = fetch::normal(&format!("http://{host}:{port}/")) else { continue };
            for url in [direct, site.url(&format!("/{host}"))] {
                let fault = pages.fetch(&url).await.unwrap_err();
                let is_refused = matches!(fault.code, Code::PermissionDenied | Code::InvalidArgument);
                assert!(is_refused && fault.hint.is_some(), "{url} in {mode}: {fault:?}");
            }
        }
    }
    assert_eq!(engine.asked(), 0);
    assert!(site.asked() > 0, "no redirect was followed");
}

#[test]
fn a_host_of_the_house_is_named_with_its_port_or_means_the_usual_one() {
    let privacy = Privacy { mode: Mode::LocalOnly, local_ranges: Vec::new() };
    let connector = Connector::new(Arc::new(Policy::new(&privacy).unwrap()), Audit::new());
    let pages = Pages::new(connector, ["wiki.lan", "nas:8080", "[::1]:81"].map(str::to_owned).to_vec());
    for (url, named) in [
        ("http://wiki.lan/a", true),
        ("https://WIKI.lan/a", true),
        ("http://wiki.lan:8080/a", false),
        ("http://nas:8080/", true),
        ("http://nas/", false),
        ("http://[::1]:81/", true),
        ("http://[::1]/", false),
        ("http://wiki.lan.example/", false),
    ] {
        let url = fetch::normal(url).unwrap();
        let purpose = pages.purpose(&url, url.host_str().unwrap(), url.port_or_known_default().unwrap());
        assert_eq!(purpose == Purpose::HousePage, named, "{url}");
    }
}

#[test]
fn a_page_outside_sends_nobody_inside() {
    let url = fetch::normal("http://10.0.0.1/").unwrap();
    let mut has_left = false;
    let mut goes = |is_outside| check_way(&url, is_outside, &mut has_left).is_ok();
    assert_eq!([goes(false), goes(true), goes(true), goes(false)], [true, true, true, false]);
}

#[tokio::test]
async fn what_is_too_large_too_slow_compressed_or_no_page_is_refused() {
    let site = Site::serve(|path, _| match path {
        "/told" => page(&format!("Content-Length: {}\r\n", MOST_BYTES + 1), "x"),
        "/untold" => page("", &"x".repeat(MOST_BYTES + 1)),
        "/cut" => page("Content-Length: 100\r\n", "half"),
        "/packed" => page("Content-Encoding: gzip\r\n", "x"),
        "/junk" => b"hello\r\n\r\n".to_vec(),
        "/gone" => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => Vec::new(),
    })
    .await;
    let pages = Pages { within: Duration::from_secs(20), ..pages(Mode::LocalOnly, &site) };
    for (path, code) in [
        ("/told", Code::TooLarge),
        ("/untold", Code::TooLarge),
        ("/cut", Code::Unavailable),
        ("/packed", Code::Unavailable),
        ("/junk", Code::Unavailable),
        ("/gone", Code::NotFound),
    ] {
        let fault = pages.fetch(&site.url(path)).await.unwrap_err();
        assert_eq!(fault.code, code, "{path}: {fault}");
    }
    let begun = Instant::now();
    let impatient = Pages { within: Duration::from_millis(200), ..pages };
    let fault = impatient.fetch(&site.url("/slow")).await.unwrap_err();
    assert_eq!(fault.code, Code::DeadlineExceeded, "{fault}");
    assert!(begun.elapsed() < Duration::from_secs(5) && fault.message.contains("200ms"), "{fault}");
}
