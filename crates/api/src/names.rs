//! Finds a model by what a client calls it, and says what it may have meant.

use base::{Code, Fault, Grant, Result};
use proto::admin::ModelItem;

use crate::desk::Desk;

/// At most this many names are proposed.
const MAX_PROPOSALS: usize = 3;
/// A longer name is no typing error.
const MAX_COMPARED_BYTES: usize = 128;

/// The model of the node that goes by `name`, among those that the holder of `grant` may ask.
pub(crate) fn look_up(desk: &dyn Desk, grant: &Grant, name: &str) -> Result<ModelItem> {
    let not_seen_yet = desk.not_seen_yet(name);
    find(&desk.models(grant).models, name).cloned().map_err(|fault| not_seen_yet.unwrap_or(fault))
}

/// The model that goes by `name` (or by `name:latest`, Ollama's default); else a fault with the nearest names.
fn find<'a>(models: &'a [ModelItem], name: &str) -> Result<&'a ModelItem> {
    let bare = name.strip_suffix(":latest").unwrap_or(name);
    let goes_by = |model: &&ModelItem| {
        let names = || std::iter::once(&model.name).chain(&model.aliases).map(String::as_str);
        names().any(|known| known == name || known.strip_suffix(":latest").unwrap_or(known) == bare)
    };
    models.iter().find(goes_by).ok_or_else(|| {
        let shown: String = name.chars().filter(|char| !char.is_control()).take(100).collect();
        let fault = Fault::new(Code::ModelNotFound, format!("model '{shown}' not found"));
        match nearest(models, name) {
            proposals if proposals.is_empty() => fault.hint("no worker offers a model yet; see `tmctl workers`"),
            proposals => fault.hint(format!("nearest names: {}", proposals.join(", "))),
        }
    })
}

fn nearest<'a>(models: &'a [ModelItem], name: &str) -> Vec<&'a str> {
    if name.len() > MAX_COMPARED_BYTES {
        return models.iter().map(|model| model.name.as_str()).take(MAX_PROPOSALS).collect();
    }
    let mut names: Vec<(usize, &str)> =
        models.iter().map(|model| (distance(&model.name, name), model.name.as_str())).collect();
    names.sort_unstable();
    names.into_iter().take(MAX_PROPOSALS).map(|(_, name)| name).collect()
}

/// Edits that turn one name into the other (Levenshtein), by bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(other.bytes()) {
            let above = *cell;
            left = (above + 1).min(left + 1).min(diagonal + usize::from(a != b));
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(names: &[&str]) -> Vec<ModelItem> {
        names.iter().map(|name| ModelItem { name: (*name).to_owned(), ..ModelItem::default() }).collect()
    }

    #[test]
    fn ollamas_default_tag_may_be_left_out_or_added() {
        let models = models(&["nomic-embed-text:latest", "llama3.1:8b"]);
        for name in ["nomic-embed-text", "nomic-embed-text:latest", "llama3.1:8b"] {
            assert!(find(&models, name).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_its_nearest() {
        let fault = find(&models(&["qwen3:4b", "llama3.1:8b", "llama3.1:70b", "phi"]), "lama3.1:8b").unwrap_err();
        assert_eq!(fault.code, Code::ModelNotFound);
        assert_eq!(fault.hint.as_deref(), Some("nearest names: llama3.1:8b, llama3.1:70b, qwen3:4b"));
    }

    #[test]
    fn distance_counts_edits() {
        for (one, other, edits) in [("", "", 0), ("abc", "", 3), ("abc", "abd", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one, other), edits, "{one} {other}");
        }
    }
}
