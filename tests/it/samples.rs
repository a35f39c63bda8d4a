//! The last hour in Redis: one row per second, whichever servers there are.

use onsale::concerts::Concert;
use onsale::ops::SCRIPTS;
use onsale::ops::scripts::{Sample, TakeSample};
use onsale::redis::Redis;
use serde_json::json;

use crate::support::server::Deployment;
use crate::support::{self, RawRedis, concert, eventually};

const ROWS_MAX: i64 = 3_600;

async fn take(redis: &Redis, concert: &Concert, server: &str, polls: u64) -> Sample {
    let call = TakeSample { concert, server, polls, estimate: None };
    redis.run(&call).await.expect("a sample")
}

/// The rows, each as its second in ms and its fields.
async fn rows(raw: &mut RawRedis, concert: &Concert) -> Vec<(u64, Vec<String>)> {
    let key = concert.keys.series.as_str();
    let support::raw_redis::Answer::List(rows) = raw.send(&["XRANGE", key, "-", "+"]).await else {
        panic!("no list");
    };
    let row = |row: support::raw_redis::Answer| {
        let support::raw_redis::Answer::List(row) = row else { panic!("no row") };
        let ms = row[0].text().split('-').next().expect("a time").parse().expect("a number");
        (ms, row[1].texts())
    };
    rows.into_iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_samples_in_one_second_one_becomes_its_row() {
    let (redis, concert) = (support::redis(SCRIPTS).await, concert(10, 2));
    let mut raw = RawRedis::shared().await;
    raw.say(&format!("HSET {} issued 5 promoted 3 held 2", concert.keys.stats)).await;
    let mut seconds = std::collections::BTreeSet::new();
    for n in 0..40 {
        let sample = take(&redis, &concert, &format!("server-{}", n % 3), n).await;
        seconds.insert(sample.now_ms / 1000 * 1000);
        assert_eq!((sample.issued, sample.promoted, sample.holds), (5, 3, 2));
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    let rows = rows(&mut raw, &concert).await;
    let written: std::collections::BTreeSet<u64> = rows.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(written, seconds);
    assert!(rows.len() == written.len() && rows.len() >= 2, "{rows:?}");
    let fields: Vec<_> = rows[0].1.chunks(2).map(|pair| pair[0].as_str()).collect();
    let documented = [
        "waiting", "active", "held", "withheld", "sold", "last", "head", "estimate", "issued",
        "promoted", "claimed", "expired", "left", "consumed", "holds", "released", "lapsed",
        "polls",
    ];
    assert_eq!(fields, documented);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_never_written_before_a_newer_one_and_an_hour_is_kept() {
    let (redis, concert) = (support::redis(SCRIPTS).await, concert(10, 1));
    let mut raw = RawRedis::shared().await;
    let key = concert.keys.series.as_str();
    let fill = "for i = 1, tonumber(ARGV[1]) do \
        redis.call('XADD', KEYS[1], i .. '-0', 'waiting', i) end";
    raw.send(&["EVAL", fill, "1", key, &(ROWS_MAX + 5).to_string()]).await;
    take(&redis, &concert, "one", 0).await;
    let written = rows(&mut raw, &concert).await;
    assert_eq!(i64::try_from(written.len()).expect("few"), ROWS_MAX);
    assert!(written[0].0 == 7 && written.last().is_some_and(|(ms, _)| *ms > 1_000_000));

    // The clock was set back: nothing is written until it has caught up.
    raw.send(&["XADD", key, "99999999999999-0", "waiting", "1"]).await;
    take(&redis, &concert, "one", 0).await;
    let after = rows(&mut raw, &concert).await;
    assert_eq!(after.last().map(|(ms, _)| *ms), Some(99_999_999_999_999));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_polls_of_all_servers_add_up_and_silent_servers_are_forgotten() {
    let (redis, concert) = (support::redis(SCRIPTS).await, concert(10, 1));
    let mut raw = RawRedis::shared().await;
    for (server, polls, total, servers) in
        [("a", 0, 0, 1), ("b", 0, 0, 2), ("a", 10, 10, 2), ("b", 5, 15, 2), ("b", 5, 15, 2)]
    {
        let sample = take(&redis, &concert, server, polls).await;
        assert_eq!((sample.polls, sample.servers), (total, servers), "{server} {polls}");
    }
    raw.say(&format!("ZADD {} 1000 a", concert.keys.servers)).await;
    let sample = take(&redis, &concert, "b", 6).await;
    assert_eq!((sample.polls, sample.servers), (16, 1));
    let told = raw.say(&format!("HGETALL {}", concert.keys.polls)).await.pairs();
    assert_eq!(told.keys().collect::<Vec<_>>(), ["b", "total"]);
    // It comes back: what it told before is in the total already.
    assert_eq!(take(&redis, &concert, "a", 12).await.polls, 16);
    assert_eq!(take(&redis, &concert, "a", 13).await.polls, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_write_one_row_a_second_with_the_polls_of_both() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let (one, other) = (deployment.start().await, deployment.start().await);
    let concert = deployment.concert();
    let mut raw = RawRedis::shared().await;
    raw.say(&format!("HSET {} paused 1", concert.keys.settings)).await;
    eventually("both were seen", || async {
        let mut raw = RawRedis::shared().await;
        raw.say(&format!("ZCARD {}", concert.keys.servers)).await.int() == 2
    })
    .await;
    let token = one.join(concert, 1).await;
    for server in [&one, &one, &other] {
        server.get_as(&token, "/user/token/status").await.expect(200);
    }
    eventually("the polls of both are in a row", || async {
        let mut raw = RawRedis::shared().await;
        let rows = rows(&mut raw, concert).await;
        let newest = rows.last().map(|(_, fields)| fields.clone()).unwrap_or_default();
        let value = |name: &str| {
            let at = newest.iter().position(|field| field == name);
            at.and_then(|at| newest.get(at + 1).cloned()).unwrap_or_default()
        };
        ["polls", "waiting", "issued", "active"].map(value) == ["3", "1", "1", "0"]
            && value("last") == value("head")
            && !value("estimate").is_empty()
    })
    .await;
    let rows = rows(&mut raw, concert).await;
    let seconds: std::collections::BTreeSet<_> = rows.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(seconds.len(), rows.len());
    assert_eq!(json!(rows.len() <= 60), json!(true), "{}", rows.len());
}
