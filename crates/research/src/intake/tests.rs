//! What a hostile reader says of a document does not make its record too large for the store.

use super::*;
use extract::Block;
use extract::Shape::Paragraph;

fn described(read: Result<Extracted, ReadError>) -> Document {
    let collection = CollectionName::parse("house").unwrap();
    let new = NewDocument { source: "file:/a.epub".into(), bytes: "book".into(), ..NewDocument::default() };
    match describe(&collection, BlobId::of(b"book"), new, read).unwrap() {
        Prepared::Read(fresh, _) => fresh.0,
        _ => panic!("it is not to be kept"),
    }
}

fn record_bytes(document: &Document) -> usize {
    serde_json::to_vec(document).unwrap().len()
}

#[test]
fn what_a_reader_says_is_cut_to_what_a_record_can_hold() {
    let block = Block { start: 0, end: 5, shape: Paragraph, page: None };
    let book = |notes| Extracted {
        title: "ü".repeat(1 << 20),
        text: "Water".into(),
        blocks: vec![block.clone()],
        notes,
        ..Extracted::default()
    };
    let long = described(Ok(book(vec!["x".repeat(2 << 20), "short".into()])));
    let State::Ready { notes, .. } = &long.state else { panic!("{:?}", long.state) };
    assert!(notes[0].ends_with("xx… (cut, it has 2097152 bytes)") && notes[1] == "short", "{notes:?}");
    assert!(long.meta.title.contains("(cut") && record_bytes(&long) < 8 << 10, "{} bytes", record_bytes(&long));

    let many = described(Ok(book((0..100_000).map(|at| format!("note {at}")).collect())));
    let State::Ready { notes, .. } = &many.state else { panic!("{:?}", many.state) };
    assert_eq!((notes.len(), notes.last().unwrap().as_str()), (33, "there are 99968 more notes"));

    let failed = described(Err(ReadError::Confused { why: "y".repeat(2 << 20) }));
    assert!(record_bytes(&failed) < 8 << 10, "{} bytes", record_bytes(&failed));
}

#[test]
fn a_file_is_called_by_its_whole_name_and_a_page_without_what_is_asked_of_it() {
    assert_eq!(file_name("file://nas/srv/Jörg & Söhne #1 100%?.md"), "Jörg & Söhne #1 100%?.md");
    assert_eq!(file_name("https://example.org/a/pump.html?lang=de#top"), "pump.html");
}
