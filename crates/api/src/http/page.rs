//! The page at `/`: files that are built in, and headers that let it load nothing and talk to nobody but this server.
//!
//! The page carries no data. What it shows it asks of the routes below `/api`, with the key that a person gave it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::Desk;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A file of the page.
struct Asset {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    tag: String,
}

const HTML: &str = "text/html; charset=utf-8";

/// Everything that a browser gets; the first is the page itself.
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let script = "text/javascript; charset=utf-8";
    macro_rules! file {
        ($name:literal, $content_type:expr) => {
            Asset::new(concat!("/page/", $name), $content_type, include_bytes!(concat!("../page/", $name)))
        };
    }
    vec![
        Asset::new("/", HTML, include_bytes!("../page/index.html")),
        file!("style.css", "text/css; charset=utf-8"),
        file!("app.js", script),
        file!("api.js", script),
        file!("dom.js", script),
        file!("words.js", script),
        file!("charts.js", script),
        file!("overview.js", script),
        file!("models.js", script),
        file!("asks.js", script),
        file!("jobs.js", script),
        file!("tasks.js", script),
        file!("graph.js", script),
        file!("research.js", script),
        file!("failures.js", script),
        file!("privacy.js", script),
    ]
});

impl Asset {
    fn new(path: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        // Equal content has an equal tag on every node of one release, which is all that a browser needs.
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self { path, content_type, bytes, tag: format!("\"{:016x}\"", hasher.finish()) }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let held = headers.get(IF_NONE_MATCH).and_then(|held| held.to_str().ok()).unwrap_or_default();
        let is_held = held.split(',').any(|held| held.trim().trim_start_matches("W/") == self.tag);
        let shared = [
            (ETAG, self.tag.as_str()),
            // Asked for each time, and mostly answered with "as before": a node of a newer release is seen at once.
            (CACHE_CONTROL, "no-cache"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            // At `/` programs get something else.
            (VARY, "accept"),
        ];
        if is_held {
            return (StatusCode::NOT_MODIFIED, shared).into_response();
        }
        (shared, [(CONTENT_TYPE, self.content_type)], self.bytes).into_response()
    }
}

/// The page itself.
pub(super) fn front(headers: &HeaderMap) -> Response {
    match ASSETS.first() {
        Some(page) => page.answer(headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The files beside it; they hold no data, so they need no key.
pub(super) fn routes() -> Router<Arc<dyn Desk>> {
    let mut router = Router::new();
    for asset in ASSETS.iter().skip(1) {
        router = router.route(asset.path, get(async move |headers: HeaderMap| asset.answer(&headers)));
    }
    router
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.bytes).unwrap()
    }

    #[test]
    fn nothing_of_the_page_makes_markup_or_code_out_of_text() {
        let makers = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "DOMParser",
            "createContextualFragment",
            "setHTML",
            "eval(",
            "new Function",
            "srcdoc",
            "javascript:",
        ];
        for asset in ASSETS.iter() {
            for maker in makers {
                assert!(!text(asset).contains(maker), "{} has {maker}", asset.path);
            }
        }
    }

    #[test]
    fn the_page_names_no_other_place_and_has_no_code_or_style_of_its_own_inside() {
        for asset in ASSETS.iter() {
            for (at, _) in text(asset).match_indices("://") {
                let near = text(asset).get(at.saturating_sub(5)..at + 20).unwrap_or_default();
                // The name of SVG is no address.
                assert!(near.contains("http://www.w3.org"), "{} names {near}", asset.path);
            }
        }
        let page = text(&ASSETS[0]);
        for inline in ["<style", "style=", "onclick", "onload", "<script>"] {
            assert!(!page.contains(inline), "the page has {inline}");
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_every_import_is_there() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let name =
            |asset: &Asset| if asset.path == "/" { "index.html" } else { &asset.path["/page/".len()..] }.to_owned();
        let mut served: Vec<_> = ASSETS.iter().map(name).collect();
        files.sort();
        served.sort();
        assert_eq!(files, served);
    }
}
