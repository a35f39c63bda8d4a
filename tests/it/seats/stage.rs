//! A concert of its own with everything that a hold needs, and eyes to look into both stores.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use onsale::concerts::{Catalogue, Concert, Concerts, Gates, Generation};
use onsale::postgres::{self, PostgresConfig};
use onsale::redis::Redis;
use onsale::seats::scripts::{HoldOutcome, HoldSeats, HoldTerms};
use onsale::seats::{
    Holder, Holds, Reserved, SCRIPTS, SeatSelection, Seats, SeatsConfig, SeatsError,
};
use onsale::words::{ConcertDate, SeatNumber};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::support::{self, RawRedis};

pub fn seat(number: u32) -> SeatNumber {
    SeatNumber::try_from(i128::from(number)).expect("a seat")
}

pub fn selection(numbers: &[u32]) -> SeatSelection {
    SeatSelection::new(numbers.iter().copied().map(seat).collect(), 20).expect("a selection")
}

pub fn terms() -> HoldTerms {
    HoldTerms {
        hold_ttl: Duration::from_mins(5),
        hard_extra: Duration::from_mins(1),
        token_extra: Duration::from_mins(1),
        session_max: Duration::from_mins(30),
        seats_max: 4,
    }
}

/// A migrated database that all tests of seats share: their concerts keep them apart.
pub async fn database() -> PgPool {
    static NAME: OnceCell<&str> = OnceCell::const_new();
    let name = NAME
        .get_or_init(|| async {
            let postgres = &support::stores().await.postgres;
            postgres.create_database("seats", None).await.expect("a database");
            let pool = connect(&postgres.url_of("seats"));
            postgres::migrate(&pool).await.expect("a schema");
            pool.close().await;
            "seats"
        })
        .await;
    connect(&support::stores().await.postgres.url_of(name))
}

pub fn connect(url: &str) -> PgPool {
    let mut config = PostgresConfig::new(url);
    config.connections_max = 4;
    // What matters here is what happens, not how soon on a busy machine.
    config.acquire_timeout = Duration::from_secs(5);
    (config.lock_timeout, config.statement_timeout) =
        (Duration::from_secs(8), Duration::from_secs(9));
    postgres::connect(&config).expect("a PostgreSQL URL")
}

pub struct Stage {
    pub concert: Arc<Concert>,
    pub concerts: Concerts,
    pub gates: Gates,
    pub generation: Generation,
    pub redis: Redis,
    pub database: PgPool,
    pub seats: Seats,
    pub raw: Mutex<RawRedis>,
    next_place: AtomicU64,
}

impl Stage {
    /// `n_seats` seats on `days` dates, ready to be sold.
    pub async fn new(n_seats: u32, days: u32) -> Self {
        let config =
            SeatsConfig { database_timeout: Duration::from_secs(10), ..SeatsConfig::default() };
        Self::with(support::concert(n_seats, days), config, database().await).await
    }

    pub async fn with(concert: Concert, config: SeatsConfig, database: PgPool) -> Self {
        let redis = support::redis(SCRIPTS).await;
        let raw = RawRedis::shared().await;
        Self::on(redis, raw, concert, config, database).await
    }

    pub async fn on(
        redis: Redis,
        raw: RawRedis,
        concert: Concert,
        config: SeatsConfig,
        database: PgPool,
    ) -> Self {
        let concerts = Concerts::new(Catalogue::new(vec![concert.clone()], None));
        let generation = Generation { run: "this-run".into(), epoch: "this-epoch".into() };
        let gates = Gates::default();
        gates.open(concert.id, generation.clone());
        let seats =
            Seats::new(redis.clone(), concerts.clone(), gates.clone(), database.clone(), config);
        let stage = Self {
            concert: Arc::new(concert),
            concerts,
            gates,
            generation,
            redis,
            database,
            seats,
            raw: Mutex::new(raw),
            next_place: AtomicU64::new(1),
        };
        stage.say(&format!("SET {} this-run", stage.concert.keys.run)).await;
        stage.say(&format!("SET {} this-epoch", stage.concert.keys.epoch)).await;
        stage
    }

    /// Another server on the same stores.
    pub fn another_server(&self, config: SeatsConfig) -> Seats {
        let (redis, concerts) = (self.redis.clone(), self.concerts.clone());
        Seats::new(redis, concerts, self.gates.clone(), self.database.clone(), config)
    }

    pub async fn say(&self, line: &str) -> support::raw_redis::Answer {
        self.raw.lock().await.say(line).await
    }

    /// Redis' clock, Unix ms.
    pub async fn now_ms(&self) -> u64 {
        let time = self.say("TIME").await.texts();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        number(&time[0]) * 1000 + number(&time[1]) / 1000
    }

    /// An active, claimed token of `user`, promoted just now.
    pub async fn admit(&self, user: u64) -> Holder {
        let place = self.next_place.fetch_add(1, Ordering::Relaxed);
        let holder = Holder {
            user: i128::from(user).try_into().expect("a user"),
            place: i128::from(place).try_into().expect("a place"),
        };
        let now_ms = self.now_ms().await;
        self.seed_token(holder, now_ms, now_ms + 600_000).await;
        holder
    }

    pub async fn seed_token(&self, holder: Holder, promoted_ms: u64, expires_ms: u64) {
        let (keys, Holder { user, place }) = (&self.concert.keys, holder);
        self.say(&format!("ZADD {} {expires_ms} {place}", keys.active)).await;
        let token = keys.token(place);
        self.say(&format!("SET {token} {user}:1:{promoted_ms} PXAT {expires_ms}")).await;
    }

    pub fn date(&self) -> ConcertDate {
        self.concert.dates[0]
    }

    pub async fn reserve(&self, holder: Holder, seats: &[u32]) -> Result<Reserved, SeatsError> {
        let date = Some(self.date());
        self.seats.reserve(&self.concert, holder, date, &selection(seats)).await
    }

    /// Calls the script `seats/hold` alone, on the first date.
    pub async fn hold(
        &self,
        holder: Holder,
        terms: HoldTerms,
        seats: &[(SeatNumber, Uuid)],
    ) -> HoldOutcome {
        self.hold_on(self.date(), holder, terms, seats).await
    }

    pub async fn hold_on(
        &self,
        date: ConcertDate,
        holder: Holder,
        terms: HoldTerms,
        seats: &[(SeatNumber, Uuid)],
    ) -> HoldOutcome {
        let call = HoldSeats {
            concert: &self.concert,
            generation: &self.generation,
            date,
            holder,
            terms,
            version: Uuid::now_v7(),
            seats,
        };
        self.redis.run(&call).await.expect("an outcome")
    }

    pub async fn hold_new(&self, holder: Holder, numbers: &[u32]) -> Holds {
        self.hold_for(holder, terms().hold_ttl, numbers).await
    }

    pub async fn hold_for(&self, holder: Holder, hold_ttl: Duration, numbers: &[u32]) -> Holds {
        let seats: Vec<_> = numbers.iter().map(|n| (seat(*n), Uuid::now_v7())).collect();
        let terms = HoldTerms { hold_ttl, seats_max: 1000, ..terms() };
        match self.hold(holder, terms, &seats).await {
            HoldOutcome::Held(holds) => holds,
            other => panic!("not held: {other:?}"),
        }
    }

    /// The free seats of the first date, as the API lists them.
    pub async fn list(&self) -> Vec<u32> {
        list_of(&self.seats, &self.concert).await
    }

    pub async fn stat(&self, counter: &str) -> i64 {
        match self.say(&format!("HGET {} {counter}", self.concert.keys.stats)).await {
            support::raw_redis::Answer::Nil => 0,
            answer => answer.int(),
        }
    }

    /// Everything that Redis has of the concert, expiry times included.
    pub async fn snapshot(&self) -> BTreeMap<String, String> {
        let mut raw = self.raw.lock().await;
        let pattern = format!("{{c{}}}:*", self.concert.id);
        let mut all = BTreeMap::new();
        for key in raw.say(&format!("KEYS {pattern}")).await.texts() {
            let kind = raw.say(&format!("TYPE {key}")).await;
            let value = match kind.text() {
                "string" => raw.say(&format!("GET {key}")).await,
                "hash" => raw.say(&format!("HGETALL {key}")).await,
                "zset" => raw.say(&format!("ZRANGE {key} 0 -1 WITHSCORES")).await,
                other => panic!("no such type here: {other}"),
            };
            let until = raw.say(&format!("PEXPIRETIME {key}")).await;
            all.insert(key, format!("{value:?} until {until:?}"));
        }
        all
    }

    /// A payment in PostgreSQL that owns `numbers` on the first date.
    pub async fn sell_in_postgres(&self, numbers: &[u32]) {
        let mut sale = self.database.begin().await.expect("a transaction");
        for number in numbers {
            self.sell(&mut sale, *number, Uuid::now_v7()).await;
        }
        sale.commit().await.expect("a sale");
    }

    /// Sells one seat, held with this reservation, by a payment of its own.
    pub async fn sell(&self, sale: &mut PgConnection, number: u32, reservation: Uuid) {
        let payment = Uuid::now_v7();
        let concert = i32::try_from(self.concert.id.get()).expect("an id");
        sqlx::query(
            "insert into payments (id, user_id, concert_id, place, total, paid_at)
             values ($1, 7, $2, $3, 0, now())",
        )
        .bind(payment)
        .bind(concert)
        .bind(i64::try_from(self.next_place.fetch_add(1, Ordering::Relaxed)).expect("a place"))
        .execute(&mut *sale)
        .await
        .expect("a payment");
        sqlx::query("insert into owned_seats values ($1, $2, $3, $4, $5, 0)")
            .bind(concert)
            .bind(self.date())
            .bind(i32::try_from(number).expect("a seat"))
            .bind(payment)
            .bind(reservation)
            .execute(sale)
            .await
            .expect("an owned seat");
    }
}

pub async fn list_of(seats: &Seats, concert: &Concert) -> Vec<u32> {
    let date = concert.dates[0];
    let seen = seats.version(Some(concert), Some(date)).await.expect("a version");
    let body = seats.list(concert, date, seen).await.expect("a list");
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    serde_json::from_value(body["availableSeats"].clone()).expect("seat numbers")
}
