//! JSON answers.
//!
//! Every answer is `no-store`: it is about one person, or true for a moment only.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use super::problem::{self, Code, Problem};

/// The header fields of every JSON answer.
const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (CONTENT_TYPE, HeaderValue::from_static("application/json")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Answers `T` as JSON; with another status than 200 as `(StatusCode::CREATED, Json(view))`.
///
/// A value without a JSON form is 500 `internal`.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => (HEADERS, body).into_response(),
            Err(error) => problem::respond(Problem::new(Code::Internal), &error),
        }
    }
}

/// Answers JSON that is encoded already, such as a cached seat list.
#[derive(Debug, Clone)]
pub struct EncodedJson(pub Bytes);

impl IntoResponse for EncodedJson {
    fn into_response(self) -> Response {
        (HEADERS, self.0).into_response()
    }
}
