//! From bytes to letters: byte order marks, UTF-8 and UTF-16, else a guess among the encodings of the past.

use std::iter::Peekable;
use std::str::Chars;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, REPLACEMENT, UTF_8, UTF_16BE, UTF_16LE};

use super::ReadError;

/// Letters, with what was done to them.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) text: String,
    pub(super) notes: Vec<String>,
}

/// One control character in so many characters is an accident; more are no text.
const CHARS_PER_CONTROL: usize = 50;
/// The same for bytes that mean nothing in their encoding.
const CHARS_PER_REPLACED: usize = 20;
/// What begins a command to a terminal.
const ESCAPE: char = '\u{1b}';
/// How far the name of an encoding is looked for, as browsers do.
const HEAD: usize = 1024;
/// How far a guess at UTF-16 without a mark looks.
const LOOK: usize = 4096;

/// Reads letters. `label` is what the document, or who brought it, calls its encoding.
pub(super) fn decode(bytes: &[u8], label: Option<&str>) -> Result<Decoded, ReadError> {
    let (encoding, why) = encoding_of(bytes, label);
    let (text, encoding, is_damaged) = encoding.decode(bytes);
    let mut notes = Vec::new();
    if why == Why::Guessed {
        notes.push(format!("the encoding was guessed as {}", encoding.name()));
    }
    if is_damaged {
        let (replaced, all) = text.chars().fold((0, 0), |(replaced, all), letter| {
            (replaced + usize::from(letter == char::REPLACEMENT_CHARACTER), all + 1)
        });
        if replaced > 1 + all / CHARS_PER_REPLACED {
            return Err(ReadError::NotText);
        }
        notes.push(format!("{replaced} places that are no {} were replaced by U+FFFD", encoding.name()));
    }
    let text = cleaned(text.into_owned(), &mut notes)?;
    Ok(Decoded { text, notes })
}

/// The encoding that a page or a document in XML names in its first bytes.
pub(super) fn declared(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(bytes.get(..HEAD.min(bytes.len()))?).to_ascii_lowercase();
    let (_, behind) = head.split_once("charset=").or_else(|| head.split_once("encoding="))?;
    let name: String = behind
        .trim_start_matches(['"', '\'', ' '])
        .chars()
        .take_while(|letter| letter.is_ascii_alphanumeric() || "-_:.".contains(*letter))
        .collect();
    (!name.is_empty()).then_some(name)
}

#[derive(PartialEq, Eq)]
enum Why {
    Told,
    Guessed,
}

fn encoding_of(bytes: &[u8], label: Option<&str>) -> (&'static Encoding, Why) {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return (encoding, Why::Told);
    }
    // What is valid UTF-8 and not plain ASCII is UTF-8, whatever it is called: nothing else looks like it by chance.
    // UTF-16 may look like it, but for its zeros.
    let has_zero = bytes.contains(&0);
    if has_zero && let Some(encoding) = utf_16_without_mark(bytes) {
        return (encoding, Why::Guessed);
    }
    if std::str::from_utf8(bytes).is_ok() {
        return (UTF_8, Why::Told);
    }
    let told = label.and_then(|label| Encoding::for_label(label.as_bytes()));
    // A label of UTF-8 was tried already; one of UTF-16 above text without zeros is wrong; `REPLACEMENT` reads nothing.
    let can_be =
        |told: &&'static Encoding| *told != UTF_8 && *told != REPLACEMENT && (told.is_ascii_compatible() || has_zero);
    if let Some(encoding) = told.filter(can_be) {
        return (encoding, Why::Told);
    }
    if is_nearly_utf_8(bytes) {
        return (UTF_8, Why::Told);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, true);
    (detector.guess(None, Utf8Detection::Allow), Why::Guessed)
}

/// Whether it begins as text in UTF-16 does.
pub(super) fn is_utf_16(bytes: &[u8]) -> bool {
    let marked = Encoding::for_bom(bytes).is_some_and(|(encoding, _)| encoding == UTF_16LE || encoding == UTF_16BE);
    marked || utf_16_without_mark(bytes).is_some()
}

/// UTF-16 of most languages has a zero in every second place, at least at spaces and line ends.
fn utf_16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let first = bytes.get(..LOOK.min(bytes.len()))?;
    if first.len() < 8 || !bytes.len().is_multiple_of(2) {
        return None;
    }
    let zeros = |odd: usize| first.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd, pairs) = (zeros(0), zeros(1), first.len() / 2);
    match (even, odd) {
        (0, odd) if odd * 4 > pairs => Some(UTF_16LE),
        (even, 0) if even * 4 > pairs => Some(UTF_16BE),
        _ => None,
    }
}

/// A long text in UTF-8 with a few broken places: more characters of several bytes are right than wrong.
fn is_nearly_utf_8(bytes: &[u8]) -> bool {
    let (mut right, mut wrong) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        right += chunk.valid().chars().filter(|letter| !letter.is_ascii()).count();
        wrong += usize::from(!chunk.invalid().is_empty());
    }
    right > 4 * wrong
}

fn is_kept(letter: char) -> bool {
    !letter.is_control() || matches!(letter, '\n' | '\t' | '\u{c}')
}

/// Whether bytes that no mark says anything of have more control characters than a text may have.
pub(super) fn is_raw(bytes: &[u8]) -> bool {
    let is_stray = |letter: char| letter < ' ' && !is_kept(letter) && !matches!(letter, '\r' | ESCAPE);
    let is_control = |byte: &&u8| is_stray(char::from(**byte));
    bytes.contains(&0) && !is_utf_16(bytes) && bytes.iter().filter(is_control).count() > bytes.len() / CHARS_PER_CONTROL
}

/// Line ends become `\n`; what told a terminal how to show the text, control characters and marks of byte order go.
fn cleaned(text: String, notes: &mut Vec<String>) -> Result<String, ReadError> {
    if text.chars().all(|letter| is_kept(letter) && letter != '\u{feff}') {
        return Ok(text);
    }
    let (mut clean, mut dropped, mut all) = (String::with_capacity(text.len()), 0, 0);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        all += 1;
        match letter {
            '\r' => {
                letters.next_if_eq(&'\n');
                clean.push('\n');
            }
            // A line end of mainframes, and of what was converted from them.
            '\u{85}' => clean.push('\n'),
            '\u{feff}' => {}
            ESCAPE => skip_escape(&mut letters),
            letter if is_kept(letter) => clean.push(letter),
            _ => dropped += 1,
        }
    }
    if dropped > all / CHARS_PER_CONTROL {
        return Err(ReadError::NotText);
    }
    if dropped > 0 {
        notes.push(format!("{dropped} control characters were left out"));
    }
    Ok(clean)
}

/// What follows an escape: `[`, parameters and a letter, as for colours; `]` or one of its like, a text and what ends it,
/// as for links and titles of windows; else marks and one letter.
fn skip_escape(letters: &mut Peekable<Chars<'_>>) {
    /// No longer one is believed to be one: what follows is text again.
    const MOST: usize = 2_000;
    match letters.next_if(|letter| letter.is_ascii_graphic()) {
        Some('[') => {
            let mut inside = letters.clone().take(MOST).skip_while(|letter| matches!(letter, ' '..='?'));
            if inside.next().is_some_and(|end| matches!(end, '@'..='~')) {
                letters.find(|letter| !matches!(letter, ' '..='?'));
            }
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            let is_end = |letter: char| matches!(letter, '\u{7}' | ESCAPE);
            if letters.clone().take(MOST).take_while(|letter| *letter != '\n').any(is_end) {
                let end = letters.find(|letter| is_end(*letter));
                letters.next_if(|letter| end == Some(ESCAPE) && *letter == '\\');
            }
        }
        Some(' '..='/') => drop(letters.next_if(|letter| letter.is_ascii_graphic())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use encoding_rs::{SHIFT_JIS, WINDOWS_1251, WINDOWS_1252};
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> (String, Vec<String>) {
        let decoded = decode(bytes, None).unwrap();
        (decoded.text, decoded.notes)
    }

    fn utf_16(text: &str, mark: bool, big: bool) -> Vec<u8> {
        let text = if mark { format!("\u{feff}{text}") } else { text.to_owned() };
        text.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn utf_8_and_utf_16_are_read_with_and_without_a_mark() {
        assert_eq!(text("\u{feff}größer".as_bytes()), ("größer".to_owned(), vec![]));
        for (mark, big) in [(true, true), (true, false)] {
            assert_eq!(text(&utf_16("größer als 1", mark, big)), ("größer als 1".to_owned(), vec![]));
        }
        for big in [true, false] {
            let (read, notes) = text(&utf_16("The disk is full.\r\n", false, big));
            assert_eq!(read, "The disk is full.\n");
            assert!(notes.concat().starts_with("the encoding was guessed as UTF-16"), "{notes:?}");
        }
    }

    #[test]
    fn old_encodings_are_guessed_and_that_is_said() {
        let german = "Die Größe der Straße beträgt fünfzig Meter, über die Brücke führt kein Weg zurück.";
        let russian = "Это предложение написано по-русски, чтобы проверить кодировку.";
        let japanese = "これは日本語の文章です。文字コードを調べるために書きました。";
        for (sentence, encoding) in [(german, WINDOWS_1252), (russian, WINDOWS_1251), (japanese, SHIFT_JIS)] {
            let (read, notes) = text(&encoding.encode(sentence).0);
            assert_eq!(read, sentence);
            assert_eq!(notes, [format!("the encoding was guessed as {}", encoding.name())]);
        }
    }

    #[test]
    fn a_told_encoding_is_used_only_where_the_bytes_allow_it() {
        let cyrillic = WINDOWS_1251.encode("Да, это так").0.into_owned();
        assert_eq!(decode(&cyrillic, Some("windows-1251")).unwrap().text, "Да, это так");
        assert_eq!(decode("größer".as_bytes(), Some("windows-1251")).unwrap().text, "größer");
        for wrong in ["utf-16", "iso-2022-kr", "utf-8"] {
            let latin = WINDOWS_1252.encode("Die Straße ist größer als der Fluß").0.into_owned();
            assert_eq!(decode(&latin, Some(wrong)).unwrap().text, "Die Straße ist größer als der Fluß", "{wrong}");
        }
        assert_eq!(decode(b"plain", Some("no such thing")).unwrap().text, "plain");
    }

    #[test]
    fn a_broken_place_in_utf_8_does_not_make_it_another_encoding() {
        let mut bytes = "äöü ÄÖÜ ß größer ".repeat(3).into_bytes();
        bytes.insert(6, 0xff);
        let (read, notes) = text(&bytes);
        assert!(read.starts_with("äöü\u{fffd} ÄÖÜ"), "{read}");
        assert_eq!(notes, ["1 places that are no UTF-8 were replaced by U+FFFD"]);
    }

    #[test]
    fn stray_control_characters_go_and_many_are_no_text() {
        let (read, notes) = text(format!("a\u{7}{}\r\nb\rc", "x".repeat(100)).as_bytes());
        assert_eq!(read, format!("a{}\nb\nc", "x".repeat(100)));
        assert_eq!(notes, ["1 control characters were left out"]);
        for bytes in [&[0; 5000][..], &[1, 2, 3, 4, 5, 6, 7, 8], b"ab\0\0cd\0ef\0\0"] {
            assert_eq!(decode(bytes, None).unwrap_err(), ReadError::NotText);
        }
    }

    #[test]
    fn what_a_terminal_showed_is_read_without_its_colours() {
        let shown = "\u{1b}[1;31merror\u{1b}[0m: \u{1b}]8;;https://a/b\u{1b}\\the disk\u{1b}]8;;\u{7} is full\u{1b}(B\u{1b}[K\n";
        assert_eq!(text(shown.repeat(20).as_bytes()), ("error: the disk is full\n".repeat(20), vec![]));
        // What only begins like one takes no text with it.
        for (begun, read) in
            [("a\u{1b}[12", "a12"), ("a\u{1b}]b c\nd", "ab c\nd"), ("a\u{1b}", "a"), ("\u{1b}\u{1b}[0mü", "ü")]
        {
            assert_eq!(text(begun.as_bytes()).0, read, "{begun:?}");
        }
    }

    #[test]
    fn a_zero_in_a_text_makes_it_nothing_else() {
        let line = "Jan  1 03:00:01 nas smartd: the disk ä is full\n".repeat(3);
        let (read, notes) = text(format!("{line}\0{line}").as_bytes());
        assert_eq!(read, line.repeat(2));
        assert_eq!(notes, ["1 control characters were left out"]);
        assert!(!is_raw(format!("{line}\0{line}").as_bytes()));
        assert!(is_raw(b"ab\0\0cd\0ef\0\0") && !is_raw(&utf_16("The disk", false, true)));
    }

    proptest! {
        #[test]
        fn no_control_character_comes_through(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(decoded) = decode(&bytes, None) {
                let is_stray = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t' | '\u{c}');
                prop_assert_eq!(decoded.text.find(is_stray), None);
            }
        }

        #[test]
        fn any_text_in_utf_8_stays_as_it_is(words in "[^\\p{C}\\r]{0,200}") {
            prop_assert_eq!(decode(words.as_bytes(), None).unwrap().text, words);
        }
    }
}
