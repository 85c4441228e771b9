//! `tmctl store`: the key for `store.encryption`.

use clap::Subcommand;
use serde::Serialize;

use crate::screen::{Ended, Screen, Verdict};

/// What can be done about the store.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Prints a new key, for the file that store.key_file names
    Key,
}

#[derive(Serialize)]
struct Made<'a> {
    key: &'a str,
}

/// Prints a new key.
pub fn key(screen: &mut Screen) -> Result<Verdict, Ended> {
    let key = net::random::key()?;
    screen.show(|_| format!("{key}\n"), &Made { key: &key })?;
    screen.note("every node needs it; without it nothing of what it sealed is ever read again: keep a copy apart from the nodes\n");
    Ok(Verdict::Done)
}
