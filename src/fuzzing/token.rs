//! Tokens: whatever text comes in, and whatever number was signed.

use std::sync::LazyLock;

use crate::queue::{Token, TokenInvalid, TokenKeys};
use crate::words::{ConcertId, Place};

const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const TWO: &str = "//////////////////////////////////////////8=";

/// As a server has them in the middle of a rotation: each of the two once as the first.
static KEYS: LazyLock<Option<[TokenKeys; 2]>> = LazyLock::new(|| {
    let parsed = |text: String| TokenKeys::parse(&text).ok();
    Some([parsed(format!("{ONE},{TWO}"))?, parsed(format!("{TWO},{ONE}"))?])
});

/// The input as the text of a token, and as a number, a key and a mask over the signed bits.
///
/// A text that verifies is what signing its number writes; one that does not is told to be malformed
/// exactly if it has not the form. A signed number comes back, and with any bit changed it does not.
pub fn token(input: &[u8]) {
    let Some(keys) = KEYS.as_ref() else {
        unreachable!("the keys of this file are keys");
    };
    if let Ok(text) = std::str::from_utf8(input) {
        a_text(keys, text);
    }
    if let Some(number) = Number::read(input) {
        number.comes_back(keys);
    }
}

fn a_text([keys, other_first]: &[TokenKeys; 2], text: &str) {
    let read = keys.verify(text);
    assert_eq!(read, other_first.verify(text), "which key is first decides nothing");
    let has_the_form = has_the_form(text);
    match read {
        Err(TokenInvalid::Malformed) => assert!(!has_the_form, "{text} has the form"),
        Err(TokenInvalid::Forged) => assert!(has_the_form, "{text} has not the form"),
        Ok(token) => {
            assert!(has_the_form, "{text} has not the form");
            let written = [keys, other_first].map(|keys| token.sign(keys).uuid().to_string());
            let id = text.split('_').next().unwrap_or_default().to_ascii_lowercase();
            assert!(written.contains(&id), "{token:?} is written {written:?}, not {text}");
        }
    }
}

/// `<8>-<4>-<4>-<4>-<12>` hex digits, of version 8 and the RFC's variant, and perhaps a `_` and 1 to
/// 20 digits.
fn has_the_form(text: &str) -> bool {
    let (id, position) = match text.split_once('_') {
        None => (text, "0"),
        Some(parts) => parts,
    };
    let groups: Vec<&str> = id.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && groups.concat().bytes().all(|byte| byte.is_ascii_hexdigit())
        && groups[2].starts_with('8')
        && groups[3].starts_with(['8', '9', 'a', 'b', 'A', 'B'])
        && (1..=20).contains(&position.len())
        && position.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is signed, and what happens to it on its way back.
struct Number {
    token: Token,
    position: u64,
    first_key: bool,
    upper_case: bool,
    mask: u128,
}

impl Number {
    /// 4 bytes concert, 8 place, 8 position, 1 of two flags, 16 mask; what is missing is 0.
    fn read(input: &[u8]) -> Option<Self> {
        let mut bytes = input.iter().copied().chain(std::iter::repeat(0));
        let mut number = |length: usize| {
            bytes.by_ref().take(length).fold(0_u128, |number, byte| number << 8 | u128::from(byte))
        };
        let within = |number: u128, max: u64| i128::try_from(number % u128::from(max) + 1).ok();
        let concert = ConcertId::try_from(within(number(4), ConcertId::MAX.into())?).ok()?;
        let place = Place::try_from(within(number(8), Place::MAX)?).ok()?;
        let position = u64::try_from(number(8)).ok()?;
        let flags = number(1);
        let (first_key, upper_case) = (flags & 1 == 0, flags & 2 == 0);
        let token = Token { concert, place };
        Some(Self { token, position, first_key, upper_case, mask: number(16) })
    }

    fn comes_back(&self, [first, second]: &[TokenKeys; 2]) {
        let signed = self.token.sign(if self.first_key { first } else { second });
        let written = signed.with_position(self.position);
        let cased = if self.upper_case { written.to_uppercase() } else { written };
        assert_eq!(first.verify(&cased), Ok(self.token), "{cased}");
        assert_eq!(second.verify(cased.split('_').next().unwrap_or_default()), Ok(self.token));
        if self.mask != 0 {
            let changed = uuid::Uuid::from_u128(signed.uuid().as_u128() ^ self.mask);
            assert!(first.verify(&changed.to_string()).is_err(), "{cased} became {changed}");
        }
    }
}
