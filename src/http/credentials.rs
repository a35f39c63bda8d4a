//! Header fields that say who asks: the queue token, the access token, the idempotency key.
//!
//! Only found here, never judged: whether a token is genuine is the queue slice's business, so
//! that its 401 comes after the 400 and 422 of the body. [`Secret`] keeps both out of logs.

use std::fmt;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::problem::{Code, Problem};

/// The header field of the queue token.
pub const QUEUE_TOKEN: HeaderName = HeaderName::from_static("queue-token");

/// The header field of the idempotency key.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The most characters of an idempotency key.
pub const IDEMPOTENCY_KEY_LENGTH_MAX: usize = 255;

/// A client's secret as text; prints as `Secret(..)`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'a>(&'a str);

impl<'a> Secret<'a> {
    /// Wraps a secret that came by another way than a header; an empty one is none.
    #[must_use]
    pub fn new(text: &'a str) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// The text itself; it must not reach a log or an answer.
    #[must_use]
    pub const fn expose(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What `Authorization: Bearer` carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearerMeans {
    /// The queue token, as in `trust` mode.
    QueueToken,
    /// The access token that names the user, as in `jwt` mode.
    User,
}

/// The queue token of a request: `Queue-Token`, or the bearer where it means that.
///
/// `None` if there is none or it is empty.
///
/// # Errors
///
/// 400 for a repeated field and 400 `ambiguous-input` for two different tokens; 401
/// `token-invalid` for one that is not text.
pub fn queue_token(
    headers: &HeaderMap,
    bearer_means: BearerMeans,
) -> Result<Option<Secret<'_>>, Problem> {
    let own = match single(headers, &QUEUE_TOKEN)? {
        Some(value) => Secret::new(text_of(value, Code::TokenInvalid)?),
        None => None,
    };
    let bearer = match bearer_means {
        BearerMeans::QueueToken => bearer(headers, Code::TokenInvalid)?,
        BearerMeans::User => None,
    };
    one_token(own, bearer)
}

/// The access token of a request: `Authorization: Bearer`. Other schemes are no token.
///
/// # Errors
///
/// 400 for a repeated field; 401 `unauthenticated` for one that is not text.
pub fn access_token(headers: &HeaderMap) -> Result<Option<Secret<'_>>, Problem> {
    bearer(headers, Code::Unauthenticated)
}

/// The one token that two places give, such as the header and the `token` field.
///
/// # Errors
///
/// 400 `ambiguous-input` if they differ.
pub fn one_token<'a>(
    first: Option<Secret<'a>>,
    second: Option<Secret<'a>>,
) -> Result<Option<Secret<'a>>, Problem> {
    match (first, second) {
        (Some(first), Some(second)) if first != second => Err(Problem::new(Code::AmbiguousInput)
            .detail("two different queue tokens are given")
            .with("field", "token")),
        (first, second) => Ok(first.or(second)),
    }
}

fn bearer(headers: &HeaderMap, if_not_text: Code) -> Result<Option<Secret<'_>>, Problem> {
    let Some(value) = single(headers, &AUTHORIZATION)? else {
        return Ok(None);
    };
    let text = text_of(value, if_not_text)?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Secret::new(token.trim()))
        }
        _ => Ok(None),
    }
}

/// The value of a field that may stand once; twice is 400, because one of them would be ignored.
fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Problem::bad_request(format!("the header {name} is given twice"))
            .with("field", name.as_str())),
    }
}

fn text_of(value: &HeaderValue, if_not: Code) -> Result<&str, Problem> {
    value.to_str().map_err(|_| Problem::new(if_not))
}

/// A client's own name for one charge or payment: 1 to 255 visible ASCII characters.
///
/// As an extractor it is optional: `key: Option<IdempotencyKey>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key of a request, if it has one.
    ///
    /// # Errors
    ///
    /// 400 if it is repeated, empty, too long, or holds anything but visible ASCII characters.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(value) = single(headers, &IDEMPOTENCY_KEY)? else {
            return Ok(None);
        };
        let visible = (1..=IDEMPOTENCY_KEY_LENGTH_MAX).contains(&value.len())
            && value.as_bytes().iter().all(u8::is_ascii_graphic);
        match value.to_str() {
            Ok(key) if visible => Ok(Some(Self(key.to_owned()))),
            _ => Err(Problem::bad_request(format!(
                "Idempotency-Key must be 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} visible ASCII characters"
            ))
            .with("field", IDEMPOTENCY_KEY.as_str())),
        }
    }

    /// The key as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Problem> {
        Self::from_headers(&parts.headers)
    }
}

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::from_headers(&parts.headers)?
            .ok_or_else(|| Problem::bad_request("the header Idempotency-Key is missing"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(HeaderName, &[u8])]) -> HeaderMap {
        let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).unwrap();
        fields.iter().map(|(name, bytes)| (name.clone(), value(bytes))).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        )
    }

    fn found(fields: &[(HeaderName, &[u8])], means: BearerMeans) -> Result<Option<String>, Code> {
        match queue_token(&headers(fields), means) {
            Ok(token) => Ok(token.map(|token| token.expose().to_owned())),
            Err(problem) => Err(problem.code()),
        }
    }

    #[test]
    fn the_token_comes_by_its_own_header_or_in_trust_mode_as_bearer() {
        let (trust, jwt) = (BearerMeans::QueueToken, BearerMeans::User);
        let a = || Ok(Some("a".to_owned()));
        assert_eq!(found(&[], trust), Ok(None));
        assert_eq!(found(&[(QUEUE_TOKEN, b"")], trust), Ok(None));
        assert_eq!(found(&[(QUEUE_TOKEN, b"a")], jwt), a());
        assert_eq!(found(&[(AUTHORIZATION, b"bearer  a")], trust), a());
        assert_eq!(found(&[(AUTHORIZATION, b"Bearer a")], jwt), Ok(None));
        assert_eq!(found(&[(AUTHORIZATION, b"Basic a")], trust), Ok(None));
        assert_eq!(found(&[(QUEUE_TOKEN, b"a"), (AUTHORIZATION, b"Bearer a")], trust), a());
        let differ: &[(HeaderName, &[u8])] = &[(QUEUE_TOKEN, b"a"), (AUTHORIZATION, b"Bearer b")];
        assert_eq!(found(differ, trust), Err(Code::AmbiguousInput));
        assert_eq!(found(differ, jwt), a());
    }

    #[test]
    fn a_repeated_token_is_400_and_a_binary_one_401() {
        let trust = BearerMeans::QueueToken;
        let twice: &[(HeaderName, &[u8])] = &[(QUEUE_TOKEN, b"a"), (QUEUE_TOKEN, b"a")];
        assert_eq!(found(twice, trust), Err(Code::BadRequest));
        assert_eq!(found(&[(QUEUE_TOKEN, b"\xff")], trust), Err(Code::TokenInvalid));
        assert_eq!(found(&[(AUTHORIZATION, b"Bearer \xff")], trust), Err(Code::TokenInvalid));
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Some(Secret(..))");
    }

    #[test]
    fn an_idempotency_key_is_1_to_255_visible_characters_once() {
        let read = |fields: &[(HeaderName, &[u8])]| IdempotencyKey::from_headers(&headers(fields));
        assert_eq!(read(&[]), Ok(None));
        for good in [b"k".as_slice(), &[b'~'; 255], b"\"quoted\""] {
            let key = read(&[(IDEMPOTENCY_KEY, good)]).unwrap().unwrap();
            assert_eq!(key.as_str().as_bytes(), good);
        }
        for bad in [b"".as_slice(), &[b'a'; 256], b"a b", b"a\tb", "ü".as_bytes()] {
            let refusal = read(&[(IDEMPOTENCY_KEY, bad)]).unwrap_err();
            assert_eq!(refusal.code(), Code::BadRequest);
        }
        assert!(read(&[(IDEMPOTENCY_KEY, b"a"), (IDEMPOTENCY_KEY, b"a")]).is_err());
    }
}
