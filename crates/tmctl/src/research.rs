//! `tmctl research`: documents of the house, what stands in them, and questions that they answer with their sources.

mod add;
mod ask;
mod clusters;
mod eval;
mod export;
mod migrate;
mod narrow;
mod rounds;
mod search;
mod shelf;
mod walk;

use base::Result;
use clap::Subcommand;

use crate::client::Servers;
use crate::screen::{Ended, Screen, Verdict};

/// The collection that is meant where none is named.
const HOUSE: &str = "house";

/// What can be done with documents.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Adds files, folders, pages, standard input or a task; the same source again is a new version
    Add(add::Add),
    /// Removes documents
    Remove(shelf::Remove),
    /// Shows the documents of a collection
    List(shelf::List),
    /// Shows how the knowledge base stands: who holds what, what is still to be done
    Status,
    /// Finds passages
    Search(search::Search),
    /// Answers a question from the documents, each sentence with its source
    Ask(ask::Ask),
    /// Researches a question in rounds, until it is answered or nothing new is found; as a job
    Loop(rounds::Loop),
    /// Groups documents that are about the same
    Clusters(clusters::Clusters),
    /// Writes the documents of a collection into a folder, as they were added
    Export(export::Export),
    /// Shows collections, makes and deletes them
    Collections {
        #[command(subcommand)]
        verb: Option<shelf::CollectionVerb>,
    },
    /// Shows folders that a node keeps a collection in step with, and ends that
    Folders {
        #[command(subcommand)]
        verb: Option<shelf::FolderVerb>,
    },
    /// Moves searches to a Qdrant, or back to the nodes' own indexes, and checks that they find the same
    Migrate(migrate::Migrate),
    /// Measures search or answers on documents and questions of yours, in a collection that is deleted again
    Eval(eval::Eval),
}

/// Runs the verb.
pub async fn run(servers: &Servers, screen: &mut Screen, verb: Option<Verb>) -> Result<Verdict, Ended> {
    match verb.unwrap_or(Verb::Status) {
        Verb::Add(args) => add::run(servers, screen, args).await,
        Verb::Remove(args) => shelf::remove(servers, screen, args).await,
        Verb::List(args) => shelf::list(servers, screen, args).await,
        Verb::Status => shelf::status(servers, screen).await,
        Verb::Search(args) => search::run(servers, screen, args).await,
        Verb::Ask(args) => ask::run(servers, screen, args).await,
        Verb::Loop(args) => rounds::run(servers, screen, args).await,
        Verb::Clusters(args) => clusters::run(servers, screen, args).await,
        Verb::Export(args) => export::run(servers, screen, args).await,
        Verb::Collections { verb } => shelf::collections(servers, screen, verb).await,
        Verb::Folders { verb } => shelf::folders(servers, screen, verb).await,
        Verb::Migrate(args) => migrate::run(servers, screen, args).await,
        Verb::Eval(args) => eval::run(servers, screen, args).await,
    }
}

#[cfg(test)]
mod tests;
