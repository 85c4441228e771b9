//! An answer and what stands around it, for the snapshots of `tmctl research`.

use proto::research::*;

use super::NOW;

/// An answer with two sources that differ, and a sentence that neither of them says.
pub fn answer() -> Answer {
    let sentence =
        |text: &str, cites: Vec<u32>, support: &str| Sentence { text: text.into(), cites, support: support.into() };
    let because = |name: &str, value, moved| Because { name: name.into(), value, moved };
    let citation = |number, title: &str, source: &str, quote: &str| Citation {
        number,
        span: Some(Span { document: "0a1b".into(), version: 2, start: 120, end: 144 }),
        quote: quote.into(),
        collection: "house".into(),
        source: source.into(),
        title: title.into(),
        headings: if number == 1 { "Disks".into() } else { String::new() },
        page: (number == 2).then_some(4),
        dated_ms: NOW,
        licence: String::new(),
    };
    Answer {
        question: "how many disks has the NAS".into(),
        verdict: "unsure".into(),
        text: "The NAS has four disks. [1] It was bought in May.".into(),
        sentences: vec![
            sentence("The NAS has four disks.", vec![1], "quoted"),
            sentence("It was bought in May.", vec![2], "unsupported"),
        ],
        citations: vec![
            citation(1, "The NAS", "file://grey-area/srv/nas.md", "The NAS has four disks."),
            citation(2, "", "https://example.org/nas", "Five disks\nin the NAS."),
        ],
        confidence: Some(Confidence {
            value: 0.62,
            because: vec![because("margin", 0.31, 0.12), because("agreement", 0.0, -0.2)],
        }),
        contradictions: vec![Contradiction { one: 1, other: 2, about: "four, five".into() }],
        model: String::new(),
        search: "by words alone: no model embeds".into(),
        notes: vec!["no model was asked".into()],
    }
}

/// A collection with documents of every state.
pub fn collection() -> Collection {
    Collection {
        name: "house".into(),
        description: "all that is written down".into(),
        chunk_tokens: 300,
        created_ms: NOW,
        documents: 40,
        failed: 1,
        folded: 2,
        chunks: 900,
        embedded: 880,
        bytes: 5 << 20,
        languages: vec!["de".into(), "en".into()],
        categories: vec!["domain_expertise".into()],
    }
}

/// A document in each state.
pub fn documents() -> Vec<Document> {
    let document = |id: &str, name: &str, state: &str, reason: &str| Document {
        id: id.into(),
        collection: "house".into(),
        source: format!("file://grey-area/srv/{name}"),
        version: 2,
        original: "9f86d081".into(),
        bytes: 4200,
        meta: Some(Meta { title: "The NAS".into(), category: "hardware".into(), ..Meta::default() }),
        language: "en".into(),
        state: state.into(),
        reason: reason.into(),
        hint: String::new(),
        notes: Vec::new(),
        chars: 4100,
        added_ms: NOW - 1000,
        changed_ms: NOW,
    };
    vec![
        document("0a", "nas.md", "ready", ""),
        document("0b", "scan.pdf", "failed", "no text could be read: it is a picture"),
        document("0c", "copy.md", "folded", "0a"),
    ]
}

/// Two holders, and no model that embeds.
pub fn status() -> StatusResponse {
    let holder =
        |node: &str, state: &str| Holder { node: node.into(), state: state.into(), documents: 43, bytes: 5 << 20 };
    StatusResponse {
        node: "grey-area".into(),
        writer: "grey-area".into(),
        writer_epoch: 3,
        embedder: String::new(),
        embedder_note: "no worker offers a model for the role embed".into(),
        chunks: 900,
        embedded: 0,
        waiting: 1,
        holders: vec![holder("grey-area", "up to date"), holder("nas", "behind by 1 document")],
        index: "embedded".into(),
    }
}
