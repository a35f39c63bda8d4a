//! What surrounds every handler: request id, in-flight limit, caught panics, one log line.
//!
//! One middleware, not four, because each one costs an allocation and a clone per request.
//!
//! The log line is `debug` for everything that went as the API says, refusals included, so the
//! default filter (`info`) keeps a ticket rush out of the disk; `warn` for a 503 with a cause and
//! `error` for any other 5xx, both with the chain of sources. It names the route, never the path or
//! the query, which may hold a token.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::sync::Semaphore;

use super::config::HttpConfig;
use super::context::{self, BodyLimits, RequestContext, RequestId, X_REQUEST_ID};
use super::problem::{self, Code, FailureCause, Problem};

/// Routes that are served above the in-flight limit too: a balancer that takes a busy server for
/// a dead one sends its load to the others.
const ALWAYS_SERVED: [&str; 2] = ["/healthz", "/readyz"];

/// What the middleware needs, shared by all requests.
#[derive(Clone)]
struct Surroundings {
    in_work: Arc<Semaphore>,
    limits: BodyLimits,
}

/// Completes a router that has all its routes: 404 and 405 as problems, and everything of this
/// module around every handler.
pub fn finish(router: Router, config: &HttpConfig) -> Router {
    let surroundings = Surroundings {
        in_work: Arc::new(Semaphore::new(config.requests_max.min(Semaphore::MAX_PERMITS))),
        limits: BodyLimits::from(config),
    };
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(surroundings, surround))
}

async fn not_found() -> Problem {
    Problem::new(Code::NotFound).detail("no route has this path")
}

/// axum adds `Allow`.
async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(Code::MethodNotAllowed).detail(format!("this path does not take {method}"))
}

async fn surround(
    State(surroundings): State<Surroundings>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = RequestId::from_headers(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    let context = RequestContext { id: id.clone(), limits: surroundings.limits };

    let permit = surroundings.in_work.try_acquire();
    let mut response = context::scope(context, async {
        if permit.is_err() && !ALWAYS_SERVED.contains(&route) {
            return overloaded();
        }
        AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(panicked)
    })
    .await;
    drop(permit);

    response.headers_mut().insert(X_REQUEST_ID, id.header_value());
    log(&Finished { method: &method, route, id: &id, started }, &response);
    response
}

fn overloaded() -> Response {
    Problem::new(Code::Overloaded).detail("too many requests are in work here").into_response()
}

/// A bug: the client learns nothing but the request id, the log everything.
#[derive(Debug, thiserror::Error)]
#[error("the handler panicked: {0}")]
struct Panicked(String);

#[expect(clippy::needless_pass_by_value, reason = "the form that unwrap_or_else needs")]
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
    started: Instant,
}

/// The one log line of a request. Its level is part of the callsite, hence the repetition.
fn log(request: &Finished<'_>, response: &Response) {
    let Finished { method, route, id, started } = *request;
    let status = response.status();
    let failure = response.extensions().get::<FailureCause>();
    let code = failure.map_or("", |failure| failure.code.as_str());
    let cause = failure.and_then(|failure| failure.chain.as_deref());
    let (status_code, millis) = (status.as_u16(), started.elapsed().as_secs_f64() * 1_000.0);

    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(%method, route, status = status_code, millis, code, cause, request_id = %id, "request");
    } else if status.is_server_error() && cause.is_some() {
        tracing::warn!(%method, route, status = status_code, millis, code, cause, request_id = %id, "request");
    } else {
        tracing::debug!(%method, route, status = status_code, millis, code, cause, request_id = %id, "request");
    }
}
