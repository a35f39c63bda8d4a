//! Error answers: RFC 9457 problem details.
//!
//! Which error type belongs where:
//!
//! * [`Code`] is the closed list of what can go wrong, as clients see it.
//! * [`Problem`] is one error *answer*: a code, a sentence, and what the client needs to act. It
//!   holds nothing that a client may not read. The extractors of this module reject with it, and a
//!   `FromFields` may refuse with it; deeper code never makes one.
//! * An enum per slice (`SeatError`, with `thiserror`) is one *failure*. Its `Display` is written
//!   for the client, its `source` for the log. One exhaustive `From<&SeatError> for Problem`
//!   decides code and members, and its `IntoResponse` calls [`respond`].
//! * [`crate::words::OutOfRange`] is a number that its type refuses; at the edge, where the name of
//!   the field is known, [`Problem::out_of_range`] makes the answer.
//! * `anyhow::Error` is for `main`, jobs and tests, never for an answer.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::Value;

pub use super::code::Code;
use super::context;
use crate::words::OutOfRange;

/// The media type of every error answer.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// `Retry-After` of an answer that must have one and was given none, in seconds.
const RETRY_AFTER_DEFAULT_SECONDS: u32 = 1;

/// Members that every problem has; [`Problem::with`] cannot replace them.
const RESERVED: [&str; 6] = ["type", "title", "status", "detail", "code", "requestId"];

/// One error answer.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a problem is an answer: return it"]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    members: Vec<(&'static str, Value)>,
    retry_after_seconds: Option<u32>,
    /// For the log alone: the failure behind this answer.
    cause: Option<String>,
}

impl Problem {
    /// A problem whose `detail` is the code's title until [`Problem::detail`] says more.
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.title()),
            members: Vec::new(),
            retry_after_seconds: None,
            cause: None,
        }
    }

    /// 400 `bad-request` with a sentence.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadRequest).detail(detail)
    }

    /// 422 `out-of-range`: `field` holds a number that its meaning does not allow.
    pub fn out_of_range(field: &'static str, refusal: &OutOfRange) -> Self {
        let OutOfRange { what, min, max, given } = refusal;
        // Longer numbers are cut to these two when they are read, so they are not worth showing.
        let detail = match *given {
            i128::MAX => format!("{field}: {what} must be {min} to {max}, and this is far more"),
            i128::MIN => format!("{field}: {what} must be {min} to {max}, and this is far less"),
            _ => format!("{field}: {refusal}"),
        };
        Self::new(Code::OutOfRange)
            .detail(detail)
            .with("field", field)
            .with("min", min)
            .with("max", max)
    }

    /// Says for people what happened in this case.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds a member that the client needs to act: `with("seatNumber", seat)`.
    ///
    /// The six standard members cannot be replaced: such a call changes nothing. Neither does one
    /// whose value has no JSON form.
    pub fn with(mut self, member: &'static str, value: impl Serialize) -> Self {
        if RESERVED.contains(&member) {
            return self;
        }
        if let Ok(value) = serde_json::to_value(value) {
            self.members.retain(|(name, _)| *name != member);
            self.members.push((member, value));
        }
        self
    }

    /// When to try again; rounded up to whole seconds, at least one.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.retry_after_seconds = Some(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
        self
    }

    /// Remembers the failure behind this answer for the log; the client reads nothing of it.
    pub fn caused_by(mut self, error: &dyn Error) -> Self {
        self.cause = Some(error_chain(error));
        self
    }

    /// The code, which decides the status.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The `Retry-After` of this answer in seconds: 503, 429 and `still-waiting` always have one.
    fn retry_after_seconds(&self) -> Option<u32> {
        let needed = self.code == Code::StillWaiting
            || matches!(
                self.code.status(),
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
            );
        self.retry_after_seconds.or(needed.then_some(RETRY_AFTER_DEFAULT_SECONDS))
    }

    /// The members as JSON, with the id of the request at hand.
    pub(super) fn body(&self) -> Vec<u8> {
        // Members are `Value`s and strings already, so this cannot fail; if it did, the status
        // and the code's name would still be told.
        serde_json::to_vec(self).unwrap_or_else(|_| self.code.as_str().into())
    }

    /// The header fields of this answer.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.code {
            Code::Unauthenticated => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Code::TokenMissing | Code::TokenInvalid | Code::TokenExpired => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Queue-Token"));
            }
            // The rest of the body may still be on its way and is not worth waiting for.
            Code::PayloadTooLarge | Code::RequestTimeout => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        headers
    }
}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", self.code.type_uri())?;
        map.serialize_entry("title", self.code.title())?;
        map.serialize_entry("status", &self.code.status().as_u16())?;
        map.serialize_entry("detail", &self.detail)?;
        map.serialize_entry("code", self.code.as_str())?;
        if let Some(id) = context::request_id() {
            map.serialize_entry("requestId", id.as_str())?;
        }
        for (name, value) in &self.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let failure = FailureCause { code: self.code, chain: self.cause.take() };
        let mut response = (self.code.status(), self.headers(), self.body()).into_response();
        response.extensions_mut().insert(failure);
        response
    }
}

/// What the one log line of a failed request says beside its status: a response extension.
#[derive(Debug, Clone)]
pub struct FailureCause {
    /// The code that the client was told.
    pub code: Code,
    /// The failure and its sources, outermost first; `None` if there is nothing to add to `code`.
    pub chain: Option<String>,
}

/// Answers `problem` because of `error`.
///
/// Nothing is logged here. The failure, with its chain of sources, travels as a response
/// extension, and [`crate::http::front`] puts it into the one line that it writes per request.
pub fn respond(problem: Problem, error: &dyn Error) -> Response {
    let worth_telling = problem.code.status().is_server_error() || error.source().is_some();
    // A cause that somebody nearer to the failure remembered says more than this error.
    if worth_telling && problem.cause.is_none() {
        problem.caused_by(error).into_response()
    } else {
        problem.into_response()
    }
}

/// The error and all its sources in one line, outermost first.
fn error_chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Writing to a String cannot fail.
        let _ = write!(chain, ": {error}");
        source = error.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

    async fn read(response: Response) -> (StatusCode, HeaderMap, Value) {
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (head.status, head.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_carries_its_members_and_what_the_client_needs() {
        let problem = Problem::new(Code::SeatTaken)
            .detail("seat 12 is no longer free")
            .with("seatNumber", 11)
            .with("seatNumber", 12)
            .with("status", "mine");
        let (status, headers, body) = read(problem.into_response()).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            body,
            json!({
                "type": "/problems/seat-taken", "title": "Somebody else holds the seat",
                "status": 409, "detail": "seat 12 is no longer free", "code": "seat-taken",
                "seatNumber": 12
            })
        );
    }

    #[tokio::test]
    async fn every_503_429_and_still_waiting_says_when_to_try_again() {
        for &code in Code::ALL {
            let (status, headers, body) = read(Problem::new(code).into_response()).await;
            assert_eq!(status.as_u16(), body["status"]);
            let needed = code == Code::StillWaiting || [503, 429].contains(&status.as_u16());
            assert_eq!(headers.contains_key(RETRY_AFTER), needed, "{code:?}");
        }
        let late = Problem::new(Code::Overloaded).retry_after(Duration::from_millis(2_001));
        assert_eq!(late.into_response().headers()[RETRY_AFTER], "3");
        let now = Problem::new(Code::Overloaded).retry_after(Duration::ZERO);
        assert_eq!(now.into_response().headers()[RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn the_sources_of_a_failure_go_to_the_log_and_not_to_the_client() {
        #[derive(Debug, thiserror::Error)]
        #[error("seats cannot be held right now")]
        struct Outer(#[from] std::io::Error);

        let error = Outer(std::io::Error::other("password=hunter2"));
        let problem = Problem::new(Code::RedisUnavailable).detail(error.to_string());
        let response = respond(problem, &error);
        let cause = response.extensions().get::<FailureCause>().unwrap().clone();
        assert_eq!(cause.code, Code::RedisUnavailable);
        assert_eq!(
            cause.chain.as_deref(),
            Some("seats cannot be held right now: password=hunter2")
        );
        let (_, _, body) = read(response).await;
        assert!(!body.to_string().contains("hunter2"));
    }

    #[test]
    fn a_number_too_long_to_show_is_not_shown() {
        let refusal = OutOfRange { what: "a user id", min: 1, max: 9, given: i128::MAX };
        let problem = Problem::out_of_range("userId", &refusal);
        assert_eq!(problem.detail, "userId: a user id must be 1 to 9, and this is far more");
    }
}
