//! Pages of the web and of the house, as the knowledge base wants them. Who may be asked is for the implementation to say.

use base::{BoxFuture, Fault, Result};
use bytes::Bytes;
use url::Url;

/// A page that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its bytes, decoded from nothing.
    pub bytes: Bytes,
    /// Its media type, as the server says; empty: it does not.
    pub media: String,
    /// Where it was in the end, behind redirects.
    pub final_url: String,
}

/// Fetches pages where the mode allows it.
pub trait Fetch: Send + Sync {
    /// The page at `url`, which is as [`normal`] writes it.
    fn fetch<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Result<Fetched>>;
}

/// An address in the one form that makes the same page the same document: without what only a browser needs.
pub fn normal(text: &str) -> Result<Url> {
    let wrong = |why: &str| Fault::invalid(format!("`{}` {why}", text.escape_debug()));
    let mut url = Url::parse(text.trim()).map_err(|error| {
        wrong("is no address of a page").because(error).hint("write it like https://example.org/page")
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("is no address of a page").hint("only http:// and https:// are fetched"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            Fault::invalid("an address holds a name or a password").hint("they would become a source that all see")
        );
    }
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_page_has_one_address() {
        for (typed, meant) in [
            (" HTTPS://Example.ORG:443/a/../b?q=1#part ", "https://example.org/b?q=1"),
            ("http://example.org", "http://example.org/"),
            ("http://bücher.example/ä", "http://xn--bcher-kva.example/%C3%A4"),
        ] {
            assert_eq!(normal(typed).unwrap().as_str(), meant);
        }
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for bad in ["", "example.org", "file:///etc/passwd", "ftp://example.org/", "http://", "http://me:secret@nas/"] {
            let fault = normal(bad).unwrap_err();
            assert!(!fault.message.contains("secret") && fault.hint.is_some(), "{bad}: {fault}");
        }
    }
}
