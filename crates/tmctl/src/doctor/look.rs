//! What `doctor` looks at: sockets, files and one call to the server. Each look has a limit and fails as a value.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::config::{Config, Sources, Store};
use base::{ByteSize, Code, Fault, Result};
use net::{Connector, Purpose};
use proto::admin::{ListNodesRequest, ListNodesResponse, ListWorkersRequest, WorkerItem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Check;
use crate::client::{CALL_LIMIT, Servers, call};

const LIMIT: Duration = Duration::from_secs(2);
/// The line with the status and then some.
const MAX_ANSWER: usize = 512;
/// A list of all models of a house, and more.
const MAX_BODY: u64 = 4 << 20;
const LIBRARY: &str = "libnvidia-ml.so.1";
/// NixOS, Debian, Fedora, others, WSL.
const LIBRARY_FOLDERS: [&str; 5] =
    ["/run/opengl-driver/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib/wsl/lib"];

/// Where an installed node has its configuration.
const USUAL: &str = "/etc/taskmaster/tmd.toml";

/// Who answers on a port.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP server, with this status.
    Http(u16),
    /// Nobody listens.
    Nobody,
    /// Somebody listens who does not speak HTTP; what was said.
    Odd(String),
}

/// The server that answers, with what it knows.
pub struct Server {
    /// Its address.
    pub address: String,
    /// The nodes.
    pub nodes: ListNodesResponse,
    /// The workers of all of them.
    pub workers: Vec<WorkerItem>,
}

/// The server that answers.
pub async fn server(servers: &Servers) -> Result<Server> {
    let connection = servers.connect().await?;
    let nodes = call(CALL_LIMIT, connection.admin().list_nodes(ListNodesRequest {})).await?;
    let workers = call(CALL_LIMIT, connection.admin().list_workers(ListWorkersRequest {})).await?.workers;
    Ok(Server { address: connection.server, nodes, workers })
}

/// Who answers `GET path` at `host:port`.
pub async fn http(connector: &Connector, purpose: Purpose, (host, port): (&str, u16), path: &str) -> Answer {
    let Ok(mut stream) = connector.connect(purpose, host, port, LIMIT).await else {
        return Answer::Nobody;
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\n\r\n");
    let mut said = vec![0; MAX_ANSWER];
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read(&mut said).await
    };
    match timeout(LIMIT, exchange).await {
        Ok(Ok(length)) => {
            said.truncate(length);
            status_of(&String::from_utf8_lossy(&said))
        }
        Ok(Err(error)) => Answer::Odd(error.to_string()),
        Err(_) => Answer::Odd(format!("it says nothing for {LIMIT:?}")),
    }
}

/// An answer, as far as it matters.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// At most [`MAX_BODY`].
    pub body: Vec<u8>,
}

/// The answer to `GET path` with a key, in OpenAI's way.
pub async fn get(
    connector: &Connector,
    purpose: Purpose,
    (host, port): (&str, u16),
    path: &str,
    key: Option<&str>,
) -> Result<Reply> {
    let mut stream = connector.connect(purpose, host, port, LIMIT).await?;
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let key =
        key.filter(|key| is_plain(key)).map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"));
    let path: String = path.chars().filter(char::is_ascii_graphic).collect();
    // HTTP/1.0: whoever answers that sends the body as it is, and closes.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {host}:{port}\r\n{key}\r\n");
    let odd =
        |what: &str| Fault::new(Code::Unreachable, format!("{host}:{port} {what}")).hint("look who listens there");
    let mut said = Vec::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.take(MAX_BODY).read_to_end(&mut said).await
    };
    match timeout(LIMIT, exchange).await {
        Ok(Ok(_)) => {}
        // What came before the connection broke may be the whole answer.
        Ok(Err(_)) if !said.is_empty() => {}
        Ok(Err(error)) => return Err(odd("breaks the connection").because(error)),
        Err(_) => return Err(odd("does not answer in time")),
    }
    let end = said.windows(4).position(|four| four == b"\r\n\r\n");
    let head = String::from_utf8_lossy(said.get(..end.unwrap_or(said.len())).unwrap_or_default()).into_owned();
    match (status_of(&head), end) {
        (Answer::Http(status), Some(end)) => Ok(Reply { status, body: said.split_off(end + 4) }),
        _ => Err(odd("does not speak HTTP")),
    }
}

fn status_of(said: &str) -> Answer {
    let line = said.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|status| status.parse().ok());
    match status {
        Some(status) => Answer::Http(status),
        None if line.is_empty() => Answer::Odd("it closes the connection".to_owned()),
        None => Answer::Odd(line.chars().take(40).collect()),
    }
}

/// Whether the kernel has the NVIDIA driver.
pub fn has_nvidia_driver() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
}

/// Where the driver's library is.
pub fn nvidia_library() -> Option<PathBuf> {
    LIBRARY_FOLDERS.iter().map(|folder| Path::new(folder).join(LIBRARY)).find(|path| path.exists())
}

/// What `file` configures, when one is given, and the folder whose disk counts.
pub fn config(file: Option<&Path>) -> (Option<Result<Config>>, PathBuf) {
    let Some(file) = file else {
        // Its disk counts also for whoever does not name it; what else it says needs its secrets.
        let usual = Path::new(USUAL).exists().then(|| read_config(Path::new(USUAL)).ok()).flatten();
        return (None, usual.map_or_else(here, |config| existing(&config.node.data_dir)));
    };
    let config = read_config(file);
    let folder = config.as_ref().map_or_else(|_| here(), |config| existing(&config.node.data_dir));
    (Some(config), folder)
}

/// Written out, so that a person sees which disk is meant.
pub fn here() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

fn read_config(file: &Path) -> Result<Config> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Fault::invalid(format!("could not read `{}`", file.display()))
            .because(error)
            .hint("give the path of tmd's configuration file")
    })?;
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    Config::resolve(&Sources { file: Some((file, text)), ..Sources::default() }).map_err(|faults| {
        let first = faults.0.first().map(|fault| format!("`{}` {}", fault.field, fault.problem)).unwrap_or_default();
        let more = match faults.0.len() {
            0 | 1 => String::new(),
            count => format!("; {} more", count - 1),
        };
        Fault::invalid(format!("the configuration has faults: {first}{more}"))
            .hint("`tmd check --config FILE` names them all, each with what to do")
    })
}

/// The folder itself or the nearest above it: before the first start of `tmd` there is none yet.
fn existing(folder: &Path) -> PathBuf {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Checks of the configuration and of the store that it names.
pub async fn store(connector: &Connector, config: Result<Config>) -> Vec<Check> {
    let config = match config {
        Ok(config) => config,
        Err(fault) => return vec![Check::fail("config", &fault)],
    };
    let mut checks =
        vec![Check::ok("config", format!("node {} in {}", config.node.name, config.node.data_dir.display()))];
    match &config.store {
        Store::Sled => checks.push(Check::ok("store", "sled in the data folder: a single node")),
        Store::Etcd(etcd) => {
            for endpoint in &etcd.endpoints {
                checks.push(match member(connector, endpoint).await {
                    Ok(found) => Check::ok("etcd", found),
                    Err(fault) => Check::fail("etcd", &fault),
                });
            }
        }
    }
    checks
}

/// Asks a member for its health; behind TLS only whether it listens, because its certificate is `tmd`'s to judge.
async fn member(connector: &Connector, endpoint: &str) -> Result<String> {
    let fault = |what: String| {
        Fault::unavailable(format!("{endpoint} {what}"))
            .hint("look at etcd there (`etcdctl endpoint health`); asks go on without it, planning waits")
    };
    let (scheme, address) = endpoint.split_once("://").unwrap_or(("http", endpoint));
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = parts.ok_or_else(|| fault("names no port".into()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if scheme == "https" {
        connector.connect(Purpose::Etcd, host, port, LIMIT).await?;
        return Ok(format!("{endpoint} listens"));
    }
    match http(connector, Purpose::Etcd, (host, port), "/health").await {
        Answer::Http(200) => Ok(format!("{endpoint} is healthy")),
        Answer::Http(status) => Err(fault(format!("says that it is not healthy (HTTP {status})"))),
        Answer::Nobody => Err(fault("does not listen".into())),
        Answer::Odd(what) => Err(fault(format!("is no etcd: {what}"))),
    }
}

/// Room left for a user on the disk of `folder`.
pub fn free_bytes(folder: &Path) -> io::Result<ByteSize> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(ByteSize(disk.f_bavail.saturating_mul(disk.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_counts_as_an_engine() {
        assert_eq!(status_of("HTTP/1.1 404 Not Found\r\n"), Answer::Http(404));
        assert_eq!(status_of("HTTP/1.0 200\r\n"), Answer::Http(200));
        for odd in ["", "SSH-2.0", "HTTP/1.1", "HTTP/1.1 abc", "HTTP/1.é 20é"] {
            assert!(matches!(status_of(odd), Answer::Odd(_)), "{odd}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_nobody_and_an_open_one_is_somebody() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let _ = io::Read::read(&mut stream, &mut request);
            io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        let (connector, at) = (crate::client::connector().unwrap(), ("127.0.0.1", address.port()));
        assert_eq!(http(&connector, Purpose::Engine, at, "/health").await, Answer::Http(200));
        server.join().unwrap();
        assert_eq!(http(&connector, Purpose::Engine, at, "/health").await, Answer::Nobody);
    }

    #[tokio::test]
    async fn a_configuration_is_looked_through_to_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("node.toml");
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        std::fs::write(
            &file,
            format!(
                "[node]\nname = \"a\"\ndata_dir = \"data\"\n[store]\nkind = \"etcd\"\nendpoints = [\"http://{gone}\"]\n"
            ),
        )
        .unwrap();
        let (read, disk) = config(Some(&file));
        assert_eq!(disk, folder.path());
        let connector = crate::client::connector().unwrap();
        let checks = store(&connector, read.unwrap()).await;
        assert_eq!(checks[1].state, super::super::State::Fail, "{checks:?}");
        assert!(checks[1].found.contains("does not listen"));

        std::fs::write(&file, "[nodes]\n").unwrap();
        let checks = store(&connector, config(Some(&file)).0.unwrap()).await;
        assert_eq!(checks[0].state, super::super::State::Fail);
    }

    #[test]
    fn the_disk_has_room() {
        assert!(free_bytes(Path::new("/")).is_ok());
    }
}
