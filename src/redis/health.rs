//! How the calls of this process went, for whoever watches it: nothing is asked here.

use super::Redis;
use crate::metrics::Latencies;

/// One Redis that takes writes, as this process sees it.
#[derive(Debug, Clone)]
pub struct NodeHealth {
    /// Its address.
    pub name: String,
    /// Whether a call would be sent to it now.
    pub up: bool,
    /// How often calls to it were refused because too many in a row had failed.
    pub breaker_opened: u64,
}

/// Calls of one kind.
#[derive(Debug, Clone)]
pub struct CallsHealth {
    /// A script's name, `MGET` (the reads that travel together) or `read` (those that do not).
    pub name: &'static str,
    /// How long those took that were answered.
    pub latencies: Latencies,
    /// Those that were not.
    pub failed: u64,
}

impl Redis {
    /// The servers that take writes, as far as they are known.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeHealth> {
        let health = |node: &std::sync::Arc<super::node::Node>| NodeHealth {
            name: node.name.clone(),
            up: node.is_up(),
            breaker_opened: node.breaker_opened(),
        };
        self.map().nodes().iter().map(health).collect()
    }

    /// How many calls are in flight, and how many may be.
    #[must_use]
    pub fn in_flight(&self) -> (usize, usize) {
        let most = self.0.calls_max;
        (most.saturating_sub(self.0.permits.available_permits()), most)
    }

    /// Calls of every script that is loaded, and of plain reads.
    #[must_use]
    pub fn calls(&self) -> Vec<CallsHealth> {
        let scripts = self.0.scripts.iter().map(|script| (script.name, &script.calls));
        let reads = [("MGET", &self.0.reads.calls), ("read", &self.0.plain_reads)];
        scripts
            .chain(reads)
            .map(|(name, calls)| {
                let (latencies, failed) = calls.read();
                CallsHealth { name, latencies, failed }
            })
            .collect()
    }
}
