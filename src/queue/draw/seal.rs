//! The seed of a draw: random, sealed under the token key, committed to in public.
//!
//! What Redis stores of a seed tells nothing without the token key, so who reads Redis does not
//! know the order before the opening; the servers do, and say so. The commitment is a hash of the
//! seed and of everything that is fixed before anybody comes.

use std::fmt;

use hmac::Mac;
use rand::RngCore;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{ALGORITHM, Frozen, hex};
use crate::queue::TokenKeys;
use crate::words::ConcertId;

/// 32 bytes that decide an order. `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Random bytes.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The seed of the shuffle: from this one, the beacon's value and who takes part.
    #[must_use]
    pub fn mixed(&self, frozen: &Frozen) -> Self {
        let Frozen { segments, value, .. } = frozen;
        let text = format!(
            "beacon {}\nfirst {}\npeople {}\nsegments {segments}\n",
            value.as_deref().unwrap_or("none"),
            segments.first(),
            segments.people(),
        );
        // A key of 32 bytes, filled up to a block, is the same key.
        let mut block = hmac::digest::generic_array::GenericArray::default();
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut hmac = <hmac::Hmac<Sha256> as hmac::digest::KeyInit>::new(&block);
        hmac.update(text.as_bytes());
        Self(hmac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// What a draw is bound to before anybody comes, beside its seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Names the draw.
    pub id: Uuid,
    /// The round of a public beacon whose value is mixed in, in words; none without a beacon.
    pub round: Option<String>,
}

impl Terms {
    /// The commitment to `seed` under these terms: SHA-256 of six lines of text.
    #[must_use]
    pub fn commitment(&self, concert: ConcertId, seed: &Seed) -> [u8; 32] {
        let text = format!(
            "{ALGORITHM}\nconcert {concert}\ndraw {}\nprequeue lottery\nbeacon {}\nseed0 {}\n",
            self.id,
            self.round.as_deref().unwrap_or("none"),
            hex(seed.bytes()),
        );
        Sha256::digest(text).into()
    }
}

/// A seed that is committed to and closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// What it is bound to.
    pub terms: Terms,
    /// Of seed and terms.
    pub commitment: [u8; 32],
    /// The seed under a pad that only the token key makes.
    pub sealed: [u8; 32],
}

impl Seal {
    /// Closes `seed` for the servers that have `keys`.
    #[must_use]
    pub fn close(terms: Terms, concert: ConcertId, seed: &Seed, keys: &TokenKeys) -> Self {
        let commitment = terms.commitment(concert, seed);
        let sealed = keys.draw_pads(concert, terms.id).next().map(|pad| xor(&pad, seed.bytes()));
        Self { terms, commitment, sealed: sealed.unwrap_or_default() }
    }

    /// The seed; none if no key opens it: the commitment says which one is right.
    #[must_use]
    pub fn open(&self, concert: ConcertId, keys: &TokenKeys) -> Option<Seed> {
        keys.draw_pads(concert, self.terms.id)
            .map(|pad| Seed(xor(&pad, &self.sealed)))
            .find(|seed| self.terms.commitment(concert, seed) == self.commitment)
    }
}

fn xor(one: &[u8; 32], other: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| one[at] ^ other[at])
}

#[cfg(test)]
mod tests {
    use super::super::Segments;
    use super::*;

    fn concert(id: i128) -> ConcertId {
        ConcertId::try_from(id).expect("a concert")
    }

    fn keys(digits: &[&str]) -> TokenKeys {
        let keys: Vec<_> = digits.iter().map(|digits| digits.repeat(32)).collect();
        TokenKeys::parse(&keys.join(",")).expect("keys")
    }

    #[test]
    fn a_seal_is_opened_by_its_key_alone_also_after_a_rotation() {
        let terms = Terms { id: Uuid::from_u128(5), round: None };
        let seed = Seed::random();
        let seal = Seal::close(terms, concert(1), &seed, &keys(&["01"]));
        for right in [keys(&["01"]), keys(&["01", "02"]), keys(&["02", "01"])] {
            assert_eq!(seal.open(concert(1), &right), Some(seed.clone()));
        }
        assert_eq!(seal.open(concert(1), &keys(&["02"])), None);
        assert_eq!(seal.open(concert(2), &keys(&["01"])), None, "of another concert");
        let mut other = seal.clone();
        other.terms.round = Some("another round".to_owned());
        assert_eq!(other.open(concert(1), &keys(&["01"])), None, "under other terms");
        assert_eq!(format!("{seed:?}"), "Seed(..)");
    }

    /// Computed apart from this code, with Python's hashlib and hmac, as `docs/fairness.md` has it.
    #[test]
    fn commitment_and_seed_are_what_the_protocol_says() {
        let seed0 = Seed::new(std::array::from_fn(|n| u8::try_from(n).expect("a byte")));
        let id = "00000000-0000-4000-8000-000000000001".parse().expect("an id");
        let terms = Terms { id, round: None };
        assert_eq!(hex(&terms.commitment(concert(1), &seed0)), COMMITMENT);
        let round = Some("drand quicknet 30000000".to_owned());
        assert_eq!(hex(&Terms { id, round }.commitment(concert(1), &seed0)), COMMITMENT_BEACON);
        let segments = Segments::parse("101-104,201-206").expect("ten numbers");
        let mut frozen = Frozen { segments, at_ms: 0, value: None };
        assert_eq!(hex(seed0.mixed(&frozen).bytes()), SEED);
        frozen.value = Some("00ff".to_owned());
        assert_eq!(hex(seed0.mixed(&frozen).bytes()), SEED_BEACON);
    }

    const COMMITMENT: &str = "1fd0389d1387a66268fb27c15863507746597c47c51baf934020180196e887c3";
    const COMMITMENT_BEACON: &str =
        "7a9085b925be28181701f2143569055a7e13b1ed5b8abd60a16e7387fee667f4";
    const SEED: &str = "610b29295163b935df910f7d4ac2c3376492c86f9369ef0797504f96923df01c";
    const SEED_BEACON: &str = "4e9db4b3c769156e810a8bd9ed8de03fbc41baa544ddceef0e880262adc68175";
}
