//! What a request says, by the rules of the API alone: the other side of every comparison.

use super::plain_json::{Json, parse};

/// One field of every kind, as text where that is all that the rules know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Must be there.
    pub number: Option<i128>,
    pub numbers: Option<Vec<i128>>,
    pub day: Option<String>,
    pub id: Option<String>,
    /// [`REMOVED`] if it is `null`.
    pub text: Option<String>,
    pub flag: Option<bool>,
}

/// What `null` says of the text; no text has a NUL.
pub(super) const REMOVED: &str = "\0";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Bad,
    Ambiguous,
}

/// What query and body say together.
pub(super) fn read(query: &str, body: &[u8]) -> Result<Said, Refused> {
    let by_query = pairs(query).and_then(|pairs| said(&pairs, |name, text| by_query(name, text)));
    let by_body = members(body).and_then(|members| said(&members, by_body));
    let ((query, strange), (body, also_strange)) = by_query.zip(by_body).ok_or(Refused::Bad)?;
    let said = Said {
        number: one(query.number, body.number)?,
        numbers: one(query.numbers, body.numbers)?,
        day: one(query.day, body.day)?,
        id: one(query.id, body.id)?,
        text: one(query.text, body.text)?,
        flag: one(query.flag, body.flag)?,
    };
    if said.number.is_none() || strange || also_strange {
        return Err(Refused::Bad);
    }
    Ok(said)
}

/// What two places say of a field: the same, or only one of them.
fn one<T: PartialEq>(query: Option<T>, body: Option<T>) -> Result<Option<T>, Refused> {
    match (query, body) {
        (Some(query), Some(body)) if query != body => Err(Refused::Ambiguous),
        (query, body) => Ok(query.or(body)),
    }
}

/// A field's name and its value, which may be the wrong one for it.
enum Value {
    Number(i128),
    Numbers(Vec<i128>),
    Day(String),
    Id(String),
    Text(String),
    Flag(bool),
}

/// What one place says, and whether a name is unknown; `None` if it is wrong by itself.
fn said<V>(
    pairs: &[(String, V)],
    value: impl Fn(&str, &V) -> Option<Value>,
) -> Option<(Said, bool)> {
    let (mut said, mut strange) = (Said::default(), false);
    for (name, given) in pairs {
        if !["number", "numbers", "day", "id", "text", "flag"].contains(&name.as_str()) {
            strange = true;
            continue;
        }
        let twice = match value(name, given)? {
            Value::Number(number) => said.number.replace(number).is_some(),
            Value::Numbers(numbers) => said.numbers.replace(numbers).is_some(),
            Value::Day(day) => said.day.replace(day).is_some(),
            Value::Id(id) => said.id.replace(id).is_some(),
            Value::Text(text) => said.text.replace(text).is_some(),
            Value::Flag(flag) => said.flag.replace(flag).is_some(),
        };
        if twice {
            return None;
        }
    }
    Some((said, strange))
}

fn members(body: &[u8]) -> Option<Vec<(String, Json)>> {
    if body.is_empty() {
        return Some(Vec::new());
    }
    match parse(std::str::from_utf8(body).ok()?)? {
        Json::Object(members) => Some(members),
        _ => None,
    }
}

fn by_body(name: &str, given: &Json) -> Option<Value> {
    match (name, given) {
        ("text", Json::Null) => Some(Value::Text(REMOVED.to_owned())),
        ("flag", Json::True) => Some(Value::Flag(true)),
        ("flag", Json::False) => Some(Value::Flag(false)),
        ("number", Json::Number(text)) => integer(text).map(Value::Number),
        ("numbers", Json::List(items)) => {
            let number = |item: &Json| match item {
                Json::Number(text) => integer(text),
                _ => None,
            };
            items.iter().map(number).collect::<Option<_>>().map(Value::Numbers)
        }
        (name, Json::Text(Some(text))) => of_text(name, text),
        _ => None,
    }
}

/// The decoded pairs of a query.
fn pairs(query: &str) -> Option<Vec<(String, String)>> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let at = part.find('=');
        let name = &part[..at.unwrap_or(part.len())];
        let value = at.map_or("", |at| &part[at + 1..]);
        Some((decoded(name)?, decoded(value)?))
    };
    parts.map(pair).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let spaced = |piece: &str| piece.replace('+', " ");
    let mut bytes = spaced(pieces.next()?).into_bytes();
    for piece in pieces {
        let digits =
            piece.get(..2).filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(spaced(&piece[2..]).into_bytes());
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn by_query(name: &str, text: &str) -> Option<Value> {
    match name {
        "number" => integer(text).map(Value::Number),
        "numbers" => text.split(',').map(integer).collect::<Option<_>>().map(Value::Numbers),
        "flag" => {
            ["false", "true"].iter().position(|word| *word == text).map(|n| Value::Flag(n == 1))
        }
        name => of_text(name, text),
    }
}

fn of_text(name: &str, text: &str) -> Option<Value> {
    match name {
        "day" => is_a_day(text).then(|| Value::Day(text.to_owned())),
        "id" => is_an_id(text).then(|| Value::Id(text.to_ascii_lowercase())),
        "text" => (!text.contains('\0')).then(|| Value::Text(text.to_owned())),
        _ => None,
    }
}

/// Digits without a leading zero, perhaps after a minus. What is too long is far outside of every
/// range, on its own side.
fn integer(text: &str) -> Option<i128> {
    if text == "0" {
        return Some(0);
    }
    let (sign, digits) = match text.strip_prefix('-') {
        None => (1, text),
        Some(digits) => (-1, digits),
    };
    if digits.is_empty() || digits.starts_with('0') {
        return None;
    }
    let mut number = 0_i128;
    for digit in digits.bytes() {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number.saturating_mul(10).saturating_add(sign * i128::from(digit - b'0'));
    }
    Some(number)
}

/// `YYYY-MM-DD` in the calendar.
fn is_a_day(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let all_digits = parts.concat().bytes().all(|byte| byte.is_ascii_digit());
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    if !all_digits || lengths != [4, 2, 2] {
        return false;
    }
    let numbers: Vec<u32> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    let [year, month, day] = numbers[..] else { return false };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(is_leap),
        _ => 0,
    };
    (1..=days).contains(&day)
}

fn is_an_id(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let digits = text.replace('-', "");
    lengths == [8, 4, 4, 4, 12] && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}
