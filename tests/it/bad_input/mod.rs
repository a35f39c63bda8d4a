//! Bad input, route by route: the named 4xx as a whole problem, and nothing is written.
//!
//! [`ROUTES`] has every method of every path with a request that is right; each test breaks one
//! thing in it. The table is held against the server's own description, so a new route without a
//! row fails [`every_route_has_a_row_and_every_row_a_route`]. What a token may be at each stage of
//! a sale is in `security::refusals`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::support::dump::{assert_unchanged, at_rest, dump};
use crate::support::raw_http::{RawAnswer, exchange};
use crate::support::server::{Deployment, TestServer};
use crate::support::{RawRedis, concert};

mod bodies;
mod dates;
mod framing;
mod keys;
mod methods;
mod numbers;
mod queries;
mod tokens;
mod types;

/// With which the operators' routes are asked.
const ADMIN_TOKEN: &str = "the-operators-token-of-a-test";

/// From where a route takes its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// A JSON body that must be there.
    Body,
    /// A JSON body, or none.
    OptionalBody,
    /// The query, a JSON body, or both.
    Query,
    /// Nowhere; whatever the query says is ignored.
    AnyQuery,
}

impl Takes {
    /// Whether fields come in a body alone.
    fn is_body(self) -> bool {
        matches!(self, Self::Body | Self::OptionalBody)
    }
}

/// One method of one path.
#[derive(Debug, Clone, Copy)]
struct Route {
    method: &'static str,
    path: &'static str,
    takes: Takes,
    /// All of its fields, but `token`. [`Stage::field`] has a right value of each.
    fields: &'static [&'static str],
    /// Those of them that must be there.
    required: &'static [&'static str],
    /// Whether it needs a queue token.
    token: bool,
    /// Whether that may come as `?token=`.
    token_by_query: bool,
}

const fn route(method: &'static str, path: &'static str, takes: Takes) -> Route {
    Route { method, path, takes, fields: &[], required: &[], token: true, token_by_query: false }
}

/// Every route of the API.
const ROUTES: &[Route] = &[
    Route { token: false, ..route("GET", "/concerts", Takes::Query) },
    Route {
        fields: &["userId", "concertId"],
        token: false,
        ..route("POST", "/user/token", Takes::OptionalBody)
    },
    Route { token_by_query: true, ..route("GET", "/user/token/status", Takes::Query) },
    Route { token_by_query: true, ..route("GET", "/user/token/events", Takes::Query) },
    Route { token_by_query: true, ..route("DELETE", "/user/token", Takes::Query) },
    Route { token: false, ..route("GET", "/concert/{id}/fairness", Takes::Query) },
    Route { fields: &["concertId"], ..route("GET", "/concert/available-dates", Takes::Query) },
    Route {
        fields: &["concertId", "concertDate"],
        required: &["concertDate"],
        ..route("GET", "/concert/available-seats", Takes::Query)
    },
    Route {
        fields: &["concertDate"],
        required: &["concertDate"],
        token_by_query: true,
        ..route("GET", "/concert/{id}/seats/events", Takes::Query)
    },
    Route {
        fields: &["userId", "concertId", "concertDate", "seatNumber"],
        required: &["userId", "seatNumber"],
        ..route("POST", "/concert/reserve", Takes::Body)
    },
    Route {
        fields: &["userId", "concertId", "reservationId"],
        required: &["userId", "reservationId"],
        ..route("DELETE", "/concert/reserve", Takes::Query)
    },
    Route {
        fields: &["userId", "amount"],
        required: &["userId", "amount"],
        ..route("POST", "/payment/charge", Takes::Body)
    },
    Route {
        fields: &["userId"],
        required: &["userId"],
        ..route("GET", "/payment/balance", Takes::Query)
    },
    Route { fields: &["userId"], required: &["userId"], ..route("POST", "/payment", Takes::Body) },
    Route {
        fields: &["userId", "ownedBefore"],
        required: &["userId"],
        ..route("GET", "/user/reservations", Takes::Query)
    },
    Route { token: false, ..route("GET", "/healthz", Takes::AnyQuery) },
    Route { token: false, ..route("GET", "/readyz", Takes::AnyQuery) },
    Route { token: false, ..route("GET", "/admin/concerts", Takes::Query) },
    Route {
        fields: &[
            "concertId",
            "capacity",
            "batch",
            "paused",
            "message",
            "opensAt",
            "closesAt",
            "beacon",
        ],
        required: &["concertId"],
        token: false,
        ..route("PATCH", "/admin/concerts", Takes::Body)
    },
    Route {
        fields: &["concertId"],
        required: &["concertId"],
        token: false,
        ..route("DELETE", "/admin/waiting", Takes::Query)
    },
    Route {
        fields: &["concertId"],
        required: &["concertId"],
        token: false,
        ..route("GET", "/admin/withheld", Takes::Query)
    },
    Route {
        fields: &["concertId", "concertDate", "seatNumbers"],
        required: &["concertId", "concertDate", "seatNumbers"],
        token: false,
        ..route("DELETE", "/admin/holds", Takes::Query)
    },
    Route {
        fields: &["concertId", "concertDate", "seatNumbers"],
        required: &["concertId", "concertDate", "seatNumbers"],
        token: false,
        ..route("POST", "/admin/withheld", Takes::Body)
    },
    Route {
        fields: &["concertId", "concertDate", "seatNumbers"],
        required: &["concertId", "concertDate", "seatNumbers"],
        token: false,
        ..route("DELETE", "/admin/withheld", Takes::Query)
    },
    Route {
        fields: &["concertId", "userId"],
        token: false,
        ..route("GET", "/admin/people", Takes::Query)
    },
    Route {
        fields: &["concertId"],
        required: &["concertId"],
        token: false,
        ..route("GET", "/admin/audit", Takes::Query)
    },
    Route { token: false, ..route("GET", "/admin/dashboard", Takes::Query) },
    Route {
        fields: &["concertId", "after"],
        required: &["concertId"],
        token: false,
        ..route("GET", "/admin/series", Takes::Query)
    },
    Route { token: false, ..route("GET", "/metrics", Takes::AnyQuery) },
    Route { token: false, ..route("GET", "/openapi.json", Takes::Query) },
];

/// The routes that take a field of this name.
fn taking(field: &'static str) -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(move |route| route.fields.contains(&field))
}

/// A request that is put together by hand.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    /// With its query.
    target: String,
    fields: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    /// Adds a header field.
    fn with(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name, value.as_ref().to_vec()));
        self
    }

    /// Leaves a header field out.
    fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(given, _)| *given != name);
        self
    }

    fn query(mut self, query: &str) -> Self {
        let path = self.target.split('?').next().unwrap_or_default();
        self.target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        self
    }

    /// Sets the body, as JSON.
    fn json(self, body: impl AsRef<[u8]>) -> Self {
        let mut request = self.without("Content-Type").with("Content-Type", "application/json");
        request.body = body.as_ref().to_vec();
        request
    }

    /// The head up to its last field, to be completed.
    fn head(&self) -> Vec<u8> {
        let (method, target) = (&self.method, &self.target);
        let line = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let mut bytes = line.into_bytes();
        for (name, value) in &self.fields {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        if !self.body.is_empty() {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// What was asked, for a failure's message.
    fn shown(&self, why: &str) -> String {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(80).collect();
        let target: String = self.target.chars().take(120).collect();
        format!("{} {target} {body:?} ({why})", self.method)
    }
}

/// User 1 with money, a hold and an active token in the first of two concerts: whatever a wrong
/// request did by mistake would show.
struct Stage {
    deployment: Deployment,
    server: TestServer,
    token: String,
    reservation: String,
    redis: RawRedis,
    before: Vec<String>,
}

impl Stage {
    async fn set() -> Self {
        let deployment = Deployment::new(vec![concert(10, 1), concert(10, 1)]).await;
        let deployment = deployment.with("admin_token", ADMIN_TOKEN);
        let server = deployment.start().await;
        let concert = deployment.concert();
        let token = server.admitted(concert, 1).await;
        server.charge(&token, 1, 1000).await;
        let hold = server.reserve(&token, concert, 1, 1).await.expect(201);
        let mut redis = RawRedis::shared().await;
        let before = at_rest(&deployment, &mut redis).await;
        let reservation = hold.text("reservationId");
        Self { deployment, server, token, reservation, redis, before }
    }

    /// A right value of a field.
    fn field(&self, name: &str) -> Value {
        match name {
            "userId" | "after" => json!(1),
            "concertId" => json!(self.deployment.concert().id),
            "concertDate" => json!(self.deployment.concert().dates[0]),
            "seatNumber" => json!(2),
            "seatNumbers" => json!([9, 10]),
            "amount" => json!(5),
            "capacity" | "batch" => json!(10),
            "paused" => json!(true),
            "message" => json!("soon"),
            "opensAt" => json!("now"),
            // No other value is right where there is no lottery.
            "beacon" => Value::Null,
            "closesAt" => json!("2099-12-01T20:00:00+09:00"),
            "reservationId" => json!(self.reservation),
            "ownedBefore" => json!("01890a5d-ac96-774b-bcce-b302099a8057"),
            other => panic!("no value for {other}"),
        }
    }

    /// The right fields of a route.
    fn object(&self, route: &Route) -> Map<String, Value> {
        route.fields.iter().map(|name| ((*name).to_owned(), self.field(name))).collect()
    }

    /// A right request without fields: what a route reads is added by who breaks it.
    fn bare(&self, route: &Route) -> Request {
        let id = self.deployment.concert().id.to_string();
        let (method, target) = (route.method.to_owned(), route.path.replace("{id}", &id));
        let bare = Request { method, target, fields: Vec::new(), body: Vec::new() };
        match route {
            Route { token: true, .. } => bare.with("Queue-Token", &self.token),
            Route { path, .. } if path.starts_with("/admin/") || *path == "/metrics" => {
                bare.with("Authorization", format!("Bearer {ADMIN_TOKEN}"))
            }
            _ => bare,
        }
    }

    /// A request with these fields, where the route takes them.
    fn with_fields(&self, route: &Route, fields: &Map<String, Value>) -> Request {
        match route.takes {
            Takes::Query | Takes::AnyQuery => self.bare(route).query(&query_of(fields)),
            Takes::Body | Takes::OptionalBody => {
                self.bare(route).json(Value::Object(fields.clone()).to_string())
            }
        }
    }

    async fn send(&self, request: &Request) -> RawAnswer {
        exchange(self.server.address, &request.bytes()).await
    }

    /// Sends a request that must be refused.
    async fn refused(&self, request: &Request, told: (u16, &str), why: &str) {
        let why = request.shown(why);
        let answer = self.send(request).await;
        let (status, code) = answer.refusal(&why);
        assert_eq!((status, code.as_str()), told, "{why}: {answer:?}");
    }

    /// Nothing that was asked has changed anything, in either store.
    async fn assert_nothing_written(mut self) {
        let after = dump(&self.deployment, &mut self.redis).await;
        assert_unchanged(&self.before, &after);
    }
}

/// Fields in a query; none of the values needs an escape.
fn query_of(fields: &Map<String, Value>) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(Value::to_string).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    };
    let pairs: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    pairs.join("&")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_has_a_row_and_every_row_a_route() {
    let server = Deployment::new(vec![concert(10, 1)]).await.start().await;
    let document = server.get("/openapi.json").await.expect(200).body;
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let name = format!("{} {path}", method.to_uppercase());
            described.insert(row(&name, &fields_of(operation), operation));
        }
    }
    let listed: BTreeSet<_> = ROUTES
        .iter()
        .map(|route| {
            let set = |names: &[&str]| -> BTreeSet<String> {
                names.iter().map(|name| (*name).to_owned()).collect()
            };
            let (fields, required) = (set(route.fields), set(route.required));
            let name = format!("{} {}", route.method, route.path);
            format!("{name} {fields:?} {required:?} token: {}", route.token)
        })
        .collect();
    assert_eq!(described, listed);
}

/// The names of an operation's fields, and of those that are required.
fn fields_of(operation: &Value) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut all, mut required) = (BTreeSet::new(), BTreeSet::new());
    let names = |list: &Value| -> Vec<String> {
        let names = list.as_array().into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "query" {
            let name = parameter["name"].as_str().expect("a name").to_owned();
            if parameter["required"] == true {
                required.insert(name.clone());
            }
            all.insert(name);
        }
    }
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    for part in schema["allOf"].as_array().unwrap_or(&vec![schema.clone()]) {
        all.extend(
            part["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()),
        );
        required.extend(names(&part["required"]));
    }
    // A list of seats is the other way to name a seat: one of the two is required.
    if all.contains("seatNumber") && all.remove("seatNumbers") {
        required.insert("seatNumber".to_owned());
    }
    (all, required)
}

fn row(
    name: &str,
    (fields, required): &(BTreeSet<String>, BTreeSet<String>),
    operation: &Value,
) -> String {
    let token = operation["security"].to_string().contains("queueToken");
    format!("{name} {fields:?} {required:?} token: {token}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_a_right_request_but_for_what_a_test_breaks() {
    let stage = Stage::set().await;
    let leaver = stage.server.admitted(stage.deployment.concert(), 2).await;
    // Paying comes last: it ends the token.
    let (last, first): (Vec<_>, Vec<_>) = ROUTES.iter().partition(|route| route.path == "/payment");
    for route in first.into_iter().chain(last) {
        let mut request = stage.with_fields(route, &stage.object(route));
        if (route.method, route.path) == ("DELETE", "/user/token") {
            request = request.without("Queue-Token").with("Queue-Token", &leaver);
        }
        let answer = stage.send(&request).await;
        assert!([200, 201].contains(&answer.status), "{route:?}: {answer:?}");
    }
}
