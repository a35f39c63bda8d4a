//! The JSON body: one object, whose values keep their own text until their type is known.
//!
//! `serde_json` alone would read a struct from an array, take the last of two equal keys and turn
//! `1.0` or `1e3` into numbers. Values stay [`RawValue`]s, so nothing is rounded, and skipping
//! them needs no stack however deep they nest.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{
    FieldSpec, Kind, Value, about, boolean, plain_integer, strict_date, strict_uuid,
};
use super::problem::Problem;

/// A body as text.
pub(super) fn utf8(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|error| {
        let position = error.valid_up_to();
        Problem::bad_request(format!("the body is not UTF-8: see byte {position}"))
    })
}

/// The members of the one object that `text` is, in their order, repetitions included.
pub(super) fn members(text: &str) -> Result<Vec<(Cow<'_, str>, &RawValue)>, Problem> {
    let start = text.trim_start_matches([' ', '\t', '\r', '\n']);
    if start.starts_with('\u{feff}') {
        return Err(Problem::bad_request("the body begins with a byte order mark"));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed = if start.starts_with('{') {
        deserializer.deserialize_map(Members).map_err(|error| not_json(&error))?
    } else {
        // Whether it is JSON at all decides what to say.
        <&RawValue>::deserialize(&mut deserializer).map_err(|error| not_json(&error))?;
        let found = described(start);
        return Err(Problem::bad_request(format!("a JSON object is expected, not {found}")));
    };
    deserializer.end().map_err(|error| not_json(&error))?;
    Ok(parsed)
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("the body is not valid JSON: {error}"))
}

/// One value in the form that its field has.
pub(super) fn value(spec: &FieldSpec, raw: &RawValue) -> Result<Value, Problem> {
    let text = raw.get();
    let wrong = || {
        let (expected, found) = (spec.kind.in_words(), described(text));
        match (spec.kind, text.as_bytes().first()) {
            (Kind::Integer, Some(b'-' | b'0'..=b'9')) => {
                about(spec.name, "must be an integer in plain digits, without fraction or exponent")
            }
            (Kind::IntegerList(_), Some(b'[')) => {
                about(spec.name, "must hold integers in plain digits only")
            }
            (Kind::Date | Kind::Uuid, Some(b'"')) => {
                about(spec.name, &format!("must be {expected}"))
            }
            (_, Some(b'n')) => {
                about(spec.name, &format!("must be {expected} or left out, not {found}"))
            }
            _ => about(spec.name, &format!("must be {expected}, not {found}")),
        }
    };
    match spec.kind {
        _ if spec.nullable && text == "null" => Ok(Value::Null),
        Kind::Boolean => boolean(text).map(Value::Boolean).ok_or_else(wrong),
        Kind::Integer => plain_integer(text).map(Value::Integer).ok_or_else(wrong),
        Kind::IntegerList(_) => integers(text).map(Value::IntegerList).ok_or_else(wrong),
        _ if !text.starts_with('"') => Err(wrong()),
        kind => {
            let text: String = serde_json::from_str(text).map_err(|error| not_json(&error))?;
            match kind {
                Kind::Date => strict_date(&text).map(Value::Date).ok_or_else(wrong),
                Kind::Uuid => strict_uuid(&text).map(Value::Uuid).ok_or_else(wrong),
                _ if text.contains('\0') => Err(about(spec.name, "must not contain NUL")),
                _ => Ok(Value::Text(text)),
            }
        }
    }
}

fn integers(text: &str) -> Option<Vec<i128>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    items.into_iter().map(|item| plain_integer(item.get())).collect()
}

/// The kind of a JSON value, told by its first character.
fn described(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// A member's name, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Collects an object's members; the fields, not the parser, judge repetitions.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
            members.push((name, value));
        }
        Ok(members)
    }
}
