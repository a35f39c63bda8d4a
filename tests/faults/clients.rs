//! People who want seats: each goes through the whole sale again and again, and does on the way
//! what people do: ask too often, ask twice, ask elsewhere, give up, try what is not allowed.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

mod habits;

pub use habits::Habit;

use crate::api::Api;
use crate::history::{Call, Outcome};
use crate::market::Market;
use crate::recorder::Sender;

/// Each client sends with this many hands: one request at a time with each.
pub const HANDS: u32 = 4;

/// How many users a client is by turns.
const USERS_EACH: u64 = 3;

/// How long somebody waits for his turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// One client.
pub struct Client {
    api: Api,
    market: Arc<Market>,
    random: StdRng,
    number: u32,
    user: u64,
    concert: usize,
    /// A key that has paid before.
    old_key: Option<(u64, String)>,
    /// He has bought and stands in line once more.
    again: bool,
    keys: u64,
    stop: CancellationToken,
    habit: Habit,
}

impl Client {
    /// The client with this number; what it does by chance follows from the seed.
    pub fn new(
        api: Api,
        market: Arc<Market>,
        seed: u64,
        number: u32,
        stop: CancellationToken,
    ) -> Self {
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) + u64::from(number));
        Self {
            api,
            market,
            random,
            number,
            user: 0,
            concert: 0,
            old_key: None,
            again: false,
            keys: 0,
            stop,
            habit: Habit::Usual,
        }
    }

    /// The same with a habit.
    pub fn with(self, habit: Habit) -> Self {
        Self { habit, ..self }
    }

    /// Buys until it is told to stop.
    pub async fn run(mut self) {
        while !self.stop.is_cancelled() {
            if !std::mem::take(&mut self.again) {
                self.be_somebody();
            }
            if let Some(token) = self.arrive().await
                && self.wait_turn(&token).await
            {
                self.spend_turn(&token).await;
            }
            self.pause(10, 150).await;
        }
    }

    /// Chooses who to be now, and what to go to.
    fn be_somebody(&mut self) {
        // Some users are shared by all clients.
        self.user = if self.random.random_ratio(1, 12) {
            self.random.random_range(1..=6)
        } else {
            1000 + u64::from(self.number) * USERS_EACH + self.random.random_range(0..USERS_EACH)
        };
        self.concert = self.random.random_range(0..self.market.concerts.len());
        if self.concert + 1 == self.market.concerts.len() && self.random.random_ratio(3, 4) {
            self.concert = 0;
        }
    }

    fn concert_id(&self) -> u32 {
        self.market.concerts[self.concert].id
    }

    async fn pause(&mut self, from_ms: u64, to_ms: u64) {
        let pause = Duration::from_millis(self.random.random_range(from_ms..to_ms));
        tokio::select! {
            () = sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn sender(&mut self, hand: u32) -> Sender {
        let server = self.random.random_range(0..self.api.servers());
        Sender { client: self.number * HANDS + hand, server, user: self.user }
    }

    /// Sends with the first hand to any server.
    async fn send(&mut self, call: Call) -> Outcome {
        let sender = self.sender(0);
        self.api.send(sender, call).await
    }

    /// Sends the same to several servers at once.
    async fn send_at_once(&mut self, call: Call) -> Vec<Outcome> {
        let count = self.random.random_range(2..HANDS);
        let senders: Vec<Sender> = (0..count).map(|hand| self.sender(hand)).collect();
        let sends = senders.into_iter().map(|sender| self.api.send(sender, call.clone()));
        futures::future::join_all(sends).await
    }

    async fn arrive(&mut self) -> Option<String> {
        let anonymous = self.random.random_ratio(1, 12);
        let user = (!anonymous).then_some(self.user);
        let call = Call::Join { user, concert: Some(self.concert_id()) };
        let outcomes = if !anonymous && self.random.random_ratio(1, 6) {
            self.send_at_once(call).await
        } else {
            vec![self.send(call).await]
        };
        outcomes.iter().find_map(|outcome| field(outcome, "token"))
    }

    /// Polls until the token is active: true; or is gone, or for as long as one has patience.
    async fn wait_turn(&mut self, token: &str) -> bool {
        let as_told = self.random.random_ratio(1, 2);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && !self.stop.is_cancelled() {
            if self.random.random_ratio(1, 100) {
                self.send(Call::Leave { token: token.to_owned() }).await;
                return false;
            }
            if self.random.random_ratio(1, 25) {
                let (token, user) = (token.to_owned(), self.user);
                self.send(Call::Balance { token, user }).await;
            }
            let outcome = self.send(Call::Poll { token: token.to_owned() }).await;
            let pause_ms = match &outcome {
                Outcome::Ok { body, .. } if body["status"] == "active" => return true,
                Outcome::Ok { body, .. } if body["heldSeats"] == 0 => return false,
                // Rounded up: a poll as told comes not a moment too early.
                Outcome::Ok { body, .. } if as_told => {
                    Duration::from_secs_f64(body["pollAfter"].as_f64().unwrap_or(1.0)).as_millis()
                }
                Outcome::Fail { status: 401, .. } => return false,
                _ => 60,
            };
            let pause_ms = u64::try_from(pause_ms).unwrap_or(1000);
            self.pause(pause_ms + 1, pause_ms + 60).await;
        }
        false
    }

    async fn shop(&mut self, token: &str) {
        let mut reservations: Vec<String> = Vec::new();
        for _ in 0..self.random.random_range(3..12) {
            if self.stop.is_cancelled() {
                return;
            }
            let (owned, user) = (token.to_owned(), self.user);
            match self.random.random_range(0..100) {
                0..8 => {
                    let concert = Some(self.concert_id());
                    self.send(Call::Dates { token: owned, concert }).await;
                }
                8..16 => self.look(token).await,
                16..44 => self.reserve(token, &mut reservations).await,
                44..50 => {
                    if let Some(reservation) = reservations.pop() {
                        let call = Call::Release { token: owned, user, concert: None, reservation };
                        self.send(call.clone()).await;
                        if self.random.random_ratio(1, 4) {
                            self.send(call).await;
                        }
                    }
                }
                50..66 => self.charge(token).await,
                66..72 => {
                    self.send(Call::Balance { token: owned, user }).await;
                }
                72..78 => {
                    self.send(Call::Reservations { token: owned, user }).await;
                }
                78..81 => {
                    // Somebody else's name.
                    let user = user + 1_000_000;
                    self.send(Call::Charge { token: owned, user, amount: 7, key: None }).await;
                    self.send(Call::Balance { token: token.to_owned(), user }).await;
                }
                81..83 => self.pause(500, 4000).await,
                83 => {
                    self.send(Call::Leave { token: owned }).await;
                    return;
                }
                _ => {
                    if self.pay(token).await {
                        return self.come_back(token).await;
                    }
                }
            }
        }
    }

    async fn look(&mut self, token: &str) {
        let concert = self.concert_id();
        let date = match self.market.wanted(self.concert).choose(&mut self.random) {
            Some((date, _)) => date.clone(),
            None => self.market.concerts[self.concert].dates[0].clone(),
        };
        self.send(Call::Seats { token: token.to_owned(), concert: Some(concert), date }).await;
    }

    async fn reserve(&mut self, token: &str, reservations: &mut Vec<String>) {
        let wanted = self.market.wanted(self.concert);
        // Some try what they cannot have.
        let first = if self.random.random_ratio(1, 8) {
            self.market.sold(self.concert, &mut self.random)
        } else {
            wanted.choose(&mut self.random).cloned()
        };
        let Some((date, first)) = first else { return };
        let mut seats = vec![first];
        for (day, seat) in wanted {
            if day == date && !seats.contains(&seat) && self.random.random_ratio(1, 8) {
                seats.push(seat);
            }
        }
        seats.truncate(3);
        let call = Call::Reserve {
            token: token.to_owned(),
            user: self.user,
            concert: Some(self.concert_id()),
            date: Some(date.clone()),
            seats,
        };
        let mut outcomes = vec![self.send(call.clone()).await];
        let unclear = matches!(outcomes[0], Outcome::Info { .. });
        if unclear || self.random.random_ratio(1, 6) {
            outcomes.extend(self.send_at_once(call).await);
        }
        for outcome in outcomes {
            match outcome {
                Outcome::Ok { body, .. } => {
                    let seats = body["seats"].as_array().cloned();
                    for seat in seats.unwrap_or_else(|| vec![body]) {
                        if let Some(id) = seat["reservationId"].as_str()
                            && !reservations.iter().any(|known| known == id)
                        {
                            reservations.push(id.to_owned());
                        }
                    }
                }
                Outcome::Fail { code, body, .. } if code == "seat-sold" => {
                    self.market.is_gone(
                        self.concert,
                        &date,
                        body["seatNumber"].as_u64().unwrap_or(0),
                    );
                }
                _ => {}
            }
        }
    }

    fn new_key(&mut self) -> String {
        self.keys += 1;
        format!("key-{}-{}", self.number, self.keys)
    }

    async fn charge(&mut self, token: &str) {
        let key = self.random.random_ratio(2, 3).then(|| self.new_key());
        let (token, user) = (token.to_owned(), self.user);
        // Some have more than they can spend, others too little for what they hold.
        let unit = if user.is_multiple_of(3) { 100_000 } else { 500 };
        let amount = unit * self.random.random_range(1..8);
        let call = Call::Charge { token: token.clone(), user, amount, key: key.clone() };
        let outcome = self.send(call.clone()).await;
        if key.is_none() {
            return;
        }
        if matches!(outcome, Outcome::Info { .. }) || self.random.random_ratio(1, 4) {
            self.send_at_once(call).await;
        }
        if self.random.random_ratio(1, 8) {
            self.send(Call::Charge { token, user, amount: amount + 1, key }).await;
        }
    }

    /// Pays for what the token holds; true if it has.
    async fn pay(&mut self, token: &str) -> bool {
        let user = self.user;
        let old = self.old_key.take().filter(|(payer, _)| *payer == user);
        let key = match old {
            Some((_, key)) => Some(key),
            None => self.random.random_ratio(1, 2).then(|| self.new_key()),
        };
        let call = Call::Pay { token: token.to_owned(), user, key: key.clone() };
        let mut outcomes = if self.random.random_ratio(1, 4) {
            self.send_at_once(call.clone()).await
        } else {
            vec![self.send(call.clone()).await]
        };
        // Whoever is not told asks again, elsewhere.
        for _ in 0..4 {
            let told = |outcome: &Outcome| !matches!(outcome, Outcome::Info { .. });
            if outcomes.iter().any(told) || self.stop.is_cancelled() {
                break;
            }
            self.pause(100, 500).await;
            outcomes.push(self.send(call.clone()).await);
        }
        for outcome in outcomes {
            let Outcome::Ok { body, .. } = outcome else { continue };
            for seat in body["payments"].as_array().unwrap_or(&Vec::new()) {
                let date = seat["concertDate"].as_str().unwrap_or_default();
                self.market.is_gone(self.concert, date, seat["seatNumber"].as_u64().unwrap_or(0));
            }
            if let Some(key) = key {
                self.old_key = Some((user, key));
            }
            return true;
        }
        false
    }

    /// What the token can still do once it has bought, and what it cannot.
    async fn come_back(&mut self, token: &str) {
        let user = self.user;
        self.again = self.random.random_ratio(1, 2);
        if self.random.random_ratio(1, 2) {
            self.send_at_once(Call::Pay { token: token.to_owned(), user, key: None }).await;
        }
        if self.random.random_ratio(1, 2) {
            self.send(Call::Reservations { token: token.to_owned(), user }).await;
            self.send(Call::Balance { token: token.to_owned(), user }).await;
        }
        if self.random.random_ratio(1, 4) {
            self.look(token).await;
        }
    }
}

/// A text of a 2xx answer.
fn field(outcome: &Outcome, name: &str) -> Option<String> {
    match outcome {
        Outcome::Ok { body, .. } => body[name].as_str().map(str::to_owned),
        _ => None,
    }
}
