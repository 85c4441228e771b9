//! What good headers say, and how bad ones are refused.

mod hostile;
mod memory;

use std::io::Cursor;

use base::report::Capability;

use super::sample::{Given, Sample};
use super::*;

fn read(bytes: &[u8]) -> Result<Header, GgufError> {
    Header::read(&mut Cursor::new(bytes), bytes.len() as u64)
}

fn header(sample: &Sample) -> Header {
    read(&sample.bytes()).unwrap()
}

/// The message with which a file is refused.
fn refusal(sample: &Sample) -> String {
    let error = read(&sample.bytes()).unwrap_err();
    assert!(!error.hint().is_empty());
    error.to_string()
}

#[test]
fn a_chat_model_is_described_in_full() {
    let header = header(&Sample::chat());
    assert_eq!(header.architecture, "llama");
    assert_eq!(header.name.as_deref(), Some("Tiny Talker"));
    assert_eq!((header.kind, header.quantisation.as_str()), (Kind::Chat, "Q4_K_M"));
    assert_eq!(header.parameters, 64 * 50 + 2 * 64 * 64 + 64);
    assert_eq!(header.tensor_bytes, 64 * 50 * 4 + 64 * 64 / 32 * 34 + 64 * 64 * 2 + 64 * 4);
    assert_eq!((header.context_tokens, header.embedding_length, header.layers), (4096, 64, 2));
    assert_eq!((header.heads.at(0), header.kv_heads.at(1)), (4, 2));
    assert_eq!((header.key_length, header.value_length), (16, 16), "the even share");
    assert_eq!((header.vocabulary, header.pooling), (50, None));
    assert!(header.has_chat_template && header.supports_tools && !header.supports_thinking);
    assert_eq!(header.capabilities(), [Capability::Completion, Capability::Tools]);
}

#[test]
fn models_for_embeddings_and_ranking_are_told_apart_by_their_pooling() {
    assert_eq!(header(&Sample::embedding()).capabilities(), [Capability::Embedding]);
    let ranking = header(&Sample::embedding().with("bert.pooling_type", 4));
    assert_eq!((ranking.kind, ranking.pooling), (Kind::Rerank, Some(Pooling::Rank)));
    assert_eq!(ranking.capabilities(), [Capability::Rerank]);
    let causal = header(&Sample::chat().with("llama.pooling_type", 3));
    assert_eq!((causal.kind, causal.is_encoder), (Kind::Embedding, false));
    let plain = header(&Sample::embedding().without("bert.pooling_type"));
    assert_eq!((plain.kind, plain.pooling), (Kind::Embedding, None));
}

#[test]
fn adapters_and_projectors_are_known_and_can_do_nothing_alone() {
    for (sample, kind) in [
        (Sample::adapter(), Kind::Adapter),
        (Sample::adapter().without("general.architecture"), Kind::Adapter),
        (Sample::empty().with("general.architecture", "clip").tensor("v.weight", &[8], 0), Kind::Projector),
        (Sample::chat().with("general.type", "mmproj"), Kind::Projector),
    ] {
        let header = header(&sample);
        assert_eq!((header.kind, header.capabilities()), (kind, Vec::new()));
    }
}

#[test]
fn reasoning_is_seen_in_the_template() {
    let template = "{{ messages }}{% if enable_thinking %}<think>{% endif %}";
    let header = header(&Sample::chat().with("tokenizer.chat_template", template));
    assert_eq!(header.capabilities(), [Capability::Completion, Capability::Thinking]);
}

#[test]
fn a_template_that_is_too_long_to_read_is_still_one() {
    let long = "tools ".repeat(300_000);
    let with_long = header(&Sample::chat().with("tokenizer.chat_template", long.as_str()));
    assert!(with_long.has_chat_template && !with_long.supports_tools);
    assert!(!header(&Sample::chat().without("tokenizer.chat_template")).has_chat_template);
}

#[test]
fn version_2_is_read_like_version_3() {
    let mut sample = Sample::chat();
    sample.version = 2;
    assert_eq!(header(&sample), header(&Sample::chat()));
}

#[test]
fn what_is_no_gguf_of_a_known_version_is_named() {
    let with = |magic: &[u8; 4], version| {
        let mut sample = Sample::chat();
        (sample.magic, sample.version) = (*magic, version);
        refusal(&sample)
    };
    assert_eq!(with(b"PK\x03\x04", 3), "not a GGUF file: it begins with `PK\\x03\\x04`");
    assert_eq!(with(b"tjgg", 3), "the format `ggjt` is older than GGUF");
    assert!(with(b"GGUF", 3_u32.swap_bytes()).contains("big endian"));
    assert_eq!(with(b"GGUF", 1), "GGUF version 1 is not known, only 2 and 3 are");
    assert_eq!(with(b"GGUF", 4), "GGUF version 4 is not known, only 2 and 3 are");
    assert!(read(b"GG").unwrap_err().to_string().contains("ends within the first bytes"));
}

#[test]
fn a_file_cut_anywhere_is_refused_as_cut() {
    let bytes = Sample::chat().bytes();
    for length in 0..bytes.len() - 31 {
        // The last tensor may end before the padding behind it.
        match read(&bytes[..length]) {
            Err(GgufError::Truncated { end, file_bytes, .. }) => {
                assert!(end > file_bytes && file_bytes == length as u64)
            }
            other => panic!("{length} of {}: {other:?}", bytes.len()),
        }
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_refused_as_cut() {
    let bytes = Sample::chat().bytes();
    let cut = Header::read(&mut Cursor::new(&bytes[..200]), bytes.len() as u64);
    assert!(matches!(cut, Err(GgufError::Truncated { .. })), "{cut:?}");
}

#[test]
fn tensors_must_lie_apart_and_on_steps() {
    let at = |tensor: usize, offset| {
        let mut sample = Sample::chat();
        sample.tensors[tensor].offset = Some(offset);
        refusal(&sample)
    };
    assert_eq!(at(1, 12_801), "the tensor `blk.0.attn_q.weight` begins at 12801, which is no multiple of 32");
    assert_eq!(at(1, 64), "the tensors `token_embd.weight` and `blk.0.attn_q.weight` overlap");
    for outside in [1 << 40, u64::MAX - 31] {
        let refusal = at(3, outside);
        assert!(refusal.contains("ends within the tensor `output_norm.weight`"), "{refusal}");
    }
    let mut sample = Sample::chat().with("general.alignment", 64);
    sample.alignment = 64;
    header(&sample);
    assert!(refusal(&Sample::chat().with("general.alignment", 24)).contains("power of two"));
    assert!(refusal(&Sample::chat().with("general.alignment", 0)).contains("power of two"));
}

#[test]
fn types_and_shapes_of_tensors_are_checked() {
    let with = |shape: &[u64], number_type| refusal(&Sample::chat().tensor("odd", shape, number_type));
    assert_eq!(with(&[64], 4), "the tensor `odd` has the unknown type 4");
    assert_eq!(with(&[64], 99), "the tensor `odd` has the unknown type 99");
    assert!(with(&[33, 2], 8).contains("rows of 33 numbers are not whole blocks of 32 in Q8_0"));
    assert!(with(&[1, 2, 3, 4, 5], 0).contains("5 dimensions"));
    assert!(with(&[4, 0], 0).contains("dimension 2 is 0"));
    assert!(with(&[1 << 33, 1 << 33, 1 << 33], 0).contains("more numbers than any file"));
    assert!(with(&[u64::MAX], 0).contains("more numbers than any file"));
}

#[test]
fn twins_are_refused() {
    assert!(
        refusal(&Sample::chat().tensor("output_norm.weight", &[1], 0)).contains("`output_norm.weight` stands twice")
    );
    let mut sample = Sample::chat();
    sample.entries.push(("llama.block_count".to_owned(), Given::U32(3)));
    assert!(refusal(&sample).contains("`llama.block_count` stands twice"));
}

#[test]
fn a_piece_of_a_model_is_sent_to_be_merged() {
    let error = read(&Sample::chat().with("split.count", 4).bytes()).unwrap_err();
    assert_eq!(error.to_string(), "the file is one of 4 pieces of a model");
    assert!(error.hint().contains("--merge"));
    header(&Sample::chat().with("split.count", 1));
}

#[test]
fn what_every_model_has_must_be_there() {
    assert_eq!(refusal(&Sample::chat().without("general.architecture")), "the entry `general.architecture` is missing");
    assert_eq!(refusal(&Sample::chat().without("llama.block_count")), "the entry `llama.block_count` is missing");
    assert_eq!(refusal(&Sample { tensors: Vec::new(), ..Sample::chat() }), "the file holds no tensors");
    assert_eq!(
        refusal(&Sample::chat().with("general.type", "imatrix")),
        "the file holds `imatrix`, which is not a model"
    );
}

#[test]
fn values_of_the_wrong_kind_or_size_are_named() {
    let with = |key: &str, value: Given| refusal(&Sample::chat().with(key, value));
    assert_eq!(with("llama.context_length", "long".into()), "the entry `llama.context_length` is not a whole number");
    assert_eq!(with("general.architecture", 7.into()), "the entry `general.architecture` is not text");
    assert!(with("llama.context_length", Given::U64(1 << 40)).contains("out of range"));
    assert!(with("llama.block_count", 1_000_000.into()).contains("over the limit of 4096"));
    assert!(with("llama.attention.head_count", Given::I32s(vec![4, -1])).contains("has -1, out of range"));
    assert!(with("llama.attention.head_count", u32::MAX.into()).contains("over the limit"));
    assert!(with("llama.pooling_type", 9.into()).contains("is 9, which is not known"));
    assert!(with("odd", Given::Raw(77, Vec::new())).contains("`odd` has a value of the unknown type 77"));
}

#[test]
fn limits_hold_before_anything_is_read() {
    let with = |raw: Vec<u8>, kind| refusal(&Sample::chat().with("odd", Given::Raw(kind, raw)));
    let length = |length: u64| length.to_le_bytes().to_vec();
    let array = |kind: u32, count: u64| [kind.to_le_bytes().to_vec(), length(count)].concat();
    assert!(with(length(u64::MAX), 8).contains("a string of 18446744073709551615 is over the limit"));
    assert!(with(array(4, u64::MAX), 9).contains("an array of 18446744073709551615 is over the limit"));
    assert!(with(array(4, 1 << 24), 9).contains("ends within an array"));
    let nested = [array(9, 1), array(9, 1), array(4, 0)].concat();
    assert!(with(nested, 9).contains("a nesting of arrays of 3 is over the limit of 2"));
    let mut many = Sample::chat().bytes();
    many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(read(&many).unwrap_err().to_string().contains("a number of tensors of"));
    many = Sample::chat().bytes();
    many[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(read(&many).unwrap_err().to_string().contains("a number of entries of"));
    let long = "k".repeat(2_000);
    assert!(refusal(&Sample::chat().with(&long, 1)).contains("a key of 2000 is over the limit"));
}

#[test]
fn arrays_in_arrays_are_passed_over() {
    let inner = [4_u32.to_le_bytes().to_vec(), 2_u64.to_le_bytes().to_vec(), vec![0; 8]].concat();
    let outer = [9_u32.to_le_bytes().to_vec(), 2_u64.to_le_bytes().to_vec(), inner.clone(), inner].concat();
    let with_it = header(&Sample::chat().with("odd", Given::Raw(9, outer)));
    let file_bytes = with_it.file_bytes;
    assert_eq!(with_it, Header { file_bytes, ..header(&Sample::chat()) });
}

#[test]
fn every_type_of_numbers_has_a_size_below_that_of_plain_floats() {
    let known: Vec<_> = (0..64).filter_map(tensors::number_type).collect();
    assert_eq!(known.len(), 35);
    for found in known {
        assert!(found.block.is_power_of_two() && found.block_bytes <= 8 * found.block, "{found:?}");
    }
}
