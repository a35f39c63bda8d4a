//! The line under everything at once: the books balance, capacity holds, and a lost answer costs
//! nobody a second place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use onsale::local::{LocalRedis, RedisOptions};
use onsale::queue::{QueueConfig, QueueError, Status};

use crate::support::line::{Line, Server, user_id};
use crate::support::{RawRedis, concert, eventually, stores};

const CAPACITY: u32 = 20;

/// One person: arrives, polls, uses or ignores the turn, perhaps leaves. The positions seen must
/// never grow, whichever server is asked, for polls as far apart as the server says.
async fn person(servers: Arc<Vec<Server>>, concert: Arc<onsale::concerts::Concert>, n: usize) {
    let server = |step: usize| &servers[(n + step) % servers.len()];
    let user = (!n.is_multiple_of(3)).then_some(n as u64 + 1);
    let joined = server(0).join(&concert, user).await;
    let (mut seen, token) = (joined.standing.position, joined.token);
    for step in 1..40 {
        if n.is_multiple_of(7) && step == 3 {
            let left = server(step).queue.leave(&token, None).await;
            assert!(matches!(left, Ok(()) | Err(QueueError::TokenExpired)), "{left:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(800)).await;
        let standing = match server(step).queue.standing(&token).await {
            Ok(standing) => standing,
            Err(QueueError::TokenExpired) => return,
            Err(other) => panic!("{other:?}"),
        };
        assert!(standing.position <= seen, "{} grew from {seen}", standing.position);
        seen = standing.position;
        if standing.status == Status::Active && !n.is_multiple_of(5) {
            let admitted = server(step).queue.admit(&token, None, user.map(user_id)).await;
            assert!(matches!(admitted, Ok(_) | Err(QueueError::TokenExpired)), "{admitted:?}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_rush_positions_never_grow_capacity_holds_and_the_books_balance() {
    let config = QueueConfig {
        capacity: CAPACITY,
        batch: 10,
        claim_ttl: Duration::from_secs(2),
        active_ttl: Duration::from_millis(2500),
        ..QueueConfig::default()
    };
    let mut line = Line::open(concert(50, 1), config).await;
    let servers = Arc::new(vec![line.server.clone(), line.another_server().await]);
    let (is_over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let (over, peak, keys) = (is_over.clone(), most.clone(), line.concert.keys.clone());
    let mut reader = RawRedis::connect(stores().await.redis.socket()).await;
    let watching = tokio::spawn(async move {
        // A token expires by the clock, so the watcher counts by the clock too.
        let script = "local t = redis.call('TIME') return redis.call('ZCOUNT', KEYS[1], \
                    '(' .. string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)), '+inf')";
        while !over.load(Ordering::SeqCst) {
            let count = reader.send(&["EVAL", script, "1", keys.active.as_str()]).await.int();
            peak.fetch_max(count, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let (over, clockwork) = (is_over.clone(), servers.clone());
    let promoting = tokio::spawn(async move {
        while !over.load(Ordering::SeqCst) {
            for server in clockwork.iter() {
                server.queue.clone().promote_all().await.expect("an answer");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let people = (0..60).map(|n| tokio::spawn(person(servers.clone(), line.concert.clone(), n)));
    for person in join_all(people).await {
        person.expect("nobody saw anything wrong");
    }
    is_over.store(true, Ordering::SeqCst);
    watching.await.expect("a watcher");
    promoting.await.expect("a promoter");

    assert_eq!(most.load(Ordering::SeqCst), i64::from(CAPACITY), "full, and never fuller");
    let (waiting, active) = (line.waiting().await.len(), line.active().await.len());
    let still_here = i64::try_from(waiting + active).expect("few");
    let gone = line.stat("expired").await + line.stat("left").await;
    assert_eq!(line.stat("issued").await, still_here + gone);
    assert_eq!(line.stat("issued").await, 60);
}

/// The first copy of the group is executed, its answer comes too late; the second copy must not
/// stand in line again.
#[tokio::test]
async fn an_arrival_whose_answer_is_lost_gets_no_second_place() {
    let redis = LocalRedis::throwaway(RedisOptions::throwaway()).await.expect("a private Redis");
    let mut line = Line::on(&redis, concert(10, 1), QueueConfig::default()).await;
    let (mut told, mut lost) = (0, 0);
    for (round, stopped_ms) in [330, 360, 390, 420, 600].into_iter().enumerate() {
        let queue = line.server.queue.clone();
        let concert = line.concert.clone();
        eventually("a fresh board", || async { queue.board(&concert).await.is_ok() }).await;
        redis.pause();
        let started = Instant::now();
        let (joined, ()) = tokio::join!(queue.join(&line.concert, None), async {
            tokio::time::sleep(Duration::from_millis(stopped_ms)).await;
            redis.resume();
        });
        match joined {
            Ok(_) => told += 1,
            Err(QueueError::Write(_)) => lost += 1,
            // Refused before anything was sent, because the board was old by then.
            Err(QueueError::Read(_) | QueueError::BoardLate) => continue,
            Err(other) => panic!("{other:?}"),
        }
        assert!(started.elapsed() < Duration::from_secs(1));
        eventually("every copy was executed", || async {
            line.server.redis.ping().await.is_ok() //
        })
        .await;
        let waiting = line.waiting().await.len();
        assert_eq!(waiting, told + lost, "round {round}");
    }
    assert!(told + lost > 0, "no round tested anything");
    assert_eq!(line.stat("issued").await, i64::try_from(told + lost).expect("few"));
}
