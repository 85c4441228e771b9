//! `tmd join CODE`: the files of a new node, and a first configuration that is good as it stands. Replaces nothing.

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

/// Writes the files into `dir`; what to do next.
pub fn join(code: &str, dir: &Path) -> Result<String> {
    let joining = Joining::from_code(&read(code)?)?;
    let name = &joining.name;
    net::ca::check_name(name)?;
    if !joining.host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)) {
        return Err(Fault::invalid("the code names a host with odd characters").hint("make another code").into());
    }
    let toml = configuration(&joining);
    let path = std::path::absolute(dir.join(format!("{name}.toml")))?;
    check(&toml, &path)?;
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
    let config = resolved(&toml, &path)?;
    if let Some(tls) = &config.tls {
        net::Identity::load(tls)?.must_be(&config.node.name)?;
    }
    let path = path.display();
    Ok(format!(
        "wrote {path} and its certificates\nname the engines of this machine in it, then: tmd --config {path}\n\
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

/// What a code says must make a good configuration, or nothing is written.
fn check(toml: &str, path: &Path) -> Result<()> {
    resolved(toml, path).map(drop)
}

fn resolved(toml: &str, path: &Path) -> Result<Config> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let file = Some((path.to_owned(), toml.to_owned()));
    let sources = Sources { file, env: Vec::new(), flags: Vec::new(), folder };
    Config::resolve(&sources).map_err(|faults| anyhow::anyhow!("the code makes no good configuration: {faults}"))
}

fn configuration(joining: &Joining) -> String {
    let Joining { name, host, endpoints, prefix, .. } = joining;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let (peers, actors) = (format!("{host}:3003"), format!("{host}:3004"));
    format!(
        "# Written by `tmd join`. What is left out has a default; `tmd config --config FILE` prints all of it.\n\n\
         [node]\nname = {name:?}\ndata_dir = \"data\"                    # what must survive; counts from this file\n\n\
         [peers]\nlisten = \"0.0.0.0:3003\"\nadvertise = {peers:?}\n\n\
         [actors]\nenabled = true\nlisten = \"0.0.0.0:3004\"\nadvertise = {actors:?}\n\n\
         [tls]\nca = \"ca.pem\"\ncert = \"{name}.pem\"\nkey = \"{name}.key\"\n\n\
         [store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\nprefix = {prefix:?}\n\n\
         # [[workers]]                        # one for each engine of this machine\n# name = \"ollama\"\n\
         # backend = \"ollama\"\n# url = \"http://127.0.0.1:11434\"\n"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use net::ca::{self, Existing, Order, Passphrase};

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
        }
    }

    #[test]
    fn a_machine_joins_with_one_line_and_what_is_there_stays() {
        let (pki, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let joining = joining(pki.path());
        let dir = machine.path().join("taskmaster");
        join(&joining.to_code().unwrap(), &dir).unwrap();
        let mode = |file: &str| std::fs::metadata(dir.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("nas.key"), mode("nas.toml")), (0o600, 0o644));
        let before = std::fs::read(dir.join("nas.toml")).unwrap();
        let again = join(&Joining { prefix: "/other".to_owned(), ..joining }.to_code().unwrap(), &dir).unwrap_err();
        assert!(again.to_string().contains("exists already"), "{again}");
        assert_eq!(std::fs::read(dir.join("nas.toml")).unwrap(), before);
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
            Joining { endpoints: vec!["nonsense://".to_owned()], ..good },
        ] {
            join(&wrong.to_code().unwrap(), &dir).unwrap_err();
        }
        assert!(!dir.exists());
    }
}
