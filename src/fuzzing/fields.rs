//! Bodies and queries: what is read is what they say, by whichever way they say it.

use std::fmt::Write as _;

use super::plain::{self, REMOVED, Refused, Said};
use crate::http::problem::{Code, Problem};
use crate::http::{FieldSpec, Fields, FromFields, Kind};
use crate::ops::controls::ConfigureRequest;
use crate::ops::requests::OneConcert;
use crate::payments::routes::{ChargeRequest, ReservationsRequest, UserRequest};
use crate::queue::routes::{JoinRequest, TokenRequest};
use crate::seats::routes::{DatesRequest, ReleaseRequest, ReserveRequest, SeatsRequest};
use crate::words::OutOfRange;

/// A longer input shows nothing that a shorter one does not.
const INPUT_BYTES_MAX: usize = 4096;

/// The most bytes of an error answer: it never gives much of an input back.
const PROBLEM_BYTES_MAX: usize = 1024;

/// The input as a JSON body.
pub fn json_body(input: &[u8]) {
    if input.len() <= INPUT_BYTES_MAX {
        holds(None, input);
    }
}

/// The input as a query, a line break, and a JSON body.
pub fn query_and_body(input: &[u8]) {
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (query, body) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    if let Ok(query) = std::str::from_utf8(query)
        && input.len() <= INPUT_BYTES_MAX
    {
        holds(Some(query), body);
    }
}

fn holds(query: Option<&str>, body: &[u8]) {
    let read = Fields::read::<Said>(query, body).map_err(|problem| problem.code());
    let expected = plain::read(query.unwrap_or_default(), body).map_err(|refused| match refused {
        Refused::Bad => Code::BadRequest,
        Refused::Ambiguous => Code::AmbiguousInput,
    });
    assert_eq!(read, expected);
    if let Ok(said) = &read {
        comes_back(said);
    }
    is_an_input_or_a_4xx::<JoinRequest>(query, body);
    is_an_input_or_a_4xx::<TokenRequest>(query, body);
    is_an_input_or_a_4xx::<DatesRequest>(query, body);
    is_an_input_or_a_4xx::<SeatsRequest>(query, body);
    is_an_input_or_a_4xx::<ReserveRequest>(query, body);
    is_an_input_or_a_4xx::<ReleaseRequest>(query, body);
    is_an_input_or_a_4xx::<ChargeRequest>(query, body);
    is_an_input_or_a_4xx::<UserRequest>(query, body);
    is_an_input_or_a_4xx::<ReservationsRequest>(query, body);
    is_an_input_or_a_4xx::<ConfigureRequest>(query, body);
    is_an_input_or_a_4xx::<OneConcert>(query, body);
    is_an_input_or_a_4xx::<()>(query, body);
}

/// What was read, written by another hand as query, as body or as both, is read again.
fn comes_back(said: &Said) {
    let (query, body) = (as_query(said), as_body(said));
    let read = |query: &str, body: &str| Fields::read::<Said>(Some(query), body.as_bytes());
    assert_eq!(read("", &body).as_ref(), Ok(said), "{body}");
    if said.numbers != Some(Vec::new()) && said.text.as_deref() != Some(REMOVED) {
        assert_eq!(read(&query, "").as_ref(), Ok(said), "{query}");
    }
    assert_eq!(read(&query, &body).as_ref(), Ok(said), "{query} {body}");
    let number = said.number.map(|number| number ^ 1);
    let other = as_body(&Said { number, ..said.clone() });
    let differs = read(&query, &other).map_err(|problem| problem.code());
    assert_eq!(differs, Err(Code::AmbiguousInput), "{query} {other}");
}

/// Every byte of a value escaped, without what a query cannot say: an empty list, `null`.
fn as_query(said: &Said) -> String {
    let mut query = String::new();
    let mut pair = |name: &str, value: Option<String>| {
        let Some(value) = value else { return };
        let _ = write!(query, "&{name}=");
        for byte in value.bytes() {
            let _ = write!(query, "%{byte:02x}");
        }
    };
    pair("text", said.text.clone().filter(|text| text != REMOVED));
    pair("flag", said.flag.map(|flag| flag.to_string()));
    pair("id", said.id.as_ref().map(|id| id.to_uppercase()));
    pair("day", said.day.clone());
    let listed =
        |numbers: &Vec<i128>| numbers.iter().map(i128::to_string).collect::<Vec<_>>().join(",");
    pair("numbers", said.numbers.as_ref().map(listed).filter(|list| !list.is_empty()));
    pair("number", said.number.map(|number| number.to_string()));
    query
}

/// Every character of a text escaped, and names with one escape.
fn as_body(said: &Said) -> String {
    let text = |text: &String| {
        if text == REMOVED {
            return "null".to_owned();
        }
        let mut escaped = String::from("\"");
        for unit in text.encode_utf16() {
            let _ = write!(escaped, "\\u{unit:04X}");
        }
        escaped + "\""
    };
    let members = [
        ("text", said.text.as_ref().map(text)),
        ("i\\u0064", said.id.as_ref().map(text)),
        ("day", said.day.as_ref().map(text)),
        ("numbers", said.numbers.as_ref().map(|numbers| format!("{numbers:?}"))),
        ("number", said.number.map(|number| number.to_string())),
        ("flag", said.flag.map(|flag| flag.to_string())),
    ];
    let member = |(name, value): (&str, Option<String>)| Some(format!("\"{name}\" :\n{}", value?));
    let members: Vec<_> = members.into_iter().filter_map(member).collect();
    format!("\t{{{}}}\r\n", members.join(" , "))
}

/// What a route makes of the same input: an input of its own, or one of three refusals, in few words.
fn is_an_input_or_a_4xx<T: FromFields>(query: Option<&str>, body: &[u8]) {
    let Err(problem) = Fields::read::<T>(query, body) else { return };
    let told = [Code::BadRequest, Code::AmbiguousInput, Code::OutOfRange];
    assert!(told.contains(&problem.code()), "{problem:?}");
    let bytes = serde_json::to_vec(&problem).map_or(usize::MAX, |text| text.len());
    assert!(bytes <= PROBLEM_BYTES_MAX, "{bytes} bytes: {problem:?}");
}

/// A number as it was read, of whatever size.
struct AnyNumber(i128);

impl TryFrom<i128> for AnyNumber {
    type Error = OutOfRange;

    fn try_from(given: i128) -> Result<Self, OutOfRange> {
        Ok(Self(given))
    }
}

impl FromFields for Said {
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::required("number", Kind::Integer),
        FieldSpec::optional("numbers", Kind::IntegerList(20)),
        FieldSpec::optional("day", Kind::Date),
        FieldSpec::optional("id", Kind::Uuid),
        FieldSpec::nullable("text", Kind::Text),
        FieldSpec::optional("flag", Kind::Boolean),
    ];

    fn from_fields(fields: &Fields) -> Result<Self, Problem> {
        let plain = |AnyNumber(number)| number;
        Ok(Self {
            number: fields.optional_number("number")?.map(plain),
            numbers: fields.numbers("numbers")?.map(|list| list.into_iter().map(plain).collect()),
            day: fields.date("day").map(|day| day.to_string()),
            id: fields.uuid("id").map(|id| id.to_string()),
            text: fields
                .text("text")
                .or(fields.is_null("text").then_some(REMOVED))
                .map(str::to_owned),
            flag: fields.boolean("flag"),
        })
    }
}
