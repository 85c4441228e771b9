//! Plain forward passes of the models made here, slow and easy to check: what an engine is compared with.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::bert;
use super::bpe::{Bpe, END_OF_TURN, SPECIALS};
use super::chat::{self, Shape};
use super::file::Gguf;
use super::wordpiece::WordPiece;
use super::{Kind, Recipe};

/// The tensors of a model, as a reader of its file sees them.
struct Tensors(BTreeMap<String, Vec<f32>>);

impl Tensors {
    fn of(model: &Gguf) -> Self {
        Self(model.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.stored())).collect())
    }

    fn get(&self, name: &str) -> Result<&[f32]> {
        self.0.get(name).map(Vec::as_slice).with_context(|| format!("the model has no {name}"))
    }

    fn row(&self, name: &str, row: usize, width: usize) -> Result<&[f32]> {
        let rows = self.get(name)?;
        rows.get(row * width..(row + 1) * width).with_context(|| format!("{name} has no row {row}"))
    }

    /// `name.weight` times `x`, plus `name.bias` where there is one.
    fn linear(&self, name: &str, x: &[f32]) -> Result<Vec<f32>> {
        let rows = self.get(&format!("{name}.weight"))?.chunks(x.len());
        let mut out: Vec<f32> = rows.map(|row| dot(row, x)).collect();
        if let Some(bias) = self.0.get(&format!("{name}.bias")) {
            add(&mut out, bias, 1.0);
        }
        Ok(out)
    }
}

/// Eight at a time: in a build without optimisation the tests take a third of the time.
fn dot(one: &[f32], other: &[f32]) -> f32 {
    let ((ones, rest), (others, other_rest)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let mut sum = 0.0;
    for ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) in ones.iter().zip(others) {
        sum += (a * i + b * j + c * k + d * l) + (e * m + f * n + g * o + h * p);
    }
    sum + rest.iter().zip(other_rest).map(|(one, other)| one * other).sum::<f32>()
}

fn add(to: &mut [f32], what: &[f32], times: f32) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what * times);
}

fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - most).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// What `query` finds among `keys`, as the weighted mean of the values; vectors may hold several heads, one begins at `at`.
fn attend(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>], at: usize) -> Vec<f32> {
    let size = query.len();
    let part = |whole: &[f32]| whole.get(at..at + size).map(<[f32]>::to_vec).unwrap_or_default();
    let mut scores: Vec<f32> = keys.iter().map(|key| dot(query, &part(key)) / (size as f32).sqrt()).collect();
    softmax(&mut scores);
    let mut found = vec![0.0; size];
    values.iter().zip(scores).for_each(|(value, score)| add(&mut found, &part(value), score));
    found
}

/// A model that chats, with what it has seen of one conversation.
pub struct Chat {
    tensors: Tensors,
    bpe: Bpe,
    shape: Shape,
    /// Of each layer.
    seen: Vec<Seen>,
}

/// What a layer has seen, by position.
#[derive(Clone, Default)]
struct Seen {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl Chat {
    /// The tiny model in words, before any conversation.
    pub fn new(recipe: &Recipe) -> Result<Self> {
        let shape = chat::WORDS;
        let seen = vec![Seen::default(); shape.layers];
        Ok(Self { tensors: Tensors::of(&recipe.model()?), bpe: super::tokenizer(), shape, seen })
    }

    /// The answer of greedy decoding, and whether it ended by itself within `most` tokens.
    pub fn answer(&mut self, turns: &[(&str, &str)], most: usize) -> Result<(Vec<usize>, String, bool)> {
        self.seen.iter_mut().for_each(|seen| *seen = Seen::default());
        let end = self.bpe.id(END_OF_TURN);
        let mut logits = Vec::new();
        for token in self.bpe.encode_chat(turns) {
            logits = self.step(token)?;
        }
        let mut said = Vec::new();
        while said.len() < most {
            let next = best(&logits);
            if Some(next) == end {
                let text = self.bpe.decode(&said);
                return Ok((said, text, true));
            }
            said.push(next);
            logits = self.step(next)?;
        }
        let text = self.bpe.decode(&said);
        Ok((said, text, false))
    }

    /// Reads one more token; the logits of the next.
    fn step(&mut self, token: usize) -> Result<Vec<f32>> {
        let mut x = self.tensors.row("token_embd.weight", token, self.shape.width)?.to_vec();
        for layer in 0..self.shape.layers {
            let found = self.attention(layer, &x)?;
            add(&mut x, &found, 1.0);
            let normed = self.normed(&format!("blk.{layer}.ffn_norm"), &x)?;
            let gate = self.tensors.linear(&format!("blk.{layer}.ffn_gate"), &normed)?;
            let mut inner = self.tensors.linear(&format!("blk.{layer}.ffn_up"), &normed)?;
            inner.iter_mut().zip(gate).for_each(|(inner, gate)| *inner *= gate / (1.0 + (-gate).exp()));
            add(&mut x, &self.tensors.linear(&format!("blk.{layer}.ffn_down"), &inner)?, 1.0);
        }
        self.tensors.linear("output", &self.normed("output_norm", &x)?)
    }

    fn attention(&mut self, layer: usize, x: &[f32]) -> Result<Vec<f32>> {
        let normed = self.normed(&format!("blk.{layer}.attn_norm"), x)?;
        let part = |name: &str| self.tensors.linear(&format!("blk.{layer}.{name}"), &normed);
        let (mut queries, mut key, value) = (part("attn_q")?, part("attn_k")?, part("attn_v")?);
        let seen = self.seen.get_mut(layer).context("no such layer")?;
        let position = seen.keys.len();
        turn(&mut queries, position, self.shape.head);
        turn(&mut key, position, self.shape.head);
        seen.keys.push(key);
        seen.values.push(value);
        let shared = self.shape.heads / self.shape.kv_heads;
        let heads = queries.chunks(self.shape.head).enumerate();
        let found: Vec<f32> = heads
            .flat_map(|(head, query)| attend(query, &seen.keys, &seen.values, head / shared * self.shape.head))
            .collect();
        self.tensors.linear(&format!("blk.{layer}.attn_output"), &found)
    }

    fn normed(&self, name: &str, x: &[f32]) -> Result<Vec<f32>> {
        let size = (dot(x, x) / x.len() as f32 + chat::EPSILON).sqrt();
        let weights = self.tensors.get(&format!("{name}.weight"))?;
        Ok(x.iter().zip(weights).map(|(x, weight)| x / size * weight).collect())
    }
}

/// The likeliest token; never a special but the end.
fn best(logits: &[f32]) -> usize {
    let ends = SPECIALS.iter().position(|special| *special == END_OF_TURN);
    let ranked = logits.iter().enumerate().filter(|(id, _)| *id >= SPECIALS.len() || Some(*id) == ends);
    ranked.max_by(|one, other| one.1.total_cmp(other.1)).map_or(0, |(id, _)| id)
}

/// Turns neighbouring pairs of each head by an angle that grows with the position.
fn turn(heads: &mut [f32], position: usize, head: usize) {
    for (at, pair) in heads.chunks_mut(2).enumerate() {
        let slowness = chat::ROPE_BASE.powf(-2.0 * (at % (head / 2)) as f32 / head as f32);
        let (sine, cosine) = (position as f32 * slowness).sin_cos();
        if let [first, second] = pair {
            (*first, *second) = (*first * cosine - *second * sine, *first * sine + *second * cosine);
        }
    }
}

/// A model that embeds or reranks.
pub struct Bert {
    tensors: Tensors,
    pieces: WordPiece,
    heads: usize,
}

impl Bert {
    /// The model of a recipe.
    pub fn new(recipe: &Recipe) -> Result<Self> {
        let heads = bert::heads(recipe.kind);
        Ok(Self { tensors: Tensors::of(&recipe.model()?), pieces: WordPiece::new(), heads })
    }

    /// The vector of a text: the mean of all tokens, of length 1.
    pub fn embed(&self, text: &str) -> Result<Vec<f32>> {
        let mut ids = self.marked(&[text]);
        ids.push(self.pieces.id("[SEP]"));
        let rows = self.rows(&ids)?;
        let mut mean = vec![0.0; bert::WIDTH];
        rows.iter().for_each(|row| add(&mut mean, row, 1.0));
        let length = dot(&mean, &mean).sqrt();
        Ok(mean.into_iter().map(|part| part / length).collect())
    }

    /// The score of a document for a question.
    pub fn score(&self, question: &str, document: &str) -> Result<f32> {
        let rows = self.rows(&self.marked(&[question, document]))?;
        let first = rows.first().context("no token at all")?;
        let dense: Vec<f32> = self.tensors.linear("cls", first)?.into_iter().map(f32::tanh).collect();
        self.tensors.linear("cls.output", &dense)?.first().copied().context("no score at all")
    }

    /// The ids of texts, with the marks before and between them. Behind a pair llama-server has no mark.
    fn marked(&self, texts: &[&str]) -> Vec<usize> {
        let mut ids = Vec::new();
        for text in texts {
            ids.push(self.pieces.id(if ids.is_empty() { "[CLS]" } else { "[SEP]" }));
            ids.extend(self.pieces.encode(text));
        }
        ids
    }

    fn rows(&self, ids: &[usize]) -> Result<Vec<Vec<f32>>> {
        let mut rows = Vec::new();
        for (position, id) in ids.iter().enumerate() {
            let mut row = self.tensors.row("token_embd.weight", *id, bert::WIDTH)?.to_vec();
            add(&mut row, self.tensors.row("position_embd.weight", position, bert::WIDTH)?, 1.0);
            add(&mut row, self.tensors.row("token_types.weight", 0, bert::WIDTH)?, 1.0);
            rows.push(self.normed("token_embd_norm", &row)?);
        }
        for layer in 0..bert::LAYERS {
            rows = self.layer(layer, &rows)?;
        }
        Ok(rows)
    }

    fn layer(&self, layer: usize, rows: &[Vec<f32>]) -> Result<Vec<Vec<f32>>> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let all = |part: &str| rows.iter().map(|row| self.tensors.linear(&name(part), row)).collect::<Result<Vec<_>>>();
        let (queries, keys, values) = (all("attn_q")?, all("attn_k")?, all("attn_v")?);
        let size = bert::WIDTH / self.heads;
        let mut after = Vec::new();
        for (row, query) in rows.iter().zip(queries) {
            let heads = query.chunks(size).enumerate();
            let found: Vec<f32> = heads.flat_map(|(head, query)| attend(query, &keys, &values, head * size)).collect();
            let mut sum = self.tensors.linear(&name("attn_output"), &found)?;
            add(&mut sum, row, 1.0);
            let middle = self.normed(&name("attn_output_norm"), &sum)?;
            let inner: Vec<f32> = self.tensors.linear(&name("ffn_up"), &middle)?.into_iter().map(gelu).collect();
            let mut sum = self.tensors.linear(&name("ffn_down"), &inner)?;
            add(&mut sum, &middle, 1.0);
            after.push(self.normed(&name("layer_output_norm"), &sum)?);
        }
        Ok(after)
    }

    fn normed(&self, name: &str, x: &[f32]) -> Result<Vec<f32>> {
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let centred: Vec<f32> = x.iter().map(|x| x - mean).collect();
        let size = (dot(&centred, &centred) / x.len() as f32 + bert::EPSILON).sqrt();
        let mut out: Vec<f32> = centred.iter().map(|x| x / size).collect();
        let weights = self.tensors.get(&format!("{name}.weight"))?;
        out.iter_mut().zip(weights).for_each(|(out, weight)| *out *= weight);
        add(&mut out, self.tensors.get(&format!("{name}.bias"))?, 1.0);
        Ok(out)
    }
}

fn gelu(x: f32) -> f32 {
    const SLOPE: f32 = 0.797_884_6;
    0.5 * x * (1.0 + (SLOPE * (x + 0.044_715 * x * x * x)).tanh())
}

/// The cosine of two vectors, for whoever compares them.
pub fn cosine(one: &[f32], other: &[f32]) -> f32 {
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

/// The reference of the tiny model that embeds, as most tests use it.
pub fn embedder() -> Result<Bert> {
    Bert::new(&Recipe::tiny(Kind::Embed))
}

/// The reference of the tiny model that reranks, as most tests use it.
pub fn reranker() -> Result<Bert> {
    Bert::new(&Recipe::tiny(Kind::Rerank))
}
