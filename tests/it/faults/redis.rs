//! Redis is killed, hangs, is busy or full, or forgets: a clear answer at once, and the sale goes on
//! by itself when it is back.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use onsale::local::RedisOptions;
use serde_json::json;

use super::{OwnRedis, assert_come_again, assert_refused_at_once, every_route, time_until};
use crate::support::server::TestServer;
use crate::support::{RawRedis, eventually};

impl OwnRedis {
    async fn raw(&self) -> RawRedis {
        RawRedis::connect(self.redis.socket()).await
    }

    /// Waits until a poll is refused: until then the board answers it, which is right.
    async fn until_noticed(&self, token: &str) {
        let away = || async { self.server.get_as(token, "/user/token/status").await.status == 503 };
        eventually("Redis is noticed to be away", away).await;
    }

    /// Waits until seat `number` can be held and its holder can pay: how long that took.
    async fn time_to_sell(&self, token: &str, user: u64, number: u32) -> Duration {
        let held = || async {
            let answer = self.server.reserve(token, &self.concert, user, number).await;
            matches!(answer.status, 200 | 201)
        };
        let took = time_until("a seat can be held", held).await;
        self.server.pay(token, user).await.expect(200);
        took
    }
}

/// Everybody who has a token keeps it, because this Redis keeps a file.
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_every_route_is_refused_at_once_and_works_again_when_it_is_back() {
    let sale = OwnRedis::durable().await;
    let token = sale.server.admitted(&sale.concert, 1).await;
    sale.server.charge(&token, 1, 1000).await;
    sale.redis.kill().await;
    sale.until_noticed(&token).await;
    let routes = every_route(&sale.concert, 1);
    let longest = assert_refused_at_once(&sale.server, &token, &routes).await;
    sale.server.get("/healthz").await.expect(200);
    sale.redis.restart().await.expect("Redis starts");
    let back = sale.time_to_sell(&token, 1, 3).await;
    println!("Redis killed: refused within {longest:?}, a seat held {back:?} after its return");
    for route in &routes {
        let (answer, _) = route.to(&sale.server, &token).await;
        assert!(answer.status < 500, "{}: {answer:?}", route.shown());
    }
}

/// How Redis stops to answer, and for how long.
#[derive(Debug, Clone, Copy)]
enum Stuck {
    Frozen(u64),
    Busy(u64),
}

async fn with_redis_stuck(how: Stuck) {
    let sale = OwnRedis::durable().await;
    let token = sale.server.admitted(&sale.concert, 1).await;
    sale.server.charge(&token, 1, 1000).await;
    let routes = every_route(&sale.concert, 1);
    let tasks = tokio::runtime::Handle::current().metrics();
    let tasks_before = tasks.num_alive_tasks();
    let mut raw = sale.raw().await;
    raw.say("CONFIG SET busy-reply-threshold 200").await;
    let stuck = async {
        match how {
            Stuck::Frozen(seconds) => {
                sale.redis.pause();
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                sale.redis.resume();
            }
            Stuck::Busy(seconds) => {
                let script = format!(
                    "local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end \
                     local till = now() + {seconds}000 while now() < till do end"
                );
                raw.send(&["EVAL", &script, "0"]).await;
            }
        }
    };
    let refused = async {
        sale.until_noticed(&token).await;
        if let Stuck::Frozen(seconds @ 10..) = how {
            // What piles up, piles up for long.
            tokio::time::sleep(Duration::from_secs(seconds - 8)).await;
        }
        // Many at once: they must not queue up for a Redis that does not answer.
        let crowd = TestServer::at(sale.server.address);
        let status = || crowd.get_as(&token, "/payment/balance?userId=1");
        for answer in join_all((0..500).map(|_| status())).await {
            // A second may be over before all of them were asked.
            if answer.status != 200 || !matches!(how, Stuck::Frozen(1)) {
                assert_come_again(&answer, "one of many");
            }
        }
        drop(crowd);
        // A second is too short for more than a few routes.
        let count = if matches!(how, Stuck::Frozen(1)) { 0 } else { routes.len() };
        assert_refused_at_once(&sale.server, &token, &routes[..count]).await
    };
    let (longest, ()) = tokio::join!(refused, stuck);
    let back = sale.time_to_sell(&token, 1, 3).await;
    println!("Redis {how:?}: refused within {longest:?}, a seat held {back:?} afterwards");
    let rest = || async { tasks.num_alive_tasks() <= tasks_before + 20 };
    eventually("no task is left over", rest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_costs_a_clear_answer_and_is_used_again_afterwards() {
    tokio::join!(
        with_redis_stuck(Stuck::Frozen(1)),
        with_redis_stuck(Stuck::Frozen(6)),
        with_redis_stuck(Stuck::Frozen(30)),
        with_redis_stuck(Stuck::Busy(4)),
    );
}

/// Often in a burst, and not so often that loading them again can never keep up.
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// Scripts are the only thing that Redis forgets here: nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_forgotten_in_a_burst_cost_nobody_a_request() {
    let sale = OwnRedis::durable().await;
    let mut raw = sale.raw().await;
    let arrived = join_all((1..=40).map(|user| sale.server.join(&sale.concert, user))).await;
    join_all(arrived.iter().map(|token| sale.server.wait_until_active(token))).await;
    let selling = async {
        let buyers = arrived.iter().zip(1..).map(|(token, user)| {
            let sale = &sale;
            async move {
                let seat = u32::try_from(user).expect("a seat");
                sale.server.charge(token, user, 100).await;
                sale.server.reserve(token, &sale.concert, user, seat).await.expect(201);
                sale.server.pay(token, user).await.expect(200);
                sale.server.join(&sale.concert, user + 1000).await;
            }
        });
        join_all(buyers).await;
    };
    tokio::pin!(selling);
    raw.say("SCRIPT FLUSH").await;
    let mut flushes = 1;
    loop {
        tokio::select! {
            () = &mut selling => break,
            () = tokio::time::sleep(FLUSH_EVERY) => {
                raw.say("SCRIPT FLUSH").await;
                flushes += 1;
            }
        }
    }
    println!("{flushes} times all scripts were forgotten");
}

/// What writes is refused and has changed nothing; who waits still sees the way to the front.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_memory_refuses_what_writes_and_answers_polls() {
    let mut sale = OwnRedis::durable().await;
    sale.deployment = sale.deployment.clone().with("capacity", "2");
    sale.server = sale.deployment.start().await;
    let (server, concert) = (&sale.server, &sale.concert);
    let owner = server.admitted(concert, 4).await;
    server.charge(&owner, 4, 1000).await;
    server.reserve(&owner, concert, 4, 5).await.expect(201);
    server.pay(&owner, 4).await.expect(200);
    let (first, second) = (server.admitted(concert, 1).await, server.admitted(concert, 2).await);
    server.charge(&first, 1, 1000).await;
    server.reserve(&first, concert, 1, 3).await.expect(201);
    let waiting = server.join(concert, 3).await;
    let mut raw = sale.raw().await;
    raw.say(&format!("SETBIT {} 5 0", concert.keys.sold(concert.dates[0]))).await;
    raw.say("CONFIG SET maxmemory 1mb").await;

    let poll = server.get_as(&waiting, "/user/token/status").await.expect(200);
    assert_eq!((&poll.body["status"], &poll.body["queuePosition"]), (&json!("waiting"), &json!(1)));
    let mut routes = every_route(concert, 2);
    // Giving the token up would work.
    routes.pop();
    for route in routes {
        let (answer, elapsed) = route.to(server, &second).await;
        let reads = route.method == "GET";
        let shown = route.shown();
        // The first use of a token writes that it was used, so even its reads wait.
        if shown.ends_with("/status") {
            answer.expect(200);
        } else if !reads && !shown.starts_with("DELETE") {
            assert_come_again(&answer, &shown);
            assert!(!["outcome-unknown", "internal"].contains(&answer.code()), "{answer:?}");
        } else {
            assert!(answer.status < 500 || answer.status == 503, "{shown}: {answer:?}");
        }
        println!("out of memory: {shown} took {elapsed:?}");
    }
    // What was paid is marked as sold all the same: a hold would end before there is memory again.
    let database = sale.deployment.database().await;
    let sold = concert.keys.sold(concert.dates[0]);
    let forget = "update payments set redis_synced_at = null where concert_id = $1";
    let forgotten = sqlx::query(forget).bind(i64::from(concert.id.get())).execute(&database).await;
    assert_eq!(forgotten.expect("PostgreSQL").rows_affected(), 1);
    let marked = || async {
        let mut raw = sale.raw().await;
        raw.say(&format!("GETBIT {sold} 5")).await.int() == 1
    };
    eventually("what was paid is marked as sold", marked).await;
    // Paying needs no memory to speak of: who holds a seat may buy it.
    let paid = server.pay(&first, 1).await;
    assert!(matches!(paid.status, 200 | 503), "{paid:?}");
    let unready = || async { server.get("/readyz").await.status == 503 };
    eventually("a server that cannot sell is not ready", unready).await;

    raw.say("CONFIG SET maxmemory 0").await;
    let ready = || async { server.get("/readyz").await.status == 200 };
    eventually("it is ready again", ready).await;
    let paid = server.pay(&first, 1).await.expect(200);
    assert_eq!(paid.body["balance"], 900, "it was paid once");
    let told = || async {
        let late = server.reserve(&second, concert, 2, 3).await;
        assert!(late.status >= 400, "a sold seat was held: {late:?}");
        late.refusal() == (409, "seat-sold")
    };
    eventually("the seat is marked as sold", told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_would_drop_keys_makes_a_server_unready_until_it_is_mended() {
    let policy = ("maxmemory-policy".to_owned(), "allkeys-lru".to_owned());
    let options = RedisOptions { settings: vec![policy], ..RedisOptions::throwaway() };
    let sale = OwnRedis::durable().await;
    let other = onsale::local::LocalRedis::throwaway(options).await.expect("a private Redis");
    let mut deployment = sale.deployment.clone();
    deployment.redis_url = other.url();
    let server = deployment.start_unready().await;
    let told = || async {
        let ready = server.get("/readyz").await;
        ready.status == 503 && ready.body["missing"].to_string().contains("allkeys-lru")
    };
    eventually("the policy is named", told).await;
    let mut raw = RawRedis::connect(other.socket()).await;
    raw.say("CONFIG SET maxmemory-policy noeviction").await;
    let ready = || async { server.get("/readyz").await.status == 200 };
    eventually("it is ready", ready).await;
}

/// The file of the newest writes, and its length now.
fn newest_part(sale: &OwnRedis) -> (PathBuf, u64) {
    let parts = std::fs::read_dir(sale.redis.dir().join("appendonlydir")).expect("a folder");
    let parts = parts.map(|part| part.expect("an entry").path());
    let part = parts.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max();
    let part = part.expect("a part with the newest writes");
    let length = part.metadata().expect("a file").len();
    (part, length)
}

/// The first holder's hold is lost with the tail; then both have been told that they hold the seat.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_were_told_that_they_hold_a_seat_one_pays_and_nobody_pays_for_nothing() {
    let sale = OwnRedis::durable().await;
    let (server, concert) = (&sale.server, &sale.concert);
    let (one, two) = (server.admitted(concert, 1).await, server.admitted(concert, 2).await);
    for (token, user) in [(&one, 1), (&two, 2)] {
        // The first use is kept.
        server.charge(token, user, 1000).await;
    }
    let (part, length) = newest_part(&sale);
    server.reserve(&one, concert, 1, 3).await.expect(201);
    sale.redis.kill().await;
    let file = OpenOptions::new().write(true).open(&part).expect("the newest part");
    file.set_len(length).expect("a shorter file");
    sale.redis.restart().await.expect("Redis starts");
    let held = || async { server.reserve(&two, concert, 2, 3).await.status == 201 };
    eventually("the other holds it", held).await;

    let (first, second) = tokio::join!(server.pay(&one, 1), server.pay(&two, 2));
    println!("the one whose hold was lost: {:?}", first.refusal());
    assert_eq!((first.status, second.status), (409, 200), "{first:?} {second:?}");
    let balance = server.get_as(&one, "/payment/balance?userId=1").await.expect(200);
    assert_eq!(balance.body["balance"], 1000);
}

/// The payment is kept by PostgreSQL, its mark is lost with the tail.
#[tokio::test(flavor = "multi_thread")]
async fn a_sale_whose_mark_was_lost_with_the_tail_is_never_offered_again() {
    let sale = OwnRedis::durable().await;
    let (server, concert) = (&sale.server, &sale.concert);
    let (one, two) = (server.admitted(concert, 1).await, server.admitted(concert, 2).await);
    server.charge(&one, 1, 1000).await;
    server.charge(&two, 2, 1000).await;
    let (part, length) = newest_part(&sale);
    server.reserve(&one, concert, 1, 3).await.expect(201);
    let paid = server.pay(&one, 1).await.expect(200);
    sale.redis.kill().await;
    let file = OpenOptions::new().write(true).open(&part).expect("the newest part");
    file.set_len(length).expect("a shorter file");
    sale.redis.restart().await.expect("Redis starts");
    let list = format!(
        "/concert/available-seats?concertId={}&concertDate={}",
        concert.id, concert.dates[0]
    );
    let told = || async {
        let sold = server.reserve(&two, concert, 2, 3).await;
        assert!(sold.status >= 400, "a sold seat was held: {sold:?}");
        sold.refusal() == (409, "seat-sold")
    };
    eventually("everybody is told that it is sold", told).await;
    let seats = server.get_as(&two, &list).await.expect(200);
    assert!(!seats.body["availableSeats"].as_array().expect("seats").contains(&json!(3)));
    let again = server.pay(&one, 1).await.expect(200);
    assert_eq!(again.body, paid.body, "the one who bought it still has");
}
