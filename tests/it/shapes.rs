//! The eight given requests answer in exactly the given shapes: every field, its type and its form.
//! Fields beyond the given ones are those that the API adds, and no others.

use chrono::{NaiveDate, NaiveDateTime, TimeZone};
use chrono_tz::Asia::Seoul;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::process::ServerProcess;
use crate::support::server::{Deployment, TestServer};
use crate::support::{RawRedis, concert, date};

/// The form of a value.
#[derive(Debug, Clone)]
enum Form {
    /// Exactly this.
    Is(Value),
    /// A whole number of at least 0, written without a point.
    Integer,
    /// Seconds, with one decimal at most.
    Seconds,
    /// `<uuid>_<position>`, at this position.
    Token(u64),
    Uuid,
    /// `YYYY-MM-DD`.
    Date,
    /// `YYYY-MM-DD HH:MM:SS`.
    Moment,
    /// As many objects with these fields.
    List(usize, Vec<(&'static str, Form)>),
}

/// Whether a text is what its own reading is written as: no other form of the same passes.
fn is_written_as(text: &str, read: Option<String>) -> bool {
    read.is_some_and(|written| written == text)
}

impl Form {
    fn fits(&self, value: &Value) -> bool {
        let text = value.as_str().unwrap_or_default();
        match self {
            Self::Is(wanted) => value == wanted,
            Self::Integer => value.is_u64(),
            Self::Seconds => value.as_f64().is_some_and(|seconds| {
                let tenths = seconds * 10.0;
                seconds >= 0.0 && (tenths - tenths.round()).abs() < 1e-6
            }),
            Self::Token(position) => text.split_once('_').is_some_and(|(uuid, tail)| {
                Self::Uuid.fits(&json!(uuid)) && tail == position.to_string()
            }),
            Self::Uuid => {
                is_written_as(text, text.parse().ok().map(|id: Uuid| id.hyphenated().to_string()))
            }
            Self::Date => {
                is_written_as(text, text.parse().ok().map(|date: NaiveDate| date.to_string()))
            }
            Self::Moment => is_written_as(text, moment(text).map(|at| at.to_string())),
            Self::List(length, fields) => value.as_array().is_some_and(|items| {
                for item in items {
                    assert_shape(item, fields);
                }
                items.len() == *length
            }),
        }
    }
}

fn moment(text: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()
}

/// Fails unless `value` is an object of exactly these fields, each in its form.
#[track_caller]
fn assert_shape(value: &Value, fields: &[(&'static str, Form)]) {
    let object = value.as_object().expect("an object");
    for (name, form) in fields {
        let field = object.get(*name).unwrap_or_else(|| panic!("no {name}: {value}"));
        assert!(form.fits(field), "{name} is no {form:?}: {value}");
    }
    let unknown = object.keys().find(|name| fields.iter().all(|(known, _)| known != name));
    assert_eq!(unknown, None, "{value}");
}

fn is(value: impl Into<Value>) -> Form {
    Form::Is(value.into())
}

/// What every answer says of a hold.
fn hold(concert: &Value, seat: u32) -> Vec<(&'static str, Form)> {
    vec![
        ("reservationId", Form::Uuid),
        ("concertId", is(concert.clone())),
        ("concertDate", is("2099-12-01")),
        ("seatNumber", is(seat)),
        ("price", is(100)),
        ("expireAt", Form::Moment),
        ("expiresIn", Form::Integer),
    ]
}

/// What every answer says of an owned seat.
fn owned(concert: &Value) -> Vec<(&'static str, Form)> {
    vec![
        ("paymentId", Form::Uuid),
        ("reservationId", Form::Uuid),
        ("concertId", is(concert.clone())),
        ("concertDate", Form::Date),
        ("seatNumber", Form::Integer),
        ("amount", is(100)),
        ("paidAt", Form::Moment),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_given_requests_about_the_line_and_seats_answer_in_exactly_the_given_shapes() {
    let deployment = Deployment::new(vec![concert(20, 1)]).await;
    let (server, concert) = (deployment.start().await, deployment.concert());
    let id = json!(concert.id);

    // 1
    let body = json!({"concertId": concert.id, "userId": 1});
    let joined = server.post("/user/token", body).await.expect(201);
    let standing = |position: u64, status: &'static str| {
        vec![
            ("queuePosition", is(position)),
            ("estimatedWaitTime", Form::Integer),
            ("status", is(status)),
            ("concertId", is(id.clone())),
            ("pollAfter", Form::Seconds),
        ]
    };
    let token_field = ("token", Form::Token(1));
    assert_shape(&joined.body, &[standing(1, "waiting"), vec![token_field]].concat());
    let token = joined.text("token");
    // 2
    server.wait_until_active(&token).await;
    let status = server.get_as(&token, "/user/token/status").await.expect(200);
    let expires_in = ("expiresIn", Form::Integer);
    assert_shape(&status.body, &[standing(0, "active"), vec![expires_in]].concat());
    assert_eq!(status.body["estimatedWaitTime"], 0);
    for answer in [&joined, &status] {
        let wait = answer.body["pollAfter"].as_f64().expect("seconds").ceil();
        assert_eq!(answer.headers["retry-after"], wait.to_string(), "{answer:?}");
    }
    // 3, 4
    let dates = server.get_as(&token, "/concert/available-dates").await.expect(200);
    assert_eq!(dates.body, json!({"availableDates": ["2099-12-01"]}));
    let path = format!("/concert/available-seats?concertId={}&concertDate=2099-12-01", concert.id);
    let seats = server.get_as(&token, &path).await.expect(200);
    assert_eq!(seats.body, json!({"availableSeats": (1..=20).collect::<Vec<_>>()}));
    // 5
    let body = json!({"userId": 1, "concertId": concert.id, "seatNumber": 12});
    let held = server.post_as(&token, "/concert/reserve", body.clone()).await.expect(201);
    let one = [hold(&id, 12), vec![("status", is("reserved"))]].concat();
    assert_shape(&held.body, &one);
    assert_expires_when_redis_says(&held.text("expireAt"), concert, 12).await;
    let again = server.post_as(&token, "/concert/reserve", body).await.expect(200);
    assert_shape(&again.body, &one);
    assert_eq!(again.body["expireAt"], held.body["expireAt"]);
    let body = json!({"userId": 1, "concertDate": "2099-12-01", "seatNumbers": [3, 5]});
    let several = server.post_as(&token, "/concert/reserve", body).await.expect(201);
    assert_shape(
        &several.body,
        &[
            ("status", is("reserved")),
            ("concertId", is(id.clone())),
            ("concertDate", is("2099-12-01")),
            ("expireAt", Form::Moment),
            ("expiresIn", Form::Integer),
            ("seats", Form::List(2, with_any_seat(hold(&id, 0)))),
        ],
    );
    assert_eq!(numbers(&several.body["seats"]), [Some(3), Some(5)]);
}

/// The seats of a list, in its order.
fn numbers(list: &Value) -> Vec<Option<u64>> {
    list.as_array().into_iter().flatten().map(|seat| seat["seatNumber"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_given_requests_about_money_answer_in_exactly_the_given_shapes() {
    let deployment = Deployment::new(vec![concert(20, 1)]).await;
    let (server, concert) = (deployment.start().await, deployment.concert());
    let id = json!(concert.id);
    let token = server.admitted(concert, 1).await;
    let body = json!({"userId": 1, "seatNumbers": [12, 3, 5]});
    server.post_as(&token, "/concert/reserve", body).await.expect(201);
    // 6, 7
    let body = json!({"userId": 1, "amount": 30000});
    let charged = server.post_as(&token, "/payment/charge", body).await.expect(200);
    let told = json!({"userId": 1, "balance": 30000, "message": "Balance charged successfully."});
    assert_eq!(charged.body, told);
    let balance = server.get_as(&token, "/payment/balance?userId=1").await.expect(200);
    assert_eq!(balance.body, json!({"userId": 1, "balance": 30000}));
    let mine = server.get_as(&token, "/user/reservations?userId=1").await.expect(200);
    let holds = with_any_seat(hold(&id, 0));
    assert_shape(&mine.body, &[("holds", Form::List(3, holds)), ("owned", is(json!([])))]);
    // 8
    let paid = server.pay(&token, 1).await.expect(200);
    assert_shape(
        &paid.body,
        &[
            ("userId", is(1)),
            ("status", is("completed")),
            ("message", is("Payment successful and ownership assigned.")),
            ("balance", is(29700)),
            ("payments", Form::List(3, owned(&id))),
        ],
    );
    assert_eq!(numbers(&paid.body["payments"]), [Some(3), Some(5), Some(12)]);
    let mine = server.get_as(&token, "/user/reservations?userId=1").await.expect(200);
    let owned = Form::List(3, owned(&id));
    assert_shape(&mine.body, &[("holds", is(json!([]))), ("owned", owned)]);
}

fn with_any_seat(fields: Vec<(&'static str, Form)>) -> Vec<(&'static str, Form)> {
    let any =
        |(name, form)| if name == "seatNumber" { (name, Form::Integer) } else { (name, form) };
    fields.into_iter().map(any).collect()
}

/// In the concert's time zone, to the second.
async fn assert_expires_when_redis_says(
    expire_at: &str,
    concert: &onsale::concerts::Concert,
    seat: u32,
) {
    let held = concert.keys.held(date(1));
    let score = RawRedis::shared().await.say(&format!("ZSCORE {held} {seat}")).await;
    let deadline_ms: i64 = score.text().parse().expect("a deadline");
    let told = Seoul.from_local_datetime(&moment(expire_at).expect("a moment")).single();
    let told_s = told.expect("one moment").timestamp();
    assert_eq!(told_s, deadline_ms / 1000);
}

/// The concert of an arrival that names none: the configured one, or the only one.
#[tokio::test(flavor = "multi_thread")]
async fn an_arrival_that_names_no_concert_is_for_the_only_or_the_default_one_or_refused() {
    let two = Deployment::new(vec![concert(10, 1), concert(10, 1)]).await;
    let second = two.concerts[1].clone();
    let arrive = async |server: &TestServer| server.send("POST", "/user/token", None, None).await;

    let of_two = ServerProcess::start(&two).await;
    let unclear = arrive(&of_two.server).await;
    assert_eq!(unclear.refusal(), (400, "bad-request"));
    assert_eq!(unclear.body["field"], "concertId");
    for concert in &two.concerts {
        let mut redis = RawRedis::shared().await;
        let issued = redis.say(&format!("HEXISTS {} issued", concert.keys.stats)).await;
        assert_eq!(issued.int(), 0, "nobody got a place");
    }
    let with_default = two.clone().with("default_concert", &second.id.to_string());
    let with_default = ServerProcess::start(&with_default).await;
    let joined = arrive(&with_default.server).await.expect(201);
    assert_eq!(joined.body["concertId"], json!(second.id));
    let named = json!({"concertId": two.concert().id});
    let named = with_default.server.post("/user/token", named).await.expect(201);
    assert_eq!(named.body["concertId"], json!(two.concert().id), "a name wins");

    let one = Deployment::new(vec![concert(10, 1)]).await;
    let joined = arrive(&ServerProcess::start(&one).await.server).await.expect(201);
    assert_eq!(joined.body["concertId"], json!(one.concert().id));
}
