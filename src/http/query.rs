//! The query string: strict percent-decoding, and values in the same forms as in a body.

use std::borrow::Cow;

use super::fields::{
    FieldSpec, Kind, Value, about, boolean, plain_integer, strict_date, strict_uuid,
};
use super::problem::Problem;

/// A decoded name and its decoded value.
type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The decoded pairs of a query string, in their order, repetitions included.
///
/// An empty pair (`a=1&&b=2`) says nothing and is skipped; a name without `=` has an empty value.
pub(super) fn pairs(query: &str) -> Result<Vec<Pair<'_>>, Problem> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// One value in the form that its field has.
// The signature is that of json::value, whose raw value is borrowed.
pub(super) fn value(spec: &FieldSpec, text: Cow<'_, str>) -> Result<Value, Problem> {
    let value = match spec.kind {
        Kind::Integer => plain_integer(&text).map(Value::Integer),
        Kind::IntegerList(_) => {
            text.split(',').map(plain_integer).collect::<Option<_>>().map(Value::IntegerList)
        }
        Kind::Date => strict_date(&text).map(Value::Date),
        Kind::Uuid => strict_uuid(&text).map(Value::Uuid),
        Kind::Boolean => boolean(&text).map(Value::Boolean),
        Kind::Text => Some(Value::Text(text.into_owned())),
    };
    value.ok_or_else(|| match spec.kind {
        Kind::Integer => about(spec.name, "must be an integer in plain digits"),
        Kind::IntegerList(_) => about(spec.name, "must be integers separated by commas"),
        kind => about(spec.name, &format!("must be {}", kind.in_words())),
    })
}

/// Undoes `%XX` and `+`. A `%` without two hex digits, NUL and anything but UTF-8 are refused.
fn decoded(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.contains(['%', '+', '\0']) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => {
                    return Err(Problem::bad_request("the query has a % without two hex digits"));
                }
            },
            b'+' => b' ',
            byte => byte,
        });
    }
    if bytes.contains(&0) {
        return Err(Problem::bad_request("the query contains NUL"));
    }
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| Problem::bad_request("the query is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
