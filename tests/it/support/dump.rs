//! Everything that both stores hold of a test, before and after: a refusal that wrote anything shows.

use onsale::redis::Key;

use super::RawRedis;
use super::server::Deployment;

/// Everything that both stores hold of `deployment`, with the moments at which keys expire. What
/// the clock alone changes is left out: the credit of the promotion, and what each second is noted.
pub async fn dump(deployment: &Deployment, redis: &mut RawRedis) -> Vec<String> {
    let mut seen = Vec::new();
    for concert in &deployment.concerts {
        let mut keys = redis.say(&format!("KEYS {{c{}}}:*", concert.id)).await.texts();
        let ticking = [&concert.keys.pace, &concert.keys.series, &concert.keys.servers];
        let ticking = ticking.into_iter().chain([&concert.keys.polls]).map(Key::as_str);
        keys.retain(|key| !ticking.clone().any(|name| name == key));
        keys.sort();
        for key in keys {
            let value = value_of(redis, &key).await;
            let expires = redis.send(&["PEXPIRETIME", &key]).await.int();
            seen.push(format!("{key} {value}, expires {expires}"));
        }
    }
    let database = deployment.database().await;
    for table in
        ["balances", "payments", "owned_seats", "ledger", "idempotency_keys", "withheld_seats"]
    {
        let sql = format!(
            "select coalesce(string_agg(t::text, ' ' order by t::text), '') from {table} t"
        );
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_one(&database)
            .await
            .expect("all rows");
        seen.push(format!("{table}: {rows}"));
    }
    database.close().await;
    seen
}

/// The value of a key, so that any change of it shows.
async fn value_of(redis: &mut RawRedis, key: &str) -> String {
    match redis.send(&["TYPE", key]).await.text() {
        "hash" => format!("{:?}", redis.send(&["HGETALL", key]).await.pairs()),
        "zset" => {
            format!("{:?}", redis.send(&["ZRANGE", key, "0", "-1", "WITHSCORES"]).await.texts())
        }
        "string" => {
            let bits = redis.send(&["BITCOUNT", key]).await.int();
            format!("{:?}, {bits} bits", redis.send(&["GET", key]).await)
        }
        // It ended between the listing and the look.
        "none" => "none".to_owned(),
        other => panic!("{key} is a {other}"),
    }
}

/// The lines that are gone, but for keys that have come to their end by the clock, and the new ones.
fn difference(before: &[String], after: &[String]) -> (Vec<String>, Vec<String>) {
    let missing = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).cloned().collect()
    };
    let now_ms = chrono::Utc::now().timestamp_millis();
    let has_ended = |line: &String| {
        let expires = line.rsplit_once(", expires ").and_then(|(_, at)| at.parse::<i64>().ok());
        expires.is_some_and(|at| (0..=now_ms).contains(&at))
    };
    let mut gone = missing(before, after);
    gone.retain(|line| !has_ended(line));
    (gone, missing(after, before))
}

/// Fails with the lines that differ.
#[track_caller]
pub fn assert_unchanged(before: &[String], after: &[String]) {
    let (gone, new) = difference(before, after);
    assert!(gone.is_empty() && new.is_empty(), "a refusal changed {gone:#?}\nto {new:#?}");
}

/// Waits until no job of a server has anything left to do: for more than a second nothing changes.
pub async fn at_rest(deployment: &Deployment, redis: &mut RawRedis) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let first = dump(deployment, redis).await;
        tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
        let second = dump(deployment, redis).await;
        if difference(&first, &second) == (Vec::new(), Vec::new()) {
            return second;
        }
        assert!(tokio::time::Instant::now() < deadline, "the stores do not come to rest");
    }
}
