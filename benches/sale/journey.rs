//! Every route with realistic requests: distinct people, tokens and seats.

use super::routes::Route;
use super::world::{self, ARRIVALS_ANONYMOUS, ARRIVALS_NAMED, DATE, LISTS, Person, World};

/// Every route, in the order in which a buyer meets them: later ones use what earlier ones made.
pub fn all(world: &World) -> Vec<Route<'_>> {
    let mut routes = line(world);
    routes.extend(seats(world));
    routes.extend(money(world));
    routes
}

/// How many requests one measurement takes, where they are not used up.
fn requests(world: &World, full: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
    let scaled = (full * world.sizes.share) as usize;
    scaled.max(500)
}

/// An order that jumps about.
fn spread(n: usize, of: usize) -> usize {
    n.wrapping_mul(7_919) % of
}

fn buyer(world: &World, n: usize) -> &Person {
    &world.buyers[spread(n, world.buyers.len())]
}

fn line(world: &World) -> Vec<Route<'_>> {
    let tokens = &world.lines[0];
    // Those at the head may be let in by somebody; a hundredth further back nobody is.
    let skip = tokens.len() / 100;
    let poll = move |n: usize, out: &mut Vec<u8>| {
        let token = &tokens[skip + spread(n, tokens.len() - skip)];
        world::get(format_args!("/user/token/status"), token, out);
    };
    let arrive = |_, out: &mut Vec<u8>| world::join(ARRIVALS_ANONYMOUS, None, out);
    let arrive_named =
        |n, out: &mut Vec<u8>| world::join(ARRIVALS_NAMED, Some(10_000_000 + n), out);
    let leave = |n: usize, out: &mut Vec<u8>| {
        world::delete(format_args!("/user/token"), &world.leavers[n], out);
    };
    // Not the buyers: theirs are consumed when they pay.
    let inside = |n: usize, out: &mut Vec<u8>| {
        let (person, _) = &world.givers[spread(n, world.givers.len())];
        world::get(format_args!("/user/token/status"), &person.token, out);
    };
    let count = |full| requests(world, full);
    vec![
        Route::new("status, waiting", "GET /user/token/status", count(40_000.0), poll),
        Route::new("token, anonymous", "POST /user/token", count(25_000.0), arrive).answers(201),
        Route::new("token, named", "POST /user/token", count(20_000.0), arrive_named).answers(201),
        Route::new("status, active", "GET /user/token/status", count(20_000.0), inside),
        Route::new("leave", "DELETE /user/token", per_buyer(world), leave)
            .consuming(world.leavers.len()),
    ]
}

fn seats(world: &World) -> Vec<Route<'_>> {
    let list = |index: usize| {
        let people = &world.readers[index];
        let (concert, _) = LISTS[index];
        move |n: usize, out: &mut Vec<u8>| {
            let path =
                format_args!("/concert/available-seats?concertId={concert}&concertDate={DATE}");
            world::get(path, &people[n % people.len()].token, out);
        }
    };
    let dates = |n: usize, out: &mut Vec<u8>| {
        let people = &world.readers[n % world.readers.len()];
        world::dates(&people[n % people.len()], out);
    };
    let lose = |n: usize, out: &mut Vec<u8>| {
        world::reserve(&world.losers[n % world.losers.len()], 1 + n % 50, out);
    };
    let win = |n: usize, out: &mut Vec<u8>| {
        let person = &world.buyers[n];
        world::reserve(person, person.seat, out);
    };
    let give_back = |n: usize, out: &mut Vec<u8>| {
        let (Person { user, token, .. }, reservation) = &world.givers[n];
        let path = format_args!("/concert/reserve?userId={user}&reservationId={reservation}");
        world::delete(path, token, out);
    };
    let count = |full| requests(world, full);
    vec![
        Route::new("dates", "GET /concert/available-dates", count(15_000.0), dates),
        Route::new("seats, 50", "GET /concert/available-seats", count(20_000.0), list(0)),
        Route::new("seats, 5,000", "GET /concert/available-seats", count(10_000.0), list(1)),
        Route::new("seats, 50,000", "GET /concert/available-seats", count(2_000.0), list(2)),
        Route::new("reserve, taken", "POST /concert/reserve", count(15_000.0), lose).answers(409),
        Route::new("reserve, won", "POST /concert/reserve", per_buyer(world), win)
            .answers(201)
            .consuming(world.buyers.len()),
        Route::new("release", "DELETE /concert/reserve", per_buyer(world), give_back)
            .consuming(world.givers.len()),
    ]
}

/// How many requests one measurement takes, where each needs a buyer of its own.
fn per_buyer(world: &World) -> usize {
    world.buyers.len() / world.sizes.measurements
}

fn money(world: &World) -> Vec<Route<'_>> {
    let charge = |n: usize, out: &mut Vec<u8>| {
        let Person { user, token, .. } = &world.buyers[n];
        let body = format_args!("{{\"userId\":{user},\"amount\":1000}}");
        world::post("/payment/charge", token, body, out);
    };
    let pay = |n: usize, out: &mut Vec<u8>| {
        let Person { user, token, .. } = &world.buyers[n];
        world::post("/payment", token, format_args!("{{\"userId\":{user}}}"), out);
    };
    let of_buyer = |path: &'static str| {
        move |n: usize, out: &mut Vec<u8>| {
            let Person { user, token, .. } = buyer(world, n);
            world::get(format_args!("{path}?userId={user}"), token, out);
        }
    };
    let count = |full| requests(world, full);
    let (each, buyers) = (per_buyer(world), world.buyers.len());
    let (balance, mine) = ("/payment/balance", "/user/reservations");
    vec![
        Route::new("charge", "POST /payment/charge", each, charge).consuming(buyers),
        Route::new("balance", "GET /payment/balance", count(10_000.0), of_buyer(balance)),
        Route::new("pay", "POST /payment", each, pay).consuming(buyers),
        Route::new("reservations", "GET /user/reservations", count(8_000.0), of_buyer(mine)),
    ]
}
