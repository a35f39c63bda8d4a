//! The people and concerts of the bench, made through the API before anything is measured.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::load::{self, Plan};
use super::rig::{Rig, wait_until};

/// The connections of whatever is not measured.
const SEED_CONNECTIONS: usize = 128;

/// How big the world is.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// People in the longest line; the others have a tenth and a thousandth.
    pub line: usize,
    /// People who are let in, hold a seat each and pay for it.
    pub buyers: usize,
    /// Requests per measurement, as a share of the full number.
    pub share: f64,
    /// How often each route is measured.
    pub measurements: usize,
}

/// The lines of three lengths, the longest first.
pub const LINES: [u32; 3] = [1, 2, 3];
/// Arrivals without and with a user go here.
pub const ARRIVALS_ANONYMOUS: u32 = 4;
/// See [`ARRIVALS_ANONYMOUS`].
pub const ARRIVALS_NAMED: u32 = 5;
/// Seat lists of three sizes.
pub const LISTS: [(u32, u32); 3] = [(7, 50), (8, 5_000), (9, 50_000)];
/// All of its seats are held.
pub const TAKEN: u32 = 10;
const TAKEN_SEATS: u32 = 50;
/// The concerts in which the buyers buy.
const SALES: std::ops::Range<u32> = 11..43;
/// People wait here until they leave.
pub const LEAVERS: u32 = 43;
/// People hold a seat here until they give it back.
pub const GIVERS: u32 = 44;
/// The only date of every concert.
pub const DATE: &str = "2035-06-01";

/// Somebody with a token.
#[derive(Debug, Clone)]
pub struct Person {
    pub concert: u32,
    pub user: usize,
    pub token: String,
    /// What a buyer reserves.
    pub seat: usize,
}

/// Everybody.
pub struct World {
    pub sizes: Sizes,
    /// Tokens of the three lines, in order.
    pub lines: [Vec<String>; 3],
    /// Let in; one per seat of the sales.
    pub buyers: Vec<Person>,
    /// Let in to each of [`LISTS`].
    pub readers: [Vec<Person>; 3],
    /// Let in to [`TAKEN`], without a seat.
    pub losers: Vec<Person>,
    /// Tokens of those who wait in [`LEAVERS`].
    pub leavers: Vec<String>,
    /// Those who hold a seat in [`GIVERS`], and their reservations.
    pub givers: Vec<(Person, String)>,
}

/// The catalogue. Lines stand still because nobody is let in there (capacity is 1, and paused).
pub fn catalogue(sizes: Sizes) -> String {
    let mut text = String::new();
    let mut concert = |id: u32, seats: u32| {
        let _ = writeln!(
            text,
            "[[concert]]\nid = {id}\nname = \"Concert {id}\"\ndates = [\"{DATE}\"]\n\
             seats = {seats}\nprice = 100\ntime_zone = \"UTC\"\ncapacity = 1000000\nbatch = 100000"
        );
    };
    for id in LINES.into_iter().chain([ARRIVALS_ANONYMOUS, ARRIVALS_NAMED, LEAVERS]) {
        concert(id, 50);
    }
    for (id, seats) in LISTS {
        concert(id, seats);
    }
    concert(TAKEN, TAKEN_SEATS);
    for id in SALES {
        concert(id, u32::try_from(sizes.buyers / SALES.len() + 1).unwrap_or(u32::MAX));
    }
    concert(GIVERS, u32::try_from(sizes.buyers).unwrap_or(u32::MAX));
    text
}

impl World {
    /// Makes everybody.
    pub fn seed(rig: &Rig, sizes: Sizes) -> anyhow::Result<Self> {
        for id in LINES.into_iter().chain([ARRIVALS_ANONYMOUS, ARRIVALS_NAMED, LEAVERS]) {
            rig.redis(&["hset", &format!("{{c{id}}}:settings"), "paused", "1"])?;
        }
        let lengths = [sizes.line, sizes.line / 10, sizes.line / 1_000];
        let mut lines = [const { Vec::new() }; 3];
        for ((line, id), length) in lines.iter_mut().zip(LINES).zip(lengths) {
            eprintln!("{length} people arrive at concert {id} …");
            *line = arrive(rig, length, &|_| (id, None))?;
        }
        eprintln!("{} buyers are let in …", sizes.buyers);
        let concerts = SALES.len();
        let sale = |n: usize| SALES.start + u32::try_from(n % concerts).unwrap_or_default();
        let buyers = let_in(rig, sizes.buyers, &|n| Person {
            concert: sale(n),
            user: 1 + n,
            token: String::new(),
            seat: 1 + n / concerts,
        })?;
        let guests = |concert: u32, count: usize, users: usize| {
            let person =
                move |n| Person { concert, user: users + n, token: String::new(), seat: 0 };
            let_in(rig, count, &person)
        };
        let mut readers = [const { Vec::new() }; 3];
        for (index, (id, _)) in LISTS.into_iter().enumerate() {
            readers[index] = guests(id, 1_000, 1_000_000 * (index + 1))?;
        }
        let mut losers = guests(TAKEN, 2_000, 5_000_000)?;
        let holders = losers.split_off(losers.len() - TAKEN_SEATS as usize);
        let hold = |n: usize, out: &mut Vec<u8>| reserve(&holders[n], n + 1, out);
        send(rig.server, holders.len(), &hold, &[201])?;
        let waiting = arrive(rig, sizes.buyers, &|_| (LEAVERS, None))?;
        let guests = guests(GIVERS, sizes.buyers, 6_000_000)?;
        let hold = |n: usize, out: &mut Vec<u8>| reserve(&guests[n], n + 1, out);
        let answers = send(rig.server, guests.len(), &hold, &[201])?;
        let reservations = answers.iter().map(|body| text(body, "reservationId"));
        let reservations = reservations.collect::<anyhow::Result<Vec<_>>>()?;
        let givers = guests.into_iter().zip(reservations).collect();
        Ok(Self { sizes, lines, buyers, readers, losers, leavers: waiting, givers })
    }
}

/// `count` arrivals; answers their tokens in order.
fn arrive(
    rig: &Rig,
    count: usize,
    who: &(dyn Fn(usize) -> (u32, Option<usize>) + Sync),
) -> anyhow::Result<Vec<String>> {
    let write = |n: usize, out: &mut Vec<u8>| {
        let (concert, user) = who(n);
        join(concert, user, out);
    };
    let bodies = send(rig.server, count, &write, &[201])?;
    bodies.iter().map(|body| text(body, "token")).collect()
}

/// Arrives, waits for the promotion, and claims.
fn let_in(
    rig: &Rig,
    count: usize,
    who: &(dyn Fn(usize) -> Person + Sync),
) -> anyhow::Result<Vec<Person>> {
    let tokens = arrive(rig, count, &|n| (who(n).concert, Some(who(n).user)))?;
    let people: Vec<Person> =
        tokens.into_iter().enumerate().map(|(n, token)| Person { token, ..who(n) }).collect();
    let concerts: std::collections::BTreeSet<u32> = people.iter().map(|p| p.concert).collect();
    wait_until("everybody is let in", || {
        let waiting = |id: &u32| rig.redis_number(&["zcard", &format!("{{c{id}}}:waiting")]);
        Ok(concerts.iter().map(waiting).sum::<anyhow::Result<u64>>()? == 0)
    })?;
    let claim = |n: usize, out: &mut Vec<u8>| dates(&people[n], out);
    send(rig.server, count, &claim, &[200])?;
    Ok(people)
}

fn send(
    target: SocketAddr,
    count: usize,
    write: load::Write<'_>,
    expected: &[u16],
) -> anyhow::Result<Vec<String>> {
    let connections = SEED_CONNECTIONS.min(count);
    let plan =
        Plan { target, connections, numbers: (0, count), write, expected, keep_bodies: true };
    let measured = load::run(&plan)?;
    ensure!(measured.unexpected_count == 0, "while seeding: {:?}", measured.unexpected);
    Ok(measured.bodies)
}

/// A text in an answer.
fn text(body: &str, field: &str) -> anyhow::Result<String> {
    let value: Value = serde_json::from_str(body)?;
    let text = value[field].as_str();
    Ok(text.with_context(|| format!("no {field} in {body}"))?.to_owned())
}

// ---- requests: the same bytes for the server and for the limit ----

const HEAD: &str =
    "HTTP/1.1\r\nHost: bench\r\nUser-Agent: onsale-bench\r\nAccept: application/json\r\n";

/// A GET with a token.
pub fn get(path: std::fmt::Arguments<'_>, token: &str, out: &mut Vec<u8>) {
    bodiless("GET", path, token, out);
}

/// A DELETE with a token.
pub fn delete(path: std::fmt::Arguments<'_>, token: &str, out: &mut Vec<u8>) {
    bodiless("DELETE", path, token, out);
}

fn bodiless(method: &str, path: std::fmt::Arguments<'_>, token: &str, out: &mut Vec<u8>) {
    use std::io::Write;
    // Writing into memory does not fail.
    let _ = write!(out, "{method} {path} {HEAD}Queue-Token: {token}\r\n\r\n");
}

/// A POST with a body, and a token unless it is empty.
pub fn post(path: &str, token: &str, body: std::fmt::Arguments<'_>, out: &mut Vec<u8>) {
    use std::io::Write;
    let body = body.to_string();
    let _ = write!(out, "POST {path} {HEAD}Content-Type: application/json\r\n");
    if !token.is_empty() {
        let _ = write!(out, "Queue-Token: {token}\r\n");
    }
    let _ = write!(out, "Content-Length: {}\r\n\r\n{body}", body.len());
}

/// `POST /user/token`.
pub fn join(concert: u32, user: Option<usize>, out: &mut Vec<u8>) {
    match user {
        Some(user) => {
            post(
                "/user/token",
                "",
                format_args!("{{\"concertId\":{concert},\"userId\":{user}}}"),
                out,
            );
        }
        None => post("/user/token", "", format_args!("{{\"concertId\":{concert}}}"), out),
    }
}

/// `GET /concert/available-dates`.
pub fn dates(person: &Person, out: &mut Vec<u8>) {
    get(format_args!("/concert/available-dates?concertId={}", person.concert), &person.token, out);
}

/// `POST /concert/reserve`.
pub fn reserve(person: &Person, seat: usize, out: &mut Vec<u8>) {
    let Person { concert, user, token, .. } = person;
    let body = format_args!(
        "{{\"userId\":{user},\"concertId\":{concert},\"concertDate\":\"{DATE}\",\"seatNumber\":{seat}}}"
    );
    post("/concert/reserve", token, body, out);
}
