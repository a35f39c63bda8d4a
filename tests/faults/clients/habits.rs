//! Clients with one purpose: each sees to it that something rare happens often.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;

use super::Client;
use crate::history::Call;

/// What kind of people the clients are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Of every kind.
    Usual,
    /// They have money, and pay several times at once for whatever they get.
    Buys,
    /// They ask again and again for seats that were sold a moment ago.
    Covets,
    /// They take a seat, try for long to pay without money, and charge at last.
    Dawdles,
    /// They pay, go away before the answer comes, and never come back to it.
    HangsUp,
    /// They take whatever they can get, more than they may have.
    Grabs,
}

impl Client {
    /// Does with an active token what such people do.
    pub(super) async fn spend_turn(&mut self, token: &str) {
        match self.habit {
            Habit::Usual => self.shop(token).await,
            Habit::Buys => self.buy(token).await,
            Habit::Covets => self.covet(token).await,
            Habit::Dawdles => self.dawdle(token).await,
            Habit::HangsUp => self.hang_up(token).await,
            Habit::Grabs => self.grab(token).await,
        }
    }

    async fn buy(&mut self, token: &str) {
        self.charge_plenty(token).await;
        for _ in 0..3 {
            self.reserve(token, &mut Vec::new()).await;
        }
        let call = Call::Pay { token: token.to_owned(), user: self.user, key: None };
        self.send_at_once(call.clone()).await;
        self.send(call).await;
    }

    async fn covet(&mut self, token: &str) {
        self.charge_plenty(token).await;
        for _ in 0..20 {
            if let Some((date, seat)) =
                self.market.last_sold(self.concert).choose(&mut self.random).cloned()
            {
                let (token, user) = (token.to_owned(), self.user);
                let (concert, date) = (Some(self.concert_id()), Some(date));
                let seats = vec![seat];
                self.send(Call::Reserve { token, user, concert, date, seats }).await;
            }
            self.pause(20, 80).await;
        }
        self.reserve(token, &mut Vec::new()).await;
        self.pay(token).await;
    }

    async fn dawdle(&mut self, token: &str) {
        self.reserve(token, &mut Vec::new()).await;
        for _ in 0..12 {
            if self.pay(token).await || self.stop.is_cancelled() {
                return;
            }
            self.pause(500, 1000).await;
        }
        self.charge_plenty(token).await;
        self.pay(token).await;
    }

    async fn hang_up(&mut self, token: &str) {
        self.charge_plenty(token).await;
        self.reserve(token, &mut Vec::new()).await;
        let call = Call::Pay { token: token.to_owned(), user: self.user, key: None };
        let (sender, patience_ms) = (self.sender(0), self.random.random_range(0..12));
        self.api.send_for(sender, call, Duration::from_millis(patience_ms)).await;
    }

    async fn grab(&mut self, token: &str) {
        self.charge_plenty(token).await;
        for _ in 0..3 {
            let setup = &self.market.concerts[self.concert];
            let date = setup.dates.choose(&mut self.random).cloned();
            let first = self.random.random_range(1..=setup.seats - 2);
            let (token, user) = (token.to_owned(), self.user);
            let (concert, seats) = (Some(setup.id), (first..first + 3).collect());
            self.send(Call::Reserve { token, user, concert, date, seats }).await;
        }
        self.pay(token).await;
    }

    async fn charge_plenty(&mut self, token: &str) {
        let (token, user, amount) = (token.to_owned(), self.user, 100_000);
        self.send(Call::Charge { token, user, amount, key: None }).await;
    }
}
