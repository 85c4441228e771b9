//! One answer out of its parts: numbers for what is cited, the text that people read, and what they should know.

use super::confidence::{self, lowered};
use super::contradictions;
use super::doubts;
use super::evidence::Evidence;
use super::extractive::{self, Scored};
use super::support::Place;
use super::{Answer, Citation, Confidence, Contradiction, Sentence, Support, Verdict, asked};

/// So many of the nearest sources are named where nothing was found.
const NAMED: usize = 3;
/// Sentences beside the cited ones in which contradictions are looked for.
const NEAREST: usize = 6;
/// What is left of the confidence where the cited sources disagree.
const KEPT_IN_DISPUTE: f32 = 0.8;
/// What is left of it where a model read the passages and says that they do not answer.
const KEPT_IN_SILENCE: f32 = 0.05;
/// Stands behind a sentence that no source says.
const FLAG: &str = "[no source]";
/// The whole text where nothing was found.
const NOT_FOUND: &str = "The knowledge base does not say.";

/// A sentence with the places that it cites, which have no numbers yet.
pub type Cited = (Sentence, Vec<Place>);

/// An answer of sentences as they stand in the sources.
pub fn extracted(question: &str, evidence: &Evidence, most: usize) -> Answer {
    let ranked = extractive::rank(question, evidence);
    let confidence = how_sure(question, &ranked, evidence);
    let verdict = confidence::verdict(&confidence, asked::is_question(question));
    let mut notes = evidence.notes.clone();
    if verdict == Verdict::NotFound {
        return nothing(question, evidence, confidence, notes);
    }
    let chosen = extractive::choose(question, &ranked, evidence, most.max(1));
    if !asked::is_question(question) {
        notes.push("this is no question: how sure one may be is weak evidence for a claim".to_owned());
    }
    let cited = extractive::sentences(&chosen, evidence);
    put_together(question, evidence, cited, &ranked, (confidence, verdict), notes)
}

/// An answer of sentences that `model` wrote and that were looked up.
pub fn written(question: &str, evidence: &Evidence, model: &str, said: (Vec<Cited>, Vec<String>)) -> Answer {
    let (sentences, told) = said;
    let ranked = extractive::rank(question, evidence);
    let mut confidence = how_sure(question, &ranked, evidence);
    let supported = sentences.iter().filter(|(one, _)| one.support != Support::Unsupported).count();
    let notes = evidence.notes.iter().cloned().chain(told).collect();
    if supported < sentences.len() {
        let share = supported as f32 / sentences.len() as f32;
        confidence = lowered(confidence, "sentences that their sources say", share, share);
    }
    let is_question = asked::is_question(question);
    let verdict = match confidence::verdict(&confidence, is_question) {
        // Something that the sources say stands here, however little it looks like the question.
        Verdict::NotFound if supported > 0 => Verdict::Unsure,
        verdict => verdict,
    };
    let mut answer = match sentences.is_empty() {
        true => {
            let confidence = lowered(confidence, "what the model found in the passages", 0.0, KEPT_IN_SILENCE);
            nothing(question, evidence, confidence, notes)
        }
        false => put_together(question, evidence, sentences, &ranked, (confidence, verdict), notes),
    };
    model.clone_into(&mut answer.model);
    answer
}

fn how_sure(question: &str, ranked: &[Scored], evidence: &Evidence) -> Confidence {
    let cited = extractive::for_confidence(ranked, evidence);
    doubts::doubted(question, &cited, evidence, confidence::confidence(&cited, evidence))
}

/// The answer that it is not in the knowledge base.
pub fn nothing(question: &str, evidence: &Evidence, confidence: Confidence, mut notes: Vec<String>) -> Answer {
    let mut nearest: Vec<String> = Vec::new();
    for passage in &evidence.passages {
        let name = format!("`{}`", passage.name());
        if nearest.len() < NAMED && !nearest.contains(&name) {
            nearest.push(name);
        }
    }
    notes.push(match nearest.is_empty() {
        true => "no document has a word of the question".to_owned(),
        false => format!("the nearest documents are {}", nearest.join(", ")),
    });
    Answer {
        question: question.to_owned(),
        verdict: Verdict::NotFound,
        text: NOT_FOUND.to_owned(),
        sentences: Vec::new(),
        citations: Vec::new(),
        confidence,
        contradictions: Vec::new(),
        model: String::new(),
        search: evidence.search.clone(),
        notes,
    }
}

/// Numbers places in the order in which sentences cite them, each once.
#[derive(Default)]
struct Numbers {
    places: Vec<Place>,
}

impl Numbers {
    fn of(&mut self, place: &Place) -> u32 {
        let known = self.places.iter().position(|known| known == place);
        let at = known.unwrap_or_else(|| {
            self.places.push(place.clone());
            self.places.len() - 1
        });
        at as u32 + 1
    }

    fn citations(&self, evidence: &Evidence) -> Vec<Citation> {
        let cite = |(number, (at, range)): (u32, &Place)| Some(evidence.passages.get(*at)?.cite(range, number));
        (1..).zip(&self.places).filter_map(cite).collect()
    }
}

fn put_together(
    question: &str,
    evidence: &Evidence,
    said: Vec<Cited>,
    ranked: &[Scored],
    (mut confidence, verdict): (Confidence, Verdict),
    mut notes: Vec<String>,
) -> Answer {
    let mut numbers = Numbers::default();
    let mut sentences = Vec::with_capacity(said.len());
    for (mut sentence, places) in said {
        sentence.cites = places.iter().map(|place| numbers.of(place)).collect();
        sentences.push(sentence);
    }
    let contradictions = disputes(&mut numbers, ranked, evidence);
    if !contradictions.is_empty() {
        confidence = lowered(confidence, "sources that disagree", contradictions.len() as f32, KEPT_IN_DISPUTE);
        notes.push("sources do not say the same: see the contradictions".to_owned());
    }
    Answer {
        question: question.to_owned(),
        verdict,
        text: text_of(&sentences),
        sentences,
        citations: numbers.citations(evidence),
        confidence,
        contradictions,
        model: String::new(),
        search: evidence.search.clone(),
        notes,
    }
}

/// Contradictions of what is cited, with itself and with the nearest other sentences, which are cited then as well.
fn disputes(numbers: &mut Numbers, ranked: &[Scored], evidence: &Evidence) -> Vec<Contradiction> {
    let cited = numbers.places.len();
    let mut places = numbers.places.clone();
    for one in ranked.iter().take(NEAREST) {
        let place = (one.passage, one.range.clone());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let mut found = Vec::new();
    for clash in contradictions::find(&places, &evidence.passages, &evidence.counts) {
        if clash.one < cited
            && let (Some(one), Some(other)) = (places.get(clash.one), places.get(clash.other))
        {
            found.push(Contradiction { one: numbers.of(one), other: numbers.of(other), about: clash.about });
        }
    }
    found
}

/// A sentence as it is read, with its numbers behind it.
pub fn with_numbers(sentence: &Sentence) -> String {
    let mut text = sentence.text.clone();
    if sentence.support == Support::Unsupported {
        text.push(' ');
        text.push_str(FLAG);
    }
    for (at, number) in sentence.cites.iter().enumerate() {
        text.push_str(if at == 0 { " " } else { "" });
        text.push_str(&format!("[{number}]"));
    }
    text
}

fn text_of(sentences: &[Sentence]) -> String {
    sentences.iter().map(with_numbers).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
