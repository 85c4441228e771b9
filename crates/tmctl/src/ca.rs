//! `tmctl ca`: the cluster's own certificate authority, in a folder of this machine. No server is asked.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base::time::rfc3339;
use base::{Fault, Result};
use clap::Subcommand;
use net::ca::{Existing, Issued, init, issue};
use serde::Serialize;

use crate::screen::{Ended, Screen, Verdict};
use crate::text;

/// What can be done with certificates.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Makes the authority: ca.pem for every node, ca.key to be kept safe
    Init {
        /// Folder for the files
        #[arg(long)]
        dir: PathBuf,
        /// Replace the files that are there; every certificate of the old authority is worthless then
        #[arg(long)]
        yes: bool,
    },
    /// Issues a node's certificate and key
    Issue {
        /// The node's name, as in its configuration
        name: String,
        /// Folder of the authority
        #[arg(long)]
        dir: PathBuf,
        /// Name or address that others dial the node by; may be given again
        #[arg(long = "address", value_name = "HOST")]
        addresses: Vec<String>,
        /// Replace the files that are there
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the verb.
pub fn run(screen: &mut Screen, verb: Verb) -> Result<Verdict, Ended> {
    let existing = |yes| if yes { Existing::Replace } else { Existing::Keep };
    let (issued, next) = match verb {
        Verb::Init { dir, yes } => {
            make_folder(&dir)?;
            (init(&dir, existing(yes))?, "give ca.pem to every node; keep ca.key where no node can read it")
        }
        Verb::Issue { name, dir, addresses, yes } => {
            let issued = issue(&dir, &name, &addresses, existing(yes))?;
            (issued, "copy both to the node, and name them in its [tls] section")
        }
    };
    screen.show(|_| page(&issued), &json(&issued))?;
    screen.note(&format!("{next}\n"));
    Ok(Verdict::Done)
}

/// For this user alone: the authority's key lies in it.
fn make_folder(dir: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        Fault::invalid(format!("could not make the folder `{}`", dir.display()))
            .because(error)
            .hint("give --dir a folder that this user may make")
    })
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

fn json(issued: &Issued) -> impl Serialize + '_ {
    Made { certificate: &issued.certificate, key: &issued.key, ends: rfc3339(issued.expires_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn what_was_made_is_named() {
        let issued = Issued { certificate: "pki/a.pem".into(), key: "pki/a.key".into(), expires_ms: samples::NOW };
        insta::assert_snapshot!("ca", page(&issued) + &samples::json(&json(&issued)));
    }
}
