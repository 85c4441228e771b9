//! `tmctl research migrate`: searches take their candidates from a Qdrant, or from the nodes' own indexes again.

use std::time::Duration;

use base::{Fault, Result};
use proto::research::migrate_response::Part;
use proto::research::{MigrateRequest, MigrateResponse, Migrated};
use serde_json::{Value, json};
use tonic::Streaming;

use crate::client::{Servers, call, told};
use crate::progress::{News, PAUSE};
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{counted, visible};

/// Until the first word comes.
const LIMIT: Duration = Duration::from_secs(120);
/// With less in common, the two do not find the same.
const LEAST_OVERLAP: f64 = 0.9;

/// Where to.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// A Qdrant, which the nodes' configuration names, or each node's own index
    #[arg(long, value_parser = ["qdrant", "embedded"])]
    to: String,
}

/// Moves the index, and waits until it is done.
pub async fn run(servers: &Servers, screen: &mut Screen, migrate: Migrate) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    let parts = call(LIMIT, connection.research().migrate(MigrateRequest { to: migrate.to })).await?;
    let migrated = follow(screen, parts).await?;
    screen.show(|_| visible(&text(&migrated)), &json(&migrated, &connection.server))?;
    let is_well = migrated.samples == 0 || migrated.overlap >= LEAST_OVERLAP;
    Ok(if is_well { Verdict::Done } else { Verdict::NotWell })
}

async fn follow(screen: &mut Screen, mut parts: Streaming<MigrateResponse>) -> Result<Migrated> {
    let mut live = screen.progress(PAUSE);
    while let Some(MigrateResponse { part }) = parts.message().await.map_err(|status| told(&status))? {
        match part {
            Some(Part::Progress(news)) => {
                let figures = format!("{} of {}", news.done, news.total);
                live.show(&News { status: &news.doing, done: news.done, whole: news.total, figures });
            }
            Some(Part::Migrated(migrated)) => return Ok(migrated),
            None => {}
        }
    }
    let fault = Fault::unavailable("the server stopped telling how far the move is");
    Err(fault.hint("the move goes on: `tmctl research status` shows where searches look now"))
}

fn text(migrated: &Migrated) -> String {
    let Migrated { index, points, chunks, samples, overlap, notes } = migrated;
    let mut text = match index.as_str() {
        "embedded" => format!(
            "searches take their candidates from the nodes' own indexes, {}\n",
            counted(*chunks as usize, "chunk")
        ),
        address => {
            let (points, chunks) = (counted(*points as usize, "point"), counted(*chunks as usize, "chunk"));
            format!("searches take their candidates from Qdrant at {address}: {points}, {chunks}\n")
        }
    };
    if *samples > 0 {
        let share = overlap * 100.0;
        let searches = if *samples == 1 { "search" } else { "searches" };
        text.push_str(&format!(
            "{samples} {searches} done both ways: {share:.1} % of the ten best hits are the same\n"
        ));
    }
    for note in notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

fn json(migrated: &Migrated, server: &str) -> Value {
    let Migrated { index, points, chunks, samples, overlap, notes } = migrated;
    json!({
        "server": server, "index": index, "points": points, "chunks": chunks, "samples": samples,
        "overlap": overlap, "notes": notes,
    })
}
