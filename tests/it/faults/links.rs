//! Each link of a server to a store, slow, cut, or a black hole: an answer by the deadline, the truth
//! in it, and everything as before when the link is.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;

use super::{every_route, time_until};
use crate::payments::stage::assert_the_books_balance;
use crate::support::concert;
use crate::support::links::Links;
use crate::support::proxy::{Mode, Proxy};
use crate::support::server::Deployment;

/// No request takes longer: a second more than the statement of a payment may act.
const DEADLINE: Duration = Duration::from_secs(11);

const DELAYS_MS: [u64; 3] = [50, 500, 5000];

/// What happens to a link, and for how long.
fn modes() -> Vec<Mode> {
    let mut modes = vec![
        Mode::Refuse,
        Mode::Reset,
        Mode::CutRequests { after_bytes: 40 },
        Mode::BlackHole { to_target: true, to_client: true },
        Mode::BlackHole { to_target: false, to_client: true },
    ];
    modes.extend(DELAYS_MS.map(|delay| Mode::Delay(Duration::from_millis(delay))));
    modes
}

#[derive(Debug, Clone, Copy)]
enum Link {
    Redis,
    Postgres,
}

/// All routes at once over a broken link, and then the whole way to a paid seat.
async fn with_a_link(link: Link, mode: Mode) {
    let around = Deployment::new(vec![concert(10, 1)])
        .await
        .with("database_connections", "8")
        // An attempt of unknown outcome keeps its holds for twice this.
        .with("payment_deadline", "2s");
    let links = Links::of(&around).await;
    let (server, concert) = (links.deployment.start().await, around.concert().clone());
    let (one, two) = (server.admitted(&concert, 1).await, server.admitted(&concert, 2).await);
    server.charge(&one, 1, 1000).await;
    server.reserve(&one, &concert, 1, 1).await.expect(201);
    server.charge(&two, 2, 1000).await;
    let proxy: &Proxy = match link {
        Link::Redis => &links.to_redis,
        Link::Postgres => &links.to_postgres,
    };
    proxy.set(mode);
    let mut routes = every_route(&concert, 2);
    routes.pop();
    let payment = super::asked("POST", "/payment", Some(json!({"userId": 1})));
    let others = join_all(routes.iter().map(|route| route.to(&server, &two)));
    let (mut answers, paid) = tokio::join!(others, payment.to(&server, &one));
    routes.push(payment);
    answers.push(paid);
    let mut longest = Duration::ZERO;
    let mut told = std::collections::BTreeMap::<(u16, String), usize>::new();
    for ((answer, elapsed), route) in answers.iter().zip(&routes) {
        let right = answer.status < 500 || answer.status == 503;
        assert!(right, "{link:?} {mode:?}: {}: {answer:?}", route.shown());
        assert!(*elapsed < DEADLINE, "{link:?} {mode:?}: {} took {elapsed:?}", route.shown());
        longest = longest.max(*elapsed);
        let code = if answer.status < 300 { "" } else { answer.code() };
        *told.entry((answer.status, code.to_owned())).or_default() += 1;
    }
    proxy.set(Mode::Pass);
    let healed = Instant::now();
    let paid = || async { server.pay(&one, 1).await.status == 200 };
    time_until("the seat is paid", paid).await;
    // Everything that may have been sent has arrived by now, or never will.
    let held = || async {
        matches!(server.reserve(&two, &concert, 2, 2).await.status, 200 | 201)
            && server.pay(&two, 2).await.status == 200
            // Bought by the request over the broken link: its token holds nothing any more.
            || server.pay(&two, 2).await.status == 200
    };
    time_until("another seat is paid", held).await;
    println!("{link:?} {mode:?}: {told:?} within {longest:?}; healed after {:?}", healed.elapsed());
    let database = around.database().await;
    let owned = "select count(*) from owned_seats where seat_number = 1";
    let owned: i64 = sqlx::query_scalar(owned).fetch_one(&database).await.expect("a count");
    assert_eq!(owned, 1);
    assert_the_books_balance(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_redis_that_is_slow_cut_or_silent_costs_a_clear_answer_in_time() {
    join_all(modes().into_iter().map(|mode| with_a_link(Link::Redis, mode))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_postgresql_that_is_slow_cut_or_silent_costs_a_clear_answer_in_time() {
    join_all(modes().into_iter().map(|mode| with_a_link(Link::Postgres, mode))).await;
}
