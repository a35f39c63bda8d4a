//! PostgreSQL: the pool, its clock, the schema, and what a caller may conclude from a failure.
//!
//! Plumbing that knows no slice: the statements live in the `sql.rs` of the slice that needs them.
//!
//! Read in this order: [`error`] (not sent, refused or lost), [`pool`] (connections, and how one
//! statement is run), [`statement`] (how each went), [`clock`] (deadlines on PostgreSQL's clock),
//! [`schema`] (`migrations/`).
//!
//! # Invariants
//!
//! * Every statement is an autocommit statement of its own: nothing here can leave a transaction
//!   open, whatever future is dropped.
//! * A statement that writes has answered only when PostgreSQL is ready for the next one. A row
//!   alone proves nothing: it can travel before its transaction is committed.
//! * A connection that did not answer in time never returns to the pool.

pub mod clock;
pub mod config;
pub mod error;
pub mod pool;
pub mod schema;
pub mod statement;

pub use clock::PgClock;
pub use config::PostgresConfig;
pub use error::PgError;
pub use pool::connect;
pub use schema::{MIGRATOR, SchemaState, migrate, schema_state};
pub use statement::{STATEMENTS, Statement};
