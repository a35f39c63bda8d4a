//! What belongs to the request at hand and is needed in odd places: its id, its input limits, and
//! where it is counted.
//!
//! [`crate::http::front`] sets it around every handler as a task local, which costs no
//! allocation and no argument in every signature. A task that a handler spawns does not inherit
//! it: take [`request_id`] before spawning if the task logs.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use super::config::HttpConfig;
use super::problem::Problem;
use super::room::Place;
use super::streams::Opening;

/// The header that carries the request id, in and out.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
pub const REQUEST_ID_LENGTH_MAX: usize = 64;

tokio::task_local! {
    static CONTEXT: RequestContext;
}

/// The name of one request in answers and log lines.
///
/// A client may choose it, so it identifies nothing that must be unique: money statements make
/// ids of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    // In place: an id is needed several times per request and never worth an allocation.
    text: [u8; REQUEST_ID_LENGTH_MAX],
    length: usize,
}

impl RequestId {
    /// The client's `X-Request-Id` if there is exactly one, of 1 to 64 characters of
    /// `A-Z a-z 0-9 . _ -`; else a fresh UUIDv7.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (Some(id), None) if is_plain(id.as_bytes()) => Self::of(id.as_bytes()),
            _ => Self::fresh(),
        }
    }

    /// A new id. Its order is that of the server's clock, which only people rely on.
    #[must_use]
    pub fn fresh() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        // Not Uuid::now_v7: it asks the kernel for random bytes at every call.
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid();
        Self::of(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes())
    }

    /// Plain characters, at most as many as an id may have.
    fn of(plain: &[u8]) -> Self {
        let mut text = [0; REQUEST_ID_LENGTH_MAX];
        text[..plain.len()].copy_from_slice(plain);
        Self { text, length: plain.len() }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..self.length]).unwrap_or("unknown")
    }

    /// The id as the value of `X-Request-Id`.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text[..self.length])
            .unwrap_or(HeaderValue::from_static("unknown"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Only characters that need no escaping in JSON, in a log line or in a shell.
fn is_plain(id: &[u8]) -> bool {
    (1..=REQUEST_ID_LENGTH_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// What [`crate::http::front`] knows about the request at hand.
#[derive(Debug, Clone)]
pub(super) struct RequestContext {
    pub id: RequestId,
    pub limits: BodyLimits,
    /// Where it is counted as in work; none if it is not.
    pub place: Option<Place>,
    /// Whether, and as whose, the answer may be a stream.
    pub opening: Option<Opening>,
}

/// How much body a request may have, and how long it may take to arrive.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub bytes_max: usize,
    pub timeout: std::time::Duration,
}

impl From<&HttpConfig> for BodyLimits {
    fn from(config: &HttpConfig) -> Self {
        Self { bytes_max: config.body_bytes_max, timeout: config.body_timeout }
    }
}

/// The id of the request that this code runs for; `None` outside of a request.
#[must_use]
pub fn request_id() -> Option<RequestId> {
    CONTEXT.try_with(|context| context.id).ok()
}

/// The limits for the body at hand; the defaults outside of a request.
pub(super) fn body_limits() -> BodyLimits {
    CONTEXT
        .try_with(|context| context.limits)
        .unwrap_or_else(|_| BodyLimits::from(&HttpConfig::default()))
}

/// The right of the request at hand to be answered by a stream.
pub(super) fn opening() -> Option<Opening> {
    CONTEXT.try_with(|context| context.opening.clone()).ok().flatten()
}

/// Waits for the client, during which the request at hand is not in work.
///
/// # Errors
///
/// 503 if too many requests are in work afterwards.
pub(super) async fn waiting_for_client<F: Future>(client: F) -> Result<F::Output, Problem> {
    match CONTEXT.try_with(|context| context.place.clone()) {
        Ok(Some((room, priority))) => room.step_out(priority, client).await,
        _ => Ok(client.await),
    }
}

/// Runs `inner` as the handling of one request.
pub(super) fn scope<F: Future>(
    context: RequestContext,
    inner: F,
) -> impl Future<Output = F::Output> {
    CONTEXT.scope(context, inner)
}

/// Runs `inner` under a request id without being inside a request.
pub(super) fn with_id<R>(id: RequestId, inner: impl FnOnce() -> R) -> R {
    let limits = BodyLimits::from(&HttpConfig::default());
    let context = RequestContext { id, limits, place: None, opening: None };
    CONTEXT.sync_scope(context, inner)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("abc-1.2_X")]
    #[case("a")]
    fn a_plain_id_of_the_client_is_kept(#[case] given: &'static str) {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_static(given));
        assert_eq!(RequestId::from_headers(&headers).as_str(), given);
    }

    #[rstest]
    #[case("")]
    #[case("with space")]
    #[case("quote\"")]
    #[case("0123456789012345678901234567890123456789012345678901234567890123x")]
    fn any_other_id_is_replaced_by_a_fresh_uuid(#[case] given: &'static str) {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_static(given));
        let id = RequestId::from_headers(&headers);
        assert_eq!(Uuid::parse_str(id.as_str()).map(|id| id.get_version_num()), Ok(7));
    }

    #[test]
    fn two_ids_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(X_REQUEST_ID, HeaderValue::from_static("one"));
        headers.append(X_REQUEST_ID, HeaderValue::from_static("two"));
        assert!(Uuid::parse_str(RequestId::from_headers(&headers).as_str()).is_ok());
    }
}
