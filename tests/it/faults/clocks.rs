//! The clocks of servers, Redis and PostgreSQL ten minutes apart, and set while a sale runs: a
//! server's clock decides nothing, and deadlines of the line and of holds move with Redis' alone.
//!
//! Needs libfaketime (`scripts/setup.sh clocks`), which is preloaded into each process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use onsale::local::{LocalPostgres, LocalRedis, PostgresOptions, RedisOptions};
use serde_json::json;

use super::time_until;
use crate::payments::stage::{assert_the_books_balance, now_ms};
use crate::support::process::ServerProcess;
use crate::support::server::Deployment;
use crate::support::{RawRedis, concert, eventually};

/// Where packagers put the library.
const PLACES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/local/lib/faketime/libfaketime.so.1",
];

const APART_S: i64 = 600;

/// A clock that is off by what its file says, and can be set while its processes run.
struct Clock {
    file: PathBuf,
}

impl Clock {
    fn new(folder: &Path, name: &str, offset_s: i64) -> Self {
        let clock = Self { file: folder.join(name) };
        clock.set(offset_s);
        clock
    }

    fn set(&self, offset_s: i64) {
        // Replaced as a whole: a process may be reading it.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{offset_s:+}\n")).expect("a file");
        std::fs::rename(new, &self.file).expect("a file");
    }

    /// What makes a process live by it. The monotonic clock is left alone, as by `date -s`.
    fn variables(&self) -> Vec<(String, String)> {
        let library = PLACES.iter().find(|place| Path::new(place).exists());
        let library = library.expect("libfaketime is missing: scripts/setup.sh clocks installs it");
        // The library asks for memory when it is asked for the time the first time, and an allocator
        // that asks for the time when it is asked for memory would wait for itself: libc's does not.
        let preload = format!("{library}:libc.so.6");
        [
            ("LD_PRELOAD", preload.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.to_str().expect("a plain path")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

/// Stores and two servers, each by a clock of its own.
struct Sale {
    servers: Vec<ServerProcess>,
    redis: LocalRedis,
    // Ends after the servers.
    _postgres: LocalPostgres,
    deployment: Deployment,
    server_clock: Clock,
    redis_clock: Clock,
    postgres_clock: Clock,
    _folder: tempfile::TempDir,
}

impl Sale {
    /// With the clocks of a server, Redis and PostgreSQL off by so many seconds; the servers besides
    /// the first live by the true time.
    async fn open(offsets_s: [i64; 3], servers: usize) -> Self {
        let [of_server, of_redis, of_postgres] = offsets_s;
        let folder = tempfile::tempdir().expect("a folder");
        // PostgreSQL runs as another account.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("it may be read");
        let clock = |name, offset_s| Clock::new(folder.path(), name, offset_s);
        let server_clock = clock("server", of_server);
        let (redis_clock, postgres_clock) =
            (clock("redis", of_redis), clock("postgres", of_postgres));
        let redis =
            RedisOptions { variables: redis_clock.variables(), ..RedisOptions::throwaway() };
        let postgres = PostgresOptions {
            variables: postgres_clock.variables(),
            ..PostgresOptions::throwaway()
        };
        let (redis, postgres) =
            tokio::join!(LocalRedis::throwaway(redis), LocalPostgres::throwaway(postgres));
        let (redis, postgres) = (redis.expect("a Redis"), postgres.expect("a PostgreSQL"));
        let database = sqlx::PgPool::connect(&postgres.url()).await.expect("PostgreSQL answers");
        onsale::postgres::migrate(&database).await.expect("the schema");
        database.close().await;
        let mut deployment = Deployment::new(vec![concert(50, 1)])
            .await
            .with("hold_ttl", "5s")
            .with("claim_ttl", "20s");
        (deployment.redis_url, deployment.database_url) = (redis.url(), postgres.url());
        let variables = server_clock.variables();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let servers = (0..servers).map(|number| {
            ServerProcess::with(&deployment, if number == 0 { variables.as_slice() } else { &[] })
        });
        let servers = join_all(servers).await;
        Self {
            servers,
            redis,
            _postgres: postgres,
            deployment,
            server_clock,
            redis_clock,
            postgres_clock,
            _folder: folder,
        }
    }

    async fn raw(&self) -> RawRedis {
        RawRedis::connect(self.redis.socket()).await
    }

    /// The whole way of one user from the first arrival to the paid seat, each request at the other
    /// server, and a hold that lapses after its 5 s.
    async fn sell(&self, user: u64) {
        let (one, two) = (&self.servers[0].server, &self.servers[1].server);
        let concert = self.deployment.concert();
        let seat = u32::try_from(user).expect("a seat");
        let token = one.admitted(concert, user).await;
        let status = two.get_as(&token, "/user/token/status").await.expect(200);
        let expires = status.body["expiresIn"].as_u64().expect("seconds");
        assert!((1..=20).contains(&expires), "{status:?}");
        two.charge(&token, user, 1000).await;
        let other = two.admitted(concert, user + 100).await;
        let before_ms = now_ms(&mut self.raw().await).await;
        let held = one.reserve(&token, concert, user, seat).await.expect(201);
        let after_ms = now_ms(&mut self.raw().await).await;
        // Said in the concert's time zone, by Redis' clock, without fractions of a second.
        let until = held.text("expireAt");
        let said = |ms: u64| concert.local_time(ms + 5000);
        assert!((said(before_ms)..=said(after_ms)).contains(&until), "{until}");
        let refused = two.reserve(&other, concert, user + 100, seat).await;
        assert_eq!(refused.refusal(), (409, "seat-taken"));
        let lapsed =
            || async { two.reserve(&other, concert, user + 100, seat).await.status == 201 };
        let after = time_until("the hold lapses", lapsed).await;
        assert!(after < Duration::from_secs(30), "{after:?}");
        let seat = seat + 20;
        two.reserve(&token, concert, user, seat).await.expect(201);
        let paid = one.pay(&token, user).await.expect(200);
        assert_eq!(paid.body["balance"], 900);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_ten_minutes_apart_change_nothing_that_anybody_is_told() {
    let apart = [[APART_S, -APART_S, 0], [-APART_S, 0, APART_S], [0, APART_S, -APART_S]];
    join_all(apart.map(|offsets| async move {
        let sale = Sale::open(offsets, 2).await;
        sale.sell(1).await;
        let database = sale.deployment.database().await;
        assert_the_books_balance(&database).await;
    }))
    .await;
}

/// Jobs are planned by the server's clock; they must not wait until it has caught up.
#[tokio::test(flavor = "multi_thread")]
async fn a_servers_clock_that_is_set_while_it_runs_changes_nothing() {
    // One server, so that nobody else lets people in.
    let sale = Sale::open([0, 0, 0], 1).await;
    let (server, concert) = (&sale.servers[0].server, sale.deployment.concert());
    let token = server.admitted(concert, 1).await;
    for (user, offset_s) in [(2, APART_S), (3, -APART_S), (4, 0)] {
        sale.server_clock.set(offset_s);
        // The token lives, and the line goes on.
        server.get_as(&token, "/user/token/status").await.expect(200);
        let admitted = server.join(concert, user).await;
        let active = || async {
            server.get_as(&admitted, "/user/token/status").await.expect(200).body["status"]
                == "active"
        };
        let took = time_until("somebody is let in", active).await;
        println!("the server's clock set to {offset_s:+} s: somebody let in after {took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
        server.charge(&admitted, user, 1000).await;
        let seat = u32::try_from(user).expect("a seat");
        server.reserve(&admitted, concert, user, seat).await.expect(201);
        server.pay(&admitted, user).await.expect(200);
        server.get("/readyz").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_move_with_redis_clock_and_with_no_other() {
    let sale = Sale::open([0, 0, 0], 2).await;
    let (one, two) = (&sale.servers[0].server, &sale.servers[1].server);
    let concert = sale.deployment.concert();
    let (token, other) = (one.admitted(concert, 1).await, one.admitted(concert, 2).await);
    one.charge(&token, 1, 1000).await;
    // PostgreSQL's is set: what is held stays held, and is paid.
    one.reserve(&token, concert, 1, 1).await.expect(201);
    sale.postgres_clock.set(APART_S);
    let refused = two.reserve(&other, concert, 2, 1).await;
    assert_eq!(refused.refusal(), (409, "seat-taken"));
    let paid = || async {
        // It may take longer than a hold lasts here.
        one.reserve(&token, concert, 1, 1).await;
        let paid = one.pay(&token, 1).await;
        // A statement whose deadline was made by the old time is refused, and nothing happened.
        assert!(paid.status == 200 || paid.code() == "database-unavailable", "{paid:?}");
        paid.status == 200
    };
    eventually("a payment by the new time", paid).await;
    sale.postgres_clock.set(-APART_S);
    let charged = || async {
        let body = json!({"userId": 2, "amount": 500});
        two.post_as(&other, "/payment/charge", body).await.status == 200
    };
    eventually("a charge by the new time", charged).await;

    // Redis' is set: every hold and every token of the old time is over at once.
    one.reserve(&other, concert, 2, 2).await.expect(201);
    sale.redis_clock.set(APART_S * 2);
    for server in [one, two] {
        let expired = || async {
            let status = server.get_as(&other, "/user/token/status").await;
            status.refusal() == (401, "token-expired")
        };
        eventually("the token has expired", expired).await;
    }
    let third = two.admitted(concert, 3).await;
    two.reserve(&third, concert, 3, 2).await.expect(201);
    // Set back, it gives nobody more time than a token or a hold has.
    sale.redis_clock.set(0);
    let fourth = one.admitted(concert, 4).await;
    let held = one.reserve(&fourth, concert, 4, 5).await.expect(201);
    assert!(held.body["expiresIn"].as_u64().is_some_and(|seconds| seconds <= 5), "{held:?}");
    assert_the_books_balance(&sale.deployment.database().await).await;
}
