//! `tmd join CODE`: the files of a new node, and a first configuration that is good as it stands. Replaces nothing.

mod written;

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use base::config::{Config, Sources};
use base::{Code, Fault};
use net::joining::Joining;

/// A code is far shorter.
const READ_AT_MOST: u64 = 128 << 10;

/// Writes the files into `dir`; what to do next. The configuration `there` is read, and stays as it is.
pub fn join(code: &str, dir: &Path, there: Option<&Path>, keeps_documents: bool) -> Result<String> {
    let joining = Joining::from_code(&read(code)?)?;
    let name = &joining.name;
    net::ca::check_name(name)?;
    if !joining.host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)) {
        return Err(Fault::invalid("the code names a host with odd characters").hint("make another code").into());
    }
    let toml = match there {
        Some(there) => {
            let text = std::fs::read_to_string(there);
            let text = text.with_context(|| format!("could not read `{}`", there.display()))?;
            written::into(&text, &joining, keeps_documents)?
        }
        None => written::anew(&joining, keeps_documents),
    };
    let path = std::path::absolute(dir.join(format!("{name}.toml")))?;
    // What a code says must make a good configuration, or nothing is written.
    let config = resolved(&toml, &path)?;
    let files = [
        ("ca.pem".to_owned(), joining.ca.as_str(), 0o644),
        (format!("{name}.pem"), &joining.cert, 0o644),
        (format!("{name}.key"), &joining.key, 0o600),
        (format!("{name}.toml"), &toml, 0o644),
    ];
    if let Some((there, ..)) = files.iter().find(|(file, ..)| dir.join(file).exists()) {
        return Err(Fault::new(Code::Conflict, format!("`{}` exists already", dir.join(there).display()))
            .hint("choose another folder with --dir; nothing was written")
            .into());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("could not make the folder `{}`", dir.display()))?;
    for (file, text, mode) in &files {
        let path = dir.join(file);
        let opened = OpenOptions::new().write(true).create_new(true).mode(*mode).open(&path);
        let written = opened.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.with_context(|| format!("could not write `{}`", path.display()))?;
    }
    if let Some(tls) = &config.tls {
        net::Identity::load(tls)?.must_be(&config.node.name)?;
    }
    let path = path.display();
    let backup = config.backup.as_ref().filter(|backup| backup.node.is_none()).map_or_else(String::new, |backup| {
        format!("while this node leads it writes backups to {}: the folder must be there\n", backup.to.display())
    });
    let next = match there {
        Some(there) => format!("it is {} with what a member needs: put it in its place", there.display()),
        None => format!("name the engines of this machine in it, then: tmd --config {path}"),
    };
    Ok(format!(
        "wrote {path} and its certificates\n{next}\n{backup}\
         {name}.key is this node's secret, and the code holds it: keep neither where others read\n"
    ))
}

fn read(code: &str) -> Result<String> {
    if code != "-" {
        return Ok(code.to_owned());
    }
    let mut text = String::new();
    std::io::stdin().take(READ_AT_MOST).read_to_string(&mut text).context("could not read the code")?;
    Ok(text)
}

fn resolved(toml: &str, path: &Path) -> Result<Config> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let file = Some((path.to_owned(), toml.to_owned()));
    let sources = Sources { file, env: Vec::new(), flags: Vec::new(), folder };
    Config::resolve(&sources).map_err(|faults| anyhow::anyhow!("the code makes no good configuration: {faults}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use net::ca::{self, Existing, Order, Passphrase};
    use net::joining::House;

    use super::*;

    fn joining(dir: &Path) -> Joining {
        let passphrase = Passphrase::new("correct horse").unwrap();
        ca::init(dir, &passphrase, Existing::Keep).unwrap();
        let issued = ca::issue(dir, &passphrase, &Order::new("nas", &[]), Existing::Keep).unwrap();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        Joining {
            name: "nas".to_owned(),
            host: "fd00::7".to_owned(),
            ca: text(&dir.join("ca.pem")),
            cert: text(&issued.certificate),
            key: text(&issued.key),
            endpoints: vec!["http://grey-area:2379".to_owned()],
            prefix: "/taskmaster/home".to_owned(),
            house: House::default(),
        }
    }

    fn joined(joining: &Joining, dir: &Path) -> Result<String> {
        join(&joining.to_code().unwrap(), dir, None, false)
    }

    #[test]
    fn a_machine_joins_with_one_line_and_what_is_there_stays() {
        let (pki, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let joining = joining(pki.path());
        let dir = machine.path().join("taskmaster");
        joined(&joining, &dir).unwrap();
        let mode = |file: &str| std::fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("nas.key"), mode("nas.toml")), (0o600, 0o644));
        let before = std::fs::read(dir.join("nas.toml")).unwrap();
        let again = joined(&Joining { prefix: "/other".to_owned(), ..joining }, &dir).unwrap_err();
        assert!(again.to_string().contains("exists already"), "{again}");
        assert_eq!(std::fs::read(dir.join("nas.toml")).unwrap(), before);
    }

    #[test]
    fn a_machine_that_had_a_configuration_keeps_what_it_says() {
        let (pki, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dir, there) = (machine.path().join("joined"), machine.path().join("tmd.toml"));
        let before = "[node]\nname = \"node\"\n\n[[workers]]\nname = \"engine\"\nbackend = \"engine\"\n";
        std::fs::write(&there, before).unwrap();
        join(&joining(pki.path()).to_code().unwrap(), &dir, Some(&there), true).unwrap();
        let text = std::fs::read_to_string(dir.join("nas.toml")).unwrap();
        let config = resolved(&text, &dir.join("nas.toml")).unwrap();
        assert_eq!((config.node.name.as_str(), config.workers.len(), config.node.roles.len()), ("nas", 1, 3));
        assert_eq!((config.auth, config.privacy_lock), (base::config::Auth::Store, true));
        assert_eq!(std::fs::read_to_string(&there).unwrap(), before);
    }

    #[test]
    fn a_code_that_means_harm_writes_nothing() {
        let (pki, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let good = joining(pki.path());
        let dir = machine.path().join("taskmaster");
        for wrong in [
            Joining { name: "../nas".to_owned(), ..good.clone() },
            Joining { prefix: "no path".to_owned(), ..good.clone() },
            Joining { host: "a\"\n[http]\nlisten = \"0.0.0.0:1".to_owned(), ..good.clone() },
            Joining {
                house: House { mode: "open\"\n[http]\nlisten = \"0.0.0.0:1".to_owned(), ..House::default() },
                ..good.clone()
            },
            Joining { endpoints: vec!["nonsense://".to_owned()], ..good },
        ] {
            joined(&wrong, &dir).unwrap_err();
        }
        assert!(!dir.exists());
    }
}
