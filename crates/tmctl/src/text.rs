//! Small texts for people: spans, sizes, shares, points in time, whose view it is; and JSON's list around items.

use base::ByteSize;
use base::time::rfc3339;
use proto::admin::View;
use serde::Serialize;

/// A span of time, to two places: `320 ms`, `4.2 s`, `3 min 5 s`, `2 h 5 min`, `3 d 4 h`.
pub fn seconds(span: f64) -> String {
    if !span.is_finite() || span < 0.0 {
        return format!("{span} s?");
    }
    if span < 0.9995 {
        return format!("{:.0} ms", span * 1000.0);
    }
    if span < 59.95 {
        return format!("{:.1} s", span).replace(".0 s", " s");
    }
    let whole = span.round() as u64;
    let (large, small, large_unit, small_unit) = match whole {
        ..3600 => (whole / 60, whole % 60, "min", "s"),
        3600..86_400 => (whole / 3600, whole % 3600 / 60, "h", "min"),
        _ => (whole / 86_400, whole % 86_400 / 3600, "d", "h"),
    };
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

/// A size in bytes; `-` when it is 0, which means not known.
pub fn size(bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { ByteSize(bytes).to_string() }
}

/// `6.2 GiB of 8 GiB`; `-` when the whole is not known.
pub fn part(used: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{} of {}", ByteSize(used), ByteSize(whole)) }
}

/// A share of one as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// `text`, or `-` when there is none.
pub fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// `text` without characters that a terminal would obey; they are shown as escapes. Line ends and tabs stay.
pub fn visible(text: &str) -> String {
    escaped(text, |character| obeyed(character) && !matches!(character, '\n' | '\t'))
}

/// A name as a part of a line: the same, and line ends and tabs are shown as escapes as well.
pub fn name(text: &str) -> String {
    escaped(text, obeyed)
}

/// Text of a server on one line, without what a terminal would obey.
pub fn one_line(text: &str) -> String {
    visible(text).replace(['\n', '\t'], " ")
}

/// Whether a terminal does something at this character, or shows others in another order for it.
fn obeyed(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || character.is_control()
}

fn escaped(text: &str, is_meant: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_meant(character) {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// A point in time for a table: to the second.
pub fn clock(unix_ms: u64) -> String {
    if unix_ms == 0 {
        return "-".to_owned();
    }
    rfc3339(unix_ms).chars().take(19).map(|c| if c == 'T' { ' ' } else { c }).collect::<String>() + " UTC"
}

/// The line under a table: whose view it is, how old, and whether it is whole.
pub fn seen_by(view: Option<&View>, now_unix_ms: u64) -> String {
    let Some(view) = view else {
        return "as seen by a server that did not say who it is\n".to_owned();
    };
    let node = visible(or_dash(&view.node));
    let age = match now_unix_ms.checked_sub(view.as_of_unix_ms) {
        Some(ms) => format!("{} ago", seconds(ms as f64 / 1000.0)),
        None => format!("{} ahead of this clock", seconds((view.as_of_unix_ms - now_unix_ms) as f64 / 1000.0)),
    };
    let stale = match view.stale_s {
        0.0 => String::new(),
        span => format!("; STALE: not known to be whole for {}", seconds(span)),
    };
    format!("as seen by {node}, {age}{stale}\n")
}

/// The line under a table that one server filled just now.
pub fn told_by(server: &str) -> String {
    format!("told by {}, just now\n", visible(server))
}

/// Names and what they stand for, one below the other; what is empty is left out.
pub fn page(lines: &[(&str, String)]) -> String {
    let shown = || lines.iter().filter(|(_, value)| !value.is_empty());
    let width = shown().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {}\n", visible(value).replace('\n', " "));
    shown().map(line).collect()
}

/// `count` of something whose plural ends in s.
pub fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A list in JSON: `{"as_of", "view_of", "items"}`.
#[derive(Serialize)]
pub struct List<T> {
    /// RFC 3339.
    pub as_of: String,
    /// The node whose view it is.
    pub view_of: String,
    /// Seconds since the view was last known to be whole.
    pub stale_s: f64,
    /// What it is a list of.
    pub items: Vec<T>,
}

impl<T> List<T> {
    /// `items` as `view` sees them; a server that told no view is `unknown`, now.
    pub fn new(view: Option<&View>, items: Vec<T>) -> Self {
        match view {
            Some(view) => {
                Self { as_of: rfc3339(view.as_of_unix_ms), view_of: view.node.clone(), stale_s: view.stale_s, items }
            }
            None => Self::of_now("unknown", items),
        }
    }

    /// `items` that `server` gave just now.
    pub fn of_now(server: &str, items: Vec<T>) -> Self {
        Self { as_of: rfc3339(base::time::unix_ms()), view_of: server.to_owned(), stale_s: 0.0, items }
    }
}

/// A number as short as it was meant: `0.62` and not what the wider type makes of it.
pub fn short(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// What is not there is `null` in JSON, not an empty text.
pub fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_say_them() {
        let cases = [
            (0.0, "0 ms"),
            (0.32, "320 ms"),
            (0.9996, "1 s"),
            (4.24, "4.2 s"),
            (59.97, "1 min"),
            (185.0, "3 min 5 s"),
            (7500.0, "2 h 5 min"),
            (273_600.0, "3 d 4 h"),
            (f64::NAN, "NaN s?"),
            (-1.0, "-1 s?"),
        ];
        for (span, text) in cases {
            assert_eq!(seconds(span), text, "{span}");
        }
    }

    #[test]
    fn a_point_in_time_stands_in_a_table_to_the_second() {
        assert_eq!(clock(1_795_215_900_250), "2026-11-20 23:05:00 UTC");
    }

    #[test]
    fn what_a_terminal_would_obey_is_made_visible() {
        assert_eq!(visible("a\u{1b}[2Jb\r\u{9b}c\td\n"), "a\\u{1b}[2Jb\\r\\u{9b}c\td\n");
    }

    #[test]
    fn what_turns_the_order_of_letters_is_made_visible_and_letters_from_right_to_left_stay() {
        for turning in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain(['\u{200e}', '\u{200f}']) {
            let escape = format!("\\u{{{:x}}}", u32::from(turning));
            assert_eq!(visible(&format!("a{turning}b")), format!("a{escape}b"));
        }
        assert_eq!(visible("שלום, Grüße 👩\u{200d}🚀"), "שלום, Grüße 👩\u{200d}🚀");
    }

    #[test]
    fn a_name_stays_in_its_line() {
        assert_eq!(name("a\nrefused b\t\u{202e}"), "a\\nrefused b\\t\\u{202e}");
    }

    #[test]
    fn a_view_tells_its_age_and_whether_it_is_whole() {
        let view = |as_of_unix_ms, stale_s| View { node: "grey-area".into(), as_of_unix_ms, stale_s };
        assert_eq!(seen_by(Some(&view(1000, 0.0)), 3000), "as seen by grey-area, 2 s ago\n");
        assert_eq!(seen_by(Some(&view(5000, 0.0)), 3000), "as seen by grey-area, 2 s ahead of this clock\n");
        assert!(seen_by(Some(&view(1000, 90.0)), 3000).ends_with("; STALE: not known to be whole for 1 min 30 s\n"));
        assert!(seen_by(None, 0).contains("did not say"));
    }
}
