//! What a user owns, however much it is.

use std::collections::BTreeSet;

use sqlx::PgPool;

use crate::support::concert;
use crate::support::server::Deployment;

/// As many as fill two answers and begin a third.
const PAYMENTS: i32 = 1_001;

/// Payments of user 1 for a concert that nobody sells any more, two at each moment.
async fn buy_much(database: &PgPool) {
    let statements = [
        "insert into balances (user_id, balance) values (1, 0)",
        "insert into payments (id, user_id, concert_id, place, total, paid_at, redis_synced_at)
         select gen_random_uuid(), 1, 4000000, n, 0, timestamptz '2024-01-01' + n / 2 * interval '1 s', now()
         from generate_series(1, $1) n",
        "insert into owned_seats
             (concert_id, concert_date, seat_number, payment_id, reservation_id, price)
         select concert_id, date '2024-02-01', place, id, gen_random_uuid(), 0 from payments where place <= $1",
        "insert into ledger (user_id, request_id, amount, balance_after, payment_id, created_at)
         select user_id, gen_random_uuid(), 0, 0, id, paid_at from payments where place <= $1",
    ];
    for statement in statements {
        let query = sqlx::query(statement);
        let query = if statement.contains("$1") { query.bind(PAYMENTS) } else { query };
        query.execute(database).await.expect("rows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_owns_more_than_one_answer_holds_gets_all_of_it_in_order() {
    let deployment = Deployment::new(vec![concert(10, 1)]).await;
    let database = deployment.database().await;
    buy_much(&database).await;
    let server = deployment.start().await;
    let token = server.admitted(deployment.concert(), 1).await;
    let (mut owned, mut lengths, mut before) = (Vec::new(), Vec::new(), String::new());
    loop {
        let path = format!("/user/reservations?userId=1{before}");
        let body = server.get_as(&token, &path).await.expect(200).body;
        let page = body["owned"].as_array().expect("a list").clone();
        lengths.push(page.len());
        owned.extend(page);
        let Some(next) = body.get("ownedNext") else { break };
        before = format!("&ownedBefore={}", next.as_str().expect("an id"));
    }
    assert_eq!(lengths, [500, 500, 1]);
    let seats: BTreeSet<_> = owned.iter().map(|seat| seat["seatNumber"].as_i64()).collect();
    assert_eq!(seats.len(), owned.len(), "none is told twice");
    let paid_at: Vec<_> = owned.iter().map(|seat| seat["paidAt"].as_str()).collect();
    assert!(paid_at.is_sorted_by(|later, earlier| later >= earlier), "newest first");

    // Another user's payment is no place to go on from.
    let other = server.admitted(deployment.concert(), 2).await;
    let path = format!("/user/reservations?userId=2{before}");
    let body = server.get_as(&other, &path).await.expect(200).body;
    assert_eq!((body["owned"].as_array().map(Vec::len), body.get("ownedNext")), (Some(0), None));
}
