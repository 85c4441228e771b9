//! What a part of the node tells with how it is: spans, metrics and what triggers look at, handed on together.

use std::sync::Arc;

use crate::metrics::Metrics;
use crate::mode::watch::Watch;
use crate::spans::Spans;

/// Those of one node.
#[derive(Clone)]
pub struct Instruments {
    /// Makes the spans of asks.
    pub spans: Spans,
    /// Counts and measures.
    pub metrics: Arc<Metrics>,
    /// Notes what triggers look at.
    pub watch: Arc<Watch>,
}
