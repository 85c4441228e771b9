//! Pages as they come: with menus, banners, scripts, broken tags.

use super::super::{check, tests::shown};
use super::*;

fn page(source: &str) -> Extracted {
    let read = read(source.as_bytes(), None).unwrap();
    check(&read).unwrap();
    read
}

const BLOG: &str = r#"<!DOCTYPE html><html><head><title>Backups – My Blog</title>
<meta property="og:title" content="Backups &amp; more"><meta property="article:published_time" content="2024-05-01T10:00:00+02:00">
<style>p { color: red }</style><script>document.write("never")</script></head><body>
<header class="site"><a href="/">My Blog</a></header>
<nav><ul><li><a href="/a">Home</a><li><a href="/b">About</a></ul></nav>
<div class="cookie-banner">We use cookies.</div>
<article><h1>Backups</h1><p>A backup  is a <b>copy</b>,
see <a href="x">the guide</a>.<br>Second line.<p>Unclosed paragraph.
<ul><li>one<li><p>two</p><ul><li>nested</ul></ul>
<h2>Table</h2><table><caption>Disks</caption><tr><th>Disk<th>Size<tr><td>sda<td>4 <b>TB</b></table>
<pre>  zfs send
    | ssh</pre><blockquote>Said &lt;so&gt;&nbsp;once.</blockquote>
<p hidden>hidden</p><p style="display: none">unseen</p><noscript>no script</noscript>
<div class="share"><a href="1">Share</a></div></article>
<aside>Related</aside><footer>© 2024</footer></body></html>"#;

#[test]
fn the_content_of_a_page_is_taken_and_what_surrounds_it_is_not() {
    insta::assert_snapshot!(shown(&page(BLOG)), @"
    Html `Backups & more` 2024-05-01T08:00:00.000Z
    [Heading(1)] Backups
    [Paragraph] A backup is a copy, see the guide.
    Second line.
    [Paragraph] Unclosed paragraph.
    [Item] one
    [Item] two
    [Item] nested
    [Heading(2)] Table
    [Paragraph] Disks
    [Table] Disk | Size
    sda | 4 TB
    [Code]   zfs send
        | ssh
    [Paragraph] Said <so> once.
    ");
}

#[test]
fn a_list_of_links_is_taken_where_there_is_nothing_else() {
    let links: String = (0..9).map(|at| format!("<li><a href='{at}'>Chapter {at}</a></li>")).collect();
    let read = page(&format!("<nav><ul>{links}</ul></nav><p>x</p>"));
    assert!(read.text.contains("Chapter 8"), "{}", read.text);
    assert_eq!(read.notes, ["the main content could not be told from what surrounds it: all of the page was taken"]);
}

#[test]
fn a_large_part_with_a_suspicious_class_stays() {
    let read = page(&format!(
        "<body class='sidebar-left'><div id=main-navigation-page>{}</div>",
        "<p>Words of it.</p>".repeat(20)
    ));
    assert_eq!(read.blocks.len(), 20);
}

#[test]
fn the_encoding_comes_from_who_brought_it_or_from_the_head() {
    let cyrillic = encoding_rs::WINDOWS_1251.encode("<meta charset='windows-1251'><p>Да</p>").0.into_owned();
    assert_eq!(read(&cyrillic, None).unwrap().text, "Да");
    let bare = encoding_rs::WINDOWS_1251.encode("<p>Да</p>").0.into_owned();
    assert_eq!(read(&bare, Some("cp1251")).unwrap().text, "Да");
}

#[test]
fn tables_that_only_place_things_are_read_as_text() {
    let read = page("<table><tr><td><h2>A</h2><p>a</p><td><ul><li>b</ul></table>");
    assert_eq!(shown(&read).lines().skip(1).collect::<Vec<_>>(), ["[Heading(2)] A", "[Paragraph] a", "[Item] b"]);
}

#[test]
fn nesting_without_end_is_refused_soon() {
    for tag in ["<div>", "<b id=1>", "<table><tr><td>", "<ul><li>", "<blockquote>", "<span>", "<svg><g>", "<template>"]
    {
        let error = read(format!("<p>{}", tag.repeat(100_000)).as_bytes(), None).unwrap_err();
        assert_eq!(error.to_string(), "it is too large: more than 512 elements inside each other", "{tag}");
    }
}
