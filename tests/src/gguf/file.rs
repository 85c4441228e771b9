//! A GGUF file as a value, and how it is written: header, metadata, tensor table, data. Version 3, little endian.
//!
//! Weights are written a piece at a time, so a large random model needs no more memory than a small one.

use std::io::{self, Write};

use super::quantise::{BLOCK, Quant};
use super::random::Random;

/// Where the data of a tensor begins is a multiple of this; the format's default.
const ALIGNMENT: u64 = 32;
/// Weights that are made and written at a time; a multiple of every block size.
const PIECE: usize = 1 << 16;

/// A value of the metadata, in the types that models use.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count, an id, a size.
    U32(u32),
    /// A list of token types.
    I32s(Vec<i32>),
    /// An epsilon, a base, a scale.
    F32(f32),
    /// A switch.
    Bool(bool),
    /// A name, a template.
    Text(String),
    /// Tokens, merges.
    Texts(Vec<String>),
}

/// The weights of a tensor.
#[derive(Clone, Debug)]
pub enum Weights {
    /// Given one by one.
    Given(Vec<f32>),
    /// Random, about zero, with this spread, from this seed; made when written.
    Random {
        /// Standard deviation.
        spread: f32,
        /// Of the generator.
        seed: u64,
    },
}

/// A named tensor; its dimensions are in GGUF's order, the innermost first.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// As llama.cpp calls it.
    pub name: String,
    /// Innermost first.
    pub dimensions: Vec<usize>,
    /// How it is stored.
    pub quant: Quant,
    /// What is stored.
    pub weights: Weights,
}

impl Tensor {
    /// How many weights it has.
    pub fn len(&self) -> usize {
        self.dimensions.iter().product()
    }

    /// Whether it has no weight at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All weights, as a reader of the file sees them: after the loss of its quantisation.
    pub fn stored(&self) -> Vec<f32> {
        self.quant.seen(&self.made())
    }

    fn made(&self) -> Vec<f32> {
        match &self.weights {
            Weights::Given(given) => given.clone(),
            Weights::Random { spread, seed } => Random::new(*seed).normals(self.len(), *spread),
        }
    }

    fn write_data(&self, out: &mut impl Write) -> io::Result<()> {
        let (mut random, spread, given) = match &self.weights {
            Weights::Given(given) => (Random::new(0), 0.0, given.as_slice()),
            Weights::Random { spread, seed } => (Random::new(*seed), *spread, [].as_slice()),
        };
        let mut bytes = Vec::new();
        let mut done = 0;
        while done < self.len() {
            let end = self.len().min(done + PIECE);
            let piece = match &self.weights {
                Weights::Given(_) => given.get(done..end).map(<[f32]>::to_vec).unwrap_or_default(),
                Weights::Random { .. } => random.normals(end - done, spread),
            };
            if piece.len() != end - done {
                return Err(io::Error::other(format!("{} has fewer weights than its shape says", self.name)));
            }
            bytes.clear();
            self.quant.encode(&piece, &mut bytes);
            out.write_all(&bytes)?;
            done = end;
        }
        Ok(())
    }
}

/// A whole file.
#[derive(Clone, Debug, Default)]
pub struct Gguf {
    /// Keys and values, in the order of the file.
    pub metadata: Vec<(String, Value)>,
    /// In the order of the file.
    pub tensors: Vec<Tensor>,
}

impl Gguf {
    /// Adds a value to the metadata.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        self.metadata.push((key.into(), value));
    }

    /// Adds a tensor. Vectors stay numbers of 32 bits, as llama.cpp wants; rows that are no blocks are halved.
    pub fn add(&mut self, name: impl Into<String>, dimensions: &[usize], quant: Quant, weights: Weights) {
        let has_blocks = dimensions.first().is_some_and(|row| row % BLOCK == 0);
        let quant = match quant {
            _ if dimensions.len() == 1 => Quant::F32,
            Quant::Q8 | Quant::Q4 if !has_blocks => Quant::F16,
            quant => quant,
        };
        self.tensors.push(Tensor { name: name.into(), dimensions: dimensions.to_vec(), quant, weights });
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The value of this key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Writes the file.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let head = self.head();
        out.write_all(&head)?;
        pad(out, head.len() as u64)?;
        for tensor in &self.tensors {
            tensor.write_data(out)?;
            pad(out, tensor.quant.bytes(tensor.len()))?;
        }
        out.flush()
    }

    fn head(&self) -> Vec<u8> {
        let mut head = b"GGUF".to_vec();
        head.extend(3_u32.to_le_bytes());
        put_length(&mut head, self.tensors.len());
        put_length(&mut head, self.metadata.len());
        for (key, value) in &self.metadata {
            put_text(&mut head, key);
            put_value(&mut head, value);
        }
        let mut offset = 0_u64;
        for tensor in &self.tensors {
            put_text(&mut head, &tensor.name);
            head.extend((tensor.dimensions.len() as u32).to_le_bytes());
            for dimension in &tensor.dimensions {
                put_length(&mut head, *dimension);
            }
            head.extend(tensor.quant.code().to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset += tensor.quant.bytes(tensor.len()).next_multiple_of(ALIGNMENT);
        }
        head
    }
}

fn pad(out: &mut impl Write, written: u64) -> io::Result<()> {
    let missing = written.next_multiple_of(ALIGNMENT) - written;
    out.write_all(&vec![0; missing as usize])
}

fn put_length(head: &mut Vec<u8>, length: usize) {
    head.extend((length as u64).to_le_bytes());
}

fn put_text(head: &mut Vec<u8>, text: &str) {
    put_length(head, text.len());
    head.extend(text.as_bytes());
}

fn put_value(head: &mut Vec<u8>, value: &Value) {
    const U32: u32 = 4;
    const I32: u32 = 5;
    const F32: u32 = 6;
    const BOOL: u32 = 7;
    const TEXT: u32 = 8;
    const ARRAY: u32 = 9;
    let put_type = |head: &mut Vec<u8>, code: u32| head.extend(code.to_le_bytes());
    match value {
        Value::U32(number) => {
            put_type(head, U32);
            head.extend(number.to_le_bytes());
        }
        Value::F32(number) => {
            put_type(head, F32);
            head.extend(number.to_le_bytes());
        }
        Value::Bool(is_on) => {
            put_type(head, BOOL);
            head.push(u8::from(*is_on));
        }
        Value::Text(text) => {
            put_type(head, TEXT);
            put_text(head, text);
        }
        Value::I32s(numbers) => {
            put_type(head, ARRAY);
            put_type(head, I32);
            put_length(head, numbers.len());
            numbers.iter().for_each(|number| head.extend(number.to_le_bytes()));
        }
        Value::Texts(texts) => {
            put_type(head, ARRAY);
            put_type(head, TEXT);
            put_length(head, texts.len());
            texts.iter().for_each(|text| put_text(head, text));
        }
    }
}
