//! Models that chat: one whose weights are computed so that it writes broken but wordy English and ends by itself, and
//! random ones, small and large.

mod words;

use std::collections::BTreeSet;

pub use words::adapter;

use super::bpe::{Bpe, END_OF_TEXT, END_OF_TURN, SPECIALS};
use super::corpus;
use super::file::{Gguf, Value, Weights};
use super::quantise::Quant;
use super::random::Random;
use super::{Preset, Recipe, Style};

/// How a conversation becomes a prompt; an assistant's last message is left open, so that it can be continued.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}\
    {% if not loop.last or message['role'] != 'assistant' or add_generation_prompt %}{{ '<|im_end|>' + '\n' }}\
    {% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
/// Added to the mean square of a norm. Small, for the computed weights take the norm for exact.
pub const EPSILON: f32 = 1e-6;
/// The base of the angles by which positions turn queries and keys.
pub const ROPE_BASE: f32 = 10_000.0;

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbers that stand for a token between layers.
    pub width: usize,
    /// How many layers.
    pub layers: usize,
    /// Of queries.
    pub heads: usize,
    /// Of keys and values, each for several of queries.
    pub kv_heads: usize,
    /// Numbers in a head.
    pub head: usize,
    /// Inner numbers of a layer's second half.
    pub inner: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Positions.
    pub context: usize,
}

/// Where tokens are one-hot, with room for what the layers add.
pub const WORDS: Shape =
    Shape { width: 512 + 64, layers: 2, heads: 4, kv_heads: 2, head: 32, inner: 64, vocabulary: 512, context: 4096 };
const SLOW: Shape = Shape { inner: 16 << 10, ..WORDS };
const NOISE: Shape = Shape { width: 192, layers: 4, heads: 6, kv_heads: 2, inner: 512, ..WORDS };
const BENCH: Shape =
    Shape { width: 1024, layers: 12, heads: 16, kv_heads: 8, head: 64, inner: 2816, vocabulary: 8192, context: 4096 };

/// The model of a recipe.
pub fn model(recipe: &Recipe) -> Gguf {
    let texts = corpus::texts();
    let bpe = tokenizer(&texts);
    match (recipe.preset, recipe.style) {
        (Preset::Bench, _) => random(&BENCH, &bpe, recipe),
        (_, Style::Noise) => random(&NOISE, &bpe, recipe),
        (Preset::Tiny, Style::Words) => words::model(&WORDS, &bpe, &texts, recipe),
        (Preset::Slow, Style::Words) => words::model(&SLOW, &bpe, &texts, recipe),
    }
}

/// The tokenizer that all of them have.
pub fn tokenizer(texts: &[String]) -> Bpe {
    let read = texts.iter().map(String::as_str);
    let also = corpus::TOKENS.iter().flat_map(|word| std::iter::repeat_n(*word, texts.len()));
    Bpe::train(read.chain(also), WORDS.vocabulary)
}

/// A file with everything but tensors.
fn begun(shape: &Shape, bpe: &Bpe, recipe: &Recipe) -> Gguf {
    let mut file = Gguf::default();
    super::begin(&mut file, "llama", recipe);
    let number = |number: usize| Value::U32(number as u32);
    for (key, value) in [
        ("context_length", shape.context),
        ("embedding_length", shape.width),
        ("block_count", shape.layers),
        ("feed_forward_length", shape.inner),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head),
        ("attention.value_length", shape.head),
        ("rope.dimension_count", shape.head),
        ("vocab_size", shape.vocabulary),
    ] {
        file.set(format!("llama.{key}"), number(value));
    }
    file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(EPSILON));
    file.set("llama.rope.freq_base", Value::F32(ROPE_BASE));
    set_tokenizer(&mut file, shape, bpe);
    file.set("tokenizer.chat_template", Value::Text(TEMPLATE.to_owned()));
    file
}

fn set_tokenizer(file: &mut Gguf, shape: &Shape, bpe: &Bpe) {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    const UNUSED: i32 = 5;
    let unused = (bpe.tokens.len()..shape.vocabulary).map(|id| format!("<|unused{id}|>"));
    let tokens: Vec<String> = bpe.tokens.iter().cloned().chain(unused).collect();
    let kind = |id: usize| match id {
        _ if id < SPECIALS.len() => CONTROL,
        _ if id < bpe.tokens.len() => NORMAL,
        _ => UNUSED,
    };
    file.set("tokenizer.ggml.model", Value::Text("gpt2".to_owned()));
    file.set("tokenizer.ggml.pre", Value::Text("gpt-2".to_owned()));
    file.set("tokenizer.ggml.token_type", Value::I32s((0..tokens.len()).map(kind).collect()));
    file.set("tokenizer.ggml.tokens", Value::Texts(tokens));
    let merges = bpe.merges.iter().map(|(first, second)| format!("{first} {second}"));
    file.set("tokenizer.ggml.merges", Value::Texts(merges.collect()));
    for (name, token) in [("bos", END_OF_TEXT), ("eos", END_OF_TURN), ("padding", END_OF_TEXT)] {
        let id = bpe.id(token).unwrap_or_default();
        file.set(format!("tokenizer.ggml.{name}_token_id"), Value::U32(id as u32));
    }
    file.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
}

/// The matrices of a layer: name, row length, rows.
fn matrices(shape: &Shape) -> [(&'static str, usize, usize); 7] {
    let (queries, keys) = (shape.heads * shape.head, shape.kv_heads * shape.head);
    [
        ("attn_q", shape.width, queries),
        ("attn_k", shape.width, keys),
        ("attn_v", shape.width, keys),
        ("attn_output", queries, shape.width),
        ("ffn_gate", shape.width, shape.inner),
        ("ffn_up", shape.width, shape.inner),
        ("ffn_down", shape.inner, shape.width),
    ]
}

fn add_norm(file: &mut Gguf, name: &str, width: usize) {
    file.add(format!("{name}.weight"), &[width], Quant::F32, Weights::Given(vec![1.0; width]));
}

/// A model that writes noise.
fn random(shape: &Shape, bpe: &Bpe, recipe: &Recipe) -> Gguf {
    let mut file = begun(shape, bpe, recipe);
    let mut seeds = Random::new(5);
    let mut add = |file: &mut Gguf, name: String, row: usize, rows: usize, gain: f32| {
        let spread = gain / (row as f32).sqrt();
        file.add(name, &[row, rows], recipe.quant, Weights::Random { spread, seed: seeds.bits() });
    };
    add(&mut file, "token_embd.weight".to_owned(), shape.width, shape.vocabulary, 1.0);
    for layer in 0..shape.layers {
        add_norm(&mut file, &format!("blk.{layer}.attn_norm"), shape.width);
        add_norm(&mut file, &format!("blk.{layer}.ffn_norm"), shape.width);
        for (name, row, rows) in matrices(shape) {
            add(&mut file, format!("blk.{layer}.{name}.weight"), row, rows, 1.0);
        }
    }
    add_norm(&mut file, "output_norm", shape.width);
    add(&mut file, "output.weight".to_owned(), shape.width, shape.vocabulary, 4.0);
    file
}

/// Ids of tokens that begin a word.
fn word_beginnings(bpe: &Bpe) -> BTreeSet<usize> {
    let blank = super::bpe::letter(b' ');
    let is_beginning = |token: &str| {
        let mut letters = token.chars();
        match letters.next() {
            Some(first) if first == blank => letters.next().is_some_and(|letter| letter.is_ascii_alphabetic()),
            Some(first) => first.is_ascii_uppercase(),
            None => false,
        }
    };
    let found = bpe.tokens.iter().enumerate().filter(|(_, token)| is_beginning(token));
    found.map(|(id, _)| id).collect()
}
