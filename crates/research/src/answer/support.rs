//! Whether a passage says what a sentence says: its telling words, all of its numbers and links, and what it denies.
//!
//! Words are looked for in windows of a few statements, and a window that says the sentence is what is cited. Nothing
//! here believes the one who wrote the sentence; where the words differ but the meaning may not, vectors decide
//! (`Finding::Near`), if there are any that this was fitted for.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use extract::one_line;

use super::asked::{Counts, Telling};
use super::evidence::Passage;
use super::opposites::Said;
use super::{negations, numbers};
use crate::text::Terms;

/// A source says a sentence when it has this share of the weight of its telling words, …
const SAID_FROM: f32 = 0.7;
/// … most of them itself rather than by its headings.
const OWN_FROM: f32 = 0.4;
/// From here on vectors may show that it is said in other words.
pub const NEAR_FROM: f32 = 0.35;
/// The cosine of all-MiniLM-L6-v2 from which two sentences say the same.
pub const SAME_FROM: f32 = 0.75;
/// One of several sources of a sentence says at least this share of it.
const PART_FROM: f32 = 0.25;
/// The most statements of a window.
const MOST_WINDOW: usize = 3;
/// Fewer words are a name rather than a quote.
pub const QUOTE_WORDS: usize = 3;
/// The most sources of a sentence.
const MOST_SOURCES: usize = 3;

/// Bytes of a passage of the evidence.
pub type Place = (usize, Range<usize>);

/// What was found for a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// It stands there word for word.
    Quoted(Place),
    /// These say it, together.
    Supported(Vec<Place>),
    /// This may say it in other words; vectors decide.
    Near(Place),
    /// Nothing says it; the share of its words that the nearest has.
    Unsupported(f32),
}

/// Passages, read once for all sentences that are looked for in them.
pub struct Sources<'a> {
    passages: Vec<Source<'a>>,
    counts: &'a Counts,
}

struct Source<'a> {
    passage: &'a Passage,
    /// All of it with single blanks.
    line: String,
    headings: HashSet<String>,
    heading_numbers: Vec<String>,
    statements: Vec<Statement>,
}

struct Statement {
    range: Range<usize>,
    stems: HashSet<String>,
    numbers: Vec<String>,
    denied: HashMap<String, usize>,
    said: Said,
}

impl<'a> Sources<'a> {
    /// Reads them.
    pub fn read(passages: &'a [Passage], counts: &'a Counts) -> Self {
        Self { passages: passages.iter().map(Source::read).collect(), counts }
    }

    /// Reads a sentence that is to be looked for.
    pub fn claims<'s>(&'s self, sentence: &'s str) -> Claims<'s> {
        let mut by_language: HashMap<&str, Claim> = HashMap::new();
        for language in self.passages.iter().map(|source| source.passage.language.as_str()) {
            by_language.entry(language).or_insert_with(|| Claim::read(sentence, language, self.counts));
        }
        Claims { sentence, by_language }
    }

    /// Looks for a sentence in some of the passages, by their places.
    pub fn find(&self, claims: &Claims<'_>, among: &[usize]) -> Finding {
        if let Some(place) = self.quoted(claims.sentence, among) {
            return Finding::Quoted(place);
        }
        let mut windows: Vec<Window<'_>> = Vec::new();
        for (at, source) in among.iter().filter_map(|at| Some((*at, self.passages.get(*at)?))) {
            let claim = claims.by_language.get(source.passage.language.as_str());
            windows.extend(claim.into_iter().flat_map(|claim| claim.windows(at, source)));
        }
        // Of those that say as much the shortest, then the first.
        windows.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.statements.cmp(&b.statements)));
        if let Some(window) = windows.iter().find(|one| one.says_it()) {
            return Finding::Supported(vec![window.place.clone()]);
        }
        if let Some(places) = together(&windows) {
            return Finding::Supported(places);
        }
        match windows.iter().find(|one| one.may_say_it()) {
            Some(near) => Finding::Near(near.place.clone()),
            None => Finding::Unsupported(windows.first().map_or(0.0, |best| best.share)),
        }
    }

    /// Whether a text stands in one of the passages word for word.
    pub fn is_quoted(&self, text: &str) -> bool {
        let all: Vec<usize> = (0..self.passages.len()).collect();
        self.quoted(text, &all).is_some()
    }

    /// Whether a link stands in one of them letter by letter.
    pub fn has_link(&self, link: &str) -> bool {
        self.passages.iter().any(|source| source.passage.text.contains(link))
    }

    /// Where a text stands word for word, blanks apart: the fewest whole statements that have it.
    fn quoted(&self, text: &str, among: &[usize]) -> Option<Place> {
        let wanted = one_line(text);
        let wanted = wanted.trim_matches(['"', '“', '”', '„', '«', '»', '.', ' ']);
        if wanted.split(' ').count() < QUOTE_WORDS {
            return None;
        }
        let sources = among.iter().filter_map(|at| Some((*at, self.passages.get(*at)?)));
        for (at, source) in sources.filter(|(_, source)| source.line.contains(wanted)) {
            for length in 1..=MOST_WINDOW {
                for run in source.statements.windows(length) {
                    let range = range_of(run);
                    if one_line(source.passage.of(&range)).contains(wanted) {
                        return Some((at, range));
                    }
                }
            }
        }
        None
    }
}

impl<'a> Source<'a> {
    fn read(passage: &'a Passage) -> Self {
        let language = passage.language.as_str();
        let mut terms = Terms::new(language);
        let mut statement = |range: &Range<usize>| {
            let text = passage.of(range);
            Statement {
                range: range.clone(),
                stems: terms.telling(text).into_iter().collect(),
                numbers: numbers::numbers(text),
                denied: negations::stems(text, language, &mut terms),
                said: Said::of(text, &mut terms),
            }
        };
        let statements = passage.statements.iter().map(&mut statement).collect();
        Self {
            passage,
            line: one_line(&passage.text),
            headings: terms.telling(&passage.headings).into_iter().collect(),
            heading_numbers: numbers::numbers(&passage.headings),
            statements,
        }
    }
}

fn range_of(run: &[Statement]) -> Range<usize> {
    let (first, last) = (run.first().map_or(0, |one| one.range.start), run.last().map_or(0, |one| one.range.end));
    first..last
}

/// A sentence, read once in each language of the passages.
pub struct Claims<'s> {
    sentence: &'s str,
    by_language: HashMap<&'s str, Claim>,
}

/// A sentence, read in the language of a passage.
struct Claim {
    telling: Telling,
    denied: HashMap<String, usize>,
    said: Said,
    numbers: Vec<String>,
    links: Vec<String>,
}

/// A run of statements beside a claim.
struct Window<'c> {
    place: Place,
    statements: usize,
    /// The share of the claim that it has with its headings, and by itself.
    share: f32,
    own: f32,
    /// The stems of the claim that it has, and the claim's weights.
    has: HashSet<String>,
    telling: &'c Telling,
    missing_numbers: HashSet<String>,
    /// It has every link, denies the same words, and has no opposite of one.
    agrees: bool,
}

impl Claim {
    fn read(sentence: &str, language: &str, counts: &Counts) -> Self {
        let mut terms = Terms::new(language);
        Self {
            telling: Telling::of(sentence, language, counts),
            denied: negations::stems(sentence, language, &mut terms),
            said: Said::of(sentence, &mut terms),
            numbers: numbers::numbers(sentence),
            links: links(sentence),
        }
    }

    fn windows(&self, at: usize, source: &Source<'_>) -> impl Iterator<Item = Window<'_>> {
        let runs = (1..=MOST_WINDOW).flat_map(|length| source.statements.windows(length));
        runs.map(move |run| self.beside(at, source, run))
    }

    fn beside(&self, at: usize, source: &Source<'_>, run: &[Statement]) -> Window<'_> {
        let (mut own, mut has) = (HashSet::new(), HashSet::new());
        for stem in self.telling.stems() {
            if run.iter().any(|one| one.stems.contains(stem)) {
                own.insert(stem.to_owned());
                has.insert(stem.to_owned());
            } else if source.headings.contains(stem) {
                has.insert(stem.to_owned());
            }
        }
        let says = |number: &&String| {
            source.heading_numbers.contains(number) || run.iter().any(|one| one.numbers.contains(number))
        };
        let range = range_of(run);
        let text = source.passage.of(&range);
        let agrees =
            |one: &Statement| negations::agree(&self.denied, &one.denied) && !self.said.is_opposed_to(&one.said);
        Window {
            share: self.telling.within(&has),
            own: self.telling.within(&own),
            statements: run.len(),
            missing_numbers: self.numbers.iter().filter(|number| !says(number)).cloned().collect(),
            agrees: self.links.iter().all(|link| text.contains(link.as_str())) && run.iter().all(agrees),
            place: (at, range),
            has,
            telling: &self.telling,
        }
    }
}

impl Window<'_> {
    fn says_it(&self) -> bool {
        self.agrees && self.missing_numbers.is_empty() && self.share >= SAID_FROM && self.own >= OWN_FROM
    }

    fn may_say_it(&self) -> bool {
        self.agrees && self.missing_numbers.is_empty() && self.share >= NEAR_FROM
    }
}

/// Windows of different passages, each of which says a part; `windows` are the best first.
fn together(windows: &[Window<'_>]) -> Option<Vec<Place>> {
    let mut places: Vec<Place> = Vec::new();
    let mut has: HashSet<String> = HashSet::new();
    let mut missing: Option<HashSet<String>> = None;
    for window in windows.iter().filter(|one| one.agrees && one.own >= PART_FROM) {
        let is_other = places.iter().all(|(at, _)| *at != window.place.0);
        let before = window.telling.within(&has);
        let with: HashSet<String> = has.union(&window.has).cloned().collect();
        if !is_other || window.telling.within(&with) < before + PART_FROM.min(1.0 - before) / 2.0 {
            continue;
        }
        has = with;
        places.push(window.place.clone());
        missing = Some(match missing {
            Some(missing) => missing.intersection(&window.missing_numbers).cloned().collect(),
            None => window.missing_numbers.clone(),
        });
        let is_whole = window.telling.within(&has) >= SAID_FROM && missing.as_ref().is_some_and(HashSet::is_empty);
        if places.len() > 1 && is_whole {
            return Some(places);
        }
        if places.len() == MOST_SOURCES {
            return None;
        }
    }
    None
}

/// What leads elsewhere: it has to stand in the source letter by letter.
pub fn links(text: &str) -> Vec<String> {
    let is_link =
        |word: &&str| word.contains("://") || word.contains("www.") || word.contains("](") || word.contains('@');
    let bare = |word: &str| word.trim_matches(['(', ')', '[', ']', '<', '>', '.', ',', ';', '!', '"', '\'']).to_owned();
    text.split_whitespace().filter(is_link).map(bare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::evidence::tests::passage;
    use std::sync::Arc;

    fn finding(sentence: &str, texts: &[&str]) -> Finding {
        let passages: Vec<Passage> = texts.iter().map(|text| passage("Box", text, 1.0)).collect();
        let among: Vec<usize> = (0..passages.len()).collect();
        let counts: Counts = Arc::new(|_| (3, 1_000));
        let sources = Sources::read(&passages, &counts);
        sources.find(&sources.claims(sentence), &among)
    }

    fn is_supported(sentence: &str, text: &str) -> bool {
        matches!(finding(sentence, &[text]), Finding::Supported(_) | Finding::Quoted(_))
    }

    const NAS: &str = "The storage server grey has four bays. It holds 8 TB disks. It does not sleep at night.";

    #[test]
    fn what_a_source_says_in_similar_words_is_supported() {
        for said in [
            "Grey is a storage server with 4 bays.",
            "The server grey has four bays and holds disks of 8 TB.",
            "At night it does not sleep.",
        ] {
            assert!(is_supported(said, NAS), "{said}");
        }
    }

    #[test]
    fn another_number_another_denial_or_another_matter_is_not() {
        for said in [
            "Grey is a storage server with 6 bays.",
            "It holds 16 TB disks.",
            "It sleeps at night.",
            "Grey was bought from a shop in Berlin last winter.",
            "The storage server grey has four bays, see https://evil.example/x",
        ] {
            assert!(!is_supported(said, NAS), "{said}");
        }
    }

    #[test]
    fn the_citation_is_the_sentence_that_says_it() {
        let Finding::Supported(places) = finding("8 TB disks are held by it.", &[NAS]) else { panic!() };
        assert_eq!(&NAS[places[0].1.clone()], "It holds 8 TB disks.");
        let Finding::Quoted((0, range)) = finding("It holds 8 TB disks.", &[NAS]) else { panic!() };
        assert_eq!(&NAS[range], "It holds 8 TB disks.");
    }

    #[test]
    fn two_sources_may_say_a_sentence_together() {
        let texts = ["The pump in the cellar moves 300 litres.", "A red valve guards the garden tap."];
        let found = finding("The cellar pump moves 300 litres and the red valve guards the garden tap.", &texts);
        let Finding::Supported(places) = found else { panic!("{found:?}") };
        assert_eq!(places.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_link_has_to_stand_in_the_source() {
        assert_eq!(links("see <https://a.example/b>, or mail x@y.example."), ["https://a.example/b", "x@y.example"]);
        assert!(is_supported("The manual lies at https://a.example/b now", "The manual lies at https://a.example/b."));
    }
}
