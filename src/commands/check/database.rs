//! What `onsale check` looks at in PostgreSQL.

use std::time::{Instant, SystemTime};

use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, PgPool, Row};

use super::{CONNECT_WITHIN, Finding, Skew};
use crate::postgres::{self, SchemaState};

/// The oldest PostgreSQL that this build's schema needs.
const VERSION_MIN: i32 = 130_000;

/// From here on people wait noticeably for it with every reservation and payment.
const FAR_MS: u128 = 20;

/// From here on an answer that is late only because of the way is taken for one that does not come
/// (`postgres::pool` asks after 300 ms whether PostgreSQL lives, on a new connection if it must).
const TOO_FAR_MS: u128 = 100;

pub(super) async fn examine(pool: &PgPool, connections_max: u32) -> Vec<Finding> {
    let read = sqlx::query(
        "select current_setting('server_version_num')::int4 as version,
                current_setting('server_version') as version_text,
                current_setting('fsync') = 'on' as fsync,
                current_setting('full_page_writes') = 'on' as full_page_writes,
                current_setting('synchronous_commit') as synchronous_commit,
                current_setting('max_connections')::int4 as connections,
                current_setting('superuser_reserved_connections')::int4 as reserved,
                (select count(*) from pg_stat_replication)::int4 as standbys,
                pg_is_in_recovery() as standby,
                (extract(epoch from clock_timestamp()) * 1000)::int8 as now_ms",
    );
    // Not one of the pool, which has no patience with a PostgreSQL that is far away.
    let options = pool.connect_options();
    let connect = PgConnection::connect_with(&options);
    let mut connection = match tokio::time::timeout(CONNECT_WITHIN, connect).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            return vec![Finding::fault(format!("PostgreSQL at ONSALE_DATABASE_URL: {error}"))];
        }
        Err(_) => {
            return vec![Finding::fault("PostgreSQL does not answer at ONSALE_DATABASE_URL")];
        }
    };
    let away_ms = round_trip_ms(&mut connection).await;
    let before = SystemTime::now();
    let row = match read.fetch_one(&mut connection).await {
        Ok(row) => row,
        Err(error) => return vec![Finding::fault(format!("PostgreSQL: {error}"))],
    };
    let skew = Skew::between(before, row.get("now_ms"));
    let mut findings = vec![
        version(row.get("version"), row.get("version_text")),
        durability(&row),
        primary(row.get("standby"), row.get("standbys")),
        connections(row.get("connections"), row.get("reserved"), connections_max),
        schema(pool).await,
        skew.judge().of("PostgreSQL"),
    ];
    findings.extend(away_ms.map(distance));
    findings
}

/// The shortest of a few round trips.
async fn round_trip_ms(connection: &mut PgConnection) -> Option<u128> {
    let mut shortest = None;
    for _ in 0..3 {
        let sent = Instant::now();
        connection.ping().await.ok()?;
        let took_ms = sent.elapsed().as_millis();
        shortest = Some(shortest.map_or(took_ms, |shortest: u128| shortest.min(took_ms)));
    }
    shortest
}

fn distance(away_ms: u128) -> Finding {
    let what = format!("PostgreSQL is {away_ms} ms away");
    let mend = "Mend: run the servers where PostgreSQL is";
    match away_ms {
        ..FAR_MS => Finding::good(what),
        FAR_MS..TOO_FAR_MS => {
            Finding::advice(format!("{what}: every reservation and payment waits for it. {mend}"))
        }
        _ => Finding::fault(format!(
            "{what}: under load its answers are given up as lost before they are here, and \
             payments end as outcome-unknown. {mend}"
        )),
    }
}

fn version(number: i32, text: &str) -> Finding {
    if number >= VERSION_MIN {
        Finding::good(format!("PostgreSQL {text}"))
    } else {
        Finding::fault(format!("PostgreSQL {text} is older than 13. Mend: install a newer one"))
    }
}

fn durability(row: &PgRow) -> Finding {
    let commit: &str = row.get("synchronous_commit");
    let lies = match (row.get("fsync"), row.get("full_page_writes"), commit) {
        (false, _, _) => "fsync",
        (_, false, _) => "full_page_writes",
        (_, _, "off") => "synchronous_commit",
        _ => return Finding::good("PostgreSQL answers a commit when it is on disk"),
    };
    Finding::fault(format!(
        "{lies} is off: a crash could lose payments that were answered with success. \
         Mend: alter system set {lies} = on; select pg_reload_conf();"
    ))
}

fn primary(is_standby: bool, standbys: i32) -> Finding {
    match (is_standby, standbys) {
        (true, _) => Finding::fault(
            "PostgreSQL is a standby: it takes no payment. Mend: name the primary in \
             ONSALE_DATABASE_URL",
        ),
        (false, 0) => Finding::advice(
            "PostgreSQL has no standby: a lost disk is lost money. Mend: streaming replication, or \
             an archive of its log",
        ),
        (false, count) => Finding::good(format!("PostgreSQL is a primary with {count} standby(s)")),
    }
}

fn connections(all: i32, reserved: i32, own: u32) -> Finding {
    let servers = u32::try_from(all - reserved).unwrap_or(0) / own.max(1);
    let what = format!(
        "max_connections is {all}: room for {servers} server(s) with {own} connections each"
    );
    if servers == 0 {
        Finding::fault(format!(
            "{what}. Mend: alter system set max_connections (and restart), or a smaller \
             ONSALE_DATABASE_CONNECTIONS"
        ))
    } else {
        Finding::good(what)
    }
}

async fn schema(pool: &PgPool) -> Finding {
    match postgres::schema_state(pool).await {
        Ok(SchemaState::Current) => Finding::good("the schema is up to date"),
        Ok(SchemaState::Behind) => Finding::fault("the schema is behind. Mend: onsale migrate"),
        Err(error) => Finding::fault(format!("the schema cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_pool_that_does_not_fit_is_a_fault() {
        assert_eq!(connections(100, 3, 24).level, Level::Good);
        assert_eq!(connections(20, 3, 24).level, Level::Fault);
        assert_eq!(connections(26, 3, 24).level, Level::Fault, "some are not for us");
    }

    #[test]
    fn a_standby_takes_no_payment() {
        assert_eq!(primary(true, 0).level, Level::Fault);
        assert_eq!(primary(false, 0).level, Level::Advice);
        assert_eq!(primary(false, 1).level, Level::Good);
    }

    #[test]
    fn a_postgresql_on_another_continent_is_a_fault() {
        assert_eq!(distance(1).level, Level::Good);
        assert_eq!(distance(20).level, Level::Advice);
        assert_eq!(distance(100).level, Level::Fault);
    }
}
