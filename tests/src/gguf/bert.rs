//! Models that embed and that rerank: BERT with computed words and small random layers.
//!
//! To embed: words that mean the same have nearly the same vector, what says nothing has a direction of its own, which
//! the last norm leaves out, and the mean is taken of the rest.
//!
//! To rerank: the score grows with the share of words that have a partner of the same meaning elsewhere in the pair of
//! question and document. In layer 0 each word looks for its partner: alike in meaning, at another position. If there is
//! none, it finds the marks. In layer 1 all words are attended to, and the first mark takes the mean of what they found.

use super::corpus;
use super::file::{Gguf, Value, Weights};
use super::quantise::Quant;
use super::random::Random;
use super::wordpiece::{MARKS, Meaning, WordPiece};
use super::{Kind, Recipe};

/// Numbers that stand for a token.
pub const WIDTH: usize = 96;
/// Positions.
pub const CONTEXT: usize = 512;
/// How many layers.
pub const LAYERS: usize = 2;
/// Inner numbers of a layer's second half.
const INNER: usize = 192;
/// Added to the variance of a norm.
pub const EPSILON: f32 = 1e-12;

/// The places in a vector of the model that reranks.
const MEANING: usize = 48;
const POSITION: usize = 36;
const IS_WORD: usize = MEANING + POSITION;
const IS_MARK: usize = IS_WORD + 1;
const FOUND: usize = IS_WORD + 2;
const SHARE: usize = IS_WORD + 4;
/// How much a word says that it is one, beside its meaning.
const WORD: f32 = 0.3;
/// Scores in layer 0: of the same meaning, taken off for the same position, of a mark.
const ALIKE: f32 = 20.0;
const SELF: f32 = 9.0;
const NONE: f32 = 14.0;
/// In layer 1: of a word, where any other has 0.
const COUNTED: f32 = 8.0;
/// How loud a finding is.
const LOUD: f32 = 2.0;

/// The heads of a kind's layers. To look for partners takes all of the width.
pub fn heads(kind: Kind) -> usize {
    if kind == Kind::Rerank { 1 } else { 4 }
}

/// The model of a recipe.
pub fn model(recipe: &Recipe) -> Gguf {
    const MEAN: u32 = 1;
    const RANK: u32 = 4;
    let pieces = WordPiece::new();
    let mut file = Gguf::default();
    super::begin(&mut file, "bert", recipe);
    for (key, value) in [
        ("context_length", CONTEXT),
        ("embedding_length", WIDTH),
        ("block_count", LAYERS),
        ("feed_forward_length", INNER),
        ("attention.head_count", heads(recipe.kind)),
        ("vocab_size", pieces.tokens.len()),
    ] {
        file.set(format!("bert.{key}"), Value::U32(value as u32));
    }
    file.set("bert.attention.layer_norm_epsilon", Value::F32(EPSILON));
    file.set("bert.attention.causal", Value::Bool(false));
    file.set("bert.pooling_type", Value::U32(if recipe.kind == Kind::Rerank { RANK } else { MEAN }));
    set_tokenizer(&mut file, &pieces);
    if recipe.kind == Kind::Rerank {
        add_reranker(&mut file, &pieces, recipe.quant);
    } else {
        add_embedder(&mut file, &pieces, recipe.quant);
    }
    file
}

fn set_tokenizer(file: &mut Gguf, pieces: &WordPiece) {
    const NORMAL: i32 = 1;
    const UNKNOWN: i32 = 2;
    const CONTROL: i32 = 3;
    let kind = |token: &String| match token.as_str() {
        "[UNK]" => UNKNOWN,
        token if MARKS.contains(&token) => CONTROL,
        _ => NORMAL,
    };
    file.set("tokenizer.ggml.model", Value::Text("bert".to_owned()));
    file.set("tokenizer.ggml.pre", Value::Text("default".to_owned()));
    file.set("tokenizer.ggml.token_type_count", Value::U32(2));
    file.set("tokenizer.ggml.token_type", Value::I32s(pieces.tokens.iter().map(kind).collect()));
    file.set("tokenizer.ggml.tokens", Value::Texts(pieces.tokens.clone()));
    for (name, mark) in [
        ("bos", "[CLS]"),
        ("eos", "[SEP]"),
        ("unknown", "[UNK]"),
        ("seperator", "[SEP]"),
        ("padding", "[PAD]"),
        ("mask", "[MASK]"),
    ] {
        file.set(format!("tokenizer.ggml.{name}_token_id"), Value::U32(pieces.id(mark) as u32));
    }
}

/// The parts of a layer: name, row length, rows.
const PARTS: [(&str, usize, usize); 6] = [
    ("attn_q", WIDTH, WIDTH),
    ("attn_k", WIDTH, WIDTH),
    ("attn_v", WIDTH, WIDTH),
    ("attn_output", WIDTH, WIDTH),
    ("ffn_up", WIDTH, INNER),
    ("ffn_down", INNER, WIDTH),
];

/// A linear map under construction.
struct Linear {
    columns: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    fn zeros(columns: usize, rows: usize) -> Self {
        Self { columns, weights: vec![0.0; columns * rows], bias: vec![0.0; rows] }
    }

    fn random(columns: usize, rows: usize, gain: f32, random: &mut Random) -> Self {
        let weights = random.normals(columns * rows, gain / (columns as f32).sqrt());
        Self { columns, weights, bias: random.normals(rows, gain * 0.05) }
    }

    fn set(&mut self, row: usize, column: usize, weight: f32) {
        self.weights[row * self.columns + column] = weight;
    }

    fn add_to(self, file: &mut Gguf, name: &str, quant: Quant) {
        let rows = self.bias.len();
        file.add(format!("{name}.weight"), &[self.columns, rows], quant, Weights::Given(self.weights));
        file.add(format!("{name}.bias"), &[rows], quant, Weights::Given(self.bias));
    }
}

fn add_norm(file: &mut Gguf, name: &str, weights: Vec<f32>) {
    file.add(format!("{name}.bias"), &[WIDTH], Quant::F32, Weights::Given(vec![0.0; WIDTH]));
    file.add(format!("{name}.weight"), &[WIDTH], Quant::F32, Weights::Given(weights));
}

/// The tables before the layers: of tokens, of positions, of the two types, of which only the first is used.
fn add_tables(file: &mut Gguf, tokens: Vec<f32>, positions: Vec<f32>, types: Vec<f32>, quant: Quant) {
    let count = tokens.len() / WIDTH;
    file.add("token_embd.weight", &[WIDTH, count], quant, Weights::Given(tokens));
    file.add("position_embd.weight", &[WIDTH, CONTEXT], Quant::F32, Weights::Given(positions));
    file.add("token_types.weight", &[WIDTH, 2], Quant::F32, Weights::Given(types));
    add_norm(file, "token_embd_norm", vec![1.0; WIDTH]);
}

/// Random, of length 1, with the mean 0.
fn direction(word: &str, size: usize) -> Vec<f32> {
    unit(Random::of(word, 23).normals(size, 1.0))
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let mean = vector.iter().sum::<f32>() / vector.len() as f32;
    vector.iter_mut().for_each(|part| *part -= mean);
    let length = vector.iter().map(|part| part * part).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|part| *part /= length);
    vector
}

/// What a piece means, as a vector of length 1; mostly what its line means.
fn meaning(pieces: &WordPiece, id: usize, size: usize) -> Option<Vec<f32>> {
    const OWN: f32 = 0.4;
    let token = pieces.tokens.get(id)?;
    let own = direction(token, size);
    match pieces.meanings.get(id)? {
        Meaning::Nothing => None,
        Meaning::Own => Some(own),
        Meaning::Shared(line) => {
            let first = corpus::MEANINGS.get(*line).and_then(|words| words.first())?;
            let shared = direction(&format!("line of {first}"), size);
            Some(unit(shared.iter().zip(own).map(|(shared, own)| shared + OWN * own).collect()))
        }
    }
}

fn add_embedder(file: &mut Gguf, pieces: &WordPiece, quant: Quant) {
    const GAIN: f32 = 0.25;
    const FAINT: f32 = 0.02;
    const ASIDE: usize = 2;
    let mut random = Random::new(31);
    let mut tokens = Vec::new();
    for id in 0..pieces.tokens.len() {
        let meaning = meaning(pieces, id, WIDTH - ASIDE);
        let nothing = if meaning.is_none() { 0.7 } else { 0.0 };
        tokens.extend([nothing, -nothing]);
        tokens.extend(meaning.unwrap_or_else(|| random.normals(WIDTH - ASIDE, FAINT)));
    }
    let positions = random.normals(CONTEXT * WIDTH, FAINT);
    // All tokens have the type in common: it adds up where all else cancels out.
    let types = random.normals(2 * WIDTH, FAINT / 10.0);
    add_tables(file, tokens, positions, types, quant);
    for layer in 0..LAYERS {
        for (name, columns, rows) in PARTS {
            let gain = if matches!(name, "attn_output" | "ffn_down") { GAIN } else { 1.0 };
            let mut part = Linear::random(columns, rows, gain, &mut random);
            if matches!(name, "attn_v" | "ffn_up") {
                // What says nothing has nothing to tell the others.
                (0..rows).for_each(|row| (0..ASIDE).for_each(|column| part.set(row, column, 0.0)));
            }
            part.add_to(file, &format!("blk.{layer}.{name}"), quant);
        }
        add_norm(file, &format!("blk.{layer}.attn_output_norm"), vec![1.0; WIDTH]);
        let mut last = vec![1.0; WIDTH];
        if layer + 1 == LAYERS {
            last[..ASIDE].fill(0.0);
        }
        add_norm(file, &format!("blk.{layer}.layer_output_norm"), last);
    }
}

/// How much a mark says that it is none of the words, so that its vector is as long as theirs.
fn mark() -> f32 {
    (0.5 + WORD * WORD).sqrt()
}

/// What the first norm multiplies by.
fn first_norm() -> f32 {
    (WIDTH as f32 / (2.0 + 2.0 * WORD * WORD)).sqrt()
}

fn add_reranker(file: &mut Gguf, pieces: &WordPiece, quant: Quant) {
    const NUDGE: f32 = 0.02;
    let mut tokens = vec![0.0; pieces.tokens.len() * WIDTH];
    for (id, row) in tokens.chunks_mut(WIDTH).enumerate() {
        let meaning = meaning(pieces, id, MEANING);
        let is_word = if meaning.is_some() { WORD } else { -mark() };
        (row[IS_WORD], row[IS_MARK]) = (is_word, -is_word);
        row[..MEANING].copy_from_slice(&meaning.unwrap_or_else(|| vec![0.0; MEANING]));
    }
    let mut positions = vec![0.0; CONTEXT * WIDTH];
    for (position, row) in positions.chunks_mut(WIDTH).enumerate() {
        row[MEANING..IS_WORD].copy_from_slice(&direction(&format!("position {position}"), POSITION));
    }
    add_tables(file, tokens, positions, vec![0.0; 2 * WIDTH], quant);
    let mut random = Random::new(37);
    for layer in 0..LAYERS {
        for (name, columns, rows) in PARTS {
            let part = match (layer, name) {
                (_, "ffn_up") => Linear::random(columns, rows, 1.0, &mut random),
                (_, "ffn_down") => Linear::random(columns, rows, NUDGE, &mut random),
                (0, "attn_q") => partner(1.0),
                (0, "attn_k") => partner(-1.0),
                (_, "attn_v") => finding(layer),
                (_, "attn_output") => found(layer),
                _ => counted(name == "attn_q"),
            };
            part.add_to(file, &format!("blk.{layer}.{name}"), quant);
        }
        add_norm(file, &format!("blk.{layer}.attn_output_norm"), vec![1.0; WIDTH]);
        add_norm(file, &format!("blk.{layer}.layer_output_norm"), vec![1.0; WIDTH]);
    }
    add_head(file);
}

/// Query (side 1) and key (side -1) of a word: what it means, and where it is. A mark's key is liked by all.
fn partner(side: f32) -> Linear {
    let mut map = Linear::zeros(WIDTH, WIDTH);
    let size = |score: f32| (score * (WIDTH as f32).sqrt()).sqrt();
    let norm = first_norm();
    (0..MEANING).for_each(|at| map.set(at, at, size(ALIKE) / norm));
    (MEANING..IS_WORD).for_each(|at| map.set(at, at, side * size(SELF) / norm));
    if side > 0.0 {
        map.bias[IS_WORD] = size(NONE);
    } else {
        let step = size(NONE) / (mark() + WORD);
        map.set(IS_WORD, IS_MARK, step / norm);
        map.bias[IS_WORD] = step * WORD;
    }
    map
}

/// Query and key of layer 1: all attend to words.
fn counted(is_query: bool) -> Linear {
    let mut map = Linear::zeros(WIDTH, WIDTH);
    let size = (COUNTED * (WIDTH as f32).sqrt()).sqrt();
    if is_query {
        map.bias[0] = size;
    } else {
        map.set(0, IS_WORD, size / (mark() + WORD) / first_norm());
    }
    map
}

/// What is found: in layer 0 whether it is a word, in layer 1 whether it found one.
fn finding(layer: usize) -> Linear {
    let mut map = Linear::zeros(WIDTH, WIDTH);
    if layer == 0 {
        let step = 1.0 / (mark() + WORD);
        map.set(0, IS_WORD, step / first_norm());
        map.bias[0] = step * mark();
    } else {
        map.set(0, FOUND, 1.0 / LOUD);
    }
    map
}

/// Where it is written.
fn found(layer: usize) -> Linear {
    let mut map = Linear::zeros(WIDTH, WIDTH);
    let place = if layer == 0 { FOUND } else { SHARE };
    map.set(place, 0, LOUD);
    map.set(place + 1, 0, -LOUD);
    map
}

/// The score of the first mark: -4 where no word has a partner, about 4 where most have one.
fn add_head(file: &mut Gguf) {
    const STEEP: f32 = 12.0;
    const LOWEST: f32 = -4.0;
    let mut dense = Linear::zeros(WIDTH, WIDTH);
    dense.set(0, SHARE, 1.0 / LOUD);
    dense.add_to(file, "cls", Quant::F32);
    let mut score = Linear::zeros(WIDTH, 1);
    score.set(0, 0, STEEP);
    score.bias[0] = LOWEST;
    score.add_to(file, "cls.output", Quant::F32);
}
