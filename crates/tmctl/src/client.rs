//! The servers that the user named, tried in order, and calls on them with a deadline.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::config::{Mode, Privacy};
use base::retry::Backoff;
use base::{Code, Fault, Result};
use net::{Audit, Channels, ClientTls, Connector, Policy, Purpose, Roots};
use proto::admin::admin_client::AdminClient;
use proto::backup::backups_client::BackupsClient;
use proto::inference::inference_client::InferenceClient;
use proto::planning::planning_client::PlanningClient;
use proto::research::research_client::ResearchClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Uri};
use tonic::{Request, Response, Status};

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// For calls that a server answers from what it knows.
pub const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Explanations and lists of a large cluster; tonic's own limit is 4 MiB.
const MAX_MESSAGE: usize = 32 << 20;
/// The largest document that a server keeps, with what is told about it.
const MAX_DOCUMENT: usize = crate::file::MOST_DOCUMENT as usize + (1 << 20);

/// A server that is started anew is back within some ten seconds.
pub const PATIENCE: Patience = Patience {
    rounds: 8,
    pause: Backoff { first: Duration::from_millis(300), most: Duration::from_secs(2), jitter: 0.5 },
};

/// How long something half done is worth waiting for when its server is gone.
#[derive(Clone, Copy)]
pub struct Patience {
    /// Rounds over all servers without anything new.
    pub rounds: usize,
    /// Between two rounds.
    pub pause: Backoff,
}

/// Where a call says who it comes from; history shows it behind the name of the key.
const WHO: &str = "x-tm-who";

/// A channel that shows the key with every call.
pub type Keyed = InterceptedService<Channel, Key>;

/// The servers to talk to, in the user's order; at least one.
pub struct Servers {
    servers: Vec<Server>,
    connector: Connector,
    key: Key,
}

struct Server {
    /// As the user wrote it.
    address: String,
    host: String,
    port: u16,
    tls: Option<ClientTls>,
}

/// Puts the API key into the metadata of a call, and who it comes from, where that does not stand there yet.
#[derive(Clone)]
pub struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        if !request.metadata().contains_key(WHO) {
            request.metadata_mut().insert(WHO, MetadataValue::from_static(crate::changes::BY_HAND));
        }
        Ok(request)
    }
}

/// An open connection to one server.
pub struct Connection {
    /// The server, as the user wrote it.
    pub server: String,
    channel: Keyed,
}

impl Connection {
    /// The admin service.
    pub fn admin(&self) -> AdminClient<Keyed> {
        AdminClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// The inference service.
    pub fn inference(&self) -> InferenceClient<Keyed> {
        InferenceClient::new(self.channel.clone()).max_encoding_message_size(MAX_MESSAGE)
    }

    /// The service of backups.
    pub fn backups(&self) -> BackupsClient<Keyed> {
        BackupsClient::new(self.channel.clone())
    }

    /// The planning service.
    pub fn planning(&self) -> PlanningClient<Keyed> {
        let client = PlanningClient::new(self.channel.clone());
        client.max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
    }

    /// The research service.
    pub fn research(&self) -> ResearchClient<Keyed> {
        let client = ResearchClient::new(self.channel.clone());
        client.max_decoding_message_size(MAX_DOCUMENT).max_encoding_message_size(MAX_DOCUMENT)
    }
}

impl Servers {
    /// Reads the addresses, the key and the CA.
    pub fn new(addresses: &[String], key: Option<&str>, ca: Option<&Path>) -> Result<Self> {
        let key = key.map(key_value).transpose()?;
        let ca = ca.map(|path| Roots::file(path).map_err(wrong_ca)).transpose()?;
        let servers =
            addresses.iter().map(|address| server(address.trim(), ca.as_ref())).collect::<Result<Vec<_>>>()?;
        if servers.is_empty() {
            return Err(Fault::invalid("no server is given").hint("give --server host:3002"));
        }
        Ok(Self { servers, connector: connector()?, key: Key(key) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// The first one's host, as it was written.
    pub fn first_host(&self) -> &str {
        self.servers.first().map_or("127.0.0.1", |server| &server.host)
    }

    /// A connection to the first that can be reached.
    pub async fn connect(&self) -> Result<Connection> {
        let mut reasons = Vec::new();
        for index in 0..self.count() {
            match self.connect_to(index).await {
                Ok(connection) => return Ok(connection),
                Err(fault) => reasons.push(fault.full_message()),
            }
        }
        Err(Fault::new(Code::Unreachable, reasons.join("; ")).hint(self.when_nobody_answers()))
    }

    /// What to do when none can be reached. Another machine's node serves its own loopback alone until it is told otherwise.
    pub fn when_nobody_answers(&self) -> &'static str {
        let is_own = |server: &Server| {
            let host = server.host.trim_matches(['[', ']']);
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        match self.servers.iter().all(is_own) {
            true => "start `tmd --dev` here, or name a server with --server host:3002 or TMCTL_SERVER",
            false => {
                "see that `tmd` runs there and that its `grpc.listen` is off loopback, as 0.0.0.0:3002; then give --ca as well"
            }
        }
    }

    /// A connection to number `index`, counted round and round.
    pub async fn connect_to(&self, index: usize) -> Result<Connection> {
        let server = self
            .servers
            .get(index % self.count())
            .ok_or_else(|| Fault::internal("no server is given").hint("give --server host:3002"))?;
        let Server { address, host, port, tls } = server;
        // A channel dials with its first call, too late to take the next server. So whether one is there is asked first.
        self.connector.connect(Purpose::Client, host, *port, CONNECT_LIMIT).await.map_err(unreachable)?;
        let channel = Channels::new(self.connector.clone()).channel(Purpose::Client, address, tls.as_ref())?;
        let channel = InterceptedService::new(channel, self.key.clone());
        Ok(Connection { server: address.clone(), channel })
    }
}

/// Dials for this process. The person who names an address is the owner of the rule, so every address is the house's.
pub fn connector() -> Result<Connector> {
    let local_ranges = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let policy = Policy::new(&Privacy { mode: Mode::LocalOnly, local_ranges })?;
    Ok(Connector::new(Arc::new(policy), Audit::new()))
}

/// Awaits one call, within `limit`.
pub async fn call<T>(limit: Duration, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(told(&status)),
        Err(_) => Err(Fault::new(Code::DeadlineExceeded, format!("the server did not answer within {limit:?}"))
            .hint("look at the server's log; it is reachable but busy or stuck")),
    }
}

/// Whether the same may go on at another server. A refusal may not: it is the same cluster behind every door.
pub fn is_worth_another_server(code: Code) -> bool {
    matches!(code, Code::Unreachable | Code::Unavailable | Code::EngineCut)
}

/// What a status says, and what to do about it where the server itself could not say.
pub fn told(status: &Status) -> Fault {
    if let Some(fault) = net::channel::cause(status) {
        return unreachable(fault);
    }
    let fault = proto::from_status(status);
    match fault.code {
        _ if fault.hint.is_some() => fault,
        // The words of the transport say nothing that a person can use.
        Code::Unreachable => Fault::new(Code::Unreachable, "the connection to the server broke before it had answered")
            .hint(
                "a change that was asked for may have been made: look before you repeat it, as with `tmctl tasks history` or \
                 `tmctl jobs`; and whether `tmd` still runs there",
            ),
        Code::NotSupported => {
            fault.hint("the server is of another release, or was built without it; see `tmctl doctor`")
        }
        Code::Unauthenticated => fault.hint("give a key with --key or TMCTL_KEY; `tmctl keys create` makes one"),
        _ => fault.hint("the server's log says more"),
    }
}

/// What the connector could not do, as what it means here. That a server cannot be trusted stays what it is.
fn unreachable(mut fault: Fault) -> Fault {
    if fault.code.is_retriable() {
        fault.code = Code::Unreachable;
    }
    fault
}

/// TLS is for `https://` addresses, and for all that name no scheme when a CA is given.
fn server(address: &str, ca: Option<&Roots>) -> Result<Server> {
    let wrong = |why: &str| {
        Fault::invalid(format!("`{address}` is no server: {why}")).hint("write it as host:3002 or https://host:3002")
    };
    let uri: Uri = match address.contains("://") {
        true => address.parse().map_err(|_| wrong("it is no address"))?,
        false => format!("http://{address}").parse().map_err(|_| wrong("it is no address"))?,
    };
    let (Some(host), Some(port)) = (uri.host().filter(|host| !host.is_empty()), uri.port_u16()) else {
        return Err(wrong("host or port is missing"));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_plain = address.starts_with("http://");
    let tls = match (uri.scheme_str(), ca) {
        (Some("https"), None) => {
            return Err(Fault::invalid(format!("`{address}` wants TLS, but no CA is given"))
                .hint("give the cluster's CA with --ca ca.pem or TMCTL_CA"));
        }
        (Some("http" | "https"), Some(ca)) if !is_plain => Some(ClientTls::web(ca, &host, &[b"h2"])?),
        (Some("http"), _) => None,
        _ => return Err(wrong("only http:// and https:// may stand in front")),
    };
    Ok(Server { address: address.to_owned(), host, port, tls })
}

fn wrong_ca(fault: Fault) -> Fault {
    fault.hint("give the cluster's ca.pem, as `tmctl ca init` made it")
}

fn key_value(key: &str) -> Result<MetadataValue<Ascii>> {
    let mut value = MetadataValue::try_from(format!("Bearer {key}")).map_err(|_| {
        Fault::invalid("the key has characters that no key has").hint("give it as `tmctl keys create` showed it")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::fault_text;

    #[test]
    fn every_call_says_who_it_comes_from_once() {
        let who = |request: Request<()>| {
            let request = Key(None).call(request).unwrap();
            request.metadata().get_all(WHO).iter().map(|who| who.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(who(Request::new(())), ["tmctl"]);
        let mut editor = Request::new(());
        editor.metadata_mut().insert(WHO, MetadataValue::from_static("tmctl mcp"));
        assert_eq!(who(editor), ["tmctl mcp"]);
    }

    #[test]
    fn addresses_that_cannot_be_dialled_are_refused_with_a_hint() {
        let mut text = String::new();
        for address in ["", "host", "http://", "ftp://host:1", "https://host:3002", "host:port", ":3002"] {
            let fault = Servers::new(&[address.to_owned()], None, None).err().expect(address);
            text.push_str(&fault_text(&fault));
        }
        let key = Servers::new(&["h:1".to_owned()], Some("a\nb"), None);
        text.push_str(&fault_text(&key.err().unwrap()));
        let ca = Servers::new(&["h:1".to_owned()], None, Some(Path::new("/nonexistent/ca.pem")));
        text.push_str(&fault_text(&ca.err().unwrap()));
        insta::assert_snapshot!("wrong_servers", text);
    }

    #[tokio::test]
    async fn the_next_server_is_tried_when_one_is_not_there() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addresses = [gone.to_string(), there.local_addr().unwrap().to_string()];
        let servers = Servers::new(&addresses, None, None).unwrap();
        assert_eq!(servers.connect().await.unwrap().server, addresses[1]);

        let servers = Servers::new(&addresses[..1], None, None).unwrap();
        let fault = servers.connect().await.err().unwrap();
        assert_eq!(fault.code, Code::Unreachable);
        let of_another = Servers::new(&["192.168.1.11:3002".to_owned()], None, None).unwrap().when_nobody_answers();
        let text = fault_text(&fault).replace(&addresses[0], "ADDRESS") + of_another + "\n";
        insta::assert_snapshot!("unreachable", text);
    }

    #[test]
    fn the_key_goes_along_with_each_call() {
        let mut key = Key(Some(key_value("tm-secret").unwrap()));
        let request = key.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap().to_str().unwrap(), "Bearer tm-secret");
        assert!(request.metadata().get("authorization").unwrap().is_sensitive());
    }

    #[test]
    fn a_status_without_a_hint_gets_one() {
        let mut text = String::new();
        for code in [tonic::Code::Unimplemented, tonic::Code::Unauthenticated, tonic::Code::Internal] {
            text.push_str(&fault_text(&told(&Status::new(code, "it failed"))));
        }
        let mut lost = Status::unknown("transport error");
        lost.set_source(Arc::new(std::io::Error::other("reset")));
        text.push_str(&fault_text(&told(&lost)));
        text.push_str(&fault_text(&told(&proto::to_status(&Fault::invalid("wrong").hint("its own hint")))));
        insta::assert_snapshot!("statuses", text);
    }

    /// Serves no service at all over TLS, as `name`; the answer to any call is then "unimplemented".
    fn serve_tls(folder: &Path, name: &str) -> String {
        let passphrase = net::ca::Passphrase::new("correct horse").unwrap();
        net::ca::init(folder, &passphrase, net::ca::Existing::Keep).unwrap();
        let order = net::ca::Order::new(name, &[]);
        let issued = net::ca::issue(folder, &passphrase, &order, net::ca::Existing::Keep).unwrap();
        let [pem, key] = [issued.certificate, issued.key].map(|path| std::fs::read(path).unwrap());
        let identity = tonic::transport::Identity::from_pem(pem, key);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let incoming = tokio::net::TcpListener::from_std(listener).unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(incoming);
        let mut server = tonic::transport::Server::builder()
            .tls_config(tonic::transport::ServerTlsConfig::new().identity(identity))
            .unwrap();
        let serving = server.add_routes(tonic::service::Routes::default()).serve_with_incoming(incoming);
        tokio::task::spawn_local(serving);
        address
    }

    #[tokio::test]
    async fn a_server_behind_tls_is_believed_by_its_ca_alone() {
        net::install_default_provider();
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let passphrase = net::ca::Passphrase::new("correct horse").unwrap();
        net::ca::init(other.path(), &passphrase, net::ca::Existing::Keep).unwrap();
        let calls = async {
            let address = serve_tls(ours.path(), "grey-area");
            let mut codes = Vec::new();
            for folder in [ours.path(), other.path()] {
                let servers = Servers::new(std::slice::from_ref(&address), None, Some(&folder.join("ca.pem"))).unwrap();
                let mut admin = servers.connect().await.unwrap().admin();
                let answer = call(CALL_LIMIT, admin.list_nodes(proto::admin::ListNodesRequest {})).await;
                codes.push(answer.unwrap_err().code);
            }
            codes
        };
        let codes = tokio::task::LocalSet::new().run_until(calls).await;
        assert_eq!(codes, [Code::NotSupported, Code::Unauthenticated]);
    }
}
