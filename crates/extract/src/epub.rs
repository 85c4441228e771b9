//! Books in EPUB: pages of XHTML in a zip archive, in the order of the book's spine.

use std::collections::BTreeMap;

use super::archive::Archive;
use super::draft::Draft;
use super::xml::{Step, walk};
use super::{Extracted, Kind, ReadError, decode, html};

pub(super) fn read(bytes: &[u8]) -> Result<Extracted, ReadError> {
    let mut archive = Archive::open(bytes)?;
    if archive.has("META-INF/encryption.xml") && archive.has("META-INF/rights.xml") {
        return Err(ReadError::Encrypted);
    }
    let mut package = None;
    walk(&archive.needed("META-INF/container.xml")?, |step| {
        if let Step::Open("rootfile", attributes) = step {
            package = package.take().or_else(|| attributes.get("full-path"));
        }
        Ok(())
    })?;
    let package = package.ok_or_else(|| ReadError::broken("book", "it does not say where its package is"))?;
    let mut draft = Draft::new(Kind::Office);
    for part in pages(&archive.needed(&package)?, &package, &mut draft)? {
        match archive.part(&part)? {
            Some(page) => {
                let decoded = decode::decode(&page, None)?;
                html::append(&close_empty(&decoded.text), &mut draft)?;
            }
            None => draft.note(format!("the page `{part}` is missing")),
        }
    }
    Ok(draft.finish())
}

/// The parts of the pages in their order; title and date go into the draft.
fn pages(package: &[u8], at: &str, draft: &mut Draft) -> Result<Vec<String>, ReadError> {
    let folder = at.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (mut targets, mut order, mut text) = (BTreeMap::new(), Vec::new(), String::new());
    walk(package, |step| {
        match step {
            Step::Open(name, attributes) => {
                text.clear();
                match name.rsplit(':').next().unwrap_or(name) {
                    "item" => {
                        let (id, target) = (attributes.get("id"), attributes.get("href"));
                        targets.insert(id.unwrap_or_default(), target.unwrap_or_default());
                    }
                    "itemref" => order.push(attributes.get("idref").unwrap_or_default()),
                    _ => {}
                }
            }
            Step::Text(piece) => text.push_str(piece),
            Step::Close("dc:title") => draft.title(&text),
            Step::Close("dc:date") => draft.dated(&text),
            Step::Close(_) => {}
        }
        Ok(())
    })?;
    let targets = order.iter().filter_map(|id| targets.get(id));
    Ok(targets.map(|target| inside(folder, target)).collect())
}

/// The name of a part as seen from a folder of the archive.
fn inside(folder: &str, target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default().replace("%20", " ");
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// In XHTML `<title/>` is whole; a reader of HTML would take all that follows for a title.
fn close_empty(source: &str) -> String {
    let mut closed = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        closed.push_str(before);
        let end = tag.find('>').map_or(tag.len(), |end| end + 1);
        let (tag, behind) = tag.split_at(end);
        let name =
            ["title", "script", "style", "textarea", "iframe", "a", "p", "div", "span"].into_iter().find(|name| {
                tag.get(1..)
                    .and_then(|tag| tag.strip_prefix(name))
                    .is_some_and(|tag| tag.starts_with([' ', '\n', '/', '\t']))
            });
        match (name, tag.strip_suffix("/>")) {
            (Some(name), Some(open)) => closed.push_str(&format!("{open}></{name}>")),
            _ => closed.push_str(tag),
        }
        rest = behind;
    }
    closed.push_str(rest);
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_never_leave_the_archive() {
        assert_eq!(inside("OEBPS/text", "../a%20b.xhtml#c"), "OEBPS/a b.xhtml");
        assert_eq!(inside("", "../../../etc/passwd"), "etc/passwd");
    }

    #[test]
    fn empty_elements_are_closed() {
        assert_eq!(close_empty("<title/><p class='a'/>x <br/><b>"), "<title></title><p class='a'></p>x <br/><b>");
        assert_eq!(close_empty("a < b <"), "a < b <");
    }
}
