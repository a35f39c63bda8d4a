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

/// An order that jumps about.
fn spread(n: usize, of: usize) -> usize {
    n.wrapping_mul(7_919) % of
}

fn keeper(world: &World, n: usize) -> &Person {
    &world.keepers[spread(n, world.keepers.len())]
}

fn line(world: &World) -> Vec<Route<'_>> {
    let tokens = &world.lines[0];
    let skip = world.sizes.let_in;
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
    let inside = |n: usize, out: &mut Vec<u8>| {
        world::get(format_args!("/user/token/status"), &keeper(world, n).token, out);
    };
    vec![
        Route::new("status, waiting", "GET /user/token/status", poll),
        Route::new("token, anonymous", "POST /user/token", arrive).answers(201),
        Route::new("token, named", "POST /user/token", arrive_named).answers(201),
        Route::new("status, active", "GET /user/token/status", inside),
        Route::new("leave", "DELETE /user/token", leave).consuming(world.sizes.lots.leave),
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
    let lots = world.sizes.lots;
    vec![
        Route::new("dates", "GET /concert/available-dates", dates),
        Route::new("seats, 50", "GET /concert/available-seats", list(0)),
        Route::new("seats, 5,000", "GET /concert/available-seats", list(1)),
        Route::new("seats, 50,000", "GET /concert/available-seats", list(2)),
        Route::new("reserve, taken", "POST /concert/reserve", lose).answers(409),
        Route::new("reserve, won", "POST /concert/reserve", win).answers(201).consuming(lots.win),
        Route::new("release", "DELETE /concert/reserve", give_back).consuming(lots.release),
    ]
}

fn money(world: &World) -> Vec<Route<'_>> {
    let charge = |n: usize, out: &mut Vec<u8>| world::charge(&world.buyers[n], out);
    let pay = |n: usize, out: &mut Vec<u8>| {
        let Person { user, token, .. } = &world.buyers[n];
        world::post("/payment", token, format_args!("{{\"userId\":{user}}}"), out);
    };
    let of_keeper = |path: &'static str| {
        move |n: usize, out: &mut Vec<u8>| {
            let Person { user, token, .. } = keeper(world, n);
            world::get(format_args!("{path}?userId={user}"), token, out);
        }
    };
    let lots = world.sizes.lots;
    let (balance, mine) = ("/payment/balance", "/user/reservations");
    vec![
        Route::new("charge", "POST /payment/charge", charge)
            .consuming(lots.charge)
            .beside("charge"),
        Route::new("balance", "GET /payment/balance", of_keeper(balance)),
        Route::new("pay", "POST /payment", pay).consuming(lots.pay).beside("pay"),
        Route::new("reservations", "GET /user/reservations", of_keeper(mine)),
    ]
}
