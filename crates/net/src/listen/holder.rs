//! Which process holds a port, as far as `/proc` tells this user; only ever used to make an error helpful.

use std::fs;

/// A process that listens.
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) pid: u32,
}

/// The process that listens on `port`.
pub(super) fn of_port(port: u16) -> Option<Holder> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    let pid = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .find(|&pid| holds_one_of(pid, &inodes))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Holder { name: name.trim().to_owned(), pid })
}

fn holds_one_of(pid: u32, inodes: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(|target| {
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        inode.is_some_and(|inode| inodes.iter().any(|wanted| wanted == inode))
    })
}

/// The inodes of the sockets that listen on `port`, out of a table as `/proc/net/tcp` has it.
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    const LISTENING: &str = "0A";
    let suffix = format!(":{port:04X}");
    let mut inodes = Vec::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [_, local, _, LISTENING, _, _, _, _, _, inode, ..] = columns.as_slice()
            && local.ends_with(&suffix)
        {
            inodes.push((*inode).to_owned());
        }
    }
    inodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 414 1 0000 100 0 0 10 0
   1: 0100007F:0BB9 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 415 1 0000 100 0 0 10 0
   2: 0100007F:0BBA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 416 1 0000 100 0 0 10 0
   3: short line";
        assert_eq!(listening_inodes(table, 3001), ["414"]);
        assert!(listening_inodes("", 3001).is_empty());
    }
}
