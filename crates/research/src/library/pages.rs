//! Pages become documents: fetched one after the other, and taken in like anything else.

use base::{Code, Fault, Result};

use super::Library;
use crate::document::{NewDocument, NewMeta};
use crate::fetch::{self, Fetch};
use crate::intake::{checks, refused};
use crate::knowledge::Added;
use crate::names::CollectionName;

impl Library {
    /// Fetches pages and adds them; one result for each, in order. One that cannot be fetched is refused with the reason.
    pub(super) async fn add_pages(
        &self,
        collection: &CollectionName,
        urls: Vec<String>,
        meta: &NewMeta,
    ) -> Result<Vec<Added>> {
        let Some(fetch) = &self.fetch else {
            return Err(Fault::new(Code::NotSupported, "this node cannot fetch pages").hint("ask another node"));
        };
        let mut results = Vec::with_capacity(urls.len());
        for url in urls {
            match page(&**fetch, &url, meta).await {
                Ok(document) => results.extend(self.intake.add(collection, vec![document]).await?),
                Err(fault) => results.push(refused(&url, &fault)),
            }
        }
        Ok(results)
    }
}

async fn page(fetch: &dyn Fetch, url: &str, meta: &NewMeta) -> Result<NewDocument> {
    let url = fetch::normal(url)?;
    let mut document = NewDocument { source: url.as_str().to_owned(), meta: meta.clone(), ..NewDocument::default() };
    // Nobody is asked for what would not be taken.
    checks::check(&document)?;
    let fetched = fetch.fetch(&url).await?;
    if fetched.final_url != url.as_str() {
        tracing::debug!(%url, led_to = fetched.final_url, "a page lies elsewhere");
    }
    // The server knows what it sends now.
    if document.meta.media.as_ref().is_none_or(String::is_empty) {
        document.meta.media = Some(fetched.media);
    }
    document.bytes = fetched.bytes;
    Ok(document)
}
