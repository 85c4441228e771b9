//! `tmctl`: the admin tool of Taskmaster. `tmctl NOUN [VERB]`; data on stdout, everything else on stderr.
//!
//! It is a client of the gRPC services and nothing more: what it shows, a server told it. Every table says whose view it
//! is and how old, and what looks odd is printed as it is. Texts are made by pure functions, one file for each noun, and
//! written by [`screen::Screen`] alone.
//!
//! Exit codes: 0 done, 1 refused or not found (or not healthy), 2 wrong usage, 3 no server can be reached.

mod actors;
mod args;
mod backups;
mod ca;
mod changes;
mod chat;
mod client;
mod completions;
mod doctor;
mod editor;
mod events;
mod explain;
mod failures;
mod file;
mod folder;
mod git;
mod health;
mod jobs;
mod keys;
mod mcp;
mod mode;
mod models;
mod nodes;
mod place;
mod plan;
mod privacy;
mod progress;
mod projects;
mod research;
mod rules;
#[cfg(test)]
mod samples;
mod screen;
#[cfg(test)]
mod scripted;
mod section;
mod simulate;
mod store;
mod table;
mod tasks;
mod text;
mod top;
mod wish;
mod workers;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Noun};
use crate::client::Servers;
use crate::screen::{Ended, Screen, Verdict};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut screen = Screen::of_process(cli.json);
    let ended = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli, &mut screen)),
        Err(error) => Err(error.into()),
    };
    ExitCode::from(screen.close(ended))
}

async fn run(cli: Cli, screen: &mut Screen) -> Result<Verdict, Ended> {
    let servers = || Servers::new(&cli.server, cli.key.as_deref(), cli.ca.as_deref());
    match cli.noun {
        Noun::Nodes { verb } => nodes::run(&servers()?, screen, verb).await,
        Noun::Workers => workers::run(&servers()?, screen).await,
        Noun::Models { verb } => models::run(&servers()?, screen, verb).await,
        Noun::Chat(args) => chat::run(&servers()?, screen, args).await,
        Noun::Explain { ask } => explain::run(&servers()?, screen, ask).await,
        Noun::Simulate(args) => simulate::run(screen, args),
        Noun::Failures { verb } => failures::run(&servers()?, screen, verb).await,
        Noun::Mode { verb } => mode::run(&servers()?, screen, verb).await,
        Noun::Privacy { verb } => privacy::run(&servers()?, screen, verb).await,
        Noun::Health => health::run(&servers()?, screen).await,
        Noun::Doctor(args) => doctor::run(&servers()?, screen, args).await,
        Noun::Actors => actors::run(&servers()?, screen).await,
        Noun::Ca { verb } => ca::run(&servers()?, screen, verb).await,
        Noun::Keys { verb } => keys::run(&servers()?, screen, verb).await,
        Noun::Backup(args) => backups::backup(&servers()?, screen, args).await,
        Noun::Verify(args) => backups::verify(screen, &args),
        Noun::Restore(args) => backups::restore(&servers()?, screen, args).await,
        Noun::Store { verb: store::Verb::Key } => store::key(screen),
        Noun::Projects { verb } => projects::run(&servers()?, screen, verb).await,
        Noun::Plan { verb } => plan::run(&servers()?, screen, verb).await,
        Noun::Tasks(args) => Box::pin(tasks::run(&servers()?, screen, *args)).await,
        Noun::Do(args) => wish::run(&servers()?, screen, args).await,
        Noun::Init(args) => folder::init(&servers()?, screen, args),
        Noun::Migrate(args) => folder::migrate(screen, &args),
        Noun::Research { verb } => Box::pin(research::run(&servers()?, screen, verb)).await,
        Noun::Jobs { of, verb } => jobs::run(&servers()?, screen, of, verb).await,
        Noun::Mcp(args) => Box::pin(mcp::run(&servers()?, screen, args)).await,
        Noun::Editor(args) => editor::run(screen, &cli.server, args),
        Noun::Rules(args) => rules::run(screen, args),
        Noun::Top(args) => Box::pin(top::run(&servers()?, screen, args)).await,
        Noun::Completions { shell } => completions::completions(screen, shell),
        Noun::Man { folder } => completions::man(screen, folder),
        Noun::Events => events::run(&servers()?, screen).await,
    }
}
