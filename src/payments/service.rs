//! What happens when money moves, step by step (the payment protocol).
//!
//! Everything that writes runs in a task of its own: a client that goes away cancels nothing.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::domain::{KeyUse, OwnedPage, Payment, Purchase};
use super::error::{Failure, PaymentError, refusal};
use super::jobs::Reconciled;
use super::reads::{self, StoredKey};
use super::recovery::Recovery;
use super::scripts::{BeginPayment, Begun, CancelPayment, FinishPayment};
use super::sql::{self, ChargeStatement, MoneyError, PayOutcome, PayStatement, Refused};
use super::{PaymentSeat, PaymentsConfig};
use crate::concerts::{Concerts, Gates};
use crate::crash;
use crate::mutant;
use crate::postgres::{PgClock, pool};
use crate::redis::{Redis, RedisError};
use crate::seats::scripts::RestoreSold;
use crate::words::{ChargeAmount, ConcertId, Place, UserId, Won};

/// Balances and payments. Cheap to clone.
#[derive(Clone)]
pub struct Payments(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub redis: Redis,
    pub concerts: Concerts,
    pub gates: Gates,
    pub db: PgPool,
    pub clock: PgClock,
    pub config: PaymentsConfig,
    pub recovery: Recovery,
    /// Payments that Redis was told about, and PostgreSQL does not know that yet.
    pub synced: Mutex<Vec<Uuid>>,
    tasks: TaskTracker,
    foreign_replays: AtomicU64,
    pub(super) reconciled: Reconciled,
}

impl Payments {
    /// Payments over these stores; connects to nothing.
    #[must_use]
    pub fn new(
        redis: Redis,
        concerts: Concerts,
        gates: Gates,
        db: PgPool,
        config: PaymentsConfig,
    ) -> Self {
        Self(Arc::new(Inner {
            redis,
            concerts,
            gates,
            clock: PgClock::new(db.clone()),
            db,
            config,
            recovery: Recovery::default(),
            synced: Mutex::default(),
            tasks: TaskTracker::new(),
            foreign_replays: AtomicU64::new(0),
            reconciled: Reconciled::default(),
        }))
    }

    /// Adds money to a balance; answers the balance right after, also to a repeated key.
    pub async fn charge(
        &self,
        user: UserId,
        amount: ChargeAmount,
        key: Option<KeyUse>,
    ) -> Result<Won, PaymentError> {
        let this = self.clone();
        self.to_the_end(async move {
            let deadline = this.0.clock.after(this.0.config.statement_deadline).await;
            let statement = ChargeStatement {
                request: Uuid::now_v7(),
                user,
                amount,
                deadline: deadline.map_err(PaymentError::Database)?,
                key,
            };
            let sent = this.send(|connection| sql::charge(connection, &statement)).await;
            sent.map_err(|failure| refusal(failure, amount.get()))
        })
        .await
    }

    /// A user's balance; 0 for an unknown one.
    pub async fn balance(&self, user: UserId) -> Result<Won, PaymentError> {
        let this = self.clone();
        self.to_the_end(async move {
            let balance = reads::balance(&this.0.db, user).await;
            balance.map_err(PaymentError::Database)
        })
        .await
    }

    /// The payments of a user before the payment `before`, newest first, at most
    /// [`reads::PAYMENTS_MAX`].
    pub async fn owned(
        &self,
        user: UserId,
        before: Option<Uuid>,
    ) -> Result<OwnedPage, PaymentError> {
        let this = self.clone();
        self.to_the_end(async move {
            let page = reads::payments_of_user(&this.0.db, user, before).await;
            page.map_err(PaymentError::Database)
        })
        .await
    }

    /// The payment that was made with a place, if any.
    pub async fn payment_of_place(
        &self,
        concert: ConcertId,
        place: Place,
    ) -> Result<Option<Payment>, PaymentError> {
        let this = self.clone();
        self.to_the_end(async move {
            let payment = reads::payment_of_place(&this.0.db, concert, place).await;
            payment.map_err(PaymentError::Database)
        })
        .await
    }

    /// Checks that a token that is gone bought something for `user`.
    ///
    /// # Errors
    ///
    /// `token-expired` if it bought nothing, `not-yours` if it bought for somebody else.
    pub async fn check_spent(
        &self,
        concert: ConcertId,
        place: Place,
        user: UserId,
    ) -> Result<(), PaymentError> {
        match self.payment_of_place(concert, place).await? {
            None => Err(PaymentError::TokenExpired),
            Some(payment) => self.replay(payment, user).map(|_| ()),
        }
    }

    /// Pays for all live holds of a token, or answers the payment that was made with it before.
    pub async fn pay(&self, purchase: Purchase) -> Result<Payment, PaymentError> {
        let this = self.clone();
        self.to_the_end(async move { this.pay_now(&purchase).await }).await
    }

    /// How often a payment was asked for again by another user than the one who made it.
    #[must_use]
    pub fn foreign_replays(&self) -> u64 {
        self.0.foreign_replays.load(Ordering::Relaxed)
    }

    /// Waits until nothing that was begun is under way any more: for an orderly stop.
    pub async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.tasks.reopen();
    }

    /// Runs `work` to its end, whether or not the caller waits for it.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, PaymentError>> + Send + 'static,
    ) -> Result<T, PaymentError> {
        if mutant::lacks("spawned-payment") {
            return work.await;
        }
        let task = self.0.tasks.spawn(work);
        task.await.unwrap_or(Err(PaymentError::OutcomeUnknown(None)))
    }

    async fn pay_now(&self, purchase: &Purchase) -> Result<Payment, PaymentError> {
        if let Some(payment) = self.paid_with_key(purchase).await? {
            return Ok(payment);
        }
        // Before `begin` is sent: however long this process then stops, the statement cannot act
        // after the holds have ended.
        let deadline = self.0.clock.after(self.0.config.statement_deadline).await;
        let deadline = deadline.map_err(PaymentError::Database)?;
        let attempt = Uuid::now_v7();
        let begin = BeginPayment {
            concert: &purchase.concert,
            place: purchase.place,
            user: purchase.user,
            attempt,
            lease: self.0.config.lease,
            extension: self.0.config.begin_extension,
        };
        crash::point("pay.before_begin");
        let seats = match self.0.redis.run(&begin).await? {
            Begun::Holds(seats) => seats,
            otherwise => return self.already_paid(purchase, deadline, otherwise).await,
        };
        crash::point("pay.after_begin");
        let statement = PayStatement::new(purchase, seats, deadline);
        let sent = self.send(|connection| sql::pay(connection, &statement)).await;
        match sent {
            Ok(outcome) => Ok(self.conclude(purchase, attempt, outcome).await),
            Err(failure) => {
                self.abandon(purchase, attempt, &failure).await;
                Err(refusal(failure, total(&statement.seats)))
            }
        }
    }

    /// The payment that this key already stands for.
    async fn paid_with_key(&self, purchase: &Purchase) -> Result<Option<Payment>, PaymentError> {
        let Some(key) = &purchase.key else {
            return Ok(None);
        };
        let stored = reads::payment_of_key(&self.0.db, purchase.user, key).await;
        match stored.map_err(PaymentError::Database)? {
            StoredKey::Free => Ok(None),
            StoredKey::Reused => Err(PaymentError::KeyReused),
            StoredKey::Payment(payment) => Ok(Some(*payment)),
        }
    }

    /// Redis sees nothing to pay: the token may have paid already, which only PostgreSQL knows.
    async fn already_paid(
        &self,
        purchase: &Purchase,
        deadline: DateTime<Utc>,
        begun: Begun,
    ) -> Result<Payment, PaymentError> {
        let told = match begun {
            Begun::NotYours => return Err(PaymentError::NotYours),
            Begun::Gone => PaymentError::TokenExpired,
            Begun::Expired | Begun::Expiring => PaymentError::HoldExpired,
            Begun::Nothing | Begun::Holds(_) => PaymentError::NothingToPay,
        };
        let token_lives = !matches!(told, PaymentError::TokenExpired);
        let paid = reads::payment_of_place(&self.0.db, purchase.concert.id, purchase.place).await;
        let Some(payment) = paid.map_err(PaymentError::Database)? else {
            return Err(told);
        };
        let payment = self.replay(payment, purchase.user)?;
        if token_lives {
            self.finish_and_note(&payment).await;
        }
        if purchase.key.is_none() {
            return Ok(payment);
        }
        // From now on the key stands for this payment. A statement without seats can only find it.
        let statement = PayStatement::new(purchase, Vec::new(), deadline);
        let sent = self.send(|connection| sql::pay(connection, &statement)).await;
        sent.map(|found| found.payment).map_err(|failure| refusal(failure, 0))
    }

    /// A payment is shown again to the one who made it, and to nobody else.
    fn replay(&self, payment: Payment, user: UserId) -> Result<Payment, PaymentError> {
        if payment.user == user {
            return Ok(payment);
        }
        self.0.foreign_replays.fetch_add(1, Ordering::Relaxed);
        // A client can cause this as often as it likes, so it is no error of this server.
        tracing::warn!(
            payment = %payment.id, concert = %payment.concert, payer = %payment.user, asked_by = %user,
            "a payment was asked for by another user: a token is in the wrong hands"
        );
        Err(PaymentError::NotYours)
    }

    /// Sends a statement; if its answer is lost, the same once more. What the second copy says is
    /// the truth only if it found or made the row: a refusal may come before the first copy acts.
    async fn send<T, F>(&self, statement: impl Fn(pool::Connection) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, MoneyError>>,
    {
        let connection = pool::acquire(&self.0.db).await.map_err(Failure::Nothing)?;
        let lost = match statement(connection).await {
            Ok(done) => return Ok(done),
            Err(MoneyError::Refused(refused)) => return Err(Failure::Refused(refused)),
            Err(MoneyError::Failed(error)) if error.may_have_happened() => error,
            Err(MoneyError::Failed(error)) => return Err(Failure::Nothing(error)),
        };
        tracing::warn!(error = ?lost, "the answer of PostgreSQL was lost: asking again");
        crash::point("money.before_second_copy");
        let Ok(connection) = pool::acquire_tested(&self.0.db).await else {
            return Err(Failure::Unknown(Some(lost)));
        };
        match statement(connection).await {
            Ok(done) => Ok(done),
            Err(MoneyError::Refused(_)) => Err(Failure::Unknown(Some(lost))),
            Err(MoneyError::Failed(error)) => Err(Failure::Unknown(Some(error))),
        }
    }

    /// PostgreSQL has committed: tells Redis, and answers whatever Redis says.
    async fn conclude(&self, purchase: &Purchase, attempt: Uuid, outcome: PayOutcome) -> Payment {
        crash::point("pay.after_commit");
        let payment = outcome.payment;
        if (payment.concert, payment.place) == (purchase.concert.id, purchase.place) {
            self.finish_and_note(&payment).await;
        } else {
            // An old key with a new token: the holds of this token stay what they were.
            self.cancel(purchase, attempt).await;
        }
        crash::point("pay.after_finish");
        payment
    }

    /// Nothing was paid, or nobody knows. Only a definite refusal ends the attempt: otherwise its
    /// lease keeps the holds until the statement can no longer act.
    async fn abandon(&self, purchase: &Purchase, attempt: Uuid, failure: &Failure) {
        if matches!(failure, Failure::Unknown(_)) {
            crash::point("pay.outcome_unknown");
            return;
        }
        self.cancel(purchase, attempt).await;
        if let Failure::Refused(Refused::SeatSold(date, seat)) = failure {
            let mark = RestoreSold {
                concert: &purchase.concert,
                date: *date,
                lock: None,
                version: Uuid::new_v4(),
                seats: &[*seat],
            };
            if let Err(error) = self.0.redis.run(&mark).await {
                tracing::debug!(%error, "a sold seat is not marked yet: the next comparison will");
            }
        }
    }

    async fn cancel(&self, purchase: &Purchase, attempt: Uuid) {
        let cancel = CancelPayment { concert: &purchase.concert, place: purchase.place, attempt };
        crash::point("pay.before_cancel");
        if let Err(error) = self.0.redis.run(&cancel).await {
            tracing::debug!(%error, "an attempt to pay was not cancelled: its lease will end it");
        }
        crash::point("pay.after_cancel");
    }

    async fn finish_and_note(&self, payment: &Payment) {
        match self.finish(payment).await {
            Ok(()) => self.0.synced.lock().push(payment.id),
            Err(error) => {
                tracing::warn!(%error, payment = %payment.id, "Redis was not told: a job will");
            }
        }
    }

    /// Makes Redis agree with `payment`.
    pub(super) async fn finish(&self, payment: &Payment) -> Result<(), RedisError> {
        let version = Uuid::new_v4();
        let finished = self.0.redis.run(&FinishPayment { payment, version }).await?;
        if finished.displaced > 0 {
            tracing::warn!(
                payment = %payment.id, displaced = finished.displaced,
                "seats that are paid were held by somebody else: Redis had lost the first hold"
            );
        }
        Ok(())
    }
}

/// The price of all seats.
fn total(seats: &[PaymentSeat]) -> i64 {
    seats.iter().map(|seat| seat.price.get()).sum()
}
