//! Slides of PowerPoint and of what writes its format. A slide is a page; its title is a heading.

use std::collections::BTreeMap;

use super::archive::Archive;
use super::docx::core_properties;
use super::draft::{Draft, Tables};
use super::xml::{Step, walk};
use super::{Extracted, Kind, ReadError, Shape};

pub(super) fn read(bytes: &[u8]) -> Result<Extracted, ReadError> {
    let mut archive = Archive::open(bytes)?;
    let mut draft = Draft::new(Kind::Office);
    core_properties(&mut archive, &mut draft)?;
    for (at, name) in slides(&mut archive)?.iter().enumerate() {
        draft.page = u32::try_from(at + 1).ok();
        match archive.part(name)? {
            Some(part) => slide(&part, &mut draft)?,
            None => draft.note(format!("slide {} is missing", at + 1)),
        }
    }
    Ok(draft.finish())
}

/// The parts of the slides, in their order.
fn slides(archive: &mut Archive<'_>) -> Result<Vec<String>, ReadError> {
    let mut targets = BTreeMap::new();
    walk(&archive.needed("ppt/_rels/presentation.xml.rels")?, |step| {
        if let Step::Open("Relationship", attributes) = step
            && let (Some(id), Some(target)) = (attributes.get("Id"), attributes.get("Target"))
        {
            targets.insert(id, target);
        }
        Ok(())
    })?;
    let mut slides = Vec::new();
    walk(&archive.needed("ppt/presentation.xml")?, |step| {
        if let Step::Open("p:sldId", attributes) = step
            && let Some(target) = attributes.get("r:id").and_then(|id| targets.get(&id))
        {
            let inside = target.strip_prefix('/').map_or_else(|| format!("ppt/{target}"), str::to_owned);
            slides.push(inside);
        }
        Ok(())
    })?;
    Ok(slides)
}

fn slide(part: &[u8], draft: &mut Draft) -> Result<(), ReadError> {
    let (mut text, mut is_text, mut is_title) = (String::new(), false, false);
    let mut tables = Tables::default();
    walk(part, |step| {
        match step {
            Step::Open("p:sp", _) => is_title = false,
            Step::Open("p:ph", attributes) => {
                is_title = matches!(attributes.get("type").as_deref(), Some("title" | "ctrTitle"));
            }
            Step::Open("a:tbl", _) => tables.begin(),
            Step::Open("a:p", _) => text.clear(),
            Step::Open("a:br", _) => text.push('\n'),
            Step::Open("a:t", _) => is_text = true,
            Step::Close("a:t") => is_text = false,
            Step::Text(piece) if is_text => text.push_str(piece),
            Step::Close("a:p") => match tables.cell() {
                Some(cell) => {
                    cell.push_str(&text);
                    cell.push('\n');
                }
                None => draft.push(if is_title { Shape::Heading(2) } else { Shape::Paragraph }, &text)?,
            },
            Step::Close("a:tc") => tables.end_cell(),
            Step::Close("a:tr") => tables.end_row(),
            Step::Close("a:tbl") => tables.end(draft)?,
            _ => {}
        }
        Ok(())
    })
}
