//! `tmctl research clusters`: documents that are about the same, as a list or as a picture.

use std::path::PathBuf;
use std::time::Duration;

use base::Result;
use proto::research::{Cluster, ClusterDocument, ClustersRequest, ClustersResponse};
use serde_json::{Value, json};

use super::HOUSE;
use crate::client::{Servers, call};
use crate::file;
use crate::screen::{Ended, Screen, Verdict};
use crate::text::{self, counted, percent, visible};

/// Many documents are compared with many.
const LIMIT: Duration = Duration::from_secs(300);
/// Documents of a group that are shown; JSON has them all.
const MOST_SHOWN: usize = 10;

/// Which documents to group.
#[derive(Debug, clap::Args)]
pub struct Clusters {
    /// The collection
    #[arg(long, default_value = HOUSE, value_name = "NAME")]
    collection: String,
    /// So many groups; as many as suit when left out
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=200))]
    count: Option<u32>,
    /// Draw them into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Groups documents, and shows the groups.
pub async fn run(servers: &Servers, screen: &mut Screen, args: Clusters) -> Result<Verdict, Ended> {
    let connection = servers.connect().await?;
    let Clusters { collection, count, svg } = args;
    let clusters = count.unwrap_or_default();
    let request = ClustersRequest { collection, clusters, svg: svg.is_some() };
    let found = call(LIMIT, connection.research().clusters(request)).await?;
    screen.show(|_| visible(&shown(&found)), &json(&found, &connection.server))?;
    if count.is_some_and(|count| found.clusters.len() < count as usize) {
        let there = counted(found.clusters.len(), "group");
        screen.note(&format!("only {there} can be made of these documents, not {clusters}\n"));
    }
    if let Some(path) = svg {
        file::write(&path, found.svg.as_bytes())?;
        screen.note(&visible(&format!("drew {}\n", path.display())));
    }
    Ok(Verdict::Done)
}

fn shown(found: &ClustersResponse) -> String {
    let mut text = String::new();
    for cluster in &found.clusters {
        let count = counted(cluster.documents.len(), "document");
        text.push_str(&format!("{}  ({count}, {} alike)\n", cluster.label, percent(cluster.cohesion)));
        for document in cluster.documents.iter().take(MOST_SHOWN) {
            let title = if document.title.is_empty() { &document.source } else { &document.title };
            text.push_str(&format!("  {:>5}  {title}\n", percent(document.likeness)));
        }
        if cluster.documents.len() > MOST_SHOWN {
            text.push_str(&format!("         and {} more\n", cluster.documents.len() - MOST_SHOWN));
        }
    }
    format!("{text}{}\n", found.method)
}

fn json(found: &ClustersResponse, server: &str) -> Value {
    let list = text::List::of_now(server, found.clusters.iter().map(item).collect::<Vec<_>>());
    json!({ "as_of": list.as_of, "view_of": list.view_of, "stale_s": list.stale_s, "items": list.items, "method": found.method })
}

fn item(cluster: &Cluster) -> Value {
    let document = |one: &ClusterDocument| json!({ "id": one.id, "source": one.source, "title": one.title, "likeness": one.likeness });
    json!({
        "label": cluster.label,
        "cohesion": cluster.cohesion,
        "documents": cluster.documents.iter().map(document).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_shown_nearest_first_and_what_is_left_out_is_said() {
        let document = |number: usize| ClusterDocument {
            id: String::new(),
            source: format!("file://grey-area/srv/{number}.md"),
            title: if number == 0 { "The NAS".into() } else { String::new() },
            likeness: 0.9 - number as f64 / 20.0,
        };
        let large = Cluster { label: "disks, raid".into(), documents: (0..12).map(document).collect(), cohesion: 0.71 };
        let found = ClustersResponse {
            clusters: vec![large],
            svg: String::new(),
            method: "likeness by words, 1 group as wished".into(),
        };
        insta::assert_snapshot!("clusters", visible(&shown(&found)));
        let json = json(&found, "grey-area");
        assert_eq!((&json["method"], &json["items"][0]["label"]), (&found.method.into(), &"disks, raid".into()));
    }
}
