//! `onsale migrate`: brings the PostgreSQL schema up to date.

use anyhow::Context;

use super::Failure;
use crate::config::{Resolver, Stores, read_telemetry};
use crate::{postgres, telemetry};

/// Applies what is missing; running it twice changes nothing.
///
/// # Errors
///
/// The faults of the configuration, or why PostgreSQL refused.
pub async fn command(mut resolver: Resolver) -> Result<(), Failure> {
    let telemetry = read_telemetry(&mut resolver);
    let stores = Stores::read(resolver)?;
    telemetry::init(&telemetry);
    let pool = postgres::connect(&stores.database).context("the database URL is not understood")?;
    postgres::migrate(&pool).await.context("the schema could not be brought up to date")?;
    println!("The schema is up to date.");
    Ok(())
}
