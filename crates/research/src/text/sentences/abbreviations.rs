//! What stands before a point without ending a sentence, and what begins one for sure: English, German, French, Spanish.

/// How a word uses the point behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It is no abbreviation.
    None,
    /// Something always follows: `Dr. Bell`.
    Before,
    /// A number follows, or it is a word of its own: `No. 5`, but also `No.`
    BeforeNumber,
    /// It stands anywhere, also last: `etc.`
    Anywhere,
}

/// How that word, as it stands before the point, uses it.
pub(super) fn use_of(word: &str) -> Use {
    let word = word.to_lowercase();
    match word.as_str() {
        word if BEFORE.contains(&word) => Use::Before,
        word if BEFORE_NUMBERS.contains(&word) => Use::BeforeNumber,
        word if ANYWHERE.contains(&word) => Use::Anywhere,
        _ => Use::None,
    }
}

/// Whether a sentence begins with that word where anything may come next.
pub(super) fn is_starter(word: &str) -> bool {
    STARTERS.contains(&word)
}

/// Whether a small number with a point behind `previous` and before `next` counts, as in German.
pub(super) fn is_ordinal(previous: &str, next: &str) -> bool {
    COUNTED.contains(&previous.to_lowercase().as_str()) || MONTHS.contains(&next)
}

/// Something always follows these.
#[rustfmt::skip]
const BEFORE: &[&str] = &[
    "dr", "mr", "mrs", "prof", "st", "mt", "hon", "capt", "lt", "sgt", "vs", "cf", "e.g", "eg", "i.e", "ie", "viz",
    "approx", "resp", "incl", "z.b", "d.h", "u.a", "o.ä", "i.d.r", "bzw", "ca", "vgl", "ggf", "evtl", "inkl", "exkl",
    "zzgl", "hr", "fr", "frl", "dipl", "ing", "sog", "geb", "s.o", "s.u", "mme", "mlle", "p.ex", "c.-à-d", "sr",
    "sra", "srta", "dra", "ud", "uds", "p.ej", "aprox", "av", "avda",
];

/// These are abbreviations before a number only.
#[rustfmt::skip]
const BEFORE_NUMBERS: &[&str] = &[
    "fig", "figs", "no", "nos", "nr", "nrn", "vol", "vols", "p", "pp", "s", "eq", "eqs", "ref", "refs", "sec", "ch",
    "chap", "kap", "abb", "tab", "abs", "art", "bd", "ed", "num", "núm", "pág", "págs", "n", "jan", "feb", "mar",
    "apr", "jun", "jul", "aug", "sep", "sept", "okt", "oct", "nov", "dec", "dez", "ver", "tel", "tél",
];

/// These also end a sentence; units such as `ms` are among them.
#[rustfmt::skip]
const ANYWHERE: &[&str] = &[
    "etc", "usw", "al", "inc", "ltd", "corp", "co", "jr", "a.m", "p.m", "u.s.w", "usf", "ee.uu", "ph.d", "m.d",
    "gmbh", "mio", "mrd", "v", "u", "d", "z", "max", "min", "env", "str", "sp", "spp", "subsp", "var", "ms", "gen",
    "mind", "excl", "rev",
];

/// Words that are no names.
#[rustfmt::skip]
const STARTERS: &[&str] = &[
    "The", "A", "An", "This", "These", "Those", "That", "There", "It", "Its", "In", "On", "At", "By", "For", "From",
    "With", "We", "Our", "He", "She", "They", "You", "I", "His", "Her", "Their", "But", "However", "Moreover",
    "Furthermore", "Here", "Then", "If", "When", "While", "Although", "Thus", "To", "Using", "As", "After", "Both", "Because",
    "Since", "And", "Results", "Conclusions", "Methods", "What", "How", "Why", "Is", "Are", "Do", "Finally",
    "Additionally", "Also", "Two", "Three", "Der", "Die", "Das", "Ein", "Eine", "Es", "Er", "Sie", "Wir", "Ich", "Im",
    "Am", "Auf", "Bei", "Mit", "Für", "Wenn", "Dann", "Aber", "Und", "Auch", "Diese", "Dieser", "Dieses", "Nach",
    "Zu", "Le", "La", "Les", "L", "Un", "Une", "Il", "Elle", "Ils", "Nous", "Vous", "Ce", "Cette", "Mais", "El",
    "Los", "Las", "Una", "En", "Este", "Esta", "Pero", "Se", "No", "Si", "Por", "Para",
];

/// What stands before an ordinal number in German.
#[rustfmt::skip]
const COUNTED: &[&str] = &[
    "am", "dem", "den", "der", "das", "des", "im", "vom", "zum", "zur", "beim", "bis", "ab", "seit", "jeder", "jeden",
    "einen", "eine", "ein", "ihren", "seinen",
];

/// What stands behind one.
#[rustfmt::skip]
const MONTHS: &[&str] = &[
    "Januar", "Jänner", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober",
    "November", "Dezember", "Jahrhundert", "Jahrhunderts",
];
