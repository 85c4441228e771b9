//! What the configuration says of the webhook, with the files that it names read and checked.

use std::path::Path;

use base::config::{ConfigFault, ConfigFaults, Github, Secret, SecretAt};

use super::{Mapping, Settings};

/// As in the configuration: whoever guesses it may change tasks.
const LEAST_SECRET: usize = 16;
/// Of a file with a secret or a mapping.
const MOST_FILE_BYTES: usize = 1 << 20;

/// Reads the secret and the mapping; every fault is told.
pub fn load(config: &Github) -> Result<Settings, ConfigFaults> {
    let mut faults = Vec::new();
    let secret = secret(&config.secret).map_err(|fault| faults.push(fault));
    let mapping = mapping(config.mapping.as_deref()).map_err(|wrong| faults.extend(wrong.0));
    match (secret, mapping) {
        (Ok(secret), Ok(mapping)) => {
            Ok(Settings { secret, project: config.project.clone(), tag: config.tag.clone(), mapping })
        }
        _ => Err(ConfigFaults(faults)),
    }
}

fn secret(at: &SecretAt) -> Result<Secret, ConfigFault> {
    let file = match at {
        SecretAt::Here(secret) => return Ok(secret.clone()),
        SecretAt::File(file) => file,
    };
    let fault = |problem: String, hint: &str| fault("hooks.github.secret_file", file, problem, hint);
    let text = read(file).map_err(|why| fault(why, "write the secret into it, readable for the user of tmd"))?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.len() < LEAST_SECRET {
        let problem = format!("has a secret of less than {LEAST_SECRET} characters");
        return Err(fault(problem, "make one with `openssl rand -hex 32`, and give it to GitHub as well"));
    }
    Ok(Secret(secret.to_owned()))
}

fn mapping(file: Option<&Path>) -> Result<Mapping, ConfigFaults> {
    let Some(file) = file else { return Ok(Mapping::default()) };
    let fault =
        |why| fault("hooks.github.mapping", file, why, "write the file, or leave this out for the built-in rules");
    let text = read(file).map_err(|why| ConfigFaults(vec![fault(why)]))?;
    Mapping::parse(&file.display().to_string(), &text)
}

fn read(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("could not be read: {error}"))?;
    if text.len() > MOST_FILE_BYTES { Err("is larger than 1 MiB".to_owned()) } else { Ok(text) }
}

fn fault(field: &str, file: &Path, problem: String, hint: &str) -> ConfigFault {
    ConfigFault { field: field.to_owned(), value: file.display().to_string(), problem, hint: hint.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> Github {
        Github {
            secret: SecretAt::File(folder.join("secret")),
            project: "home".into(),
            tag: "master".into(),
            mapping: Some(folder.join("github.toml")),
        }
    }

    #[test]
    fn files_are_read_and_the_line_end_is_no_part_of_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "0123456789abcdef\n").unwrap();
        std::fs::write(folder.path().join("github.toml"), "[release]\nenabled = false\n").unwrap();
        let settings = load(&config(folder.path())).unwrap();
        assert_eq!(settings.secret.0, "0123456789abcdef");
        assert!(!settings.mapping.releases.enabled);
        assert!(!format!("{settings:?}").contains("0123456789abcdef"), "a secret is never shown");
    }

    #[test]
    fn each_file_that_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "short\n").unwrap();
        let faults = load(&config(folder.path())).unwrap_err();
        let fields: Vec<_> = faults.0.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["hooks.github.secret_file", "hooks.github.mapping"]);
        assert!(faults.0.iter().all(|fault| !fault.hint.is_empty()) && !faults.to_string().contains("short"));
        std::fs::write(folder.path().join("github.toml"), "[issues]\nmake = 3\n").unwrap();
        let faults = load(&config(folder.path())).unwrap_err();
        assert!(faults.0[1].field.ends_with("github.toml: issues.make"), "{faults}");
    }
}
