//! What stands in front of every handler: request id, limits, caught panics, counts, one log line.
//!
//! Not a middleware of the router: each of those costs every request two allocations, a clone of
//! the route and a copy of its future.
//!
//! The log line is `debug` for everything that went as the API says, refusals included, so the
//! default filter (`info`) keeps a ticket rush out of the disk; `warn` for a 503 with a cause and
//! `error` for any other 5xx, both with the chain of sources. It names the route, never the path or
//! the query, which may hold a token.

use std::any::Any;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tower::Service;

use super::config::HttpConfig;
use super::content;
use super::context::{self, BodyLimits, RequestContext, RequestId, X_REQUEST_ID};
use super::measures::Measures;
use super::problem::{self, Code, FailureCause, Problem};
use super::room::Room;
use super::routing::{KnownPath, Paths, Priority};
use super::streams::{Opening, Streams};
use super::throttle::Throttle;

/// A finished table of routes with everything of this module in front of it.
pub struct Front {
    router: Router,
    paths: Arc<Paths>,
    limits: BodyLimits,
    room: Arc<Room>,
    throttle: Throttle,
    streams: Arc<Streams>,
}

impl Front {
    /// 404 and 405 are problems, too.
    pub(super) fn new(router: Router, paths: Paths, config: &HttpConfig) -> Self {
        Self {
            router: router.fallback(not_found).method_not_allowed_fallback(method_not_allowed),
            paths: Arc::new(paths),
            limits: BodyLimits::from(config),
            room: Arc::new(Room::new(config.requests_max)),
            throttle: Throttle::new(config),
            streams: Streams::new(config),
        }
    }

    /// Ends every stream, so that their clients go to another server.
    pub(super) fn end_streams(&self) {
        self.streams.end();
    }

    /// What is counted here.
    #[must_use]
    pub fn measures(&self) -> Measures {
        Measures::new(Arc::clone(&self.paths), Arc::clone(&self.room))
    }

    /// Answers one request of `peer`; whatever happens, with an answer.
    pub async fn answer(&self, request: Request, peer: IpAddr) -> Response {
        let started = Instant::now();
        let id = RequestId::from_headers(request.headers());
        let method = request.method().clone();
        let KnownPath { path, answers } = self.paths.find(&method, request.uri().path());

        let place = Some((self.room.clone(), path.priority));
        let opening = (path.priority == Priority::Stream).then(|| Opening {
            streams: self.streams.clone(),
            client: self.throttle.client(peer, request.headers()),
        });
        let context = RequestContext { id, limits: self.limits, place, opening };
        let mut response = context::scope(context, async {
            let admitted = self
                .throttle
                .admit(path.priority, peer, request.headers(), started)
                .and_then(|()| self.room.enter(path.priority).ok_or_else(Room::full));
            let _in_work = match admitted {
                Ok(in_work) => in_work,
                Err(problem) => return refuse(problem, request, self.limits).await,
            };
            let handled = self.router.clone().call(request);
            match AssertUnwindSafe(handled).catch_unwind().await {
                Ok(Ok(response)) => response,
                Err(payload) => panicked(payload),
            }
        })
        .await;

        response.headers_mut().insert(X_REQUEST_ID, id.header_value());
        let taken = started.elapsed();
        answers.count(&method, response.status(), taken);
        self.paths.refusals.count(&response);
        log(&Finished { method: &method, route: path.template, id: &id, taken }, &response);
        response
    }
}

/// Refuses a request that nobody has looked at, in a way that its connection can go on after.
async fn refuse(problem: Problem, request: Request, limits: BodyLimits) -> Response {
    let mut response = problem.into_response();
    let (parts, body) = request.into_parts();
    if !content::discard(&parts.headers, body, limits).await {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn not_found() -> Problem {
    Problem::new(Code::NotFound).detail("no route has this path")
}

/// axum adds `Allow`.
async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(Code::MethodNotAllowed).detail(format!("this path does not take {method}"))
}

/// A bug: the client learns nothing but the request id, the log everything.
#[derive(Debug, thiserror::Error)]
#[error("the handler panicked: {0}")]
struct Panicked(String);

#[expect(clippy::needless_pass_by_value, reason = "the form in which a panic comes")]
fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "without a message".to_owned(),
    };
    problem::respond(Problem::new(Code::Internal), &Panicked(message))
}

/// One answered request.
struct Finished<'a> {
    method: &'a Method,
    route: &'a str,
    id: &'a RequestId,
    taken: Duration,
}

/// The one log line of a request. Its level is part of the callsite, hence the repetition.
fn log(request: &Finished<'_>, response: &Response) {
    let Finished { method, route, id, taken } = *request;
    let status = response.status();
    let failure = response.extensions().get::<FailureCause>();
    let code = failure.map_or("", |failure| failure.code.as_str());
    let cause = failure.and_then(|failure| failure.chain.as_deref());
    let (status_code, millis) = (status.as_u16(), taken.as_secs_f64() * 1_000.0);

    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(%method, route, status = status_code, millis, code, cause, request_id = %id, "request");
    } else if status.is_server_error() && cause.is_some() {
        tracing::warn!(%method, route, status = status_code, millis, code, cause, request_id = %id, "request");
    } else {
        tracing::debug!(%method, route, status = status_code, millis, code, cause, request_id = %id, "request");
    }
}
