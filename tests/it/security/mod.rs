//! Who may do what: every route with every wrong credential, real servers under attack, and logs
//! that keep secrets.

use std::collections::BTreeSet;

use onsale::concerts::Concert;
use serde_json::{Value, json};

use crate::support::RawRedis;
use crate::support::server::{Answer, Deployment, TestServer};

mod jwt;
mod limits;
mod logs;
mod operators;
mod refusals;
#[cfg(target_os = "linux")]
mod slow;
mod start;

/// A route that needs a token.
#[derive(Debug, Clone)]
struct Call {
    method: &'static str,
    path: String,
    body: Option<Value>,
    /// Whether the request names its concert.
    names_concert: bool,
    /// Whether the request names a user.
    names_user: bool,
    /// Whether a token that has bought is enough.
    takes_consumed: bool,
}

impl Call {
    async fn send(&self, server: &TestServer, token: Option<&str>) -> Answer {
        server.send(self.method, &self.path, token, self.body.clone()).await
    }

    /// The path without its query, as the table of routes has it.
    fn route(&self) -> (String, String) {
        let path = self.path.split('?').next().unwrap_or_default();
        (self.method.to_owned(), path.to_owned())
    }
}

/// What the calls of a table are about. All of them would succeed for its user's active token,
/// except that paying needs money.
#[derive(Clone)]
struct Subject<'a> {
    concert: &'a Concert,
    user: u64,
    reservation: String,
}

/// Every route that needs an active token, as a right request of `subject`.
fn protected(subject: &Subject) -> Vec<Call> {
    let Subject { concert, user, reservation } = subject;
    let (id, date) = (concert.id, concert.dates[0]);
    let get = |path: String| ("GET", path, None);
    let post = |path: &str, body: Value| ("POST", path.to_owned(), Some(body));
    let held = format!("userId={user}&concertId={id}&reservationId={reservation}");
    let calls = [
        get(format!("/concert/available-dates?concertId={id}")),
        get(format!("/concert/available-seats?concertId={id}&concertDate={date}")),
        post("/concert/reserve", json!({"userId": user, "concertId": id, "seatNumber": 2})),
        ("DELETE", format!("/concert/reserve?{held}"), None),
        post("/payment/charge", json!({"userId": user, "amount": 5})),
        get(format!("/payment/balance?userId={user}")),
        post("/payment", json!({"userId": user})),
        get(format!("/user/reservations?userId={user}")),
    ];
    let consumed = ["/payment/balance", "/payment", "/user/reservations"];
    let call = |(method, path, body): (&'static str, String, Option<Value>)| {
        let said = format!("{path}{}", body.as_ref().map(Value::to_string).unwrap_or_default());
        Call {
            method,
            names_concert: said.contains("concertId"),
            names_user: said.contains("userId"),
            takes_consumed: consumed.iter().any(|route| path.split('?').next() == Some(route)),
            path,
            body,
        }
    };
    calls.map(call).into()
}

/// Holds the table against the server's own description: no route that takes a token is forgotten.
/// The poll and the leave take any live token, and stand in their own tests.
async fn assert_no_route_is_forgotten(server: &TestServer, calls: &[Call]) {
    let document = server.get("/openapi.json").await.expect(200).body;
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if operation["security"].to_string().contains("queueToken") {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    let any_token = [("GET", "/user/token/status"), ("DELETE", "/user/token")];
    let listed: BTreeSet<_> = calls
        .iter()
        .map(Call::route)
        .chain(any_token.map(|(method, path)| (method.to_owned(), path.to_owned())))
        .collect();
    assert_eq!(described, listed);
}

/// Everything that both stores hold of `deployment`, with the moments at which keys expire. What
/// the clock alone changes is left out: the credit of the promotion.
async fn dump(deployment: &Deployment, redis: &mut RawRedis) -> Vec<String> {
    let mut seen = Vec::new();
    for concert in &deployment.concerts {
        let mut keys = redis.say(&format!("KEYS {{c{}}}:*", concert.id)).await.texts();
        keys.retain(|key| *key != concert.keys.pace.as_str());
        keys.sort();
        for key in keys {
            let value = value_of(redis, &key).await;
            let expires = redis.send(&["PEXPIRETIME", &key]).await.int();
            seen.push(format!("{key} {value}, expires {expires}"));
        }
    }
    let database = deployment.database().await;
    for table in ["balances", "payments", "owned_seats", "ledger", "idempotency_keys"] {
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

/// Fails with the lines that differ.
#[track_caller]
fn assert_unchanged(before: &[String], after: &[String]) {
    let missing = |one: &[String], other: &[String]| -> Vec<String> {
        one.iter().filter(|line| !other.contains(line)).cloned().collect()
    };
    let (gone, new) = (missing(before, after), missing(after, before));
    assert!(gone.is_empty() && new.is_empty(), "a refusal changed {gone:#?}\nto {new:#?}");
}

/// Waits until the stores hold nothing that ends by itself within seconds: the answers of grouped
/// arrivals, and the lock of a rebuild.
async fn at_rest(deployment: &Deployment, redis: &mut RawRedis) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let first = dump(deployment, redis).await;
        tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
        let second = dump(deployment, redis).await;
        let short = |line: &String| line.contains(":group:") || line.contains(":rebuild ");
        if first == second && !second.iter().any(short) {
            return second;
        }
        assert!(tokio::time::Instant::now() < deadline, "the stores do not come to rest");
    }
}
