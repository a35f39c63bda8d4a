//! What everybody may know of a pre-line, and how to check the order of its draw with it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::seal::Terms;
use super::{ALGORITHM, Draw, Frozen, Order, Seed, Segments, from_hex, hex};
use crate::words::ConcertId;

/// What everybody may know of a pre-line: `GET /concert/{id}/fairness`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Whose line.
    pub concert_id: u32,
    /// `fifo`: who comes first is served first; `lottery`: whoever came before the opening is drawn.
    pub prequeue: String,
    /// Whether a lottery was to be, and is none: the sale had opened, or people were in line, before
    /// a seed was committed to.
    #[serde(default)]
    pub missed_lottery: bool,
    /// When the sale opens; none if it is open from the start.
    pub opens_at: Option<DateTime<Utc>>,
    /// The draw; none with `fifo`.
    pub draw: Option<PublicDraw>,
}

/// What everybody may know of a draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicDraw {
    /// Names the draw.
    pub id: Uuid,
    /// The protocol: `onsale-draw-1`.
    pub algorithm: String,
    /// When the servers committed themselves, before the first arrival.
    pub committed_at: Option<DateTime<Utc>>,
    /// SHA-256 of seed and terms, 64 hex digits.
    pub commitment: String,
    /// The round of a public beacon whose value is mixed in; none without a beacon.
    pub beacon_round: Option<String>,
    /// When it was frozen who takes part; none before the opening.
    pub frozen_at: Option<DateTime<Utc>>,
    /// How many take part.
    pub people: Option<u64>,
    /// Which numbers take part: ranges, first and last number of each.
    pub segments: Option<Vec<[u64; 2]>>,
    /// The value of the beacon's round, hex digits.
    pub beacon_value: Option<String>,
    /// The seed that was committed to, 64 hex digits; none before the order is final.
    pub seed0: Option<String>,
}

impl PublicDraw {
    /// Of `draw`; `seed` is told only once nothing is missing for the order.
    #[must_use]
    pub fn new(draw: &Draw, seed: Option<&Seed>) -> Self {
        let at = |unix_ms: u64| DateTime::from_timestamp_millis(i64::try_from(unix_ms).ok()?);
        let frozen = draw.frozen.as_ref();
        let segments = frozen.map(|frozen| frozen.segments.ranges().map(|(a, b)| [a, b]).collect());
        Self {
            id: draw.seal.terms.id,
            algorithm: ALGORITHM.to_owned(),
            committed_at: at(draw.committed_ms),
            commitment: hex(&draw.seal.commitment),
            beacon_round: draw.seal.terms.round.clone(),
            frozen_at: frozen.and_then(|frozen| at(frozen.at_ms)),
            people: frozen.map(|frozen| frozen.segments.people()),
            segments,
            beacon_value: frozen.and_then(|frozen| frozen.value.clone()),
            seed0: seed.filter(|_| draw.drawn().is_some()).map(|seed| hex(seed.bytes())),
        }
    }
}

/// Why a proof does not hold, or cannot be checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// First come, first served.
    #[error("this line has no lottery: whoever came first is served first")]
    NoDraw,
    /// A lottery whose seed nobody has committed to.
    #[error("this line has a lottery, and no seed is committed to yet: ask again in a second")]
    NotCommitted,
    /// A lottery that does not take place.
    #[error(
        "this line was to have a lottery and has none: the sale had opened, or people were in line, \
         before a seed was committed to. Whoever came first is served first"
    )]
    Missed,
    /// A protocol that this build does not know.
    #[error("the algorithm is {0:?}, and this build knows {ALGORITHM} alone")]
    Algorithm(String),
    /// Before the opening, or before the beacon's value is known.
    #[error("the order is not drawn yet; committed to {commitment}")]
    NotDrawn {
        /// What to compare the later answer with.
        commitment: String,
    },
    /// A field is not what the protocol says.
    #[error("{0} is not what the protocol says")]
    Malformed(&'static str),
    /// Another seed, or other terms, than those committed to.
    #[error("the commitment is {given}, and seed and terms make {made}")]
    Commitment {
        /// What was published.
        given: String,
        /// What it should have been.
        made: String,
    },
}

/// An order that was computed from public data alone.
#[derive(Debug)]
pub struct Checked {
    order: Order,
}

/// Where a place stands by a checked order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// It was drawn; 1 is the first.
    Drawn(u64),
    /// It came after the freeze: behind everybody who was drawn, in order of arrival.
    Behind,
    /// It took no part: it lies below the numbers that do, as of somebody who had left, or between them.
    Absent,
}

impl Proof {
    /// Computes the order from the published data, and that it is what was committed to.
    ///
    /// # Errors
    ///
    /// [`ProofFault`].
    pub fn check(&self) -> Result<Checked, ProofFault> {
        use ProofFault::Malformed;
        let Some(draw) = &self.draw else {
            return Err(match self.prequeue.as_str() {
                _ if self.missed_lottery => ProofFault::Missed,
                "lottery" => ProofFault::NotCommitted,
                _ => ProofFault::NoDraw,
            });
        };
        if draw.algorithm != ALGORITHM {
            return Err(ProofFault::Algorithm(draw.algorithm.clone()));
        }
        let (Some(segments), Some(seed0)) = (&draw.segments, &draw.seed0) else {
            return Err(ProofFault::NotDrawn { commitment: draw.commitment.clone() });
        };
        let concert = i128::from(self.concert_id);
        let concert = ConcertId::try_from(concert).map_err(|_| Malformed("concertId"))?;
        let seed = Seed::new(from_hex(seed0).ok_or(Malformed("seed0"))?);
        let terms = Terms { id: draw.id, round: draw.beacon_round.clone() };
        let made = hex(&terms.commitment(concert, &seed));
        if made != draw.commitment {
            return Err(ProofFault::Commitment { given: draw.commitment.clone(), made });
        }
        let ranges = segments.iter().map(|&[first, last]| (first, last));
        let segments = Segments::new(ranges).ok_or(Malformed("segments"))?;
        if draw.people != Some(segments.people()) {
            return Err(Malformed("people"));
        }
        if draw.beacon_round.is_some() != draw.beacon_value.is_some() {
            return Err(Malformed("beaconValue"));
        }
        let frozen = Frozen { segments, at_ms: 0, value: draw.beacon_value.clone() };
        let mixed = seed.mixed(&frozen);
        Ok(Checked { order: Order::draw(&mixed, frozen.segments) })
    }
}

impl Checked {
    /// How many were drawn.
    #[must_use]
    pub fn people(&self) -> u64 {
        self.order.segments().people()
    }

    /// Where `place` stands.
    #[must_use]
    pub fn rank_of(&self, place: u64) -> Rank {
        match self.order.rank_of(place) {
            Some(rank) => Rank::Drawn(rank + 1),
            None if place > self.order.segments().last() => Rank::Behind,
            None => Rank::Absent,
        }
    }

    /// Spearman's ρ between arrival and rank: near 0 if the one says nothing of the other. By chance
    /// it is of the size 1/√people. None for fewer than two people.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a correlation needs no 53rd bit")]
    pub fn correlation(&self) -> Option<f64> {
        let people = self.people();
        if people < 2 {
            return None;
        }
        let squares: f64 = (0..people)
            .zip(self.order.places(0, usize::MAX))
            .filter_map(|(rank, place)| {
                Some((self.order.segments().index_of(place)? as f64 - rank as f64).powi(2))
            })
            .sum();
        let n = people as f64;
        Some(1.0 - 6.0 * squares / (n * (n * n - 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `docs/fairness.md` shows, computed apart from this code with Python.
    fn proof() -> Proof {
        let draw = PublicDraw {
            id: "00000000-0000-4000-8000-000000000001".parse().expect("an id"),
            algorithm: ALGORITHM.to_owned(),
            committed_at: None,
            commitment: "1fd0389d1387a66268fb27c15863507746597c47c51baf934020180196e887c3"
                .to_owned(),
            beacon_round: None,
            frozen_at: None,
            people: Some(10),
            segments: Some(vec![[101, 104], [201, 206]]),
            beacon_value: None,
            seed0: Some(hex(&std::array::from_fn(|n| u8::try_from(n).expect("a byte")))),
        };
        let prequeue = "lottery".to_owned();
        let (missed_lottery, opens_at) = (false, None);
        Proof { concert_id: 1, prequeue, missed_lottery, opens_at, draw: Some(draw) }
    }

    #[test]
    fn a_rank_is_computed_from_public_data_alone() {
        let text = serde_json::to_string(&proof()).expect("JSON");
        let read: Proof = serde_json::from_str(&text).expect("what was written");
        let checked = read.check().expect("it holds");
        let order = [102, 101, 205, 204, 203, 206, 201, 202, 104, 103];
        for (rank, place) in (1..).zip(order) {
            assert_eq!(checked.rank_of(place), Rank::Drawn(rank));
        }
        assert_eq!(checked.rank_of(207), Rank::Behind);
        assert_eq!(checked.rank_of(150), Rank::Absent);
        assert_eq!(checked.people(), 10);
        let correlation = checked.correlation().expect("ten people");
        assert!((correlation - CORRELATION).abs() < 1e-9, "{correlation}");
    }

    /// 1 − 6 Σd² / (10 · 99), with the d of the order above.
    const CORRELATION: f64 = 1.0 - 6.0 * 156.0 / 990.0;

    /// Whatever is changed afterwards, it is noticed or it is another order.
    #[test]
    fn what_was_published_cannot_be_changed_unnoticed() {
        let changed = |change: fn(&mut PublicDraw)| {
            let mut proof = proof();
            change(proof.draw.as_mut().expect("a draw"));
            proof.check().map(|checked| checked.rank_of(101))
        };
        let other_seed = |draw: &mut PublicDraw| draw.seed0 = Some("00".repeat(32));
        let commitment = |result| matches!(result, Err(ProofFault::Commitment { .. }));
        assert!(commitment(changed(other_seed)));
        assert!(commitment(changed(|draw| draw.id = Uuid::nil())));
        assert!(commitment(changed(|draw| draw.beacon_round = Some("later".to_owned()))));
        assert_eq!(
            changed(|draw| draw.algorithm.push('0')),
            Err(ProofFault::Algorithm("onsale-draw-10".to_owned()))
        );
        assert!(matches!(changed(|draw| draw.seed0 = None), Err(ProofFault::NotDrawn { .. })));
        for (change, field) in [
            ((|draw| draw.people = Some(9)) as fn(&mut PublicDraw), "people"),
            (|draw| draw.segments = Some(vec![[201, 206], [101, 104]]), "segments"),
            (|draw| draw.beacon_value = Some("00".to_owned()), "beaconValue"),
            (|draw| draw.seed0 = Some("00".to_owned()), "seed0"),
        ] {
            assert_eq!(changed(change), Err(ProofFault::Malformed(field)));
        }
        let mut none = proof();
        none.draw = None;
        assert!(matches!(none.check(), Err(ProofFault::NotCommitted)));
        "fifo".clone_into(&mut none.prequeue);
        assert!(matches!(none.check(), Err(ProofFault::NoDraw)));
        none.missed_lottery = true;
        assert!(matches!(none.check(), Err(ProofFault::Missed)));
    }
}
