//! What is measured, and the figures that are wanted.

mod behaviour;
mod cost;
mod latency;
mod memory;
mod peer;

use anyhow::Result;
use clap::ValueEnum;

use super::engines::{Lab, at_once, paced};
use super::gateway::Kind;

/// One measurement; it starts its own engines and its own gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// 400-byte asks, answered at once, on 64 connections.
    Small,
    /// The same with prompts of 32 KiB.
    LongPrompt,
    /// 64 streams, a token each 5 ms.
    Streams64,
    /// 64 streams, tokens as fast as they go.
    StreamsNoDelay,
    /// 512 streams, a token each 5 ms.
    Streams512,
    /// One stream alone: what the gateway adds to the time to its first token.
    FirstToken,
    /// Memory when idle, and for each of 2,000 open streams.
    Memory,
    /// From the start to the first answer.
    Ready,
    /// One of three engines ten times slower, arrivals by chance at 60 % of capacity.
    SlowEngine,
    /// The client leaves after 5 of 200 tokens.
    ClientLeft,
    /// An engine is killed, and comes back on its port.
    Revived,
    /// Small asks through a second gateway, the time of both.
    Peer,
    /// 1, 2, 4, 8 engines of the same speed.
    Throughput,
}

/// One number of a scenario.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// What is wanted; at first, and in the end.
    pub bars: Option<(Bar, Bar)>,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// At most so many times nginx's.
    Ratio(f64),
    /// At most so much.
    AtMost(f64),
}

impl Bar {
    /// Whether `ours` is good enough; `None` when that needs nginx's figure and there is none.
    pub fn is_met(self, nginx: Option<f64>, ours: f64) -> Option<bool> {
        match self {
            Self::Ratio(ratio) => nginx.map(|nginx| ours <= ratio * nginx),
            Self::AtMost(most) => Some(ours <= most),
        }
    }
}

const fn figure(name: &'static str, unit: &'static str) -> Figure {
    Figure { name, unit, bars: None }
}

const fn ratio(name: &'static str, unit: &'static str, first: f64, aim: f64) -> Figure {
    Figure { name, unit, bars: Some((Bar::Ratio(first), Bar::Ratio(aim))) }
}

const fn at_most(name: &'static str, unit: &'static str, first: f64, aim: f64) -> Figure {
    Figure { name, unit, bars: Some((Bar::AtMost(first), Bar::AtMost(aim))) }
}

impl Scenario {
    /// All of them.
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// The numbers that [`Self::measure`] brings, in their order.
    pub fn figures(self) -> Vec<Figure> {
        match self {
            Self::Small => vec![ratio("CPU / small ask", "µs", 1.5, 1.1)],
            Self::LongPrompt => vec![ratio("CPU / ask of 32 KiB", "µs", 1.3, 1.0)],
            Self::Streams64 => vec![ratio("CPU / token, 64 streams 5 ms apart", "µs", 1.1, 0.9)],
            Self::StreamsNoDelay => vec![figure("CPU / token, 64 streams, no delay", "µs")],
            Self::Streams512 => {
                vec![ratio("CPU / token, 512 streams 5 ms apart", "µs", 1.0, 0.7), figure("tokens / s there", "")]
            }
            Self::FirstToken => vec![at_most("added time to first token, one stream", "ms", 1.0, 0.3)],
            Self::Memory => vec![
                at_most("memory, idle (PSS)", "MiB", 20.0, 10.0),
                at_most("memory / open stream", "KiB", 24.0, 16.0),
                figure("memory, 1.5 s after 2,000 streams", "MiB"),
            ],
            Self::Ready => vec![at_most("time to ready", "s", 0.2, 0.05)],
            Self::SlowEngine => vec![
                figure("one engine 10x slower, p50", "ms"),
                Figure {
                    bars: Some((Bar::Ratio(1.0), Bar::AtMost(4.0 * behaviour::FAST_MS))),
                    ..figure("one engine 10x slower, p99", "ms")
                },
            ],
            Self::ClientLeft => vec![at_most("tokens generated after the client left", "", 2.0, 1.0)],
            Self::Revived => vec![
                at_most("revived engine used again after", "s", 2.0, 0.5),
                figure("asks failed around the kill", ""),
            ],
            Self::Peer => vec![figure("CPU / small ask through a peer, both", "µs")],
            Self::Throughput => vec![
                figure("1 engine, share of its capacity", "%"),
                figure("2 engines, share of their capacity", "%"),
                figure("4 engines, share of their capacity", "%"),
                figure("8 engines, share of their capacity", "%"),
            ],
        }
    }

    /// Measures once, with a gateway of this kind.
    pub async fn measure(self, kind: Kind, lab: &Lab) -> Result<Vec<f64>> {
        const SMALL: usize = 400;
        match self {
            Self::Small => cost::per_ask(kind, lab, SMALL).await,
            Self::LongPrompt => cost::per_ask(kind, lab, 32 * 1024).await,
            Self::Streams64 => Ok(vec![cost::per_token(kind, lab, 64, &paced(0.0, 5.0, cost::TOKENS)).await?.cpu_us]),
            Self::StreamsNoDelay => Ok(vec![cost::per_token(kind, lab, 64, &at_once(cost::TOKENS)).await?.cpu_us]),
            Self::Streams512 => {
                let seen = cost::per_token(kind, lab, 512, &paced(0.0, 5.0, cost::TOKENS)).await?;
                Ok(vec![seen.cpu_us, seen.tokens_s])
            }
            Self::FirstToken => latency::added_first_token(kind).await,
            Self::Memory => memory::idle_and_open(kind).await,
            Self::Ready => latency::ready(kind).await,
            Self::SlowEngine => behaviour::slow_engine(kind, lab).await,
            Self::ClientLeft => behaviour::client_left(kind).await,
            Self::Revived => behaviour::revived(kind).await,
            Self::Peer => peer::per_ask(kind, lab, SMALL).await,
            Self::Throughput => behaviour::throughput(kind, lab).await,
        }
    }
}
