//! Points and questions as Qdrant's messages, and its answers back: nothing that it says is trusted to be whole.

use std::collections::HashMap;

use base::{Fault, Result};
use proto::qdrant as q;
use proto::qdrant::condition::ConditionOneOf;
use proto::qdrant::point_id::PointIdOptions;
use proto::qdrant::value::Kind;

use crate::names::{ChunkHash, CollectionName, DocId};
use crate::outside::{Among, Placed, Point, PointId, Wanted};

/// The names of the two vectors.
const DENSE: &str = "dense";
const SPARSE: &str = "sparse";
/// The fields of a point.
pub(super) const HOUSE: &str = "collection";
pub(super) const DOCUMENT: &str = "document";
const ORDINAL: &str = "ordinal";
const CHUNK: &str = "chunk";
const VERSION: &str = "version";
const VECTORS: &str = "vectors";
const SPAN: &str = "span";
const PARTS: &str = "parts";
/// What is read back of a point.
const READ: [&str; 6] = [HOUSE, DOCUMENT, ORDINAL, CHUNK, VERSION, VECTORS];

/// Whether a collection is one of a house with that prefix.
pub(super) fn is_ours(name: &str, prefix: &str) -> bool {
    let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
    rest.is_some_and(|rest| rest.len() == 16 && rest.chars().all(|c| c.is_ascii_hexdigit()))
}

pub(super) fn collection(name: &str, dims: Option<u32>) -> q::CreateCollection {
    let dense = dims.map(|dims| q::VectorParams {
        size: u64::from(dims),
        distance: q::Distance::Cosine as i32,
        multivector_config: Some(q::MultiVectorConfig { comparator: q::MultiVectorComparator::MaxSim as i32 }),
    });
    let map: HashMap<_, _> = dense.into_iter().map(|params| (DENSE.to_owned(), params)).collect();
    let sparse = q::SparseVectorParams { modifier: Some(q::Modifier::Idf as i32) };
    q::CreateCollection {
        collection_name: name.to_owned(),
        vectors_config: Some(q::VectorsConfig {
            config: Some(q::vectors_config::Config::ParamsMap(q::VectorParamsMap { map })),
        }),
        sparse_vectors_config: Some(q::SparseVectorConfig { map: HashMap::from([(SPARSE.to_owned(), sparse)]) }),
    }
}

/// Points of one version; those that are there of a later one stay.
pub(super) fn upsert(collection: &str, version: u64, points: Vec<Point>) -> q::UpsertPoints {
    q::UpsertPoints {
        collection_name: collection.to_owned(),
        wait: Some(true),
        points: points.into_iter().map(point).collect(),
        update_filter: Some(q::Filter { must: vec![of_version(version)] }),
    }
}

pub(super) fn deletion(collection: &str, version: u64, ids: &[PointId]) -> q::DeletePoints {
    let ids = ConditionOneOf::HasId(q::HasIdCondition { has_id: ids.iter().map(|id| id_to_wire(*id)).collect() });
    let filter = q::Filter { must: vec![q::Condition { condition_one_of: Some(ids) }, of_version(version)] };
    q::DeletePoints {
        collection_name: collection.to_owned(),
        wait: Some(true),
        points: Some(q::PointsSelector {
            points_selector_one_of: Some(q::points_selector::PointsSelectorOneOf::Filter(filter)),
        }),
    }
}

pub(super) fn scroll(collection: &str, from: Option<PointId>, limit: u32) -> q::ScrollPoints {
    q::ScrollPoints {
        collection_name: collection.to_owned(),
        offset: from.map(id_to_wire),
        limit: Some(limit),
        with_payload: Some(what_is_read()),
    }
}

/// Both ways in one call, words first; and whether words are among them.
pub(super) fn query(collection: &str, wanted: &Wanted) -> (q::QueryBatchPoints, bool) {
    use q::vector_input::Variant;
    let one = |variant: Variant, using: &str| q::QueryPoints {
        collection_name: collection.to_owned(),
        query: Some(q::Query { variant: Some(q::query::Variant::Nearest(q::VectorInput { variant: Some(variant) })) }),
        using: Some(using.to_owned()),
        filter: filter(&wanted.among),
        limit: Some(wanted.limit as u64),
        with_payload: Some(what_is_read()),
    };
    let words = wanted.words.as_ref().filter(|words| !words.indices.is_empty()).map(|words| {
        let sparse = q::SparseVector { values: words.values.clone(), indices: words.indices.clone() };
        one(Variant::Sparse(sparse), SPARSE)
    });
    let by_words = words.is_some();
    let vector =
        wanted.vector.as_ref().map(|vector| one(Variant::Dense(q::DenseVector { data: vector.clone() }), DENSE));
    let query_points = words.into_iter().chain(vector).collect();
    (q::QueryBatchPoints { collection_name: collection.to_owned(), query_points }, by_words)
}

/// What a point says of itself; a fault where it is none of ours.
pub(super) fn placed(id: Option<q::PointId>, payload: &HashMap<String, q::Value>) -> Result<Placed> {
    let foreign = || {
        Fault::internal("Qdrant has a point that no node of this house made")
            .hint("give the house a prefix of its own with `research.qdrant.prefix`")
    };
    let text = |key: &str| match payload.get(key).and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(text)) => Ok(text.as_str()),
        _ => Err(foreign()),
    };
    let number = |key: &str| match payload.get(key).and_then(|value| value.kind.as_ref()) {
        Some(Kind::IntegerValue(number)) => u64::try_from(*number).map_err(|_| foreign()),
        _ => Err(foreign()),
    };
    let small = |key: &str| number(key).and_then(|number| u32::try_from(number).map_err(|_| foreign()));
    Ok(Placed {
        id: id_from_wire(&id.ok_or_else(foreign)?)?,
        document: DocId::parse(text(DOCUMENT)?)?,
        collection: CollectionName::parse(text(HOUSE)?)?,
        ordinal: small(ORDINAL)?,
        chunk: ChunkHash::parse(text(CHUNK)?)?,
        version: number(VERSION)?,
        vectors: small(VECTORS)?,
    })
}

pub(super) fn id_from_wire(id: &q::PointId) -> Result<PointId> {
    let uuid = match &id.point_id_options {
        Some(PointIdOptions::Uuid(uuid)) => PointId::parse(uuid),
        _ => None,
    };
    uuid.ok_or_else(|| Fault::internal("Qdrant has a point whose name is no UUID"))
}

fn id_to_wire(id: PointId) -> q::PointId {
    q::PointId { point_id_options: Some(PointIdOptions::Uuid(id.uuid())) }
}

fn point(point: Point) -> q::PointStruct {
    let Point { placed, span, parts, words, vectors } = point;
    let parts = parts.iter().map(|part| text(part.to_string())).collect();
    let payload = [
        (HOUSE, text(placed.collection.to_string())),
        (DOCUMENT, text(placed.document.to_string())),
        (ORDINAL, number(placed.ordinal.into())),
        (CHUNK, text(placed.chunk.to_string())),
        (VERSION, number(placed.version)),
        (VECTORS, number(placed.vectors.into())),
        (SPAN, list(vec![number(span.0.into()), number(span.1.into())])),
        (PARTS, list(parts)),
    ];
    let mut named = HashMap::new();
    let sparse = q::SparseVector { values: words.values, indices: words.indices };
    named.insert(SPARSE.to_owned(), vector(q::vector::Vector::Sparse(sparse)));
    if !vectors.is_empty() {
        let vectors = vectors.into_iter().map(|data| q::DenseVector { data }).collect();
        named.insert(DENSE.to_owned(), vector(q::vector::Vector::MultiDense(q::MultiDenseVector { vectors })));
    }
    q::PointStruct {
        id: Some(id_to_wire(placed.id)),
        payload: payload.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        vectors: Some(q::Vectors {
            vectors_options: Some(q::vectors::VectorsOptions::Vectors(q::NamedVectors { vectors: named })),
        }),
    }
}

fn vector(vector: q::vector::Vector) -> q::Vector {
    q::Vector { vector: Some(vector) }
}

fn text(text: String) -> q::Value {
    q::Value { kind: Some(Kind::StringValue(text)) }
}

fn number(number: u64) -> q::Value {
    q::Value { kind: Some(Kind::IntegerValue(i64::try_from(number).unwrap_or(i64::MAX))) }
}

fn list(values: Vec<q::Value>) -> q::Value {
    q::Value { kind: Some(Kind::ListValue(q::ListValue { values })) }
}

fn what_is_read() -> q::WithPayloadSelector {
    let fields = READ.iter().map(|field| (*field).to_owned()).collect();
    let include = q::with_payload_selector::SelectorOptions::Include(q::PayloadIncludeSelector { fields });
    q::WithPayloadSelector { selector_options: Some(include) }
}

/// Points of that version or an earlier one.
fn of_version(version: u64) -> q::Condition {
    let range = q::Range { lte: Some(version as f64) };
    field(q::FieldCondition { key: VERSION.to_owned(), r#match: None, range: Some(range) })
}

fn filter(among: &Among) -> Option<q::Filter> {
    let (key, strings): (&str, Vec<String>) = match among {
        Among::All => return None,
        Among::Collections(names) => (HOUSE, names.iter().map(ToString::to_string).collect()),
        Among::Documents(ids) => (DOCUMENT, ids.iter().map(ToString::to_string).collect()),
    };
    let keywords = q::r#match::MatchValue::Keywords(q::RepeatedStrings { strings });
    let r#match = Some(q::Match { match_value: Some(keywords) });
    Some(q::Filter { must: vec![field(q::FieldCondition { key: key.to_owned(), r#match, range: None })] })
}

fn field(field: q::FieldCondition) -> q::Condition {
    q::Condition { condition_one_of: Some(ConditionOneOf::Field(field)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::Sparse;

    fn ours() -> Point {
        let (document, chunk) = (DocId([3; 12]), ChunkHash([4; 16]));
        let collection = CollectionName::parse("house").unwrap();
        let id = PointId::of(document, 7, chunk);
        Point {
            placed: Placed { id, document, collection, ordinal: 7, chunk, version: 2, vectors: 1 },
            span: (10, 20),
            parts: vec![ChunkHash([5; 16])],
            words: Sparse { indices: vec![1, 9], values: vec![0.5, 1.5] },
            vectors: vec![vec![1.0, 0.0]],
        }
    }

    #[test]
    fn a_point_is_read_as_it_is_written() {
        let written = point(ours());
        assert_eq!(placed(written.id, &written.payload).unwrap(), ours().placed);
    }

    #[test]
    fn a_point_of_others_is_a_fault_and_no_panic() {
        let written = point(ours());
        for key in READ {
            let mut payload = written.payload.clone();
            payload.insert(key.to_owned(), number(u64::MAX));
            payload.insert(if key == ORDINAL { CHUNK } else { ORDINAL }.to_owned(), list(Vec::new()));
            assert!(placed(written.id.clone(), &payload).is_err(), "{key}");
        }
        assert!(placed(None, &written.payload).is_err());
        let number = q::PointId { point_id_options: Some(PointIdOptions::Num(3)) };
        assert!(placed(Some(number), &written.payload).is_err());
    }

    #[test]
    fn only_collections_of_this_house_are_its_own() {
        assert!(is_ours("taskmaster-0123456789abcdef", "taskmaster"));
        for other in ["taskmaster", "taskmaster-notes", "taskmaster-2-0123456789abcdef", "x-0123456789abcdef"] {
            assert!(!is_ours(other, "taskmaster"), "{other}");
        }
    }
}
