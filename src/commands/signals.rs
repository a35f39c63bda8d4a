//! Signals: SIGINT and SIGTERM stop the server. SIGHUP makes `serve` read the catalogue again; `dev`
//! lives in a terminal, so there it is the end of that terminal, and stops it too.

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

/// Cancels `token` on SIGHUP too.
///
/// # Errors
///
/// As [`stop_token`].
pub fn stop_on_hangup(token: &CancellationToken) -> anyhow::Result<()> {
    let (mut hangups, token) = (hangups()?, token.clone());
    tokio::spawn(async move {
        hangups.recv().await;
        tracing::info!(signal = "SIGHUP", "stopping");
        token.cancel();
    });
    Ok(())
}

/// The stream of SIGHUP.
///
/// # Errors
///
/// As [`stop_token`].
pub fn hangups() -> anyhow::Result<Signal> {
    Ok(signal(SignalKind::hangup())?)
}
