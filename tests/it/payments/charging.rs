//! Charging a balance.

use chrono::{DateTime, Utc};
use futures::future::join_all;
use onsale::payments::{KeyUse, PaymentError};
use uuid::Uuid;

use super::stage::{Stage, amount, assert_the_books_balance, count, user, won};

fn key(name: &str, who: u64, won: i64) -> KeyUse {
    KeyUse::of_charge(name, user(who), amount(won))
}

#[tokio::test]
async fn an_unknown_user_has_nothing_and_a_charge_adds_up() {
    let stage = Stage::new().await;
    assert_eq!(stage.payments.balance(user(7)).await.unwrap(), won(0));
    assert_eq!(stage.charge(user(7), 5_000).await, won(5_000));
    assert_eq!(stage.charge(user(7), 30_000).await, won(35_000));
    assert_eq!(stage.payments.balance(user(7)).await.unwrap(), won(35_000));
    assert_eq!(stage.payments.balance(user(8)).await.unwrap(), won(0));
    assert_the_books_balance(&stage.database).await;
}

#[tokio::test]
async fn three_hundred_charges_at_once_add_up_exactly() {
    let stage = Stage::new().await;
    let charges = (1..=300).map(|won| stage.charge(user(7), won));
    let mut after: Vec<i64> = join_all(charges).await.iter().map(|won| won.get()).collect();
    after.sort_unstable();
    after.dedup();
    assert_eq!(after.len(), 300, "every answer is the balance right after its own charge");
    assert_eq!(after.last(), Some(&(300 * 301 / 2)));
    assert_eq!(stage.payments.balance(user(7)).await.unwrap(), won(300 * 301 / 2));
    assert_the_books_balance(&stage.database).await;
}

#[tokio::test]
async fn a_balance_has_an_upper_end_and_a_refused_charge_leaves_nothing() {
    let stage = Stage::new().await;
    stage.charge(user(7), 1).await;
    sqlx::raw_sql(
        "insert into ledger (user_id, request_id, amount, balance_after, created_at)
         values (7, gen_random_uuid(), 999999999990, 999999999991, now());
         update balances set balance = 999999999991 where user_id = 7",
    )
    .execute(&stage.database)
    .await
    .unwrap();
    let refused = stage.payments.charge(user(7), amount(10), Some(key("k", 7, 10))).await;
    assert!(matches!(
        refused,
        Err(PaymentError::BalanceTooLarge { balance }) if balance == won(999_999_999_991)
    ));
    assert_eq!(count(&stage.database, "select count(*) from idempotency_keys").await, 0);
    assert_eq!(stage.charge(user(7), 9).await, won(1_000_000_000_000));
    assert_the_books_balance(&stage.database).await;
}

#[tokio::test]
async fn thirty_charges_with_one_key_are_one_charge() {
    let stage = Stage::new().await;
    let charge = || stage.payments.charge(user(7), amount(500), Some(key("once", 7, 500)));
    for balance in join_all((0..30).map(|_| charge())).await {
        assert_eq!(balance.unwrap(), won(500));
    }
    stage.charge(user(7), 1).await;
    assert_eq!(charge().await.unwrap(), won(500), "the answer of the first, not the balance now");
    assert_eq!(stage.payments.balance(user(7)).await.unwrap(), won(501));
    assert_eq!(count(&stage.database, "select count(*) from ledger").await, 2);
    assert_the_books_balance(&stage.database).await;
}

#[tokio::test]
async fn a_key_with_another_body_is_refused_and_belongs_to_its_user() {
    let stage = Stage::new().await;
    let first = stage.payments.charge(user(7), amount(500), Some(key("k", 7, 500))).await;
    assert_eq!(first.unwrap(), won(500));
    let other_body = stage.payments.charge(user(7), amount(501), Some(key("k", 7, 501))).await;
    assert!(matches!(other_body, Err(PaymentError::KeyReused)));
    let other_user = stage.payments.charge(user(8), amount(9), Some(key("k", 8, 9))).await;
    assert_eq!(other_user.unwrap(), won(9));
    assert_eq!(stage.payments.balance(user(7)).await.unwrap(), won(500));
    assert_the_books_balance(&stage.database).await;
}

/// What a server sends twice after a lost answer, and what a network may deliver late.
#[tokio::test]
async fn a_second_copy_changes_nothing_and_a_late_one_is_undone() {
    let stage = Stage::new().await;
    let send = async |request: Uuid, deadline: &'static str, key: Option<&'static str>| {
        sqlx::query_scalar::<_, i64>(
            "select balance_after from onsale_charge($1, 7, 100,
             clock_timestamp() + $2::interval, $3, case when $3 is null then null else '\\x01'::bytea end)",
        )
        .bind(request)
        .bind(deadline)
        .bind(key)
        .fetch_all(&stage.database)
        .await
    };
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(send(first, "10 s", None).await.unwrap(), [100]);
    assert_eq!(send(second, "10 s", Some("k")).await.unwrap(), [200]);
    assert_eq!(send(first, "10 s", None).await.unwrap(), [100], "the first copy's row answers");
    assert_eq!(send(first, "-10 s", None).await.unwrap(), [100], "also after the deadline");
    assert_eq!(send(second, "-10 s", Some("k")).await.unwrap(), [200]);

    let late = send(Uuid::now_v7(), "-1 ms", Some("late")).await.unwrap_err();
    assert_eq!(late.as_database_error().unwrap().code().unwrap(), "ON001");
    assert_eq!(count(&stage.database, "select count(*) from ledger").await, 2);
    assert_eq!(count(&stage.database, "select count(*) from idempotency_keys").await, 1);
    assert_the_books_balance(&stage.database).await;
}

/// The deadline is looked at after the last lock: a statement that waited too long for its row is
/// undone although it was sent in time.
#[tokio::test]
async fn a_statement_that_waits_for_a_lock_past_its_deadline_is_undone() {
    let stage = Stage::new().await;
    stage.charge(user(7), 100).await;
    let mut holder = stage.database.begin().await.unwrap();
    let lock = "select balance from balances where user_id = 7 for update";
    sqlx::query(lock).execute(&mut *holder).await.unwrap();
    let deadline: DateTime<Utc> =
        sqlx::query_scalar("select clock_timestamp() + interval '100 ms'")
            .fetch_one(&stage.database)
            .await
            .unwrap();
    let database = stage.database.clone();
    let waiting = tokio::spawn(async move {
        sqlx::query("select * from onsale_charge(gen_random_uuid(), 7, 5, $1, null, null)")
            .bind(deadline)
            .fetch_all(&database)
            .await
    });
    crate::support::eventually("the deadline is past while the statement waits", || async {
        let blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
             and datname = current_database()";
        let now: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()")
            .fetch_one(&stage.database)
            .await
            .unwrap();
        now > deadline && count(&stage.database, blocked).await == 1
    })
    .await;
    holder.rollback().await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "ON001");
    assert_eq!(stage.payments.balance(user(7)).await.unwrap(), won(100));
    assert_the_books_balance(&stage.database).await;
}

#[tokio::test]
async fn the_ledger_cannot_be_changed() {
    let stage = Stage::new().await;
    stage.charge(user(7), 100).await;
    for statement in ["update ledger set amount = 1", "delete from ledger"] {
        assert!(sqlx::query(statement).execute(&stage.database).await.is_err());
    }
    assert_the_books_balance(&stage.database).await;
}
