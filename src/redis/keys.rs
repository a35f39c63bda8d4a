//! Every key of Onsale in Redis, in one place.
//!
//! All keys of a concert carry the hash tag `{c<id>}`, so they share one cluster slot and one script
//! may touch them together. `docs/redis-keys.md` documents the ones that dashboards may read.

use std::fmt;

use fred::bytes_utils::Str;

use crate::words::{ConcertDate, ConcertId, Place, UserId};

/// The name of a key. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(pub(super) Str);

impl Key {
    /// The key's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The keys of one concert. Those without a further part are built once.
#[derive(Debug, Clone)]
pub struct ConcertKeys {
    tag: String,
    /// int: the last place given.
    pub seq: Key,
    /// zset: `<place>` or `<place>:<user>` → place.
    pub waiting: Key,
    /// zset: `<place>` or `<from>-<to>` that will never be served → ordinal of its death.
    pub dead: Key,
    /// string: the turn of Redis that this line was settled in.
    pub run: Key,
    /// zset: place → expiry in ms.
    pub active: Key,
    /// hash: user → place.
    pub users: Key,
    /// hash: promotion credit, {at, credit}.
    pub pace: Key,
    /// string: set last, after the sold set was rebuilt from PostgreSQL.
    pub epoch: Key,
    /// string: who is rebuilding.
    pub rebuild: Key,
    /// hash: live knobs.
    pub settings: Key,
    /// hash: counters.
    pub stats: Key,
    /// stream: what operators changed.
    pub audit: Key,
    /// stream: one row per second of the last hour.
    pub series: Key,
    /// zset: server → ms when it was last seen.
    pub servers: Key,
    /// hash: polls of all servers, and those that each has told of.
    pub polls: Key,
    /// hash: a lottery's seed, people and progress.
    pub draw: Key,
    /// zset: `<from>-<to>`, numbers that were never given → to.
    pub skipped: Key,
}

impl ConcertKeys {
    /// The keys of `concert`.
    #[must_use]
    pub fn new(concert: ConcertId) -> Self {
        let tag = format!("{{c{concert}}}");
        let key = |rest: &str| Key(Str::from(format!("{tag}:{rest}")));
        Self {
            seq: key("seq"),
            waiting: key("waiting"),
            dead: key("dead"),
            run: key("run"),
            active: key("active"),
            users: key("users"),
            pace: key("pace"),
            epoch: key("epoch"),
            rebuild: key("rebuild"),
            settings: key("settings"),
            stats: key("stats"),
            audit: key("audit"),
            series: key("series"),
            servers: key("servers"),
            polls: key("polls"),
            draw: key("draw"),
            skipped: key("skipped"),
            tag,
        }
    }

    fn of(&self, kind: &str, rest: impl fmt::Display) -> Key {
        Key(Str::from(format!("{}:{kind}:{rest}", self.tag)))
    }

    /// string with a TTL: the active token of `place`.
    #[must_use]
    pub fn token(&self, place: Place) -> Key {
        self.of("token", place)
    }

    /// What [`Self::token`] starts with, for the one script that builds these keys itself.
    #[must_use]
    pub fn token_prefix(&self) -> String {
        format!("{}:token:", self.tag)
    }

    /// string, 5 s: the answer of a grouped arrival.
    #[must_use]
    pub fn group(&self, id: uuid::Uuid) -> Key {
        self.of("group", id.simple())
    }

    /// string, 5 s: the answer of a call that cleared the line.
    #[must_use]
    pub fn cleared(&self, id: uuid::Uuid) -> Key {
        self.of("cleared", id.simple())
    }

    /// zset: seat → deadline in ms.
    #[must_use]
    pub fn held(&self, date: ConcertDate) -> Key {
        self.of("held", date)
    }

    /// hash: seat → reservation, place, user, price, hard deadline.
    #[must_use]
    pub fn hold(&self, date: ConcertDate) -> Key {
        self.of("hold", date)
    }

    /// hash with a TTL: date:seat → reservation.
    #[must_use]
    pub fn holds(&self, user: UserId) -> Key {
        self.of("holds", user)
    }

    /// zset with a TTL: payment attempts in flight → lease end in ms.
    #[must_use]
    pub fn paying(&self, place: Place) -> Key {
        self.of("paying", place)
    }

    /// bitmap: seats sold.
    #[must_use]
    pub fn sold(&self, date: ConcertDate) -> Key {
        self.of("sold", date)
    }

    /// string: id of the last operation that changed this date.
    #[must_use]
    pub fn version(&self, date: ConcertDate) -> Key {
        self.of("version", date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_documented_forms() {
        let keys = ConcertKeys::new(ConcertId::try_from(7).expect("in range"));
        let date = ConcertDate::from_ymd_opt(2030, 12, 24).expect("a date");
        let place = Place::try_from(42).expect("in range");
        assert_eq!(keys.waiting.as_str(), "{c7}:waiting");
        assert_eq!(keys.token(place).as_str(), "{c7}:token:42");
        assert_eq!(keys.sold(date).as_str(), "{c7}:sold:2030-12-24");
        assert_eq!(keys.token_prefix(), "{c7}:token:");
    }
}
