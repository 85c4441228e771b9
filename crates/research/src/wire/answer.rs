//! Answers for the wire, with everything that makes them checkable: spans, quotes, support, reasons.

use proto::research as wire;

use super::{span_to_wire, word};
use crate::answer::{Answer, Because, Citation, Contradiction, Sentence, Support, Verdict};

const VERDICTS: &[(&str, Verdict)] =
    &[("answered", Verdict::Answered), ("unsure", Verdict::Unsure), ("not_found", Verdict::NotFound)];
const SUPPORTS: &[(&str, Support)] =
    &[("quoted", Support::Quoted), ("supported", Support::Supported), ("unsupported", Support::Unsupported)];

/// An answer.
pub fn answer_to_wire(answer: Answer) -> wire::Answer {
    wire::Answer {
        question: answer.question,
        verdict: word(&answer.verdict, VERDICTS),
        text: answer.text,
        sentences: answer.sentences.into_iter().map(sentence).collect(),
        citations: answer.citations.into_iter().map(citation).collect(),
        confidence: Some(wire::Confidence {
            value: answer.confidence.value,
            because: answer.confidence.because.into_iter().map(because).collect(),
        }),
        contradictions: answer.contradictions.into_iter().map(contradiction).collect(),
        model: answer.model,
        search: answer.search,
        notes: answer.notes,
    }
}

fn sentence(sentence: Sentence) -> wire::Sentence {
    wire::Sentence { text: sentence.text, cites: sentence.cites, support: word(&sentence.support, SUPPORTS) }
}

fn citation(citation: Citation) -> wire::Citation {
    wire::Citation {
        number: citation.number,
        span: Some(span_to_wire(&citation.span)),
        quote: citation.quote,
        collection: citation.collection.into(),
        source: citation.source,
        title: citation.title,
        headings: citation.headings,
        page: citation.page,
        dated_ms: citation.dated_ms,
        licence: citation.licence,
    }
}

fn because(because: Because) -> wire::Because {
    wire::Because { name: because.name, value: because.value, moved: because.moved }
}

fn contradiction(contradiction: Contradiction) -> wire::Contradiction {
    let Contradiction { one, other, about } = contradiction;
    wire::Contradiction { one, other, about }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_json() {
        for (expected, verdict) in VERDICTS {
            assert_eq!(serde_json::to_value(verdict).unwrap(), *expected);
        }
        for (expected, support) in SUPPORTS {
            assert_eq!(serde_json::to_value(support).unwrap(), *expected);
        }
    }
}
