//! The text of a new node's configuration: of its own, or what its machine had already with what a member needs put in.
//! Of what was there no other key changes, and no comment but those of lines that are replaced; that is checked.

use base::{Code, Fault, Result};
use net::joining::{House, Joining};
use toml::{Table, Value};

/// Keys of one section with their values as they are written.
struct Section {
    name: &'static str,
    keys: Vec<(&'static str, String)>,
}

/// A configuration for a machine that had none.
pub fn anew(joining: &Joining, keeps_documents: bool) -> String {
    let mut text =
        "# Written by `tmd join`. What is left out has a default; `tmd config --config FILE` prints all of it.\n"
            .to_owned();
    let mut sections = sections(joining);
    if let Some(node) = sections.iter_mut().find(|section| section.name == "node") {
        node.keys
            .push(("data_dir", "\"data\"                    # what must survive; counts from this file".to_owned()));
        node.keys.extend(roles(&Table::new(), keeps_documents).map(|roles| ("roles", roles)));
    }
    for section in &sections {
        text.push_str(&format!("\n[{}]\n{}", section.name, lines(section)));
    }
    text.push_str(
        "\n# [[workers]]                        # one for each engine of this machine\n# name = \"ollama\"\n\
         # backend = \"ollama\"\n# url = \"http://127.0.0.1:11434\"\n",
    );
    text
}

/// The configuration `there` of the machine, as that of a member. A lock and a want for keys that stand in it stay.
pub fn into(there: &str, joining: &Joining, keeps_documents: bool) -> Result<String> {
    let parsed = |text: &str| {
        text.parse::<Table>()
            .map_err(|error| Fault::invalid("the configuration that is there already cannot be read").because(error))
    };
    let before = parsed(there)?;
    let joining = Joining { house: stricter(&before, joining.house.clone()), ..joining.clone() };
    let mut sections = sections(&joining);
    if let Some(node) = sections.iter_mut().find(|section| section.name == "node") {
        node.keys.extend(roles(&before, keeps_documents).map(|roles| ("roles", roles)));
    }
    let text = put_in(there, &sections);
    let mut wanted = before;
    for section in &sections {
        let told = parsed(&lines(section))?;
        let place = wanted.entry(section.name).or_insert_with(|| Value::Table(Table::new()));
        if let Some(place) = place.as_table_mut() {
            place.extend(told);
        }
    }
    match text.parse::<Table>() {
        Ok(made) if made == wanted => Ok(text),
        _ => Err(Fault::new(
            Code::Conflict,
            "the configuration that is there already is written in a way that cannot be kept",
        )
        .hint("join without --config, and put what is of this machine into the new file by hand; nothing was written")),
    }
}

/// What a member is told, whatever else its machine does.
fn sections(joining: &Joining) -> Vec<Section> {
    let Joining { name, host, endpoints, prefix, house, .. } = joining;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let House { keys, mode, lock, local_percent, local_ranges, backup } = house;
    let text = |value: &str| format!("{value:?}");
    let mut privacy = vec![("mode", text(mode)), ("lock", lock.to_string())];
    privacy.extend(local_percent.map(|percent| ("local_percent", percent.to_string())));
    if !local_ranges.is_empty() {
        privacy.push(("local_ranges", format!("{local_ranges:?}")));
    }
    let listens =
        |port: u16| [("listen", text(&format!("0.0.0.0:{port}"))), ("advertise", text(&format!("{host}:{port}")))];
    let actors = [("enabled", "true".to_owned())].into_iter().chain(listens(3004));
    let tls = [("ca", "ca.pem".to_owned()), ("cert", format!("{name}.pem")), ("key", format!("{name}.key"))];
    let store = [("kind", text("etcd")), ("endpoints", format!("{endpoints:?}")), ("prefix", text(prefix))];
    let mut sections = vec![
        Section { name: "node", keys: vec![("name", text(name))] },
        Section { name: "peers", keys: listens(3003).into() },
        Section { name: "actors", keys: actors.collect() },
        Section { name: "tls", keys: tls.map(|(key, file)| (key, text(&file))).into() },
        Section { name: "store", keys: store.into() },
        Section { name: "auth", keys: vec![("keys", text(keys))] },
        Section { name: "privacy", keys: privacy },
    ];
    sections.extend(backup.as_ref().map(|backup| Section {
        name: "backup",
        keys: vec![
            ("to", text(&backup.to)),
            ("every", text(&format!("{}s", backup.every_s))),
            ("keep", backup.keep.to_string()),
            ("recipient", text(&backup.recipient)),
        ],
    }));
    sections
}

/// What the house has in common, no laxer than the machine's own file: whoever locked it there meant this machine.
fn stricter(before: &Table, house: House) -> House {
    let of = |section: &str, key: &str| before.get(section).and_then(|section| section.get(key));
    let keys =
        if of("auth", "keys").and_then(Value::as_str) == Some("store") { "store".to_owned() } else { house.keys };
    match of("privacy", "lock").and_then(Value::as_bool) == Some(true) && !house.lock {
        true => House { keys, mode: "local-only".to_owned(), lock: true, local_percent: None, ..house },
        false => House { keys, ..house },
    }
}

/// The roles to be written; `None` where those that stand there may stay.
fn roles(before: &Table, keeps_documents: bool) -> Option<String> {
    let stand = before.get("node").and_then(|node| node.get("roles")).and_then(Value::as_array);
    let mut roles: Vec<&str> = match stand {
        Some(roles) if !keeps_documents || roles.iter().any(|role| role.as_str() == Some("research")) => return None,
        Some(roles) => roles.iter().filter_map(Value::as_str).collect(),
        None => vec!["gateway", "worker"],
    };
    if keeps_documents {
        roles.push("research");
    }
    Some(format!("{roles:?}"))
}

/// `text` with the keys of `sections` in place of those that stand there; what has no place yet comes last.
fn put_in(text: &str, sections: &[Section]) -> String {
    let (mut out, mut within, mut placed) = (String::new(), None, Vec::new());
    for line in text.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            let name = trimmed.trim_start_matches('[').split(']').next().unwrap_or_default().trim();
            within = sections.iter().find(|section| section.name == name && !trimmed.starts_with("[["));
            out.push_str(line);
            out.push('\n');
            if let Some(section) = within {
                out.push_str(&lines(section));
                placed.push(section.name);
            }
            continue;
        }
        let key = trimmed.split('=').next().unwrap_or_default().trim();
        let is_told = within.is_some_and(|section: &Section| section.keys.iter().any(|(told, _)| *told == key));
        if !is_told {
            out.push_str(line);
            out.push('\n');
        }
    }
    for section in sections.iter().filter(|section| !placed.contains(&section.name)) {
        out.push_str(&format!("\n[{}]\n{}", section.name, lines(section)));
    }
    out
}

fn lines(section: &Section) -> String {
    section.keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use net::joining::Backup;

    use super::*;

    const OF_SETUP: &str = "# yours from now on\n\n[node]\nname = \"node\"\ndata_dir = \"/var/lib/taskmaster\"\n\
        roles = [\"gateway\", \"worker\"]\n\n[http]\nlisten = \"127.0.0.1:3001\"\n\n[auth]\nkeys = \"store\"\n\n\
        [privacy]\nmode = \"local-only\"\nlock = true\n\n[[privacy.triggers]]\nwhen = \"offline\"\n\n\
        [[workers]]                          # the built-in engine\nname = \"engine\"\nbackend = \"engine\"\n";

    fn joining(house: House) -> Joining {
        Joining {
            name: "laptop".to_owned(),
            host: "192.168.1.13".to_owned(),
            ca: String::new(),
            cert: String::new(),
            key: String::new(),
            endpoints: vec!["https://192.168.1.10:2379".to_owned()],
            prefix: "/taskmaster/home".to_owned(),
            house,
        }
    }

    fn open() -> House {
        House {
            keys: "off".to_owned(),
            mode: "hybrid".to_owned(),
            lock: false,
            local_percent: Some(70),
            ..House::default()
        }
    }

    #[test]
    fn what_the_house_has_in_common_is_in_the_file_and_documents_only_where_they_are_asked_for() {
        let backup = Backup { to: "/mnt/backups".to_owned(), every_s: 86_400, keep: 7, recipient: "age1x".to_owned() };
        let text = anew(&joining(House { backup: Some(backup), ..House::default() }), false);
        let made: Table = text.parse().unwrap();
        assert_eq!(made["auth"]["keys"].as_str(), Some("store"), "{text}");
        assert_eq!(made["privacy"]["lock"].as_bool(), Some(true), "{text}");
        assert_eq!(made["backup"]["every"].as_str(), Some("86400s"), "{text}");
        assert_eq!(made["node"]["roles"].to_string(), "[\"gateway\", \"worker\"]");
        assert!(anew(&joining(open()), true).contains("\"research\""));
        assert!(anew(&joining(open()), true).contains("local_percent = 70\n"));
    }

    #[test]
    fn what_the_machine_had_stays_and_so_does_its_lock() {
        let text = into(OF_SETUP, &joining(open()), false).unwrap();
        let made: Table = text.parse().unwrap();
        assert_eq!(made["node"]["name"].as_str(), Some("laptop"), "{text}");
        assert_eq!(made["node"]["data_dir"].as_str(), Some("/var/lib/taskmaster"));
        assert_eq!(made["workers"][0]["name"].as_str(), Some("engine"));
        assert_eq!(made["http"]["listen"].as_str(), Some("127.0.0.1:3001"));
        assert_eq!(made["privacy"]["triggers"][0]["when"].as_str(), Some("offline"));
        assert_eq!(
            (made["privacy"]["lock"].as_bool(), made["privacy"]["mode"].as_str()),
            (Some(true), Some("local-only"))
        );
        assert_eq!(made["auth"]["keys"].as_str(), Some("store"));
        assert_eq!(made["store"]["kind"].as_str(), Some("etcd"));
        assert!(text.starts_with("# yours from now on\n"), "{text}");
        let again: Table = into(&text, &joining(open()), true).unwrap().parse().unwrap();
        assert_eq!(again["node"]["roles"].to_string(), "[\"gateway\", \"worker\", \"research\"]");
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for odd in
            ["node.name = \"nas\"\n", "[node]\nroles = [\n\"worker\",\n]\nname = \"\"\"\n[auth]\n\"\"\"\n", "[ node"]
        {
            assert!(into(odd, &joining(House::default()), true).is_err(), "{odd}");
        }
    }
}
