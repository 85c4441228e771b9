//! The folder of the authority, and the passphrase that opens its key: out of a file, or asked for at the terminal.

use std::fs::DirBuilder;
use std::io::IsTerminal as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use base::{Fault, Result};
use clap::Args;
use net::ca::Passphrase;

/// Where the authority is.
#[derive(Debug, Args)]
pub struct Folder {
    /// Folder of the authority
    #[arg(long, env = "TMCTL_CA_DIR", value_name = "FOLDER")]
    pub dir: PathBuf,
    /// File with the passphrase of ca.key; asked for at the terminal otherwise
    #[arg(long, env = "TMCTL_CA_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Folder {
    /// Makes it, for this user alone: the authority's key lies in it.
    pub fn make(&self) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(|error| {
            Fault::invalid(format!("could not make the folder `{}`", self.dir.display()))
                .because(error)
                .hint("give --dir a folder that this user may make")
        })
    }

    /// What opens the key.
    pub fn passphrase(&self) -> Result<Passphrase> {
        match &self.passphrase_file {
            Some(_) => self.of_file(),
            None => Passphrase::new(&asked("passphrase of the authority: ")?),
        }
    }

    /// What is to open a key that is made now; at the terminal it is typed twice.
    pub fn new_passphrase(&self) -> Result<Passphrase> {
        if self.passphrase_file.is_some() {
            return self.of_file();
        }
        let first = asked("new passphrase for the authority: ")?;
        let passphrase = Passphrase::new(&first)?;
        if asked("once more: ")? != first {
            return Err(Fault::invalid("the two passphrases differ").hint("nothing was made; try again"));
        }
        Ok(passphrase)
    }

    fn of_file(&self) -> Result<Passphrase> {
        let path = self.passphrase_file.clone().unwrap_or_default();
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Fault::invalid(format!("could not read `{}`", path.display()))
                .because(error)
                .hint("--passphrase-file (or TMCTL_CA_PASSPHRASE_FILE) names a file with the passphrase")
        })?;
        Passphrase::new(&text)
    }
}

fn asked(question: &str) -> Result<String> {
    let nobody = || {
        Fault::invalid("nobody can be asked for the passphrase of the authority")
            .hint("give it in a file: --passphrase-file FILE, or TMCTL_CA_PASSPHRASE_FILE")
    };
    if !std::io::stdin().is_terminal() {
        return Err(nobody());
    }
    rpassword::prompt_password(question).map_err(|error| nobody().because(error))
}
