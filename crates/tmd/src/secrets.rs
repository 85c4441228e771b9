//! The files with certificates, keys and passwords that a configuration names: whether they can be read.

use std::fs::File;
use std::path::Path;

use base::config::{Config, ConfigFault, ConfigFaults, SecretAt, Store};

/// Names every file that cannot be read, by the field that names it.
pub fn check(config: &Config) -> Result<(), ConfigFaults> {
    let faults: Vec<_> = files(config).into_iter().filter_map(|(field, path)| unread(field, path)).collect();
    if faults.is_empty() { Ok(()) } else { Err(ConfigFaults(faults)) }
}

fn files(config: &Config) -> Vec<(String, &Path)> {
    let mut files: Vec<(String, &Path)> = Vec::new();
    if let Some(tls) = &config.tls {
        files.push(("tls.ca".to_owned(), &tls.ca));
        files.push(("tls.cert".to_owned(), &tls.cert));
        files.push(("tls.key".to_owned(), &tls.key));
        if let Some(issuer) = &tls.issuer {
            files.push(("tls.issuer_cert".to_owned(), &issuer.cert));
            files.push(("tls.issuer_key".to_owned(), &issuer.key));
        }
    }
    if let Store::Etcd(etcd) = &config.store
        && let Some((_, file)) = &etcd.user
    {
        files.push(("store.password_file".to_owned(), file));
    }
    if let Some(file) = config.cache.as_ref().and_then(|cache| cache.password_file.as_ref()) {
        files.push(("cache.password_file".to_owned(), file));
    }
    for worker in &config.workers {
        if let Some(file) = &worker.key_file {
            files.push((format!("workers.{}.key_file", worker.name), file));
        }
    }
    if let Some(SecretAt::File(file)) = config.github.as_ref().map(|github| &github.secret) {
        files.push(("hooks.github.secret_file".to_owned(), file));
    }
    if let Some(file) = config.research.qdrant.as_ref().and_then(|qdrant| qdrant.api_key_file.as_ref()) {
        files.push(("research.qdrant.api_key_file".to_owned(), file));
    }
    files
}

fn unread(field: String, path: &Path) -> Option<ConfigFault> {
    let why = match File::open(path).and_then(|file| file.metadata()) {
        Ok(file) if file.is_file() => return None,
        Ok(_) => "it is no file".to_owned(),
        Err(error) => error.to_string(),
    };
    Some(ConfigFault {
        field,
        value: format!("{:?}", path.display().to_string()),
        problem: format!("cannot be read: {why}"),
        hint: "expected is the path of a file that the node's user may read".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use base::config::Sources;

    use super::*;

    #[test]
    fn a_secret_that_is_not_there_is_told_by_its_field() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("there"), "key").unwrap();
        let text = "[[workers]]\nname = \"a\"\nbackend = \"openai\"\nkey_file = \"there\"\n\
            [[workers]]\nname = \"b\"\nbackend = \"openai\"\nkey_file = \"gone\"\n\
            [[workers]]\nname = \"c\"\nbackend = \"openai\"\nkey_file = \".\"\n\
            [cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:1\"\npassword_file = \"gone\"\n\
            [tls]\nca = \"there\"\ncert = \"gone\"\nkey = \"there\"\n";
        let file = (dir.path().join("tmd.toml"), text.to_owned());
        let config = Config::resolve(&Sources { file: Some(file), ..Sources::default() }).unwrap();
        let faults = check(&config).unwrap_err().0;
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["tls.cert", "cache.password_file", "workers.b.key_file", "workers.c.key_file"]);
        assert!(faults[0].value.ends_with("gone\"") && !faults[0].hint.is_empty(), "{:?}", faults[0]);
    }
}
