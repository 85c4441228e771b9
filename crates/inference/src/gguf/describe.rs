//! From the lists of a header to what they mean.

use std::collections::BTreeSet;

use super::metadata::{Metadata, TEMPLATE, Value, bad};
use super::tensors::Tensors;
use super::{GgufError, Header, Kind, PerLayer, Pooling, SlidingWindow};

const MOST_LAYERS: u32 = 4_096;
const MOST_HEADS: u32 = 1 << 16;
/// llama.cpp counts positions with a sign.
const MOST_CONTEXT: u32 = 1 << 30;
/// Most numbers that stand for a token, between the halves of a layer, or in a key.
const MOST_LENGTH: u32 = 1 << 24;
/// Networks that read a text as a whole.
const ENCODERS: &[&str] = &[
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "eurobert",
    "t5encoder",
    "gemma-embedding",
];
/// Words in a template that only one with reasoning has.
const THINKING: &[&str] = &["<think>", "enable_thinking", "reasoning_content", "reasoning_effort"];

pub(super) fn header(metadata: &Metadata, tensors: &Tensors, file_bytes: u64) -> Result<Header, GgufError> {
    let is_adapter = metadata.text("general.type")? == Some("adapter");
    let architecture = match metadata.text("general.architecture")? {
        Some(architecture) => architecture.to_owned(),
        None if is_adapter => String::new(),
        None => return Err(GgufError::Missing { key: "general.architecture".to_owned() }),
    };
    let facts = Facts { metadata, architecture: &architecture };
    let pooling = facts.pooling()?;
    let kind = facts.kind(pooling)?;
    let layers = facts.bounded("block_count", MOST_LAYERS)?.unwrap_or(0);
    if layers == 0 && !matches!(kind, Kind::Adapter | Kind::Projector) {
        return Err(GgufError::Missing { key: format!("{architecture}.block_count") });
    }
    let heads = facts.per_layer("attention.head_count")?;
    let kv_heads = facts.per_layer("attention.head_count_kv")?;
    let kv_heads = if kv_heads.0.is_empty() { heads.clone() } else { kv_heads };
    let embedding_length = facts.bounded("embedding_length", MOST_LENGTH)?.unwrap_or(0);
    let share = embedding_length.checked_div(heads.most()).unwrap_or(0);
    let template = facts.template();
    Ok(Header {
        name: metadata.text("general.name")?.map(str::to_owned),
        kind,
        quantisation: facts.quantisation(tensors)?,
        parameters: tensors.parameters,
        context_tokens: facts.bounded("context_length", MOST_CONTEXT)?.unwrap_or(0),
        embedding_length,
        feed_forward_length: facts.per_layer_of("feed_forward_length", MOST_LENGTH)?.most(),
        layers,
        heads,
        kv_heads,
        key_length: facts.bounded("attention.key_length", MOST_LENGTH)?.unwrap_or(share),
        value_length: facts.bounded("attention.value_length", MOST_LENGTH)?.unwrap_or(share),
        vocabulary: facts.vocabulary(tensors)?,
        sliding_window: facts.sliding_window(layers)?,
        pooling,
        is_encoder: facts.is_encoder(),
        state_bytes: facts.state_bytes(layers)?,
        has_chat_template: template.is_there,
        supports_tools: template.text.contains("tools"),
        supports_thinking: THINKING.iter().any(|word| template.text.contains(word)),
        tensor_bytes: tensors.bytes,
        file_bytes,
        architecture,
    })
}

struct Template<'a> {
    is_there: bool,
    text: &'a str,
}

/// Entries whose names begin with the architecture, and what follows from them.
struct Facts<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Facts<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn number(&self, name: &str) -> Result<Option<u32>, GgufError> {
        self.metadata.number(&self.key(name))
    }

    fn bounded(&self, name: &str, most: u32) -> Result<Option<u32>, GgufError> {
        match self.number(name)? {
            Some(number) if number > most => {
                Err(bad(&self.key(name), format!("is {number}, over the limit of {most}")))
            }
            number => Ok(number),
        }
    }

    fn per_layer(&self, name: &str) -> Result<PerLayer, GgufError> {
        self.per_layer_of(name, MOST_HEADS)
    }

    fn per_layer_of(&self, name: &str, most: u32) -> Result<PerLayer, GgufError> {
        let numbers = PerLayer::from(self.metadata.numbers(&self.key(name))?);
        if numbers.most() > most {
            return Err(bad(&self.key(name), format!("has {}, over the limit of {most}", numbers.most())));
        }
        Ok(numbers)
    }

    fn pooling(&self) -> Result<Option<Pooling>, GgufError> {
        Ok(match self.number("pooling_type")? {
            None => None,
            Some(0) => Some(Pooling::None),
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::Cls),
            Some(3) => Some(Pooling::Last),
            Some(4) => Some(Pooling::Rank),
            Some(other) => return Err(bad(&self.key("pooling_type"), format!("is {other}, which is not known"))),
        })
    }

    fn kind(&self, pooling: Option<Pooling>) -> Result<Kind, GgufError> {
        match self.metadata.text("general.type")? {
            Some("adapter") => return Ok(Kind::Adapter),
            Some("mmproj" | "projector") => return Ok(Kind::Projector),
            None | Some("model") => {}
            Some(other) => return Err(GgufError::NotAModel { found: other.to_owned() }),
        }
        Ok(match (self.architecture, pooling) {
            ("clip", _) => Kind::Projector,
            ("imatrix" | "controlvector", _) => {
                return Err(GgufError::NotAModel { found: self.architecture.to_owned() });
            }
            (_, Some(Pooling::Rank)) => Kind::Rerank,
            (_, Some(Pooling::Mean | Pooling::Cls | Pooling::Last)) => Kind::Embedding,
            _ if self.is_encoder() => Kind::Embedding,
            _ => Kind::Chat,
        })
    }

    fn is_encoder(&self) -> bool {
        ENCODERS.contains(&self.architecture)
    }

    fn quantisation(&self, tensors: &Tensors) -> Result<String, GgufError> {
        let told = self.metadata.number("general.file_type")?;
        let word = told.map(|id| id & !GUESSED).and_then(file_type).unwrap_or(tensors.main_type);
        Ok(word.to_owned())
    }

    fn vocabulary(&self, tensors: &Tensors) -> Result<u32, GgufError> {
        let told = self.number("vocab_size")?.map(u64::from);
        let listed = || self.metadata.length("tokenizer.ggml.tokens");
        let tokens = told.or_else(listed).unwrap_or(tensors.token_rows);
        u32::try_from(tokens).map_err(|_| bad("tokenizer.ggml.tokens", format!("has {tokens} tokens, out of range")))
    }

    /// Only a list by layer, or a period, that stands in the file is taken; what a release of the engine knows by heart
    /// about an architecture is not.
    fn sliding_window(&self, layers: u32) -> Result<Option<SlidingWindow>, GgufError> {
        let Some(tokens) = self.number("attention.sliding_window")?.filter(|tokens| *tokens > 0) else {
            return Ok(None);
        };
        let pattern = self.metadata.numbers(&self.key("attention.sliding_window_pattern"))?;
        let layers = match pattern.as_slice() {
            [] => Vec::new(),
            [period] => (0..layers).map(|layer| *period > 0 && layer % period < period - 1).collect(),
            listed => listed.iter().map(|has_it| *has_it != 0).collect(),
        };
        Ok(Some(SlidingWindow { tokens, layers }))
    }

    fn state_bytes(&self, layers: u32) -> Result<u64, GgufError> {
        let inner = u64::from(self.bounded("ssm.inner_size", MOST_LENGTH)?.unwrap_or(0));
        let state = u64::from(self.bounded("ssm.state_size", 1 << 16)?.unwrap_or(0));
        let kernel = u64::from(self.bounded("ssm.conv_kernel", 1 << 16)?.unwrap_or(0));
        // Below 2^24 * 2^17 * 2^12 * 4.
        Ok(inner * (state + kernel) * u64::from(layers) * 4)
    }

    fn template(&self) -> Template<'_> {
        match self.metadata.get(TEMPLATE) {
            Some(Value::Text(text)) => Template { is_there: !text.is_empty(), text },
            Some(_) => Template { is_there: true, text: "" },
            None => {
                let more: BTreeSet<&str> = self.metadata.keys().filter(|key| key.starts_with(TEMPLATE)).collect();
                Template { is_there: !more.is_empty(), text: "" }
            }
        }
    }
}

/// Set beside the type when the file was written without being told it.
const GUESSED: u32 = 1_024;

/// The words that people know for how a file is packed.
const fn file_type(id: u32) -> Option<&'static str> {
    Some(match id {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        39 => "NVFP4",
        40 => "Q1_0",
        41 => "Q2_0",
        _ => return None,
    })
}
