//! `onsale dev`: the whole of Onsale on this machine, with stores of its own.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::{Failure, serve, signals};
use crate::config::{self, Config, Resolver, read_telemetry};
use crate::local::{self, ClusteredStores, Durability, LocalRedis, LocalStores, StoresOptions};
use crate::queue::TokenKeys;
use crate::{postgres, telemetry};

/// What the command line says of the private stores.
pub struct Stores {
    /// Their folder, if one was named.
    pub data: Option<PathBuf>,
    /// Whether to empty it first.
    pub reset: bool,
    /// Whether Redis is a cluster.
    pub cluster: bool,
}

/// Starts private stores, migrates, serves until SIGINT, SIGTERM or SIGHUP, and stops the
/// stores. A store that ends meanwhile is started again.
///
/// # Errors
///
/// The faults of the configuration, or what could not be started.
pub async fn command(mut resolver: Resolver, stores: Stores) -> Result<(), Failure> {
    let telemetry = read_telemetry(&mut resolver);
    open_to_demos(&mut resolver);
    sell_something(&mut resolver);
    let config = check_settings(resolver.clone())?;
    telemetry::init(&telemetry);
    // Tried before a store is started, or emptied; it is let go at once.
    drop(serve::listen_on(config.listen, config.http.reuse_port)?);
    let stop = signals::stop_token()?;
    signals::stop_on_hangup(&stop)?;
    let data = match stores.data {
        Some(data) => data,
        None => local::default_data_dir(&std::env::current_dir().context("no current folder")?)?,
    };
    let reset = stores.reset;
    let options = StoresOptions { dir: Some(data), reset, durability: Durability::Durable };
    if stores.cluster {
        clustered(options, resolver, stop).await
    } else {
        single(options, resolver, stop).await
    }
}

async fn single(
    options: StoresOptions,
    resolver: Resolver,
    stop: CancellationToken,
) -> Result<(), Failure> {
    announce("Redis", &options);
    let stores = LocalStores::start(options).await?;
    let private = Private {
        data: stores.folder().path(),
        redis_url: stores.redis.url(),
        redis_cli: format!("redis-cli -s {}", stores.redis.socket().display()),
        database_url: stores.postgres.url(),
    };
    let served = tokio::select! {
        served = serve_from(&private, resolver, stop) => served,
        never = stores.keep_running() => match never {},
    };
    let stopped = stores.stop().await;
    served?;
    Ok(stopped?)
}

async fn clustered(
    options: StoresOptions,
    resolver: Resolver,
    stop: CancellationToken,
) -> Result<(), Failure> {
    announce("Redis cluster", &options);
    let stores = ClusteredStores::start(options).await?;
    let port = stores.redis.nodes().iter().find_map(LocalRedis::port).unwrap_or(0);
    let private = Private {
        data: stores.redis.folder().path(),
        redis_url: stores.redis.url(),
        redis_cli: format!("redis-cli -c -p {port}"),
        database_url: stores.postgres.url(),
    };
    let served = tokio::select! {
        served = serve_from(&private, resolver, stop) => served,
        never = stores.keep_running() => match never {},
    };
    let stopped = stores.stop().await;
    served?;
    Ok(stopped?)
}

fn announce(redis: &str, options: &StoresOptions) {
    let data = options.dir.as_deref().unwrap_or(Path::new("")).display();
    println!("Starting a private {redis} and PostgreSQL in {data} …");
}

/// Private stores that run.
struct Private<'a> {
    data: &'a Path,
    redis_url: String,
    /// How people reach it.
    redis_cli: String,
    database_url: String,
}

async fn serve_from(
    stores: &Private<'_>,
    mut resolver: Resolver,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let key = kept_secret(&stores.data.join("token-key"))?;
    resolver.default_to("token_key", || key);
    let operators = operators_token(&mut resolver, stores.data)?;
    resolver.set("redis_url", stores.redis_url.clone());
    resolver.set("database_url", stores.database_url.clone());
    let mut config = Config::read(resolver)?;
    if config.default_concert.is_none() {
        // The given API lets a request name no concert: in a demo that must just work.
        config.default_concert = config.catalogue.iter().next().map(|concert| concert.id);
        config.catalogue.set_default(config.default_concert);
    }
    let pool = postgres::connect(&config.database)?;
    postgres::migrate(&pool).await.context("the schema could not be brought up to date")?;
    pool.close().await;
    let banner = |address| print_banner(address, &stores.redis_cli, &operators);
    Ok(serve::run(config, stop, None, Some(banner)).await?)
}

/// Everything that can be wrong is told before a store is started, and before `--reset` empties one:
/// with stand-ins for what only the stores know.
fn check_settings(mut resolver: Resolver) -> Result<Config, Failure> {
    resolver.default_to("token_key", TokenKeys::generate);
    for name in ["redis_url", "database_url"] {
        resolver.unset(name);
    }
    Ok(Config::read(resolver)?)
}

/// The demo catalogue, where there is none and none was asked for.
fn sell_something(resolver: &mut Resolver) {
    if resolver
        .text("concerts")
        .is_some_and(|path| path == "concerts.toml" && !Path::new(path).exists())
    {
        resolver.set("concerts", config::DEMO.to_owned());
    }
}

/// Whoever asks is believed, and demos and load tests come from one address.
fn open_to_demos(resolver: &mut Resolver) {
    resolver.set("trust_user_ids", "true".to_owned());
    resolver.default_to("arrivals_per_address", || "0".to_owned());
    resolver.default_to("polls_per_address", || "0".to_owned());
    resolver.default_to("streams_per_address", || "0".to_owned());
}

/// The operators' token, made in the data folder unless one is given; how people find it.
fn operators_token(resolver: &mut Resolver, data: &Path) -> anyhow::Result<String> {
    if resolver.text("admin_token").is_some() {
        return Ok("the ONSALE_ADMIN_TOKEN that was given".to_owned());
    }
    let path = data.join("admin-token");
    let token = kept_secret(&path)?;
    resolver.default_to("admin_token", || token);
    Ok(format!("the token in {}", path.display()))
}

/// A secret of the data folder, made at the first start: tokens outlive a restart.
fn kept_secret(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(secret) => return Ok(secret.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let secret = TokenKeys::generate();
    write_whole(path, &secret).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(secret)
}

/// Writes a secret under another name first: after a kill or a power cut it is there or it is not.
fn write_whole(path: &Path, secret: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

fn print_banner(address: SocketAddr, redis_cli: &str, operators: &str) {
    println!(
        "
Onsale serves on http://{address} (it believes every userId: for demos only)
Open it in a browser to buy a seat; the API is described at http://{address}/docs
Operators watch and steer at http://{address}/ops with {operators}

  TOKEN=$(curl -s -X POST http://{address}/user/token | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/')
  curl -s http://{address}/user/token/status -H \"Queue-Token: $TOKEN\"
  curl -s http://{address}/concert/available-dates -H \"Queue-Token: $TOKEN\"

Redis: {redis_cli}
Stop with Ctrl-C."
    );
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_start_that_was_killed_while_it_wrote_the_token_key_spoils_no_other() {
        let data = tempfile::tempdir().unwrap();
        // A folder in the way of the last step: as far as a killed start may get.
        let (path, unfinished) =
            (data.path().join("token-key"), data.path().join("token-key.unfinished"));
        fs::create_dir(&path).unwrap();
        assert!(write_whole(&path, "torn").is_err());
        assert_eq!(fs::read_to_string(&unfinished).unwrap(), "torn\n");
        fs::remove_dir(&path).unwrap();

        let key = kept_secret(&path).unwrap();
        assert!(TokenKeys::parse(&key).is_ok());
        assert_eq!(kept_secret(&path).unwrap(), key, "the next start finds it");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!unfinished.exists());
    }

    #[test]
    fn no_address_is_limited_unless_somebody_wants_to_see_it() {
        let given = |name: &str| (name == "polls_per_address").then(|| "7".to_owned());
        let mut resolver = Resolver::new(given, |_| None, None);
        open_to_demos(&mut resolver);
        assert_eq!(resolver.text("arrivals_per_address"), Some("0"));
        assert_eq!(resolver.text("polls_per_address"), Some("7"));
    }
}
