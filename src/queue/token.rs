//! The token: a person's number in one line, signed, so that no store is needed to check it.
//!
//! A token id is a `UUIDv8`. Its 122 free bits, from the top:
//!
//! | bits | what |
//! |---|---|
//! | 22 | concert |
//! | 50 | place |
//! | 50 | MAC: the first 50 bits of HMAC-SHA-256 over concert (4 bytes) and place (8 bytes) |
//!
//! In the API it reads `<uuid>_<position>`; the tail is information for people, checked for form
//! and otherwise ignored. What is *not* here: whether a token is live. That is in Redis alone.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::token_keys;
use crate::words::{ConcertId, Place};

pub use super::token_keys::TokenKeyFault;

const PLACE_BITS: u32 = 50;
const MAC_BITS: u32 = 50;
const FIFTY_BITS: u64 = (1 << 50) - 1;

/// The length of a hyphenated UUID.
const UUID_CHARS: usize = 36;
/// The most digits of a position: those of 2^64 − 1.
const POSITION_DIGITS_MAX: usize = 20;

/// A number in the line of one concert: what a verified token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// Whose line.
    pub concert: ConcertId,
    /// The number.
    pub place: Place,
}

impl Token {
    /// Signs the number. The same number under the same first key is always the same id.
    #[must_use]
    pub fn sign(self, keys: &TokenKeys) -> TokenId {
        let payload = u128::from(self.concert.get()) << (PLACE_BITS + MAC_BITS)
            | u128::from(self.place.get()) << MAC_BITS
            | u128::from(mac(&keys.first, self));
        TokenId(uuid_of(payload))
    }
}

impl Token {
    /// What a token's text says, whoever signed it. Never let anybody in by it.
    #[must_use]
    pub fn unverified(text: &str) -> Option<Self> {
        token_of(payload_of(parse_id(text)?)?)
    }
}

/// A signed number. It is a secret of its owner: `Debug` hides it, and it belongs in no log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenId(Uuid);

impl TokenId {
    /// The API's form, `<uuid>_<position>`.
    #[must_use]
    pub fn with_position(self, position: u64) -> String {
        format!("{}_{position}", self.0)
    }

    /// The bare UUID.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenId(..)")
    }
}

/// Why a text is no token of ours. The client learns no more than `token-invalid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenInvalid {
    /// It does not look like a token at all.
    #[error("the token is malformed: it must be <uuid>_<position>")]
    Malformed,
    /// It looks like a token and was signed by none of our keys.
    #[error("the token was not issued here")]
    Forged,
}

/// The secrets that sign tokens: the first signs, all verify.
///
/// Cheap to clone and never printed. To rotate, append the new key on every server, then move it
/// first.
#[derive(Clone)]
pub struct TokenKeys {
    first: Hmac<Sha256>,
    others: std::sync::Arc<[Hmac<Sha256>]>,
}

impl TokenKeys {
    /// The most keys: each one costs a forged token one more HMAC.
    pub const KEYS_MAX: usize = 8;

    /// Reads keys separated by commas, each 32 bytes as 64 hex digits or as base64(url). The fault
    /// never contains any part of the text.
    pub fn parse(text: &str) -> Result<Self, TokenKeyFault> {
        let (first, others) = token_keys::parse(text, Self::KEYS_MAX)?;
        Ok(Self { first: state(&first), others: others.iter().map(state).collect() })
    }

    /// A new random key as hex text, for [`Self::parse`].
    #[must_use]
    pub fn generate() -> String {
        token_keys::generate()
    }

    /// Checks a token's text: its form, then its MAC, in constant time and without allocating.
    pub fn verify(&self, text: &str) -> Result<Token, TokenInvalid> {
        let id = parse_id(text).ok_or(TokenInvalid::Malformed)?;
        let payload = payload_of(id).ok_or(TokenInvalid::Malformed)?;
        let token = token_of(payload).ok_or(TokenInvalid::Forged)?;
        let given = low_fifty(payload);
        let ours = |key| bool::from(mac(key, token).ct_eq(&given));
        // Which key it was is no secret, so the search may stop at the first.
        if ours(&self.first) || self.others.iter().any(ours) {
            Ok(token)
        } else {
            Err(TokenInvalid::Forged)
        }
    }
}

impl TokenKeys {
    /// What hides the seed of a draw from whoever lacks the keys: one pad per key, the one that
    /// closes first. Each is used for one seed. No token's MAC is over so long a text.
    pub(super) fn draw_pads(
        &self,
        concert: ConcertId,
        draw: Uuid,
    ) -> impl Iterator<Item = [u8; 32]> + '_ {
        std::iter::once(&self.first).chain(self.others.iter()).map(move |key| {
            let mut hmac = key.clone();
            hmac.update(b"onsale draw seal 1");
            hmac.update(&concert.get().to_be_bytes());
            hmac.update(draw.as_bytes());
            hmac.finalize().into_bytes().into()
        })
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({} keys)", 1 + self.others.len())
    }
}

/// Concert and place of a payload, each in its range.
fn token_of(payload: u128) -> Option<Token> {
    let concert = i128::try_from(payload >> (PLACE_BITS + MAC_BITS)).ok()?;
    Some(Token {
        concert: ConcertId::try_from(concert).ok()?,
        place: Place::try_from(i128::from(low_fifty(payload >> MAC_BITS))).ok()?,
    })
}

/// The HMAC state after the key; a clone of it saves hashing the key for each token.
fn state(key: &[u8; token_keys::KEY_BYTES]) -> Hmac<Sha256> {
    // A key of exactly one block is what every HMAC accepts without a fallible constructor.
    let mut block = hmac::digest::generic_array::GenericArray::default();
    block[..key.len()].copy_from_slice(key);
    <Hmac<Sha256> as hmac::digest::KeyInit>::new(&block)
}

/// The truncated MAC of `token`, in the low 50 bits.
fn mac(key: &Hmac<Sha256>, token: Token) -> u64 {
    let mut hmac = key.clone();
    hmac.update(&token.concert.get().to_be_bytes());
    hmac.update(&token.place.get().to_be_bytes());
    let digest = hmac.finalize().into_bytes();
    let first = digest.iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    first >> (64 - MAC_BITS)
}

/// The UUID in `<36 characters>` or `<36 characters>_<1 to 20 digits>`.
fn parse_id(text: &str) -> Option<Uuid> {
    let (id, tail) = text.as_bytes().split_at_checked(UUID_CHARS)?;
    let position_fits = match tail {
        [] => true,
        [b'_', digits @ ..] => {
            (1..=POSITION_DIGITS_MAX).contains(&digits.len())
                && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    // At 36 characters the hyphenated form is the only one that the parser knows.
    Uuid::try_parse_ascii(id).ok().filter(|_| position_fits)
}

/// Spreads the 122 payload bits around version 8 and the RFC variant.
fn uuid_of(payload: u128) -> Uuid {
    let (top, middle, low) = (payload >> 74, payload >> 62 & 0xfff, payload & ((1 << 62) - 1));
    Uuid::from_u128(top << 80 | 8 << 76 | middle << 64 | 0b10 << 62 | low)
}

/// The inverse of [`uuid_of`]; `None` if the version or the variant is another.
fn payload_of(id: Uuid) -> Option<u128> {
    let bits = id.as_u128();
    if bits >> 76 & 0xf != 8 || bits >> 62 & 0b11 != 0b10 {
        return None;
    }
    Some(bits >> 80 << 74 | (bits >> 64 & 0xfff) << 62 | bits & ((1 << 62) - 1))
}

fn low_fifty(bits: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the mask keeps 50 bits")]
    let low = bits as u64;
    low & FIFTY_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const TWO: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    fn keys(text: &str) -> TokenKeys {
        TokenKeys::parse(text).expect("keys")
    }

    fn token(concert: u32, place: u64) -> Token {
        Token {
            concert: ConcertId::try_from(i128::from(concert)).expect("a concert"),
            place: Place::try_from(i128::from(place)).expect("a place"),
        }
    }

    fn any_token() -> impl Strategy<Value = Token> {
        (ConcertId::MIN..=ConcertId::MAX, Place::MIN..=Place::MAX)
            .prop_map(|(concert, place)| token(concert, place))
    }

    proptest! {
        #[test]
        fn a_signed_number_comes_back(token in any_token(), position: u64) {
            let text = token.sign(&keys(ONE)).with_position(position);
            prop_assert_eq!(keys(ONE).verify(&text), Ok(token));
            prop_assert_eq!(Token::unverified(&text), Some(token));
            prop_assert_eq!(keys(ONE).verify(&text[..36]), Ok(token));
            prop_assert_eq!(keys(ONE).verify(&text.to_uppercase()), Ok(token));
            let id = token.sign(&keys(ONE)).uuid();
            prop_assert_eq!(id.get_version_num(), 8);
            prop_assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        }

        #[test]
        fn one_flipped_bit_is_refused(token in any_token()) {
            let keys = keys(ONE);
            let id = token.sign(&keys).uuid().as_u128();
            for bit in 0..128 {
                let flipped = Uuid::from_u128(id ^ 1 << bit);
                prop_assert!(keys.verify(&flipped.to_string()).is_err(), "bit {}", bit);
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,80}") {
            prop_assert!(keys(ONE).verify(&text).is_err());
        }

        #[test]
        fn text_like_a_token_of_another_form_is_malformed(
            token in any_token(), at in 0_usize..40, with in "[^0-9a-fA-F]",
        ) {
            let keys = keys(ONE);
            let mut text: Vec<char> = token.sign(&keys).with_position(123).chars().collect();
            prop_assume!(text[at].to_string() != with);
            text[at] = with.chars().next().expect("one character");
            let text: String = text.into_iter().collect();
            prop_assert_eq!(keys.verify(&text), Err(TokenInvalid::Malformed));
        }
    }

    #[test]
    fn a_token_of_another_key_is_forged() {
        let text = token(1, 7).sign(&keys(TWO)).with_position(1);
        assert_eq!(keys(ONE).verify(&text), Err(TokenInvalid::Forged));
    }

    #[test]
    fn keys_rotate_in_two_steps_without_refusing_anybody() {
        let servers =
            [ONE.to_owned(), format!("{ONE},{TWO}"), format!("{TWO},{ONE}")].map(|k| keys(&k));
        for pair in servers.windows(2) {
            for (signer, verifier) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let text = token(3, 99).sign(signer).with_position(5);
                assert_eq!(verifier.verify(&text), Ok(token(3, 99)));
            }
        }
        assert_eq!(token(3, 99).sign(&servers[0]), token(3, 99).sign(&servers[1]));
        assert_ne!(token(3, 99).sign(&servers[1]), token(3, 99).sign(&servers[2]));
    }

    /// Computed apart from this code, with Python's hmac and uuid: the layout is a promise to every
    /// token that is out while servers are replaced.
    #[test]
    fn the_layout_never_changes() {
        let id = token(1, 42).sign(&keys(ONE)).uuid();
        assert_eq!(id.to_string(), "00000400-0000-8000-80aa-af6945fe8ca2");
    }

    #[test]
    fn the_tail_is_checked_for_form_only() {
        let keys = keys(ONE);
        let id = token(1, 42).sign(&keys).uuid().to_string();
        for tail in ["", "_0", "_7", "_00000000000000000001", "_99999999999999999999"] {
            assert_eq!(keys.verify(&format!("{id}{tail}")), Ok(token(1, 42)), "{tail}");
        }
        for tail in ["_", "_-1", "_+1", "_1.0", "_1 ", " ", "_000000000000000000001", "-1", "_1_2"]
        {
            let text = format!("{id}{tail}");
            assert_eq!(keys.verify(&text), Err(TokenInvalid::Malformed), "{tail}");
        }
        let simple = token(1, 42).sign(&keys).uuid().simple().to_string();
        let urn = token(1, 42).sign(&keys).uuid().urn().to_string();
        for text in [simple, urn, format!("{{{id}}}"), "é".repeat(18), "x".repeat(10_000)] {
            assert_eq!(keys.verify(&text), Err(TokenInvalid::Malformed), "{text}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let keys = keys(&format!("{ONE},{TWO}"));
        assert_eq!(format!("{keys:?}"), "TokenKeys(2 keys)");
        assert_eq!(format!("{:?}", token(1, 1).sign(&keys)), "TokenId(..)");
        let fault = TokenKeys::parse(&format!("{ONE},{}", &ONE[..60])).expect_err("60 digits");
        assert!(!format!("{fault} {fault:?}").contains(&ONE[..6]));
    }
}
