//! How a passage is named outside: by its source where that is a web address, else by one that this house resolves.
//!
//! `tm://COLLECTION/DOCUMENT@VERSION#START-END` names the characters START to END of a version of a document; GET of a
//! document takes it, over REST and gRPC, and refuses it when the document is another one by now. A path on somebody's disk would tell more than where to look, and could not be opened elsewhere.

use std::fmt;

use base::{Code, Fault, Result};

use crate::hit::Span;
use crate::names::{CollectionName, DocId};

/// What every address of the house begins with.
pub const SCHEME: &str = "tm://";

/// A document of the house, or some characters of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// In which collection.
    pub collection: CollectionName,
    /// Which document.
    pub document: DocId,
    /// Which version of it; `None`: the one that is there.
    pub version: Option<u64>,
    /// Which characters; `None`: all.
    pub chars: Option<(u64, u64)>,
}

impl Address {
    /// The address of a span.
    pub fn of(collection: &CollectionName, span: &Span) -> Self {
        let (version, chars) = (Some(span.version), Some((span.start, span.end)));
        Self { collection: collection.clone(), document: span.document, version, chars }
    }

    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            let shown: String = text.chars().take(100).collect();
            Fault::invalid(format!("`{}` is no address of a document", shown.escape_debug()))
                .hint("it looks like tm://COLLECTION/DOCUMENT@VERSION#START-END, as citations give it")
        };
        let (place, chars) = match text.strip_prefix(SCHEME).ok_or_else(wrong)?.split_once('#') {
            Some((place, chars)) => (place, Some(chars)),
            None => (text.strip_prefix(SCHEME).ok_or_else(wrong)?, None),
        };
        let (collection, document) = place.split_once('/').ok_or_else(wrong)?;
        let (document, version) = match document.split_once('@') {
            Some((document, version)) => (document, Some(version.parse().map_err(|_| wrong())?)),
            None => (document, None),
        };
        let chars = chars.map(|chars| {
            let (start, end) = chars.split_once('-')?;
            let (start, end) = (start.parse().ok()?, end.parse().ok()?);
            (start <= end).then_some((start, end))
        });
        let chars = match chars {
            Some(None) => return Err(wrong()),
            Some(found) => found,
            None => None,
        };
        Ok(Self { collection: CollectionName::parse(collection)?, document: DocId::parse(document)?, version, chars })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.collection, self.document)?;
        if let Some(version) = self.version {
            write!(f, "@{version}")?;
        }
        match self.chars {
            Some((start, end)) => write!(f, "#{start}-{end}"),
            None => Ok(()),
        }
    }
}

/// Refuses an address of another version than the one that is there: its characters are others by now.
pub fn check(address: &str, version: Option<u64>, there: u64) -> Result<()> {
    match version {
        Some(version) if version != there => {
            let fault =
                format!("`{address}` is of version {version} of the document, and by now it has version {there}");
            Err(Fault::new(Code::Conflict, fault)
                .hint("ask again; without `@VERSION` the address is of what is there now"))
        }
        _ => Ok(()),
    }
}

/// Where a reader finds a span: the page that it comes from, else its address in the house.
pub fn link(source: &str, collection: &CollectionName, span: &Span) -> String {
    if source.starts_with("https://") || source.starts_with("http://") {
        return source.to_owned();
    }
    Address::of(collection, span).to_string()
}

/// The characters `start` to `end` of a text; `end` 0 is its end. Beyond the end there is nothing.
pub fn characters(text: &str, start: u64, end: u64) -> String {
    let at = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let most = if end == 0 { usize::MAX } else { at(end.saturating_sub(start)) };
    text.chars().skip(at(start)).take(most).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_read_as_it_is_written(source in ".{0,40}", start in 0u64..1000, length in 0u64..1000, is_whole: bool, version: Option<u64>) {
            let collection = CollectionName::parse("house").unwrap();
            let document = DocId::of(&collection, &source);
            let chars = (!is_whole).then_some((start, start + length));
            let address = Address { collection, document, version, chars };
            prop_assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
        }

        #[test]
        fn no_text_breaks_the_reader(text in "(tm://)?.{0,60}") {
            let _ = Address::parse(&text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "tm://house", "tm://house/zz", "tm://House/00112233445566778899aabb", "https://a/b"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        let whole = "tm://house/00112233445566778899aabb";
        assert!(Address::parse(whole).is_ok());
        for chars in ["#", "#5", "#9-1", "#a-b", "#-1-2"] {
            assert!(Address::parse(&format!("{whole}{chars}")).is_err(), "{chars}");
        }
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(characters("größer", 2, 5), "öße");
        assert_eq!(characters("größer", 4, 0), "er");
        assert_eq!((characters("ab", 5, 9), characters("ab", 1, 1)), (String::new(), String::new()));
    }
}
