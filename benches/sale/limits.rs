//! What the stores themselves can do: `pgbench` with the statements that move money, and
//! `redis-benchmark` with the commands that the server was seen to send.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::PgPool;

use super::load::{self, Plan, Until};
use super::rig::{Rig, program};
use super::world::{self, ARRIVALS_ANONYMOUS, World};

/// Users that only `pgbench` charges, and lets pay.
const USERS: (u64, u64) = (20_000_001, 20_010_000);

/// Whatever could be charged below is enough for all payments.
const PREPAID: &str = "select count(*) from generate_series($1::bigint, $2::bigint) u, \
    onsale_charge(gen_random_uuid(), u, 10000000, clock_timestamp() + interval '1 minute', null, null)";

const CHARGE: &str = "\\set user random(:first, :last)
select balance_after from onsale_charge(gen_random_uuid(), :user::bigint, 1000, clock_timestamp() + interval '10 seconds', null, null);
";

/// Distinct seats and places, as good as always.
const PAY: &str = "\\set user random(:first, :last)
\\set concert random(1000000, 4000000)
\\set place random(1, 1000000000000)
\\set seat random(1, 100000)
select * from onsale_pay(gen_random_uuid(), gen_random_uuid(), :user::bigint, :concert::integer, :place::bigint, array[date '2035-06-01'], array[:seat::integer], array[gen_random_uuid()], array[100::bigint], clock_timestamp() + interval '10 seconds', null, null);
";

/// What PostgreSQL can do of each.
pub const STATEMENTS: [(&str, &str); 2] = [("charge", CHARGE), ("pay", PAY)];

/// The most clients that a statement is run with.
pub const CLIENTS: usize = 32;

/// Gives the users of `pgbench` money.
pub fn prepare(rig: &Rig) -> anyhow::Result<()> {
    let (first, last) = (i64::try_from(USERS.0)?, i64::try_from(USERS.1)?);
    rig.runtime.block_on(async {
        let database = PgPool::connect(&rig.stores.postgres.url()).await?;
        sqlx::query(PREPAID).bind(first).bind(last).execute(&database).await?;
        database.close().await;
        Ok(())
    })
}

/// How often per second a statement can be executed by so many clients, and how that is called.
pub fn postgres(
    rig: &Rig,
    statement: &str,
    clients: usize,
    length: Duration,
) -> anyhow::Result<(String, f64)> {
    let found = STATEMENTS.into_iter().find(|(name, _)| *name == statement);
    let (name, script) = found.with_context(|| format!("no statement {statement}"))?;
    let file = rig.stores.folder().path().join(format!("{name}.pgbench"));
    std::fs::write(&file, script)?;
    let output = Command::new(program("pgbench")?)
        .args(["-n", "-M", "prepared", "-j", "1"])
        .args(["-T", &length.as_secs().max(1).to_string(), "-c", &clients.to_string()])
        .args(["-D", &format!("first={}", USERS.0), "-D", &format!("last={}", USERS.1)])
        .arg("-f")
        .arg(&file)
        .arg(rig.stores.postgres.url())
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench {name}: {failed}");
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let tps = tps.and_then(|rest| rest.split(' ').next()).context("no tps")?;
    Ok((format!("pgbench {name}, {clients} clients"), tps.parse()?))
}

/// The commands of an arrival and of a lost reservation, taken from the server by `MONITOR`, one by
/// one and pipelined.
pub fn redis(rig: &Rig, world: &World) -> anyhow::Result<Vec<(String, f64)>> {
    let sha = |source| rig.redis(&["script", "load", source]);
    let enter_sha = sha(include_str!("../../lua/queue/enter.lua"))?;
    let hold_sha = sha(include_str!("../../lua/seats/hold.lua"))?;
    let join = |_: usize, out: &mut Vec<u8>| world::join(ARRIVALS_ANONYMOUS, None, out);
    let lose = |_: usize, out: &mut Vec<u8>| world::reserve(&world.losers[0], 1, out);
    // Somebody who holds a seat is refused another one by the script alone.
    let lose_again = |_: usize, out: &mut Vec<u8>| world::reserve(&world.takers[0], 2, out);
    let enter = seen(rig, &join, &enter_sha)?;
    let read = seen(rig, &lose, "\"MGET\"")?;
    let hold = seen(rig, &lose_again, &hold_sha)?;
    let mut together = enter.clone();
    // Anonymous arrivals in a row are sent as their number.
    let arrivals = together.last_mut().filter(|last| *last == "-1").context("one arrival")?;
    "-64".clone_into(arrivals);
    let mut limits = Vec::new();
    for (name, command, count) in [
        ("MGET, token and version", &read, 200_000),
        ("enter, 1 arrival", &enter, 50_000),
        ("enter, 64 arrivals", &together, 5_000),
        ("hold, taken", &hold, 50_000),
    ] {
        for pipeline in [1, 32] {
            let rate = benchmark(rig, command, count, pipeline)?;
            limits.push((format!("{name}, pipeline {pipeline}"), rate));
        }
    }
    Ok(limits)
}

/// The first command with `mark` that the server sends for one request.
fn seen(rig: &Rig, write: load::Write<'_>, mark: &str) -> anyhow::Result<Vec<String>> {
    let mut monitor = BufReader::new(UnixStream::connect(rig.stores.redis.socket())?);
    monitor.get_ref().set_read_timeout(Some(Duration::from_secs(2)))?;
    monitor.get_mut().write_all(b"MONITOR\r\n")?;
    let mut line = String::new();
    monitor.read_line(&mut line)?;
    ensure!(line.starts_with("+OK"), "MONITOR was answered {line}");
    let (target, until, expected) = (rig.server, Until::Number(1), &[201, 409]);
    load::run(&Plan { target, connections: 1, first: 0, until, write, expected })?.checked()?;
    loop {
        line.clear();
        monitor.read_line(&mut line).with_context(|| format!("no command with {mark} was seen"))?;
        // What a script does itself is marked with "lua" instead of an address.
        if line.contains(mark) && !line.contains(" lua]") {
            let (_, words) = line.trim_end().split_once("] ").context("not a command")?;
            // Redis quotes as C does; none of these words holds a quote or a space.
            return Ok(words.split(' ').map(|word| word.trim_matches('"').to_owned()).collect());
        }
    }
}

/// `redis-benchmark` with one command; a group's id differs each time.
fn benchmark(rig: &Rig, command: &[String], count: usize, pipeline: u32) -> anyhow::Result<f64> {
    let random = |word: &String| match word.split_once(":group:") {
        Some((key, id)) => format!("{key}:group:{}__rand_int__", &id[..id.len().min(20)]),
        None => word.clone(),
    };
    let output = Command::new(program("redis-benchmark")?)
        .arg("-s")
        .arg(rig.stores.redis.socket())
        // A greater range than it can hold makes every number the same.
        .args(["-c", "50", "-r", "1000000000", "--csv"])
        .args(["-n", &count.to_string(), "-P", &pipeline.to_string()])
        .args(command.iter().map(random))
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().context("no result")?;
    let rate = line.rsplit("\",\"").nth(6).with_context(|| format!("not understood: {text}"))?;
    Ok(rate.trim_matches('"').parse()?)
}
