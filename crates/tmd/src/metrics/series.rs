//! Metrics with labels, none of which has more than a bounded number of series, whatever is thrown at it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::TraceId;

/// Series of one counter or gauge; all further ones are counted together, under the label values [`OTHERS`].
pub const MOST_SERIES: usize = 1000;
/// Series of one histogram, each of which is a line for every bound.
pub const MOST_HISTOGRAMS: usize = 200;
/// Stands for whatever had no room.
pub const OTHERS: &str = "others";

/// The values of labels with their names.
type Labels<const N: usize> = [(&'static str, String); N];
/// What leads from an observation to its trace.
type Exemplar = [(&'static str, String); 1];
type Observed = HistogramWithExemplars<Exemplar>;
type Floating = Gauge<f64, AtomicU64>;

#[derive(Clone, Copy, Debug)]
struct Bounds(&'static [f64]);

impl MetricConstructor<Observed> for Bounds {
    fn new_metric(&self) -> Observed {
        Observed::new(self.0.iter().copied())
    }
}

/// Series of one name.
struct Series<const N: usize, M, C> {
    names: [&'static str; N],
    family: Family<Labels<N>, M, C>,
    most: usize,
    /// How many there are.
    taken: AtomicUsize,
}

/// Counters of one name.
pub struct Counters<const N: usize>(Series<N, Counter, fn() -> Counter>);

/// Histograms of one name.
pub struct Histograms<const N: usize>(Series<N, Observed, Bounds>);

/// Gauges of one name.
pub struct Numbers<const N: usize>(Series<N, Floating, fn() -> Floating>);

/// Declares counters; without labels there is one, which is 0 from the beginning.
pub fn counters<const N: usize>(on: &mut Registry, name: &str, help: &str, names: [&'static str; N]) -> Counters<N> {
    let series = Series::new(names, Family::default(), MOST_SERIES);
    // The encoder writes that suffix again.
    on.register(name.strip_suffix("_total").unwrap_or(name), help, series.family.clone());
    Counters(series)
}

/// Declares histograms with these bounds; without labels there is one from the beginning.
pub fn histograms<const N: usize>(
    on: &mut Registry,
    name: &str,
    help: &str,
    names: [&'static str; N],
    bounds: &'static [f64],
) -> Histograms<N> {
    let series = Series::new(names, Family::new_with_constructor(Bounds(bounds)), MOST_HISTOGRAMS);
    on.register(name, help, series.family.clone());
    Histograms(series)
}

/// Declares gauges.
pub fn numbers<const N: usize>(on: &mut Registry, name: &str, help: &str, names: [&'static str; N]) -> Numbers<N> {
    let series = Series::new(names, Family::default(), MOST_SERIES);
    on.register(name, help, series.family.clone());
    Numbers(series)
}

impl<const N: usize> Counters<N> {
    /// One more.
    pub fn inc(&self, values: [&str; N]) {
        self.inc_by(values, 1);
    }

    /// So many more.
    pub fn inc_by(&self, values: [&str; N], count: u64) {
        self.0.at(values, |counter| {
            counter.inc_by(count);
        });
    }
}

impl<const N: usize> Histograms<N> {
    /// It took so long.
    pub fn observe(&self, values: [&str; N], took: Duration, trace: &TraceId) {
        self.observe_value(values, took.as_secs_f64(), trace);
    }

    /// It came to that.
    pub fn observe_value(&self, values: [&str; N], value: f64, trace: &TraceId) {
        let exemplar = trace.clone().map(|trace| [("trace_id", trace)]);
        self.0.at(values, |histogram| histogram.observe(value, exemplar, Some(SystemTime::now())));
    }
}

impl<const N: usize> Numbers<N> {
    /// It is that now.
    pub fn set(&self, values: [&str; N], value: f64) {
        self.0.at(values, |gauge| {
            gauge.set(value);
        });
    }
}

impl<const N: usize, M: Clone, C: MetricConstructor<M>> Series<N, M, C> {
    fn new(names: [&'static str; N], family: Family<Labels<N>, M, C>, most: usize) -> Self {
        let series = Self { names, family, most, taken: AtomicUsize::new(0) };
        if N == 0 {
            series.at([""; N], |_| {});
        }
        series
    }

    /// The series of these values; where there is no room for another one, that of all others.
    fn at(&self, values: [&str; N], does: impl FnOnce(&M)) {
        let label = |at: usize| {
            let value = values.get(at).copied().unwrap_or_default();
            (self.names.get(at).copied().unwrap_or_default(), value.to_owned())
        };
        let labels: Labels<N> = std::array::from_fn(label);
        if let Some(known) = self.family.get(&labels) {
            return does(&known);
        }
        let labels = match self.taken.load(Ordering::Relaxed) < self.most {
            true => labels,
            false => labels.map(|(name, _)| (name, OTHERS.to_owned())),
        };
        // Two at once may count the same new one twice: that only fills it earlier.
        self.taken.fetch_add(1, Ordering::Relaxed);
        does(&self.family.get_or_create(&labels));
    }
}
