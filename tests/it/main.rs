//! The tests that need real stores: one binary, which starts its own Redis and PostgreSQL.

#![allow(missing_docs, reason = "the names of tests are sentences")]

mod plumbing;
mod support;
