//! What a model is assumed to do at a worker before the first run there was measured.
//!
//! Answering reads the whole model once per token, so speed is memory bandwidth divided by size; a prompt is computed
//! in batches and goes faster by a factor that is larger on a GPU. The figures are those of common home machines and
//! only have to be right within a factor of three: one run replaces them.

use base::report::{Backend, ModelReport};

/// Answer tokens that an ask is expected to bring before any was measured.
pub const OUTPUT_TOKENS: f64 = 256.0;

const GPU_BANDWIDTH_BYTES_S: f64 = 400e9;
const CPU_BANDWIDTH_BYTES_S: f64 = 40e9;
const GPU_PREFILL_FACTOR: f64 = 30.0;
const CPU_PREFILL_FACTOR: f64 = 8.0;
const DISK_BYTES_S: f64 = 1e9;
const LOAD_BASE_S: f64 = 1.0;
/// Share of the expected length that is left of an answer which is longer already.
const LEAST_REMAINING: f64 = 0.25;
const CLOUD: Rates =
    Rates { prefill_tok_s: 5000.0, decode_tok_s: 60.0, load_s: 0.0, output_tokens: OUTPUT_TOKENS, is_measured: false };
/// Bytes per parameter at the 4-bit quantisation that home engines use by default.
const BYTES_PER_PARAMETER: f64 = 0.6;
const UNKNOWN_SIZE_BYTES: f64 = 5e9;

/// Speeds of a model at a worker; every one is finite and above zero (`load_s` may be zero).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Prompt tokens per second.
    pub prefill_tok_s: f64,
    /// Answer tokens per second of one run.
    pub decode_tok_s: f64,
    /// Seconds to load it.
    pub load_s: f64,
    /// Expected answer tokens.
    pub output_tokens: f64,
    /// Whether one of the speeds was measured there.
    pub is_measured: bool,
}

/// Measured figures where there are some, assumed ones elsewhere.
pub fn rates(model: &ModelReport, backend: Backend, has_gpu: bool) -> Rates {
    // With nobody to learn from, what is not measured stays as assumed.
    calibrated(&[])(&Knowledge::of(model, backend, has_gpu))
}

/// What was measured of a model at one worker, beside what is assumed there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knowledge {
    assumed: Rates,
    prefill_tok_s: Option<f64>,
    decode_tok_s: Option<f64>,
    load_s: Option<f64>,
    output_tokens: Option<f64>,
}

impl Knowledge {
    /// What the report tells.
    pub fn of(model: &ModelReport, backend: Backend, has_gpu: bool) -> Self {
        let above = |value: Option<f64>, least: f64| value.filter(|value| value.is_finite() && *value >= least);
        Self {
            assumed: assumed(size_bytes(model), backend, has_gpu),
            prefill_tok_s: above(model.prefill_tok_s, 1e-3),
            decode_tok_s: above(model.decode_tok_s, 1e-3),
            load_s: above(model.load_s, 0.0),
            output_tokens: above(model.output_tokens, 0.0),
        }
    }
}

/// Lets workers without a measurement learn from those that have one of the same model: answers are as long everywhere,
/// and an assumption that is off by a factor there is off by the same here. Else asks stay where the first one went.
pub fn calibrated(known: &[Knowledge]) -> impl Fn(&Knowledge) -> Rates {
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
        (count > 0.0).then(|| sum / count)
    };
    let prefill = mean(&mut known.iter().filter_map(|one| Some(one.prefill_tok_s? / one.assumed.prefill_tok_s)));
    let decode = mean(&mut known.iter().filter_map(|one| Some(one.decode_tok_s? / one.assumed.decode_tok_s)));
    let load = mean(&mut known.iter().filter_map(|one| Some(one.load_s? / one.assumed.load_s.max(1e-3))));
    let output = mean(&mut known.iter().filter_map(|one| one.output_tokens));
    move |own| Rates {
        prefill_tok_s: own.prefill_tok_s.unwrap_or(own.assumed.prefill_tok_s * prefill.unwrap_or(1.0)),
        decode_tok_s: own.decode_tok_s.unwrap_or(own.assumed.decode_tok_s * decode.unwrap_or(1.0)),
        load_s: own.load_s.unwrap_or(own.assumed.load_s * load.unwrap_or(1.0)),
        output_tokens: own.output_tokens.or(output).unwrap_or(own.assumed.output_tokens),
        is_measured: own.prefill_tok_s.is_some() || own.decode_tok_s.is_some(),
    }
}

/// Answer tokens still expected of a run that brought `answered` so far. Long answers tend to go on: some of the mean is
/// always left.
pub fn remaining_output(expected: f64, answered: f64) -> f64 {
    (expected - answered).max(expected * LEAST_REMAINING)
}

/// Memory that the model takes when loaded: measured, else its file and a fifth for context and buffers; 0 = unknown.
pub fn memory_bytes(model: &ModelReport) -> u64 {
    if model.memory_bytes > 0 { model.memory_bytes } else { model.size_bytes + model.size_bytes / 5 }
}

/// Billions of parameters that a name tells: `llama3.1:70b`, `mixtral-8x7b`, `Qwen2.5-0.5B`.
pub fn parameters_in_name(name: &str) -> Option<f64> {
    let name = name.to_ascii_lowercase();
    let part = |part: &str| {
        let number = part.strip_suffix('b')?;
        match number.split_once('x') {
            Some((experts, each)) => Some(experts.parse::<f64>().ok()? * each.parse::<f64>().ok()?),
            None => number.parse::<f64>().ok(),
        }
    };
    name.split([':', '-', '_', '/', '@', ' ']).filter_map(part).find(|&billions| (0.01..10_000.0).contains(&billions))
}

fn size_bytes(model: &ModelReport) -> f64 {
    match (model.size_bytes, parameters_in_name(&model.name).or_else(|| parameters_in_name(&model.engine_name))) {
        (0, Some(billions)) => billions * 1e9 * BYTES_PER_PARAMETER,
        (0, None) => UNKNOWN_SIZE_BYTES,
        (bytes, _) => bytes as f64,
    }
}

fn assumed(size_bytes: f64, backend: Backend, has_gpu: bool) -> Rates {
    if backend.is_external() {
        return CLOUD;
    }
    let (bandwidth, factor) = match has_gpu {
        true => (GPU_BANDWIDTH_BYTES_S, GPU_PREFILL_FACTOR),
        false => (CPU_BANDWIDTH_BYTES_S, CPU_PREFILL_FACTOR),
    };
    let decode_tok_s = (bandwidth / size_bytes.max(1e6)).clamp(0.5, 200.0);
    Rates {
        prefill_tok_s: decode_tok_s * factor,
        decode_tok_s,
        load_s: LOAD_BASE_S + size_bytes / DISK_BYTES_S,
        output_tokens: OUTPUT_TOKENS,
        is_measured: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_size() {
        for (name, billions) in
            [("llama3.1:70b-instruct-q4_0", 70.0), ("mixtral:8x7b", 56.0), ("Qwen2.5-0.5B", 0.5), ("phi3:3.8b", 3.8)]
        {
            assert_eq!(parameters_in_name(name), Some(billions), "{name}");
        }
        assert_eq!(parameters_in_name("bge-m3"), None);
        assert_eq!(parameters_in_name("b"), None);
    }

    #[test]
    fn a_gpu_is_assumed_faster_and_a_larger_model_slower() {
        let speed = |size, has_gpu| assumed(size, Backend::Ollama, has_gpu).decode_tok_s;
        assert!(speed(5e9, true) > speed(5e9, false));
        assert!(speed(5e9, true) > speed(40e9, true));
    }

    #[test]
    fn a_worker_without_a_measurement_learns_from_the_others() {
        let report =
            |decode_tok_s, output_tokens| ModelReport { decode_tok_s, output_tokens, ..crate::testing::model("m") };
        let (measured, fresh) = (report(Some(900.0), Some(60.0)), report(None, None));
        let known = [&measured, &fresh].map(|report| Knowledge::of(report, Backend::Ollama, true));
        let calibrate = calibrated(&known);
        let learned = calibrate(&known[1]);
        assert!((learned.decode_tok_s - 900.0).abs() < 1e-6, "{learned:?}");
        assert_eq!(learned.output_tokens, 60.0);
        let slower = Knowledge::of(&fresh, Backend::Ollama, false);
        assert!(calibrate(&slower).decode_tok_s < 100.0, "no GPU, a tenth of the speed");
    }
}
