//! What a message of a peer may contain: bounded names, lists and texts, finite numbers, known words.
//!
//! Every check names the field that it refuses, so that a fault between two releases is found from one log line.

use base::{Fault, Result};

/// Longest name, address, id or word, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 256;
/// Longest text that only people read, in bytes; longer ones are clipped when written.
pub(crate) const MAX_TEXT_BYTES: usize = 2048;

/// `text`, when it is no longer than a name may be; it may be empty.
pub(crate) fn short(field: &str, text: String) -> Result<String> {
    at_most_bytes(field, text, MAX_NAME_BYTES)
}

/// `text`, when it is a name: not empty, and no longer than a name may be.
pub(crate) fn name(field: &str, text: String) -> Result<String> {
    if text.is_empty() {
        return Err(refused(field, "is missing"));
    }
    short(field, text)
}

/// `text`, when it is no longer than what [`clip`] leaves.
pub(crate) fn text(field: &str, text: String) -> Result<String> {
    at_most_bytes(field, text, MAX_TEXT_BYTES)
}

fn at_most_bytes(field: &str, text: String, most: usize) -> Result<String> {
    if text.len() > most {
        return Err(refused(field, &format!("is {} bytes long, more than {most}", text.len())));
    }
    Ok(text)
}

/// Refuses a list of `length` entries when that is over `most`.
pub(crate) fn at_most(field: &str, length: usize, most: usize) -> Result<()> {
    if length > most {
        return Err(refused(field, &format!("has {length} entries, more than {most}")));
    }
    Ok(())
}

/// A message field that proto3 cannot require.
pub(crate) fn required<T>(field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| refused(field, "is missing"))
}

/// A word of a closed set, read by `parse`.
pub(crate) fn word<T>(field: &str, text: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    parse(text).ok_or_else(|| refused(field, &format!("is the unknown word `{}`", clip(text, 40))))
}

/// A measured amount: finite and not below zero.
pub(crate) fn amount(field: &str, value: f64) -> Result<f64> {
    if is_amount(&value) { Ok(value) } else { Err(refused(field, "is no finite amount of 0 or more")) }
}

/// Whether `value` is finite and not below zero.
pub(crate) fn is_amount(value: &f64) -> bool {
    value.is_finite() && *value >= 0.0
}

/// A measured amount that may be unknown.
pub(crate) fn maybe_amount(field: &str, value: Option<f64>) -> Result<Option<f64>> {
    value.map(|value| amount(field, value)).transpose()
}

/// A refusal of `field`; `why` goes on after the field's name.
pub(crate) fn refused(field: &str, why: &str) -> Fault {
    Fault::invalid(format!("field `{field}` of a message {why}"))
        .hint("compare the releases on both sides with `tmctl nodes`; neighbouring releases understand each other")
}

/// The longest start of `text` within `most` bytes that ends between two characters.
pub(crate) fn clip(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipped_text_ends_between_characters() {
        assert_eq!(clip("aéb", 2), "a");
        assert_eq!(clip("aéb", 3), "aé");
        assert_eq!(clip("ab", 9), "ab");
    }

    #[test]
    fn a_refusal_names_the_field() {
        for fault in [
            name("node", String::new()).unwrap_err(),
            short("node", "x".repeat(257)).unwrap_err(),
            amount("node", f64::NAN).unwrap_err(),
            at_most("node", 3, 2).unwrap_err(),
            required::<()>("node", None).unwrap_err(),
            word::<()>("node", "?", |_| None).unwrap_err(),
        ] {
            assert!(fault.message.contains("`node`"), "{fault:?}");
        }
    }
}
