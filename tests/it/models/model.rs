//! The plain model: what a concert's data in Redis means, in ordered maps, and how it reads back.
//!
//! The rules are in [`super::queue_rules`], [`super::seat_rules`] and [`super::payment_rules`], one
//! function per script.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::call::{Call, DAYS, Drawn, NEVER, Named, PRICE, SEATS_MAX};
use super::draw_rules::draw_fields;

/// Everything of a concert. Times are in units, see the module doc.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub now: i64,
    /// The turn of the real process, and the one that the line was settled in.
    pub process: String,
    pub run: String,
    pub epoch: Option<String>,
    pub seq: Option<u64>,
    pub waiting: BTreeMap<u64, Option<u64>>,
    /// Ordinal → places.
    pub dead: BTreeMap<u64, (u64, u64)>,
    pub active: BTreeMap<u64, Token>,
    pub draw: Option<Drawn>,
    /// Ranges that were never given, by their last number.
    pub skipped: BTreeMap<u64, u64>,
    /// The draw as a server saw it last.
    pub remembered: Option<Drawn>,
    pub users: BTreeMap<u64, u64>,
    pub groups: BTreeMap<Uuid, Group>,
    /// Calls that cleared the line: how many had left, and when the answer is forgotten.
    pub clears: BTreeMap<Uuid, (usize, i64)>,
    pub pace: Option<Pace>,
    pub settings: BTreeMap<String, String>,
    /// Changes asked for so far, and in which of them a moment became now.
    pub configures: u32,
    pub moments_set_in: BTreeMap<&'static str, u32>,
    /// What operators did, the oldest first.
    pub audit: Vec<String>,
    pub stats: BTreeMap<&'static str, u64>,
    /// Server → when it was last seen, and the polls that it told of.
    pub servers: BTreeMap<String, (i64, u64)>,
    /// Of all servers; none before the first sample.
    pub polls: Option<u64>,
    /// By day and seat: the zset `held` and the hash `hold` are one thing here.
    pub holds: BTreeMap<(usize, u32), Hold>,
    /// By user: what `holds:<user>` says.
    pub mine: BTreeMap<u64, Mine>,
    pub paying: BTreeMap<u64, Paying>,
    pub sold: BTreeSet<(usize, u32)>,
    pub versions: BTreeMap<usize, String>,
    /// Who rebuilds, or the epoch that the last rebuild ended with, and when this is forgotten.
    pub rebuild: Option<(String, i64)>,
    /// Holds that ended with their own payment.
    pub paid: u64,
    /// Every number ever given, and the highest that a server may know of.
    pub given: BTreeSet<u64>,
    pub highest: u64,
}

#[derive(Debug, Clone)]
pub struct Token {
    pub owner: Option<u64>,
    pub claimed: u8,
    pub promoted: i64,
    pub ends: i64,
}

#[derive(Debug, Clone)]
pub struct Group {
    pub answer: String,
    pub ends: i64,
}

#[derive(Debug, Clone)]
pub struct Pace {
    /// Half a step after the last tick, see the module doc.
    pub at: i64,
    pub credit: u32,
}

#[derive(Debug, Clone)]
pub struct Hold {
    pub reservation: Uuid,
    pub place: u64,
    pub user: u64,
    pub deadline: i64,
    pub hard: i64,
    pub again: Option<Uuid>,
}

impl Hold {
    /// How a release names it.
    pub fn named(&self, seat: u32) -> Named {
        let Self { reservation, place, user, .. } = *self;
        Named { seat, reservation, place, user }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Mine {
    pub entries: BTreeMap<(usize, u32), Uuid>,
    pub ends: i64,
}

#[derive(Debug, Clone, Default)]
pub struct Paying {
    pub attempts: BTreeMap<Uuid, i64>,
    pub ends: i64,
}

/// A store as text: `key field` → value, with times in units.
pub type State = BTreeMap<String, String>;

impl Model {
    /// What the script must answer; the model changes as Redis must.
    pub fn answer(&mut self, call: &Call) -> String {
        match call.clone() {
            Call::Settle { floor, draw } => {
                self.write_back(draw.as_ref());
                self.settle(floor)
            }
            Call::Board { after, limit } => self.board(after, limit),
            Call::Sample { server, polls } => self.sample(server, polls),
            Call::Configure { changes } => self.configure(&changes),
            Call::Enter(arrivals) => self.enter(&arrivals),
            Call::Draw { id, round, early } => self.advance_draw(id, round, early),
            Call::Promote(terms) => self.promote(&terms),
            Call::Claim { place, user } => self.claim(place, user),
            Call::Leave { place, user, asker, version } => self.leave(place, user, asker, version),
            Call::Clear { id } => self.clear(id),
            Call::Hold(request) => self.hold(&request),
            Call::Release(request) => self.release(&request),
            Call::Sweep { day, version } => self.sweep(day, version),
            Call::List { day } => self.list(day),
            Call::Dates => self.dates(),
            Call::Holds { user } => self.holds_of(user),
            Call::Restore { day, lock, version, seats } => self.restore(day, lock, version, &seats),
            Call::Correct { day, seen, version, seats } => {
                self.correct(day, seen.as_deref(), version, &seats)
            }
            Call::Withhold(order) => self.withhold(&order),
            Call::GiveBack(order) => self.give_back(&order),
            Call::Rewithhold { day, lock, id, seats } => self.rewithhold(day, lock, id, &seats),
            Call::Begin { place, user, attempt } => self.begin(place, user, attempt),
            Call::Cancel { place, attempt } => self.cancel(place, attempt),
            Call::Finish { place, user, version, seats } => {
                self.finish(place, user, version, &seats)
            }
            Call::Rebuild { id } => self.rebuild(id),
            Call::Seal { id, epoch, settings } => self.seal(id, &epoch, &settings),
        }
    }

    /// Of a line that its process has given numbers up to `seq`.
    pub fn new(process: &str, seq: u64) -> Self {
        Self {
            process: process.to_owned(),
            run: "none".to_owned(),
            epoch: Some("epoch-0".to_owned()),
            seq: Some(seq),
            highest: seq,
            ..Self::default()
        }
    }

    /// Time passes: keys with an end go.
    pub fn pass(&mut self, units: i64) {
        self.now += units;
        let now = self.now;
        self.groups.retain(|_, group| group.ends > now);
        self.clears.retain(|_, (_, ends)| *ends > now);
        self.mine.retain(|_, mine| mine.ends > now);
        self.paying.retain(|_, paying| paying.ends > now);
        self.rebuild = self.rebuild.take().filter(|(_, ends)| *ends > now);
    }

    pub fn count(&mut self, counter: &'static str, n: usize) {
        if n > 0 {
            *self.stats.entry(counter).or_default() += n as u64;
        }
    }

    /// The active token of a place, if it lives.
    pub fn live(&self, place: u64) -> Option<&Token> {
        self.active.get(&place).filter(|token| token.ends > self.now)
    }

    pub fn live_count(&self) -> usize {
        self.active.values().filter(|token| token.ends > self.now).count()
    }

    /// The hold of a seat, if it lives.
    pub fn live_hold(&self, at: (usize, u32)) -> Option<&Hold> {
        self.holds.get(&at).filter(|hold| hold.deadline > self.now)
    }

    /// How many seats people hold, and how many are withheld.
    pub fn held_and_withheld(&self) -> (usize, usize) {
        let withheld = self.holds.values().filter(|hold| hold.deadline == NEVER).count();
        let live = self.holds.values().filter(|hold| hold.deadline > self.now).count();
        (live - withheld, withheld)
    }

    pub fn is_paying(&self, place: u64) -> bool {
        let attempts = self.paying.get(&place).map(|paying| &paying.attempts);
        attempts.is_some_and(|attempts| attempts.values().any(|ends| *ends > self.now))
    }

    /// Removes an entry of `holds:<user>`; a hash without fields is no key.
    pub fn forget_entry(&mut self, user: u64, at: (usize, u32)) {
        if let Some(mine) = self.mine.get_mut(&user) {
            mine.entries.remove(&at);
        }
        self.mine.retain(|_, mine| !mine.entries.is_empty());
    }

    pub fn forget_user(&mut self, owner: Option<u64>, place: u64) {
        if let Some(owner) = owner.filter(|owner| self.users.get(owner) == Some(&place)) {
            self.users.remove(&owner);
        }
    }

    pub fn bury(&mut self, places: (u64, u64)) {
        let newest = self.dead.keys().next_back().copied().unwrap_or(0);
        self.dead.insert(newest + 1, places);
    }

    /// What must be true in every state, whatever the rules say.
    pub fn check(&self) {
        let mut live: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (place, owner) in &self.waiting {
            assert!(!self.active.contains_key(place), "{place} waits and is active");
            live.entry(owner.unwrap_or(0)).or_default().push(*place);
        }
        for (place, token) in self.active.iter().filter(|(_, token)| token.ends > self.now) {
            live.entry(token.owner.unwrap_or(0)).or_default().push(*place);
        }
        for (user, places) in live.iter().filter(|(user, _)| **user != 0) {
            assert!(places.len() == 1, "user {user} has the places {places:?}");
        }
        for at in self.holds.keys() {
            assert!(!self.sold.contains(at), "seat {at:?} is sold and held");
        }
        let mut held: BTreeMap<u64, usize> = BTreeMap::new();
        let of_people = |hold: &&Hold| hold.deadline > self.now && hold.deadline < NEVER;
        for hold in self.holds.values().filter(of_people) {
            *held.entry(hold.user).or_default() += 1;
        }
        for (user, seats) in held {
            assert!(seats <= SEATS_MAX as usize, "user {user} holds {seats} seats");
        }
        let stat = |name: &str| self.stats.get(name).copied().unwrap_or(0);
        let ended = stat("released") + stat("lapsed") + stat("displaced") + self.paid;
        let there = self.holds.len() as u64;
        assert_eq!(stat("held"), there + ended, "a hold is lost: {:?}", self.stats);
        let gone = stat("expired") + stat("left") + stat("consumed");
        let here = (self.waiting.len() + self.active.len()) as u64;
        assert_eq!(stat("issued"), here + gone, "somebody is lost: {:?}", self.stats);
    }

    /// The model as Redis would read back.
    pub fn state(&self) -> State {
        let mut state = State::new();
        let mut put = |key: String, value: String| state.insert(key, value);
        put("run".into(), self.run.clone());
        if let Some(epoch) = &self.epoch {
            put("epoch".into(), epoch.clone());
        }
        if let Some(seq) = self.seq {
            put("seq".into(), seq.to_string());
        }
        for (place, owner) in &self.waiting {
            let user = owner.map(|user| format!(":{user}")).unwrap_or_default();
            put(format!("waiting {place}{user}"), place.to_string());
        }
        for (ordinal, (first, last)) in &self.dead {
            let name = if first == last { first.to_string() } else { format!("{first}-{last}") };
            put(format!("dead {name}"), ordinal.to_string());
        }
        for (place, token) in &self.active {
            put(format!("active {place}"), token.ends.to_string());
            if token.ends > self.now {
                let owner = token.owner.map(|user| user.to_string()).unwrap_or_default();
                let value = format!("{owner}:{}:{}", token.claimed, token.promoted);
                put(format!("token:{place}"), value);
                put(format!("token:{place} ends"), token.ends.to_string());
            }
        }
        for (last, first) in &self.skipped {
            put(format!("skipped {first}-{last}"), last.to_string());
        }
        for (field, value) in self.draw.iter().flat_map(draw_fields) {
            put(format!("draw {field}"), value);
        }
        for (user, place) in &self.users {
            put(format!("users {user}"), place.to_string());
        }
        for (id, group) in &self.groups {
            put(format!("group:{} ends", id.simple()), group.ends.to_string());
        }
        for (id, (left, ends)) in &self.clears {
            put(format!("cleared:{}", id.simple()), left.to_string());
            put(format!("cleared:{} ends", id.simple()), ends.to_string());
        }
        if let Some(pace) = &self.pace {
            put("pace at".into(), pace.at.to_string());
            put("pace credit".into(), format!("{}.000000", pace.credit));
        }
        for (field, value) in &self.settings {
            put(format!("settings {field}"), value.clone());
        }
        for (index, note) in self.audit.iter().enumerate() {
            put(format!("audit {}", index + 1), format!("model {note}"));
        }
        for (counter, n) in &self.stats {
            put(format!("stats {counter}"), n.to_string());
        }
        for (server, (seen, polls)) in &self.servers {
            put(format!("servers {server}"), seen.to_string());
            put(format!("polls {server}"), polls.to_string());
        }
        if let Some(polls) = self.polls {
            put("polls total".into(), polls.to_string());
        }
        self.put_seats(&mut state);
        state
    }

    fn put_seats(&self, state: &mut State) {
        let mut put = |key: String, value: String| state.insert(key, value);
        for ((day, seat), hold) in &self.holds {
            let Hold { reservation, place, user, hard, .. } = hold;
            let price = if *place == 0 { 0 } else { PRICE };
            let record = format!("{reservation}:{place}:{user}:{price}:{hard}");
            put(format!("held:{} {seat}", DAYS[*day]), hold.deadline.to_string());
            put(format!("hold:{} {seat}", DAYS[*day]), record);
            if let Some(again) = hold.again {
                put(format!("hold:{} again:{seat}", DAYS[*day]), again.to_string());
            }
        }
        for (user, mine) in &self.mine {
            put(format!("holds:{user} ends"), mine.ends.to_string());
            for ((day, seat), reservation) in &mine.entries {
                put(format!("holds:{user} {}:{seat}", DAYS[*day]), reservation.to_string());
            }
        }
        for (place, paying) in &self.paying {
            put(format!("paying:{place} ends"), paying.ends.to_string());
            for (attempt, ends) in &paying.attempts {
                put(format!("paying:{place} {attempt}"), ends.to_string());
            }
        }
        for (day, seat) in &self.sold {
            put(format!("sold:{} {seat}", DAYS[*day]), "1".into());
        }
        for (day, version) in &self.versions {
            put(format!("version:{}", DAYS[*day]), version.clone());
        }
        if let Some((id, ends)) = &self.rebuild {
            put("rebuild".into(), id.clone());
            put("rebuild ends".into(), ends.to_string());
        }
    }
}
