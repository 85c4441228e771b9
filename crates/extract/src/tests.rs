//! Rules that hold for every text, whatever it was read from.

use proptest::prelude::*;

use super::*;

/// As a person would look at it: what it is, its blocks with their shapes, its notes.
pub(super) fn shown(read: &Extracted) -> String {
    let dated = read.dated_ms.map_or_else(|| "undated".to_owned(), base::time::rfc3339);
    let mut lines = vec![format!("{:?} `{}` {dated}", read.kind, read.title)];
    for block in &read.blocks {
        lines.push(format!("[{:?}] {}", block.shape, read.of(block)));
    }
    lines.extend(read.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

fn text_of(blocks: &[(u32, u32)], text: &str) -> Extracted {
    let block = |(start, end): &(u32, u32)| Block { start: *start, end: *end, shape: Shape::Paragraph, page: None };
    Extracted { text: text.to_owned(), blocks: blocks.iter().map(block).collect(), ..Extracted::default() }
}

#[test]
fn blocks_that_break_a_rule_are_told() {
    let wrong = |blocks: &[(u32, u32)], text| check(&text_of(blocks, text)).unwrap_err();
    assert_eq!(check(&text_of(&[(0, 1), (3, 4)], "a\n\nb ")), Ok(()));
    assert_eq!(check(&Extracted::default()), Ok(()));
    assert_eq!(wrong(&[(3, 4), (0, 1)], "a\n\nb"), "text before block 0 is in no block");
    assert_eq!(wrong(&[(0, 3), (2, 4)], "a\n\nb"), "block 1 begins at a wrong place");
    assert_eq!(wrong(&[(0, 9)], "a"), "block 0 ends at a wrong place");
    assert_eq!(wrong(&[(0, 1)], "ä"), "block 0 ends at a wrong place");
    assert_eq!(wrong(&[(0, 1), (1, 3)], "a  "), "block 1 is blank");
    assert_eq!(wrong(&[(0, 1)], "a b"), "text at the end is in no block");
    assert_eq!(wrong(&[], "a"), "text at the end is in no block");
}

#[test]
fn the_charset_of_a_media_type_is_found() {
    assert_eq!(charset_of("text/html; a=b; Charset=\"utf-8\""), Some("utf-8"));
    assert_eq!(charset_of("text/html"), None);
}

#[test]
fn what_is_too_large_names_its_limit() {
    let letters = |count| read(&vec![b'a'; count], &Hint { media: "", name: "a.txt" }).unwrap_err().to_string();
    assert_eq!(letters(limits::INPUT_BYTES + 1), "it is too large: more than 64 MiB of the document");
    assert_eq!(letters(50 << 20), "it is too large: more than 16 MiB of text");
}

#[test]
fn nothing_to_read_is_no_text() {
    for (bytes, name) in
        [(&b""[..], "a.txt"), (b" \n\n", "a.txt"), (b"<html><script>x</script>", "a.html"), (b"---\n", "a.md")]
    {
        assert_eq!(read(bytes, &Hint { media: "", name }), Err(ReadError::Empty), "{name}");
    }
}

/// Pieces that mean something to one of the readers.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zäß ]{1,12}",
        6 => prop::sample::select(vec![
            "\n", "\n\n", "  ", "\t", "# ", "## ", "- ", "  - ", "1. ", "> ", "```\n", "`", "**", "_", "[a](b)", "![c](d)",
            "| a | b |\n", "|---|---|\n", "[^1]", "[^1]: ", "---\n", "+++\n", "title: x\n", "<div>", "</div>", "<p>", "<b>",
            "</b>", "<li>", "<ul>", "</ul>", "<table>", "<tr>", "<td>", "</table>", "<h1>", "</h1>", "<nav>", "</nav>",
            "<script>", "</script>", "<!--", "-->", "<br>", "<pre>", "</pre>", "&amp;", "&#0;", "<template>", "<select>",
            "<svg>", "<math>", "<title>", "</title>", "{", "}", "\"", "fn a() {\n", "end\n", "\r\n", "\u{a0}", "\u{2028}",
            "\u{7}", "日本",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_text_keeps_the_rules(source in pieces()) {
        for name in ["a.md", "a.html", "a.txt", "a.rs", "a.csv"] {
            match read(source.as_bytes(), &Hint { media: "", name }) {
                Ok(read) => prop_assert_eq!(check(&read), Ok(())),
                Err(error) => prop_assert!(matches!(error, ReadError::Empty | ReadError::NotText), "{}", error),
            }
        }
    }

    #[test]
    fn plain_text_and_code_stay_as_they_are(source in pieces()) {
        let is_clean = !source.contains(['\r', '\u{7}']);
        for name in ["a.txt", "a.rs", "a.csv"] {
            if let Ok(read) = read(source.as_bytes(), &Hint { media: "", name }) && is_clean {
                prop_assert_eq!(&read.text, &source);
            }
        }
    }

    #[test]
    fn no_bytes_upset_the_simple_readers(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for name in ["a.md", "a.html", "a.txt", "a.rs"] {
            if let Ok(read) = read(&bytes, &Hint { media: "", name }) {
                prop_assert_eq!(check(&read), Ok(()));
            }
        }
    }
}
