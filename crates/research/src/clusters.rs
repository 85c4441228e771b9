//! Groups of documents that are about the same, with the words that tell each group from the others. The same documents
//! make the same groups, in whatever order they come.

mod labels;
mod means;
mod svg;

pub use svg::svg;

use xxhash_rust::xxh3::xxh3_64;

use crate::knowledge::{Cluster, ClusterDocument, Clusters};
use crate::names::DocId;

use self::labels::Vocabulary;
use self::means::{Grouping, Point};

/// So much of a document tells by its words what it is about.
pub const TEXT_BYTES: usize = 4 << 10;
/// More documents than this are not compared; it takes seconds as it is.
const MOST_DOCUMENTS: usize = 5000;
/// The number of groups is chosen by so many documents, spread evenly.
const SAMPLE: usize = 1000;
/// Numbers of groups that are tried where none is wished.
const TRIED: [usize; 10] = [2, 3, 4, 5, 6, 8, 10, 12, 16, 20];
/// A division into groups that is not better than this says nothing: then all are one group.
const LEAST_SILHOUETTE: f64 = 0.05;

/// A document to be grouped.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Which.
    pub id: DocId,
    /// Where it comes from.
    pub source: &'a str,
    /// What it is called.
    pub title: &'a str,
    /// What it says; only the begin is looked at.
    pub text: &'a str,
    /// Its language, empty where unknown.
    pub language: &'a str,
    /// The mean of its chunks' vectors, where it has any.
    pub vector: Option<&'a [f32]>,
}

/// The groups, without a picture. `count`: how many are wished; `None`: as many as part the documents best. Likeness is by
/// vectors where all have one of the same length, else by words.
pub fn group(documents: &[Member], count: Option<usize>) -> Clusters {
    let mut members: Vec<Member> = documents.to_vec();
    members.sort_by_key(|member| member.id);
    members.dedup_by_key(|member| member.id);
    let given = members.len();
    members.truncate(MOST_DOCUMENTS);
    let vocabulary = Vocabulary::of(&members);
    let dense = dense(&members);
    let by = if dense.is_some() { "vectors" } else { "words" };
    let points = dense.unwrap_or_else(|| vocabulary.points());
    let seed = members.iter().fold(0, |seed, member| xxh3_64(&[&member.id.0[..], &u64::to_le_bytes(seed)].concat()));
    let (count, how) = match count {
        Some(count) => (count.clamp(1, members.len().max(1)), "as wished"),
        None => best_count(&points, seed),
    };
    let grouping = means::group(&points, count, seed);
    let items = items(&members, &grouping, &vocabulary);
    let missing = members.iter().filter(|member| member.vector.is_none()).count();
    let groups = if items.len() == 1 { "group" } else { "groups" };
    let mut method = format!("likeness by {by}, {} {groups} {how}", items.len());
    if by == "words" && missing < members.len() {
        method += &format!("; {missing} of {} documents have no vector that fits the others", members.len());
    }
    if given > members.len() {
        method += &format!("; only {} of {given} documents were compared", members.len());
    }
    Clusters { items, svg: String::new(), method }
}

/// Their vectors, if all have one and of one length.
fn dense<'a>(members: &[Member<'a>]) -> Option<Vec<Point<'a>>> {
    let length = members.first()?.vector?.len();
    let vector = |member: &Member<'a>| member.vector.filter(|vector| vector.len() == length && length > 0);
    members.iter().map(|member| vector(member).map(Point::dense)).collect()
}

/// The number of groups whose documents are nearest to their own group and farthest from the next one.
fn best_count(points: &[Point], seed: u64) -> (usize, &'static str) {
    let step = points.len().div_ceil(SAMPLE).max(1);
    let sample: Vec<Point> = points.iter().step_by(step).cloned().collect();
    let tried = TRIED.into_iter().take_while(|count| *count * 2 <= sample.len());
    let judged = tried.map(|count| (means::group(&sample, count, seed).silhouette(&sample), count));
    let best = judged.reduce(|best, next| if next.0 > best.0 { next } else { best });
    match best.filter(|(silhouette, _)| *silhouette > LEAST_SILHOUETTE) {
        Some((_, count)) => (count, "by the best silhouette"),
        None => (1, "since no division is a clear one"),
    }
}

/// The groups that have documents, the largest first.
fn items(members: &[Member], grouping: &Grouping, vocabulary: &Vocabulary) -> Vec<Cluster> {
    let labels = vocabulary.labels(&grouping.groups, grouping.middles.len());
    let mut items = Vec::new();
    for (group, label) in labels.into_iter().enumerate() {
        let inside =
            members.iter().zip(&grouping.groups).zip(&grouping.likeness).filter(|((_, own), _)| **own == group);
        let mut documents: Vec<ClusterDocument> = inside
            .map(|((member, _), likeness)| ClusterDocument {
                id: member.id,
                source: member.source.to_owned(),
                title: member.title.to_owned(),
                likeness: f64::from(likeness.clamp(0.0, 1.0)),
            })
            .collect();
        documents.sort_by(|a, b| b.likeness.total_cmp(&a.likeness).then(a.id.cmp(&b.id)));
        if !documents.is_empty() {
            let cohesion = documents.iter().map(|document| document.likeness).sum::<f64>() / documents.len() as f64;
            items.push(Cluster { label, documents, cohesion });
        }
    }
    items.sort_by(|a, b| b.documents.len().cmp(&a.documents.len()).then_with(|| first(a).cmp(&first(b))));
    items
}

fn first(cluster: &Cluster) -> Option<DocId> {
    cluster.documents.first().map(|document| document.id)
}

#[cfg(test)]
mod tests;
