//! Documents that want to harm: each is refused or read within limits, by a child whose memory the kernel bounds, and the
//! process that asked lives on.
//!
//! `TM_MUTATIONS` sets how many broken copies of each kind are read, `TM_MUTATION_SEED` which.

use std::io::Read;
use std::time::{Duration, Instant};

use bytes::Bytes;
use extract::{Extracted, Hint, ReadError};

use crate::reader::reader;
use crate::samples::{all, docx, docx_of, lines, ods, ods_cell, odt, paragraph, pdf, pdf_of, xlsx, zip};

async fn read(bytes: Vec<u8>, name: &str) -> Result<Extracted, ReadError> {
    let begun = Instant::now();
    let read = reader(1).read(Bytes::from(bytes), &Hint { media: "", name }).await;
    println!("{name}: {:?} after {:?}", read.as_ref().map(|read| read.text.len()), begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(60));
    if let Ok(read) = &read {
        extract::check(read).unwrap();
    }
    read
}

async fn refused(bytes: Vec<u8>, name: &str) -> String {
    read(bytes, name).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_part_that_unpacks_to_far_more_is_refused() {
    let bomb = docx(&format!("<w:p><w:r><w:t>{}</w:t></w:r></w:p>", " ".repeat(100 << 20)));
    assert!(bomb.len() < 200_000);
    assert_eq!(
        refused(bomb, "a.docx").await,
        "it is too large: more than 500 times the packed size of a part of the archive"
    );
}

#[tokio::test]
async fn many_parts_that_unpack_to_too_much_together_are_refused() {
    // Noise that packs badly enough to pass for text: 80 parts of 4 MiB.
    let part = vec![b'x'; 4 << 20];
    let names: Vec<String> = (0..80).map(|at| format!("xl/{at}.xml")).collect();
    let mut parts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), part.as_slice())).collect();
    parts.push(("xl/workbook.xml", b"<workbook/>"));
    assert_eq!(refused(zip(&parts), "a.xlsx").await, "it is too large: more than 256 MiB when unpacked");
}

#[tokio::test]
async fn archives_within_archives_stay_closed() {
    let mut bomb = zip(&[("a", &vec![0; 10 << 20])]);
    for _ in 0..10 {
        bomb = zip(&[("a.zip", &bomb), ("b.zip", &bomb)]);
    }
    assert_eq!(refused(bomb.clone(), "a.zip").await, "it is a zip archive, which cannot be read");
    let inside =
        zip(&[("word/document.xml", b"<w:document><w:p><w:t>Words</w:t></w:p></w:document>"), ("media/a.zip", &bomb)]);
    assert_eq!(read(inside, "a.docx").await.unwrap().text, "Words");
}

#[tokio::test]
async fn a_gzip_in_the_place_of_a_part_is_only_bytes() {
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0][..], &[0x55; 2000]].concat();
    assert_eq!(
        refused(zip(&[("word/document.xml", &gzip)]), "a.docx").await,
        "it is not a well-formed XML: it has no elements"
    );
}

#[tokio::test]
async fn names_that_climb_are_never_paths() {
    let part = br#"<container><rootfile full-path="../../../../etc/passwd"/></container>"#;
    let climbing = zip(&[("META-INF/container.xml", part), ("../../../../climbed", b"x")]);
    assert_eq!(
        refused(climbing, "a.epub").await,
        "it is not a well-formed document: its part `../../../../etc/passwd` is missing"
    );
    let named = read(b"fn a() {}".to_vec(), "../../etc/passwd.rs").await.unwrap();
    assert_eq!(named.title, "../../etc/passwd.rs");
}

#[tokio::test]
async fn links_and_absolute_names_in_an_archive_are_only_bytes() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "<w:document><w:p><w:t>A secret</w:t></w:p></w:document>").unwrap();
    let target = secret.path().to_str().unwrap();
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.add_symlink("word/document.xml", target, zip::write::SimpleFileOptions::default()).unwrap();
    let linked = archive.finish().unwrap().into_inner();
    assert_eq!(refused(linked, "a.docx").await, "it is not a well-formed XML: it has no elements");
    let absolute = zip(&[(target, b"overwritten"), ("word/document.xml", b"<w:document/>")]);
    let _ = read(absolute, "a.docx").await;
    assert!(std::fs::read_to_string(secret.path()).unwrap().contains("A secret"));
}

#[tokio::test]
async fn an_archive_of_very_many_parts_is_refused_before_one_is_unpacked() {
    let names: Vec<String> = (0..21_000).map(|at| at.to_string()).collect();
    let mut parts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    parts.push(("word/document.xml", b"<w:document><w:p><w:t>Words</w:t></w:p></w:document>"));
    assert_eq!(refused(zip(&parts), "a.docx").await, "it is too large: more than 20000 parts of the archive");
}

#[tokio::test]
async fn entities_that_grow_are_refused_and_none_is_fetched() {
    let mut laughs = r#"<?xml version="1.0"?><!DOCTYPE w [<!ENTITY a0 "ha">"#.to_owned();
    for at in 1..30 {
        laughs.push_str(&format!(r#"<!ENTITY a{at} "&a{0};&a{0};&a{0};&a{0};&a{0};&a{0};&a{0};&a{0};">"#, at - 1));
    }
    laughs.push_str("]><w:document><w:p><w:t>&a29;</w:t></w:p></w:document>");
    let declared = "it is not a well-formed document: it declares entities of its own";
    assert_eq!(refused(docx_of(&laughs), "a.docx").await, declared);
    let outside = r#"<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/passwd">]><w:p><w:t>&x;</w:t></w:p>"#;
    assert_eq!(refused(docx_of(outside), "a.docx").await, declared);
    let undeclared = "<w:document><w:p><w:t>&x;</w:t></w:p></w:document>";
    assert_eq!(refused(docx_of(undeclared), "a.docx").await, "it is not a well-formed XML: `&x;` is not declared");
    let page = format!("<!DOCTYPE html [<!ENTITY a 'x'>]><p>Words {}</p>", "&a;&amp;".repeat(10_000));
    assert!(read(page.into_bytes(), "a.html").await.unwrap().text.contains("Words &a;&"));
}

#[tokio::test]
async fn references_of_a_pdf_in_circles_end() {
    let page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Resources 5 0 R /Contents 6 0 R >>";
    let form =
        "<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources 5 0 R /Length 5 >>\nstream\n/X Do\nendstream";
    let resources = "<< /XObject << /X 7 0 R >> >>";
    let content = "<< /Length 5 >>\nstream\n/X Do\nendstream";
    let objects = |pages: &str, page: &str| {
        let catalogue = "<< /Type /Catalog /Pages 2 0 R >>";
        [catalogue, pages, page, "<< >>", resources, content, form].map(str::to_owned).to_vec()
    };
    let good = "<< /Type /Pages /Kids [3 0 R] /Count 1 >>";
    // A form that paints itself.
    let error = read(pdf_of(&objects(good, page)), "a.pdf").await.unwrap_err();
    assert!(matches!(error, ReadError::Died { .. } | ReadError::TooSlow { .. }), "{error}");
    // A tree of pages that is its own branch; pages that are each other's parents; a stream as long as itself.
    for (pages, page) in [
        ("<< /Type /Pages /Kids [2 0 R] /Count 1 >>", page),
        ("<< /Type /Pages /Parent 3 0 R /Kids [3 0 R] /Count 1 >>", "<< /Type /Page /Parent 2 0 R /Contents 6 0 R >>"),
        (good, "3 0 R"),
        (good, "<< /Type /Page /Parent 2 0 R /MediaBox 3 0 R /Contents [3 0 R 6 0 R] >>"),
    ] {
        read(pdf_of(&objects(pages, page)), "a.pdf").await.unwrap_err();
    }
    let endless = "<< /Length 6 0 R >>\nstream\nBT ET\nendstream".to_owned();
    let mut objects = objects(good, page);
    objects[5] = endless;
    let _ = read(pdf_of(&objects), "a.pdf").await;
}

#[tokio::test]
async fn half_a_pdf_is_refused_or_read_as_far_as_it_goes() {
    let whole = pdf(&[lines(&[(10, 50, 700, "The pool has two disks.")])]);
    for part in 1..20 {
        if let Ok(read) = read(whole[..whole.len() * part / 20].to_vec(), "a.pdf").await {
            assert_eq!(read.text, "The pool has two disks.");
        }
    }
}

#[tokio::test]
async fn memory_that_a_child_asks_for_is_bounded() {
    // A hundred million cells, in a few bytes: gigabytes, once they are unfolded.
    let cell = ods_cell("x").replace("<table:table-cell", "<table:table-cell table:number-columns-repeated=\"16000\"");
    let rows = format!("<table:table-row table:number-rows-repeated=\"6000\">{cell}</table:table-row>");
    let error = read(ods(&rows), "a.ods").await.unwrap_err();
    assert!(matches!(error, ReadError::Died { .. }), "{error}");
    let far = xlsx(r#"<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>"#);
    assert!(read(far, "a.xlsx").await.unwrap().text.len() < 100_000);
}

#[tokio::test]
async fn nesting_without_end_is_refused() {
    let deep = |tag: &str, count: usize| format!("<{tag}>").repeat(count);
    let told = "it is too large: more than 512 elements inside each other";
    assert_eq!(refused(deep("div", 100_000).into_bytes(), "a.html").await, told);
    assert_eq!(refused(docx_of(&deep("w:p", 100_000)), "a.docx").await, told);
    assert_eq!(refused(odt(&deep("text:p", 100_000)), "a.odt").await, told);
    let marks =
        ["> ".repeat(20_000), "- ".repeat(20_000), "[".repeat(60_000), "*a **".repeat(12_000), "`".repeat(60_000)];
    for marks in marks
        .into_iter()
        .chain([format!("{}x", "<a ".repeat(20_000)), "|a".repeat(20_000) + "\n" + &"|-".repeat(20_000)])
    {
        drop(read(marks.into_bytes(), "a.md").await);
    }
    let array = format!("BT /F1 10 Tf {} TJ ET", "[".repeat(100_000));
    drop(read(pdf(&[array]), "a.pdf").await);
}

#[tokio::test]
async fn large_and_empty_things_are_refused_by_name() {
    let text = "it is too large: more than 16 MiB of text";
    assert_eq!(refused(vec![b'a'; 50 << 20], "a.txt").await, text);
    assert_eq!(refused(vec![b'a'; 50 << 20], "a.md").await, text);
    assert_eq!(refused([b"<p>".to_vec(), vec![b'a'; 50 << 20]].concat(), "a.html").await, text);
    assert_eq!(refused(vec![0; 1 << 20], "a.txt").await, "it is not text, and of no kind that can be read");
    assert_eq!(refused(vec![0; 1 << 20], "a.html").await, "it is not text, and of no kind that can be read");
    let blocks = docx(&paragraph("", "x").repeat(200_001));
    assert_eq!(refused(blocks, "a.docx").await, "it is too large: more than 200000 blocks of text");
}

/// Bytes changed, doubled, left out or cut off, a few times.
fn mutated(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(0..bytes.len().max(1));
        let end = (at + random.usize(1..40)).min(bytes.len());
        match random.u32(0..6) {
            0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = random.u8(..)),
            2 => bytes
                .iter_mut()
                .skip(at)
                .take(4)
                .for_each(|byte| *byte = *random.choice(&[0, 0xff, b'9', b'<']).unwrap()),
            3 => drop(bytes.drain(at.min(end)..end)),
            4 => bytes.extend_from_within(at.min(end)..end),
            _ if random.u32(0..4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

/// The same to all parts of an archive; to what is none, as above.
fn mutated_inside(bytes: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let Ok(mut archive) = zip::ZipArchive::new(std::io::Cursor::new(bytes)) else { return mutated(bytes, random) };
    let mut parts = Vec::new();
    for at in 0..archive.len() {
        let mut part = archive.by_index(at).unwrap();
        let mut content = Vec::new();
        part.read_to_end(&mut content).unwrap();
        if random.bool() {
            content = mutated(&content, random);
        }
        parts.push((part.name().unwrap().into_owned(), content));
    }
    let parts: Vec<(&str, &[u8])> = parts.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    zip(&parts)
}

#[tokio::test]
async fn broken_copies_of_every_kind_harm_nobody() {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(or);
    let (count, seed) = (number("TM_MUTATIONS", 200), number("TM_MUTATION_SEED", 5));
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let reader = reader(4);
    for (name, good) in all() {
        let (mut read, mut fates) = (0, std::collections::BTreeMap::<String, u64>::new());
        let tries = (0..count).map(|at| {
            // A change to an archive mostly breaks the archive, and hides its parts from their readers.
            let bytes = if at % 2 == 0 { mutated(&good, &mut random) } else { mutated_inside(&good, &mut random) };
            let reader = reader.clone();
            async move { reader.read(Bytes::from(bytes), &Hint { media: "", name }).await }
        });
        for done in futures_util::future::join_all(tries).await {
            match done {
                Ok(done) => {
                    extract::check(&done).unwrap();
                    read += 1;
                }
                Err(ReadError::NoReader { why }) => panic!("{name}: {why}"),
                Err(error) => *fates.entry(error.to_string()).or_default() += 1,
            }
        }
        println!("{name}: {read} of {count} read; {fates:#?}");
        assert!(read < count && read + fates.values().sum::<u64>() == count, "{name}");
    }
}
