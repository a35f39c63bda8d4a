//! What this server has verified against PostgreSQL, per concert.
//!
//! After Redis restarted, failed over or was emptied, its sold set may lack the last sales. Until
//! this server has compared it, nobody may be promoted or hold a seat through this server. What was
//! verified is a *generation*: the turn of a Redis process and the rebuild (epoch). Scripts compare
//! it with the stored one, so a loss between the check and the call is noticed as well.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::words::ConcertId;

/// One life of a concert's data in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The turn that the line was settled in (`{c<id>}:run`): the replication id of a Redis, from
    /// when it began to take writes until it ended or was replaced.
    pub run: Arc<str>,
    /// Id of the last rebuild from PostgreSQL (`{c<id>}:epoch`).
    pub epoch: Arc<str>,
}

/// The verified generation of each concert. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gates(Arc<RwLock<HashMap<ConcertId, Generation>>>);

impl Gates {
    /// The generation of `concert` that this server has verified, if any.
    #[must_use]
    pub fn verified(&self, concert: ConcertId) -> Option<Generation> {
        self.0.read().get(&concert).cloned()
    }

    /// Opens the gate for `generation`.
    pub fn open(&self, concert: ConcertId, generation: Generation) {
        self.0.write().insert(concert, generation);
    }

    /// Closes the gate until the next verification.
    pub fn close(&self, concert: ConcertId) {
        self.0.write().remove(&concert);
    }
}
