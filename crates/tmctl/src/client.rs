//! The servers that the user named, tried in order, and calls on them with a deadline.

use std::path::Path;
use std::time::Duration;

use base::{Code, Fault, Result};
use proto::admin::admin_client::AdminClient;
use proto::inference::inference_client::InferenceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// For calls that a server answers from what it knows.
pub const CALL_LIMIT: Duration = Duration::from_secs(30);
/// A silent server is probed this often while a stream is open, and given up after as long again.
const PROBE: Duration = Duration::from_secs(5);
/// Explanations and lists of a large cluster; tonic's own limit is 4 MiB.
const MAX_MESSAGE: usize = 32 << 20;

/// A channel that shows the key with every call.
pub type Keyed = InterceptedService<Channel, Key>;

/// The servers to talk to, in the user's order; at least one.
pub struct Servers {
    endpoints: Vec<(String, Endpoint)>,
    key: Key,
}

/// Puts the API key into the metadata of a call.
#[derive(Clone)]
pub struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
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
}

impl Servers {
    /// Reads the addresses, the key and the CA.
    pub fn new(addresses: &[String], key: Option<String>, ca: Option<&Path>) -> Result<Self> {
        let key = key.map(|key| key_value(&key)).transpose()?;
        let ca = ca.map(read_ca).transpose()?;
        let endpoints =
            addresses.iter().map(|address| endpoint(address.trim(), ca.as_ref())).collect::<Result<Vec<_>>>()?;
        if endpoints.is_empty() {
            return Err(Fault::invalid("no server is given").hint("give --server host:3002"));
        }
        Ok(Self { endpoints, key: Key(key) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.endpoints.len()
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
        Err(Fault::new(Code::Unreachable, reasons.join("; "))
            .hint("start `tmd --dev` here, or name a server with --server host:3002 or TMCTL_SERVER"))
    }

    /// A connection to number `index`, counted round and round.
    pub async fn connect_to(&self, index: usize) -> Result<Connection> {
        let (server, endpoint) = self
            .endpoints
            .get(index % self.count())
            .ok_or_else(|| Fault::internal("no server is given").hint("give --server host:3002"))?;
        let channel = endpoint.connect().await.map_err(|error| unreachable(server, &error))?;
        let channel = InterceptedService::new(channel, self.key.clone());
        Ok(Connection { server: server.clone(), channel })
    }
}

/// Awaits one call, within `limit`.
pub async fn call<T>(limit: Duration, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(proto::from_status(&status)),
        Err(_) => Err(Fault::new(Code::DeadlineExceeded, format!("the server did not answer within {limit:?}"))
            .hint("look at the server's log; it is reachable but busy or stuck")),
    }
}

fn unreachable(server: &str, error: &tonic::transport::Error) -> Fault {
    // The innermost cause says it best ("connection refused"); those around it only say that something failed.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Fault::new(Code::Unreachable, format!("could not reach `{server}`: {cause}"))
        .hint("look whether `tmd` runs there, and whether its gRPC listener is open to this machine")
}

/// TLS is for `https://` addresses, and for all that name no scheme when a CA is given.
fn endpoint(address: &str, ca: Option<&Certificate>) -> Result<(String, Endpoint)> {
    let wrong = |why: String| {
        Fault::invalid(format!("`{address}` is no server: {why}")).hint("write it as host:3002 or https://host:3002")
    };
    let url = match (address.contains("://"), ca) {
        (true, _) => address.to_owned(),
        (false, Some(_)) => format!("https://{address}"),
        (false, None) => format!("http://{address}"),
    };
    let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| wrong(error.to_string()))?;
    let uri = endpoint.uri();
    if uri.host().is_none_or(str::is_empty) || uri.port_u16().is_none() {
        return Err(wrong("host or port is missing".to_owned()));
    }
    let endpoint = endpoint
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PROBE)
        .keep_alive_timeout(PROBE);
    let endpoint = match (uri_scheme(&url), ca) {
        ("https", Some(ca)) => endpoint
            .tls_config(ClientTlsConfig::new().ca_certificate(ca.clone()).timeout(CONNECT_LIMIT))
            .map_err(|error| Fault::invalid("could not use the CA").because(error).hint("give the cluster's ca.pem"))?,
        ("https", None) => {
            return Err(Fault::invalid(format!("`{address}` wants TLS, but no CA is given"))
                .hint("give the cluster's CA with --ca ca.pem or TMCTL_CA"));
        }
        ("http", _) => endpoint,
        (scheme, _) => return Err(wrong(format!("`{scheme}` is neither http nor https"))),
    };
    Ok((address.to_owned(), endpoint))
}

fn uri_scheme(url: &str) -> &str {
    url.split_once("://").map_or("http", |(scheme, _)| scheme)
}

fn key_value(key: &str) -> Result<MetadataValue<Ascii>> {
    let mut value = MetadataValue::try_from(format!("Bearer {key}")).map_err(|_| {
        Fault::invalid("the key has characters that no key has").hint("give it as `tmctl keys create` showed it")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn read_ca(path: &Path) -> Result<Certificate> {
    let pem = std::fs::read(path).map_err(|error| {
        Fault::invalid(format!("could not read the CA `{}`", path.display()))
            .because(error)
            .hint("give the cluster's ca.pem, as `tmctl ca init` made it")
    })?;
    Ok(Certificate::from_pem(pem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::fault_text;

    #[test]
    fn addresses_that_cannot_be_dialled_are_refused_with_a_hint() {
        let mut text = String::new();
        for address in ["", "host", "http://", "ftp://host:1", "https://host:3002", "host:port", ":3002"] {
            let fault = Servers::new(&[address.to_owned()], None, None).err().expect(address);
            text.push_str(&fault_text(&fault));
        }
        let key = Servers::new(&["h:1".to_owned()], Some("a\nb".to_owned()), None);
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
        let text = fault_text(&fault).replace(&addresses[0], "ADDRESS");
        insta::assert_snapshot!("unreachable", text);
    }
}
