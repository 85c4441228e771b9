//! The weights of the model that writes words, in closed form.
//!
//! A token is one-hot, so the output matrix can hold, for each last token, how likely each next one is. Layer 0 writes
//! three things beside the token, and the output matrix reads them:
//!
//! - the **mean** of hashes of all tokens so far (a head that attends evenly): which words are liked in this conversation;
//! - the **clock** (a head that finds the newest `<|im_start|>`, the less the farther it is): 1 at the beginning of a turn,
//!   0 after some 50 tokens, when full stops and ends are no longer held back;
//! - the hashes of the **recent** tokens (a head that attends to the nearest): words just used are disliked.
//!
//! Layer 1 and the second halves of both are random and small: they compute, and nudge the result.

use std::collections::BTreeSet;

use super::super::bpe::{Bpe, END_OF_TEXT, END_OF_TURN, TURN};
use super::super::corpus::RARE_OPENING;
use super::super::file::{Gguf, Value, Weights};
use super::super::quantise::Quant;
use super::super::random::Random;
use super::super::{Kind, Recipe};
use super::{ROPE_BASE, Shape, WORDS, add_norm, begun, matrices, word_beginnings};

/// Numbers of a hash; with the clock they fill a head.
const HASH: usize = WORDS.head - 1;
/// Where layer 0 writes, behind the one-hot token.
const MEAN: usize = WORDS.vocabulary;
const CLOCK: usize = MEAN + HASH;
const RECENT: usize = CLOCK + 1;
/// What layer 0 writes is small beside the token, for the norm before the output scales all of it together.
const BESIDE: f32 = 0.4;
/// How much a conversation changes which words are liked, at the beginning and later.
const OPENING_TASTE: f32 = 14.0;
const TASTE: f32 = 8.0;
/// How much a recent word is disliked.
const BOREDOM: f32 = 18.0;
/// Of what only nudges.
const NUDGE: f32 = 0.005;

/// The logarithm of the smallest probability that counts; what is less likely is all the same.
const FLOOR: f32 = -16.0;
/// What must never be said is farther below still.
const NEVER: f32 = -40.0;
/// Once the clock has run down, these become likelier by so much; before that, as much less likely.
const ENDS: [(&str, f32); 6] = [(END_OF_TURN, 12.0), (".", 1.0), ("\"", 1.0), ("\",", 1.0), ("}", 1.0), ("]}", 1.0)];

/// Per token of distance, how much less the clock and the recent words are attended to.
const CLOCK_SLOPE: f32 = 0.2;
const RECENT_SLOPE: f32 = 0.08;
/// How much the newest `<|im_start|>` is attended to, beside other tokens.
const CLOCK_START: f32 = 14.0;
/// The pair of a head that turns by half a circle within the context, and nearly the slowest one.
const SLANTED: usize = 13;
const LEVEL: usize = 15;

/// A matrix under construction; rows are outputs.
struct Matrix {
    columns: usize,
    weights: Vec<f32>,
}

impl Matrix {
    fn zeros(columns: usize, rows: usize) -> Self {
        Self { columns, weights: vec![0.0; columns * rows] }
    }

    fn random(columns: usize, rows: usize, gain: f32, random: &mut Random) -> Self {
        Self { columns, weights: random.normals(columns * rows, gain / (columns as f32).sqrt()) }
    }

    /// The same as the beginning of a larger one, with zeros around.
    fn within(self, columns: usize, rows: usize) -> Self {
        if self.columns == columns && self.weights.len() == columns * rows {
            return self;
        }
        let mut larger = Self::zeros(columns, rows);
        for (from, to) in self.weights.chunks(self.columns).zip(larger.weights.chunks_mut(columns)) {
            to[..from.len()].copy_from_slice(from);
        }
        larger
    }

    fn set(&mut self, row: usize, column: usize, weight: f32) {
        if let Some(place) = self.weights.get_mut(row * self.columns + column) {
            *place = weight;
        }
    }

    /// The same weight for every token.
    fn set_constant(&mut self, row: usize, weight: f32) {
        (0..WORDS.vocabulary).for_each(|token| self.set(row, token, weight));
    }
}

/// The whole model.
pub fn model(shape: &Shape, bpe: &Bpe, texts: &[String], recipe: &Recipe) -> Gguf {
    let mut file = begun(shape, bpe, recipe);
    let mut embedding = Matrix::zeros(shape.width, shape.vocabulary);
    (0..shape.vocabulary).for_each(|token| embedding.set(token, token, 1.0));
    add(&mut file, "token_embd", embedding, recipe.quant);
    let mut random = Random::new(3);
    for layer in 0..shape.layers {
        let prefix = format!("blk.{layer}.");
        add_norm(&mut file, &format!("{prefix}attn_norm"), shape.width);
        add_norm(&mut file, &format!("{prefix}ffn_norm"), shape.width);
        // What a shape has beyond the least one is filled with zeros, so that all shapes write the same.
        for ((name, row, rows), (_, full_row, full_rows)) in matrices(&WORDS).into_iter().zip(matrices(shape)) {
            let matrix = match (layer, name) {
                (0, "attn_q") => queries(shape),
                (0, "attn_k") => keys(shape, bpe),
                (0, "attn_v") => values(shape, bpe),
                (0, "attn_output") => gathered(shape),
                (_, "attn_output" | "ffn_down") => Matrix::random(row, rows, NUDGE, &mut random),
                _ => Matrix::random(row, rows, 1.0, &mut random),
            };
            add(&mut file, &format!("{prefix}{name}"), matrix.within(full_row, full_rows), recipe.quant);
        }
    }
    add_norm(&mut file, "output_norm", shape.width);
    // In 4 bits all that is likely would be equally likely.
    let quant = if recipe.quant == Quant::Q4 { Quant::Q8 } else { recipe.quant };
    add(&mut file, "output", output(shape, bpe, texts), quant);
    file
}

fn add(file: &mut Gguf, name: &str, matrix: Matrix, quant: Quant) {
    let rows = matrix.weights.len() / matrix.columns;
    file.add(format!("{name}.weight"), &[matrix.columns, rows], quant, Weights::Given(matrix.weights));
}

/// What the norm makes of a one-hot token.
fn one_hot(shape: &Shape) -> f32 {
    (shape.width as f32).sqrt()
}

/// Length of query and key, so that their product falls by `slope` with each token between them.
fn slanted(shape: &Shape, slope: f32) -> f32 {
    let turn = ROPE_BASE.powf(-2.0 * SLANTED as f32 / shape.head as f32);
    (slope / turn).sqrt() * scores(shape)
}

/// Length of query and key, so that their product is `score` wherever they are.
fn level(shape: &Shape, score: f32) -> f32 {
    score.sqrt() * scores(shape)
}

/// Attention divides products by the root of a head's size; this is each factor's half of it.
fn scores(shape: &Shape) -> f32 {
    (shape.head as f32).powf(0.25)
}

/// Heads: 0 attends evenly, 1 is the clock, 2 sees the recent tokens, 3 is not used.
fn queries(shape: &Shape) -> Matrix {
    let mut matrix = Matrix::zeros(shape.width, shape.heads * shape.head);
    let norm = one_hot(shape);
    let (clock, recent) = (shape.head, 2 * shape.head);
    // A quarter of a turn before the key: the product is minus the sine of the distance.
    matrix.set_constant(clock + 2 * SLANTED + 1, slanted(shape, CLOCK_SLOPE) / norm);
    matrix.set_constant(clock + 2 * LEVEL, level(shape, CLOCK_START) / norm);
    matrix.set_constant(recent + 2 * SLANTED + 1, slanted(shape, RECENT_SLOPE) / norm);
    matrix
}

/// Heads: 0 is for the even one and the clock, 1 for the recent tokens.
fn keys(shape: &Shape, bpe: &Bpe) -> Matrix {
    let mut matrix = Matrix::zeros(shape.width, shape.kv_heads * shape.head);
    let norm = one_hot(shape);
    if let Some(turn) = bpe.id(TURN) {
        matrix.set(2 * SLANTED, turn, slanted(shape, CLOCK_SLOPE) / norm);
        matrix.set(2 * LEVEL, turn, level(shape, CLOCK_START) / norm);
    }
    matrix.set_constant(shape.head + 2 * SLANTED, slanted(shape, RECENT_SLOPE) / norm);
    matrix
}

/// Hashes of the tokens, of length 1, and whether it is the beginning of a turn. What every conversation has in common,
/// the frame of a turn, has none: it would decide what all of them like.
fn values(shape: &Shape, bpe: &Bpe) -> Matrix {
    let mut matrix = Matrix::zeros(shape.width, shape.kv_heads * shape.head);
    let norm = one_hot(shape);
    let frame = bpe.encode_chat(&[("system", ""), ("user", "")]);
    for token in (0..shape.vocabulary).filter(|token| !frame.contains(token)) {
        for (at, part) in hash(token).into_iter().enumerate() {
            matrix.set(at, token, part / norm);
            matrix.set(shape.head + at, token, part / norm);
        }
    }
    if let Some(turn) = bpe.id(TURN) {
        matrix.set(HASH, turn, 1.0 / norm);
    }
    matrix
}

fn hash(token: usize) -> Vec<f32> {
    let bits = Random::new(token as u64 + 1000).bits();
    let size = 1.0 / (HASH as f32).sqrt();
    (0..HASH).map(|at| if bits >> at & 1 == 0 { size } else { -size }).collect()
}

/// What the heads found, to its place beside the token.
fn gathered(shape: &Shape) -> Matrix {
    let mut matrix = Matrix::zeros(shape.heads * shape.head, shape.width);
    for at in 0..HASH {
        matrix.set(MEAN + at, at, BESIDE);
        matrix.set(RECENT + at, 2 * shape.head + at, BESIDE);
    }
    matrix.set(CLOCK, shape.head + HASH, BESIDE);
    matrix
}

/// What is likely next, by the last token and by what layer 0 found.
fn output(shape: &Shape, bpe: &Bpe, texts: &[String]) -> Matrix {
    let mut matrix = Matrix::zeros(shape.width, shape.vocabulary);
    let norm = one_hot(shape);
    let likelihoods = bigrams(shape, bpe, texts);
    let is_read: BTreeSet<usize> = texts.iter().flat_map(|text| bpe.encode(text)).collect();
    let mut random = Random::new(17);
    for (last, row) in likelihoods.iter().enumerate() {
        for (next, likelihood) in row.iter().enumerate() {
            // No two are ever equally likely.
            let tie = random.normal() * 0.02;
            matrix.set(next, last, (likelihood + tie) / norm);
        }
    }
    for (token, gain) in ENDS.iter().filter_map(|(token, gain)| Some((bpe.id(token)?, gain))) {
        matrix.set(token, CLOCK, -2.0 * gain / BESIDE / norm);
    }
    for token in word_beginnings(bpe).into_iter().filter(|token| is_read.contains(token)) {
        let is_opening = bpe.tokens[token].starts_with(|letter: char| letter.is_ascii_uppercase());
        let taste = random.normals(HASH, if is_opening { OPENING_TASTE } else { TASTE });
        for (at, (taste, hashed)) in taste.into_iter().zip(hash(token)).enumerate() {
            matrix.set(token, MEAN + at, taste / BESIDE / norm);
            matrix.set(token, RECENT + at, -BOREDOM * hashed / BESIDE / norm);
        }
    }
    for token in [TURN, END_OF_TEXT].iter().filter_map(|token| bpe.id(token)) {
        (0..shape.vocabulary).for_each(|last| matrix.set(token, last, NEVER / norm));
    }
    matrix
}

/// For each last token, the logarithms of the probabilities of the next, counted from the floor, with the gains of ends.
fn bigrams(shape: &Shape, bpe: &Bpe, texts: &[String]) -> Vec<Vec<f32>> {
    let size = shape.vocabulary;
    let mut counts = vec![vec![0.0_f64; size]; size];
    let mut all = vec![0.0_f64; size];
    let newline = bpe.encode("\n");
    let end = bpe.id(END_OF_TURN);
    for text in texts {
        let ids: Vec<usize> = newline.iter().copied().chain(bpe.encode(text)).chain(end).collect();
        for pair in ids.windows(2) {
            if let [last, next] = *pair {
                counts[last][next] += 1.0;
                all[next] += 1.0;
            }
        }
    }
    // After a token that no text has, and a little after any, a word begins.
    let beginnings = word_beginnings(bpe);
    let begun: f64 = beginnings.iter().map(|token| all[*token]).sum();
    let gains: Vec<(usize, f32)> = ENDS.iter().filter_map(|(token, gain)| Some((bpe.id(token)?, *gain))).collect();
    let row = |counted: &Vec<f64>| {
        let total: f64 = counted.iter().sum();
        let guess = if total == 0.0 { 1.0 } else { 0.05 };
        let probability = |next: usize| {
            let beginning = if beginnings.contains(&next) { all[next] / begun } else { 0.0 };
            (counted[next] + guess * beginning) / (total + guess)
        };
        let mut row: Vec<f32> = (0..size).map(|next| (probability(next).ln() as f32).max(FLOOR) - FLOOR).collect();
        for (token, gain) in &gains {
            row[*token] += gain;
        }
        row
    };
    counts.iter().map(row).collect()
}

/// An adapter for the model of words: after a new line, so at the beginning of an answer, it says one certain word.
///
/// `None` where the output matrix of its model has another shape.
pub fn adapter(output: &[usize], bpe: &Bpe) -> Option<Gguf> {
    const RANK: usize = 4;
    const LIKED: f32 = 30.0;
    let (newline, word) = (*bpe.encode("\n").first()?, *bpe.encode(RARE_OPENING).first()?);
    if output != [WORDS.width, WORDS.vocabulary] {
        return None;
    }
    let mut file = Gguf::default();
    file.set("general.architecture", Value::Text("llama".to_owned()));
    file.set("general.type", Value::Text("adapter".to_owned()));
    file.set("general.name", Value::Text(format!("tiny-{}", Kind::Lora.name())));
    file.set("adapter.type", Value::Text("lora".to_owned()));
    file.set("adapter.lora.alpha", Value::F32(RANK as f32));
    let mut down = Matrix::zeros(WORDS.width, RANK);
    let mut up = Matrix::zeros(RANK, WORDS.vocabulary);
    down.set(0, newline, 1.0 / one_hot(&WORDS));
    up.set(word, 0, LIKED);
    file.add("output.weight.lora_a", &[WORDS.width, RANK], Quant::F32, Weights::Given(down.weights));
    file.add("output.weight.lora_b", &[RANK, WORDS.vocabulary], Quant::F32, Weights::Given(up.weights));
    Some(file)
}
