//! What `onsale check` looks at in every Redis: those that take writes, and their replicas.

use std::time::SystemTime;

use super::{CONNECT_WITHIN, Finding, SKEW_MAX_MS, Skew};
use crate::redis::{Redis, RedisError, RedisSentinel, RedisServer};

/// The oldest Redis whose scripts this build was tested with.
const MAJOR_MIN: u32 = 7;

/// From here on a replica lacks too much to take over.
const LAG_MAX_S: u64 = 10;

pub(super) async fn examine(redis: &Redis) -> Vec<Finding> {
    let answers = async {
        while redis.ping().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    // In a cluster some may answer and others not.
    let is_silent = tokio::time::timeout(CONNECT_WITHIN, answers).await.is_err();
    let mut findings = examine_sentinels(redis).await;
    if is_silent && redis.servers().is_empty() {
        let what = "nobody at ONSALE_REDIS_URL says which Redis takes writes";
        findings.push(Finding::fault(what));
        return findings;
    }
    let mut skews = Vec::new();
    for primary in redis.servers() {
        skews.extend(examine_server(&primary, &mut findings).await);
        let mode = primary.info("server").await.unwrap_or_default();
        findings.extend(judge_mode(&mode, redis.is_cluster()).map(|it| it.of(primary.name())));
        let Ok(replication) = primary.info("replication").await else { continue };
        let replicas = Replica::read(&replication);
        findings.extend(judge_role(&replication).map(|finding| finding.of(primary.name())));
        let must_have = redis.has_failover();
        findings.push(judge_replicas(&replicas, must_have).of(primary.name()));
        for replica in &replicas {
            let Ok(server) = redis.replica(&replica.host, replica.port) else { continue };
            wait_for(&server).await;
            skews.extend(examine_server(&server, &mut findings).await);
        }
    }
    findings.extend(judge_slots(redis).await);
    findings.extend(judge_skews(&skews));
    findings
}

/// Each is asked, because each may be cut off from the others.
async fn examine_sentinels(redis: &Redis) -> Vec<Finding> {
    let sentinels = match redis.sentinels() {
        Ok(sentinels) => sentinels,
        Err(error) => return vec![Finding::fault(format!("the Sentinels: {error}"))],
    };
    let asked = sentinels.iter().map(async |sentinel| {
        let asked = tokio::time::timeout(CONNECT_WITHIN, quorum_of(sentinel)).await;
        let said = asked.unwrap_or(Err(RedisError::Unavailable));
        judge_quorum(said).of(&format!("Sentinel {}", sentinel.name()))
    });
    futures::future::join_all(asked).await
}

async fn quorum_of(sentinel: &RedisSentinel) -> Result<(), RedisError> {
    while !sentinel.is_open() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    sentinel.check_quorum().await
}

fn judge_quorum(said: Result<(), RedisError>) -> Finding {
    match said {
        Ok(()) => Finding::good("knows enough Sentinels to agree on a failover"),
        Err(RedisError::Refused { source, .. }) if source.details().starts_with("NOQUORUM") => {
            Finding::fault(format!(
                "{}: nobody would take over from a primary that is lost. Mend: start the Sentinels \
                 that are away (SENTINEL SENTINELS <service> lists them); if some are gone for \
                 good, SENTINEL RESET <service> on each that is left, and SENTINEL SET <service> \
                 quorum",
                source.details()
            ))
        }
        Err(RedisError::Refused { source, .. }) => Finding::fault(format!(
            "{}. Mend: the sentinelServiceName of ONSALE_REDIS_URL, or SENTINEL MONITOR there",
            source.details()
        )),
        Err(_) => Finding::fault(
            "does not answer. Mend: see that it runs and that this machine may reach it; \
             ONSALE_REDIS_URL names the Sentinels",
        ),
    }
}

/// A replica is connected to only now.
async fn wait_for(server: &RedisServer) {
    let answers = async {
        while server.ping().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(CONNECT_WITHIN, answers).await;
}

/// How far its clock is off this machine's, if it answers.
async fn examine_server(server: &RedisServer, findings: &mut Vec<Finding>) -> Option<i64> {
    let name = server.name();
    if server.ping().await.is_err() {
        let what = "does not answer. Mend: see that it runs and that this machine may reach it";
        findings.push(Finding::fault(what).of(name));
        return None;
    }
    let info = server.info("server").await.unwrap_or_default();
    findings.push(judge_version(field(&info, "redis_version")).of(name));
    let is_in_cluster = field(&info, "redis_mode") == Some("cluster");
    let matters = |name: &str| is_in_cluster || !name.starts_with("cluster-");
    for (setting, judge) in SETTINGS.iter().filter(|(name, _)| matters(name)) {
        let finding = match server.config_get(setting).await {
            Ok(Some(value)) => judge(&value),
            // Not a setting of this kind or version of Redis.
            Ok(None) => continue,
            Err(RedisError::Refused { .. }) => Finding::advice(format!(
                "does not tell {setting} (a hosted Redis may forbid CONFIG): look it up yourself"
            )),
            Err(error) => Finding::fault(format!("{setting}: {error}")),
        };
        findings.push(finding.of(name));
    }
    let before = SystemTime::now();
    let skew = Skew::between(before, server.now_ms().await.ok()?);
    findings.push(skew.judge().of(name));
    Some(skew.ms)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

fn judge_version(version: Option<&str>) -> Finding {
    let Some(version) = version else {
        return Finding::advice("does not tell its version");
    };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= MAJOR_MIN) {
        Finding::good(format!("Redis {version}"))
    } else {
        Finding::fault(format!(
            "Redis {version} is older than {MAJOR_MIN}.0. Mend: install a newer one"
        ))
    }
}

type Judge = fn(&str) -> Finding;

/// The settings of Redis that matter, each with its judgement.
const SETTINGS: &[(&str, Judge)] = &[
    ("maxmemory-policy", |policy| match policy {
        "noeviction" => Finding::good("drops no key when its memory is full"),
        _ => Finding::fault(format!(
            "maxmemory-policy is {policy}: it would silently drop the line or the sold set. \
             Mend: CONFIG SET maxmemory-policy noeviction, and in redis.conf"
        )),
    }),
    ("appendonly", |value| match value {
        "yes" => Finding::good("keeps an append-only file"),
        _ => Finding::advice(
            "appendonly is no: a restart loses places and holds (never money or sold seats). \
             Mend: CONFIG SET appendonly yes, and in redis.conf",
        ),
    }),
    ("appendfsync", |value| match value {
        "no" => Finding::advice(
            "appendfsync is no: a power cut loses more than the last second. \
             Mend: CONFIG SET appendfsync everysec, and in redis.conf",
        ),
        _ => Finding::good(format!("syncs its file: appendfsync {value}")),
    }),
    ("min-replicas-to-write", |count| match count {
        "0" => Finding::good("takes writes without a replica, too"),
        _ => Finding::advice(format!(
            "min-replicas-to-write is {count}: with fewer replicas nobody can arrive or reserve. \
             That is right only if a short stop is better than a few lost places"
        )),
    }),
    ("cluster-require-full-coverage", |value| match value {
        "no" => Finding::good("serves its slots while others are away"),
        _ => Finding::advice(
            "cluster-require-full-coverage is yes: one shard that is away stops the sale of all \
             concerts. Mend: CONFIG SET cluster-require-full-coverage no, and in redis.conf",
        ),
    }),
    ("cluster-allow-reads-when-down", |value| match value {
        "no" => Finding::good("refuses reads while its cluster is down"),
        _ => Finding::advice(
            "cluster-allow-reads-when-down is yes: positions may be old. \
             Mend: CONFIG SET cluster-allow-reads-when-down no, and in redis.conf",
        ),
    }),
];

/// A replica, as its primary sees it.
#[derive(Debug, PartialEq, Eq)]
struct Replica {
    host: String,
    port: u16,
    is_online: bool,
    lag_s: u64,
}

impl Replica {
    /// From lines like `slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=0`.
    fn read(replication: &str) -> Vec<Self> {
        let lines = replication.lines().filter(|line| line.starts_with("slave"));
        lines.filter_map(|line| Self::read_line(line.split_once(':')?.1)).collect()
    }

    fn read_line(words: &str) -> Option<Self> {
        let value = |name: &str| {
            words.split(',').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        Some(Self {
            host: value("ip")?.to_owned(),
            port: value("port")?.parse().ok()?,
            is_online: value("state")? == "online",
            lag_s: value("lag")?.trim().parse().ok()?,
        })
    }
}

/// Whoever is named as the one that takes writes.
fn judge_role(replication: &str) -> Option<Finding> {
    (field(replication, "role") == Some("slave")).then(|| {
        Finding::fault(
            "is a replica and takes no writes. Mend: name its primary in ONSALE_REDIS_URL, or the \
             Sentinels (redis-sentinel://)",
        )
    })
}

fn judge_mode(server: &str, is_named_so: bool) -> Option<Finding> {
    (field(server, "redis_mode") == Some("cluster") && !is_named_so).then(|| {
        Finding::fault(
            "is one of a cluster, and the concerts of all others could not be sold. \
             Mend: redis-cluster:// in ONSALE_REDIS_URL",
        )
    })
}

fn judge_replicas(replicas: &[Replica], must_have: bool) -> Finding {
    let able = |replica: &&Replica| replica.is_online && replica.lag_s <= LAG_MAX_S;
    match (replicas.iter().filter(able).count(), replicas.len()) {
        (0, 0) if !must_have => Finding::advice(
            "has no replica: while it is away nothing is sold. Mend: a replica with Sentinels, or \
             a cluster",
        ),
        (0, _) if must_have => Finding::fault(
            "has no replica that could take over. Mend: start one, and see that it follows \
             (INFO replication: state=online, a small lag)",
        ),
        (able, all) if able == all => Finding::good(format!("{all} replica(s) follow")),
        (able, all) => Finding::advice(format!(
            "only {able} of {all} replicas follow. Mend: see why (INFO replication)"
        )),
    }
}

async fn judge_slots(redis: &Redis) -> Option<Finding> {
    let info = redis.servers().first()?.cluster_info().await.ok()?;
    let (state, served) = (field(&info, "cluster_state")?, field(&info, "cluster_slots_ok")?);
    Some(match (state, served) {
        ("ok", "16384") => Finding::good("the cluster serves all slots"),
        _ => Finding::fault(format!(
            "the cluster is {state} and serves {served} of 16384 slots: some concerts cannot be \
             sold. Mend: redis-cli --cluster check, and fix"
        )),
    })
}

/// Deadlines are by the clock of the Redis that takes writes: with its successor they would jump.
fn judge_skews(skews: &[i64]) -> Option<Finding> {
    let (least, most) = (skews.iter().min()?, skews.iter().max()?);
    let apart_ms = most - least;
    (skews.len() > 1).then(|| {
        if apart_ms > SKEW_MAX_MS {
            Finding::fault(format!(
                "the clocks of the Redis are {apart_ms} ms apart: a failover would end holds and \
                 tokens that much too early or too late. Mend: run an NTP client on each"
            ))
        } else {
            Finding::good(format!("the clocks of the Redis are at most {apart_ms} ms apart"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_setting_that_loses_what_is_sold_is_a_fault_and_one_that_loses_a_second_is_not() {
        let judge = |name: &str, value: &str| {
            let judge = SETTINGS.iter().find(|(setting, _)| *setting == name);
            judge.map(|(_, judge)| judge(value).level)
        };
        assert_eq!(judge("maxmemory-policy", "noeviction"), Some(Level::Good));
        assert_eq!(judge("maxmemory-policy", "allkeys-lru"), Some(Level::Fault));
        assert_eq!(judge("appendonly", "no"), Some(Level::Advice));
        assert_eq!(judge("cluster-require-full-coverage", "yes"), Some(Level::Advice));
    }

    #[test]
    fn who_can_be_replaced_needs_a_replica_that_follows() {
        let info = "role:master\r\nconnected_slaves:2\r\n\
                    slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=0\r\n\
                    slave1:ip=10.0.0.3,port=6380,state=wait_bgsave,offset=0,lag=0\r\n";
        let replicas = Replica::read(info);
        assert_eq!((replicas.len(), replicas[1].port), (2, 6380));
        let level = |replicas: &[Replica], must_have| judge_replicas(replicas, must_have).level;
        assert_eq!(level(&replicas, true), Level::Advice);
        assert_eq!(level(&replicas[..1], true), Level::Good);
        assert_eq!(level(&replicas[1..], true), Level::Fault);
        assert_eq!(level(&[], true), Level::Fault);
        assert_eq!(level(&[], false), Level::Advice);
    }

    #[test]
    fn clocks_that_differ_are_a_fault_where_one_takes_over_from_the_other() {
        let level = |skews: &[i64]| judge_skews(skews).map(|finding| finding.level);
        assert_eq!(level(&[700_000]), None, "nobody takes over");
        assert_eq!(level(&[-400, 500]), Some(Level::Good));
        assert_eq!(level(&[-600, 500]), Some(Level::Fault));
    }
}
