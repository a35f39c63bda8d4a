//! The statements by their names, and how they went.

use super::{PgError, clock, pool, schema};
use crate::metrics::Calls;

/// One statement of `sql.rs` of a slice, under the name that logs and metrics give it.
#[derive(Debug)]
pub struct Statement {
    /// Its name.
    pub name: &'static str,
    /// How this process' calls of it went.
    pub calls: Calls,
}

/// The statements of this module, and the wait for a connection, as if it were one.
pub static STATEMENTS: &[&Statement] = &[&pool::ACQUIRE, &clock::NOW, &schema::STATE];

impl Statement {
    /// A statement that was never sent.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, calls: Calls::new() }
    }

    /// Counts how it went. A refusal on purpose is an answer.
    pub(super) fn count<T>(&self, sent: std::time::Instant, answer: &Result<T, PgError>) {
        let is_answer = match answer {
            Ok(_) => true,
            Err(error) => error.refusal().is_some_and(|refusal| refusal.code().starts_with("ON")),
        };
        if is_answer { self.calls.answered(sent.elapsed()) } else { self.calls.failed() }
    }
}
