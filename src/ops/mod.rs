//! Operation: whether this server is alive, whether it can do its work, and what is missing.

pub mod readiness;
pub mod routes;

pub use readiness::Readiness;
