//! A server's payments with a database and a concert of their own, and what to seed and read back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use onsale::concerts::{Catalogue, Concert, Concerts, Gates, Generation};
use onsale::payments::{Payment, Payments, PaymentsConfig, Purchase};
use onsale::postgres::{self, PostgresConfig};
use onsale::redis::{LuaScript, Redis};
use onsale::seats::{Seats, SeatsConfig};
use onsale::words::{ChargeAmount, Place, SeatNumber, UserId, Won};
use onsale::{payments, seats};
use sqlx::PgPool;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::support::{self, RawRedis, stores};

/// The price of every seat of [`support::concert`].
pub const PRICE: i64 = 100;

pub fn user(id: u64) -> UserId {
    UserId::try_from(i128::from(id)).expect("a user id")
}

pub fn place(number: u64) -> Place {
    Place::try_from(i128::from(number)).expect("a place")
}

pub fn seat(number: u32) -> SeatNumber {
    SeatNumber::try_from(i128::from(number)).expect("a seat number")
}

pub fn amount(won: i64) -> ChargeAmount {
    ChargeAmount::try_from(i128::from(won)).expect("an amount")
}

pub fn won(amount: i64) -> Won {
    Won::try_from(i128::from(amount)).expect("an amount of money")
}

pub fn scripts() -> &'static [&'static LuaScript] {
    Box::leak([payments::SCRIPTS, seats::SCRIPTS].concat().into_boxed_slice())
}

/// A migrated database of its own.
pub async fn database() -> PgPool {
    connect(&database_url().await)
}

pub async fn database_url() -> String {
    static TEMPLATE: OnceCell<()> = OnceCell::const_new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = &stores().await.postgres;
    let make_template = || async {
        let template = "payments_template";
        server.create_database(template, None).await.expect("a database");
        let pool = connect(&server.url_of(template));
        postgres::migrate(&pool).await.expect("migrations");
        pool.close().await;
    };
    TEMPLATE.get_or_init(make_template).await;
    let name = format!("payments_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let made = server.create_database(&name, Some("payments_template")).await;
    made.expect("a database");
    server.url_of(&name)
}

pub fn connect(url: &str) -> PgPool {
    postgres::connect(&PostgresConfig {
        connections_max: 12,
        // A test machine may be busy with everything else; a lock is never held for long here.
        acquire_timeout: Duration::from_secs(10),
        lock_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(20),
        ..PostgresConfig::new(url)
    })
    .expect("a PostgreSQL URL")
}

/// One server's payments and seats, with one concert.
#[derive(Clone)]
pub struct Stage {
    pub concert: Arc<Concert>,
    pub payments: Payments,
    pub seats: Seats,
    pub gates: Gates,
    pub redis: Redis,
    pub database: PgPool,
}

impl Stage {
    /// A concert with 50 seats on two dates, open for sale.
    pub async fn new() -> Self {
        Self::with(support::concert(50, 2), database().await).await
    }

    pub async fn with(concert: Concert, database: PgPool) -> Self {
        let redis = support::redis(scripts()).await;
        let stage = Self::on(redis, concert, database, PaymentsConfig::default());
        let mut raw = RawRedis::shared().await;
        let keys = &stage.concert.keys;
        raw.say(&format!("SET {} run-1", keys.run)).await;
        raw.say(&format!("SET {} epoch-1", keys.epoch)).await;
        let generation = Generation { run: "run-1".into(), epoch: "epoch-1".into() };
        stage.gates.open(stage.concert.id, generation);
        stage
    }

    pub fn on(redis: Redis, concert: Concert, database: PgPool, config: PaymentsConfig) -> Self {
        let concerts = Concerts::new(Catalogue::new(vec![concert.clone()], None));
        let gates = Gates::default();
        let payments =
            Payments::new(redis.clone(), concerts.clone(), gates.clone(), database.clone(), config);
        let seats = Seats::new(
            redis.clone(),
            concerts,
            gates.clone(),
            database.clone(),
            SeatsConfig::default(),
        );
        Self { concert: Arc::new(concert), payments, seats, gates, redis, database }
    }

    pub fn purchase(&self, at: Place, by: UserId) -> Purchase {
        Purchase { concert: self.concert.clone(), place: at, user: by, key: None }
    }

    pub async fn charge(&self, who: UserId, won: i64) -> Won {
        let charged = self.payments.charge(who, amount(won), None).await;
        charged.expect("a charge")
    }

    /// An active token, bound to `who`, that lives ten minutes.
    pub async fn token(&self, raw: &mut RawRedis, at: Place, who: UserId) {
        let (keys, now_ms) = (&self.concert.keys, now_ms(raw).await);
        let until_ms = now_ms + 600_000;
        raw.say(&format!("ZADD {} {until_ms} {at}", keys.active)).await;
        raw.say(&format!("SET {} {who}:1:{now_ms} PXAT {until_ms}", keys.token(at))).await;
        raw.say(&format!("HSET {} {who} {at}", keys.users)).await;
    }

    /// Holds a seat, (day from 0, number), the way `seats/hold` does.
    pub async fn hold(
        &self,
        raw: &mut RawRedis,
        (at, who): (Place, UserId),
        (day, number): (usize, u32),
    ) -> Uuid {
        self.hold_for(raw, (at, who), (day, number), (300_000, 360_000)).await
    }

    /// As [`Self::hold`], with the milliseconds to its deadline and to its hard deadline.
    pub async fn hold_for(
        &self,
        raw: &mut RawRedis,
        (at, who): (Place, UserId),
        (day, number): (usize, u32),
        (ttl_ms, hard_ms): (i64, i64),
    ) -> Uuid {
        let (keys, date) = (&self.concert.keys, self.concert.dates[day]);
        let now_ms = i64::try_from(now_ms(raw).await).expect("a time");
        let (deadline_ms, hard_ms) = (now_ms + ttl_ms, now_ms + hard_ms);
        let reservation = Uuid::now_v7();
        let record = format!("{reservation}:{at}:{who}:{PRICE}:{hard_ms}");
        raw.say(&format!("ZADD {} {deadline_ms} {number}", keys.held(date))).await;
        raw.say(&format!("HSET {} {number} {record}", keys.hold(date))).await;
        raw.say(&format!("HSET {} {date}:{number} {reservation}", keys.holds(who))).await;
        raw.say(&format!("SET {} {who}:2:{now_ms} XX KEEPTTL", keys.token(at))).await;
        reservation
    }

    /// A user with money, an active token and a hold of one seat: everything to pay with.
    pub async fn buyer(&self, raw: &mut RawRedis, number: u32) -> Purchase {
        static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let (at, who) = (place(id), user(id));
        self.token(raw, at, who).await;
        self.hold(raw, (at, who), (0, number)).await;
        self.charge(who, 10 * PRICE).await;
        self.purchase(at, who)
    }

    pub async fn pay(&self, purchase: &Purchase) -> Payment {
        self.payments.pay(purchase.clone()).await.expect("a payment")
    }

    /// The seats of one day that are marked sold.
    pub async fn sold(&self, raw: &mut RawRedis, day: usize) -> Vec<u32> {
        let key = self.concert.keys.sold(self.concert.dates[day]);
        let mut sold = Vec::new();
        for number in 0..=self.concert.seats.get() {
            if raw.say(&format!("GETBIT {key} {number}")).await.int() == 1 {
                sold.push(number);
            }
        }
        sold
    }

    /// One counter of the concert.
    pub async fn counter(&self, raw: &mut RawRedis, name: &str) -> i64 {
        let line = format!("HINCRBY {} {name} 0", self.concert.keys.stats);
        raw.say(&line).await.int()
    }
}

/// Redis' clock.
pub async fn now_ms(raw: &mut RawRedis) -> u64 {
    let time = raw.say("TIME").await.texts();
    let part = |index: usize| time[index].parse::<u64>().expect("a number");
    part(0) * 1000 + part(1) / 1000
}

pub async fn count(database: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(database).await.expect("a count")
}

/// The invariants M1, M3, M4 and M7, read from the tables.
pub async fn assert_the_books_balance(database: &PgPool) {
    let rules: [(&str, &'static str); 7] = [
        (
            "M1: a balance is the sum of its ledger",
            "select count(*) from balances b where balance <>
             (select coalesce(sum(amount), 0) from ledger l where l.user_id = b.user_id)",
        ),
        (
            "M1: nobody has a ledger and no balance",
            "select count(*) from ledger l
             where not exists (select from balances b where b.user_id = l.user_id)",
        ),
        (
            "M3: payments and payment entries are 1:1 and agree",
            "select count(*) from payments p
             full join (select * from ledger where payment_id is not null) l on l.payment_id = p.id
             where p.id is null or l.id is null or l.amount <> -p.total or l.user_id <> p.user_id",
        ),
        (
            "M3: a payment is the sum of its seats",
            "select count(*) from payments p where total <>
             (select coalesce(sum(price), -1) from owned_seats o where o.payment_id = p.id)",
        ),
        (
            "M4: balance_after is the running sum",
            "select count(*) from (
                 select balance_after, sum(amount) over (partition by user_id order by id) as running
                 from ledger
             ) entries where balance_after <> running or balance_after < 0",
        ),
        (
            "M7: a seat belongs to its payment's concert",
            "select count(*) from owned_seats o join payments p on p.id = o.payment_id
             where o.concert_id <> p.concert_id",
        ),
        (
            "M8: no key without an answer",
            "select count(*) from idempotency_keys where answer is null",
        ),
    ];
    for (rule, violations) in rules {
        assert_eq!(count(database, violations).await, 0, "{rule}");
    }
}
