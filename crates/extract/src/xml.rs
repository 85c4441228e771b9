//! XML as the office formats use it: a walk over its elements, without entities of its own, without anything fetched.

use quick_xml::events::{BytesRef, BytesStart, BytesText, Event};
use quick_xml::{Reader, XmlVersion};

use super::{ReadError, decode, limits};

/// What comes next in a document.
pub(super) enum Step<'a> {
    /// An element begins; a name has its prefix, such as `w:p`.
    Open(&'a str, &'a Attributes<'a>),
    /// An element ends.
    Close(&'a str),
    /// Letters.
    Text(&'a str),
}

/// The attributes of an element.
pub(super) struct Attributes<'a>(&'a BytesStart<'a>);

impl Attributes<'_> {
    /// By its name, with its prefix.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let found = self.0.attributes().flatten().find(|attribute| attribute.key.into_inner() == name)?;
        found.normalized_value(XmlVersion::Implicit1_0).ok().map(std::borrow::Cow::into_owned)
    }
}

/// Walks over a document.
pub(super) fn walk(bytes: &[u8], mut each: impl FnMut(Step<'_>) -> Result<(), ReadError>) -> Result<(), ReadError> {
    let source = decode::decode(bytes, decode::declared(bytes).as_deref())?.text;
    let mut reader = Reader::from_str(&source);
    reader.config_mut().expand_empty_elements = true;
    let (mut depth, mut is_any) = (0, false);
    loop {
        match reader.read_event().map_err(|error| ReadError::broken("XML", error))? {
            Event::Start(start) => {
                depth += 1;
                is_any = true;
                limits::within("elements inside each other", depth, limits::DEPTH)?;
                each(Step::Open(start.name().into_inner(), &Attributes(&start)))?;
            }
            Event::End(end) => {
                depth -= 1;
                each(Step::Close(end.name().into_inner()))?;
            }
            Event::Text(text) => each(Step::Text(&text.into_inner()))?,
            Event::CData(text) => each(Step::Text(&text.into_inner()))?,
            Event::GeneralRef(reference) => each(Step::Text(&resolved(&reference)?))?,
            Event::DocType(text) if declares(&text) => {
                return Err(ReadError::broken("document", "it declares entities of its own"));
            }
            Event::Eof if depth > 0 => return Err(ReadError::broken("XML", "it ends in the middle")),
            Event::Eof if !is_any => return Err(ReadError::broken("XML", "it has no elements")),
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

fn declares(text: &BytesText<'_>) -> bool {
    text.borrow().into_inner().contains("<!ENTITY")
}

/// Only what XML itself knows; no document can declare more.
fn resolved(reference: &BytesRef<'_>) -> Result<String, ReadError> {
    let broken = |why: &dyn std::fmt::Display| ReadError::broken("XML", why);
    if let Some(letter) = reference.resolve_char_ref().map_err(|error| broken(&error))? {
        return Ok(letter.to_string());
    }
    let name = reference.borrow().into_inner();
    let known = quick_xml::escape::resolve_xml_entity(&name);
    known.map(str::to_owned).ok_or_else(|| broken(&format!("`&{name};` is not declared")))
}
