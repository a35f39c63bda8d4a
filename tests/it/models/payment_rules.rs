//! The rules of payments, one function per script in `lua/payments/`.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::call::{DAYS, EXTENSION, LEASE, LOCK, PRICE};
use super::model::Model;

impl Model {
    pub fn begin(&mut self, place: u64, user: u64, attempt: Uuid) -> String {
        let Some(token) = self.live(place).cloned() else { return "gone".into() };
        if token.owner.is_some_and(|owner| owner != user) {
            return "not_yours".into();
        }
        let entries = self.entries_that_count(user);
        let found: Vec<_> =
            entries.into_iter().filter(|at| self.holds[at].place == place).collect();
        if found.is_empty() {
            return if token.claimed == 2 { "expired" } else { "nothing" }.into();
        }
        let (now, least) = (self.now, self.now + EXTENSION);
        if found.iter().any(|at| self.holds[at].hard < least) {
            return "expiring".into();
        }
        let paying = self.paying.entry(place).or_default();
        paying.attempts.retain(|_, ends| *ends > now);
        if paying.attempts.is_empty() {
            paying.ends = 0;
        }
        paying.attempts.insert(attempt, now + LEASE);
        paying.ends = paying.ends.max(token.ends).max(now + LEASE);
        let mut answer = Vec::new();
        for at in found {
            let hold = self.holds.get_mut(&at).expect("it lives");
            hold.deadline = hold.deadline.max(least);
            answer.push((DAYS[at.0].to_owned(), at.1, hold.reservation, PRICE));
        }
        format!("begun {answer:?}")
    }

    pub fn cancel(&mut self, place: u64, attempt: Uuid) -> String {
        let paying = self.paying.get_mut(&place);
        let was_there = paying.is_some_and(|paying| paying.attempts.remove(&attempt).is_some());
        self.paying.retain(|_, paying| !paying.attempts.is_empty());
        format!("cancelled {was_there}")
    }

    pub fn finish(
        &mut self,
        place: u64,
        user: u64,
        version: Uuid,
        seats: &[((usize, u32), Uuid)],
    ) -> String {
        let (mut sold, mut displaced, mut lapsed, mut changed) = (0, 0, 0, BTreeSet::new());
        for (at, reservation) in seats {
            if self.sold.insert(*at) {
                sold += 1;
                changed.insert(at.0);
            }
            if let Some(hold) = self.holds.remove(at) {
                match (hold.reservation == *reservation, hold.deadline > self.now) {
                    (true, _) => self.paid += 1,
                    (false, true) => displaced += 1,
                    (false, false) => lapsed += 1,
                }
                changed.insert(at.0);
            }
            let entry = self.mine.get(&user).and_then(|mine| mine.entries.get(at));
            if entry == Some(reservation) {
                self.forget_entry(user, *at);
            }
        }
        for day in changed {
            self.versions.insert(day, version.to_string());
        }
        self.paying.remove(&place);
        let was_active = self.active.remove(&place).is_some();
        let was_waiting = self.waiting.remove(&place).is_some();
        if was_waiting {
            self.bury((place, place));
        }
        self.forget_user(Some(user), place);
        let consumed = was_active || was_waiting;
        self.count("sold", sold);
        self.count("displaced", displaced);
        self.count("lapsed", lapsed);
        self.count("consumed", usize::from(consumed));
        format!("finished {sold} {displaced} {consumed}")
    }

    pub fn rebuild(&mut self, id: Uuid) -> String {
        if self.epoch.is_some() {
            return "present".into();
        }
        let id = id.to_string();
        if self.rebuild.as_ref().is_some_and(|(current, _)| *current != id) {
            return "busy".into();
        }
        self.rebuild = Some((id, self.now + LOCK));
        "locked".into()
    }

    pub fn seal(&mut self, id: Option<Uuid>, epoch: &str, settings: &[(String, String)]) -> String {
        let holder = self.rebuild.as_ref().map(|(holder, _)| holder.clone());
        let is_set = self.epoch.as_deref() == Some(epoch);
        let is_young = is_set && holder.as_deref() == Some(epoch);
        let ends_it = !is_set && holder.is_some() && holder == id.map(|id| id.to_string());
        if is_young || ends_it {
            for (field, value) in settings {
                self.settings.entry(field.clone()).or_insert_with(|| value.clone());
            }
        }
        if ends_it {
            self.epoch = Some(epoch.to_owned());
            self.rebuild = Some((epoch.to_owned(), self.now + LOCK));
        }
        if is_set || ends_it { "sealed" } else { "lost" }.into()
    }
}
