//! The policies that are compared: ours, and those that other routers use.

use std::fmt;

/// How a node is chosen for an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The router of the daemon, with its gate at each node.
    Tm,
    /// One after the other.
    RoundRobin,
    /// The fewest asks that run or wait.
    LeastConnections,
    /// The better of two drawn by chance, by asks that run or wait.
    PowerOfTwo,
    /// Nodes that have the model in memory (or will have), the quickest of them; else the quickest.
    WarmFirst,
    /// The lowest wait + load + own work, each ask for itself.
    Cost,
    /// As `Cost`, knowing the length of every answer.
    Oracle,
}

impl Policy {
    /// Every policy.
    pub const ALL: &'static [Self] = &[
        Self::Tm,
        Self::RoundRobin,
        Self::LeastConnections,
        Self::PowerOfTwo,
        Self::WarmFirst,
        Self::Cost,
        Self::Oracle,
    ];

    /// Its name in options and results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tm => "tm",
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
            Self::PowerOfTwo => "p2c",
            Self::WarmFirst => "warm-first",
            Self::Cost => "cost",
            Self::Oracle => "oracle",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|policy| policy.as_str() == text)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
