//! The body as bytes: its type, its size and its deadline.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use super::context::{self, BodyLimits};
use super::problem::{Code, Problem};

/// How long a refusal waits for the body of its request.
const DISCARD_WITHIN: Duration = Duration::from_secs(1);

/// What a body without `Content-Type` is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untyped {
    /// JSON: clients that put a body into a GET often leave the type out.
    Json,
    /// Not JSON: 415.
    Refused,
}

/// The whole body; empty if there is none, whatever `Content-Type` says about it.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    untyped: Untyped,
) -> Result<Bytes, Problem> {
    use axum::body::HttpBody as _;

    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    check_type(headers, untyped)?;

    let limits = context::body_limits();
    if announced_length(headers).is_some_and(|length| length > limits.bytes_max as u64) {
        return Err(too_large(limits));
    }
    // Boxed, because a handler's future has room for this one even when there is no body.
    Box::pin(context::waiting_for_client(arrival(body, limits))).await?
}

/// The bytes of a body, within its deadline.
async fn arrival(body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    tokio::time::timeout(limits.timeout, joined(body, limits)).await.unwrap_or_else(|_| {
        let seconds = limits.timeout.as_secs_f32();
        Err(Problem::new(Code::RequestTimeout)
            .detail(format!("the body did not arrive within {seconds} seconds")))
    })
}

/// The pieces of a body, copied into one: a client may send each byte as a piece of its own, and
/// kept as they come sixteen thousand pieces take fifty times the room of their bytes.
async fn joined(mut body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad_request("the body did not arrive whole"))?;
        // Trailers are no part of a body.
        let piece = frame.into_data().unwrap_or_default();
        if bytes.len() + piece.len() > limits.bytes_max {
            return Err(too_large(limits));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// Lets the body of a refused request come and go; whether it did.
///
/// Many clients send a body a moment after its head. When the answer came first, the connection
/// would have to be closed under the body, and the answer might be lost with it: the client would
/// see a broken connection instead of the `Retry-After`, and come again at once.
pub(super) async fn discard(headers: &HeaderMap, body: Body, limits: BodyLimits) -> bool {
    use axum::body::HttpBody as _;

    if body.is_end_stream() {
        return true;
    }
    // Whoever asks first whether to send a body is told not to.
    let too_long = announced_length(headers).is_some_and(|length| length > limits.bytes_max as u64);
    if too_long || headers.contains_key(EXPECT) {
        return false;
    }
    let gone = tokio::time::timeout(DISCARD_WITHIN, joined(body, limits));
    matches!(Box::pin(gone).await, Ok(Ok(_)))
}

fn too_large(limits: BodyLimits) -> Problem {
    let limit = limits.bytes_max;
    Problem::new(Code::PayloadTooLarge)
        .detail(format!("a body has at most {limit} bytes"))
        .with("limit", limit)
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn check_type(headers: &HeaderMap, untyped: Untyped) -> Result<(), Problem> {
    let refused = |detail| Err(Problem::new(Code::UnsupportedMediaType).detail(detail));
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return refused("the body must not be compressed");
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _) if untyped == Untyped::Json => Ok(()),
        (None, _) => refused("the body needs Content-Type: application/json"),
        (Some(_), Some(_)) => refused("Content-Type is given twice"),
        (Some(media_type), None) if media_type.to_str().is_ok_and(is_json) => Ok(()),
        (Some(_), None) => refused("Content-Type must be application/json, in UTF-8"),
    }
}

/// Whether a `Content-Type` means JSON in UTF-8: `application/json` or `application/*+json`.
fn is_json(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = essence.strip_prefix("application/").is_some_and(|subtype| {
        subtype == "json" || subtype.strip_suffix("+json").is_some_and(|name| !name.is_empty())
    });
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("application/json", true)]
    #[case("Application/JSON; charset=UTF-8", true)]
    #[case("application/json;charset=\"utf-8\"", true)]
    #[case("application/json; v=1", true)]
    #[case("application/merge-patch+json", true)]
    #[case("application/json; charset=utf-16", false)]
    #[case("application/+json", false)]
    #[case("application/jsonp", false)]
    #[case("text/json", false)]
    #[case("text/plain", false)]
    #[case("", false)]
    fn only_json_in_utf8_is_json(#[case] media_type: &str, #[case] expected: bool) {
        assert_eq!(is_json(media_type), expected);
    }
}
