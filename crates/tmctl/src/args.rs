//! What may be typed: `tmctl [OPTIONS] NOUN [VERB]`. Each noun's verbs stand with the noun.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    backups, ca, chat, doctor, editor, failures, folder, jobs, keys, mcp, mode, models, nodes, plan, privacy, projects,
    research, rules, simulate, store, tasks, top, wish,
};

/// Looks at a Taskmaster cluster and changes it.
#[derive(Debug, Parser)]
#[command(
    name = "tmctl",
    version,
    subcommand_value_name = "NOUN",
    subcommand_help_heading = "Nouns",
    after_help = "\
Exit codes: 0 done, 1 refused or not found, 2 wrong usage, 3 no server can be reached.
A noun without a verb shows; plan and ca want one. NO_COLOR switches colours off."
)]
pub struct Cli {
    /// Servers to try in this order, host:port with commas between; https:// in front asks for TLS
    #[arg(
        long,
        global = true,
        env = "TMCTL_SERVER",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:3002",
        value_delimiter = ','
    )]
    pub server: Vec<String>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// API key of this client
    #[arg(long, global = true, env = "TMCTL_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// PEM file with the cluster's CA; asks for TLS
    #[arg(long, global = true, env = "TMCTL_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// What to look at
    #[command(subcommand)]
    pub noun: Noun,
}

/// The things that a cluster is made of.
#[derive(Debug, Subcommand)]
pub enum Noun {
    /// Machines of the cluster
    #[command(visible_alias = "node")]
    Nodes {
        #[command(subcommand)]
        verb: Option<nodes::Verb>,
    },
    /// Engines and GPUs that run models
    Workers,
    /// Models that clients may name, and where they are loaded
    Models {
        #[command(subcommand)]
        verb: Option<models::Verb>,
    },
    /// Talk to a model; goes on at the next server when one goes away
    Chat(chat::Args),
    /// Why an ask went where it went
    Explain {
        /// The ask, as the answer's header x-tm-ask gave it
        ask: String,
    },
    /// Compares routing policies on recorded arrivals, without a server
    Simulate(simulate::Args),
    /// What broke, and what was done about it
    Failures {
        #[command(subcommand)]
        verb: Option<failures::Verb>,
    },
    /// What may leave the house
    Mode {
        #[command(subcommand)]
        verb: Option<mode::Verb>,
    },
    /// What left the house, and whether the record of it is whole
    Privacy {
        #[command(subcommand)]
        verb: Option<privacy::Verb>,
    },
    /// One verdict for the whole cluster; exit code 1 when it is not ok
    Health,
    /// Checks this machine and the server, with a hint for everything that is wrong
    Doctor(doctor::Args),
    /// Actors of the server, with their restarts
    Actors,
    /// The cluster's own certificates, made in a folder of this machine
    Ca {
        #[command(subcommand)]
        verb: ca::Verb,
    },
    /// API keys of clients
    Keys {
        #[command(subcommand)]
        verb: Option<keys::Verb>,
    },
    /// Writes all that the cluster keeps into one locked file
    Backup(backups::Backup),
    /// Reads a whole backup, and names the first thing that is wrong with it
    Verify(backups::Verify),
    /// Puts a backup into an empty cluster, and proves that it is there
    Restore(backups::Restore),
    /// The key that what is stored is sealed with
    Store {
        #[command(subcommand)]
        verb: store::Verb,
    },
    /// What is planned, and templates to begin with
    Projects {
        #[command(subcommand)]
        verb: Option<projects::Verb>,
    },
    /// Makes tasks out of a PRD
    Plan {
        #[command(subcommand)]
        verb: plan::Verb,
    },
    /// The tasks of a project
    Tasks(Box<tasks::Args>),
    /// Changes tasks as you say it; each change is shown first
    Do(wish::Args),
    /// Makes a folder of this machine into a project's
    Init(folder::Init),
    /// Moves a project's files to where they belong now
    Migrate(folder::Migrate),
    /// Documents of the house, and questions that they answer with their sources
    Research {
        #[command(subcommand)]
        verb: Option<research::Verb>,
    },
    /// Work on plans, and research in rounds, that goes on in the cluster
    Jobs {
        #[command(flatten)]
        of: jobs::Of,
        #[command(subcommand)]
        verb: Option<jobs::Verb>,
    },
    /// Carries MCP between an editor's pipe and the server; stdout is for the protocol only
    Mcp(mcp::Args),
    /// Writes an editor's MCP configuration, beside what is there
    Editor(editor::Args),
    /// Tells an editor's agent how to work with tasks, in the file that it reads
    Rules(rules::Args),
    /// The cluster on one screen, as it changes
    Top(top::Args),
    /// Events as they happen, until interrupted
    Events,
    /// Prints what a shell needs to complete this program's words
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Writes manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn what_may_be_typed_is_without_contradiction() {
        Cli::command().debug_assert();
    }
}
