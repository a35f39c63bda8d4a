//! Bursts: more at once than a server can take in, and everybody's retries at the same moment.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::future::join_all;
use onsale::local::{LocalRedis, RedisOptions};
use serde_json::json;

use crate::payments::stage::assert_the_books_balance;
use crate::support::process::ServerProcess;
use crate::support::server::{Answer, Deployment, TestServer};
use crate::support::{RawRedis, concert, eventually};

/// A burst of arrivals, and how many connections bring it. A debug build on two busy cores takes
/// some seconds for what a release build takes in half a second.
const ARRIVALS: usize = 6_000;
const CONNECTIONS: usize = 400;

/// Stands for a status where there is none.
const CLOSED: u16 = 0;

/// Everybody arrives at once: how often each status was answered, and all tokens.
async fn burst(server: &TestServer, concert: u32) -> (BTreeMap<u16, usize>, HashSet<String>) {
    let next = AtomicUsize::new(0);
    let client = reqwest::Client::new();
    let people = (0..CONNECTIONS).map(|_| async {
        let mut told = Vec::new();
        while next.fetch_add(1, Ordering::Relaxed) < ARRIVALS {
            let request = client.post(format!("http://{}/user/token", server.address));
            let Ok(answer) = request.json(&json!({"concertId": concert})).send().await else {
                // A connection that nothing was said on for 5 s is closed, and the client may
                // choose that moment to use it.
                told.push((CLOSED, None));
                continue;
            };
            let status = answer.status().as_u16();
            let body: serde_json::Value = answer.json().await.expect("JSON");
            told.push((status, body["token"].as_str().map(str::to_owned)));
        }
        told
    });
    let (mut statuses, mut tokens) = (BTreeMap::new(), HashSet::new());
    for (status, token) in join_all(people).await.into_iter().flatten() {
        *statuses.entry(status).or_default() += 1;
        if let Some(token) = token {
            let id = token.split('_').next().unwrap_or_default().to_owned();
            assert!(tokens.insert(id), "a token was given twice");
        }
    }
    (statuses, tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_arrivals_is_answered_and_leaves_no_memory_or_connection_behind() {
    let redis = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("a private Redis");
    let mut deployment = Deployment::new(vec![concert(10, 1)]).await.with("requests_max", "60");
    deployment.redis_url = redis.url();
    let process = ServerProcess::start(&deployment).await;
    let (server, concert) = (&process.server, deployment.concert());
    let files_before = process.open_files();
    let mut most = Vec::new();
    for round in 0..3 {
        let begun = Instant::now();
        let (statuses, tokens) = burst(server, concert.id.get()).await;
        println!("burst {round} of {ARRIVALS} in {:?}: {statuses:?}", begun.elapsed());
        let known = statuses.keys().all(|status| [CLOSED, 201, 503].contains(status));
        assert!(known, "{statuses:?}");
        let closed = statuses.get(&CLOSED).copied().unwrap_or_default();
        assert!(closed < ARRIVALS / 100, "{statuses:?}");
        assert_eq!(statuses.get(&201), Some(&tokens.len()));
        assert!(statuses.contains_key(&503), "the burst was no more than it takes");
        let closed = || async { process.open_files() <= files_before + 8 };
        eventually("every connection is closed", closed).await;
        most.push(process.memory_most_kib());
    }
    let mut raw = RawRedis::connect(redis.socket()).await;
    let issued = raw.say(&format!("HGET {} issued", concert.keys.stats)).await.int();
    println!("issued {issued}; the most memory after each burst, in KiB: {most:?}");
    // The line itself is in Redis: what two bursts needed is enough for the third.
    assert!(most[2] < most[1] * 5 / 4, "memory grows with every burst: {most:?}");
    let token = server.join(concert, 1).await;
    server.get_as(&token, "/user/token/status").await.expect(200);
}

/// The bodies of all that are 200 or 201, without what differs by the clock.
fn said(answers: &[Answer], field: &str) -> HashSet<String> {
    let right = answers.iter().filter(|answer| answer.status < 300);
    right.map(|answer| answer.body[field].to_string()).collect()
}

/// Thirty copies of every request, released at once, on two servers.
#[tokio::test(flavor = "multi_thread")]
async fn thirty_copies_of_every_request_at_once_on_two_servers_are_one_effect() {
    let deployment = Deployment::new(vec![concert(50, 1)]).await;
    let servers = [deployment.start().await, deployment.start().await];
    let concert = deployment.concert().clone();
    let copies =
        |method: &'static str, path: &'static str, token: &str, body: serde_json::Value| {
            let requests = (0..30).map(|n| {
                let request = servers[n % 2].request(method, path);
                let request = request.header("Queue-Token", token).header("Idempotency-Key", path);
                servers[n % 2].answer(request.json(&body))
            });
            join_all(requests.collect::<Vec<_>>())
        };
    let body = json!({"concertId": concert.id, "userId": 1});
    let arrived = copies("POST", "/user/token", "", body).await;
    let ids: HashSet<_> = said(&arrived, "token")
        .iter()
        .map(|token| token.split('_').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(ids.len(), 1, "one place");
    assert_eq!(arrived.iter().filter(|answer| answer.status == 201).count(), 1);
    let token = servers[0].join(&concert, 1).await;
    servers[0].wait_until_active(&token).await;

    let charged =
        copies("POST", "/payment/charge", &token, json!({"userId": 1, "amount": 1000})).await;
    let held =
        copies("POST", "/concert/reserve", &token, json!({"userId": 1, "seatNumber": 7})).await;
    let paid = copies("POST", "/payment", &token, json!({"userId": 1})).await;
    // Thirty at once on one row may be more than six connections bring forward in time: then some
    // are told to come again, and nobody is told anything wrong.
    for (what, answers) in [("charge", &charged), ("reserve", &held), ("pay", &paid)] {
        let known = answers.iter().all(|answer| matches!(answer.status, 200 | 201 | 503));
        assert!(known, "{what}: {answers:?}");
        assert!(answers.iter().any(|answer| answer.status < 300), "{what}: nobody was served");
        let busy = answers.iter().filter(|answer| answer.status == 503).count();
        println!("{what}: {busy} of 30 are told to come again");
    }
    assert_eq!(said(&charged, "balance"), HashSet::from(["1000".to_owned()]));
    assert_eq!(said(&held, "reservationId").len(), 1, "one hold");
    assert_eq!(said(&paid, "payments").len(), 1, "one payment");
    assert_eq!(said(&paid, "balance"), HashSet::from(["900".to_owned()]));
    let database = deployment.database().await;
    let entries: i64 = sqlx::query_scalar("select count(*) from ledger")
        .fetch_one(&database)
        .await
        .expect("a count");
    assert_eq!(entries, 2);
    assert_the_books_balance(&database).await;
}
