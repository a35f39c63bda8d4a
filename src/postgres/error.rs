//! What a caller may conclude when PostgreSQL did not give the answer it should have.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Why a statement gave no answer.
///
/// The variants differ in what the caller knows about the effect, because that decides the answer:
/// `database-unavailable` says that nothing happened, `outcome-unknown` that something may have.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// Nothing was sent: no connection was free, or none could be made.
    #[error("PostgreSQL cannot be reached")]
    NotSent(#[source] sqlx::Error),
    /// Nothing happened: PostgreSQL said so and undid the statement. May be a refusal on purpose
    /// (see [`PgError::refusal`]), a lock or statement timeout, a full disk.
    #[error("PostgreSQL refused the statement")]
    Refused(#[source] sqlx::Error),
    /// Sent, and the answer is lost: it may have taken effect, or may still.
    #[error("the answer of PostgreSQL was lost")]
    Lost(#[source] sqlx::Error),
}

impl PgError {
    /// Reads a failure of a statement that was handed to a connection.
    ///
    /// Only an `ERROR` of PostgreSQL is a promise that the statement was undone. A `FATAL` or
    /// `PANIC` ends the session and may come after the commit and before its answer; class 08 and
    /// 57P come from poolers and from a server that is going down, also at any time.
    #[must_use]
    pub fn of_statement(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) => {
                let Some(refusal) = refusal.try_downcast_ref::<PgDatabaseError>() else {
                    return Self::Lost(error);
                };
                let code = refusal.code();
                let undone = matches!(refusal.severity(), PgSeverity::Error)
                    && !code.starts_with("08")
                    && !code.starts_with("57P")
                    // statement_completion_unknown
                    && code != "40003";
                if undone { Self::Refused(error) } else { Self::Lost(error) }
            }
            // No connection, or arguments that do not fit the statement: it never left.
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Encode(_)
            | sqlx::Error::InvalidArgument(_) => Self::NotSent(error),
            _ => Self::Lost(error),
        }
    }

    /// The statement was sent and not answered within the time that its caller has.
    #[must_use]
    pub fn unanswered() -> Self {
        let kind = std::io::ErrorKind::TimedOut;
        Self::Lost(sqlx::Error::Io(kind.into()))
    }

    /// PostgreSQL's own words, if it refused: SQLSTATE, message, detail, constraint.
    #[must_use]
    pub fn refusal(&self) -> Option<&PgDatabaseError> {
        match self {
            Self::Refused(sqlx::Error::Database(refusal)) => refusal.try_downcast_ref(),
            _ => None,
        }
    }

    /// Whether the statement may have taken effect, now or later.
    #[must_use]
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}
