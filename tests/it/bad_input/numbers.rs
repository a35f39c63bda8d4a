//! Numbers outside of their ranges, and numbers that are not written as integers.

use serde_json::{Value, json};

use super::{Stage, Takes, taking};

/// Integers that are outside of every range.
const OUTSIDE: &[&str] = &[
    "0",
    "-1",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "99999999999999999999999999999999999999999999999999",
];

/// What looks like a number to a person.
const NOT_PLAIN: &[&str] = &["1.0", "1e3", "1e400", "-0", "+1", "01", "0x1", "1_000", "１"];

/// The numbers of the API, each with one just beyond its range.
const NUMBERS: &[(&str, &str)] = &[
    ("userId", "9007199254740992"),
    ("concertId", "4194304"),
    ("seatNumber", "100001"),
    ("amount", "10000001"),
    ("after", "9007199254740992"),
];

/// A route's right request but for `name`, which is written `number`.
fn with_number(stage: &Stage, route: &super::Route, name: &str, number: &str) -> super::Request {
    const MARK: &str = "\"(here)\"";
    let mut fields = stage.object(route);
    fields.insert(name.to_owned(), json!("(here)"));
    if route.takes == Takes::Query {
        let query = super::query_of(&fields).replace("(here)", &number.replace('+', "%2B"));
        return stage.bare(route).query(&query);
    }
    stage.bare(route).json(Value::Object(fields).to_string().replace(MARK, number))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integer_out_of_range_is_422_in_every_field_of_every_route() {
    let stage = Stage::set().await;
    for (name, beyond) in NUMBERS {
        for route in taking(name) {
            for number in OUTSIDE.iter().chain([beyond]) {
                let request = with_number(&stage, route, name, number);
                stage.refused(&request, (422, "out-of-range"), name).await;
            }
        }
    }
    for name in ["concertId", "seatNumber", "amount", "capacity", "batch"] {
        for route in taking(name) {
            let request = with_number(&stage, route, name, "2147483648");
            stage.refused(&request, (422, "out-of-range"), "2^31").await;
        }
    }
    // Nobody at all may be let in: 0 is in range.
    for name in ["capacity", "batch"] {
        for route in taking(name) {
            for number in
                OUTSIDE.iter().copied().filter(|number| *number != "0").chain(["10000001"])
            {
                let request = with_number(&stage, route, name, number);
                stage.refused(&request, (422, "out-of-range"), name).await;
            }
        }
    }
    // A user may have this number; it is not the one whose token this is.
    for route in taking("userId").filter(|route| route.token) {
        let request = with_number(&stage, route, "userId", "2147483648");
        stage.refused(&request, (403, "not-yours"), "2^31").await;
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_not_plain_digits_is_400_in_every_field_of_every_route() {
    let stage = Stage::set().await;
    for name in NUMBERS.iter().map(|(name, _)| *name).chain(["capacity", "batch"]) {
        for route in taking(name) {
            let quoted = (route.takes != Takes::Query).then_some("\"1\"");
            for number in NOT_PLAIN.iter().copied().chain(quoted) {
                // Not ASCII: a query is escaped, and a target that is not would be no HTTP.
                let in_query = route.takes == Takes::Query && !number.is_ascii();
                let number = if in_query { "%EF%BC%91" } else { number };
                let request = with_number(&stage, route, name, number);
                stage.refused(&request, (400, "bad-request"), name).await;
            }
        }
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_seats_is_judged_as_each_seat_is() {
    let stage = Stage::set().await;
    let reserve = super::ROUTES.iter().find(|route| route.fields.contains(&"seatNumber"));
    let reserve = reserve.expect("a route that reserves");
    let many: Vec<u32> = (1..=21).collect();
    let many = json!(many).to_string();
    for (list, told) in [
        ("[2,0]", (422, "out-of-range")),
        ("[2,100001]", (422, "out-of-range")),
        ("[2,18446744073709551616]", (422, "out-of-range")),
        ("[2,11]", (404, "unknown-seat")),
        ("[2,3.0]", (400, "bad-request")),
        ("[2,\"3\"]", (400, "bad-request")),
        ("[2,[3]]", (400, "bad-request")),
        ("[2,null]", (400, "bad-request")),
        ("[2,]", (400, "bad-request")),
        ("2", (400, "bad-request")),
        ("[2,3,4,5]", (409, "hold-limit")),
        (many.as_str(), (422, "out-of-range")),
        ("[]", (422, "out-of-range")),
        ("[2,2]", (400, "bad-request")),
    ] {
        let body = format!("{{\"userId\":1,\"seatNumbers\":{list}}}");
        stage.refused(&stage.bare(reserve).json(body), told, "a list").await;
    }
    let release = super::ROUTES.iter().find(|route| route.path == "/admin/holds");
    let release = release.expect("a route that releases");
    for (list, told) in [
        (json!([2, 0]), (422, "out-of-range")),
        (json!([2, 100_001]), (422, "out-of-range")),
        (json!([2, 11]), (404, "unknown-seat")),
        (json!((1..=21).collect::<Vec<_>>()), (422, "out-of-range")),
        (json!([2, 2]), (400, "bad-request")),
        (json!([2, 3.5]), (400, "bad-request")),
        (json!([]), (400, "bad-request")),
    ] {
        let mut fields = stage.object(release);
        fields.insert("seatNumbers".to_owned(), list);
        let request = stage.with_fields(release, &fields);
        stage.refused(&request, told, "a list in a query").await;
    }
    let both = stage.bare(reserve).json(r#"{"userId":1,"seatNumber":2,"seatNumbers":[2]}"#);
    stage.refused(&both, (400, "bad-request"), "both").await;
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_that_would_be_too_large_is_422_and_leaves_no_key() {
    let mut stage = Stage::set().await;
    let database = stage.deployment.database().await;
    sqlx::raw_sql(
        "insert into ledger (user_id, request_id, amount, balance_after, created_at)
         values (1, gen_random_uuid(), 999999998995, 999999999995, now());
         update balances set balance = 999999999995 where user_id = 1",
    )
    .execute(&database)
    .await
    .expect("a rich user");
    database.close().await;
    stage.before = super::at_rest(&stage.deployment, &mut stage.redis).await;
    let charge = taking("amount").next().expect("a route that charges");
    for amount in ["6", "10000000"] {
        let request = with_number(&stage, charge, "amount", amount);
        let keyed = request.clone().with("Idempotency-Key", format!("sum-{amount}"));
        stage.refused(&request, (422, "out-of-range"), "the sum").await;
        stage.refused(&keyed, (422, "out-of-range"), "the sum, with a key").await;
    }
    stage.assert_nothing_written().await;
}
