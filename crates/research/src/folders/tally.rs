//! How a folder stands, in words: what is in step, what was left out and why, what is wrong.

use std::fmt::Write as _;

use base::time::rfc3339;

/// So many of a list are named; the rest is counted.
const NAMED: usize = 3;

/// What of a folder is no document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Names with a dot in front, whole folders as one.
    pub hidden: u64,
    /// Links and devices.
    pub links: u64,
    /// Files that the patterns do not name.
    pub unwanted: u64,
    /// Files above the limit.
    pub too_large: u64,
    /// Pictures, programs and other files without letters.
    pub binary: u64,
    /// Files whose names are not UTF-8.
    pub unnamed: u64,
    /// Folders on other disks.
    pub disks: Vec<String>,
    /// What went wrong, and where.
    pub troubles: Vec<String>,
    /// Of those, the ones that are only counted.
    pub more_troubles: u64,
}

impl LeftOut {
    /// Something went wrong.
    pub fn trouble(&mut self, what: String) {
        if self.troubles.len() < NAMED {
            self.troubles.push(what);
        } else {
            self.more_troubles += 1;
        }
    }

    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.hidden += other.hidden;
        self.links += other.links;
        self.unwanted += other.unwanted;
        self.too_large += other.too_large;
        self.binary += other.binary;
        self.unnamed += other.unnamed;
        self.disks.extend(other.disks);
        other.troubles.into_iter().for_each(|trouble| self.trouble(trouble));
        self.more_troubles += other.more_troubles;
    }

    fn words(&self) -> Vec<String> {
        let counts = [
            (self.hidden, "hidden"),
            (self.links, "links or devices"),
            (self.unwanted, "that no pattern names"),
            (self.too_large, "too large"),
            (self.binary, "without text"),
            (self.unnamed, "with names that are not UTF-8"),
        ];
        let mut words: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if !self.disks.is_empty() {
            words.push(format!("on other disks, to be watched by themselves: {}", some_of(&self.disks, 0)));
        }
        words
    }
}

/// How a look through a folder ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files that are documents.
    pub documents: u64,
    /// Of those, the ones from which no text could be read.
    pub failed: u64,
    /// Documents that would be removed if there were any file.
    pub held_back: u64,
    /// What was left out.
    pub left_out: LeftOut,
    /// Why changes are not noticed at once; empty: they are.
    pub blind: String,
}

impl Tally {
    /// All of it.
    pub fn words(&self, at_ms: u64) -> String {
        let documents = if self.documents == 1 { "document" } else { "documents" };
        let mut words = format!("in step at {}: {} {documents}", rfc3339(at_ms), self.documents);
        let troubles = &self.left_out.troubles;
        if !troubles.is_empty() || self.held_back > 0 {
            words = words.replacen("in step at", "looked through at", 1);
        }
        if self.failed > 0 {
            let _ = write!(words, ", of {} no text could be read", self.failed);
        }
        let left_out = self.left_out.words();
        if !left_out.is_empty() {
            let _ = write!(words, "; left out: {}", left_out.join(", "));
        }
        if self.held_back > 0 {
            let _ = write!(
                words,
                "; no file is there where {} documents came from: they are kept, in case a disk is not mounted",
                self.held_back
            );
        }
        if !troubles.is_empty() {
            let _ = write!(
                words,
                "; could not be looked at, and is left as it was: {}",
                some_of(troubles, self.left_out.more_troubles)
            );
        }
        if !self.blind.is_empty() {
            let _ = write!(words, "; changes are noticed only by looking: {}", self.blind);
        }
        words
    }
}

fn some_of(list: &[String], more: u64) -> String {
    let named = list.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match list.len().saturating_sub(NAMED) as u64 + more {
        0 => named,
        more => format!("{named}, and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_folder_stands_is_told_in_words() {
        let quiet = Tally { documents: 1, ..Tally::default() };
        let mut left_out =
            LeftOut { hidden: 2, too_large: 1, binary: 3, disks: vec!["/srv/docs/nas".into()], ..LeftOut::default() };
        (1..=5).for_each(|n| left_out.trouble(format!("`/srv/docs/{n}`: permission denied")));
        let busy = Tally { documents: 12, failed: 1, left_out, blind: "too many watches".into(), held_back: 0 };
        let gone = Tally { held_back: 7, ..Tally::default() };
        let all = [quiet, busy, gone].map(|tally| tally.words(1_790_000_000_000));
        insta::assert_snapshot!(all.join("\n"));
    }
}
