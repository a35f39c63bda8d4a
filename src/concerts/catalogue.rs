//! All concerts of this deployment.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Concert;
use crate::words::ConcertId;

/// The concerts of one reading of the catalogue file, by id. Never empty.
#[derive(Debug, Default)]
pub struct Catalogue {
    concerts: BTreeMap<ConcertId, Arc<Concert>>,
    default: Option<ConcertId>,
}

impl Catalogue {
    /// A catalogue of `concerts`; `default` is the one meant when a request names none.
    #[must_use]
    pub fn new(concerts: Vec<Concert>, default: Option<ConcertId>) -> Self {
        let concerts =
            concerts.into_iter().map(|concert| (concert.id, Arc::new(concert))).collect();
        Self { concerts, default }
    }

    /// The concert `id`.
    #[must_use]
    pub fn get(&self, id: ConcertId) -> Option<&Arc<Concert>> {
        self.concerts.get(&id)
    }

    /// The concert meant by a request that names none: the configured one, or the only one.
    #[must_use]
    pub fn default_concert(&self) -> Option<&Arc<Concert>> {
        match self.default {
            Some(id) => self.get(id),
            None if self.concerts.len() == 1 => self.concerts.values().next(),
            None => None,
        }
    }

    /// Whether the concert that is configured as the default, if any, is on sale.
    #[must_use]
    pub fn has_its_default(&self) -> bool {
        self.default.is_none_or(|id| self.concerts.contains_key(&id))
    }

    /// Sets which concert is meant by a request that names none.
    pub fn set_default(&mut self, default: Option<ConcertId>) {
        self.default = default;
    }

    /// All concerts, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Concert>> {
        self.concerts.values()
    }
}

/// The catalogue in force; a reload replaces it as a whole. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Concerts(Arc<ArcSwap<Catalogue>>);

impl Concerts {
    /// Starts with `catalogue`.
    #[must_use]
    pub fn new(catalogue: Catalogue) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(catalogue)))
    }

    /// The catalogue in force now.
    #[must_use]
    pub fn load(&self) -> Arc<Catalogue> {
        self.0.load_full()
    }

    /// The concert `id`, if it is on sale.
    #[must_use]
    pub fn get(&self, id: ConcertId) -> Option<Arc<Concert>> {
        self.0.load().get(id).cloned()
    }

    /// Replaces the catalogue.
    pub fn replace(&self, catalogue: Catalogue) {
        self.0.store(Arc::new(catalogue));
    }
}
