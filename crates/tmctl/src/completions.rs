//! What a shell and `man` are told of this program, made of the command line itself.

use std::path::PathBuf;

use base::Fault;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::file;
use crate::screen::{Ended, Screen, Verdict};

/// Prints the completions of a shell.
pub fn completions(screen: &mut Screen, shell: Shell) -> Result<Verdict, Ended> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tmctl", &mut script);
    screen.data(&String::from_utf8_lossy(&script))?;
    Ok(Verdict::Done)
}

/// Writes a manual page for the program and for each of its nouns and verbs.
pub fn man(screen: &mut Screen, folder: PathBuf) -> Result<Verdict, Ended> {
    let shown = folder.display().to_string();
    std::fs::create_dir_all(&folder).map_err(|error| file::could_not("make", &shown, error))?;
    clap_mangen::generate_to(Cli::command(), &folder).map_err(|error| {
        Fault::invalid(format!("could not write manual pages into `{shown}`"))
            .because(error)
            .hint("name a folder that may be written to")
    })?;
    screen.note(&format!("manual pages are in {shown}\n"));
    Ok(Verdict::Done)
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;
    use crate::screen::Style;

    /// Every command that help shows, by the name of its page.
    fn pages(command: &Command, name: &str, all: &mut Vec<String>) {
        all.push(name.to_owned());
        for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
            pages(below, &format!("{name}-{}", below.get_name()), all);
        }
    }

    #[test]
    fn every_noun_and_verb_has_a_page_that_says_what_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let mut screen = Screen::new(Box::new(std::io::sink()), Box::new(std::io::sink()), Style::default());
        man(&mut screen, folder.path().join("man1")).unwrap();
        let mut wanted = Vec::new();
        pages(&Cli::command(), "tmctl", &mut wanted);
        assert!(wanted.len() > 100, "{wanted:?}");
        for name in wanted {
            let page = std::fs::read_to_string(folder.path().join(format!("man1/{name}.1"))).unwrap_or_else(|error| {
                panic!("{name}: {error}");
            });
            assert!(page.contains(".TH ") && page.contains(".SH SYNOPSIS") && page.len() > 100, "{name}: {page}");
        }
        assert!(!folder.path().join("man1/tmctl-man.1").exists(), "what help hides has no page");
        let refused = man(&mut screen, "/dev/null/man1".into()).err().unwrap();
        assert_eq!(screen.close(Err(refused)), 1);
    }
}
