//! The names that documents give to requirements, such as `REQ-12`, and numbers in front of headings.

/// Prefixes that are names even without a `-` in them, or without a `:` behind.
const KNOWN: &[&str] =
    &["REQ", "FR", "NFR", "US", "UC", "R", "F", "BR", "SR", "TR", "AF", "NF", "RF", "RNF", "EF", "ENF", "A", "E"];

/// Splits a text that begins with a name: the name, and what is said behind it.
pub(crate) fn leading(text: &str) -> Option<(&str, &str)> {
    let open = text.trim_start_matches(['[', '(', '`']);
    let is_bracketed = open.len() < text.len();
    let end = open.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))).unwrap_or(open.len());
    let (name, rest) = open.split_at(end);
    let name = name.trim_end_matches(['.', '-']);
    let prefix = prefix(name)?;
    let behind = rest.trim_start_matches(['`', ']', ')']).trim_start();
    let said = behind.trim_start_matches([':', '.', '-', '–', '—', '|']).trim_start();
    let is_marked =
        is_bracketed || said.len() < behind.len() || open.get(name.len()..end).is_some_and(|dot| !dot.is_empty());
    let is_known =
        KNOWN.contains(&prefix) && name.contains(['-', '_']) || matches!(prefix, "REQ" | "FR" | "NFR" | "US");
    (is_marked && name.len() < 24 || is_known || said.is_empty()).then_some((name, said))
}

/// Whether a text is such a name and nothing else.
pub(super) fn is_one(text: &str) -> bool {
    let name = text.trim_matches(['[', ']', '(', ')', '`', ':', '.']);
    prefix(name).is_some() && name.len() < 24
}

/// The capital letters in front, if capital letters and a number are all that the name consists of.
fn prefix(name: &str) -> Option<&str> {
    let letters = name.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(name.len());
    let (prefix, number) = name.split_at(letters);
    let digits = number.trim_start_matches(|c: char| c == '-' || c == '_' || c.is_ascii_uppercase());
    let is_number =
        digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    (is_number && (1..=8).contains(&prefix.len())).then_some(prefix)
}

/// A heading without the number or the letter in front of it: `4.2 Search` and `A. Search` are `Search`.
pub(crate) fn unnumbered(heading: &str) -> &str {
    number(heading).map_or(heading, |(_, rest)| rest)
}

/// Splits `4.2 Search`, `A. Search` or `(b) Search` into the number and the rest.
pub(super) fn number(heading: &str) -> Option<(&str, &str)> {
    let open = heading.trim_start_matches(['(', '§']).trim_start();
    let end = open.find([' ', '\t', ')', ':']).unwrap_or(open.len());
    let (first, rest) = open.split_at(end);
    let number = first.trim_end_matches('.');
    let has_mark = first.len() > number.len() || rest.starts_with([')', ':']);
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.') && number.len() < 12;
    let is_letter = number.len() == 1 && number.chars().all(|c| c.is_ascii_uppercase()) && has_mark;
    let rest = rest.trim_start_matches([')', ':']).trim_start_matches([' ', '\t', '-', '–', '—']);
    (is_number || is_letter).then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_from_what_they_name() {
        for (text, expected) in [
            ("REQ-12: it works", Some(("REQ-12", "it works"))),
            ("[NFR-SEC-3] it is safe", Some(("NFR-SEC-3", "it is safe"))),
            ("FR1.2 it works", Some(("FR1.2", "it works"))),
            ("US-7 – as a user", Some(("US-7", "as a user"))),
            ("ABC-4. it works", Some(("ABC-4", "it works"))),
            ("UTF-8 is read", None),
            ("H264 videos", None),
            ("It works", None),
            ("É-1: x", None),
        ] {
            assert_eq!(leading(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_in_front_of_headings_are_known() {
        for (text, expected) in [
            ("4.2 Search", Some(("4.2", "Search"))),
            ("4.2. Search", Some(("4.2", "Search"))),
            ("A. Gateway", Some(("A", "Gateway"))),
            ("A gateway", None),
            ("4.6", Some(("4.6", ""))),
            ("Search", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}
