//! Extractors: a request's named fields as a type that implements [`FromFields`].
//!
//! | extractor | fields come from | for |
//! |---|---|---|
//! | [`JsonBody`] | the JSON body | POST |
//! | [`OptionalJsonBody`] | the JSON body, or nowhere | POST that works without any field |
//! | [`QueryOrBody`] | query or JSON body, each field | GET, DELETE |
//!
//! All reject with a [`Problem`]: 400, 408, 413, 415, then 422 for a range. They read the body
//! themselves, so each stands last among a handler's arguments.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;

use super::content::{self, Untyped};
use super::fields::{Fields, FromFields};
use super::problem::Problem;

/// The fields of a JSON body, which must be there.
#[derive(Debug, Clone, Copy)]
pub struct JsonBody<T>(pub T);

/// The fields of a JSON body; no body at all means that no field is given.
#[derive(Debug, Clone, Copy)]
pub struct OptionalJsonBody<T>(pub T);

/// Fields of which each may come by query or by JSON body; both and different is 400
/// `ambiguous-input`.
#[derive(Debug, Clone, Copy)]
pub struct QueryOrBody<T>(pub T);

impl<S: Sync, T: FromFields> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = body_alone(request).await?;
        if body.is_empty() {
            return Err(Problem::bad_request("a JSON object is expected, and the body is empty"));
        }
        Fields::read(None, &body).map(Self)
    }
}

impl<S: Sync, T: FromFields> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Fields::read(None, &body_alone(request).await?).map(Self)
    }
}

impl<S: Sync, T: FromFields> FromRequest<S> for QueryOrBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = content::read(&parts.headers, body, Untyped::Json).await?;
        Fields::read(parts.uri.query(), &body).map(Self)
    }
}

/// The body of a request whose query is not read.
///
/// A query is refused instead of ignored: `POST /payment/charge?userId=2` must not charge the
/// user of the body without a word.
async fn body_alone(request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::bad_request(
            "this request takes its fields in the JSON body, not in the query",
        ));
    }
    content::read(&parts.headers, body, Untyped::Refused).await
}
