//! All that a store holds, as of one revision, page by page and as often as it is wanted.

use std::sync::Arc;

use base::{Fault, Result};
use store::{Listing, Revision, SharedStore, StoreError};

/// A picture of a store.
pub struct Picture {
    store: SharedStore,
    /// What it is a picture of.
    pub revision: Revision,
    /// The first page; all of it where the store gives all in one.
    first: Arc<Listing>,
    has_more: bool,
}

/// Goes through the keys below a prefix.
pub struct Pages<'a> {
    picture: &'a Picture,
    prefix: &'a str,
    after: Option<String>,
    is_over: bool,
}

impl Picture {
    /// Of now.
    pub async fn take(store: &SharedStore) -> Result<Self> {
        let page = store.page("", None).await?;
        let (first, has_more) = (Arc::new(page.listing), page.has_more);
        Ok(Self { store: store.clone(), revision: first.revision, first, has_more })
    }

    /// The pages below `prefix`, in the order of their keys.
    pub fn below<'a>(&'a self, prefix: &'a str) -> Pages<'a> {
        Pages { picture: self, prefix, after: None, is_over: false }
    }
}

impl Pages<'_> {
    /// The next page; `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Arc<Listing>>> {
        if self.is_over {
            return Ok(None);
        }
        let Picture { store, revision, first, has_more } = self.picture;
        if !has_more {
            self.is_over = true;
            return Ok(Some(first.clone()));
        }
        let after = self.after.as_deref().unwrap_or_default();
        let page = store.page(self.prefix, Some((after, *revision))).await.map_err(|error| match error {
            StoreError::Failed { .. } => Fault::from(error)
                .hint("the store may have compacted the revision that this is a picture of: begin anew"),
            error => error.into(),
        })?;
        self.is_over = !page.has_more;
        self.after = Some(page.listing.last_key().to_owned());
        Ok(Some(Arc::new(page.listing)))
    }
}
