//! Channels against real tonic servers: over TLS, refused by the rule, and frozen.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use base::Code;
use base::config::Mode;
use futures_util::StreamExt;
use http::{Request, Response};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::*;
use crate::audit::Audit;
use crate::identity::ClientAuth;
use crate::identity::tests::House;
use crate::listen::{PeerInfo, incoming};
use crate::policy::tests::home;
use crate::tls::H2;

const SOON: Duration = Duration::from_secs(30);

/// Answers every call with the name of the node that asks and the scheme that it named, in a header.
#[derive(Clone)]
struct WhoAmI;

impl NamedService for WhoAmI {
    const NAME: &'static str = "test.WhoAmI";
}

impl Service<Request<Body>> for WhoAmI {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let node = request.extensions().get::<PeerInfo>().and_then(|peer| peer.node.clone());
        let mut response = Response::new(Body::empty());
        let name = node.map_or("nobody".to_owned(), |node| node.to_string());
        let who = format!("{name} over {}", request.uri().scheme_str().unwrap());
        response.headers_mut().insert("x-who", who.parse().unwrap());
        std::future::ready(Ok(response))
    }
}

fn channels() -> Channels {
    Channels::new(Connector::new(Arc::new(home(Mode::LocalOnly)), Audit::new()))
}

async fn ask(channel: &mut Channel) -> Result<String, tonic::transport::Error> {
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    let request = Request::post("/test.WhoAmI/Ask").body(Body::empty()).unwrap();
    let response = channel.call(request).await?;
    Ok(response.headers()["x-who"].to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_call_over_tls_carries_the_name_of_the_caller() {
    let house = House::new();
    let (server, client) = (house.node("grey-area"), house.node("sleeper-service"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let acceptor = server.acceptor(H2, ClientAuth::Required).unwrap();
    let serving = TaskTracker::new();
    let running = serving.spawn(
        tonic::transport::Server::builder().add_service(WhoAmI).serve_with_incoming(incoming(listener, Some(acceptor))),
    );

    // Clients that never begin their handshake do not keep others out.
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    let tls = ClientTls::node(&client, "grey-area", H2).unwrap();
    let mut channel = channels().channel(Purpose::Peer, &address, Some(&tls)).unwrap();
    let name = tokio::time::timeout(SOON, ask(&mut channel)).await.unwrap().unwrap();
    assert_eq!(name, "sleeper-service over https");
    running.abort();
}

#[tokio::test]
async fn a_plain_channel_reaches_a_plain_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = TaskTracker::new();
    let running = serving
        .spawn(tonic::transport::Server::builder().add_service(WhoAmI).serve_with_incoming(incoming(listener, None)));
    let mut channel = channels().channel(Purpose::Etcd, &address, None).unwrap();
    assert_eq!(tokio::time::timeout(SOON, ask(&mut channel)).await.unwrap().unwrap(), "nobody over http");
    running.abort();
}

#[tokio::test]
async fn the_fault_of_a_refused_dial_is_found_in_the_status() {
    let mut channel = channels().channel(Purpose::Peer, "1.1.1.1:3003", None).unwrap();
    let status = tonic::Status::from_error(Box::new(ask(&mut channel).await.unwrap_err()));
    let fault = cause(&status).unwrap();
    assert_eq!(fault.code, Code::PermissionDenied);
    assert!(fault.message.contains("1.1.1.1"), "{fault:?}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_ends_by_keep_alive() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mute = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await.ok();
    };
    let mut channel = channels().channel(Purpose::Peer, &address, None).unwrap();
    let (asked, ()) = tokio::time::timeout(SOON, async { tokio::join!(ask(&mut channel), mute) }).await.unwrap();
    assert!(asked.is_err());
}

#[tokio::test]
async fn handshakes_that_dawdle_do_not_delay_the_next_connection() {
    let house = House::new();
    let (server, client) = (house.node("grey-area"), house.node("sleeper-service"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = server.acceptor(H2, ClientAuth::Required).unwrap();
    let mut served = std::pin::pin!(incoming(listener, Some(acceptor)));
    let _dawdler = TcpStream::connect(address).await.unwrap();
    let tls = ClientTls::node(&client, "grey-area", H2).unwrap();
    let connector = Connector::new(Arc::new(home(Mode::LocalOnly)), Audit::new());
    let dialling = connector.connect_tls(Purpose::Peer, "127.0.0.1", address.port(), SOON, &tls);
    let (first, dialled) = tokio::time::timeout(SOON, async { tokio::join!(served.next(), dialling) }).await.unwrap();
    dialled.unwrap();
    assert_eq!(first.unwrap().unwrap().peer().node, Some(base::NodeId::from("sleeper-service")));
}

#[test]
fn addresses_are_read_with_and_without_scheme() {
    for (text, expected) in [
        ("grey-area:3003", Some(("grey-area", 3003))),
        ("http://127.0.0.1:2379", Some(("127.0.0.1", 2379))),
        ("https://[fd00::9]:3003/", Some(("fd00::9", 3003))),
        ("[::1]:3003", Some(("::1", 3003))),
        ("grey-area", None),
        ("", None),
        ("a b:1", None),
    ] {
        let read = host_and_port(text).ok();
        assert_eq!(read.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{text}");
    }
}
