//! Who may do what: every route with every wrong credential, real servers under attack, and logs
//! that keep secrets.

use std::collections::BTreeSet;

use onsale::concerts::Concert;
use serde_json::{Value, json};

use crate::support::server::{Answer, TestServer};

mod jwt;
mod limits;
mod logs;
mod operators;
mod refusals;
#[cfg(target_os = "linux")]
mod slow;
mod start;

/// A route that needs a token.
#[derive(Debug, Clone)]
struct Call {
    method: &'static str,
    path: String,
    body: Option<Value>,
    /// Whether the request names its concert.
    names_concert: bool,
    /// Whether the request names a user.
    names_user: bool,
    /// Whether a token that has bought is enough.
    takes_consumed: bool,
}

impl Call {
    async fn send(&self, server: &TestServer, token: Option<&str>) -> Answer {
        server.send(self.method, &self.path, token, self.body.clone()).await
    }

    /// The path without its query, as the table of routes has it.
    fn route(&self) -> (String, String) {
        let path = self.path.split('?').next().unwrap_or_default();
        let number =
            |part: &str| part.bytes().all(|byte| byte.is_ascii_digit()) && !part.is_empty();
        let part = |part| if number(part) { "{id}" } else { part };
        let template: Vec<_> = path.split('/').map(part).collect();
        (self.method.to_owned(), template.join("/"))
    }
}

/// What the calls of a table are about. All of them would succeed for its user's active token,
/// except that paying needs money.
#[derive(Clone)]
struct Subject<'a> {
    concert: &'a Concert,
    user: u64,
    reservation: String,
}

/// Every route that needs an active token, as a right request of `subject`.
fn protected(subject: &Subject) -> Vec<Call> {
    let Subject { concert, user, reservation } = subject;
    let (id, date) = (concert.id, concert.dates[0]);
    let get = |path: String| ("GET", path, None);
    let post = |path: &str, body: Value| ("POST", path.to_owned(), Some(body));
    let held = format!("userId={user}&concertId={id}&reservationId={reservation}");
    let calls = [
        get(format!("/concert/available-dates?concertId={id}")),
        get(format!("/concert/available-seats?concertId={id}&concertDate={date}")),
        get(format!("/concert/{id}/seats/events?concertDate={date}")),
        post("/concert/reserve", json!({"userId": user, "concertId": id, "seatNumber": 2})),
        ("DELETE", format!("/concert/reserve?{held}"), None),
        post("/payment/charge", json!({"userId": user, "amount": 5})),
        get(format!("/payment/balance?userId={user}")),
        post("/payment", json!({"userId": user})),
        get(format!("/user/reservations?userId={user}")),
    ];
    let consumed = ["/payment/balance", "/payment", "/user/reservations"];
    let call = |(method, path, body): (&'static str, String, Option<Value>)| {
        let said = format!("{path}{}", body.as_ref().map(Value::to_string).unwrap_or_default());
        Call {
            method,
            names_concert: said.contains("concertId") || path.contains(&format!("/concert/{id}/")),
            names_user: said.contains("userId"),
            takes_consumed: consumed.iter().any(|route| path.split('?').next() == Some(route)),
            path,
            body,
        }
    };
    calls.map(call).into()
}

/// Holds the table against the server's own description: no route that takes a token is forgotten.
/// The poll, its stream and the leave take any live token, and stand in their own tests.
async fn assert_no_route_is_forgotten(server: &TestServer, calls: &[Call]) {
    let document = server.get("/openapi.json").await.expect(200).body;
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if operation["security"].to_string().contains("queueToken") {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    let any_token =
        [("GET", "/user/token/status"), ("GET", "/user/token/events"), ("DELETE", "/user/token")];
    let listed: BTreeSet<_> = calls
        .iter()
        .map(Call::route)
        .chain(any_token.map(|(method, path)| (method.to_owned(), path.to_owned())))
        .collect();
    assert_eq!(described, listed);
}
