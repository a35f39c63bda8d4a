//! Reading and making the text of token keys. Nothing here ever repeats a part of a secret.

use rand::RngCore;

/// The bytes of one key.
pub(super) const KEY_BYTES: usize = 32;

/// 32 bytes as base64 without padding; the last character carries two bits too many.
const BASE64_CHARS: usize = 43;

/// What is wrong with the text of the token keys. It names keys by number, never by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenKeyFault {
    /// Key number `number` is no 32 bytes.
    #[error("key {number} must be 32 bytes, written as 64 hex digits or as base64")]
    Malformed {
        /// Counted from 1.
        number: usize,
    },
    /// The same key stands there twice.
    #[error("key {number} stands there twice")]
    Repeated {
        /// The second one, counted from 1.
        number: usize,
    },
    /// More keys than a rotation needs.
    #[error("there may be at most {max} keys")]
    TooMany {
        /// The most.
        max: usize,
    },
}

type Key = [u8; KEY_BYTES];

/// The first key and the others.
pub(super) fn parse(text: &str, keys_max: usize) -> Result<(Key, Vec<Key>), TokenKeyFault> {
    let mut keys: Vec<Key> = Vec::new();
    for (index, part) in text.split(',').enumerate() {
        let number = index + 1;
        if number > keys_max {
            return Err(TokenKeyFault::TooMany { max: keys_max });
        }
        // A key from a file ends with a line break.
        let key = decode(part.trim()).ok_or(TokenKeyFault::Malformed { number })?;
        if keys.contains(&key) {
            return Err(TokenKeyFault::Repeated { number });
        }
        keys.push(key);
    }
    let mut keys = keys.into_iter();
    let first = keys.next().ok_or(TokenKeyFault::Malformed { number: 1 })?;
    Ok((first, keys.collect()))
}

/// A random key as hex text.
pub(super) fn generate() -> String {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

fn decode(text: &str) -> Option<Key> {
    if text.len() == 2 * KEY_BYTES {
        return bytes_of(text.bytes(), hex_digit, 4);
    }
    let text = text.strip_suffix('=').unwrap_or(text);
    (text.len() == BASE64_CHARS).then(|| bytes_of(text.bytes(), base64_digit, 6)).flatten()
}

/// Packs digits of `width` bits; bits left over at the end must be zero.
fn bytes_of(
    text: impl Iterator<Item = u8>,
    digit: fn(u8) -> Option<u8>,
    width: u32,
) -> Option<Key> {
    let mut key = [0; KEY_BYTES];
    let mut bytes = key.iter_mut();
    let (mut bits, mut count) = (0_u16, 0_u32);
    for character in text {
        bits = bits << width | u16::from(digit(character)?);
        count += width;
        if count >= 8 {
            count -= 8;
            let [_, low] = (bits >> count).to_be_bytes();
            *bytes.next()? = low;
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0 && bytes.next().is_none()).then_some(key)
}

fn hex_digit(character: u8) -> Option<u8> {
    let value = char::from(character).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Both alphabets: `+/` and the URL-safe `-_`.
fn base64_digit(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=";

    fn counting() -> Key {
        let mut key = [0; KEY_BYTES];
        for (value, byte) in (0..).zip(&mut key) {
            *byte = value;
        }
        key[31] = 0xff;
        key
    }

    #[test]
    fn a_key_is_hex_or_either_base64_with_or_without_padding() {
        for text in [HEX, &HEX.to_uppercase(), BASE64, BASE64.trim_end_matches('=')] {
            assert_eq!(parse(text, 8), Ok((counting(), Vec::new())), "{text}");
        }
        let standard = "+/".repeat(21) + "8=";
        let url_safe = "-_".repeat(21) + "8";
        assert_eq!(parse(&standard, 8), parse(&url_safe, 8));
        assert!(parse(&standard, 8).is_ok());
    }

    #[test]
    fn several_keys_keep_their_order() {
        let (first, others) = parse(&format!(" {HEX} ,\n{}\n", "ab".repeat(32)), 8).expect("two");
        assert_eq!((first, others), (counting(), vec![[0xab; 32]]));
    }

    #[test]
    fn a_fault_names_the_key_by_its_number() {
        let malformed = |number| Err(TokenKeyFault::Malformed { number });
        for text in ["", " ", &HEX[1..], &format!("{HEX}0"), "x", &BASE64[1..], "é"] {
            assert_eq!(parse(text, 8), malformed(1), "{text}");
        }
        // 43 characters are 258 bits: the last two must be zero, or two texts would be one key.
        assert_eq!(parse(&("A".repeat(42) + "B"), 8), malformed(1));
        assert_eq!(parse(&("!".repeat(43)), 8), malformed(1));
        assert_eq!(parse(&("g".repeat(64)), 8), malformed(1));
        assert_eq!(parse(&format!("{HEX},"), 8), malformed(2));
        let twice = parse(&format!("{HEX},{BASE64}"), 8);
        assert_eq!(twice, Err(TokenKeyFault::Repeated { number: 2 }));
        let many: Vec<String> = (10..19).map(|key| key.to_string().repeat(32)).collect();
        assert_eq!(parse(&many.join(","), 8), Err(TokenKeyFault::TooMany { max: 8 }));
        assert!(parse(&many[..8].join(","), 8).is_ok());
    }

    #[test]
    fn generated_keys_are_fresh_hex() {
        let (one, two) = (generate(), generate());
        assert_ne!(one, two);
        assert_eq!(one.len(), 64);
        assert!(parse(&one, 8).is_ok());
    }
}
