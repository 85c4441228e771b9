//! What may be told about a document: bounded, and nothing that could be mistaken for something else when it is shown.

use base::{Code, Fault, Result};

use crate::document::NewDocument;

/// The most bytes of a document as it is added.
pub const MOST_BYTES: usize = 64 << 20;
/// The most bytes of a file that is kept: of a document, or of its text with its structure.
pub const MOST_FILE: usize = MOST_BYTES;
/// Of a source, which is a key of the store as well as a name.
pub(crate) const MOST_SOURCE: usize = 2 << 10;
pub(crate) const MOST_TITLE: usize = 1 << 10;
pub(crate) const MOST_WORD: usize = 128;
pub(crate) const MOST_TAGS: usize = 32;

/// Refuses what is too long or cannot be shown.
pub fn check(new: &NewDocument) -> Result<()> {
    let meta = &new.meta;
    if new.source.trim().is_empty() {
        return Err(Fault::invalid("a document without a source cannot be added").hint("say where it comes from"));
    }
    within("source", &new.source, MOST_SOURCE)?;
    let words = [
        ("title", &meta.title, MOST_TITLE),
        ("licence", &meta.licence, MOST_TITLE),
        ("media type", &meta.media, MOST_WORD),
        ("category", &meta.category, MOST_WORD),
    ];
    for (what, word, most) in words {
        within(what, word.as_deref().unwrap_or_default(), most)?;
    }
    let tags = meta.tags.as_deref().unwrap_or_default();
    if tags.len() > MOST_TAGS {
        let fault = Fault::new(Code::TooLarge, format!("a document has {} tags", tags.len()));
        return Err(fault.hint(format!("at most {MOST_TAGS} are kept")));
    }
    for tag in tags {
        within("tag", tag, MOST_WORD)?;
        if tag.trim().is_empty() {
            return Err(Fault::invalid("a tag is empty").hint("leave it away"));
        }
    }
    if new.bytes.len() > MOST_BYTES {
        let (has, most) = (new.bytes.len() >> 20, MOST_BYTES >> 20);
        let fault = Fault::new(Code::TooLarge, format!("the document has {has} MiB and more"));
        return Err(fault.hint(format!("at most {most} MiB are taken; split it")));
    }
    Ok(())
}

fn within(what: &str, text: &str, most: usize) -> Result<()> {
    if text.len() > most {
        let fault = Fault::new(Code::TooLarge, format!("the {what} of a document has {} bytes", text.len()));
        return Err(fault.hint(format!("at most {most} are kept")));
    }
    if text.chars().any(char::is_control) {
        let shown = text.escape_debug().take(80).collect::<String>();
        return Err(Fault::invalid(format!("the {what} `{shown}` has characters that cannot be shown"))
            .hint("leave control characters and line breaks away"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::NewMeta;

    #[test]
    fn what_cannot_be_shown_or_is_too_long_is_refused_with_what_it_is() {
        let good = NewDocument { source: "file:/a.md".into(), ..NewDocument::default() };
        assert!(check(&good).is_ok());
        let with = |meta: NewMeta| check(&NewDocument { meta, ..good.clone() });
        assert!(check(&NewDocument { source: " ".into(), ..good.clone() }).is_err());
        assert!(check(&NewDocument { source: "a\n[1] forged".into(), ..good.clone() }).is_err());
        assert!(
            with(NewMeta { title: Some("x".repeat(2000)), ..NewMeta::default() })
                .unwrap_err()
                .message
                .contains("title")
        );
        assert!(with(NewMeta { tags: Some(vec![String::new()]), ..NewMeta::default() }).is_err());
        assert!(with(NewMeta { tags: Some(vec!["a".into(); 33]), ..NewMeta::default() }).is_err());
        assert!(with(NewMeta { category: Some("\u{1b}[31m".into()), ..NewMeta::default() }).is_err());
    }
}
