//! Good documents of each kind, and what a reader makes of them.

use extract::{Extracted, Hint, ReadError};

use crate::samples::{all, docx, epub, lines, ods, ods_cell, odt, paragraph, pdf, pptx, xlsx};

fn read(bytes: &[u8], name: &str) -> Extracted {
    let read = extract::read(bytes, &Hint { media: "", name }).unwrap();
    extract::check(&read).unwrap();
    read
}

fn shown(read: &Extracted) -> String {
    let dated = read.dated_ms.map_or_else(|| "undated".to_owned(), base::time::rfc3339);
    let mut shown = format!("{:?} `{}` {dated}\n", read.kind, read.title);
    for block in &read.blocks {
        let page = block.page.map(|page| format!(" page {page}")).unwrap_or_default();
        shown.push_str(&format!("[{:?}{page}] {}\n", block.shape, read.of(block)));
    }
    read.notes.iter().for_each(|note| shown.push_str(&format!("note: {note}\n")));
    shown
}

#[test]
fn every_sample_is_read_by_its_bytes_alone_as_by_its_name() {
    for (name, bytes) in all() {
        let by_name = read(&bytes, name);
        assert!(!by_name.blocks.is_empty(), "{name}");
        // Text is text whatever it means; all others show what they are.
        if !matches!(name, "a.csv" | "a.md" | "a.rs") {
            let unnamed = read(&bytes, "");
            assert_eq!((unnamed.kind, &unnamed.text), (by_name.kind, &by_name.text), "{name}");
        }
    }
}

#[test]
fn a_text_of_word_is_read_with_headings_lists_and_tables() {
    let body = [
        paragraph("berschrift1", "Set-up"),
        paragraph("", "Two &lt;disks&gt; &#228;"),
        "<w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>an item</w:t><w:tab/><w:t>more</w:t></w:r></w:p>".to_owned(),
        paragraph("Eigen", "Second level"),
        "<w:p><w:r><w:delText>deleted</w:delText><w:instrText>PAGE</w:instrText></w:r></w:p>".to_owned(),
        format!(
            "<w:tbl><w:tr><w:tc>{}</w:tc><w:tc>{}{}</w:tc></w:tr></w:tbl>",
            paragraph("", "a"),
            paragraph("", "b"),
            paragraph("", "c")
        ),
        format!(
            "<w:p><w:r><w:t>around </w:t><mc:AlternateContent><mc:Choice><w:txbxContent>{0}</w:txbxContent></mc:Choice>\
             <mc:Fallback><w:txbxContent>{0}</w:txbxContent></mc:Fallback></mc:AlternateContent><w:t>it</w:t></w:r></w:p>",
            paragraph("", "in a box")
        ),
    ];
    insta::assert_snapshot!(shown(&read(&docx(&body.concat()), "a.docx")), @"
    Office `The pool` 2024-05-01T10:00:00.000Z
    [Heading(1)] Set-up
    [Paragraph] Two <disks> ä
    [Item] an item more
    [Heading(2)] Second level
    [Table] a | b c
    [Paragraph] in a box
    [Paragraph] around it
    ");
}

#[test]
fn a_text_of_libre_office_is_read_with_headings_lists_and_tables() {
    let body = "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>\
        <text:h text:outline-level=\"2\">Set-up</text:h><text:p>Two<text:s text:c=\"2\"/>disks<text:line-break/>\
        <text:span>inside</text:span><office:annotation><text:p>a comment</text:p></office:annotation> &amp; out</text:p>\
        <text:list><text:list-item><text:p>an item</text:p></text:list-item></text:list>\
        <table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>\
        <table:table-cell><text:p>b</text:p></table:table-cell></table:table-row></table:table>";
    insta::assert_snapshot!(shown(&read(&odt(body), "a.odt")), @"
    Office `The pool` 2024-05-01T10:00:00.000Z
    [Heading(2)] Set-up
    [Paragraph] Two  disks
    inside & out
    [Item] an item
    [Table] a | b
    ");
}

#[test]
fn slides_come_in_their_own_order_with_their_numbers() {
    insta::assert_snapshot!(shown(&read(&pptx(), "a.pptx")), @"
    Office `` undated
    [Heading(2) page 1] First
    [Paragraph page 1] Words & more
    [Heading(2) page 2] Second
    [Table page 2] Disk | Size
    sda | 4 TB
    note: slide 3 is missing
    ");
}

#[test]
fn sheets_are_tables_that_empty_rows_divide() {
    let text = |place: &str, text: &str| format!("<c r=\"{place}\" t=\"inlineStr\"><is><t>{text}</t></is></c>");
    let rows = format!(
        "<row r=\"1\">{}{}</row><row r=\"2\">{}<c r=\"C2\"><v>4.5</v></c><c r=\"D2\" s=\"1\"><v>45413</v></c></row>\
         <row r=\"1048576\"><c r=\"XFD1048576\" t=\"b\"><v>1</v></c></row>",
        text("A1", "Disk"),
        text("C1", "Size"),
        text("A2", "sda")
    );
    insta::assert_snapshot!(shown(&read(&xlsx(&rows), "a.xlsx")), @"
    Sheet `Disks` undated
    [Heading(1)] Disks
    [Table] Disk |  | Size
    sda |  | 4.5 | 2024-05-01
    [Table] | true
    ");
}

#[test]
fn sheets_of_libre_office_are_read_as_well() {
    let rows = format!("<table:table-row>{}{}</table:table-row>", ods_cell("Disk"), ods_cell("4"));
    assert_eq!(read(&ods(&rows), "a.ods").text, "Disks\n\nDisk | 4");
}

#[test]
fn a_pdf_with_a_password_is_told() {
    let mut document = pdf_extract::Document::load_mem(&pdf(&[lines(&[(10, 50, 700, "Secret.")])])).unwrap();
    let id = pdf_extract::Object::string_literal("0123456789abcdef");
    document.trailer.set("ID", vec![id.clone(), id]);
    for (password, told) in [("", Ok("Secret.")), ("open", Err(ReadError::Encrypted))] {
        let mut locked = document.clone();
        let version = pdf_extract::EncryptionVersion::V2 {
            document: &document,
            owner_password: "owner",
            user_password: password,
            key_length: 128,
            permissions: pdf_extract::Permissions::all(),
        };
        locked.encrypt(&version.try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        locked.save_to(&mut bytes).unwrap();
        let read = extract::read(&bytes, &Hint { media: "", name: "a.pdf" });
        assert_eq!(read.as_ref().map(|read| read.text.as_str()), told.as_ref().copied());
    }
}

#[test]
fn a_book_is_read_in_the_order_of_its_spine() {
    insta::assert_snapshot!(shown(&read(&epub(), "a.epub")), @"
    Office `The book` 2024-01-01T00:00:00.000Z
    [Heading(1)] One
    [Paragraph] First words.
    [Heading(2)] Two
    [Paragraph] Last words.
    note: the page `OEBPS/gone.xhtml` is missing
    ");
}

#[test]
fn a_pdf_is_read_by_pages_with_headings_and_without_running_heads() {
    let page = |number: u32, heading: &str| {
        lines(&[
            (8, 50, 800, "The manual of the pool"),
            (18, 50, 700, heading),
            (10, 50, 670, "A pool is made of disks that are inter-"),
            (10, 50, 658, "changeable. It is never full \\(almost\\)."),
            (10, 50, 630, &format!("Another paragraph of {heading}.")),
            (8, 300, 30, &number.to_string()),
        ])
    };
    let pages: Vec<String> = (1..=3).map(|number| page(number, ["One", "Two", "Three"][number as usize - 1])).collect();
    insta::assert_snapshot!(shown(&read(&pdf(&pages), "a.pdf")), @"
    Pdf `The pool` 2024-05-01T10:00:00.000Z
    [Heading(1) page 1] One
    [Paragraph page 1] A pool is made of disks that are interchangeable. It is never full (almost).
    [Paragraph page 1] Another paragraph of One.
    [Heading(1) page 2] Two
    [Paragraph page 2] A pool is made of disks that are interchangeable. It is never full (almost).
    [Paragraph page 2] Another paragraph of Two.
    [Heading(1) page 3] Three
    [Paragraph page 3] A pool is made of disks that are interchangeable. It is never full (almost).
    [Paragraph page 3] Another paragraph of Three.
    note: page numbers and lines that stand at the edge of most pages were left out
    ");
}

#[test]
fn words_of_a_pdf_that_are_painted_apart_are_apart() {
    let kerned = "BT /F1 10 Tf 50 700 Td [(W) 80 (or) -10 (ds) -300 (apart) -250 (and)] TJ ( here) Tj ET";
    assert_eq!(read(&pdf(&[kerned.to_owned()]), "a.pdf").text, "Words apart and here");
}

#[test]
fn a_pdf_without_letters_says_that_it_is_scanned() {
    let error = extract::read(&pdf(&["0 0 m 10 10 l S".to_owned()]), &Hint { media: "", name: "a.pdf" }).unwrap_err();
    assert_eq!(error.to_string(), "its only page holds pictures and no text");
}

#[test]
fn pages_of_a_pdf_without_letters_are_named() {
    let words = lines(&[(10, 50, 700, "Words.")]);
    let read = read(&pdf(&[words.clone(), String::new(), words]), "a.pdf");
    assert_eq!(read.notes, ["pages 2 hold no text"]);
    assert_eq!(read.blocks.iter().map(|block| block.page).collect::<Vec<_>>(), [Some(1), Some(3)]);
}

#[test]
fn lost_spaces_of_a_pdf_are_noted() {
    let words = lines(&[(10, 50, 700, "Thespacesbetweenthesewordshavebeenlostsomewhere onthewaytothisfile")]);
    assert_eq!(read(&pdf(&[words]), "a.pdf").notes, ["the spaces between words seem to be lost"]);
}

#[test]
fn a_broken_page_of_a_pdf_costs_that_page_alone() {
    let page = |words: &str| lines(&[(10, 50, 700, words)]);
    let broken = "BT /F9 10 Tf (No such font.) Tj ET".to_owned();
    let pages = [page("The first."), broken.clone(), page("The third."), broken, page("The last.")];
    insta::assert_snapshot!(shown(&read(&pdf(&pages), "a.pdf")), @"
    Pdf `The pool` 2024-05-01T10:00:00.000Z
    [Paragraph page 1] The first.
    [Paragraph page 3] The third.
    [Paragraph page 5] The last.
    note: pages 2, 4 could not be read
    ");
}
