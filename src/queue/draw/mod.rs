//! The lottery of a pre-line: everybody who came before the opening is put into an order that
//! nobody chose and anybody can check.
//!
//! A **draw** goes through three steps, each taken once, in Redis ([`script`]):
//!
//! 1. *Committed*, before the first arrival: a random seed, sealed for the servers alone, and the
//!    public hash of it and of the terms ([`seal`]).
//! 2. *Frozen*, at the opening: which numbers were really given until then.
//! 3. *Drawn*, at once, or when the value of the beacon's round is known: seed, value and numbers
//!    make the order, which every server computes for itself ([`shuffle`], [`order`]).
//!
//! Then the seed is public, and [`proof`] is how anybody checks the order from public data. What is
//! *not* here: when a step is due, and who is let in. Scripts decide that, by Redis' clock.
//! `docs/fairness.md` is the protocol; a change of it is another [`ALGORITHM`].

pub mod order;
pub mod proof;
pub mod script;
pub mod seal;
pub mod shuffle;

use std::fmt::Write;

use uuid::Uuid;

pub use order::{Order, Segments};
pub use proof::Proof;
pub use seal::{Seal, Seed};

/// The name of this protocol, part of every commitment.
pub const ALGORITHM: &str = "onsale-draw-1";

/// A draw as Redis has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// Seed and terms.
    pub seal: Seal,
    /// When it was committed to, Unix ms.
    pub committed_ms: u64,
    /// Who takes part; none before the opening.
    pub frozen: Option<Frozen>,
    /// How many ranks are done: served, or of people who left.
    pub cursor: u64,
}

/// What the order is made of, beside the seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The numbers that take part.
    pub segments: Segments,
    /// When they were frozen, Unix ms.
    pub at_ms: u64,
    /// The value of the beacon's round, hex digits; none before it is posted, or without a beacon.
    pub value: Option<String>,
}

impl Draw {
    /// Who takes part, if nothing is missing for the order any more.
    #[must_use]
    pub fn drawn(&self) -> Option<&Frozen> {
        let frozen = self.frozen.as_ref()?;
        (self.seal.terms.round.is_none() || frozen.value.is_some()).then_some(frozen)
    }

    /// Whether somebody who takes part may still wait, by the cursor.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.frozen.as_ref().is_some_and(|frozen| self.cursor < frozen.segments.people())
    }

    /// Reads the hash `{c<id>}:draw`; none if it is not one of ours.
    #[must_use]
    pub fn read(fields: Vec<(String, String)>) -> Option<Self> {
        let fields: std::collections::HashMap<_, _> = fields.into_iter().collect();
        let text = |name: &str| fields.get(name).map(String::as_str);
        let number = |name: &str| text(name)?.parse::<u64>().ok();
        let not_empty = |text: &&str| !text.is_empty();
        let frozen = match text("segments") {
            None => None,
            Some(segments) => Some(Frozen {
                segments: Segments::parse(segments)?,
                at_ms: number("frozen_ms")?,
                value: text("value").filter(not_empty).map(str::to_owned),
            }),
        };
        Some(Self {
            seal: Seal {
                terms: seal::Terms {
                    id: text("id")?.parse::<Uuid>().ok()?,
                    round: text("round").filter(not_empty).map(str::to_owned),
                },
                commitment: from_hex(text("commitment")?)?,
                sealed: from_hex(text("sealed")?)?,
            },
            committed_ms: number("committed_ms")?,
            cursor: number("cursor").unwrap_or(0),
            frozen,
        })
    }

    /// What a server writes back after Redis lost it: the id first, nobody served yet.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let Seal { terms, commitment, sealed } = &self.seal;
        let mut fields = vec![
            ("id", terms.id.to_string()),
            ("commitment", hex(commitment)),
            ("sealed", hex(sealed)),
            ("round", terms.round.clone().unwrap_or_default()),
            ("committed_ms", self.committed_ms.to_string()),
        ];
        if let Some(Frozen { segments, at_ms, value }) = &self.frozen {
            fields.push(("segments", segments.to_string()));
            fields.push(("people", segments.people().to_string()));
            fields.push(("last", segments.last().to_string()));
            fields.push(("frozen_ms", at_ms.to_string()));
            fields.push(("cursor", "0".to_owned()));
            fields.extend(value.as_ref().map(|value| ("value", value.clone())));
        }
        fields
    }
}

/// 32 bytes as 64 lower-case digits.
#[must_use]
pub fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads [`hex`]; upper-case digits are read too.
#[must_use]
pub fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_that_is_written_back_is_read_as_it_was_with_nobody_served() {
        let terms = seal::Terms { id: Uuid::from_u128(7), round: Some("a round".to_owned()) };
        let seal = Seal { terms, commitment: [1; 32], sealed: [0xfe; 32] };
        let mut draw = Draw { seal, committed_ms: 5, frozen: None, cursor: 0 };
        let read = |draw: &Draw| {
            let fields = draw.fields().into_iter().map(|(name, text)| (name.to_owned(), text));
            Draw::read(fields.collect())
        };
        assert_eq!(read(&draw), Some(draw.clone()));
        assert!(draw.drawn().is_none() && !draw.is_under_way());
        let segments = Segments::parse("5-9,20-20").expect("segments");
        draw.frozen = Some(Frozen { segments, at_ms: 9, value: None });
        draw.cursor = 3;
        assert!(draw.drawn().is_none(), "the beacon's value is missing");
        draw.frozen.as_mut().expect("frozen").value = Some("ab".to_owned());
        assert!(draw.drawn().is_some() && draw.is_under_way());
        assert_eq!(read(&draw), Some(Draw { cursor: 0, ..draw }));
    }

    #[test]
    fn hex_is_64_digits_and_nothing_else() {
        let bytes: [u8; 32] = std::array::from_fn(|n| u8::try_from(n * 8).expect("a byte"));
        assert_eq!(from_hex(&hex(&bytes)), Some(bytes));
        assert_eq!(from_hex(&hex(&bytes).to_uppercase()), Some(bytes));
        for text in ["", "0", &"0".repeat(63), &"0".repeat(65), &"+0".repeat(32), &"é".repeat(32)]
        {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }
}
