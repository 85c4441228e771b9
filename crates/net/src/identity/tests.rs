//! Handshakes over real sockets: the good one, and each way to be refused, as both sides see it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Code;
use base::config::Mode;
use rcgen::{Issuer, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::audit::Audit;
use crate::ca::{self, Existing};
use crate::connector::Connector;
use crate::listen::{ServerStream, TlsAcceptor};
use crate::policy::Purpose;
use crate::policy::tests::home;
use crate::tls::{ClientTls, H2, Roots};

const SOON: Duration = Duration::from_secs(5);

struct House(TempDir);

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        ca::init(dir.path(), Existing::Keep).unwrap();
        Self(dir)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn files(&self, name: &str) -> Tls {
        Tls { ca: self.path("ca.pem"), cert: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) }
    }

    fn node(&self, name: &str) -> Identity {
        ca::issue(self.0.path(), name, &["192.168.1.9".to_owned()], Existing::Keep).unwrap();
        Identity::load(&self.files(name)).unwrap()
    }

    /// A certificate of this house's CA that ended in 2020, and an identity that shows it without looking at it.
    fn expired(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let issuer_key = KeyPair::from_pem(&text(&self.path("ca.key"))).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&text(&self.path("ca.pem")), issuer_key).unwrap();
        let mut params = ca::node_params(name, &[]).unwrap();
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
        std::fs::write(self.path(&format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        let chain = read_certificates(&self.path(&format!("{name}.pem"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
        let certified = Arc::new(CertifiedKey::from_der(chain, key, &provider()).unwrap());
        let roots = Roots::file(&self.path("ca.pem")).unwrap().store();
        Identity { name: NodeId::from(name), expires_unix_s: 0, certified, roots }
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// What both sides of one handshake, and of one exchange after it, saw.
async fn meet(server: &Identity, auth: ClientAuth, client: &ClientTls) -> (Result<ServerStream>, Result<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::new(server.server_config(H2, auth).unwrap());
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await?;
        stream.write_all(b"welcome").await.unwrap();
        stream.flush().await.unwrap();
        Ok(stream)
    };
    let connector = Connector::new(Arc::new(home(Mode::LocalOnly)), Audit::new());
    let call = async {
        let mut stream = connector.connect_tls(Purpose::Peer, "127.0.0.1", port, SOON, client).await?;
        let mut greeting = [0; 7];
        // In TLS 1.3 the server's refusal comes after the client's side of the handshake.
        let read: io::Result<usize> = stream.read_exact(&mut greeting).await;
        read.map_err(|error| client.explain(&error, "127.0.0.1"))?;
        Ok(String::from_utf8_lossy(&greeting).into_owned())
    };
    tokio::time::timeout(SOON, async { tokio::join!(serve, call) }).await.unwrap()
}

#[tokio::test]
async fn nodes_of_one_house_know_each_other_by_name() {
    let house = House::new();
    let (server, client) = (house.node("grey-area"), house.node("sleeper-service"));
    let tls = ClientTls::node(&client, "grey-area", H2).unwrap();
    let (served, called) = meet(&server, ClientAuth::Required, &tls).await;
    assert_eq!(served.unwrap().peer().node, Some(NodeId::from("sleeper-service")));
    assert_eq!(called.unwrap(), "welcome");
}

#[tokio::test]
async fn a_server_of_another_house_is_refused_by_the_client() {
    let (house, strangers) = (House::new(), House::new());
    let tls = ClientTls::node(&house.node("sleeper-service"), "grey-area", H2).unwrap();
    let (served, called) = meet(&strangers.node("grey-area"), ClientAuth::Required, &tls).await;
    let fault = called.unwrap_err();
    assert_eq!(fault.code, Code::Unauthenticated);
    assert!(fault.message.contains("(expected `grey-area`): its certificate is not signed by our CA"), "{fault:?}");
    assert!(served.is_err());
}

#[tokio::test]
async fn a_client_of_another_house_is_refused_by_name() {
    let (house, strangers) = (House::new(), House::new());
    let stranger = strangers.node("mallory");
    // It trusts the house's CA, and shows a certificate of its own.
    let roots = Roots::file(&house.path("ca.pem")).unwrap().store();
    let stranger = Identity { roots, ..stranger };
    let tls = ClientTls::node(&stranger, "grey-area", H2).unwrap();
    let (served, called) = meet(&house.node("grey-area"), ClientAuth::Required, &tls).await;
    let fault = served.err().unwrap();
    assert!(fault.message.starts_with("refused `mallory` at 127.0.0.1:"), "{fault:?}");
    assert!(fault.message.ends_with("its certificate is not signed by our CA"), "{fault:?}");
    assert!(called.unwrap_err().message.contains("it refused our certificate"));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let house = House::new();
    let tls = ClientTls::node(&house.node("sleeper-service"), "quietly-confident", H2).unwrap();
    let (_, called) = meet(&house.node("grey-area"), ClientAuth::Required, &tls).await;
    let fault = called.unwrap_err();
    assert!(fault.message.contains("is for `grey-area`"), "{fault:?}");
    assert!(fault.message.ends_with("not for `quietly-confident`"), "{fault:?}");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let house = House::new();
    let server = house.node("grey-area");
    let tls = ClientTls::web(&Roots::file(&house.path("ca.pem")).unwrap(), "grey-area", H2).unwrap();
    let (served, called) = meet(&server, ClientAuth::Required, &tls).await;
    assert!(served.err().unwrap().message.ends_with("it sent no certificate"));
    assert!(called.unwrap_err().message.ends_with("it wants a certificate and got none"));

    let (served, called) = meet(&server, ClientAuth::Optional, &tls).await;
    assert_eq!(served.unwrap().peer().node, None);
    assert_eq!(called.unwrap(), "welcome");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_with_its_date_on_either_side() {
    let house = House::new();
    let (good, old) = (house.node("grey-area"), house.expired("sleeper-service"));
    let tls = ClientTls::node(&old, "grey-area", H2).unwrap();
    let (served, called) = meet(&good, ClientAuth::Required, &tls).await;
    let fault = served.err().unwrap();
    assert!(
        fault.message.contains("`sleeper-service`") && fault.message.contains("expired on 2020-02-01"),
        "{fault:?}"
    );
    assert!(called.unwrap_err().message.contains("CertificateExpired"));

    let tls = ClientTls::node(&good, "sleeper-service", H2).unwrap();
    let (_, called) = meet(&old, ClientAuth::Required, &tls).await;
    let fault = called.unwrap_err();
    assert!(
        fault.message.contains("`sleeper-service`") && fault.message.contains("expired on 2020-02-01"),
        "{fault:?}"
    );
}

#[test]
fn loading_names_the_file_and_what_is_wrong_with_it() {
    let (house, strangers) = (House::new(), House::new());
    drop((house.node("grey-area"), house.node("other"), house.expired("old"), strangers.node("stranger")));
    std::fs::write(house.path("empty.pem"), "").unwrap();
    let good = house.files("grey-area");
    let cases = [
        (Tls { cert: house.path("absent.pem"), ..good.clone() }, "absent.pem"),
        (Tls { cert: house.path("empty.pem"), ..good.clone() }, "empty.pem` holds no certificate"),
        (Tls { ca: house.path("empty.pem"), ..good.clone() }, "empty.pem` holds no certificate"),
        (Tls { key: house.path("other.key"), ..good.clone() }, "other.key` is not the key of the certificate"),
        (Tls { key: house.path("ca.pem"), ..good.clone() }, "ca.pem` holds no private key"),
        (Tls { ca: strangers.path("ca.pem"), ..good.clone() }, "is not signed by our CA"),
        (house.files("old"), "the certificate of `old`"),
        (house.files("old"), "expired on 2020-02-01"),
    ];
    for (files, needle) in cases {
        let fault = Identity::load(&files).unwrap_err();
        assert!(fault.message.contains(needle), "{needle}: {fault:?}");
        assert!(fault.hint.is_some(), "{needle}");
    }
}

#[test]
fn an_identity_of_another_node_is_a_fault() {
    let identity = House::new().node("grey-area");
    identity.must_be(&NodeId::from("grey-area")).unwrap();
    let fault = identity.must_be(&NodeId::from("sleeper-service")).unwrap_err();
    assert!(fault.message.contains("`grey-area`") && fault.message.contains("`sleeper-service`"));
    assert!(identity.expires_unix_s() > i64::try_from(base::time::unix_ms() / 1000).unwrap() + 89 * 86_400);
}

#[tokio::test]
async fn a_server_that_never_finishes_its_handshake_ends_with_the_timeout() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connector = Connector::new(Arc::new(home(Mode::LocalOnly)), Audit::new());
    let tls = ClientTls::node(&house.node("sleeper-service"), "grey-area", H2).unwrap();
    let limit = Duration::from_millis(200);
    let fault = connector.connect_tls(Purpose::Peer, "127.0.0.1", port, limit, &tls).await.unwrap_err();
    assert_eq!(fault.code, Code::Unavailable);
    assert!(fault.message.ends_with("did not finish its TLS handshake within 200ms"), "{fault:?}");
}

#[tokio::test]
async fn a_client_that_never_begins_its_handshake_is_cut() {
    let server = House::new().node("grey-area");
    let acceptor = TlsAcceptor::new(server.server_config(H2, ClientAuth::Required).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, address) = listener.accept().await.unwrap();
    let refused = tokio::time::timeout(4 * SOON, acceptor.accept(accepted)).await.unwrap();
    assert_eq!(refused.err().unwrap().message, format!("refused {address}: no TLS handshake within 5s"));
    drop(silent);
}
