//! Embeddings and relevance without a model: pure functions of the texts.

use crate::fake::text;

/// Dimensions of every vector.
pub const DIMENSIONS: usize = 64;

/// The vector of `text`: of length 1, the same for the same text; texts that share words point in similar directions.
pub fn embed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSIONS];
    let mut add = |part: &str, weight: f32| {
        let mut random = fastrand::Rng::with_seed(text::hash(part));
        for value in &mut vector {
            *value += weight * (random.f32() * 2.0 - 1.0);
        }
    };
    add(text, 0.1);
    for word in words(text) {
        add(&word, 1.0);
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter().map(|value| value / length).collect()
}

/// How well `document` answers `query`: a raw score as rerankers give it, higher is better.
pub fn relevance(query: &str, document: &str) -> f64 {
    let (query, document) = (embed(query), embed(document));
    let cosine: f32 = query.iter().zip(&document).map(|(a, b)| a * b).sum();
    f64::from(cosine) * 10.0 - 2.0
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|symbol: char| !symbol.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one_and_repeat() {
        let vector = embed("the quick fox");
        assert_eq!(vector, embed("the quick fox"));
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-4);
        assert_eq!(embed("").len(), DIMENSIONS);
    }

    #[test]
    fn shared_words_are_relevant() {
        assert!(relevance("quick fox", "a quick brown fox") > relevance("quick fox", "slow green turtle"));
    }
}
