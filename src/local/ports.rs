//! TCP ports of 127.0.0.1 for servers that others must find again.
//!
//! They lie below the range from which systems take the ports of outgoing connections, so that a
//! server that is restarted does not find its port taken by somebody's connection.

use std::fs;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::Context;

const RANGE: RangeInclusive<u16> = 15_000..=31_999;

/// How many ports are tried before giving up.
const TRIES: u32 = 200;

/// Where the ports of the last start are written down.
const FILE: &str = "ports";

/// The ports of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    /// For clients.
    pub(super) clients: u16,
    /// For the other nodes of a cluster.
    pub(super) bus: u16,
}

impl Ports {
    /// Two that nobody listens on right now.
    pub(super) fn free() -> anyhow::Result<Self> {
        // Both are held until both are found, or they might be the same.
        let (clients, _held) = listen_somewhere()?;
        let (bus, _) = listen_somewhere()?;
        Ok(Self { clients, bus })
    }

    /// Those of the last start in `part`, if nobody listens on them now.
    pub(super) fn of_last_time(part: &Path) -> Option<Self> {
        let text = fs::read_to_string(part.join(FILE)).ok()?;
        let (clients, bus) = text.trim().split_once(' ')?;
        let ports = Self { clients: clients.parse().ok()?, bus: bus.parse().ok()? };
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        (is_free(ports.clients) && is_free(ports.bus)).then_some(ports)
    }

    /// Writes them down for the next start.
    pub(super) fn remember(self, part: &Path) -> anyhow::Result<()> {
        fs::write(part.join(FILE), format!("{} {}\n", self.clients, self.bus))
            .context("cannot write the ports down")
    }
}

fn listen_somewhere() -> anyhow::Result<(u16, TcpListener)> {
    for _ in 0..TRIES {
        let port = rand::random_range(RANGE);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok((port, listener));
        }
    }
    anyhow::bail!("no free TCP port in {RANGE:?}")
}
