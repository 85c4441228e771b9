//! Which language a text is in, what its words stem from, and which of them say nothing by themselves.

use std::borrow::Cow;

use rust_stemmers::{Algorithm, Stemmer};
use whatlang::Lang;

use super::words;

/// So much of the begin, the middle and the end is looked at: a document may open with a licence or a table.
const SAMPLE_BYTES: usize = 2000;
/// Shorter texts are guessed by words that only one language has.
const SHORT_BYTES: usize = 200;

/// The language as ISO 639-1, such as `en`; empty where it cannot be told.
pub fn language(text: &str) -> &'static str {
    let sample = sample(text);
    let found = whatlang::detect(&sample).filter(|info| info.is_reliable()).map_or("", |info| code(info.lang()));
    if found.is_empty() || sample.len() < SHORT_BYTES { by_stop_words(&sample).unwrap_or(found) } else { found }
}

/// Whether a lower-case word says nothing by itself. English, French, German and Spanish have such lists; others none.
pub fn is_stop_word(word: &str, language: &str) -> bool {
    STOP_WORDS.iter().any(|(of, list)| *of == language && list.binary_search(&word).is_ok())
}

/// Whether a lower-case word denies something in one of these languages.
pub fn denies(word: &str) -> bool {
    DENIALS.binary_search(&word).is_ok() || word.ends_with("n't")
}

/// The rules of a language, where there are any.
pub(super) fn stemmer(language: &str) -> Option<Stemmer> {
    let algorithm = match language {
        "ar" => Algorithm::Arabic,
        "da" => Algorithm::Danish,
        "de" => Algorithm::German,
        "el" => Algorithm::Greek,
        "en" => Algorithm::English,
        "es" => Algorithm::Spanish,
        "fi" => Algorithm::Finnish,
        "fr" => Algorithm::French,
        "hu" => Algorithm::Hungarian,
        "it" => Algorithm::Italian,
        "nl" => Algorithm::Dutch,
        "no" => Algorithm::Norwegian,
        "pt" => Algorithm::Portuguese,
        "ro" => Algorithm::Romanian,
        "ru" => Algorithm::Russian,
        "sv" => Algorithm::Swedish,
        "ta" => Algorithm::Tamil,
        "tr" => Algorithm::Turkish,
        _ => return None,
    };
    Some(Stemmer::create(algorithm))
}

/// Only words of letters are stemmed: a name such as `v1.2s` or `tokio::tests` is not a word of a language.
pub(super) fn is_plain(word: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'\'' || !byte.is_ascii();
    word.bytes().all(is_plain)
}

fn sample(text: &str) -> Cow<'_, str> {
    if text.len() <= 3 * SAMPLE_BYTES {
        return Cow::Borrowed(text);
    }
    let part = |from: usize| {
        let from = text.ceil_char_boundary(from);
        text.get(from..text.floor_char_boundary(from + SAMPLE_BYTES)).unwrap_or_default()
    };
    Cow::Owned([part(0), part(text.len() / 2), part(text.len() - SAMPLE_BYTES)].join(" "))
}

/// The language with the most stop words, where one alone has the most.
fn by_stop_words(text: &str) -> Option<&'static str> {
    let counts = STOP_WORDS.map(|(language, _)| {
        let count = words(text).filter(|(_, word)| is_stop_word(word, language)).count();
        (count, language)
    });
    let (most, best) = counts.into_iter().max()?;
    let is_alone = counts.iter().filter(|(count, _)| *count == most).count() == 1;
    (most > 0 && is_alone).then_some(best)
}

/// ISO 639-1 of what whatlang tells apart.
fn code(language: Lang) -> &'static str {
    CODES.iter().find(|(of, _)| *of == language).map_or("", |(_, code)| code)
}

#[rustfmt::skip]
const CODES: [(Lang, &str); 70] = [
    (Lang::Afr, "af"), (Lang::Aka, "ak"), (Lang::Amh, "am"), (Lang::Ara, "ar"), (Lang::Aze, "az"), (Lang::Bel, "be"),
    (Lang::Ben, "bn"), (Lang::Bul, "bg"), (Lang::Cat, "ca"), (Lang::Ces, "cs"), (Lang::Cmn, "zh"), (Lang::Cym, "cy"),
    (Lang::Dan, "da"), (Lang::Deu, "de"), (Lang::Ell, "el"), (Lang::Eng, "en"), (Lang::Epo, "eo"), (Lang::Est, "et"),
    (Lang::Fin, "fi"), (Lang::Fra, "fr"), (Lang::Guj, "gu"), (Lang::Heb, "he"), (Lang::Hin, "hi"), (Lang::Hrv, "hr"),
    (Lang::Hun, "hu"), (Lang::Hye, "hy"), (Lang::Ind, "id"), (Lang::Ita, "it"), (Lang::Jav, "jv"), (Lang::Jpn, "ja"),
    (Lang::Kan, "kn"), (Lang::Kat, "ka"), (Lang::Khm, "km"), (Lang::Kor, "ko"), (Lang::Lat, "la"), (Lang::Lav, "lv"),
    (Lang::Lit, "lt"), (Lang::Mal, "ml"), (Lang::Mar, "mr"), (Lang::Mkd, "mk"), (Lang::Mya, "my"), (Lang::Nep, "ne"),
    (Lang::Nld, "nl"), (Lang::Nob, "no"), (Lang::Ori, "or"), (Lang::Pan, "pa"), (Lang::Pes, "fa"), (Lang::Pol, "pl"),
    (Lang::Por, "pt"), (Lang::Ron, "ro"), (Lang::Rus, "ru"), (Lang::Sin, "si"), (Lang::Slk, "sk"), (Lang::Slv, "sl"),
    (Lang::Sna, "sn"), (Lang::Spa, "es"), (Lang::Srp, "sr"), (Lang::Swe, "sv"), (Lang::Tam, "ta"), (Lang::Tel, "te"),
    (Lang::Tgl, "tl"), (Lang::Tha, "th"), (Lang::Tuk, "tk"), (Lang::Tur, "tr"), (Lang::Ukr, "uk"), (Lang::Urd, "ur"),
    (Lang::Uzb, "uz"), (Lang::Vie, "vi"), (Lang::Yid, "yi"), (Lang::Zul, "zu"),
];

/// Sorted, so that they can be searched.
const STOP_WORDS: [(&str, &[&str]); 4] = [("de", GERMAN), ("en", ENGLISH), ("es", SPANISH), ("fr", FRENCH)];

/// Sorted.
#[rustfmt::skip]
const DENIALS: [&str; 37] = [
    "aucun", "aucune", "cannot", "jamais", "kein", "keine", "keinem", "keinen", "keiner", "keines", "neither", "never",
    "nicht", "nichts", "nie", "niemals", "ningun", "ninguna", "ninguno", "ningún", "no", "nobody", "none", "nor",
    "not", "nothing", "nowhere", "nunca", "ohne", "pas", "rien", "sans", "sin", "tampoco", "unable", "weder",
    "without",
];

#[rustfmt::skip]
const ENGLISH: &[&str] = &[
    "a", "about", "above", "after", "again", "against", "all", "also", "am", "an", "and", "any", "are", "as", "at",
    "be", "because", "been", "before", "being", "below", "between", "both", "but", "by", "can", "cannot", "could",
    "did", "do", "does", "doing", "down", "during", "each", "few", "for", "from", "further", "had", "has", "have",
    "having", "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "itself",
    "just", "may", "me", "might", "more", "most", "must", "my", "no", "nor", "not", "now", "of", "off", "on", "once",
    "only", "or", "other", "our", "ours", "out", "over", "own", "same", "shall", "she", "should", "so", "some",
    "such", "than", "that", "the", "their", "theirs", "them", "then", "there", "these", "they", "this", "those",
    "through", "to", "too", "under", "until", "up", "upon", "us", "very", "was", "we", "were", "what", "when",
    "where", "which", "while", "who", "whom", "why", "will", "with", "would", "you", "your", "yours",
];

#[rustfmt::skip]
const FRENCH: &[&str] = &[
    "afin", "ai", "ainsi", "alors", "après", "as", "au", "aucun", "aussi", "autre", "aux", "avait", "avant", "avec",
    "avoir", "ayant", "c", "ce", "cela", "ces", "cet", "cette", "ceux", "chaque", "comme", "comment", "d", "dans",
    "de", "depuis", "des", "donc", "du", "elle", "elles", "en", "encore", "entre", "es", "est", "et", "eu", "eux",
    "fait", "il", "ils", "j", "je", "l", "la", "le", "les", "leur", "leurs", "lors", "lui", "m", "ma", "mais", "me",
    "mes", "moi", "mon", "même", "n", "ne", "ni", "nos", "notre", "nous", "on", "ont", "or", "ou", "où", "par",
    "parce", "pas", "pendant", "peu", "peut", "plus", "pour", "pourquoi", "qu", "quand", "que", "quel", "quelle",
    "quelles", "quels", "qui", "quoi", "s", "sa", "sans", "se", "sera", "ses", "si", "son", "sont", "sous", "sur",
    "t", "ta", "tandis", "te", "tes", "toi", "ton", "tous", "tout", "toute", "toutes", "très", "tu", "un", "une",
    "vers", "vos", "votre", "vous", "y", "à", "étaient", "était", "été", "être",
];

#[rustfmt::skip]
const GERMAN: &[&str] = &[
    "ab", "aber", "alle", "allem", "allen", "aller", "alles", "als", "also", "am", "an", "auch", "auf", "aus", "bei",
    "beim", "bin", "bis", "bist", "da", "dadurch", "daher", "damit", "dann", "das", "dass", "dein", "deine", "dem",
    "den", "denn", "der", "des", "dessen", "die", "dies", "diese", "diesem", "diesen", "dieser", "dieses", "doch",
    "dort", "du", "durch", "ein", "eine", "einem", "einen", "einer", "eines", "er", "es", "etwas", "euer", "für",
    "gegen", "gewesen", "hab", "habe", "haben", "hat", "hatte", "hatten", "hier", "hinter", "ich", "ihm", "ihn",
    "ihnen", "ihr", "ihre", "ihrem", "ihren", "ihrer", "im", "in", "ins", "ist", "ja", "jede", "jedem", "jeden",
    "jeder", "jedes", "jetzt", "kann", "kannst", "kein", "keine", "keinem", "keinen", "können", "könnte", "man",
    "mehr", "mein", "meine", "mich", "mir", "mit", "muss", "nach", "nicht", "nichts", "noch", "nun", "nur", "ob",
    "oder", "ohne", "schon", "sehr", "sein", "seine", "seinem", "seinen", "seiner", "seit", "sich", "sie", "sind",
    "so", "soll", "sollte", "sondern", "sonst", "um", "und", "uns", "unser", "unter", "vom", "von", "vor", "wann",
    "warum", "was", "weil", "welche", "welchem", "welchen", "welcher", "welches", "wenn", "wer", "werden", "wie",
    "wieder", "wir", "wird", "wo", "wohin", "wurde", "wurden", "während", "zu", "zum", "zur", "zwischen", "über",
];

#[rustfmt::skip]
const SPANISH: &[&str] = &[
    "a", "al", "algo", "algunas", "algunos", "ante", "antes", "aquel", "aquella", "así", "aunque", "cada", "como",
    "con", "contra", "cual", "cuales", "cuando", "cuál", "cuáles", "cuándo", "cómo", "de", "del", "desde", "donde",
    "dos", "durante", "dónde", "e", "el", "ella", "ellas", "ellos", "en", "entre", "era", "eran", "es", "esa", "esas",
    "ese", "eso", "esos", "esta", "estaba", "estado", "estas", "este", "esto", "estos", "está", "están", "fue",
    "fueron", "ha", "había", "han", "hasta", "hay", "la", "las", "le", "les", "lo", "los", "me", "mi", "mientras",
    "mis", "mucho", "muchos", "muy", "más", "ni", "no", "nos", "nosotros", "nuestra", "nuestro", "o", "os", "otra",
    "otras", "otro", "otros", "para", "pero", "poco", "por", "porque", "puede", "pueden", "pues", "que", "quien",
    "quienes", "quién", "qué", "se", "sea", "según", "ser", "si", "sido", "sin", "sobre", "son", "su", "sus", "sí",
    "también", "tanto", "te", "tiene", "tienen", "toda", "todas", "todo", "todos", "tu", "tus", "un", "una", "unas",
    "uno", "unos", "y", "ya", "yo", "él",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Terms;

    #[test]
    fn languages_are_told_also_by_a_short_question() {
        for (text, expected) in [
            ("How do I replace a failed disk?", "en"),
            ("Wie tausche ich eine defekte Platte aus?", "de"),
            ("¿Cómo cambio un disco averiado en el servidor?", "es"),
            ("Comment est-ce que je remplace un disque en panne ?", "fr"),
            (
                "Резервные копии находятся на двух разных дисках, чтобы при отказе устройства ничего не потерялось.",
                "ru",
            ),
            ("地下室のサーバーは毎晩バックアップされます。", "ja"),
            ("服务器每天晚上备份到两个磁盘。", "zh"),
            ("Der Speicher im Keller wird jede Nacht gesichert, und die Kopien liegen auf zwei Platten.", "de"),
            ("sudo zpool status", ""),
            ("", ""),
            ("12345 67 %%", ""),
        ] {
            assert_eq!(language(text), expected, "{text}");
        }
    }

    #[test]
    fn every_language_that_can_be_told_has_a_code() {
        let codes: std::collections::BTreeSet<&str> = Lang::all().iter().map(|language| code(*language)).collect();
        assert!(codes.len() == Lang::all().len() && codes.iter().all(|code| code.len() == 2), "{codes:?}");
    }

    #[test]
    fn a_long_text_is_told_by_more_than_its_first_page() {
        let licence = "Permission is hereby granted, free of charge, to any person who obtains a copy. ".repeat(20);
        let german = "Der Speicher im Keller wird jede Nacht um drei Uhr auf zwei Festplatten gesichert. ".repeat(400);
        assert_eq!(language(&(licence + &german)), "de");
    }

    #[test]
    fn words_are_stemmed_and_names_are_left() {
        for (word, language, expected) in [
            ("replaces", "en", "replac"),
            ("dog's", "en", "dog"),
            ("häuser", "de", "haus"),
            ("chevaux", "fr", "cheval"),
            ("discos", "es", "disc"),
            ("replaces", "", "replaces"),
            ("replaces", "zh", "replaces"),
            ("tokio::tests", "en", "tokio::tests"),
            ("p53s", "en", "p53s"),
        ] {
            assert_eq!(Terms::new(language).stem(word), expected, "{word}");
        }
    }

    #[test]
    fn the_lists_can_be_searched() {
        for (language, list) in STOP_WORDS {
            assert!(list.is_sorted(), "{language}");
            assert!(list.iter().all(|word| is_stop_word(word, language)));
            // What `Terms` remembers of words goes by that.
            assert!(stemmer(language).is_some() && list.iter().all(|word| is_plain(word)), "{language}");
        }
        assert!(DENIALS.is_sorted() && denies("never") && denies("don't") && !denies("ever"));
        assert!(!is_stop_word("server", "en") && !is_stop_word("the", "de") && !is_stop_word("the", ""));
    }
}
