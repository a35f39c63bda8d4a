//! Signals: SIGINT and SIGTERM stop the server. SIGHUP makes `serve` read the catalogue again; `dev`
//! lives in a terminal, so there it is the end of that terminal, and stops it too, unless whoever
//! started it (`nohup`) has it ignored.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT or SIGTERM.
///
/// # Errors
///
/// If the operating system does not let this process listen for signals.
pub fn stop_token() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        tracing::info!(signal = name, "stopping");
        cancelled.cancel();
    });
    Ok(token)
}

/// Cancels `token` on SIGHUP too, unless this process was started with SIGHUP ignored.
///
/// # Errors
///
/// As [`stop_token`].
pub fn stop_on_hangup(token: &CancellationToken) -> anyhow::Result<()> {
    if ignores_hangups() {
        return Ok(());
    }
    let (mut hangups, token) = (hangups()?, token.clone());
    tokio::spawn(async move {
        hangups.recv().await;
        tracing::info!(signal = "SIGHUP", "stopping");
        token.cancel();
    });
    Ok(())
}

/// Whether SIGHUP is ignored, as Linux tells; where nobody tells, it is not. To be asked before
/// anything here listens for it.
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is signal 1, the lowest bit.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

/// The stream of SIGHUP.
///
/// # Errors
///
/// As [`stop_token`].
pub fn hangups() -> anyhow::Result<Signal> {
    Ok(signal(SignalKind::hangup())?)
}
