//! Bytes of tokens to text that can be sent: whole characters, and nothing that may turn out to begin a stop string.

/// Text on its way out.
#[derive(Clone, Debug)]
pub struct TextOut {
    stops: Vec<String>,
    /// Text that may be the beginning of a stop string.
    held: String,
    /// Bytes of a character that is not whole yet.
    cut: Vec<u8>,
}

/// What a piece made ready.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Text that can go out now; may be empty.
    Text(String),
    /// The last text: a stop string came behind it.
    Stopped(String),
}

impl TextOut {
    /// Ends before the first of `stops`; empty ones are none.
    pub fn new(mut stops: Vec<String>) -> Self {
        stops.retain(|stop| !stop.is_empty());
        Self { stops, held: String::new(), cut: Vec::new() }
    }

    /// Takes the bytes of a token.
    pub fn push(&mut self, bytes: &[u8]) -> Pushed {
        self.cut.extend_from_slice(bytes);
        self.take_whole_characters();
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = found {
            self.held.truncate(at);
            self.cut.clear();
            return Pushed::Stopped(std::mem::take(&mut self.held));
        }
        let kept = self.stops.iter().map(|stop| shared_edge(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        Pushed::Text(std::mem::replace(&mut self.held, rest))
    }

    /// Nothing follows: all that was held back goes out.
    pub fn finish(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.held);
        rest.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.cut)));
        rest
    }

    fn take_whole_characters(&mut self) {
        loop {
            match std::str::from_utf8(&self.cut) {
                Ok(text) => {
                    self.held.push_str(text);
                    self.cut.clear();
                    return;
                }
                Err(error) => {
                    let (whole, rest) = self.cut.split_at(error.valid_up_to());
                    self.held.push_str(&String::from_utf8_lossy(whole));
                    let Some(junk) = error.error_len() else {
                        self.cut = rest.to_vec();
                        return;
                    };
                    // What can never become a character is shown as the mark for that, so that nothing is lost unseen.
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    self.cut = rest.get(junk..).unwrap_or_default().to_vec();
                }
            }
        }
    }
}

/// Length of the longest end of `text` that begins `stop`.
fn shared_edge(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len().saturating_sub(1));
    let is_edge = |length: &usize| text.as_bytes().get(text.len() - length..) == stop.as_bytes().get(..*length);
    (1..=most).rev().find(is_edge).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(stops: &[&str], pieces: &[&[u8]]) -> (String, bool) {
        let mut out = TextOut::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut text = String::new();
        for piece in pieces {
            match out.push(piece) {
                Pushed::Text(more) => text.push_str(&more),
                Pushed::Stopped(last) => return (text + &last, true),
            }
        }
        (text + &out.finish(), false)
    }

    #[test]
    fn a_character_goes_out_when_it_is_whole() {
        let euro = "€".as_bytes();
        let mut out = TextOut::new(Vec::new());
        assert_eq!(out.push(&euro[..2]), Pushed::Text(String::new()));
        assert_eq!(out.push(&euro[2..]), Pushed::Text("€".to_owned()));
    }

    #[test]
    fn bytes_that_are_no_character_are_shown_as_such() {
        assert_eq!(all(&[], &[b"a\xff", b"b\xe2\x82"]), ("a\u{fffd}b\u{fffd}".to_owned(), false));
    }

    #[test]
    fn nothing_of_a_stop_string_goes_out_however_it_is_cut() {
        assert_eq!(all(&["STOP"], &[b"one ST", b"O", b"P two"]), ("one ".to_owned(), true));
        assert_eq!(all(&["STOP"], &[b"one ST", b"OR", b"Y"]), ("one STORY".to_owned(), false));
        assert_eq!(all(&["\n\n", "b"], &[b"a\n", b"b"]), ("a\n".to_owned(), true));
        assert_eq!(all(&["aab"], &[b"aaa", b"b"]), ("a".to_owned(), true));
        assert_eq!(all(&[""], &[b"x"]), ("x".to_owned(), false));
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_the_text(text in "[ab€ü\n]{0,40}", stop in "[ab€]{1,4}", cuts in prop::collection::vec(1usize..5, 0..40)) {
            let mut pieces: Vec<&[u8]> = Vec::new();
            let mut rest = text.as_bytes();
            for cut in cuts {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            pieces.push(rest);
            let expected = text.split(stop.as_str()).next().unwrap_or_default().to_owned();
            prop_assert_eq!(all(&[&stop], &pieces), (expected, text.contains(stop.as_str())));
        }
    }
}
