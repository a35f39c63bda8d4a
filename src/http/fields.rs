//! Named inputs: what a request may contain, checked in the order that the API promises.
//!
//! A handler's input type lists its fields once ([`FromFields::FIELDS`]); from that list come the
//! strict types, the missing and the unknown field, whether the value came by query or by body.
//! All of these are 400 and precede [`FromFields::from_fields`], where a number meets its range
//! (422). So a request with two faults is always answered by the earlier check.
//!
//! Numbers are never floating point here: digits are read as digits, and a number too long for
//! any type is an integer all the same, outside of every range.

use std::borrow::Cow;

use chrono::NaiveDate;
use uuid::Uuid;

use super::problem::{Code, Problem};
use super::{json, query};
use crate::words::OutOfRange;

/// The most characters of a client's own words that an error answer repeats.
const SHOWN_MAX: usize = 40;

/// The form of one field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Plain decimal digits with an optional minus: no fraction, exponent, sign or leading zero.
    Integer,
    /// A JSON array of integers; in a query, integers separated by commas. At most so many make
    /// sense: the description says it, and whoever makes the input checks it.
    IntegerList(usize),
    /// A day of the calendar as `YYYY-MM-DD`.
    Date,
    /// A UUID in its hyphenated form.
    Uuid,
    /// Any text without NUL.
    Text,
    /// `true` or `false`.
    Boolean,
}

impl Kind {
    /// The form in words: "must be …".
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::IntegerList(_) => "a list of integers",
            Self::Date => "a date as YYYY-MM-DD",
            Self::Uuid => "a UUID",
            Self::Text => "a text",
            Self::Boolean => "true or false",
        }
    }
}

/// One field of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// The name in query and body.
    pub name: &'static str,
    /// The form of its value.
    pub kind: Kind,
    /// Whether a request without it is refused.
    pub required: bool,
    /// Whether `null` in a body means something: the value is to be removed (RFC 7396).
    pub nullable: bool,
}

impl FieldSpec {
    /// A field that every request must have.
    #[must_use]
    pub const fn required(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: true, nullable: false }
    }

    /// A field that may be left out.
    #[must_use]
    pub const fn optional(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: false, nullable: false }
    }

    /// A field that may be left out, or be `null` in a body.
    #[must_use]
    pub const fn nullable(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: false, nullable: true }
    }
}

/// The input of a route that takes none.
#[derive(Debug, Clone, Copy)]
pub struct NoFields;

impl FromFields for NoFields {
    const FIELDS: &'static [FieldSpec] = &[];

    fn from_fields(_: &Fields) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// An input that is made from named fields.
pub trait FromFields: Sized {
    /// The fields that this input knows; any other is refused.
    const FIELDS: &'static [FieldSpec];

    /// Makes the input from fields of the right types, none missing, none unknown.
    ///
    /// # Errors
    ///
    /// 422 `out-of-range` where a number's type refuses it (the getters of [`Fields`] make it),
    /// or 400 for a rule between fields; check such a rule first.
    fn from_fields(fields: &Fields) -> Result<Self, Problem>;
}

/// The input of a route that takes none: every field is unknown.
impl FromFields for () {
    const FIELDS: &'static [FieldSpec] = &[];

    fn from_fields(_: &Fields) -> Result<Self, Problem> {
        Ok(())
    }
}

/// A value of the right form, whatever its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Integer(i128),
    IntegerList(Vec<i128>),
    Date(NaiveDate),
    Uuid(Uuid),
    Text(String),
    Boolean(bool),
    Null,
}

/// The fields of one request, each of its declared kind.
#[derive(Debug)]
pub struct Fields {
    specs: &'static [FieldSpec],
    /// One per entry of `specs`.
    values: Vec<Option<Value>>,
}

impl Fields {
    /// Reads the fields of `T` from a query string and a JSON body, and makes `T` of them.
    ///
    /// An empty body is no body.
    pub(crate) fn read<T: FromFields>(query: Option<&str>, body: &[u8]) -> Result<T, Problem> {
        let query = query.unwrap_or_default();
        if query.is_empty() && body.is_empty() {
            // As of nearly all polls: nothing to read, nothing to merge.
            let fields = Self { specs: T::FIELDS, values: vec![None; T::FIELDS.len()] };
            fields.check_missing(None)?;
            return T::from_fields(&fields);
        }
        let query = query::pairs(query)?;
        let text = json::utf8(body)?;
        let body = if text.is_empty() { Vec::new() } else { json::members(text)? };

        let mut fields = Self { specs: T::FIELDS, values: vec![None; T::FIELDS.len()] };
        let mut unknown = None;
        fields.take(query, query::value, &mut unknown)?;
        let by_query = std::mem::replace(&mut fields.values, vec![None; T::FIELDS.len()]);
        fields.take(body, json::value, &mut unknown)?;
        fields.merge(by_query)?;
        fields.check_missing(unknown.as_deref())?;
        if let Some(name) = unknown {
            return Err(fields.unknown(&name));
        }
        T::from_fields(&fields)
    }

    /// Puts the values of one source in their places; remembers the first unknown name.
    fn take<'a, V>(
        &mut self,
        given: Vec<(Cow<'a, str>, V)>,
        parse: impl Fn(&FieldSpec, V) -> Result<Value, Problem>,
        unknown: &mut Option<Cow<'a, str>>,
    ) -> Result<(), Problem> {
        for (name, value) in given {
            let Some(index) = self.specs.iter().position(|spec| spec.name == name) else {
                unknown.get_or_insert(name);
                continue;
            };
            let spec = &self.specs[index];
            if self.values[index].is_some() {
                return Err(about(spec.name, "is given twice"));
            }
            self.values[index] = Some(parse(spec, value)?);
        }
        Ok(())
    }

    /// Adds what the query said; the same in both places is fine.
    fn merge(&mut self, by_query: Vec<Option<Value>>) -> Result<(), Problem> {
        for ((spec, value), other) in self.specs.iter().zip(&mut self.values).zip(by_query) {
            match (&value, other) {
                (_, None) => {}
                (None, other) => *value = other,
                (Some(value), Some(other)) if *value == other => {}
                (Some(_), Some(_)) => {
                    return Err(Problem::new(Code::AmbiguousInput)
                        .detail(format!("{} differs between query and body", spec.name))
                        .with("field", spec.name));
                }
            }
        }
        Ok(())
    }

    fn check_missing(&self, unknown: Option<&str>) -> Result<(), Problem> {
        let missing = self
            .specs
            .iter()
            .zip(&self.values)
            .find(|(spec, value)| spec.required && value.is_none());
        let Some((spec, _)) = missing else {
            return Ok(());
        };
        let kind = spec.kind.in_words();
        // A misspelt name is both unknown and missing, and the hint is worth more than the rule.
        let hint = unknown.map_or_else(String::new, |name| {
            format!("; {} is not a field of this request", shown(name))
        });
        Err(about(spec.name, &format!("is missing: {kind}{hint}")))
    }

    fn unknown(&self, name: &str) -> Problem {
        let allowed: Vec<_> = self.specs.iter().map(|spec| spec.name).collect();
        let known = match allowed.as_slice() {
            [] => "it takes no fields".to_owned(),
            names => format!("it takes {}", names.join(", ")),
        };
        Problem::bad_request(format!("{} is not a field of this request; {known}", shown(name)))
            .with("field", shown(name))
            .with("allowed", allowed)
    }

    /// A number that must be there, as its own type.
    ///
    /// # Errors
    ///
    /// 422 `out-of-range`; 400 if it is missing although it was not declared required.
    pub fn number<T>(&self, name: &'static str) -> Result<T, Problem>
    where
        T: TryFrom<i128, Error = OutOfRange>,
    {
        self.optional_number(name)?.ok_or_else(|| about(name, "is missing"))
    }

    /// A number that may be left out, as its own type.
    ///
    /// # Errors
    ///
    /// 422 `out-of-range`.
    pub fn optional_number<T>(&self, name: &'static str) -> Result<Option<T>, Problem>
    where
        T: TryFrom<i128, Error = OutOfRange>,
    {
        match self.get(name) {
            Some(Value::Integer(given)) => ranged(name, *given).map(Some),
            _ => Ok(None),
        }
    }

    /// A list of numbers, in the given order, not checked for repetition or length.
    ///
    /// # Errors
    ///
    /// 422 `out-of-range` for the first number that its type refuses.
    pub fn numbers<T>(&self, name: &'static str) -> Result<Option<Vec<T>>, Problem>
    where
        T: TryFrom<i128, Error = OutOfRange>,
    {
        match self.get(name) {
            Some(Value::IntegerList(given)) => {
                given.iter().map(|given| ranged(name, *given)).collect::<Result<_, _>>().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A day.
    #[must_use]
    pub fn date(&self, name: &str) -> Option<NaiveDate> {
        match self.get(name) {
            Some(Value::Date(date)) => Some(*date),
            _ => None,
        }
    }

    /// A UUID.
    #[must_use]
    pub fn uuid(&self, name: &str) -> Option<Uuid> {
        match self.get(name) {
            Some(Value::Uuid(id)) => Some(*id),
            _ => None,
        }
    }

    /// A text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            Some(Value::Boolean(value)) => Some(*value),
            _ => None,
        }
    }

    /// Whether the field is `null`: to be removed.
    #[must_use]
    pub fn is_null(&self, name: &str) -> bool {
        self.get(name) == Some(&Value::Null)
    }

    /// Whether the request has this field.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let index = self.specs.iter().position(|spec| spec.name == name);
        debug_assert!(index.is_some(), "{name} is read but not declared");
        self.values.get(index?)?.as_ref()
    }
}

fn ranged<T>(name: &'static str, given: i128) -> Result<T, Problem>
where
    T: TryFrom<i128, Error = OutOfRange>,
{
    T::try_from(given).map_err(|refusal| Problem::out_of_range(name, &refusal))
}

/// 400 about one field: "userId must be an integer, not a string".
pub(super) fn about(name: &'static str, what: &str) -> Problem {
    Problem::bad_request(format!("{name} {what}")).with("field", name)
}

/// The beginning of a client's own words: enough to find a typing mistake.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    if shown.is_empty() { "a field without a name".to_owned() } else { shown }
}

/// An integer in plain digits; a longer one than `i128` becomes the nearest that fits, which is
/// outside of every range too. `None` for anything else, `-0` and leading zeros included.
pub(super) fn plain_integer(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = match digits.as_bytes() {
        [b'0'] => digits.len() == text.len(),
        [] | [b'0', ..] => false,
        digits => digits.iter().all(u8::is_ascii_digit),
    };
    let beyond = if digits.len() == text.len() { i128::MAX } else { i128::MIN };
    plain.then(|| text.parse().unwrap_or(beyond))
}

/// `true` or `false`, and nothing else that some would take for it.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A day of the calendar in exactly the form `YYYY-MM-DD`.
pub(super) fn strict_date(text: &str) -> Option<NaiveDate> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else {
        return None;
    };
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_u32, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
        })
    };
    let year = i32::try_from(number(&[*y1, *y2, *y3, *y4])?).ok()?;
    NaiveDate::from_ymd_opt(year, number(&[*m1, *m2])?, number(&[*d1, *d2])?)
}

/// A UUID in its hyphenated form only, either case.
pub(super) fn strict_uuid(text: &str) -> Option<Uuid> {
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::parse_str(text).ok())?
}
