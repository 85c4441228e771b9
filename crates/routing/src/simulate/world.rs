//! The simulated cluster: events in virtual time, nodes with queues, slots and memory, one gateway that routes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::report::NodeState;
use base::{Fault, Priority};

use super::figures::{Figures, Quantiles};
use super::trace::BLOCK_TOKENS;
use super::{Nodes, Policy, Trace};
use crate::live::{LiveGuard, LiveMap};
use crate::model::{Catalogue, ModelIndex, Shipped};
use crate::route::{Request, Route, choose, route};
use crate::settings::Settings;
use crate::table::Table;

mod node;

use node::{Node, Started};

/// Reports come as often as heartbeats do.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    FirstToken { node: usize, ask: usize },
    Ended { node: usize, ask: usize },
}

/// A cluster in virtual time.
pub(super) struct World<'a> {
    trace: &'a Trace,
    policy: Policy,
    settings: Settings,
    /// Virtual time zero; only differences to it are ever used.
    zero: Instant,
    nodes: Vec<Node<'a>>,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    catalogue: Arc<Catalogue>,
    indices: Vec<Option<ModelIndex>>,
    live: LiveMap,
    guards: Vec<Option<LiveGuard>>,
    table: Option<(Duration, Table)>,
    random: fastrand::Rng,
    turn: usize,
    refused: usize,
    loads: usize,
    waits: Vec<f64>,
    first_tokens: Vec<f64>,
    latencies: Vec<f64>,
}

impl<'a> World<'a> {
    /// Everything idle, nothing in memory.
    pub fn new(trace: &'a Trace, nodes: &'a Nodes, policy: Policy, seed: u64) -> Result<Self, Fault> {
        let settings = Settings {
            headroom: 0.0,
            queue: u32::MAX,
            prefix_block_tokens: BLOCK_TOKENS,
            regret: policy == Policy::Tm,
            ..Settings::default()
        };
        let patience = if policy == Policy::Tm { settings.max_wait } else { Duration::ZERO };
        let nodes: Vec<Node<'a>> = nodes.nodes.iter().map(|spec| Node::new(spec, trace, patience)).collect();
        let reports: Vec<_> = nodes.iter().map(|node| node.report(trace, Duration::ZERO, 0)).collect();
        let catalogue = Catalogue::build(&Shipped::load()?, &[], &[], &reports);
        let indices = trace.models.iter().map(|name| catalogue.find(name).map(|found| found.model)).collect();
        Ok(Self {
            trace,
            policy,
            settings,
            zero: Instant::now(),
            nodes,
            events: BinaryHeap::new(),
            catalogue: Arc::new(catalogue),
            indices,
            live: LiveMap::default(),
            guards: std::iter::repeat_with(|| None).take(trace.arrivals.len()).collect(),
            table: None,
            random: fastrand::Rng::with_seed(seed),
            turn: 0,
            refused: 0,
            loads: 0,
            waits: Vec::new(),
            first_tokens: Vec::new(),
            latencies: Vec::new(),
        })
    }

    /// Plays the whole trace, until the last answer ended.
    pub fn run(mut self) -> Figures {
        for (ask, arrival) in self.trace.arrivals.iter().enumerate() {
            self.play_until(arrival.at);
            match self.choose(ask, arrival.at) {
                Some(node) => self.send(node, ask, arrival.at),
                None => self.refused += 1,
            }
        }
        self.play_until(Duration::MAX);
        Figures {
            n: self.latencies.len(),
            refused: self.refused,
            loads: self.loads,
            latency_s: Quantiles::of(self.latencies),
            wait_s: Quantiles::of(self.waits),
            ttft_s: Quantiles::of(self.first_tokens),
        }
    }

    fn play_until(&mut self, until: Duration) {
        while let Some(&Reverse((at, event))) = self.events.peek().filter(|Reverse((at, _))| *at <= until) {
            self.events.pop();
            match event {
                Event::FirstToken { node, ask } => {
                    self.nodes[node].first_token(ask);
                    if let Some(guard) = &mut self.guards[ask] {
                        guard.first_token();
                    }
                }
                Event::Ended { node, ask } => {
                    self.guards[ask] = None;
                    self.nodes[node].end(ask, self.trace, at);
                    self.dispatch(node, at);
                }
            }
        }
    }

    fn send(&mut self, node: usize, ask: usize, at: Duration) {
        self.nodes[node].push(ask, self.trace, self.zero + at);
        self.dispatch(node, at);
    }

    fn dispatch(&mut self, node: usize, at: Duration) {
        while let Some(Started { ask, begins, first_token, ends, is_load }) =
            self.nodes[node].start_next(self.trace, at, self.zero)
        {
            let arrived = self.trace.arrivals[ask].at;
            let since = |then: Duration| then.saturating_sub(arrived).as_secs_f64();
            self.waits.push(since(begins));
            self.first_tokens.push(since(first_token));
            self.latencies.push(since(ends));
            self.loads += usize::from(is_load);
            self.events.push(Reverse((first_token, Event::FirstToken { node, ask })));
            self.events.push(Reverse((ends, Event::Ended { node, ask })));
        }
    }

    fn choose(&mut self, ask: usize, at: Duration) -> Option<usize> {
        let model = self.trace.arrivals[ask].model;
        let able: Vec<usize> = (0..self.nodes.len()).filter(|&node| self.nodes[node].offers(model)).collect();
        match self.policy {
            Policy::Tm | Policy::Cost | Policy::WarmFirst => self.choose_by_route(ask, at),
            Policy::Oracle => {
                let arrival = &self.trace.arrivals[ask];
                let ends = |&node: &usize| self.nodes[node].would_end(arrival, self.trace, at);
                able.into_iter().min_by_key(ends)
            }
            Policy::RoundRobin => {
                self.turn += 1;
                able.get(self.turn % able.len().max(1)).copied()
            }
            Policy::LeastConnections => able.into_iter().min_by_key(|&node| self.nodes[node].asks()),
            Policy::PowerOfTwo => {
                let draw = |random: &mut fastrand::Rng| able.get(random.usize(..able.len().max(1))).copied();
                let (one, two) = (draw(&mut self.random)?, draw(&mut self.random)?);
                Some(if self.nodes[two].asks() < self.nodes[one].asks() { two } else { one })
            }
        }
    }

    fn choose_by_route(&mut self, ask: usize, at: Duration) -> Option<usize> {
        let arrival = &self.trace.arrivals[ask];
        let model = self.indices.get(arrival.model).copied().flatten()?;
        let chance = self.random.u64(..);
        let request = Request {
            prefix: &arrival.blocks,
            priority: Priority::Normal,
            chance,
            ..Request::new(model, arrival.prompt_tokens)
        };
        let zero = self.zero;
        let policy = self.policy;
        let route = route(self.table(at), &request, zero + at);
        let candidate = match policy {
            Policy::WarmFirst => warm_first(&route)?,
            _ => route.chosen.as_ref()?.candidate,
        };
        let chosen = choose(self.table(at), &request, &route.candidates, candidate);
        self.guards[ask] = Some(chosen.begin(zero + at));
        // Workers are in the order of nodes, one each.
        Some(route.candidates[candidate].worker as usize)
    }

    /// The table that the gateway has: as of the last heartbeat.
    fn table(&mut self, at: Duration) -> &Table {
        let is_fresh = self.table.as_ref().is_some_and(|(built, _)| at.saturating_sub(*built) < HEARTBEAT);
        let table = match self.table.take().filter(|_| is_fresh) {
            Some(table) => table,
            None => (at, self.build(at)),
        };
        &self.table.insert(table).1
    }

    fn build(&self, at: Duration) -> Table {
        let sequence = at.as_millis() as u64 + 1;
        let reports: Vec<_> = self.nodes.iter().map(|node| node.report(self.trace, at, sequence)).collect();
        let nodes: Vec<_> = reports.iter().map(|report| (NodeState::Alive, report)).collect();
        Table::build(&nodes, &self.catalogue, &self.live, &self.settings, self.zero + at)
    }
}

fn warm_first(route: &Route) -> Option<usize> {
    let able = || route.candidates.iter().enumerate().filter(|(_, candidate)| candidate.refused_because.is_none());
    let quickest = |is_warm: bool| {
        let fitting = able().filter(move |(_, candidate)| !is_warm || candidate.terms.load == 0.0);
        fitting.min_by(|(_, one), (_, two)| one.total_s.total_cmp(&two.total_s)).map(|(index, _)| index)
    };
    quickest(true).or_else(|| quickest(false))
}
