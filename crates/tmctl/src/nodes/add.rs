//! `tmctl node add NAME`: a certificate for a new machine, and the one line to be run there.

use base::{Fault, Result};
use net::ca::{self, Existing, Order};
use net::joining::{Backup, House, Joining};
use proto::admin::{GetStoreRequest, GetStoreResponse};
use serde::Serialize;

use crate::ca::Folder;
use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Verdict};

/// Where a cluster keeps its data when nobody says otherwise, as deploy/grey-area.toml does.
const PREFIX: &str = "/taskmaster/home";

/// What can be said of a new node.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine's name: unique in the cluster
    name: String,
    #[command(flatten)]
    folder: Folder,
    /// Name or address by which the others reach it; its name by default
    #[arg(long, value_name = "HOST")]
    address: Option<String>,
    /// URL of an etcd member, as the new machine reaches it; may be given again. A server is asked otherwise
    #[arg(long = "store", value_name = "URL")]
    endpoints: Vec<String>,
    /// Below what the cluster keeps its data in etcd; with --store only
    #[arg(long, requires = "endpoints", default_value = PREFIX)]
    prefix: String,
    /// Replace the certificate that the folder has for this name
    #[arg(long)]
    yes: bool,
}

/// Runs it.
pub async fn run(servers: &Servers, screen: &mut Screen, args: Args) -> Result<Verdict, Ended> {
    let Args { name, folder, address, endpoints, prefix, yes } = args;
    let dir = folder.there()?;
    let store = match endpoints.is_empty() {
        true => asked(servers).await?,
        false => GetStoreResponse { endpoints, prefix, house: house_asked(servers, screen).await },
    };
    let host = address.unwrap_or_else(|| name.clone());
    let existing = if yes { Existing::Replace } else { Existing::Keep };
    let passphrase = folder.passphrase()?;
    let issued = ca::issue(dir, &passphrase, &Order::new(&name, std::slice::from_ref(&host)), existing)?;
    let joining = Joining {
        ca: read(&dir.join("ca.pem"))?,
        cert: read(&issued.certificate)?,
        key: read(&issued.key)?,
        endpoints: store.endpoints,
        prefix: store.prefix,
        house: store.house.map_or_else(House::default, house),
        name,
        host,
    };
    let line = format!("tmd join {}", joining.to_code()?);
    screen.show(|_| format!("{line}\n"), &Added { node: &joining.name, command: &line })?;
    screen.note(
        "run this line on the new machine, in the folder for its configuration\n\
         it is a secret: whoever reads it is that node, until `tmctl ca revoke`; `tmd join -` reads the code from its input\n",
    );
    Ok(Verdict::Done)
}

/// Where the store is, as a server finds it. An address of that server's own loopback helps no other machine.
async fn asked(servers: &Servers) -> Result<GetStoreResponse> {
    const HINT: &str = "give --store with the URL of an etcd member, as the new machine reaches it";
    let connection = servers.connect().await.map_err(|fault| fault.hint(HINT))?;
    let store = call(CALL_LIMIT, connection.admin().get_store(GetStoreRequest {})).await?;
    check(store, &connection.server).map_err(|fault| fault.hint(HINT))
}

/// What the house has in common, where a server answers: a CA may well be kept on a machine that reaches none.
async fn house_asked(servers: &Servers, screen: &mut Screen) -> Option<proto::admin::House> {
    let asked = async {
        let connection = servers.connect().await?;
        call(CALL_LIMIT, connection.admin().get_store(GetStoreRequest {})).await
    };
    let (house, why) = match asked.await {
        Ok(store) => (store.house, "the server is of an older release".to_owned()),
        Err(fault) => (None, fault.message),
    };
    if house.is_none() {
        screen.note(&format!(
            "no server told what the nodes have in common ({why}): the new one wants keys (auth.keys = \"store\"), is \
             locked (privacy.lock) and makes no backups; where the others differ, change its file\n"
        ));
    }
    house
}

fn house(told: proto::admin::House) -> House {
    let proto::admin::House { keys, mode, lock, local_percent, local_ranges, backup } = told;
    let backup = backup.map(|proto::admin::HouseBackup { to, every_s, keep, recipient }| Backup {
        to,
        every_s,
        keep,
        recipient,
    });
    House { keys, mode, lock, local_percent, local_ranges, backup }
}

fn check(store: GetStoreResponse, server: &str) -> Result<GetStoreResponse> {
    if store.endpoints.is_empty() {
        return Err(Fault::invalid(format!("{server} has a store of its own; a cluster shares an etcd")));
    }
    let host = |url: &str| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.rsplit_once(':').map_or(rest, |(host, _)| host).trim_matches(['[', ']']).to_owned()
    };
    let is_own = |url: &&String| {
        let host = host(url);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    match store.endpoints.iter().find(is_own) {
        Some(url) => Err(Fault::invalid(format!("{server} reaches the store at `{url}`, which is that machine alone"))),
        None => Ok(store),
    }
}

fn read(path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Fault::internal(format!("could not read `{}`", path.display())).because(error).hint("try again with --yes")
    })
}

#[derive(Serialize)]
struct Added<'a> {
    node: &'a str,
    command: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_on_loopback_is_no_use_to_another_machine() {
        let store = |endpoints: &[&str]| GetStoreResponse {
            endpoints: endpoints.iter().map(|url| (*url).to_owned()).collect(),
            prefix: "/p".to_owned(),
            house: None,
        };
        for wrong in [
            &[] as &[&str],
            &["http://127.0.0.1:2379"],
            &["https://nas:2379", "http://[::1]:2379"],
            &["http://localhost:1"],
        ] {
            assert!(check(store(wrong), "a:3002").is_err(), "{wrong:?}");
        }
        assert!(check(store(&["http://grey-area:2379", "https://10.0.0.7:2379"]), "a:3002").is_ok());
    }
}
