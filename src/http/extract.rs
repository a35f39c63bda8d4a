//! Extractors: a request's named fields as a type that implements [`FromFields`].
//!
//! | extractor | fields come from | for |
//! |---|---|---|
//! | [`JsonBody`] | the JSON body | POST |
//! | [`OptionalJsonBody`] | the JSON body, or nowhere | POST that works without any field |
//! | [`QueryOrBody`] | query or JSON body, each field; [`super::NoFields`] takes none | GET, DELETE |
//! | [`AnyQuery`] | nowhere; whatever the query says is ignored | what is asked on a timer |
//! | [`ConcertPath`] | `{id}` in the path | any |
//!
//! All reject with a [`Problem`]: 400, 408, 413, 415, then 422 for a range. They read the body
//! themselves, so each stands last among a handler's arguments.

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use bytes::Bytes;

use super::content::{self, Untyped};
use super::fields::{Fields, FromFields, NoFields, plain_integer};
use super::problem::Problem;
use crate::words::ConcertId;

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

/// No field, whatever the query says: balancers and Prometheus can be told to add one of their own. A
/// body is read as everywhere, and may name nothing.
#[derive(Debug, Clone, Copy)]
pub struct AnyQuery;

/// The concert that `{id}` in the path names; what is no number is 400, one out of range 422.
#[derive(Debug, Clone, Copy)]
pub struct ConcertPath(pub ConcertId);

impl<S: Send + Sync> FromRequestParts<S> for ConcertPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let unreadable = || {
            Problem::bad_request("the concert in the path must be an integer in plain digits")
                .with("field", "concertId")
        };
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| unreadable())?;
        let id = params.iter().find(|(name, _)| *name == "id").map(|(_, id)| id);
        let id = id.and_then(plain_integer).ok_or_else(unreadable)?;
        let id = ConcertId::try_from(id);
        id.map(Self).map_err(|refusal| Problem::out_of_range("concertId", &refusal))
    }
}

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

impl<S: Sync> FromRequest<S> for AnyQuery {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = content::read(&parts.headers, body, Untyped::Json).await?;
        Fields::read(None, &body).map(|NoFields| Self)
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
