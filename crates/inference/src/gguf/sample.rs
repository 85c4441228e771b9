//! Builds small GGUF files in memory, good ones and bad ones, for tests.

/// A value of an entry.
#[derive(Clone)]
pub(crate) enum Given {
    U32(u32),
    U64(u64),
    F32(f32),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    Bools(Vec<bool>),
    /// A type and what follows it, as it stands.
    Raw(u32, Vec<u8>),
}

impl From<&str> for Given {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u32> for Given {
    fn from(number: u32) -> Self {
        Self::U32(number)
    }
}

#[derive(Clone)]
pub(crate) struct Tensor {
    pub name: String,
    pub shape: Vec<u64>,
    pub number_type: u32,
    /// Where it is told to be, if not behind the one before.
    pub offset: Option<u64>,
}

#[derive(Clone)]
pub(crate) struct Sample {
    pub magic: [u8; 4],
    pub version: u32,
    pub entries: Vec<(String, Given)>,
    pub tensors: Vec<Tensor>,
    pub alignment: u64,
}

impl Sample {
    /// A file with neither entries nor tensors.
    pub fn empty() -> Self {
        Self { magic: *b"GGUF", version: 3, entries: Vec::new(), tensors: Vec::new(), alignment: 32 }
    }

    /// A llama of two layers.
    pub fn chat() -> Self {
        Self::empty()
            .with("general.architecture", "llama")
            .with("general.name", "Tiny Talker")
            .with("general.file_type", 15)
            .with("llama.context_length", 4096)
            .with("llama.embedding_length", 64)
            .with("llama.block_count", 2)
            .with("llama.feed_forward_length", 128)
            .with("llama.attention.head_count", 4)
            .with("llama.attention.head_count_kv", 2)
            .with("llama.rope.freq_base", Given::F32(10_000.0))
            .with("tokenizer.ggml.tokens", Given::Texts((0..50).map(|token| format!("t{token}")).collect()))
            .with("tokenizer.chat_template", "{% for tool in tools %}{% endfor %}{{ messages }}")
            .tensor("token_embd.weight", &[64, 50], 0)
            .tensor("blk.0.attn_q.weight", &[64, 64], 8)
            .tensor("blk.1.attn_q.weight", &[64, 64], 1)
            .tensor("output_norm.weight", &[64], 0)
    }

    /// A BERT with mean pooling.
    pub fn embedding() -> Self {
        Self::empty()
            .with("general.architecture", "bert")
            .with("bert.context_length", 512)
            .with("bert.embedding_length", 96)
            .with("bert.block_count", 2)
            .with("bert.attention.head_count", 4)
            .with("bert.pooling_type", 1)
            .tensor("token_embd.weight", &[96, 30], 1)
    }

    /// A LoRA adapter.
    pub fn adapter() -> Self {
        Self::empty()
            .with("general.architecture", "llama")
            .with("general.type", "adapter")
            .with("adapter.type", "lora")
            .tensor("blk.0.attn_q.weight.lora_a", &[64, 4], 0)
    }

    /// Sets an entry, in its old place where there is one.
    pub fn with(mut self, key: &str, value: impl Into<Given>) -> Self {
        let value = value.into();
        match self.entries.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1 = value,
            None => self.entries.push((key.to_owned(), value)),
        }
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.entries.retain(|(known, _)| known != key);
        self
    }

    pub fn tensor(mut self, name: &str, shape: &[u64], number_type: u32) -> Self {
        self.tensors.push(Tensor { name: name.to_owned(), shape: shape.to_vec(), number_type, offset: None });
        self
    }

    /// The header, and the weights as zeros.
    pub fn bytes(&self) -> Vec<u8> {
        let (mut bytes, data_bytes) = self.header();
        bytes.resize(bytes.len().next_multiple_of(self.alignment as usize) + data_bytes as usize, 0);
        bytes
    }

    /// The header alone, and how many bytes of weights it tells of.
    pub fn header(&self) -> (Vec<u8>, u64) {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            put_text(&mut bytes, key);
            put_value(&mut bytes, value);
        }
        let mut end = 0_u64;
        for tensor in &self.tensors {
            put_text(&mut bytes, &tensor.name);
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().for_each(|dimension| bytes.extend(dimension.to_le_bytes()));
            bytes.extend(tensor.number_type.to_le_bytes());
            let offset = tensor.offset.unwrap_or(end);
            bytes.extend(offset.to_le_bytes());
            let size = size_bytes(tensor);
            end = end.max(offset.saturating_add(size).min(16 << 20).next_multiple_of(self.alignment));
        }
        (bytes, end)
    }
}

/// Of the types that samples use; the others take nothing.
fn size_bytes(tensor: &Tensor) -> u64 {
    let elements = tensor.shape.iter().fold(1_u64, |product, dimension| product.wrapping_mul(*dimension));
    match tensor.number_type {
        0 => elements.saturating_mul(4),
        1 => elements.saturating_mul(2),
        8 => (elements / 32).saturating_mul(34),
        24 => elements,
        _ => 0,
    }
}

pub(crate) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &Given) {
    let mut kind = |kind: u32| bytes.extend(kind.to_le_bytes());
    match value {
        Given::U32(number) => {
            kind(4);
            bytes.extend(number.to_le_bytes());
        }
        Given::U64(number) => {
            kind(10);
            bytes.extend(number.to_le_bytes());
        }
        Given::F32(number) => {
            kind(6);
            bytes.extend(number.to_le_bytes());
        }
        Given::Text(text) => {
            kind(8);
            put_text(bytes, text);
        }
        Given::Texts(texts) => {
            put_array(bytes, 8, texts.len());
            texts.iter().for_each(|text| put_text(bytes, text));
        }
        Given::I32s(numbers) => {
            put_array(bytes, 5, numbers.len());
            numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
        Given::Bools(claims) => {
            put_array(bytes, 7, claims.len());
            bytes.extend(claims.iter().map(|claim| u8::from(*claim)));
        }
        Given::Raw(raw_kind, raw) => {
            kind(*raw_kind);
            bytes.extend(raw);
        }
    }
}

fn put_array(bytes: &mut Vec<u8>, kind: u32, length: usize) {
    bytes.extend(9_u32.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend((length as u64).to_le_bytes());
}
