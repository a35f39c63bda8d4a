//! The rules of the waiting line, one function per script in `lua/queue/`.

use std::collections::BTreeSet;

use onsale::queue::PlaceRange;
use onsale::queue::draw::Segments;
use uuid::Uuid;

use super::call::{ACTIVE_TTL, Arrivals, CLAIM_TTL, DAYS, SEATS, SESSION_MAX, STEP, Terms};
use super::draw_rules::draw_shown;
use super::model::{Group, Model, Pace, Token};
use crate::support::line::place;

/// A moment that no case reaches, Unix ms.
pub const LATER: &str = "4070908800000";
/// What a line skips when it may have lost numbers.
const JUMP: u64 = 1_048_576;

impl Model {
    pub fn settle(&mut self, floor: u64) -> String {
        let settled = self.run == self.process && self.seq.is_some_and(|seq| seq >= floor);
        if !settled {
            let highest = self.waiting.keys().next_back().copied();
            let last = self.seq.or(highest).unwrap_or(0);
            // The lines of these tests are far ahead of the clock: it never decides.
            let fresh = last.max(floor) + JUMP;
            if last > 0 {
                self.bury((last + 1, fresh));
                self.skipped.insert(fresh, last + 1);
            }
            self.seq = Some(fresh);
            self.run.clone_from(&self.process);
        }
        format!("settled {} {} {:?} {:?}", self.run, !settled, self.epoch, self.seq)
    }

    pub fn board(&mut self, after: u64, limit: usize) -> String {
        if self.draw.is_some() {
            self.remembered.clone_from(&self.draw);
        }
        let range = |(first, last): &(u64, u64)| PlaceRange::new(place(*first), place(*last));
        let dead = self.dead.range(after + 1..).take(limit);
        let dead: Vec<_> = dead.map(|(ordinal, places)| (*ordinal, range(places))).collect();
        let knob = |name: &str| self.settings.get(name);
        let (held, withheld) = self.held_and_withheld();
        format!(
            "board {} {} {:?} {:?} {:?} {} {} {} {:?} {:?} {:?} {:?} {:?} {:?} {} {held} {withheld} {} {dead:?}",
            self.now,
            self.run,
            self.epoch,
            self.seq,
            self.waiting.keys().next(),
            self.waiting.len(),
            self.live_count(),
            self.stats.get("promoted").unwrap_or(&0),
            knob("capacity"),
            knob("batch"),
            knob("paused"),
            knob("message"),
            knob("opens_at"),
            knob("closes_at"),
            self.sold.len(),
            draw_shown(self.draw.as_ref()),
        )
    }

    /// Time passes in steps that are longer than a server may be silent.
    pub fn sample(&mut self, server: usize, polls: u64) -> String {
        let name = format!("server-{server}");
        let told = self.servers.get(&name).map_or(polls, |(_, told)| *told);
        let total = self.polls.unwrap_or(0) + polls.saturating_sub(told);
        self.polls = Some(total);
        let now = self.now;
        self.servers.retain(|_, (seen, _)| *seen == now);
        self.servers.insert(name, (now, polls));
        let (held, withheld) = self.held_and_withheld();
        let counters = [
            "issued", "promoted", "claimed", "expired", "left", "consumed", "held", "released",
            "lapsed",
        ];
        let counters = counters.map(|name| self.stats.get(name).copied().unwrap_or(0));
        format!(
            "sampled {now} {} {} {} {held} {withheld} {} {:?} {:?} {counters:?} {total}",
            self.servers.len(),
            self.waiting.len(),
            self.live_count(),
            self.sold.len(),
            self.seq,
            self.next_by_place(),
        )
    }

    /// The lowest place that waits, unless a lottery says who is next.
    fn next_by_place(&self) -> Option<u64> {
        let head = *self.waiting.keys().next()?;
        let Some(draw) = &self.draw else { return Some(head) };
        let segments = Segments::parse(&draw.frozen.as_ref()?.segments).expect("segments");
        (draw.cursor >= segments.people() || head > segments.last()).then_some(head)
    }

    /// What has its value already is neither changed nor noted.
    pub fn configure(&mut self, changes: &[(&'static str, u32)]) -> String {
        let mut set = self.settings.clone();
        let mut set_in = self.moments_set_in.clone();
        self.configures += 1;
        let mut is_called_off = false;
        for (setting, value) in changes {
            let mut after = setting_text(setting, *value).unwrap_or_default();
            let before = self.settings.get(*setting).cloned().unwrap_or_default();
            if after == "now" {
                is_called_off |= *setting == "closes_at";
                let has_passed = before != "0" && self.has_passed(&before) == Some(true);
                if !has_passed {
                    set_in.insert(setting, self.configures);
                }
                after = if has_passed { before.clone() } else { format!("unit {}", self.now) };
            }
            set.insert((*setting).to_owned(), after);
        }
        let names = |name: &str| changes.iter().any(|(setting, _)| *setting == name);
        if names("opens_at") || (names("closes_at") && !is_called_off) {
            let order = |name: &'static str| {
                let text = set.get(name).map_or("", String::as_str);
                moment_order(text, set_in.get(name).copied().unwrap_or(0))
            };
            let (opens, closes) = (order("opens_at"), order("closes_at"));
            if closes > moment_order("", 0) && closes <= opens {
                return "never_open".into();
            }
        }
        if let Some(value) = set.get("beacon").filter(|value| names("beacon") && !value.is_empty())
        {
            let draw = self.draw.as_mut().filter(|draw| draw.round);
            let Some(draw) = draw else { return "not_awaited NoRound".into() };
            let Some(frozen) = &mut draw.frozen else { return "not_awaited NotFrozen".into() };
            if frozen.value.as_ref().is_some_and(|taken| taken != value) {
                return "not_awaited Drawn".into();
            }
            frozen.value = Some(value.clone());
        }
        self.moments_set_in = set_in;
        for (setting, _) in changes {
            let after = set.remove(*setting).unwrap_or_default();
            let before = self.settings.get(*setting).cloned().unwrap_or_default();
            if before == after {
                continue;
            }
            if after.is_empty() {
                self.settings.remove(*setting);
            } else {
                self.settings.insert((*setting).to_owned(), after.clone());
            }
            self.audit.push(format!("{setting} {}>{}", noted(&before), noted(&after)));
        }
        "configured".to_owned()
    }

    /// Whether the moment that a setting says has come; none if it says none.
    fn has_passed(&self, text: &str) -> Option<bool> {
        if let Some(unit) = text.strip_prefix("unit ") {
            return Some(unit.parse::<i64>().expect("a unit") <= self.now);
        }
        text.parse::<u64>().ok().map(|ms| ms <= 10_000_001)
    }

    fn is_closed(&self) -> bool {
        let closes_at = self.settings.get("closes_at").filter(|text| *text != "0");
        closes_at.and_then(|text| self.has_passed(text)) == Some(true)
    }

    /// Whether the sale is open, for a server whose catalogue says so unless it is `early`.
    pub fn has_opened(&self, early: bool) -> bool {
        let opened = self.settings.get("opens_at").and_then(|text| self.has_passed(text));
        opened.unwrap_or(!early)
    }

    pub fn enter(&mut self, arrivals: &Arrivals) -> String {
        let Arrivals { group, floor, ref epoch, ref who, has_draw, early } = *arrivals;
        if let Some(answered) = self.groups.get(&group) {
            return answered.answer.clone();
        }
        let Some(last) = self.seq.filter(|seq| *seq >= floor) else {
            return "unsettled".into();
        };
        if self.epoch.as_ref() != Some(epoch) || self.run != self.process {
            return "unsettled".into();
        }
        if self.is_closed() {
            return "closed".into();
        }
        let is_sealed = self.draw.as_ref().is_some_and(|draw| draw.frozen.is_none());
        if has_draw && is_sealed && self.has_opened(early) {
            return "undrawn".into();
        }
        let before = self.waiting.len();
        let (mut next, mut known, mut over) = (last, Vec::new(), BTreeSet::new());
        for (index, user) in who.iter().enumerate() {
            let standing = user.and_then(|user| self.standing(user));
            if let Some((place, expires)) = standing {
                known.push((index, place, expires));
                continue;
            }
            next += 1;
            if let Some(user) = user {
                let old = self.users.insert(*user, next);
                over.extend(old.filter(|old| self.active.contains_key(old)));
            }
            self.waiting.insert(next, *user);
            assert!(self.given.insert(next), "{next} is given twice");
            self.count("issued", 1);
        }
        for place in &over {
            self.active.remove(place);
        }
        self.count("expired", over.len());
        self.seq = Some(next);
        let answer = format!("entered {} {before} {} {known:?}", self.now, last + 1);
        self.groups.insert(group, Group { answer: answer.clone(), ends: self.now + STEP });
        answer
    }

    /// The live place of a user, with its end, 0 while it waits.
    fn standing(&self, user: u64) -> Option<(u64, i64)> {
        let place = *self.users.get(&user)?;
        if let Some(token) = self.live(place) {
            return Some((place, token.ends));
        }
        (self.waiting.get(&place) == Some(&Some(user))).then_some((place, 0))
    }

    pub fn promote(&mut self, terms: &Terms) -> String {
        if self.run != terms.run || self.epoch.as_ref() != Some(&terms.epoch) {
            return "not_ready".into();
        }
        if self.run != self.process {
            return "unsettled".into();
        }
        let all = self.active.len();
        self.active.retain(|_, token| token.ends > self.now);
        let expired = all - self.active.len();
        self.count("expired", expired);
        let live = self.active.len();
        let gone = self.sold.len() + self.held_and_withheld().1;
        let sold_out = gone == SEATS as usize * DAYS.len();
        if self.settings.get("paused").is_some_and(|paused| paused == "1")
            || !self.has_opened(terms.early)
            || self.is_closed()
            || sold_out
        {
            return format!("closed {expired} {live}");
        }
        let in_draw = self.is_in_draw();
        let known = terms
            .drawn
            .as_ref()
            .filter(|(id, ..)| self.draw.as_ref().is_some_and(|draw| draw.id == *id));
        let is_unknown = in_draw && (self.drawn().is_none() || known.is_none());
        let is_unfrozen = self.draw.as_ref().is_some_and(|draw| draw.frozen.is_none());
        if is_unfrozen || is_unknown {
            return format!("undrawn {expired} {live}");
        }
        let knob = |name: &str, otherwise| {
            let number = self.settings.get(name).and_then(|text| text.parse::<u32>().ok());
            number.filter(|number| *number <= 10_000_000).unwrap_or(otherwise)
        };
        let (capacity, batch) = (knob("capacity", terms.capacity), knob("batch", terms.batch));
        // A unit is far more than a second: either nothing was earned, or all of a batch.
        let kept = self.pace.clone().unwrap_or(Pace { at: i64::MIN, credit: 0 });
        let earned = if kept.at < self.now { batch } else { 0 };
        let credit = batch.min(kept.credit + earned);
        let wanted = (credit as usize).min((capacity as usize).saturating_sub(live));
        let next: Vec<u64> = if in_draw {
            self.next_in_draw(wanted, known.map_or(0, |(_, _, start)| *start))
        } else {
            self.waiting.keys().take(wanted).copied().collect()
        };
        let people = self.people();
        if let Some(draw) = self.draw.as_mut().filter(|_| !in_draw) {
            draw.cursor = people;
        }
        let count = next.len();
        for place in next {
            let owner = self.waiting.remove(&place).expect("waits");
            let ends = self.now + CLAIM_TTL;
            self.active.insert(place, Token { owner, claimed: 0, promoted: self.now, ends });
        }
        let cursor = self.draw.as_ref().map_or(0, |draw| draw.cursor);
        let spent = u32::try_from(count).expect("a few");
        self.pace = Some(Pace { at: self.now + 1, credit: credit - spent });
        self.count("promoted", count);
        let head = self.waiting.keys().next().copied().unwrap_or(u64::MAX);
        let newest = self.dead.keys().next_back().copied();
        if cursor == people {
            self.dead.retain(|ordinal, (_, last)| Some(*ordinal) == newest || *last >= head);
        }
        format!("promoted {count} {expired} {} {cursor}", live + count)
    }

    /// Whoever waits is gone. No number is buried: they are below the next head.
    pub fn clear(&mut self, id: Uuid) -> String {
        if let Some((left, _)) = self.clears.get(&id) {
            return format!("cleared {left}");
        }
        let left = self.waiting.len();
        self.waiting.clear();
        if left > 0 {
            self.audit.push(format!("cleared {left}"));
        }
        self.count("left", left);
        self.clears.insert(id, (left, self.now + STEP));
        format!("cleared {left}")
    }

    pub fn claim(&mut self, place: u64, user: Option<u64>) -> String {
        let Some(token) = self.live(place).cloned() else { return "gone".into() };
        if user.is_some() && token.owner.is_some() && token.owner != user {
            return "not_yours".into();
        }
        let binds = user.filter(|_| token.owner.is_none());
        let other = binds.and_then(|user| self.standing(user));
        if other.is_some_and(|(other, _)| other != place) {
            return "user_has_token".into();
        }
        if let Some(user) = binds {
            self.users.insert(user, place);
        }
        let now = self.now;
        let token = self.active.get_mut(&place).expect("it lives");
        token.owner = token.owner.or(binds);
        let first = token.claimed == 0;
        if first {
            token.claimed = 1;
            let until = (now + ACTIVE_TTL).min(token.promoted + SESSION_MAX);
            token.ends = token.ends.max(until);
        }
        let answer = format!("active {:?} {} {now}", token.owner, token.ends);
        self.count("claimed", usize::from(first));
        answer
    }

    pub fn leave(
        &mut self,
        place: u64,
        user: Option<u64>,
        asker: Option<u64>,
        version: Uuid,
    ) -> String {
        let waits = self.waiting.get(&place).copied();
        let Some(owner) = waits.or_else(|| self.live(place).map(|token| token.owner)) else {
            return "gone".into();
        };
        if owner.is_some() && asker.is_some() && owner != asker {
            return "not_yours".into();
        }
        if waits.is_some() {
            self.waiting.remove(&place);
            self.bury((place, place));
            self.forget_user(owner, place);
            self.count("left", 1);
            return "left 0".into();
        }
        if owner != user {
            return "other_user".into();
        }
        if self.is_paying(place) {
            return "paying".into();
        }
        let (mut released, mut lapsed) = (0, 0);
        let mine = user.and_then(|user| self.mine.get(&user)).cloned().unwrap_or_default();
        for (at, reservation) in mine.entries {
            let Some(hold) = self.holds.get(&at) else { continue };
            if hold.reservation == reservation && hold.place == place {
                if hold.deadline > self.now {
                    released += 1;
                } else {
                    lapsed += 1;
                }
                self.holds.remove(&at);
                self.forget_entry(user.expect("somebody"), at);
                self.versions.insert(at.0, version.simple().to_string());
            }
        }
        self.active.remove(&place);
        self.forget_user(owner, place);
        self.count("released", released);
        self.count("lapsed", lapsed);
        self.count("left", 1);
        format!("left {released}")
    }
}

/// Where a moment stands among others, the one that is none first: far ones by their milliseconds,
/// those of this case by their unit and, within one, by the call that set them.
fn moment_order(text: &str, set_in: u32) -> (u8, i64, u32) {
    match (text.strip_prefix("unit "), text.parse::<u64>()) {
        (Some(unit), _) => (1, unit.parse().expect("a unit"), set_in),
        (None, Ok(ms)) if ms > 0 && ms <= 253_402_300_799_999 => {
            let ms = i64::try_from(ms).expect("a moment");
            (if text == LATER { 2 } else { 0 }, ms, 0)
        }
        _ => (0, 0, 0),
    }
}

/// How a value stands among the notes: a moment of this case is not told by its milliseconds.
fn noted(value: &str) -> String {
    if value.starts_with("unit ") { "a moment".to_owned() } else { value.to_owned() }
}

/// What a setting becomes for a number of a step: 0 removes it, but a pause, which has no other end.
pub fn setting_text(setting: &str, value: u32) -> Option<String> {
    match (setting, value) {
        ("paused", _) => Some((value % 2).to_string()),
        (_, 0) => None,
        ("beacon", _) => Some(format!("{value:016x}")),
        ("message", _) => Some(format!("message-{value}")),
        ("opens_at" | "closes_at", 1) => Some("now".to_owned()),
        ("opens_at" | "closes_at", 2) => Some(LATER.to_owned()),
        _ => Some(value.to_string()),
    }
}
