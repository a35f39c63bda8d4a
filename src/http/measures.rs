//! What a server has answered: how often and how fast per route, and which refusals.
//!
//! On the way of a request this is three additions without a lock; everything else happens when
//! somebody looks. Nothing here is named by what a client sent: an unknown path or method is
//! counted as such.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::code::Code;
use super::problem::FailureCause;
use super::room::Room;
use super::routing::Paths;
use crate::metrics::{Histogram, Latencies};

/// The methods that are told apart.
const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::DELETE, Method::PATCH];
/// What every other method is counted as.
const OTHER_METHOD: &str = "other";

/// The statuses that are told apart, the most frequent first.
const STATUSES: [u16; 19] =
    [200, 201, 403, 409, 401, 429, 503, 404, 400, 402, 422, 405, 408, 413, 415, 500, 304, 307, 431];
/// What every other status is counted as.
const OTHER_STATUS: u16 = 0;

/// The answers of one path, by method.
#[derive(Debug, Default)]
pub(super) struct PathAnswers([Answers; METHODS.len() + 1]);

#[derive(Debug, Default)]
struct Answers {
    statuses: [AtomicU64; STATUSES.len() + 1],
    taken: Histogram,
}

impl PathAnswers {
    /// Counts an answer and how long it took.
    pub fn count(&self, method: &Method, status: StatusCode, taken: Duration) {
        let method = METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len());
        let status = STATUSES.iter().position(|known| *known == status.as_u16());
        let answers = &self.0[method];
        answers.statuses[status.unwrap_or(STATUSES.len())].fetch_add(1, Ordering::Relaxed);
        answers.taken.observe(taken);
    }
}

/// How often each code was told.
#[derive(Debug)]
pub(super) struct Refusals([AtomicU64; Code::ALL.len()]);

impl Refusals {
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; Code::ALL.len()])
    }

    /// Counts the refusal that `response` is, if it is one.
    pub fn count(&self, response: &Response) {
        if let Some(failure) = response.extensions().get::<FailureCause>() {
            self.0[failure.code as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A look at what one server has answered since its start. Cheap to clone.
#[derive(Clone)]
pub struct Measures {
    paths: Arc<Paths>,
    room: Arc<Room>,
}

/// One method of one path.
#[derive(Debug, Clone)]
pub struct RouteMeasure {
    /// The path as the table of routes has it; `unknown` for all others.
    pub route: &'static str,
    /// The method; `other` for those that no route has.
    pub method: &'static str,
    /// How often each status was answered; 0 stands for all others. None that never was.
    pub statuses: Vec<(u16, u64)>,
    /// How long the answers took.
    pub latencies: Latencies,
}

impl Measures {
    pub(super) fn new(paths: Arc<Paths>, room: Arc<Room>) -> Self {
        Self { paths, room }
    }

    /// Every method of every path that was ever asked.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteMeasure> {
        let names = ["GET", "POST", "DELETE", "PATCH", OTHER_METHOD];
        let of_path = |(template, answers): (&'static str, &PathAnswers)| {
            let of_method = |(method, answers): (&'static str, &Answers)| {
                let counts = answers.statuses.iter().map(|count| count.load(Ordering::Relaxed));
                let statuses = STATUSES.into_iter().chain([OTHER_STATUS]).zip(counts);
                RouteMeasure {
                    route: template,
                    method,
                    statuses: statuses.filter(|(_, count)| *count > 0).collect(),
                    latencies: answers.taken.read(),
                }
            };
            names.into_iter().zip(&answers.0).map(of_method).collect::<Vec<_>>()
        };
        let mut all: Vec<RouteMeasure> = Vec::new();
        for measure in self.paths.answers().flat_map(of_path) {
            // A path whose methods have rows of their own is still one path.
            let same = all
                .iter_mut()
                .find(|other| (other.route, other.method) == (measure.route, measure.method));
            match same {
                Some(other) if other.statuses.is_empty() => *other = measure,
                Some(_) => {}
                None => all.push(measure),
            }
        }
        all.retain(|measure| !measure.statuses.is_empty());
        all
    }

    /// How often each code was told, all codes in the order of their table.
    #[must_use]
    pub fn refusals(&self) -> Vec<(Code, u64)> {
        let counts = self.paths.refusals.0.iter().map(|count| count.load(Ordering::Relaxed));
        Code::ALL.iter().copied().zip(counts).collect()
    }

    /// How many requests are in work, this one included, and how many may be.
    #[must_use]
    pub fn in_work(&self) -> (usize, usize) {
        self.room.taken()
    }
}
