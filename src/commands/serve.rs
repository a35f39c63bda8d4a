//! `onsale serve`: one server of a deployment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Failure, signals};
use crate::app::{App, AppState};
use crate::concerts::{Catalogue, file};
use crate::config::{Config, Resolver, read_telemetry};
use crate::{http, telemetry};

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// The faults of the configuration, or why the server could not start. A store that is away is no
/// such reason: the server starts and says so in `/readyz`.
pub async fn command(mut resolver: Resolver) -> Result<(), Failure> {
    let telemetry = read_telemetry(&mut resolver);
    let config = Config::read(resolver)?;
    telemetry::init(&telemetry);
    let stop = signals::stop_token()?;
    let reloads = Some(signals::hangups()?);
    Ok(run(config, stop, reloads, None::<fn(SocketAddr)>).await?)
}

/// Serves `config` until `stop`, and reads the catalogue again on each of `reloads`. `announce` is
/// told the address once the server is ready.
///
/// # Errors
///
/// If the address cannot be listened on, or a part of the server cannot start.
pub async fn run(
    config: Config,
    stop: CancellationToken,
    reloads: Option<Signal>,
    announce: Option<impl FnOnce(SocketAddr)>,
) -> anyhow::Result<()> {
    let listen = config.listen;
    let limits = config.http.clone();
    let reload = Reload { path: config.catalogue_path.clone(), default: config.default_concert };
    if let Err(error) = http::sockets::raise_open_files_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let listener = || listen_on(listen, limits.reuse_port);
    // Who shares a port is dealt its connections at once, so it must be ready before.
    let (listener, app) = if limits.reuse_port {
        let app = App::start(config).await?;
        wait_until_ready(&app).await;
        (listener()?, app)
    } else {
        (listener()?, App::start(config).await?)
    };
    if let Some(reloads) = reloads {
        tokio::spawn(reload.on_each(reloads, app.clone()));
    }
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving");
    if let Some(announce) = announce {
        // Whoever reads it asks at once.
        stop.run_until_cancelled(wait_until_ready(&app)).await;
        announce(address);
    }
    let report = http::server::serve(listener, app.front(), stop, &limits).await;
    tracing::info!(?report, "stopped");
    app.stop().await;
    Ok(())
}

/// Listens, or says why not and what to change.
///
/// # Errors
///
/// If the address is taken, or none of this machine.
pub fn listen_on(listen: SocketAddr, reuse_port: bool) -> anyhow::Result<TcpListener> {
    http::sockets::listen(listen, reuse_port)
        .with_context(|| format!("cannot listen on {listen} (--listen names another address)"))
}

/// How long a server waits for its stores before it is used; then it says what is missing.
const READY_WITHIN: Duration = Duration::from_secs(10);

async fn wait_until_ready(app: &AppState) {
    let deadline = Instant::now() + READY_WITHIN;
    while Instant::now() < deadline && !app.readiness.look().await.can_sell {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How the catalogue is read again.
struct Reload {
    path: Option<PathBuf>,
    default: Option<crate::words::ConcertId>,
}

impl Reload {
    async fn on_each(self, mut hangups: Signal, app: AppState) {
        while hangups.recv().await.is_some() {
            let Some(path) = &self.path else {
                tracing::warn!("SIGHUP: the catalogue is built in, there is nothing to read");
                continue;
            };
            match self.read(path).await {
                Ok(catalogue) => {
                    let concerts = catalogue.iter().count();
                    tracing::info!(concerts, "read the catalogue again");
                    app.concerts.replace(catalogue);
                }
                Err(faults) => {
                    for fault in faults {
                        tracing::error!(fault, "the catalogue stays as it was");
                    }
                }
            }
        }
    }

    /// The catalogue in the file, if a server could start with it.
    async fn read(&self, path: &Path) -> Result<Catalogue, Vec<String>> {
        let text =
            tokio::fs::read_to_string(path).await.map_err(|error| vec![error.to_string()])?;
        let concerts = file::parse(&text)
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let catalogue = Catalogue::new(concerts, self.default);
        if !catalogue.has_its_default() {
            return Err(vec!["ONSALE_DEFAULT_CONCERT is not in the catalogue".to_owned()]);
        }
        Ok(catalogue)
    }
}
