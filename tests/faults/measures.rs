//! What the servers and stores are asked only when everything is at rest: whether memory, sockets
//! and the pool are as before, and whether a statement or script that runs twice changes anything.

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::api::Api;
use crate::history::{Call, Outcome, Repeat, ServerFinals, Span};
use crate::recorder::Sender;
use crate::wire::Wire;
use crate::world::{POOL, World};

/// A user of nobody's, for asking.
const ASKER: u64 = 900_000;

/// Each server beside what it was at its start. Nobody may be connected to it.
pub async fn servers(world: &World, api: &Api) -> anyhow::Result<Vec<ServerFinals>> {
    let mut finals = Vec::new();
    for (index, server) in world.servers.iter().enumerate() {
        let process = &server.process;
        let (before, after) = (process.size_at_start(), process.size()?);
        let span = |at: usize| Some(Span { before: before[at], after: after[at] });
        finals.push(ServerFinals {
            server: index,
            resident_kb: span(0),
            descriptors: span(1),
            threads: span(2),
            panics: std::fs::read_to_string(&process.log)?
                .matches("panicked")
                .count()
                .try_into()?,
            pool_answered: pool_answered(world, api, index).await,
        });
    }
    Ok(finals)
}

/// One request that needs PostgreSQL per connection of the pool, all at once.
async fn pool_answered(world: &World, api: &Api, server: usize) -> Option<(u64, u64)> {
    let user = ASKER + server as u64;
    let by = |hand: u32| Sender { client: 1_000_000 + hand, server, user };
    let concert = Some(world.setup.concerts[0].id);
    let Outcome::Ok { body, .. } = api.send(by(0), Call::Join { user: Some(user), concert }).await
    else {
        return None;
    };
    let token = body["token"].as_str()?.to_owned();
    for _ in 0..100 {
        let poll = api.send(by(0), Call::Poll { token: token.clone() }).await;
        if matches!(&poll, Outcome::Ok { body, .. } if body["status"] == "active") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let ask = |hand| api.send(by(hand), Call::Balance { token: token.clone(), user });
    let answers = futures::future::join_all((0..POOL).map(ask)).await;
    let answered = answers.iter().filter(|answer| matches!(answer, Outcome::Ok { .. })).count();
    api.send(by(0), Call::Leave { token: token.clone() }).await;
    Some((answered as u64, u64::from(POOL)))
}

/// Statements and a script that did their work during the load, sent twice more.
pub async fn repeats(world: &World) -> anyhow::Result<Vec<Repeat>> {
    let database = world.database().await?;
    let charge = "select r.balance_after from (select * from ledger where amount > 0 order by id desc limit 1) l,
        lateral onsale_charge(l.request_id, l.user_id, l.amount, clock_timestamp() + interval '10 s', null, null) r";
    let pay = "select r.balance_after from (select * from payments order by paid_at desc limit 1) p,
        lateral (select array_agg(concert_date) d, array_agg(seat_number) s, array_agg(reservation_id) r,
            array_agg(price) c from owned_seats where payment_id = p.id) o,
        lateral onsale_pay(gen_random_uuid(), gen_random_uuid(), p.user_id, p.concert_id, p.place,
            o.d, o.s, o.r, o.c, clock_timestamp() + interval '10 s', null, null) r";
    let mut repeats = Vec::new();
    for (what, statement) in [("onsale_charge", charge), ("onsale_pay", pay)] {
        let mut held = Vec::new();
        for _ in 0..2 {
            let told = sqlx::query_scalar::<_, i64>(statement).fetch_optional(&database).await;
            let told = told.map_err(|refusal| refusal.to_string());
            held.push(json!({"told": told, "rows": rows(&database).await?}));
        }
        repeats.push(repeat(what, &held));
    }
    repeats.push(finish_again(world, &database).await?);
    Ok(repeats)
}

fn repeat(what: &str, held: &[Value]) -> Repeat {
    let (after_first, after_second) = (held[0].clone(), held[1].clone());
    Repeat { what: what.to_owned(), after_first, after_second }
}

async fn rows(database: &PgPool) -> sqlx::Result<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', (select sum(balance) from balances), (select count(*) from ledger),
            (select count(*) from payments), (select count(*) from owned_seats))",
    )
    .fetch_one(database)
    .await
}

/// `payments/finish` for one seat that is sold.
async fn finish_again(world: &World, database: &PgPool) -> anyhow::Result<Repeat> {
    let (concert, place, user, date, seat, reservation): (i32, i64, i64, String, i32, String) =
        sqlx::query_as(
            "select p.concert_id, p.place, p.user_id, o.concert_date::text, o.seat_number,
                o.reservation_id::text
            from payments p join owned_seats o on o.payment_id = p.id
            order by p.paid_at desc limit 1",
        )
        .fetch_one(database)
        .await?;
    let key = |rest: &str| format!("{{c{concert}}}:{rest}");
    let keys = [
        key(&format!("token:{place}")),
        key("active"),
        key("waiting"),
        key("dead"),
        key("users"),
        key(&format!("paying:{place}")),
        key(&format!("holds:{user}")),
        key("stats"),
        key(&format!("held:{date}")),
        key(&format!("hold:{date}")),
        key(&format!("sold:{date}")),
        key(&format!("version:{date}")),
    ];
    let mut words =
        vec!["EVAL".to_owned(), include_str!("../../lua/payments/finish.lua").to_owned()];
    words.push(keys.len().to_string());
    words.extend(keys.iter().cloned());
    words.extend([place.to_string(), user.to_string(), "repeat".to_owned(), "1".to_owned(), date]);
    words.extend(["1".to_owned(), seat.to_string(), reservation]);
    let mut wire = world.redis.wire(u32::try_from(concert)?).await?;
    let mut held = Vec::new();
    for _ in 0..2 {
        let told = format!("{:?}", wire.send(&words).await?);
        let stats = stats_of(&mut wire, &keys[7]).await?;
        held.push(json!({"told": told, "stats": stats}));
    }
    Ok(repeat("payments/finish", &held))
}

/// The counters of what a payment changes; others may move by themselves.
async fn stats_of(wire: &mut Wire, key: &str) -> anyhow::Result<Vec<String>> {
    let reply = wire.send(&["HMGET", key, "sold", "displaced", "consumed"]).await?;
    Ok(vec![format!("{reply:?}")])
}
