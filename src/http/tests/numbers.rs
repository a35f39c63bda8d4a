//! Strict numbers and dates against what the rules say, for any text.

use proptest::prelude::*;
use serde_json::json;

use crate::http::fields::{Fields, FromFields, plain_integer, strict_date};
use crate::http::{FieldSpec, Kind, Problem};
use crate::words::OutOfRange;

/// A field that takes any number, to see which one arrived.
struct Any(i128);

struct AnyNumber(i128);

impl TryFrom<i128> for AnyNumber {
    type Error = OutOfRange;

    fn try_from(given: i128) -> Result<Self, OutOfRange> {
        Ok(Self(given))
    }
}

impl FromFields for Any {
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::required("n", Kind::Integer)];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        fields.number("n").map(|AnyNumber(n)| Self(n))
    }
}

fn by_json(text: &str) -> Option<i128> {
    Fields::read::<Any>(None, format!("{{\"n\":{text}}}").as_bytes()).ok().map(|Any(n)| n)
}

fn by_query(text: &str) -> Option<i128> {
    Fields::read::<Any>(Some(&format!("n={text}")), b"").ok().map(|Any(n)| n)
}

proptest! {
    #[test]
    fn an_integer_arrives_as_it_is(n: i128) {
        prop_assert_eq!(by_json(&n.to_string()), Some(n));
        prop_assert_eq!(by_query(&n.to_string()), Some(n));
    }

    #[test]
    fn any_number_of_digits_is_an_integer(text in "-?[1-9][0-9]{0,200}") {
        let expected = match text.parse() {
            Ok(n) => n,
            Err(_) if text.starts_with('-') => i128::MIN,
            Err(_) => i128::MAX,
        };
        prop_assert_eq!(by_json(&text), Some(expected));
        prop_assert_eq!(by_query(&text), Some(expected));
    }

    #[test]
    fn nothing_else_is_an_integer(text in "[-+ 0-9.eE_]{1,12}") {
        let canonical = text.parse::<i128>().is_ok_and(|n| n.to_string() == text);
        prop_assert_eq!(plain_integer(&text).is_some(), canonical);
        prop_assert_eq!(by_query(&text).is_some(), canonical);
        prop_assert_eq!(by_json(text.trim_matches(' ')).is_some(), {
            let trimmed = text.trim_matches(' ');
            trimmed.parse::<i128>().is_ok_and(|n| n.to_string() == trimmed)
        });
    }

    #[test]
    fn a_float_of_json_is_never_an_integer(n: f64) {
        let text = serde_json::to_string(&n).unwrap();
        prop_assert_eq!(by_json(&text), None);
    }

    #[test]
    fn no_body_and_no_query_panics(body: Vec<u8>, query in ".{0,40}", text in "[\\[{\"\\\\:,n0-9}\\] ]{0,40}") {
        let _ = Fields::read::<Any>(Some(&query), &body);
        let _ = Fields::read::<Any>(None, text.as_bytes());
        let _ = Fields::read::<Any>(None, format!("{{\"n\":{text}}}").as_bytes());
    }

    #[test]
    fn a_text_arrives_as_it_is(text in "[^\\x00]{0,40}") {
        let body = json!({ "text": text }).to_string();
        let Text(given) = Fields::read(None, body.as_bytes()).unwrap();
        prop_assert_eq!(given, text);
    }

    #[test]
    fn only_the_canonical_form_of_a_day_is_a_date(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]") {
        let parsed = strict_date(&text);
        prop_assert_eq!(parsed.map(|date| date.to_string()), parsed.map(|_| text.clone()));
        prop_assert_eq!(parsed, text.parse().ok());
    }

    #[test]
    fn a_date_has_ten_characters(text in "\\PC{0,12}") {
        prop_assume!(text.len() != 10);
        prop_assert_eq!(strict_date(&text), None);
    }
}

#[derive(Debug)]
struct Text(String);

impl FromFields for Text {
    const FIELDS: &'static [FieldSpec] = &[FieldSpec::required("text", Kind::Text)];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        Ok(Self(fields.text("text").unwrap_or_default().to_owned()))
    }
}
