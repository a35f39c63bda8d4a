//! `onsale check`: a doctor for both stores. It reads settings and changes nothing.

use std::fmt;
use std::time::{Duration, SystemTime};

use anyhow::anyhow;

use super::Failure;
use crate::config::{Resolver, Stores, read_telemetry};
use crate::redis::Redis;
use crate::{postgres, telemetry};

mod database;
mod redis;

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
    let mut findings = redis::examine(&redis).await;
    findings.extend(database::examine(&pool, stores.database.connections_max).await);
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
#[derive(Debug)]
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

    /// Says of which server it is.
    fn of(self, server: &str) -> Self {
        Self { what: format!("{server}: {}", self.what), ..self }
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

/// How far a store's clock is from this machine's, if it said `said_ms` between `before` and now.
struct Skew {
    ms: i64,
    /// How wrong that may be: half of what the question took.
    within_ms: i64,
}

impl Skew {
    fn between(before: SystemTime, said_ms: i64) -> Self {
        let unix_ms = |time: SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        };
        let (sent_ms, heard_ms) = (unix_ms(before), unix_ms(SystemTime::now()));
        let middle_ms = i64::midpoint(sent_ms, heard_ms);
        Self { ms: said_ms - middle_ms, within_ms: (heard_ms - sent_ms) / 2 + 1 }
    }

    /// No claim of this clock decides a sale, but the dates of a log and the life of a JWT do.
    fn judge(&self) -> Finding {
        if self.ms.abs() > SKEW_MAX_MS + self.within_ms {
            Finding::advice(format!(
                "its clock is {} ms off this machine's: JWTs end and logs are dated by the \
                 server's clock, everything else by the stores'. Mend: run an NTP client on both",
                self.ms
            ))
        } else {
            Finding::good(format!("its clock is {} ms off this machine's", self.ms))
        }
    }
}

/// From here on two clocks are worth a word.
const SKEW_MAX_MS: i64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_what_it_is_off_for_certain() {
        let level = |ms, within_ms| Skew { ms, within_ms }.judge().level;
        assert_eq!(level(900, 1), Level::Good);
        assert_eq!(level(-1500, 600), Level::Good);
        assert_eq!(level(-1500, 400), Level::Advice);
    }
}
