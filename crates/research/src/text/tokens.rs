//! How many tokens an embedder makes of a text, estimated without its vocabulary.
//!
//! The measure is BERT's word pieces, which are the most tokens among embedders in use. Letters: 1 up to four, one more for
//! each further four, from the twelfth on for each further two; an accent counts one more. Digits: 1 for each three. Signs
//! and characters of scripts without blanks: 1 each; other scripts: 1 a letter. Beside the real pieces: English 1.1 to 1.3
//! times as many, code 1.0, German 0.75, since the English vocabulary has no German words.

/// Parts of a token in which it is counted.
const PARTS: u32 = 4;

/// The estimate; 0 only where all is blank, and never more than characters.
pub fn tokens(text: &str) -> u32 {
    let mut parts = 0u32;
    let mut chars = text.chars().peekable();
    while let Some(first) = chars.next() {
        let kind = Kind::of(first);
        let mut length = 1;
        let mut accents = u32::from(!first.is_ascii());
        if matches!(kind, Kind::Latin | Kind::Digit) {
            while let Some(next) = chars.next_if(|next| Kind::of(*next) == kind) {
                length += 1;
                accents += u32::from(!next.is_ascii());
            }
        }
        parts = parts.saturating_add(match kind {
            Kind::Blank => 0,
            Kind::Digit => PARTS * u32::div_ceil(length, 3),
            Kind::Latin => latin(length, accents),
            Kind::Single => PARTS,
        });
    }
    parts.div_ceil(PARTS)
}

/// For letters of one word, in parts.
fn latin(length: u32, accents: u32) -> u32 {
    let long = length.saturating_sub(12);
    let middle = length.saturating_sub(4) - long;
    (PARTS + middle + 2 * long + PARTS * accents.min(2)).min(PARTS * length)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    Digit,
    Latin,
    Single,
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            c if c.is_whitespace() => Self::Blank,
            c if c.is_ascii_digit() => Self::Digit,
            c if c.is_alphabetic() && c < '\u{250}' => Self::Latin,
            _ => Self::Single,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside the word pieces of `bert-base-uncased`, counted once with its own vocabulary.
    #[test]
    fn the_estimate_is_never_much_too_low() {
        for (what, text, pieces) in [
            (
                "English",
                "The storage in the cellar is backed up every night at three. Copies lie on two different disks, so that \
                 nothing is lost when a device fails. When the power goes out, the batteries take over for about twenty \
                 minutes; after that the machine shuts down in good order. Maintenance needs a spare part whose delivery \
                 takes several weeks.",
                67,
            ),
            (
                "code",
                "fn columns(needs: &BTreeMap<u32, BTreeSet<u32>>) -> Vec<Vec<u32>> {\n    let mut near = needs.clone();\n    \
                 for (number, needs) in needs {\n        near.entry(*number).or_default().insert(0x1f);\n    }\n}\n",
                81,
            ),
            (
                "German",
                "Der Speicher im Keller wird jede Nacht um drei Uhr gesichert. Die Sicherungskopien liegen auf zwei \
                 verschiedenen Festplatten, damit beim Ausfall eines Geräts nichts verloren geht. Wenn die \
                 Stromversorgung unterbrochen wird, übernimmt die unterbrechungsfreie Stromversorgung für etwa zwanzig \
                 Minuten.",
                108,
            ),
            (
                "French",
                "Le serveur de la cave est sauvegardé chaque nuit à trois heures. Les copies de sauvegarde se trouvent \
                 sur deux disques différents, afin que rien ne soit perdu lors de la panne d'un appareil.",
                62,
            ),
            (
                "Russian",
                "Сервер в подвале сохраняется каждую ночь в три часа. Резервные копии находятся на двух разных дисках.",
                83,
            ),
            (
                "Japanese",
                "地下室のサーバーは毎晩三時にバックアップされます。コピーは二つの異なるディスクにあります。",
                45,
            ),
            ("numbers", "| 2024-11-03 | 192.168.1.20 | 14,500 | 0.0031 |", 25),
        ] {
            let ratio = f64::from(tokens(text)) / f64::from(pieces);
            println!("{what}: {ratio:.2}");
            assert!((0.68..1.4).contains(&ratio), "{what}: {ratio:.2}");
        }
    }

    #[test]
    fn there_are_never_more_tokens_than_characters() {
        for text in ["", " \n", "a", "é", "éé", "ab", "1", "…", "🙂🙂", "Zürich1"] {
            assert!(tokens(text) as usize <= text.chars().count(), "{text}");
            assert_eq!(tokens(text) == 0, text.trim().is_empty(), "{text}");
        }
    }
}
