//! Words with the bytes where they stand, lower-cased. A name or number made of parts is given whole and by its parts, and
//! scripts that put no blanks between words are given as pairs of characters, so that a part is found in the whole.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use unicode_normalization::{UnicodeNormalization, is_nfkc};

/// A longer run of letters is cut here: nobody types it, and an index takes no term without end.
const MOST_BYTES: usize = 256;
/// What may follow an apostrophe inside an English word; other apostrophes part words (`l'eau`).
const ENDINGS: [&str; 7] = ["s", "t", "d", "m", "ll", "re", "ve"];
const SOFT_HYPHEN: char = '\u{ad}';

/// A word and the bytes of the text that it is made of.
pub type Word<'a> = (Range<usize>, Cow<'a, str>);

/// The words of a text, in order; parts come behind their whole.
pub fn words(text: &str) -> Words<'_> {
    Words { text, at: 0, paired: 0, ready: VecDeque::new() }
}

/// Words without the parts of those that have parts.
pub fn whole_words(text: &str) -> impl Iterator<Item = Word<'_>> {
    let mut last = 0..0;
    words(text).filter(move |(range, _)| {
        let is_part = range.start >= last.start && range.end <= last.end;
        if !is_part {
            last = range.clone();
        }
        !is_part
    })
}

/// Made by [`words`].
#[derive(Clone, Debug)]
pub struct Words<'a> {
    text: &'a str,
    at: usize,
    /// Where the last pair of characters ended.
    paired: usize,
    ready: VecDeque<Word<'a>>,
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            if let Some(word) = self.ready.pop_front() {
                return Some(word);
            }
            let rest = self.text.get(self.at..)?;
            let start = self.at + rest.find(is_letter)?;
            let mut letters = self.text.get(start..)?.chars();
            let first = letters.next()?;
            if is_unspaced(first) {
                // Each with the next one; a lone one by itself.
                self.at = start + first.len_utf8();
                let is_in_pair = start < self.paired;
                if let Some(next) = letters.next().filter(|next| is_unspaced(*next)) {
                    self.paired = self.at + next.len_utf8();
                    return Some(self.word(start..self.paired));
                }
                if is_in_pair {
                    continue;
                }
                return Some(self.word(start..self.at));
            }
            let run = Run::read(self.text, start);
            self.at = run.end;
            if !run.has_parts {
                return Some(self.word(start..run.end));
            }
            self.compound(&run);
        }
    }
}

impl<'a> Words<'a> {
    fn word(&self, range: Range<usize>) -> Word<'a> {
        let text = self.text.get(range.clone()).unwrap_or_default();
        (range, lower(text))
    }

    fn compound(&mut self, run: &Run) {
        let range = run.start..run.end;
        let (_, whole) = self.word(range.clone());
        let number = whole.strip_prefix('v').unwrap_or(&whole);
        if number.starts_with(|c: char| c.is_ascii_digit())
            && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b',')
        {
            self.number(range, whole);
            return;
        }
        self.ready.push_back((range.clone(), whole));
        let text = self.text.get(range).unwrap_or_default();
        let mut at = run.start;
        for part in text.split(['_', '.', ':']) {
            let range = at..at + part.len();
            at = range.end + 1;
            let humps = humps(part);
            if part.len() < text.len() && (humps.len() < 2 || part.len() > 1) {
                self.part(range.clone());
            }
            if humps.len() > 1 {
                humps.into_iter().for_each(|hump| self.part(range.start + hump.start..range.start + hump.end));
            }
        }
    }

    /// A part by itself, unless it is a single letter, which would be found everywhere.
    fn part(&mut self, range: Range<usize>) {
        let word = self.word(range);
        if word.1.chars().nth(1).is_some() {
            self.ready.push_back(word);
        }
    }

    /// A number is found by what stands before each of its points (`1.2.3` by `1.2`), a version without its `v`, and
    /// thousands also where they are written together.
    fn number(&mut self, range: Range<usize>, whole: Cow<'a, str>) {
        let end = range.end;
        let shown = self.text.get(range.clone()).unwrap_or_default();
        let from = range.start + usize::from(whole.starts_with('v'));
        let number = self.text.get(from..end).unwrap_or_default();
        if number.contains(',') {
            self.ready.push_back((range, Cow::Owned(whole.replace(',', ""))));
            return;
        }
        self.ready.push_back((range, whole));
        if number.len() < shown.len() {
            self.ready.push_back((from..end, Cow::Borrowed(number)));
        }
        let points = number.match_indices('.').map(|(at, _)| at).collect::<Vec<_>>();
        for at in points.into_iter().rev() {
            self.ready.push_back((from..from + at, Cow::Borrowed(number.get(..at).unwrap_or_default())));
        }
    }
}

/// Letters that belong together, with what joins them.
struct Run {
    start: usize,
    end: usize,
    has_parts: bool,
}

impl Run {
    fn read(text: &str, start: usize) -> Self {
        let bytes = text.as_bytes();
        let most = start + MOST_BYTES;
        let mut run = Self { start, end: start, has_parts: false };
        let mut before = 0;
        loop {
            while let Some(byte) = bytes.get(run.end).filter(|byte| byte.is_ascii_alphanumeric()) {
                // A capital behind a small letter, or the version's `v` before a digit.
                run.has_parts |= byte.is_ascii_uppercase() && run.end > start
                    || byte.is_ascii_digit() && run.end == start + 1 && (before | 0x20) == b'v';
                before = *byte;
                run.end += 1;
                if run.end >= most {
                    return run;
                }
            }
            let rest = text.get(run.end..).unwrap_or_default();
            let Some(next) = rest.chars().next() else { return run };
            if !next.is_ascii() && !is_unspaced(next) && (is_letter(next) || next == SOFT_HYPHEN) {
                run.has_parts |= next.is_uppercase() && run.end > start;
                run.end += next.len_utf8();
            } else if let Some(length) = apostrophe(rest) {
                run.end += length;
            } else if let Some(length) =
                joint(rest, text.get(start..run.end).unwrap_or_default()).filter(|length| run.end + length < most)
            {
                run.has_parts = true;
                run.end += length;
            } else {
                return run;
            }
            if run.end >= most {
                return run;
            }
        }
    }
}

/// The length of a joint at the begin of `rest` between letters: `_`, `.`, `::`, or a comma before three digits.
fn joint(rest: &str, before: &str) -> Option<usize> {
    let length = match rest.bytes().next()? {
        b'_' => rest.find(|c| c != '_')?,
        b'.' => 1,
        b':' if rest.starts_with("::") => 2,
        b',' => {
            let digits = rest.bytes().skip(1).take_while(u8::is_ascii_digit).count();
            let is_number = before.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
            return (digits == 3 && is_number).then_some(1);
        }
        _ => return None,
    };
    let next = rest.get(length..)?.chars().next()?;
    (is_letter(next) && !is_unspaced(next)).then_some(length)
}

/// The length of an apostrophe with an English ending behind it.
fn apostrophe(rest: &str) -> Option<usize> {
    let behind = rest.strip_prefix(['\'', '’'])?;
    let letters = behind.find(|c: char| !is_letter(c)).unwrap_or(behind.len());
    let ending = behind.get(..letters)?.to_ascii_lowercase();
    ENDINGS.contains(&ending.as_str()).then(|| rest.len() - behind.len() + letters)
}

/// The parts of `camelCase` or `HTTPServer`; one where there are none.
fn humps(part: &str) -> Vec<Range<usize>> {
    let chars: Vec<(usize, char)> = part.char_indices().collect();
    let small = |at: usize| chars.get(at).is_some_and(|(_, c)| c.is_lowercase());
    let mut humps = Vec::new();
    let mut start = 0;
    for (place, (at, c)) in chars.iter().enumerate().skip(1) {
        // `mRNAs` is `m` and `RNAs`: one small letter behind capitals is no word of its own.
        if c.is_uppercase() && (small(place - 1) || small(place + 1) && small(place + 2)) {
            humps.push(start..*at);
            start = *at;
        }
    }
    humps.push(start..part.len());
    humps
}

/// A letter, a digit, or a mark upon a letter.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || !c.is_ascii() && (c.is_alphanumeric() || matches!(c, '\u{300}'..='\u{36f}'))
}

/// Of a script that is written without blanks, or, as Korean, with endings grown to the words.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}' // Thai, Lao
        | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' // Burmese, Khmer
        | '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' // Korean
        | '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' // Japanese
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        && is_letter(c)
}

/// Letters of one sign are parted, and accents joined with what they stand over.
fn composed(text: &str) -> String {
    // A sign that is no mere letters, such as a digit with a comma, stays as it is.
    let spelled = |c: char| {
        let parts: String = std::iter::once(c).nfkc().collect();
        if parts.chars().all(is_letter) { parts } else { c.to_string() }
    };
    text.chars().map(spelled).collect::<String>().nfc().collect()
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        let has_capitals = text.bytes().any(|byte| byte.is_ascii_uppercase());
        return if has_capitals { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) };
    }
    // An accent may be a character of its own, as macOS writes names, and letters one sign, as in many a PDF.
    let is_composed = is_nfkc(text);
    if is_composed && !text.chars().any(|c| c.is_uppercase() || c == SOFT_HYPHEN || c == '’') {
        return Cow::Borrowed(text);
    }
    let composed = if is_composed { Cow::Borrowed(text) } else { Cow::Owned(composed(text)) };
    let kept = composed.chars().filter(|c| *c != SOFT_HYPHEN);
    Cow::Owned(kept.map(|c| if c == '’' { '\'' } else { c }).flat_map(char::to_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> String {
        words(text).map(|(_, word)| word.into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_and_numbers_are_given_whole_and_by_parts() {
        for (text, expected) in [
            ("The NAS doesn't sleep.", "the nas doesn't sleep"),
            ("Postgres 6.5 and v1.2.3", "postgres 6.5 6 and v1.2.3 1.2.3 1.2 1"),
            ("1,000 or 3,4,5; V2", "1000 or 3 4 5 v2 2"),
            ("set snake_case_name now", "set snake_case_name snake case name now"),
            ("camelCase HTTPServer mRNAs IDs", "camelcase camel case httpserver http server mrnas rnas ids"),
            ("tokio::spawn(x)", "tokio::spawn tokio spawn x"),
            ("std::sync::OnceLock", "std::sync::oncelock std sync oncelock once lock"),
            ("www.example.com/a-b", "www.example.com www example com a b"),
            ("__init__ a__b", "init a__b"),
            ("l'eau d’été John’s", "l eau d été john's"),
            ("Über ÄRGER naïve in\u{ad}for", "über ärger naïve infor"),
            ("東京都に 行", "東京 京都 都に 行"),
            ("한국어 ok", "한국 국어 ok"),
            ("e\u{301}te\u{301} x²", "été x2"),
            ("ﬁnal ﬂow, ＦＵＬＬ", "final flow full"),
            ("", ""),
            ("--- ... '", ""),
        ] {
            assert_eq!(all(text), expected, "{text}");
        }
    }

    #[test]
    fn wholes_come_without_their_parts() {
        let wholes: Vec<String> = whole_words("HTTPServer v1.2 東京都 x").map(|(_, word)| word.into_owned()).collect();
        assert_eq!(wholes, ["httpserver", "v1.2", "東京", "京都", "x"]);
    }

    #[test]
    fn a_run_without_end_is_cut() {
        let joined = format!("a{}b", "_".repeat(1000));
        assert_eq!(words(&joined).map(|(range, _)| range.len()).collect::<Vec<_>>(), [1, 1]);
        let long = "a".repeat(1000) + &"é".repeat(1000);
        assert!(words(&long).all(|(range, _)| range.len() <= MOST_BYTES + 1));
        assert_eq!(words(&long).map(|(range, _)| range.len()).sum::<usize>(), long.len());
    }

    proptest::proptest! {
        #[test]
        fn every_letter_is_in_a_word_and_every_word_is_where_it_says(text in "(\\PC|[a-zA-Z0-9_.:,' é’東京\u{ad}]){0,60}") {
            let mut covered = vec![false; text.len()];
            let mut last = 0;
            for (range, word) in words(&text) {
                let shown = text.get(range.clone()).unwrap();
                proptest::prop_assert!(!word.is_empty() && range.end >= last.min(range.end));
                proptest::prop_assert!(!word.contains(char::is_whitespace), "{:?}", word);
                last = range.start;
                let plain = lower(shown).replace(',', "");
                proptest::prop_assert_eq!(plain, word.into_owned());
                covered[range].fill(true);
            }
            for (at, c) in text.char_indices() {
                proptest::prop_assert!(!is_letter(c) || covered[at], "{:?} at {}", c, at);
            }
        }
    }
}
