//! What a server keeps of a line's lottery: the draw as it last saw it, which it writes back after a
//! loss, and the order, which it computes for itself.
//!
//! Nothing here is needed by another server, and nothing here decides: the scripts do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use uuid::Uuid;

use super::TokenKeys;
use super::draw::script::{AdvanceDraw, DrawOutcome};
use super::draw::seal::Terms;
use super::draw::{Draw, Frozen, Order, Seal, Seed};
use super::line::Line;
use crate::concerts::{Concert, Prequeue};
use crate::redis::RedisError;
use crate::words::ConcertId;

/// The lottery of one line, as one server knows it.
pub(super) struct Lottery {
    keys: TokenKeys,
    seen: ArcSwapOption<Draw>,
    computed: ArcSwapOption<Computed>,
    /// One computation at a time.
    computing: tokio::sync::Mutex<()>,
    /// Whether it was said that there is none.
    is_missed: AtomicBool,
}

/// What came of one computation.
struct Computed {
    id: Uuid,
    frozen: Frozen,
    /// None if no token key of this server opens the seal.
    order: Option<Arc<Order>>,
}

impl Lottery {
    pub fn new(keys: TokenKeys) -> Self {
        Self {
            keys,
            seen: ArcSwapOption::empty(),
            computed: ArcSwapOption::empty(),
            computing: tokio::sync::Mutex::default(),
            is_missed: AtomicBool::new(false),
        }
    }

    /// The draw as this server last saw it.
    pub fn seen(&self) -> Option<Arc<Draw>> {
        self.seen.load_full()
    }

    /// Takes what Redis says, unless it forgot that this draw was frozen.
    pub fn see(&self, draw: &Arc<Draw>) {
        let forgot = self.seen.load().as_ref().is_some_and(|seen| {
            seen.seal == draw.seal && seen.frozen.is_some() && draw.frozen.is_none()
        });
        if !forgot {
            self.seen.store(Some(Arc::clone(draw)));
        }
    }

    /// The order of `draw`, if it is here.
    pub fn order(&self, draw: &Draw) -> Option<Arc<Order>> {
        self.computed(draw)?.order.clone()
    }

    fn computed(&self, draw: &Draw) -> Option<Arc<Computed>> {
        let is_of = |computed: &Arc<Computed>| {
            computed.id == draw.seal.terms.id && Some(&computed.frozen) == draw.frozen.as_ref()
        };
        self.computed.load_full().filter(is_of)
    }

    /// Whether the order of `draw` is needed and not here.
    pub fn lacks(&self, draw: &Draw) -> bool {
        draw.is_under_way() && draw.drawn().is_some() && self.computed(draw).is_none()
    }

    /// The order of `draw`, computed if it is not here; none if it is not drawn, or no key of this
    /// server opens its seal.
    pub async fn compute(&self, concert: ConcertId, draw: &Draw) -> Option<Arc<Order>> {
        let frozen = draw.drawn()?.clone();
        let _one_at_a_time = self.computing.lock().await;
        if let Some(computed) = self.computed(draw) {
            return computed.order.clone();
        }
        let order = if let Some(seed) = draw.seal.open(concert, &self.keys) {
            let (mixed, segments) = (seed.mixed(&frozen), frozen.segments.clone());
            let draw = move || Arc::new(Order::draw(&mixed, segments));
            Some(tokio::task::spawn_blocking(draw).await.ok()?)
        } else {
            tracing::error!(%concert, "no token key here opens the seed of the draw");
            None
        };
        let id = draw.seal.terms.id;
        self.computed.store(Some(Arc::new(Computed { id, frozen, order: order.clone() })));
        order
    }

    /// The seed of `draw`, if a key of this server opens it.
    pub fn seed(&self, concert: ConcertId, draw: &Draw) -> Option<Seed> {
        draw.seal.open(concert, &self.keys)
    }

    /// Says once that the lottery that was announced does not take place.
    fn miss(&self, concert: &Concert) {
        if concert.prequeue != Prequeue::Fifo && !self.is_missed.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                concert = %concert.id,
                "there will be no lottery: the sale had opened, or people were in line, before a \
                 seed was committed to; whoever came first is served first"
            );
        }
    }

    fn new_seal(&self, concert: &Concert) -> Seal {
        let round = match &concert.prequeue {
            Prequeue::Lottery { beacon_round } => beacon_round.clone(),
            Prequeue::Fifo => None,
        };
        let terms = Terms { id: Uuid::new_v4(), round };
        Seal::close(terms, concert.id, &Seed::random(), &self.keys)
    }
}

impl Line {
    /// Takes whatever step of the lottery is due, on all servers at once; none if there is none.
    pub async fn advance_draw(&self, concert: &Concert) -> Result<Option<Arc<Draw>>, RedisError> {
        let seal = self.lottery.new_seal(concert);
        match self.redis.run(&AdvanceDraw { concert, seal: &seal }).await? {
            DrawOutcome::Draw(draw) => {
                let draw = Arc::new(*draw);
                self.lottery.see(&draw);
                self.lottery.is_missed.store(false, Ordering::Relaxed);
                Ok(Some(draw))
            }
            DrawOutcome::None => {
                self.lottery.miss(concert);
                Ok(None)
            }
            DrawOutcome::Unsettled => Ok(None),
        }
    }
}
