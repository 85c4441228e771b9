//! Handshakes over real sockets: the good one, and each way to be refused, as both sides see it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Code;
use base::config::{Mode, TlsIssuer};
use rcgen::{CertificateParams, KeyPair, SubjectPublicKeyInfo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::live::Shown;
use super::*;
use crate::audit::Audit;
use crate::ca::tests::passphrase;
use crate::ca::{self, Existing, Order};
use crate::connector::Connector;
use crate::listen::ServerStream;
use crate::policy::Purpose;
use crate::policy::tests::home;
use crate::tls::{ClientTls, H2, Roots, read_certificates};

const SOON: Duration = Duration::from_secs(5);

pub(crate) struct House(TempDir);

impl House {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        ca::init(dir.path(), &passphrase(), Existing::Keep).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn files(&self, name: &str) -> Tls {
        let (cert, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        Tls { ca: self.path("ca.pem"), cert, key, issuer: None }
    }

    fn issue(&self, name: &str) {
        let addresses = ["192.168.1.9".to_owned()];
        ca::issue(self.0.path(), &passphrase(), &Order::new(name, &addresses), Existing::Replace).unwrap();
    }

    pub(crate) fn node(&self, name: &str) -> Identity {
        self.issue(name);
        Identity::load(&self.files(name)).unwrap()
    }

    /// A node that may sign certificates of others.
    fn issuing(&self, name: &str) -> Identity {
        self.issue(name);
        let made = ca::issuer(self.0.path(), &passphrase(), name, Existing::Replace).unwrap();
        let issuer = Some(TlsIssuer { cert: made.certificate, key: made.key });
        Identity::load(&Tls { issuer, ..self.files(name) }).unwrap()
    }

    /// A certificate of this house's CA with another begin or end, and an identity that shows it without looking at it.
    fn odd(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Identity {
        let identity = self.issuing(name);
        let mut params = ca::node_params(name, &[]).unwrap();
        change(&mut params);
        let (key, loaded) = (KeyPair::generate().unwrap(), identity.loaded());
        let issuing = loaded.issuing.as_ref().unwrap();
        let own = params.signed_by(&key, &issuing.signer).unwrap();
        let text = own.pem() + &ca::pem_of(&issuing.certificate).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), text).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        identity.shows_unseen(&self.files(name), &self.path("ca.pem"))
    }

    fn expired(&self, name: &str) -> Identity {
        self.odd(name, |params| params.not_after = rcgen::date_time_ymd(2020, 2, 1))
    }
}

impl Identity {
    /// Shows what is in the files of `tls` and trusts the CA in `ca`, whatever is wrong with them.
    fn shows_unseen(self, tls: &Tls, ca: &Path) -> Self {
        let chain = read_certificates(&tls.cert).unwrap();
        let key = PrivateKeyDer::from_pem_file(&tls.key).unwrap();
        let certified = Arc::new(CertifiedKey::from_der(chain, key, &provider()).unwrap());
        let roots = Roots::file(ca).unwrap().0;
        Self { live: Arc::new(Live::new(Shown::new(certified, roots).unwrap())), ..self }
    }
}

fn now_s() -> i64 {
    i64::try_from(base::time::unix_ms() / 1000).unwrap()
}

/// What both sides of one handshake, and of one exchange after it, saw.
async fn meet(server: &Identity, auth: ClientAuth, client: &ClientTls) -> (Result<ServerStream>, Result<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = server.acceptor(H2, auth).unwrap();
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
        read.map_err(|error| client.explain(&error, crate::Purpose::Peer, "127.0.0.1"))?;
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
    let stranger = stranger.shows_unseen(&strangers.files("mallory"), &house.path("ca.pem"));
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
    assert!(identity.certificate().ends_s > now_s() + 89 * 86_400);
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
    let acceptor = server.acceptor(H2, ClientAuth::Required).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, address) = listener.accept().await.unwrap();
    let refused = tokio::time::timeout(4 * SOON, acceptor.accept(accepted)).await.unwrap();
    assert_eq!(refused.err().unwrap().message, format!("refused {address}: no TLS handshake within 5s"));
    drop(silent);
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_refused_with_its_date_on_either_side() {
    let house = House::new();
    let early = house.odd("sleeper-service", |params| {
        params.not_before = rcgen::date_time_ymd(2999, 2, 1);
        params.not_after = rcgen::date_time_ymd(2999, 3, 1);
    });
    let good = house.node("grey-area");
    let (served, _) = meet(&good, ClientAuth::Required, &ClientTls::node(&early, "grey-area", H2).unwrap()).await;
    assert!(served.err().unwrap().message.contains("`sleeper-service`"));
    let (_, called) = meet(&early, ClientAuth::Required, &ClientTls::node(&good, "sleeper-service", H2).unwrap()).await;
    let fault = called.unwrap_err();
    assert!(fault.message.contains("is valid only from 2999-02-01; is the clock right?"), "{fault:?}");
}

/// An RSA key of 1024 bits, of which nobody needs the private part to see that it is weak.
const WEAK: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDGOeTddLGd5P17lzVFtkFbEIE/
vI2q9jqRU0uAmpHV7MfrCckYMGab4JhHcaPlsNfG8+KPkkTg3AkpXO0qfW7HZRtx
CfhLH+LRNW5vUvG6iKpa6DIUS/EVsoiZts72eOEV+HpYDYkZHNkz8sYQXxoMhKZI
yjfQWpo1xs5f2FbhgwIDAQAB
-----END PUBLIC KEY-----
";

#[test]
fn a_weak_key_is_refused_though_the_ca_signed_it() {
    let house = House::new();
    let issuing = house.issuing("nas");
    let loaded = issuing.loaded();
    let held = loaded.issuing.as_ref().unwrap();
    let weak = SubjectPublicKeyInfo::from_pem(WEAK).unwrap();
    let signed = ca::node_params("mallory", &[]).unwrap().signed_by(&weak, &held.signer).unwrap();
    let others = [held.certificate.clone()];
    let live = issuing.live();
    let refused = live.judge_client(signed.der(), &others, UnixTime::now()).unwrap_err();
    assert_eq!(crate::tls::reason(&refused), "has a weak key: RSA of 1024 bits");
    let name = crate::tls::server_name("mallory").unwrap();
    let refused = live.judge_server(signed.der(), &others, &name, UnixTime::now()).unwrap_err();
    assert_eq!(crate::tls::reason(&refused), "has a weak key: RSA of 1024 bits");
    assert!(
        issuing.issue_for(&Facts::of(signed.der()).unwrap(), b"junk", now_s()).unwrap_err().message.contains("read")
    );
}

/// A connection over which both sides have said something.
async fn talk(server: &Identity, client: &Identity, name: &str) -> (ServerStream, crate::ClientStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = server.acceptor(H2, ClientAuth::Required).unwrap();
    let serve = async { acceptor.accept(listener.accept().await.unwrap().0).await.unwrap() };
    let connector = Connector::new(Arc::new(home(Mode::LocalOnly)), Audit::new());
    let tls = ClientTls::node(client, name, H2).unwrap();
    let call = async { connector.connect_tls(Purpose::Peer, "127.0.0.1", port, SOON, &tls).await.unwrap() };
    let (mut served, mut called) = tokio::time::timeout(SOON, async { tokio::join!(serve, call) }).await.unwrap();
    let mut byte = [0];
    served.write_all(b"x").await.unwrap();
    served.flush().await.unwrap();
    called.read_exact(&mut byte).await.unwrap();
    (served, called)
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_on_either_side_and_its_connections_end() {
    let house = House::new();
    let (a, b) = (house.node("a"), house.node("b"));
    let (mut served, mut called) = talk(&a, &b, "a").await;
    let (mut served_back, mut called_back) = talk(&b, &a, "b").await;
    let revoked = ca::revoke(house.0.path(), &passphrase(), "b").unwrap();
    assert!(a.revoke(revoked.clone()));
    assert!(!a.revoke(revoked), "the same again is no change");

    let mut byte = [0];
    for ended in [served.read(&mut byte).await, called_back.read(&mut byte).await] {
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
    drop((served, called_back));
    assert!(!matches!(called.read(&mut byte).await, Ok(1..)), "the other side learns it, too");
    assert!(!matches!(served_back.read(&mut byte).await, Ok(1..)));

    let (served, called) = meet(&a, ClientAuth::Required, &ClientTls::node(&b, "a", H2).unwrap()).await;
    let fault = served.err().unwrap();
    assert!(fault.message.starts_with("refused `b` at 127.0.0.1:"), "{fault:?}");
    assert!(fault.message.ends_with("its certificate was revoked"), "{fault:?}");
    assert!(called.unwrap_err().message.contains("CertificateRevoked"));
    let (_, called) = meet(&b, ClientAuth::Required, &ClientTls::node(&a, "b", H2).unwrap()).await;
    assert!(called.unwrap_err().message.ends_with("its certificate was revoked"));
}

#[tokio::test]
async fn files_that_change_are_shown_and_trusted_without_a_restart() {
    let house = House::new();
    let (server, client) = (house.node("server"), house.node("client"));
    let tls = ClientTls::node(&client, "server", H2).unwrap();
    let (mut open, _called) = talk(&server, &client, "server").await;
    assert!(!server.look_again().unwrap());

    // Another certificate of the same root: what is open stays open.
    let before = client.certificate().serial;
    house.issue("client");
    assert!(client.look_again().unwrap());
    assert_ne!(client.certificate().serial, before);
    let (served, _) = meet(&server, ClientAuth::Required, &tls).await;
    assert_eq!(served.unwrap().peer().certificate.as_ref().unwrap().serial, client.certificate().serial);

    // The next root beside the old one, then alone: whoever still shows a certificate of the old one is refused.
    ca::next(house.0.path(), &passphrase()).unwrap();
    house.issue("server");
    assert!(server.look_again().unwrap() && client.look_again().unwrap());
    assert_eq!((client.due(now_s()), server.due(now_s())), (Some(Due::OldRoot), None));
    assert!(meet(&server, ClientAuth::Required, &tls).await.1.is_ok(), "both are trusted in the overlap");
    ca::retire(house.0.path()).unwrap();
    assert!(server.look_again().unwrap());
    let mut byte = [0];
    assert_eq!(open.read(&mut byte).await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    let (served, _) = meet(&server, ClientAuth::Required, &tls).await;
    assert!(served.err().unwrap().message.ends_with("its certificate is not signed by our CA"));

    // What cannot be used changes nothing.
    assert!(client.look_again().unwrap_err().message.contains("is not signed by our CA"));
    std::fs::write(house.path("server.key"), "junk").unwrap();
    assert!(server.look_again().unwrap_err().message.contains("holds no private key"));
    house.issue("client");
    assert!(client.look_again().unwrap());
    assert!(meet(&server, ClientAuth::Required, &tls).await.1.is_ok());
}

#[tokio::test]
async fn an_issuer_signs_for_the_name_that_the_caller_proves_and_the_answer_outlives_a_restart() {
    let house = House::new();
    let issuer = house.issuing("nas");
    house.issue("grey-area");
    let folder = house.path("data");
    let node = Identity::load_with_renewed(&house.files("grey-area"), &folder).unwrap();
    // Certificates tell their age in seconds, and the renewed one must be the younger.
    while now_s() <= node.certificate().made_s() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = node.certificate();
    let request = node.request().unwrap();
    assert_eq!(node.issue_for(&before, &request.csr, now_s()).unwrap_err().code, Code::NotSupported);
    let chain = issuer.issue_for(&before, &request.csr, now_s()).unwrap();
    node.adopt(&request, &chain, now_s()).unwrap();
    let after = node.certificate();
    assert_ne!(after.serial, before.serial);
    assert_eq!(after.addresses, before.addresses);

    let again = Identity::load_with_renewed(&house.files("grey-area"), &folder).unwrap();
    assert_eq!(again.certificate(), after);
    let tls = ClientTls::node(&again, "nas", H2).unwrap();
    assert!(meet(&issuer, ClientAuth::Required, &tls).await.1.is_ok());

    // Another's certificate, or one for another key, is not taken on.
    let of_nas = issuer.issue_for(&issuer.certificate(), &request.csr, now_s()).unwrap();
    assert_eq!(node.adopt(&request, &of_nas, now_s()).unwrap_err().code, Code::Conflict);
    let other = node.request().unwrap();
    assert!(node.adopt(&other, &chain, now_s()).unwrap_err().message.contains("is not the key"));
    assert_eq!(node.certificate(), after);

    // What is issued by hand afterwards counts.
    while now_s() <= after.made_s() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    house.issue("grey-area");
    assert!(node.look_again().unwrap());
    assert_ne!(node.certificate().serial, after.serial);
}
