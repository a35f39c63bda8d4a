//! A client that goes away at any await of any route: what was begun is finished or never was, and
//! nothing of the server stays in use.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::task::Poll;

use axum::body::Body;
use axum::extract::Request;
use futures::future::join_all;
use onsale::app::{App, AppState};
use onsale::concerts::Concert;
use onsale::http::front::Front;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{Asked, asked};
use crate::payments::stage::assert_the_books_balance;
use crate::support::server::{Deployment, TestServer};
use crate::support::{concert, eventually};

/// More awaits than any route has.
const AWAITS_MAX: usize = 60;

/// Polls `future` until it has been pending more than `times` times, and drops it: its end, if it
/// came before.
async fn left_after<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut pending = 0;
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(end) => Poll::Ready(Some(end)),
        Poll::Pending => {
            pending += 1;
            if pending > times { Poll::Ready(None) } else { Poll::Pending }
        }
    })
    .await
}

/// The key of a request that is left.
fn key(path: &str, awaits: usize) -> String {
    format!("{path}-left-after-{awaits}")
}

/// A server whose requests can be dropped in the middle, as hyper drops them when a client goes,
/// and another one to look with.
struct Sale {
    deployment: Deployment,
    app: AppState,
    front: Front,
    server: TestServer,
    concert: Concert,
}

impl Sale {
    async fn open() -> Self {
        let deployment = Deployment::new(vec![concert(100, 1)])
            .await
            // So few that one that is kept shows.
            .with("database_connections", "2")
            .with("requests_max", "10");
        let server = deployment.clone().with("database_connections", "6");
        let server = server.with("requests_max", "8192").start().await;
        let app = App::start(deployment.config()).await.expect("the server starts");
        let ready = || async { app.readiness.look().await.can_sell };
        eventually("the server is ready", ready).await;
        let (front, concert) = (app.front(), deployment.concert().clone());
        Self { deployment, app, front, server, concert }
    }

    /// Sends a request and leaves it after `awaits` awaits: the status, if it was answered by then.
    async fn leave(&self, token: &str, asked: &Asked, awaits: usize) -> Option<u16> {
        let body = asked.body.as_ref().map(ToString::to_string);
        let request = Request::builder()
            .method(asked.method)
            .uri(&asked.path)
            .header("Queue-Token", token)
            .header("Content-Type", "application/json")
            .header("Content-Length", body.as_ref().map_or(0, String::len))
            .header("Idempotency-Key", key(&asked.path, awaits))
            .body(body.map_or_else(Body::empty, Body::from))
            .expect("a request");
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let answer = left_after(awaits, self.front.answer(request, peer)).await;
        answer.map(|answer| answer.status().as_u16())
    }
}

/// Leaves `make(user)` after 0, 1, 2 … awaits, each time as another of `buyers`, until one is answered: how
/// many were left.
async fn leave_at_every_await(
    sale: &Sale,
    buyers: &[(String, u64)],
    make: impl Fn(u64) -> Asked,
) -> usize {
    for (awaits, (token, user)) in buyers.iter().enumerate() {
        if let Some(status) = sale.leave(token, &make(*user), awaits).await {
            assert!(status < 300, "{}: {status}", make(*user).shown());
            return awaits;
        }
    }
    panic!("{} is not answered after {} awaits", make(0).shown(), buyers.len());
}

/// While one connection waits for a locked row, the other one works.
async fn assert_the_pool_is_whole(sale: &Sale, (one, two): (&(String, u64), &(String, u64))) {
    let mut lock =
        PgConnection::connect(&sale.deployment.database_url).await.expect("a connection");
    let mut lock = lock.begin().await.expect("a transaction");
    let sql = "select from balances where user_id = $1 for update";
    let owner = i64::try_from(one.1).expect("a user");
    sqlx::query(sql).bind(owner).execute(&mut *lock).await.expect("a lock");
    let database = sale.deployment.database().await;
    let waits = || async {
        let waits = "select exists (select from pg_stat_activity
                     where wait_event_type = 'Lock' and datname = current_database())";
        sqlx::query_scalar::<_, bool>(waits).fetch_one(&database).await.expect("an answer")
    };
    let charge =
        |user| asked("POST", "/payment/charge", Some(json!({"userId": user, "amount": 1})));
    let (first, second) = (charge(one.1), charge(two.1));
    let both_work = || async {
        let other_works = async {
            eventually("one waits for its row", &waits).await;
            let other = sale.leave(&two.0, &second, usize::MAX).await;
            other == Some(200) && waits().await
        };
        // The one gives up after half a second, which may be before the other was looked at.
        tokio::join!(sale.leave(&one.0, &first, usize::MAX), other_works).1
    };
    eventually("both connections work at the same time", both_work).await;
    lock.rollback().await.expect("no lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_at_any_await_leaves_nothing_half_done_and_nothing_in_use() {
    let sale = Sale::open().await;
    let (server, concert) = (&sale.server, &sale.concert);
    let users: Vec<u64> = (1..=AWAITS_MAX as u64).collect();
    let tokens = join_all(users.iter().map(|user| server.admitted(concert, *user))).await;
    let buyers: Vec<_> = tokens.into_iter().zip(users).collect();
    let seat = |user: u64| u32::try_from(user).expect("a seat");
    let tasks = tokio::runtime::Handle::current().metrics();
    let tasks_before = tasks.num_alive_tasks();

    let charge =
        |user| asked("POST", "/payment/charge", Some(json!({"userId": user, "amount": 100})));
    let charges = leave_at_every_await(&sale, &buyers, charge).await;
    let reserve = |user| {
        asked("POST", "/concert/reserve", Some(json!({"userId": user, "seatNumber": seat(user)})))
    };
    let reserves = leave_at_every_await(&sale, &buyers, reserve).await;
    for (awaits, (token, user)) in buyers.iter().enumerate() {
        // The same key as the charge that was left.
        let request = server.request("POST", "/payment/charge").header("Queue-Token", token);
        let request = request.header("Idempotency-Key", key("/payment/charge", awaits));
        let request = request.json(&json!({"userId": user, "amount": 100}));
        assert_eq!(server.answer(request).await.expect(200).body["balance"], 100);
        let held = || async {
            matches!(server.reserve(token, concert, *user, seat(*user)).await.status, 200 | 201)
        };
        eventually("the seat is its user's", held).await;
    }
    let pay = |user| asked("POST", "/payment", Some(json!({"userId": user})));
    let pays = leave_at_every_await(&sale, &buyers, pay).await;
    for (token, user) in &buyers[..buyers.len() - 10] {
        let paid = server.pay(token, *user).await.expect(200);
        assert_eq!(paid.body["balance"], 0, "one charge, one payment");
    }
    println!("awaits of charge, reserve, pay: {charges}, {reserves}, {pays}");
    for awaits in 0..20 {
        let (token, user) = &buyers[buyers.len() - 1];
        let user = *user;
        for route in super::every_route(concert, user) {
            if route.method == "GET" {
                sale.leave(token, &route, awaits).await;
            }
        }
    }
    let rest = || async { tasks.num_alive_tasks() <= tasks_before + 20 };
    eventually("no task is left over", rest).await;
    let ends = buyers.len() - 10;
    assert_the_pool_is_whole(&sale, (&buyers[ends], &buyers[ends + 1])).await;
    let database = sale.deployment.database().await;
    let idle = "select count(*) from pg_stat_activity
                where datname = current_database() and state like 'idle in transaction%'";
    let idle: i64 = sqlx::query_scalar(idle).fetch_one(&database).await.expect("a count");
    assert_eq!(idle, 0);
    assert_the_books_balance(&database).await;
    sale.app.stop().await;
}

/// Arriving, giving back and leaving: the repeat tells what became of it, and nobody has two places.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_arrives_or_gives_up_has_one_place_or_none() {
    let sale = Sale::open().await;
    let (server, concert) = (&sale.server, &sale.concert);
    let mut arrivals = 0;
    for awaits in 0..AWAITS_MAX {
        let user = awaits as u64 + 1;
        let arrive =
            asked("POST", "/user/token", Some(json!({"concertId": concert.id, "userId": user})));
        if sale.leave("", &arrive, awaits).await.is_some() {
            arrivals = awaits;
            break;
        }
    }
    let buyers: Vec<_> =
        join_all((1..=30).map(|user| async move { (server.admitted(concert, user).await, user) }))
            .await;
    let held = join_all(buyers.iter().zip(1..).map(|((token, user), seat)| async move {
        server.reserve(token, concert, *user, seat).await.expect(201).text("reservationId")
    }))
    .await;
    let release = |user: u64| {
        let reservation = &held[usize::try_from(user - 1).expect("few")];
        asked("DELETE", format!("/concert/reserve?userId={user}&reservationId={reservation}"), None)
    };
    let releases = leave_at_every_await(&sale, &buyers, release).await;
    for (token, user) in &buyers {
        let again = server.delete_as(token, &release(*user).path).await;
        assert!(matches!(again.status, 200 | 404), "{again:?}");
    }
    let leaves =
        leave_at_every_await(&sale, &buyers, |_| asked("DELETE", "/user/token", None)).await;
    for (token, _) in &buyers {
        let again = server.delete_as(token, "/user/token").await;
        assert!(matches!(again.status, 200 | 401), "{again:?}");
    }
    println!("awaits of arrive, release, leave: {arrivals}, {releases}, {leaves}");
    let mut redis = crate::support::RawRedis::shared().await;
    for key in [&concert.keys.active, &concert.keys.waiting] {
        let left = || async {
            let mut redis = crate::support::RawRedis::shared().await;
            redis.say(&format!("ZCARD {key}")).await.int() == 0
        };
        eventually("nobody has a place", left).await;
    }
    let stats = redis.say(&format!("HGETALL {}", concert.keys.stats)).await.pairs();
    assert_eq!(stats["issued"], "30", "nobody had two places");
    sale.app.stop().await;
}
