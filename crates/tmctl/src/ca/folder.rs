//! The folder of the authority, and the passphrase that opens its key: out of a file, or asked for at the terminal.

use std::fs::DirBuilder;
use std::io::IsTerminal as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};
use clap::Args;
use net::ca::Passphrase;

const WHERE: &str =
    "it is where `tmctl ca init` made it, on that machine alone: give --dir FOLDER there, or set TMCTL_CA_DIR";

/// Where the authority is.
#[derive(Debug, Args)]
pub struct Folder {
    /// Folder of the authority
    #[arg(long, env = "TMCTL_CA_DIR", value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// File with the passphrase of ca.key; asked for at the terminal otherwise
    #[arg(long, env = "TMCTL_CA_PASSPHRASE_FILE", value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Folder {
    /// Makes it, for this user alone: the authority's key lies in it.
    pub fn make(&self) -> Result<&Path> {
        let dir = self.named()?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|error| {
            Fault::invalid(format!("could not make the folder `{}`", dir.display()))
                .because(error)
                .hint("give --dir a folder that this user may make")
        })?;
        Ok(dir)
    }

    /// Where it is; a fault where there is none, since it lies on one machine alone.
    pub fn there(&self) -> Result<&Path> {
        let dir = self.named()?;
        if dir.is_dir() {
            return Ok(dir);
        }
        Err(Fault::new(Code::NotFound, format!("there is no folder `{}`", dir.display())).hint(WHERE))
    }

    fn named(&self) -> Result<&Path> {
        self.dir.as_deref().ok_or_else(|| Fault::invalid("the folder of the authority is not named").hint(WHERE))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_named_or_not_there_is_said_with_where_it_is() {
        let of = |dir: Option<PathBuf>| Folder { dir, passphrase_file: None };
        let nowhere = tempfile::tempdir().unwrap().path().join("pki");
        let told =
            [of(None).make().unwrap_err(), of(None).there().unwrap_err(), of(Some(nowhere)).there().unwrap_err()];
        assert_eq!(
            told.each_ref().map(|fault| fault.code),
            [Code::InvalidArgument, Code::InvalidArgument, Code::NotFound]
        );
        assert!(told.iter().all(|fault| fault.hint.as_ref().unwrap().contains("TMCTL_CA_DIR")), "{told:?}");
    }
}
