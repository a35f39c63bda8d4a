//! The people and concerts of the bench, made through the API before anything is measured.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::load::{self, Plan, Until};
use super::rig::{Rig, wait_until};

/// The connections of whatever is not measured.
const SEED_CONNECTIONS: usize = 128;

/// How long a measurement lasts where nothing is used up.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// What comes before does not count.
    pub warm_up: Duration,
    pub length: Duration,
}

/// How many people one measurement uses up.
#[derive(Debug, Clone, Copy)]
pub struct Lots {
    pub leave: usize,
    pub win: usize,
    pub release: usize,
    pub charge: usize,
    pub pay: usize,
}

/// About a second and a half of each.
const LOTS: Lots = Lots { leave: 24_000, win: 20_000, release: 20_000, charge: 12_000, pay: 5_000 };

/// How big the world is.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// People in the longest line; the others have a tenth and a thousandth.
    pub line: usize,
    /// People at the head of the longest line who are let in meanwhile.
    pub let_in: usize,
    /// How often each route is measured.
    pub measurements: usize,
    pub lots: Lots,
    pub window: Window,
}

impl Sizes {
    /// For so many rounds; a quick run has a fifth of the people and of the time.
    pub fn new(quick: bool, rounds: usize, connections: usize, let_in: usize) -> Self {
        let share = if quick { 5 } else { 1 };
        let Lots { leave, win, release, charge, pay } = LOTS;
        Self {
            line: 1_000_000 / share,
            let_in: let_in * rounds,
            measurements: rounds * connections,
            lots: Lots {
                leave: leave / share,
                win: win / share,
                release: release / share,
                charge: charge / share,
                pay: pay / share,
            },
            window: Window {
                warm_up: Duration::from_millis(300) / u32::try_from(share).unwrap_or(1),
                length: Duration::from_secs(2) / u32::try_from(share).unwrap_or(1),
            },
        }
    }

    /// People for all measurements of a lot, and one who is looked at before.
    fn all(&self, lot: usize) -> usize {
        1 + self.measurements * lot
    }
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
/// People hold a seat in one of these until they give it back.
const GIVERS: std::ops::Range<u32> = 44..52;
/// People hold a seat here, have some money, and leave it at that.
const KEEPERS: u32 = 52;
const KEEPERS_COUNT: usize = 5_000;
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
    /// Those who have the seats there.
    pub takers: Vec<Person>,
    /// Tokens of those who wait in [`LEAVERS`].
    pub leavers: Vec<String>,
    /// Those who hold a seat in [`GIVERS`], and their reservations.
    pub givers: Vec<(Person, String)>,
    /// Those in [`KEEPERS`].
    pub keepers: Vec<Person>,
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
    let enough = |people: usize, concerts: usize| u32::try_from(people / concerts + 1);
    for id in SALES {
        concert(id, enough(sizes.all(sizes.lots.win), SALES.len()).unwrap_or(u32::MAX));
    }
    for id in GIVERS {
        concert(id, enough(sizes.all(sizes.lots.release), GIVERS.len()).unwrap_or(u32::MAX));
    }
    concert(KEEPERS, enough(KEEPERS_COUNT, 1).unwrap_or(u32::MAX));
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
        let people = |count: usize, concerts: std::ops::Range<u32>, users: usize| {
            let spread = concerts.len();
            let person = move |n: usize| Person {
                concert: concerts.start + u32::try_from(n % spread).unwrap_or_default(),
                user: users + n,
                token: String::new(),
                seat: 1 + n / spread,
            };
            let_in(rig, count, &person)
        };
        eprintln!("{} buyers are let in …", sizes.all(sizes.lots.win));
        let buyers = people(sizes.all(sizes.lots.win), SALES, 1)?;
        let mut readers = [const { Vec::new() }; 3];
        for (index, (id, _)) in LISTS.into_iter().enumerate() {
            readers[index] = people(1_000, id..id + 1, 1_000_000 * (index + 1))?;
        }
        let mut takers = people(2_000, TAKEN..TAKEN + 1, 5_000_000)?;
        let losers = takers.split_off(TAKEN_SEATS as usize);
        hold(rig, &takers)?;
        let leavers = arrive(rig, sizes.all(sizes.lots.leave), &|_| (LEAVERS, None))?;
        let givers = people(sizes.all(sizes.lots.release), GIVERS, 6_000_000)?;
        let reservations = hold(rig, &givers)?;
        let givers = givers.into_iter().zip(reservations).collect();
        let keepers = people(KEEPERS_COUNT, KEEPERS..KEEPERS + 1, 7_000_000)?;
        hold(rig, &keepers)?;
        let pay_in = |n: usize, out: &mut Vec<u8>| charge(&keepers[n], out);
        send(rig.server, keepers.len(), &pay_in, &[200])?;
        Ok(Self { sizes, lines, buyers, readers, losers, takers, leavers, givers, keepers })
    }
}

/// Everybody reserves their seat; answers the reservations.
fn hold(rig: &Rig, people: &[Person]) -> anyhow::Result<Vec<String>> {
    let write = |n: usize, out: &mut Vec<u8>| reserve(&people[n], people[n].seat, out);
    let answers = send(rig.server, people.len(), &write, &[201])?;
    answers.iter().map(|body| text(body, "reservationId")).collect()
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
    let plan = Plan { target, connections, first: 0, until: Until::Kept(count), write, expected };
    Ok(load::run(&plan)?.checked().context("while seeding")?.bodies)
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

/// `POST /payment/charge`.
pub fn charge(person: &Person, out: &mut Vec<u8>) {
    let Person { user, token, .. } = person;
    let body = format_args!("{{\"userId\":{user},\"amount\":1000}}");
    post("/payment/charge", token, body, out);
}
