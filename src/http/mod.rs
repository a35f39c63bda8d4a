//! HTTP plumbing: everything about requests and answers that is the same for every slice.
//!
//! Read in this order: [`problem`] (every error answer), [`extract`] and [`fields`] (inputs),
//! [`credentials`] (the headers that carry tokens and keys), [`answer`] (JSON out), [`files`] (what
//! browsers get), [`routing`] and [`front`] (what stands before every handler), [`measures`] (what is
//! counted there), [`throttle`] (how often one address may ask), [`streams`] (answers that go on),
//! [`server`] (connections and their deadlines).
//!
//! # Invariants
//!
//! * Every answer that this crate makes has an `X-Request-Id`; every error answer is
//!   `application/problem+json`, also to what is not HTTP (see [`server`]).
//! * No input makes a panic reach the client, and none waits without a deadline.
//! * No query string, no header value and no body is ever logged.
//!
//! # What is not here
//!
//! No route, no slice, no store (but [`store_errors`] says what a store's failure means for a
//! client). A token's text is found here and judged in the queue slice.

pub mod answer;
mod code;
mod config;
mod connection;
mod content;
pub mod context;
pub mod credentials;
pub mod extract;
pub mod fields;
pub mod files;
pub mod front;
mod json;
pub mod measures;
mod pace;
pub mod problem;
mod query;
mod room;
pub mod routing;
pub mod server;
pub mod sockets;
pub mod store_errors;
pub mod streams;
mod throttle;

#[cfg(test)]
mod tests;

pub use code::Code;
pub use config::HttpConfig;
pub use extract::{AnyQuery, ConcertPath, JsonBody, OptionalJsonBody, QueryOrBody};
pub use fields::{FieldSpec, Fields, FromFields, Kind, NoFields};
pub use measures::Measures;
pub use problem::Problem;
pub use routing::{Priority, Routes};
pub use store_errors::{Effect, redis_problem};
