//! Documents of many kinds, made here: the smallest that programs in the field would take for theirs.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;

/// A zip archive of these parts.
pub fn zip(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in parts {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

const CORE: &str = r#"<?xml version="1.0" encoding="UTF-8"?><cp:coreProperties xmlns:cp="c" xmlns:dc="d" xmlns:dcterms="t">
<dc:title>The pool</dc:title><dcterms:created>2023-01-01T00:00:00Z</dcterms:created>
<dcterms:modified>2024-05-01T10:00:00Z</dcterms:modified></cp:coreProperties>"#;

/// A text of Word with this body.
pub fn docx(body: &str) -> Vec<u8> {
    docx_of(&format!(r#"<?xml version="1.0"?><w:document xmlns:w="w"><w:body>{body}</w:body></w:document>"#))
}

/// A text of Word with this main part.
pub fn docx_of(document: &str) -> Vec<u8> {
    // As a German Word writes it: ids in German, names in English.
    let styles = r#"<w:styles xmlns:w="w"><w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
        <w:style w:styleId="Eigen"><w:name w:val="My own"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style></w:styles>"#;
    zip(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("docProps/core.xml", CORE.as_bytes()),
        ("word/styles.xml", styles.as_bytes()),
        ("word/document.xml", document.as_bytes()),
    ])
}

/// A paragraph of Word in a style.
pub fn paragraph(style: &str, text: &str) -> String {
    let style = if style.is_empty() { String::new() } else { format!(r#"<w:pPr><w:pStyle w:val="{style}"/></w:pPr>"#) };
    format!("<w:p>{style}<w:r><w:t xml:space=\"preserve\">{text}</w:t></w:r></w:p>")
}

/// A text of LibreOffice with this body.
pub fn odt(body: &str) -> Vec<u8> {
    let content = format!(
        r#"<?xml version="1.0"?><office:document-content xmlns:office="o" xmlns:text="t" xmlns:table="b"><office:body>
        <office:text>{body}</office:text></office:body></office:document-content>"#
    );
    let meta = "<office:document-meta><office:meta><dc:title>The pool</dc:title><dc:date>2024-05-01T10:00:00.5</dc:date>\
                </office:meta></office:document-meta>";
    zip(&[
        ("mimetype", b"application/vnd.oasis.opendocument.text"),
        ("content.xml", content.as_bytes()),
        ("meta.xml", meta.as_bytes()),
    ])
}

/// Slides, the second of which is the first in the archive.
pub fn pptx() -> Vec<u8> {
    let slide = |title: &str, body: &str| {
        format!(
            r#"<p:sld><p:sp><p:nvPr><p:ph type="title"/></p:nvPr><a:p><a:r><a:t>{title}</a:t></a:r></a:p></p:sp>
            <p:sp>{body}</p:sp></p:sld>"#
        )
    };
    let table = "<a:tbl><a:tr><a:tc><a:p><a:t>Disk</a:t></a:p></a:tc><a:tc><a:p><a:t>Size</a:t></a:p></a:tc></a:tr>\
                 <a:tr><a:tc><a:p><a:t>sda</a:t></a:p></a:tc><a:tc><a:p><a:t>4 TB</a:t></a:p></a:tc></a:tr></a:tbl>";
    zip(&[
        ("ppt/slides/slide1.xml", slide("Second", table).as_bytes()),
        ("ppt/slides/slide2.xml", slide("First", "<a:p><a:t>Words &amp; </a:t><a:t>more</a:t></a:p>").as_bytes()),
        (
            "ppt/_rels/presentation.xml.rels",
            br#"<Relationships><Relationship Id="r1" Target="slides/slide1.xml"/><Relationship Id="r2" Target="/ppt/slides/slide2.xml"/>
            <Relationship Id="r3" Target="slides/slide9.xml"/></Relationships>"#,
        ),
        (
            "ppt/presentation.xml",
            br#"<p:presentation><p:sldIdLst><p:sldId r:id="r2"/><p:sldId r:id="r1"/><p:sldId r:id="r3"/></p:sldIdLst></p:presentation>"#,
        ),
    ])
}

/// A workbook with one sheet of these rows.
pub fn xlsx(rows: &str) -> Vec<u8> {
    let sheet = format!(
        r#"<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{rows}</sheetData></worksheet>"#
    );
    zip(&[
        ("[Content_Types].xml", b"<Types/>"),
        (
            "_rels/.rels",
            br#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#,
        ),
        (
            "xl/workbook.xml",
            br#"<?xml version="1.0"?><workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="Disks" sheetId="1" r:id="rId1"/></sheets></workbook>"#,
        ),
        (
            "xl/_rels/workbook.xml.rels",
            br#"<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#,
        ),
        (
            "xl/styles.xml",
            br#"<?xml version="1.0"?><styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>"#,
        ),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ])
}

/// A book of two pages.
pub fn epub() -> Vec<u8> {
    let page = |words: &str| {
        format!(
            r#"<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title/>
            <script src="x.js"/></head><body>{words}</body></html>"#
        )
    };
    zip(&[
        ("mimetype", b"application/epub+zip"),
        ("META-INF/container.xml", br#"<container><rootfiles><rootfile full-path="OEBPS/a.opf"/></rootfiles></container>"#),
        (
            "OEBPS/a.opf",
            br#"<package><metadata><dc:title>The book</dc:title><dc:date>2024</dc:date></metadata><manifest><item id="a" href="text/a%20b.xhtml"/>
            <item id="b" href="../b.xhtml"/><item id="c" href="gone.xhtml"/></manifest><spine><itemref idref="b"/><itemref idref="a"/>
            <itemref idref="c"/></spine></package>"#,
        ),
        ("OEBPS/text/a b.xhtml", page("<h2>Two</h2><p>Last words.</p>").as_bytes()),
        ("b.xhtml", page("<h1>One</h1><p>First words.</p>").as_bytes()),
    ])
}

/// A sheet of LibreOffice with these rows.
pub fn ods(rows: &str) -> Vec<u8> {
    let content = format!(
        r#"<?xml version="1.0"?><office:document-content xmlns:office="o" xmlns:text="t" xmlns:table="b"><office:body>
        <office:spreadsheet><table:table table:name="Disks">{rows}</table:table></office:spreadsheet></office:body></office:document-content>"#
    );
    let manifest = r#"<manifest:manifest xmlns:manifest="m"><manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>"#;
    zip(&[
        ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
        ("META-INF/manifest.xml", manifest.as_bytes()),
        ("content.xml", content.as_bytes()),
    ])
}

/// A cell of such a sheet.
pub fn ods_cell(text: &str) -> String {
    format!("<table:table-cell office:value-type=\"string\"><text:p>{text}</text:p></table:table-cell>")
}

/// A PDF whose pages have these contents, in the language of PDF, with a font `F1`.
pub fn pdf(pages: &[String]) -> Vec<u8> {
    let kids: Vec<String> = (0..pages.len()).map(|at| format!("{} 0 R", 5 + 2 * at)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        "<< /Title (The pool) /ModDate (D:20240501120000+02'00') >>".to_owned(),
    ];
    for (at, content) in pages.iter().enumerate() {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> /Contents {} 0 R >>",
            6 + 2 * at
        ));
        objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
    }
    pdf_of(&objects)
}

/// A PDF of these objects, the first of which is its catalogue and the fourth its information.
pub fn pdf_of(objects: &[String]) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        places.push(file.len());
        file.extend_from_slice(format!("{} 0 obj\n{object}\nendobj\n", at + 1).as_bytes());
    }
    let table = file.len();
    file.extend_from_slice(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).as_bytes());
    for place in places {
        file.extend_from_slice(format!("{place:010} 00000 n \n").as_bytes());
    }
    let trailer =
        format!("trailer\n<< /Size {} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1);
    file.extend_from_slice(trailer.as_bytes());
    file
}

/// Lines of a page in PDF's language: size, place from the left, height, words.
pub fn lines(lines: &[(u32, u32, u32, &str)]) -> String {
    let shown = lines.iter().map(|(size, x, y, words)| format!("BT /F1 {size} Tf {x} {y} Td ({words}) Tj ET\n"));
    shown.collect()
}

/// A good document of each kind, with a name that says which.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let page =
        lines(&[(18, 50, 700, "Storage"), (10, 50, 670, "The pool has two disks."), (10, 50, 658, "Both are new.")]);
    vec![
        ("a.txt", b"The pool.\n\nTwo disks, r\xc3\xa9sum\xc3\xa9.\n".to_vec()),
        ("a.csv", b"disk,size\nsda,4\n".to_vec()),
        ("a.md", b"# Pool\n\n- one\n- two\n\n| a | b |\n|---|---|\n| c | d |\n\n```\ncode\n```\n".to_vec()),
        ("a.rs", b"//! Pool.\n\nfn one() {\n    two();\n}\n\nfn two() {}\n".to_vec()),
        (
            "a.html",
            b"<html><body><nav><a href=x>y</a></nav><h1>Pool</h1><p>Two <b>disks</b><table><tr><td>a<td>b</table>"
                .to_vec(),
        ),
        ("a.pdf", pdf(&[page.clone(), page])),
        ("a.docx", docx(&format!("{}{}", paragraph("berschrift1", "Pool"), paragraph("", "Two disks.")))),
        ("a.odt", odt("<text:h text:outline-level=\"1\">Pool</text:h><text:p>Two disks.</text:p>")),
        ("a.pptx", pptx()),
        ("a.xlsx", xlsx(r#"<row r="1"><c r="A1" t="inlineStr"><is><t>Disk</t></is></c><c r="B1"><v>4</v></c></row>"#)),
        ("a.ods", ods(&format!("<table:table-row>{}{}</table:table-row>", ods_cell("Disk"), ods_cell("4")))),
        ("a.epub", epub()),
    ]
}
