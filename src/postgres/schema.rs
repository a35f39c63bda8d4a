//! The schema: `migrations/`, built into the binary.

use futures::FutureExt;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

use super::{PgError, Statement, pool};

pub(super) static STATE: Statement = Statement::new("schema_state");

/// The migrations of this build.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// How a database compares with this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// It has every migration of this build, and perhaps later ones.
    Current,
    /// Migrations are missing: `onsale migrate` has to run.
    Behind,
}

/// Brings the database up to date. Safe to run on several machines at once.
///
/// # Errors
///
/// If the database cannot be reached, or holds another history of migrations.
pub async fn migrate(database: &PgPool) -> Result<(), sqlx::migrate::MigrateError> {
    let mut connection = database.acquire().await?;
    // A migration may rightly take longer than any statement of a request.
    sqlx::raw_sql("set statement_timeout = 0; set lock_timeout = 0")
        .execute(&mut *connection)
        .await?;
    let result = MIGRATOR.run(&mut *connection).await;
    // Closed, because the settings belong to the session.
    connection.close().await?;
    result
}

/// Whether [`migrate`] has run.
pub async fn schema_state(database: &PgPool) -> Result<SchemaState, PgError> {
    let wanted = MIGRATOR.iter().map(|migration| migration.version).max();
    let connection = pool::acquire(database).await?;
    let applied = pool::answer(connection, &STATE, |connection| {
        async move {
            // Not checked at build time: the table is the migrator's, and may not be there yet.
            let table: Option<bool> =
                sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null")
                    .fetch_one(&mut *connection)
                    .await?;
            if table != Some(true) {
                return Ok(None);
            }
            sqlx::query_scalar::<_, Option<i64>>(
                "select max(version) from _sqlx_migrations where success",
            )
            .fetch_one(connection)
            .await
        }
        .boxed()
    })
    .await?;
    if applied >= wanted { Ok(SchemaState::Current) } else { Ok(SchemaState::Behind) }
}
