//! The rules of seats, one function per script in `lua/seats/`.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::call::{
    DAYS, HARD_EXTRA, HOLD_TTL, HoldRequest, LOCK, NEVER, Named, OrderRequest, PRICE,
    ReleaseRequest, SEATS_MAX, SESSION_MAX, TOKEN_EXTRA, Why,
};
use super::model::{Hold, Model};

impl Model {
    pub fn hold(&mut self, request: &HoldRequest) -> String {
        let HoldRequest { place, user, day, .. } = *request;
        if self.run != request.run || self.epoch.as_ref() != Some(&request.epoch) {
            return "not_ready".into();
        }
        let Some(token) = self.live(place).cloned() else { return "token_expired".into() };
        let refusal = match token.claimed {
            _ if token.owner != Some(user) => "not_yours",
            0 => "unclaimed",
            _ if day == 0 => "past",
            2 if self.is_paying(place) => "paying",
            _ => "",
        };
        if !refusal.is_empty() {
            return refusal.into();
        }
        let deadline = self.now + HOLD_TTL;
        let hard = deadline + HARD_EXTRA;
        let (mut answer, mut fresh, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
        for (seat, reservation) in &request.seats {
            let at = (day, *seat);
            if self.sold.contains(&at) {
                return format!("sold {seat}");
            }
            if let Some(hold) = self.live_hold(at) {
                if (hold.place, hold.user) != (place, user) {
                    return format!("taken {seat}");
                }
                answer.push((DAYS[day].to_owned(), *seat, hold.reservation, PRICE, hold.deadline));
                if hold.reservation != *reservation {
                    repeated.push((at, hold.reservation));
                }
            } else {
                answer.push((DAYS[day].to_owned(), *seat, *reservation, PRICE, deadline));
                fresh.push((at, *reservation));
            }
        }
        let session_ends = token.promoted + SESSION_MAX;
        if !fresh.is_empty() {
            let live = self.entries_that_count(user).len();
            if live + fresh.len() > SEATS_MAX as usize {
                return format!("limit {live}");
            }
            if hard > session_ends {
                return format!("session_ending {session_ends}");
            }
        }
        for (at, reservation) in repeated {
            self.holds.get_mut(&at).expect("it lives").again = Some(reservation);
        }
        let answer = format!("held {} {answer:?}", self.now);
        if fresh.is_empty() {
            return answer;
        }
        self.drop_stale_entries(user);
        let (mut lapsed, seats) = (0, fresh.len());
        for (at, reservation) in fresh {
            let new = Hold { reservation, place, user, deadline, hard, again: None };
            lapsed += usize::from(self.holds.insert(at, new).is_some());
            let mine = self.mine.entry(user).or_default();
            mine.entries.insert(at, reservation);
            mine.ends = mine.ends.max(hard);
        }
        self.versions.insert(day, request.version.to_string());
        self.count("held", seats);
        self.count("lapsed", lapsed);
        let token = self.active.get_mut(&place).expect("it lives");
        token.ends = token.ends.max((hard + TOKEN_EXTRA).min(session_ends));
        token.claimed = 2;
        answer
    }

    /// The entries of `holds:<user>` with which the holds agree.
    pub fn entries_that_count(&self, user: u64) -> BTreeSet<(usize, u32)> {
        let mine = self.mine.get(&user).map(|mine| mine.entries.clone()).unwrap_or_default();
        let counts = |at: &(usize, u32), reservation: &Uuid| {
            self.live_hold(*at).is_some_and(|hold| hold.reservation == *reservation)
        };
        mine.into_iter()
            .filter(|(at, reservation)| counts(at, reservation))
            .map(|(at, _)| at)
            .collect()
    }

    fn drop_stale_entries(&mut self, user: u64) {
        let good = self.entries_that_count(user);
        if let Some(mine) = self.mine.get_mut(&user) {
            mine.entries.retain(|at, _| good.contains(at));
        }
        self.mine.retain(|_, mine| !mine.entries.is_empty());
    }

    pub fn release(&mut self, request: &ReleaseRequest) -> String {
        let ReleaseRequest { day, why, .. } = *request;
        let (mut drops, mut kept) = (Vec::new(), 0);
        for named in &request.seats {
            let Some(hold) = self.live_hold((day, named.seat)) else { continue };
            let Named { reservation, place, user, .. } = *named;
            if (hold.reservation, hold.place, hold.user) == (reservation, place, user) {
                if why == Why::GivenUp && hold.again == Some(reservation) {
                    kept += 1;
                } else {
                    drops.push(*named);
                }
            }
        }
        if let Some(paid_for) = drops.iter().find(|named| self.is_paying(named.place)) {
            return format!("paying {}", paid_for.seat);
        }
        for Named { seat, place, user, .. } in &drops {
            self.holds.remove(&(day, *seat));
            self.forget_entry(*user, (day, *seat));
            if why == Why::ByOperator {
                self.audit.push(format!("released {} {seat} {user} {place}", DAYS[day]));
            }
        }
        if !drops.is_empty() {
            self.versions.insert(day, request.version.to_string());
        }
        self.count("released", drops.len());
        let seats: Vec<_> = drops.iter().map(|named| named.seat).collect();
        format!("released {kept} {seats:?}")
    }

    pub fn sweep(&mut self, day: usize, version: Uuid) -> String {
        let all = self.holds.len();
        let now = self.now;
        self.holds.retain(|at, hold| at.0 != day || hold.deadline > now);
        let swept = all - self.holds.len();
        if swept > 0 {
            self.versions.insert(day, version.to_string());
        }
        self.count("lapsed", swept);
        format!("swept {swept}")
    }

    pub fn list(&self, day: usize) -> String {
        let live = self.holds.iter().filter(|(at, hold)| at.0 == day && hold.deadline > self.now);
        let next = live.clone().map(|(_, hold)| hold.deadline).min();
        let held: Vec<u32> = live.map(|(at, _)| at.1).collect();
        let sold: Vec<u32> = self.sold.iter().filter(|at| at.0 == day).map(|at| at.1).collect();
        format!("list {} {:?} {sold:?} {next:?} {held:?}", self.now, self.versions.get(&day))
    }

    pub fn dates(&self) -> String {
        let unfree = |day: usize| {
            let sold = self.sold.iter().filter(|at| at.0 == day).count();
            let live =
                |(at, hold): &(&(usize, u32), &Hold)| at.0 == day && hold.deadline > self.now;
            sold + self.holds.iter().filter(live).count()
        };
        let unfree: Vec<usize> = (0..DAYS.len()).map(unfree).collect();
        format!("dates {} {unfree:?}", self.now)
    }

    pub fn holds_of(&self, user: u64) -> String {
        let row = |at: (usize, u32)| {
            let hold = &self.holds[&at];
            (DAYS[at.0].to_owned(), at.1, hold.reservation, PRICE, hold.deadline)
        };
        let rows: Vec<_> = self.entries_that_count(user).into_iter().map(row).collect();
        format!("holds {} {rows:?}", self.now)
    }

    pub fn restore(
        &mut self,
        day: usize,
        lock: Option<Uuid>,
        version: Uuid,
        seats: &[u32],
    ) -> String {
        if let Some(lock) = lock {
            match &mut self.rebuild {
                Some((id, ends)) if *id == lock.to_string() => *ends = self.now + LOCK,
                _ => return "lost".into(),
            }
        }
        let (mut marked, mut displaced, mut lapsed) = (0, 0, 0);
        for seat in seats {
            marked += usize::from(self.sold.insert((day, *seat)));
            match self.holds.remove(&(day, *seat)) {
                Some(hold) if hold.deadline > self.now => displaced += 1,
                Some(_) => lapsed += 1,
                None => {}
            }
        }
        if marked + displaced + lapsed > 0 {
            self.versions.insert(day, version.to_string());
        }
        self.count("corrected", if lock.is_none() { marked } else { 0 });
        self.count("displaced", displaced);
        self.count("lapsed", lapsed);
        format!("restored {marked} {}", displaced + lapsed)
    }

    pub fn correct(
        &mut self,
        day: usize,
        seen: Option<&str>,
        version: Uuid,
        seats: &[u32],
    ) -> String {
        if self.versions.get(&day).map(String::as_str) != seen {
            return "changed".into();
        }
        let unmarked = seats.iter().filter(|seat| self.sold.remove(&(day, **seat))).count();
        self.versions.insert(day, version.to_string());
        self.count("corrected", unmarked);
        format!("corrected {unmarked}")
    }

    fn knows(&self, order: &OrderRequest) -> bool {
        self.run == order.run && self.epoch.as_ref() == Some(&order.epoch)
    }

    /// The seat is nobody's from now on; a hold that was over is dropped.
    fn take_out(&mut self, at: (usize, u32), id: Uuid) {
        let reservation = id;
        let (deadline, hard) = (NEVER, NEVER);
        let new = Hold { reservation, place: 0, user: 0, deadline, hard, again: None };
        let lapsed = self.holds.insert(at, new).is_some();
        self.count("lapsed", usize::from(lapsed));
        self.count("held", 1);
    }

    fn note_seats(&mut self, day: usize, id: Uuid, before: &[u32], after: &[u32]) {
        let text = |seats: &[u32]| match seats {
            [] => String::new(),
            seats => format!("{}: {}", DAYS[day], ranges(seats)),
        };
        self.versions.insert(day, id.to_string());
        self.audit.push(format!("withheld {}>{}", text(before), text(after)));
    }

    pub fn withhold(&mut self, order: &OrderRequest) -> String {
        let OrderRequest { day, id, ref seats, .. } = *order;
        if !self.knows(order) {
            return "not_ready".into();
        }
        let chosen = |wanted: &dyn Fn((usize, u32)) -> bool| -> Vec<u32> {
            seats.iter().copied().filter(|seat| wanted((day, *seat))).collect()
        };
        let sold = chosen(&|at| self.sold.contains(&at));
        if !sold.is_empty() {
            return format!("sold {sold:?}");
        }
        let held = chosen(&|at| self.live_hold(at).is_some_and(|hold| hold.deadline < NEVER));
        if !held.is_empty() {
            return format!("held {held:?}");
        }
        let fresh = chosen(&|at| self.live_hold(at).is_none());
        for seat in &fresh {
            self.take_out((day, *seat), id);
        }
        if !fresh.is_empty() {
            self.note_seats(day, id, &[], &fresh);
        }
        format!("withheld {}", fresh.len())
    }

    pub fn give_back(&mut self, order: &OrderRequest) -> String {
        let OrderRequest { day, id, ref seats, .. } = *order;
        if !self.knows(order) {
            return "not_ready".into();
        }
        let is_withheld =
            |seat: &u32| self.holds.get(&(day, *seat)).is_some_and(|hold| hold.deadline == NEVER);
        let back: Vec<u32> = seats.iter().copied().filter(is_withheld).collect();
        for seat in &back {
            self.holds.remove(&(day, *seat));
        }
        if !back.is_empty() {
            self.note_seats(day, id, &back, &[]);
        }
        self.count("released", back.len());
        format!("given_back {back:?}")
    }

    pub fn rewithhold(
        &mut self,
        day: usize,
        lock: Option<Uuid>,
        id: Uuid,
        seats: &[u32],
    ) -> String {
        if let Some(lock) = lock {
            match &mut self.rebuild {
                Some((id, ends)) if *id == lock.to_string() => *ends = self.now + LOCK,
                _ => return "lost".into(),
            }
        }
        let is_free = |seat: &u32| {
            let at = (day, *seat);
            !self.sold.contains(&at) && self.live_hold(at).is_none()
        };
        let fresh: Vec<u32> = seats.iter().copied().filter(is_free).collect();
        for seat in &fresh {
            self.take_out((day, *seat), id);
        }
        if !fresh.is_empty() {
            self.versions.insert(day, id.to_string());
        }
        format!("withheld {}", fresh.len())
    }
}

/// As people write them: `1-3,7`.
fn ranges(seats: &[u32]) -> String {
    let runs = seats.chunk_by(|one, next| one + 1 == *next);
    let run = |run: &[u32]| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    runs.map(run).collect::<Vec<_>>().join(",")
}
