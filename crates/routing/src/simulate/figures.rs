//! What came out of a simulation: quantiles per policy.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Policy;

/// The figures of every policy that ran, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Policy and figures.
    pub policies: Vec<(Policy, Figures)>,
}

/// The figures of one policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Asks that were served.
    pub n: usize,
    /// Asks that nobody could take.
    pub refused: usize,
    /// Loads of models.
    pub loads: usize,
    /// Arrival to last token.
    pub latency_s: Quantiles,
    /// Arrival to the start of its prompt, a load included.
    pub wait_s: Quantiles,
    /// Arrival to first token.
    pub ttft_s: Quantiles,
}

/// Quantiles (by the nearest rank) and the mean, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half are below.
    pub p50: f64,
    /// 95 of 100 are below.
    pub p95: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// The mean.
    pub mean: f64,
}

impl Quantiles {
    /// Of these values; all zero when there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let rank = |share: f64| {
            let rank = (share * count as f64).ceil().max(1.0) as usize;
            values.get(rank - 1).copied().unwrap_or(0.0)
        };
        let mean = if count > 0 { values.iter().sum::<f64>() / count as f64 } else { 0.0 };
        Self { p50: rank(0.5), p95: rank(0.95), p99: rank(0.99), mean }
    }
}

impl Outcome {
    /// The figures of a policy.
    pub fn of(&self, policy: Policy) -> Option<&Figures> {
        self.policies.iter().find(|(ran, _)| *ran == policy).map(|(_, figures)| figures)
    }

    /// `{"policies": {NAME: {"n", "refused", "loads", "latency_s", "wait_s", "ttft_s"}}}`.
    pub fn to_json(&self) -> Value {
        let policies: Map<String, Value> =
            self.policies.iter().map(|(policy, figures)| (policy.to_string(), json!(figures))).collect();
        json!({ "policies": policies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_take_the_nearest_rank() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(Quantiles::of(values), Quantiles { p50: 50.0, p95: 95.0, p99: 99.0, mean: 50.5 });
        assert_eq!(Quantiles::of(Vec::new()), Quantiles::default());
    }
}
