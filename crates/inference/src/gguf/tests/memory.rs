//! Estimates of memory, and what is learned about them.

use super::*;

#[test]
fn keys_and_values_of_every_layer_and_slot_are_counted() {
    let header = header(&Sample::chat());
    let memory = header.memory(1000, 3);
    // Two layers, two heads, a key and a value of 16 numbers of 2 bytes.
    assert_eq!(memory.kv_bytes, 2 * 2 * (16 + 16) * 2 * 3000);
    assert_eq!(memory.weights_bytes, header.tensor_bytes);
    assert_eq!(memory.total(), memory.weights_bytes + memory.kv_bytes + memory.compute_bytes);
    assert_eq!(header.memory(1000, 0), header.memory(1000, 1));
}

#[test]
fn heads_may_differ_from_layer_to_layer() {
    let sample = Sample::chat()
        .with("llama.attention.head_count_kv", Given::I32s(vec![0, 4]))
        .with("llama.attention.key_length", 8)
        .with("llama.attention.value_length", 24);
    assert_eq!(header(&sample).memory(100, 1).kv_bytes, 4 * (8 + 24) * 2 * 100);
}

#[test]
fn a_window_counts_only_for_an_engine_that_keeps_no_more() {
    let sample = Sample::chat().with("llama.attention.sliding_window", 300);
    let listed = sample.clone().with("llama.attention.sliding_window_pattern", Given::Bools(vec![true, false]));
    let period = sample.clone().with("llama.attention.sliding_window_pattern", 2);
    let per_token = 2 * (16 + 16) * 2;
    for windowed in [listed, period] {
        let header = header(&windowed);
        assert_eq!(header.memory(10_000, 1).kv_bytes, 2 * per_token * 10_000);
        // 300 + 512, up to the next 256.
        assert_eq!(header.memory_windowed(10_000, 1).kv_bytes, per_token * (1_024 + 10_000));
        assert_eq!(header.memory_windowed(100, 1), header.memory(100, 1));
    }
    let unsaid = header(&sample);
    assert_eq!(unsaid.memory_windowed(10_000, 1), unsaid.memory(10_000, 1), "which layers have it is not told");
}

#[test]
fn an_encoder_keeps_nothing_between_texts() {
    let encoder = header(&Sample::embedding());
    assert_eq!(encoder.memory(512, 4).kv_bytes, 0);
    assert_eq!(encoder.memory(8192, 1), encoder.memory(512, 1), "it was trained on no more");
    let longer = header(&Sample::embedding().with("bert.context_length", 8192));
    assert!(longer.memory(8192, 1).compute_bytes > longer.memory(512, 1).compute_bytes);
}

#[test]
fn recurrent_layers_hold_a_state_per_slot() {
    let sample = Sample::chat()
        .with("llama.attention.head_count_kv", 0)
        .with("llama.ssm.inner_size", 128)
        .with("llama.ssm.state_size", 16)
        .with("llama.ssm.conv_kernel", 4);
    assert_eq!(header(&sample).memory(1 << 20, 2).kv_bytes, 2 * 2 * 128 * (16 + 4) * 4);
}

#[test]
fn the_largest_numbers_overflow_nothing() {
    let sample = Sample::chat()
        .with("llama.attention.head_count_kv", 1 << 16)
        .with("llama.attention.key_length", 1 << 24)
        .with("llama.attention.value_length", 1 << 24)
        .with("llama.embedding_length", 1 << 24)
        .with("llama.vocab_size", u32::MAX)
        .with("llama.ssm.inner_size", 1 << 24)
        .with("llama.ssm.state_size", 1 << 16)
        .with("llama.block_count", 4_096);
    let memory = header(&sample).memory(u32::MAX, u32::MAX);
    assert_eq!((memory.kv_bytes, memory.total()), (u64::MAX, u64::MAX));
}

#[test]
fn a_correction_rises_at_once_and_falls_slowly() {
    let mut correction = Correction::default();
    assert_eq!(correction.corrected(1_000), 1_000);
    correction.learn(1_000, 1_600);
    assert_eq!(correction.corrected(1_000), 1_600);
    correction.learn(1_000, 800);
    assert_eq!(correction.corrected(1_000), 1_400);
    for _ in 0..100 {
        correction.learn(1_000, 1);
    }
    assert!((500..505).contains(&correction.corrected(1_000)), "{correction:?}");
    correction.learn(1_000, 1_000_000);
    assert_eq!(correction.corrected(1_000), 2_000);
    correction.learn(0, 5);
    correction.learn(5, 0);
    assert_eq!(correction.corrected(1_000), 2_000);
}

#[test]
fn a_stored_correction_that_was_damaged_stays_within_its_bounds() {
    let wild: Correction = serde_json::from_str(r#"{"ratio": 1e300}"#).unwrap();
    assert_eq!(wild.corrected(1_000), 2_000);
}
