//! `onsale check` and `onsale migrate`: what they say, and their exit codes.

use std::time::Duration;

use onsale::local::{Durability, LocalStores, StoresOptions};
use sqlx::PgPool;

use crate::support::links::Links;
use crate::support::process::{Ended, run};
use crate::support::proxy::Mode;
use crate::support::server::Deployment;
use crate::support::{concert, stores};

#[tokio::test(flavor = "multi_thread")]
async fn migrate_brings_an_empty_database_up_to_date_and_a_second_run_changes_nothing() {
    let url = stores().await.postgres.fresh_database(None).await.expect("a database");
    let pool = PgPool::connect(&url).await.expect("PostgreSQL answers");
    let applied = async || -> Vec<(i64, String)> {
        let sql = "select version, installed_on::text from _sqlx_migrations order by version";
        sqlx::query_as(sql).fetch_all(&pool).await.expect("migrations")
    };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let ended = run("migrate", &[("ONSALE_DATABASE_URL", url.as_str())]).await;
        assert_eq!(ended.exit_code, Some(0), "{}", ended.said);
        assert!(ended.said.contains("The schema is up to date."), "{}", ended.said);
        seen.push(applied().await);
    }
    assert!(!seen[0].is_empty());
    assert_eq!(seen[0], seen[1]);
    let sold: i64 = sqlx::query_scalar("select count(*) from owned_seats")
        .fetch_one(&pool)
        .await
        .expect("the schema");
    assert_eq!(sold, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrate_says_why_it_failed() {
    let ended = run("migrate", &[("ONSALE_DATABASE_URL", "postgres://127.0.0.1:1/onsale")]).await;
    assert_eq!(ended.exit_code, Some(1), "{}", ended.said);
    assert!(ended.said.contains("the schema could not be brought up to date"), "{}", ended.said);
}

/// Fails unless the doctor found exactly these faults.
#[track_caller]
fn assert_faults(ended: &Ended, faults: &[&str]) {
    let said = &ended.said;
    let found: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("FAULT ")).collect();
    assert_eq!(found.len(), faults.len(), "{said}");
    for (found, fault) in found.iter().zip(faults) {
        assert!(found.contains(fault), "{found:?} does not say {fault:?}");
    }
    assert_eq!(ended.exit_code, Some(i32::from(!faults.is_empty())), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_is_content_with_good_stores_and_names_each_fault_of_others() {
    let durable = StoresOptions { dir: None, reset: false, durability: Durability::Durable };
    let stores = LocalStores::start(durable).await.expect("stores");
    let (redis, database) = (stores.redis.url(), stores.postgres.url());
    let urls = [("ONSALE_REDIS_URL", redis.as_str()), ("ONSALE_DATABASE_URL", database.as_str())];
    assert_faults(&run("check", &urls).await, &["the schema is behind. Mend: onsale migrate"]);
    assert_eq!(run("migrate", &urls).await.exit_code, Some(0));
    let content = run("check", &urls).await;
    assert_faults(&content, &[]);
    assert!(content.said.contains("drops no key when its memory is full"), "{}", content.said);

    let evict = "CONFIG SET maxmemory-policy allkeys-lru";
    stores.redis.say(evict).await.expect("an answer");
    assert_faults(&run("check", &urls).await, &["maxmemory-policy is allkeys-lru"]);
    stores.redis.stop().await.expect("an orderly end");
    stores.postgres.stop().await.expect("an orderly end");
    let unreachable = ["redis.sock: does not answer", "PostgreSQL"];
    assert_faults(&run("check", &urls).await, &unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_when_postgresql_is_too_far_away() {
    let links = Links::of(&Deployment::new(vec![concert(10, 1)]).await).await;
    let Deployment { redis_url, database_url, .. } = &links.deployment;
    let urls = [("ONSALE_REDIS_URL", redis_url.as_str()), ("ONSALE_DATABASE_URL", database_url)];
    let near = run("check", &urls).await;
    assert!(!near.said.contains("payments end as outcome-unknown"), "{}", near.said);
    // In each direction.
    links.to_postgres.set(Mode::Delay(Duration::from_millis(60)));
    let far = run("check", &urls).await;
    let fault = far.said.lines().find(|line| line.contains("payments end as outcome-unknown"));
    assert!(fault.is_some_and(|line| line.starts_with("FAULT ")), "{}", far.said);
    assert_eq!(far.exit_code, Some(1), "{}", far.said);
}
