//! Sends one call to one server and says what became of it: done, refused, or unknown.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::history::{Call, Outcome};
use crate::recorder::{Recorder, Sender};

/// After this a client gives up. Above every deadline of a server, so that one that is too late is
/// seen to be.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The codes of a 503 that say that nothing happened.
const NOTHING_HAPPENED: [&str; 4] =
    ["redis-unavailable", "database-unavailable", "not-ready", "overloaded"];

/// The servers, as clients reach them.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    servers: Vec<SocketAddr>,
    recorder: Recorder,
}

impl Api {
    /// Clients of these addresses.
    pub fn new(servers: Vec<SocketAddr>, recorder: Recorder) -> anyhow::Result<Self> {
        // A server ends a connection that was idle for 75 s; who uses it in that moment is not answered.
        let idle_max = Duration::from_mins(1);
        let http = reqwest::Client::builder().no_proxy().pool_idle_timeout(idle_max).build()?;
        Ok(Self { http, servers, recorder })
    }

    /// How many servers there are.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Sends `call` and records it.
    pub async fn send(&self, sender: Sender, call: Call) -> Outcome {
        self.send_for(sender, call, ANSWER_MAX).await
    }

    /// Sends `call`, goes away if it is not answered within `patience`, and records it.
    pub async fn send_for(&self, sender: Sender, call: Call, patience: Duration) -> Outcome {
        let request = self.request(self.servers[sender.server], &call).timeout(patience);
        let invoked_us = self.recorder.now_us();
        let outcome = match request.send().await {
            Ok(response) => outcome_of(response).await,
            Err(error) => lost(&error),
        };
        self.recorder.op(sender, invoked_us, call, outcome.clone());
        outcome
    }

    fn request(&self, server: SocketAddr, call: &Call) -> RequestBuilder {
        let request = |method: Method, path: &str| {
            self.http.request(method, format!("http://{server}{path}"))
        };
        let as_holder = |request: RequestBuilder, token: &str| request.header("Queue-Token", token);
        let with_key = |request: RequestBuilder, key: &Option<String>| match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        let mut body = json!({});
        let mut say = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        match call {
            Call::Join { user, concert } => {
                say("userId", user.map(Value::from));
                say("concertId", concert.map(Value::from));
                request(Method::POST, "/user/token").json(&body)
            }
            Call::Poll { token } => as_holder(request(Method::GET, "/user/token/status"), token),
            Call::Leave { token } => as_holder(request(Method::DELETE, "/user/token"), token),
            Call::Dates { token, concert } => {
                let request = as_holder(request(Method::GET, "/concert/available-dates"), token);
                request.query(&concert.map(|concert| [("concertId", concert)]))
            }
            Call::Seats { token, concert, date } => {
                let request = as_holder(request(Method::GET, "/concert/available-seats"), token);
                let request = request.query(&[("concertDate", date)]);
                request.query(&concert.map(|concert| [("concertId", concert)]))
            }
            Call::Reserve { token, user, concert, date, seats } => {
                say("userId", Some((*user).into()));
                say("concertId", concert.map(Value::from));
                say("concertDate", date.clone().map(Value::from));
                match seats.as_slice() {
                    [seat] => say("seatNumber", Some((*seat).into())),
                    seats => say("seatNumbers", Some(seats.to_vec().into())),
                }
                as_holder(request(Method::POST, "/concert/reserve"), token).json(&body)
            }
            Call::Release { token, user, concert, reservation } => {
                say("userId", Some((*user).into()));
                say("concertId", concert.map(Value::from));
                say("reservationId", Some(reservation.clone().into()));
                as_holder(request(Method::DELETE, "/concert/reserve"), token).json(&body)
            }
            Call::Charge { token, user, amount, key } => {
                let body = json!({"userId": user, "amount": amount});
                let request = as_holder(request(Method::POST, "/payment/charge"), token);
                with_key(request, key).json(&body)
            }
            Call::Balance { token, user } => {
                let request = as_holder(request(Method::GET, "/payment/balance"), token);
                request.query(&[("userId", user)])
            }
            Call::Pay { token, user, key } => {
                let request = as_holder(request(Method::POST, "/payment"), token);
                with_key(request, key).json(&json!({"userId": user}))
            }
            Call::Reservations { token, user } => {
                let request = as_holder(request(Method::GET, "/user/reservations"), token);
                request.query(&[("userId", user)])
            }
        }
    }
}

async fn outcome_of(response: Response) -> Outcome {
    let status = response.status().as_u16();
    let retry_after = response.headers().get("Retry-After");
    let retry_after =
        retry_after.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let body = match response.bytes().await {
        Ok(bytes) => serde_json::from_slice::<Value>(&bytes),
        Err(error) => return lost(&error),
    };
    let unknown = |reason: &str, retry_after| Outcome::Info {
        reason: reason.to_owned(),
        status: Some(status),
        retry_after,
    };
    let Ok(body) = body else {
        return unknown("the answer is not JSON", retry_after);
    };
    let code = body["code"].as_str().unwrap_or_default().to_owned();
    match status {
        200..=299 => Outcome::Ok { status, body },
        400..=499 => Outcome::Fail { status, code, body, retry_after },
        503 if NOTHING_HAPPENED.contains(&code.as_str()) => {
            Outcome::Fail { status, code, body, retry_after }
        }
        _ => unknown(&code, retry_after),
    }
}

/// No answer, or half of one.
fn lost(error: &reqwest::Error) -> Outcome {
    let reason = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    Outcome::Info { reason, status: None, retry_after: None }
}
