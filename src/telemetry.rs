//! Logs: one line per event on standard error, as text or JSON.
//!
//! Never in a log: a token, an Idempotency-Key, a query string, a password or a connection URL.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How to log.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// A filter in the form of `tracing-subscriber`, checked at start.
    pub filter: String,
    /// Whether each line is a JSON object.
    pub json: bool,
}

/// Whether `filter` is one that [`init`] understands.
#[must_use]
pub fn is_filter(filter: &str) -> bool {
    EnvFilter::builder().parse(filter).is_ok()
}

/// Starts logging, for the life of the process. A second call changes nothing.
pub fn init(config: &TelemetryConfig) {
    let filter = EnvFilter::builder().parse_lossy(&config.filter);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_span_events(FmtSpan::NONE);
    let started = if config.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
