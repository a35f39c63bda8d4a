//! A server that stands still after `begin` for longer than a payment may take, and goes on as if
//! nothing had happened: never a charge without the seat.

use rustix::process::Signal;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::support::process::ServerProcess;
use crate::support::server::{Answer, Deployment, TestServer};
use crate::support::{concert, eventually};

/// A payment of user 7 for seat 3, whose server stopped right after `begin`.
struct Stopped {
    deployment: Deployment,
    process: ServerProcess,
    other: TestServer,
    token: String,
    paying: JoinHandle<Answer>,
    database: PgPool,
}

impl Stopped {
    /// The seconds of the protocol as tenths: 10 s for the statement, 30 s for the hold.
    async fn after_begin() -> Self {
        let deployment = Deployment::new(vec![concert(10, 1)])
            .await
            .with("payment_deadline", "1s")
            .with("payment_extension", "3s")
            .with("hold_ttl", "1s")
            .with("hold_grace", "6s");
        let concert = deployment.concert().clone();
        let other = deployment.start().await;
        let at = [("ONSALE_STOP_AT", "pay.after_begin")];
        let process = ServerProcess::with(&deployment, &at).await;
        let token = other.admitted(&concert, 7).await;
        other.charge(&token, 7, 1000).await;
        other.reserve(&token, &concert, 7, 3).await.expect(201);
        let asked = TestServer::at(process.server.address);
        let with = token.clone();
        let paying = tokio::spawn(async move { asked.pay(&with, 7).await });
        eventually("the server stands still", || async { process.is_stopped() }).await;
        let database = deployment.database().await;
        Self { deployment, process, other, token, paying, database }
    }

    /// Lets the server go on: what it answers.
    async fn continued(&mut self) -> Answer {
        self.process.signal(Signal::CONT);
        (&mut self.paying).await.expect("an answer")
    }

    /// Waits until PostgreSQL's clock is past the deadline of the statement.
    async fn past_the_deadline(&self) {
        sqlx::query("select pg_sleep(1.1)").execute(&self.database).await.expect("a while");
    }
}

/// Users and seats that were paid, and the balance of user 7.
async fn outcome(database: &PgPool) -> (Vec<(i64, i32)>, i64) {
    let paid =
        "select p.user_id, o.seat_number from payments p join owned_seats o on o.payment_id = p.id";
    let paid = sqlx::query_as(paid).fetch_all(database).await.expect("the payments");
    let balance = "select balance from balances where user_id = 7";
    (paid, sqlx::query_scalar(balance).fetch_one(database).await.expect("a balance"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_goes_on_after_its_deadline_charges_nobody_and_the_repeat_pays() {
    let mut stopped = Stopped::after_begin().await;
    stopped.past_the_deadline().await;
    let answer = stopped.continued().await;
    println!("a payment that stood still past its deadline: {:?}", answer.refusal());
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(outcome(&stopped.database).await, (vec![], 1000));
    // The hold may have lapsed meanwhile; then there is nothing to pay, and the seat is free.
    let (server, token) = (&stopped.other, &stopped.token);
    server.reserve(token, stopped.deployment.concert(), 7, 3).await;
    server.pay(token, 7).await.expect(200);
    assert_eq!(outcome(&stopped.database).await, (vec![(7, 3)], 900));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_goes_on_after_its_seat_was_sold_to_another_charges_nobody() {
    let mut stopped = Stopped::after_begin().await;
    let (other, concert) = (&stopped.other, stopped.deployment.concert().clone());
    let token = other.admitted(&concert, 8).await;
    other.charge(&token, 8, 1000).await;
    let held = || async { other.reserve(&token, &concert, 8, 3).await.status == 201 };
    eventually("the hold ends in spite of the attempt", held).await;
    other.pay(&token, 8).await.expect(200);
    let answer = stopped.continued().await;
    println!("a payment that stood still until its seat was sold: {:?}", answer.refusal());
    assert!(matches!(answer.status, 503 | 409), "{answer:?}");
    assert_eq!(outcome(&stopped.database).await, (vec![(8, 3)], 1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_goes_on_after_another_server_paid_answers_the_same_payment() {
    let mut stopped = Stopped::after_begin().await;
    let paid = stopped.other.pay(&stopped.token, 7).await.expect(200);
    let answer = stopped.continued().await;
    // Past its deadline it claims nothing; within, it finds the payment.
    if answer.status != 503 {
        assert_eq!(answer.expect(200).body, paid.body);
    }
    assert_eq!(stopped.other.pay(&stopped.token, 7).await.expect(200).body, paid.body);
    assert_eq!(outcome(&stopped.database).await, (vec![(7, 3)], 900));
}
