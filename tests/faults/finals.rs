//! What both stores hold, and what every server tells, when everything has healed and come to rest.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::{PgPool, Row};
use tokio::time::{Instant, sleep};

use crate::api::Api;
use crate::history::{Call, Finals, KeyRow, LedgerRow, Outcome, OwnedRow, PaymentRow, RedisFinals};
use crate::recorder::{Recorder, Sender};
use crate::wire::Wire;
use crate::world::World;

/// How long the servers may take to be ready again.
const READY_MAX: Duration = Duration::from_secs(30);

/// How long Redis may go without being told of a payment, once everything works again.
const TOLD_MAX: Duration = Duration::from_secs(10);

/// Waits until every server is ready.
pub async fn wait_until_ready(world: &World) -> anyhow::Result<()> {
    let until = Instant::now() + READY_MAX;
    for server in &world.servers {
        let url = format!("http://{}/readyz", server.process.address);
        loop {
            let answer = reqwest::get(&url).await;
            let is_ok = answer.as_ref().is_ok_and(|answer| answer.status() == 200);
            let said = match answer {
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            // With a shard away it is ready for the others.
            if is_ok && !said.contains("\"missing\"") {
                break;
            }
            if Instant::now() > until {
                bail!("{} does not get ready: {said}", server.process.name);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// Waits until every server is ready and nothing is under way any more.
pub async fn wait_for_rest(world: &World) -> anyhow::Result<()> {
    world.redis.whole().await?;
    wait_until_ready(world).await?;
    sleep(world.stage.rest).await;
    let database = world.database().await?;
    let until = Instant::now() + TOLD_MAX;
    // What Redis was not told by then, R1 tells.
    while Instant::now() < until {
        let unsynced: i64 =
            sqlx::query_scalar("select count(*) from payments where redis_synced_at is null")
                .fetch_one(&database)
                .await?;
        if unsynced == 0 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until nobody is connected to a server through its proxy.
pub async fn wait_for_silence(world: &World) -> anyhow::Result<()> {
    let until = Instant::now() + READY_MAX;
    while world.servers.iter().any(|server| server.from_clients.connections() > 0) {
        if Instant::now() > until {
            bail!("connections of clients stay open");
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Asks every server for the balance and the seats of every user, and for the lists of free seats.
pub async fn read_through_api(world: &World, api: &Api, client: u32) -> anyhow::Result<()> {
    let database = world.database().await?;
    let users: Vec<i64> = sqlx::query_scalar("select user_id from balances order by user_id")
        .fetch_all(&database)
        .await?;
    let concert = &world.setup.concerts[0];
    let mut reads = Vec::new();
    for (index, user) in users.into_iter().enumerate() {
        let user = u64::try_from(user)?;
        let client = client + u32::try_from(index)?;
        let concert = concert.clone();
        reads.push(async move {
            let by = |server| Sender { client, server, user };
            let join = Call::Join { user: Some(user), concert: Some(concert.id) };
            let Outcome::Ok { body, .. } = api.send(by(0), join).await else { return };
            let token = body["token"].as_str().unwrap_or_default().to_owned();
            for _ in 0..600 {
                match api.send(by(0), Call::Poll { token: token.clone() }).await {
                    Outcome::Ok { body, .. } if body["status"] != "active" => {
                        sleep(Duration::from_millis(200)).await;
                    }
                    _ => break,
                }
            }
            for server in 0..api.servers() {
                api.send(by(server), Call::Balance { token: token.clone(), user }).await;
                api.send(by(server), Call::Reservations { token: token.clone(), user }).await;
                let date = concert.dates[index % concert.dates.len()].clone();
                let concert = Some(concert.id);
                api.send(by(server), Call::Seats { token: token.clone(), concert, date }).await;
            }
            api.send(by(0), Call::Leave { token }).await;
        });
    }
    futures::future::join_all(reads).await;
    Ok(())
}

/// Reads both stores.
pub async fn read_stores(world: &World, recorder: &Recorder) -> anyhow::Result<Finals> {
    let database = world.database().await?;
    sleep(Duration::from_secs(1)).await;
    let mut finals = read_database(&database).await.context("the final read of PostgreSQL")?;
    for concert in &world.setup.concerts {
        let mut wire = world.redis.wire(concert.id).await?;
        let read = read_concert(&mut wire, concert.id, &concert.dates);
        finals.redis.push(read.await.context("the final read of Redis")?);
    }
    finals.at_us = recorder.now_us();
    Ok(finals)
}

async fn read_database(database: &PgPool) -> anyhow::Result<Finals> {
    let mut finals = Finals::default();
    let number = |row: &sqlx::postgres::PgRow, column: usize| -> anyhow::Result<u64> {
        Ok(u64::try_from(row.try_get::<i64, _>(column)?)?)
    };
    let rows =
        sqlx::query("select id::text, user_id, concert_id::bigint, place, total from payments");
    for row in rows.fetch_all(database).await? {
        finals.payments.push(PaymentRow {
            id: row.try_get(0)?,
            user: number(&row, 1)?,
            concert: number(&row, 2)?.try_into()?,
            place: number(&row, 3)?,
            total: row.try_get(4)?,
        });
    }
    let rows = sqlx::query(
        "select concert_id::bigint, concert_date::text, seat_number::bigint, payment_id::text,
            reservation_id::text, price from owned_seats",
    );
    for row in rows.fetch_all(database).await? {
        finals.owned_seats.push(OwnedRow {
            concert: number(&row, 0)?.try_into()?,
            date: row.try_get(1)?,
            seat: number(&row, 2)?.try_into()?,
            payment: row.try_get(3)?,
            reservation: row.try_get(4)?,
            price: row.try_get(5)?,
        });
    }
    let rows = sqlx::query(
        "select id, user_id, request_id::text, amount, balance_after, payment_id::text
        from ledger order by id",
    );
    for row in rows.fetch_all(database).await? {
        finals.ledger.push(LedgerRow {
            id: row.try_get(0)?,
            user: number(&row, 1)?,
            request: row.try_get(2)?,
            amount: row.try_get(3)?,
            balance_after: row.try_get(4)?,
            payment: row.try_get(5)?,
        });
    }
    for row in sqlx::query("select user_id, balance from balances").fetch_all(database).await? {
        finals.balances.insert(number(&row, 0)?, row.try_get(1)?);
    }
    let rows = sqlx::query("select user_id, key, endpoint from idempotency_keys");
    for row in rows.fetch_all(database).await? {
        let (key, endpoint) = (row.try_get(1)?, row.try_get(2)?);
        finals.idempotency_keys.push(KeyRow { user: number(&row, 0)?, key, endpoint });
    }
    let idle: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where state like 'idle in transaction%'",
    )
    .fetch_one(database)
    .await?;
    finals.idle_in_transaction = u64::try_from(idle)?;
    Ok(finals)
}

async fn read_concert(wire: &mut Wire, id: u32, dates: &[String]) -> anyhow::Result<RedisFinals> {
    let key = |rest: &str| format!("{{c{id}}}:{rest}");
    let mut finals = RedisFinals { concert: id, ..RedisFinals::default() };
    let time = wire.say("TIME").await?.texts()?;
    finals.now_ms = time[0].parse::<u64>()? * 1000 + time[1].parse::<u64>()? / 1000;
    for date in dates {
        let bits = match wire.send(&["GET", &key(&format!("sold:{date}"))]).await? {
            crate::wire::Reply::Bytes(bits) => bits,
            _ => Vec::new(),
        };
        let is_set = |seat: &u32| {
            bits.get(*seat as usize / 8).is_some_and(|byte| byte & (0x80 >> (seat % 8)) != 0)
        };
        let seats = 0..u32::try_from(bits.len() * 8)?;
        finals.sold.insert(date.clone(), seats.filter(is_set).collect());
        let key_of_held = key(&format!("held:{date}"));
        let held = wire.send(&["ZRANGE", &key_of_held, "0", "-1", "WITHSCORES"]).await?;
        finals.held.insert(date.clone(), numbers(held.pairs()?)?);
        let hold = wire.send(&["HGETALL", &key(&format!("hold:{date}"))]).await?.pairs()?;
        finals.hold.insert(date.clone(), hold.into_iter().collect());
    }
    let active = wire.send(&["ZRANGE", &key("active"), "0", "-1", "WITHSCORES"]).await?.pairs()?;
    finals.active = numbers(active)?;
    finals.waiting = u64::try_from(wire.send(&["ZCARD", &key("waiting")]).await?.int()?)?;
    let stats = wire.send(&["HGETALL", &key("stats")]).await?.pairs()?;
    for (name, count) in stats {
        finals.stats.insert(name, count.parse().unwrap_or(0));
    }
    // A store of its own with a few hundred keys: walking them stops nobody.
    for name in wire.send(&["KEYS", &key("*")]).await?.texts()? {
        if wire.send(&["PTTL", &name]).await?.int()? == -1 {
            finals.without_ttl.push(name);
        }
    }
    Ok(finals)
}

fn numbers<N: std::str::FromStr + Ord>(
    pairs: Vec<(String, String)>,
) -> anyhow::Result<BTreeMap<N, u64>> {
    let read = |(name, score): (String, String)| Some((name.parse().ok()?, score.parse().ok()?));
    pairs.into_iter().map(|pair| read(pair).context("not a number")).collect()
}
