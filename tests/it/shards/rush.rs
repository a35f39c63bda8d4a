//! Buyers who come one after the other while Redis changes hands, and what must be true afterwards.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use onsale::concerts::Concert;
use onsale::queue::TokenKeys;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::eventually;
use crate::support::server::{Answer, Deployment, TOKEN_KEY, TestServer};

/// How many buyers are there at a time.
const AT_ONCE: u64 = 10;
const PRICE: i64 = 100;

/// The buyers of a sale.
pub struct Rush {
    seen: Arc<Seen>,
    buyers: JoinSet<()>,
    over: CancellationToken,
}

#[derive(Default)]
struct Seen {
    users: AtomicU64,
    seats: AtomicU64,
    bought: AtomicUsize,
    /// The places of new tokens, by concert.
    given: Mutex<Vec<(u32, u64)>>,
    /// Seat and user of each answered payment, by concert.
    paid: Mutex<Vec<(u32, u64, u64)>>,
    statuses: Mutex<HashMap<u16, usize>>,
}

impl Rush {
    /// Buyers of one seat each, of the concerts and over the servers in turn.
    pub fn on(servers: &[TestServer], concerts: &[Concert]) -> Self {
        let (seen, over) = (Arc::new(Seen::default()), CancellationToken::new());
        let mut buyers = JoinSet::new();
        for line in 0..AT_ONCE {
            let index = usize::try_from(line).expect("small");
            let server = TestServer::at(servers[index % servers.len()].address);
            let concert = concerts[index / servers.len() % concerts.len()].clone();
            let (seen, over) = (Arc::clone(&seen), over.clone());
            buyers.spawn(async move {
                while !over.is_cancelled() {
                    let user = seen.users.fetch_add(1, Ordering::Relaxed) + 1;
                    let buyer = Buyer {
                        server: &server,
                        concert: &concert,
                        user,
                        seen: &seen,
                        over: &over,
                    };
                    buyer.buy().await;
                }
            });
        }
        Self { seen, buyers, over }
    }

    /// Waits until `more` seats are bought from now on.
    pub async fn buys(&self, more: usize) {
        let enough = self.seen.bought.load(Ordering::Relaxed) + more;
        let (what, begun) = (format!("{more} more seats are bought"), Instant::now());
        eventually(&what, || async { self.seen.bought.load(Ordering::Relaxed) >= enough }).await;
        println!("{what} within {:?}", begun.elapsed());
    }

    /// Ends it, and holds both stores against what the buyers were told.
    pub async fn ends_well(mut self, server: &TestServer, deployment: &Deployment) {
        self.over.cancel();
        while let Some(buyer) = self.buyers.join_next().await {
            buyer.expect("a buyer who was told nothing wrong");
        }
        println!("statuses: {:?}", self.seen.statuses.lock());
        let given = self.seen.given.lock().clone();
        let distinct: BTreeSet<_> = given.iter().collect();
        assert_eq!(given.len(), distinct.len(), "no number is given twice");

        let database = deployment.database().await;
        let rows: Vec<(i32, i32, i64)> = sqlx::query_as(
            "select s.concert_id, s.seat_number, p.user_id
             from owned_seats s join payments p on p.id = s.payment_id",
        )
        .fetch_all(&database)
        .await
        .expect("the owned seats");
        let owned: HashMap<_, _> =
            rows.iter().map(|(concert, seat, user)| ((*concert, *seat), *user)).collect();
        assert_eq!(owned.len(), rows.len(), "no seat is sold twice");
        for (concert, seat, user) in self.seen.paid.lock().iter() {
            let key = (i32::try_from(*concert).unwrap(), i32::try_from(*seat).unwrap());
            assert_eq!(owned.get(&key), Some(&i64::try_from(*user).unwrap()), "seat {key:?}");
        }
        let (in_stock,): (i64,) =
            sqlx::query_as("select coalesce(sum(balance), 0)::int8 from balances")
                .fetch_one(&database)
                .await
                .expect("the balances");
        let charged: (i64,) =
            sqlx::query_as("select coalesce(sum(amount), 0)::int8 from ledger where amount > 0")
                .fetch_one(&database)
                .await
                .expect("the ledger");
        let spent = PRICE * i64::try_from(rows.len()).unwrap();
        assert_eq!(in_stock, charged.0 - spent, "nobody pays for nothing");
        for concert in &deployment.concerts {
            seats_agree(server, concert, &owned).await;
        }
    }
}

/// What the API calls free is what PostgreSQL has not sold, once Redis was told of all.
async fn seats_agree(server: &TestServer, concert: &Concert, owned: &HashMap<(i32, i32), i64>) {
    let id = i32::try_from(concert.id.get()).unwrap();
    let seats = i32::try_from(concert.seats.get()).unwrap();
    let unsold: Vec<_> = (1..=seats).filter(|seat| !owned.contains_key(&(id, *seat))).collect();
    let last = 1_000_000 + u64::from(concert.id.get());
    let token = server.admitted(concert, last).await;
    let path = format!("/concert/available-seats?concertDate={}", concert.dates[0]);
    let sold_ones_are_not_free = || async {
        let answer = server.get_as(&token, &path).await;
        let listed = answer.body["availableSeats"].as_array().cloned().unwrap_or_default();
        let number = |seat: &Value| seat.as_i64().and_then(|seat| i32::try_from(seat).ok());
        answer.status == 200
            && listed.iter().all(|seat| unsold.contains(&number(seat).expect("a seat number")))
    };
    eventually("the list agrees with PostgreSQL", sold_ones_are_not_free).await;
}

struct Buyer<'a> {
    server: &'a TestServer,
    concert: &'a Concert,
    user: u64,
    seen: &'a Seen,
    over: &'a CancellationToken,
}

impl Buyer<'_> {
    /// Goes from the line to a seat, and begins anew if the token is lost on the way.
    async fn buy(&self) {
        while !self.over.is_cancelled() {
            if self.try_to_buy().await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// None: from the start again.
    async fn try_to_buy(&self) -> Option<()> {
        let arrival = json!({"concertId": self.concert.id, "userId": self.user});
        let joined = self.ask("POST", "/user/token", None, Some(arrival)).await?;
        let token = joined.text("token");
        if joined.status == 201 {
            let keys = TokenKeys::parse(TOKEN_KEY).expect("a key");
            let place = keys.verify(&token).expect("a token of ours").place.get();
            self.seen.given.lock().push((self.concert.id.get(), place));
        }
        while self.ask("GET", "/user/token/status", Some(&token), None).await?.body["status"]
            != "active"
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let charge = json!({"userId": self.user, "amount": PRICE});
        self.ask("POST", "/payment/charge", Some(&token), Some(charge)).await?;
        // Another one each time: a hold outlives the token that was lost with it.
        let seat = self.seen.seats.fetch_add(1, Ordering::Relaxed) + 1;
        let wish = json!({"userId": self.user, "concertId": self.concert.id, "seatNumber": seat});
        self.ask("POST", "/concert/reserve", Some(&token), Some(wish)).await?;
        let pay = json!({"userId": self.user});
        self.ask("POST", "/payment", Some(&token), Some(pay)).await?;
        self.seen.paid.lock().push((self.concert.id.get(), seat, self.user));
        self.seen.bought.fetch_add(1, Ordering::Relaxed);
        Some(())
    }

    /// Asks until the answer is none of 503; none if what it builds on is lost.
    async fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Option<Answer> {
        while !self.over.is_cancelled() {
            let answer = self.server.send(method, path, token, body.clone()).await;
            *self.seen.statuses.lock().entry(answer.status).or_default() += 1;
            match answer.status {
                200 | 201 => return Some(answer),
                503 => assert!(answer.headers.contains_key("retry-after"), "{answer:?}"),
                // A failover may lose the last writes, and with them a place or a hold.
                401 | 403 | 409 => return None,
                other => panic!("{method} {path}: {other} {answer:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }
}
