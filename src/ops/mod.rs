//! Operation: whether this server is alive, whether it can do its work, and what is missing; and
//! what operators see, who alone may look.

pub mod controls;
pub mod dashboard;
pub mod metrics;
pub mod operators;
pub mod overview;
pub mod people;
pub mod readiness;
pub mod requests;
pub mod routes;
pub mod samples;
pub mod scripts;
pub mod withheld;

pub use operators::{Operator, Operators};
pub use overview::Overview;
pub use readiness::Readiness;
pub use samples::{SAMPLE_JOB, Samples};
pub use scripts::SCRIPTS;
