//! `onsale check`: a doctor for both stores. It reads settings and changes nothing.

use std::fmt;
use std::time::Duration;

use anyhow::anyhow;
use sqlx::{PgPool, Row};

use super::Failure;
use crate::config::{Resolver, Stores, read_telemetry};
use crate::postgres::SchemaState;
use crate::redis::{Redis, RedisError};
use crate::{postgres, telemetry};

/// The oldest Redis whose scripts this build was tested with.
const REDIS_MAJOR_MIN: u32 = 7;
/// The oldest PostgreSQL that this build's schema needs.
const POSTGRES_VERSION_MIN: i32 = 130_000;
/// How long to wait for a first connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Examines both stores and prints one line per finding.
///
/// # Errors
///
/// The faults of the configuration, or that a store has at least one fault.
pub async fn command(mut resolver: Resolver) -> Result<(), Failure> {
    let telemetry = read_telemetry(&mut resolver);
    let stores = Stores::read(resolver)?;
    telemetry::init(&telemetry);
    let redis = Redis::connect(&stores.redis, &[])?;
    let pool = postgres::connect(&stores.database)?;
    let mut findings = examine_redis(&redis).await;
    findings.extend(examine_postgres(&pool, stores.database.connections_max).await);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.iter().filter(|finding| finding.level == Level::Fault).count() {
        0 => Ok(()),
        n => Err(anyhow!("{n} fault(s): a sale could go wrong on these stores").into()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    Advice,
    Fault,
}

/// One thing that was looked at, and how to mend it if it is not good.
struct Finding {
    level: Level,
    what: String,
}

impl Finding {
    fn good(what: impl Into<String>) -> Self {
        Self { level: Level::Good, what: what.into() }
    }

    fn advice(what: impl Into<String>) -> Self {
        Self { level: Level::Advice, what: what.into() }
    }

    fn fault(what: impl Into<String>) -> Self {
        Self { level: Level::Fault, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Good => "ok    ",
            Level::Advice => "advice",
            Level::Fault => "FAULT ",
        };
        write!(f, "{level}  {}", self.what)
    }
}

async fn examine_redis(redis: &Redis) -> Vec<Finding> {
    let answers = async {
        while redis.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(CONNECT_WITHIN, answers).await.is_err() {
        return vec![Finding::fault("Redis does not answer at ONSALE_REDIS_URL")];
    }
    let mut findings = vec![redis_version(redis).await];
    for (name, judge) in REDIS_SETTINGS {
        findings.push(match redis.config_get(name).await {
            Ok(Some(value)) => judge(&value),
            Ok(None) | Err(RedisError::Refused { .. }) => Finding::advice(format!(
                "Redis does not tell {name} (a hosted Redis may forbid CONFIG): look it up yourself"
            )),
            Err(error) => Finding::fault(format!("Redis {name}: {error}")),
        });
    }
    findings
}

async fn redis_version(redis: &Redis) -> Finding {
    let info = redis.info("server").await.unwrap_or_default();
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= REDIS_MAJOR_MIN => Finding::good(format!("Redis {version}")),
        Some(_) => Finding::fault(format!("Redis {version} is older than {REDIS_MAJOR_MIN}.0")),
        None => Finding::advice("Redis does not tell its version"),
    }
}

type Judge = fn(&str) -> Finding;

/// The settings of Redis that matter, each with its judgement.
const REDIS_SETTINGS: &[(&str, Judge)] = &[
    ("maxmemory-policy", |policy| match policy {
        "noeviction" => Finding::good("Redis drops no key when its memory is full"),
        _ => Finding::fault(format!(
            "maxmemory-policy is {policy}: Redis would silently drop the line or the sold set. \
             Mend: CONFIG SET maxmemory-policy noeviction, and in redis.conf"
        )),
    }),
    ("appendonly", |value| match value {
        "yes" => Finding::good("Redis keeps an append-only file"),
        _ => Finding::advice(
            "appendonly is no: a restart of Redis loses places and holds (never money or sold \
             seats). Mend: CONFIG SET appendonly yes",
        ),
    }),
    ("appendfsync", |value| match value {
        "no" => Finding::advice("appendfsync is no: a power cut loses more than the last second"),
        _ => Finding::good(format!("Redis syncs its file: appendfsync {value}")),
    }),
    ("cluster-allow-reads-when-down", |value| match value {
        "no" => Finding::good("Redis refuses reads while its cluster is down"),
        _ => Finding::advice("cluster-allow-reads-when-down is yes: positions may be old"),
    }),
];

async fn examine_postgres(pool: &PgPool, connections_max: u32) -> Vec<Finding> {
    let read = sqlx::query(
        "select current_setting('server_version_num')::int4 as version,
                current_setting('server_version') as version_text,
                current_setting('fsync') = 'on' as fsync,
                current_setting('full_page_writes') = 'on' as full_page_writes,
                current_setting('synchronous_commit') as synchronous_commit,
                current_setting('max_connections')::int4 as connections,
                pg_is_in_recovery() as standby",
    )
    .fetch_one(pool);
    let row = match tokio::time::timeout(CONNECT_WITHIN, read).await {
        Ok(Ok(row)) => row,
        Ok(Err(error)) => {
            return vec![Finding::fault(format!("PostgreSQL at ONSALE_DATABASE_URL: {error}"))];
        }
        Err(_) => {
            return vec![Finding::fault("PostgreSQL does not answer at ONSALE_DATABASE_URL")];
        }
    };
    let mut findings = vec![postgres_version(row.get("version"), row.get("version_text"))];
    findings.push(durability(&row));
    findings.push(if row.get("standby") {
        Finding::fault("PostgreSQL is a standby: it takes no payment. Name the primary")
    } else {
        Finding::good("PostgreSQL is a primary")
    });
    findings.push(connections(row.get("connections"), connections_max));
    findings.push(match postgres::schema_state(pool).await {
        Ok(SchemaState::Current) => Finding::good("the schema is up to date"),
        Ok(SchemaState::Behind) => Finding::fault("the schema is behind. Mend: onsale migrate"),
        Err(error) => Finding::fault(format!("the schema cannot be read: {error}")),
    });
    findings
}

fn postgres_version(number: i32, text: &str) -> Finding {
    if number >= POSTGRES_VERSION_MIN {
        Finding::good(format!("PostgreSQL {text}"))
    } else {
        Finding::fault(format!("PostgreSQL {text} is older than 13"))
    }
}

fn durability(row: &sqlx::postgres::PgRow) -> Finding {
    let commit: &str = row.get("synchronous_commit");
    let lies = match (row.get("fsync"), row.get("full_page_writes"), commit) {
        (false, _, _) => "fsync is off",
        (_, false, _) => "full_page_writes is off",
        (_, _, "off") => "synchronous_commit is off",
        _ => return Finding::good("PostgreSQL answers a commit when it is on disk"),
    };
    Finding::fault(format!(
        "{lies}: a crash could lose payments that were answered with success. Mend: set it on"
    ))
}

fn connections(server: i32, own: u32) -> Finding {
    let servers = u32::try_from(server).unwrap_or(0).saturating_sub(3) / own.max(1);
    let what = format!(
        "max_connections is {server}: room for {servers} server(s) with {own} connections each"
    );
    if servers == 0 { Finding::fault(what) } else { Finding::good(what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_policy_that_drops_keys_is_a_fault() {
        let judge = |name: &str, value: &str| {
            REDIS_SETTINGS
                .iter()
                .find(|(setting, _)| *setting == name)
                .map(|(_, judge)| judge(value).level)
        };
        assert_eq!(judge("maxmemory-policy", "noeviction"), Some(Level::Good));
        assert_eq!(judge("maxmemory-policy", "allkeys-lru"), Some(Level::Fault));
        assert_eq!(judge("appendonly", "no"), Some(Level::Advice));
    }

    #[test]
    fn a_pool_that_does_not_fit_is_a_fault() {
        assert_eq!(connections(100, 24).level, Level::Good);
        assert_eq!(connections(20, 24).level, Level::Fault);
    }
}
