//! What the files look like, and what the models do in the plain forward pass.

use sha2::{Digest, Sha256};

use super::reference::{Chat, cosine, embedder, reranker};
use super::*;

fn bytes(recipe: &Recipe) -> Vec<u8> {
    let mut bytes = Vec::new();
    recipe.model().unwrap().write(&mut bytes).unwrap();
    bytes
}

fn recipes() -> Vec<Recipe> {
    let mut recipes: Vec<Recipe> = Kind::value_variants().iter().map(|kind| Recipe::tiny(*kind)).collect();
    recipes.push(Recipe { style: Style::Noise, ..Recipe::tiny(Kind::Chat) });
    let quants = [Quant::F32, Quant::Q8, Quant::Q4];
    recipes.extend(quants.map(|quant| Recipe { quant, ..Recipe::tiny(Kind::Chat) }));
    recipes
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    for recipe in recipes() {
        let sum = || Sha256::digest(bytes(&recipe));
        assert_eq!(sum(), sum(), "{recipe:?}");
    }
}

#[test]
fn a_file_says_what_it_holds_and_holds_it() {
    for recipe in recipes() {
        let bytes = bytes(&recipe);
        let mut rest = bytes.as_slice();
        let header = Header::read(&mut rest).unwrap();
        let model = recipe.model().unwrap();
        assert_eq!(header.metadata, model.metadata, "{recipe:?}");
        let data = (bytes.len() - rest.len()).next_multiple_of(32);
        let mut end = 0;
        for (tensor, (name, dimensions, code, offset)) in model.tensors.iter().zip(&header.tensors) {
            assert_eq!((name, dimensions, *code), (&tensor.name, &tensor.dimensions, tensor.quant.code()));
            assert_eq!(*offset, end, "{name} begins where the one before it ends");
            end = (offset + tensor.quant.bytes(tensor.len())).next_multiple_of(32);
        }
        assert_eq!(bytes.len() as u64, data as u64 + end, "{recipe:?}");
        assert!(bytes.len() < 4 << 20 || recipe.quant == Quant::F32, "{recipe:?}: {} bytes", bytes.len());
    }
}

#[test]
fn nearly_every_word_of_the_corpus_is_one_token() {
    let bpe = tokenizer();
    let texts = corpus::texts();
    let words = texts.iter().flat_map(|text| text.split([' ', '.', ',', '"', '{', '}', '[', ']', ':', '\n']));
    let words: std::collections::BTreeSet<&str> =
        words.filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())).collect();
    let cut: Vec<_> = words.iter().filter(|word| bpe.encode(&format!(" {word}")).len() > 1).collect();
    assert!(cut.len() < 8, "{cut:?}");
}

const QUESTIONS: [&str; 6] = [
    "What does the leader do?",
    "Write a poem about the sea.",
    "How do I bake bread?",
    "2+2",
    "Say one word.",
    "Please plan the work for the next week, and tell me which tasks depend on which others.",
];

#[test]
fn answers_are_words_that_differ_and_end() {
    let mut chat = Chat::new(&Recipe::tiny(Kind::Chat)).unwrap();
    let mut answers = Vec::new();
    for question in QUESTIONS {
        let (ids, text, is_ended) = chat.answer(&[("user", question)], 200).unwrap();
        println!("{} tokens: {text}", ids.len());
        assert!(is_ended, "{question}: {text}");
        assert!((10..=130).contains(&ids.len()), "{question}: {} tokens: {text}", ids.len());
        answers.push(text);
    }
    let mut unique = answers.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), answers.len(), "{answers:#?}");
    let mut openings: Vec<&str> = answers.iter().filter_map(|text| text.split(' ').next()).collect();
    openings.sort_unstable();
    openings.dedup();
    assert!(openings.len() >= 3, "{answers:#?}");
}

#[test]
fn like_texts_have_like_vectors() {
    let bert = embedder().unwrap();
    let vector = |text: &str| bert.embed(text).unwrap();
    let text = vector("A failed worker is restarted by its supervisor.");
    let paraphrase = cosine(&text, &vector("The supervisor reboots an engine after a crash."));
    let unrelated = ["Bake the bread in a hot kitchen.", "Rain and wind over the sea.", "She plays the piano."];
    println!("paraphrase {paraphrase}");
    assert!(paraphrase > 0.65, "{paraphrase}");
    for other in unrelated {
        let likeness = cosine(&text, &vector(other));
        println!("{likeness} {other}");
        assert!(likeness < 0.4, "{likeness}: {other}");
    }
}

#[test]
fn a_document_with_the_words_of_the_question_scores_higher() {
    let bert = reranker().unwrap();
    let question = "how does a failed worker restart";
    let score = |document: &str| bert.score(question, document).unwrap();
    let same = score("A worker that failed will restart by itself.");
    let alike = score("The engine reboots after a crash.");
    let other = score("Flowers grow in the garden.");
    println!("{same} {alike} {other}");
    assert!(same > alike && alike > other + 1.0, "{same} {alike} {other}");
}
