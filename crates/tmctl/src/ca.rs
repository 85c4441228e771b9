//! `tmctl ca`: the cluster's own certificate authority, in a folder of this machine. Only `revoke` talks to a server, to tell
//! the nodes.

mod folder;
mod list;

use std::path::Path;

use base::time::rfc3339;
use base::units::parse_duration;
use base::{Code, Fault, Result};
use clap::Subcommand;
use net::ca::{self, Existing, Issued, NODE_LIFETIME, Order};
use net::certificate::Revocation;
use proto::admin::{RevokeCertificatesRequest, RevokedCertificate};
use serde::Serialize;

use crate::client::{CALL_LIMIT, Servers, call};
use crate::screen::{Ended, Screen, Verdict};
use crate::text;

pub use folder::Folder;

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes the authority: ca.pem for every node, ca.key, encrypted, to be kept safe
    Init {
        #[command(flatten)]
        folder: Folder,
        /// Make the next authority beside the one that is there; ca.pem holds both until `tmctl ca retire`
        #[arg(long)]
        next: bool,
        /// Replace the files that are there; every certificate of the old authority is worthless then
        #[arg(long, conflicts_with = "next")]
        yes: bool,
    },
    /// Issues a node's certificate and key
    Issue {
        /// The node's name, as in its configuration
        name: String,
        #[command(flatten)]
        folder: Folder,
        /// Name or address that others dial the node by; may be given again
        #[arg(long = "address", value_name = "HOST")]
        addresses: Vec<String>,
        /// How long it lasts, such as 720h; 90 days by default, and never longer
        #[arg(long = "for", value_name = "DURATION")]
        lasts: Option<String>,
        /// Replace the files that are there
        #[arg(long)]
        yes: bool,
    },
    /// Issues a node's certificate anew: another key, the same addresses
    Renew {
        /// The node's name
        name: String,
        #[command(flatten)]
        folder: Folder,
    },
    /// Makes an issuer for a node, with which it renews the certificates of all nodes by itself
    Issuer {
        /// The node that is to hold it
        name: String,
        #[command(flatten)]
        folder: Folder,
        /// Replace the files that are there
        #[arg(long)]
        yes: bool,
    },
    /// Makes certificates worthless before their time; without a name it tells the nodes of all that were revoked
    Revoke {
        /// A node's name, for all that it has, or the serial of one certificate
        what: Option<String>,
        #[command(flatten)]
        folder: Folder,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// Takes the old authority out of ca.pem, once every node has a certificate of the next one
    Retire {
        #[command(flatten)]
        folder: Folder,
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
    /// Lists the certificates in the folder
    Show {
        #[command(flatten)]
        folder: Folder,
    },
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Verb) -> Result<Verdict, Ended> {
    match verb {
        Verb::Init { folder, next, yes } => {
            let dir = folder.make()?;
            let passphrase = folder.new_passphrase()?;
            if next {
                let issued = ca::next(dir, &passphrase)?;
                return made(
                    screen,
                    &issued,
                    "give ca.pem to every node first; then issue what is to be signed by the next authority",
                );
            }
            let issued = ca::init(dir, &passphrase, existing(yes))?;
            made(
                screen,
                &issued,
                "give ca.pem to every node, and crl.pem to every member of etcd; keep ca.key where no node can read it, and the \
                 passphrase apart",
            )
        }
        Verb::Issue { name, folder, addresses, lasts, yes } => {
            let lifetime = lasts.as_deref().map_or(Ok(NODE_LIFETIME), lifetime)?;
            let order = Order { name: &name, addresses: &addresses, lifetime };
            let issued = ca::issue(folder.there()?, &folder.passphrase()?, &order, existing(yes))?;
            made(screen, &issued, "copy both to the node, and name them in its [tls] section")
        }
        Verb::Renew { name, folder } => {
            let issued = ca::renew(folder.there()?, &folder.passphrase()?, &name)?;
            made(
                screen,
                &issued,
                "copy both to the node; it takes them on by itself, or with a restart where systemd hands them over",
            )
        }
        Verb::Issuer { name, folder, yes } => {
            let issued = ca::issuer(folder.there()?, &folder.passphrase()?, &name, existing(yes))?;
            made(
                screen,
                &issued,
                "copy both to the node, and name them as issuer_cert and issuer_key in its [tls] section",
            )
        }
        Verb::Revoke { what, folder, yes } => revoke(servers, screen, what.as_deref(), &folder, yes).await,
        Verb::Retire { folder, yes } => retire(screen, &folder, yes),
        Verb::Show { folder } => list::show(screen, folder.there()?),
    }
}

fn existing(yes: bool) -> Existing {
    if yes { Existing::Replace } else { Existing::Keep }
}

fn lifetime(text: &str) -> Result<std::time::Duration> {
    parse_duration(text).filter(|lifetime| !lifetime.is_zero() && *lifetime <= NODE_LIFETIME).ok_or_else(|| {
        Fault::invalid(format!("`{text}` is no time for which a certificate may last"))
            .hint("give up to 2160h, which are 90 days")
    })
}

fn made(screen: &mut Screen, issued: &Issued, next: &str) -> Result<Verdict, Ended> {
    screen.show(|_| page(issued), &json(issued))?;
    screen.note(&format!("{next}\n"));
    Ok(Verdict::Done)
}

async fn revoke(
    servers: &Servers,
    screen: &mut Screen,
    what: Option<&str>,
    folder: &Folder,
    yes: bool,
) -> Result<Verdict, Ended> {
    let dir = folder.there()?;
    if let Some(what) = what {
        if !yes {
            return Err(unconfirmed(what).into());
        }
        ca::revoke(dir, &folder.passphrase()?, what)?;
    }
    let all = ca::revocations(dir)?;
    let told = tell(servers, &all).await;
    let server = told.as_ref().ok().map(String::as_str);
    let subject = what.unwrap_or("nothing new");
    screen.show(|_| revoked(subject, server, dir), &Revoked { revoked: what, told: server })?;
    match told {
        Ok(_) => Ok(Verdict::Done),
        // The list is written all the same; but nodes accept what nobody told them of.
        Err(fault) => {
            Err(fault.hint("`tmctl ca revoke --dir DIR` tells the nodes later; until then they accept it").into())
        }
    }
}

/// Tells a server of everything that was revoked; which one.
async fn tell(servers: &Servers, all: &[Revocation]) -> Result<String> {
    if all.is_empty() {
        return Err(Fault::new(Code::NotFound, "nothing was revoked so far").hint("give a node's name or a serial"));
    }
    let revoked = all.iter().map(|one| match one {
        Revocation::Serial { serial, at_s } => {
            RevokedCertificate { serial: serial.to_string(), node: String::new(), at_unix_s: *at_s }
        }
        Revocation::Node { node, at_s } => {
            RevokedCertificate { serial: String::new(), node: node.to_string(), at_unix_s: *at_s }
        }
    });
    let request = RevokeCertificatesRequest { revoked: revoked.collect() };
    let connection = servers.connect().await?;
    call(CALL_LIMIT, connection.admin().revoke_certificates(request)).await?;
    Ok(connection.server)
}

fn revoked(what: &str, server: Option<&str>, dir: &Path) -> String {
    let list = dir.join("crl.pem");
    let told = server.map_or_else(String::new, |server| format!("the nodes were told by {server}\n"));
    format!(
        "revoked {what}\n{told}etcd learns it from {}: bring that to each member, restart one after the other\n",
        list.display()
    )
}

fn unconfirmed(what: &str) -> Fault {
    Fault::invalid(format!("`{what}` would be refused by every node from now on, and its connections end"))
        .hint("add --yes to do it; `tmctl ca issue` makes a new certificate")
}

fn retire(screen: &mut Screen, folder: &Folder, yes: bool) -> Result<Verdict, Ended> {
    if !yes {
        let fault = Fault::invalid("certificates of the old authority would be refused wherever the new ca.pem is");
        return Err(fault
            .hint("add --yes to do it, once `tm_cert_expiry_seconds` and `tmctl ca show` show none of them")
            .into());
    }
    let gone: Vec<String> = ca::retire(folder.there()?)?.into_iter().map(|root| root.subject).collect();
    screen.show(|_| format!("retired {}\n", gone.join(", ")), &Retired { retired: &gone })?;
    screen.note("give ca.pem to every node; it is taken on by itself, or with a restart where systemd hands it over\n");
    Ok(Verdict::Done)
}

fn page(issued: &Issued) -> String {
    let Issued { certificate, key, expires_ms } = issued;
    format!(
        "certificate {}\nkey         {}\nends        {}\n",
        certificate.display(),
        key.display(),
        text::clock(*expires_ms)
    )
}

#[derive(Serialize)]
struct Made<'a> {
    certificate: &'a Path,
    key: &'a Path,
    ends: String,
}

#[derive(Serialize)]
struct Revoked<'a> {
    revoked: Option<&'a str>,
    told: Option<&'a str>,
}

#[derive(Serialize)]
struct Retired<'a> {
    retired: &'a [String],
}

fn json(issued: &Issued) -> impl Serialize + '_ {
    Made { certificate: &issued.certificate, key: &issued.key, ends: rfc3339(issued.expires_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::screen::fault_text;

    #[test]
    fn what_was_made_is_named() {
        let issued = Issued { certificate: "pki/a.pem".into(), key: "pki/a.key".into(), expires_ms: samples::NOW };
        insta::assert_snapshot!("ca", page(&issued) + &samples::json(&json(&issued)));
    }

    #[test]
    fn revoking_says_what_will_happen_and_what_happened() {
        let text = fault_text(&unconfirmed("nas"))
            + &revoked("nas", Some("grey-area:3002"), Path::new("pki"))
            + &revoked("nas", None, Path::new("pki"));
        insta::assert_snapshot!("ca_revoke", text);
    }

    #[test]
    fn no_certificate_of_a_node_lasts_longer_than_90_days() {
        assert_eq!(lifetime("2160h").unwrap(), NODE_LIFETIME);
        for wrong in ["2161h", "0s", "long"] {
            assert!(lifetime(wrong).unwrap_err().hint.is_some(), "{wrong}");
        }
    }
}
