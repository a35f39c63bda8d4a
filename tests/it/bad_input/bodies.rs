//! JSON that is none, is not an object, or is not what a route asks for.

use serde_json::{Map, Value};

use super::{ROUTES, Route, Stage, Takes};

/// Texts that are wrong for every route that reads a body.
const NOT_AN_OBJECT: &[&str] = &[
    " ",
    "null",
    "true",
    "7",
    "\"userId\"",
    "[]",
    "[1,7]",
    "[{}]",
    "{",
    "{]",
    "{\"userId\":1",
    "{\"userId\":1,}",
    "{userId:1}",
    "{'userId':1}",
    "{\"a\\u0000b\":1}",
    "{\"colour\":\"red\"}",
    "{\"colour\":\"\\ud800\"}",
    "{\"\":1}",
];

/// Values that hardly a field takes, whatever its kind; see [`takes`].
const NO_VALUES: &[&str] = &[
    "null",
    "true",
    "{}",
    "[[1]]",
    "{\"a\":1}",
    "1.0",
    "1e400",
    "1e3",
    "-0",
    "01",
    "NaN",
    "\"\"",
    "\"1\"",
    "\"\\ud800\"",
    "\"a\\u0000b\"",
];

/// Whether a field takes one of [`NO_VALUES`] all the same, or refuses it for its range only.
fn takes(name: &str, value: &str) -> bool {
    match name {
        "paused" => value == "true",
        "capacity" | "batch" | "opensAt" | "closesAt" | "beacon" => value == "null",
        "message" => ["null", "\"\"", "\"1\""].contains(&value),
        _ => false,
    }
}

/// The text of an object whose member `name` is `value`, whatever that is.
fn replaced(right: &Map<String, Value>, name: &str, value: &str) -> String {
    let members: Vec<_> = right
        .iter()
        .map(|(member, right)| {
            let value = if member == name { value.to_owned() } else { right.to_string() };
            format!("\"{member}\":{value}")
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Bodies made from a route's right one that are wrong as a whole.
fn spoilt(right: &str, first: Option<&str>) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = |text: String| text.into_bytes();
    let mut spoilt = vec![
        ("trailing garbage", bytes(format!("{right}x"))),
        ("a second object", bytes(format!("{right}{right}"))),
        ("a byte order mark", bytes(format!("\u{feff}{right}"))),
        ("UTF-16", right.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("not UTF-8", [right.as_bytes(), b"\xff"].concat()),
    ];
    let inside = right.strip_suffix('}').unwrap_or_default();
    let comma = if first.is_some() { "," } else { "" };
    spoilt.push(("an unknown field", bytes(format!("{inside}{comma}\"colour\":\"red\"}}"))));
    for depth in [129, 4_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        spoilt.push(("depth", bytes(format!("{inside}{comma}\"deep\":{deep}}}"))));
        spoilt.push(("depth alone", bytes(deep)));
    }
    if let Some(first) = first {
        spoilt.push(("the same key twice", bytes(format!("{inside},\"{first}\":1}}"))));
    }
    spoilt
}

async fn refuse_all(stage: &Stage, route: &Route) {
    let refused = async |body: &[u8], why: &str| {
        let request = stage.bare(route).json(body);
        stage.refused(&request, (400, "bad-request"), why).await;
    };
    for body in NOT_AN_OBJECT {
        refused(body.as_bytes(), "not an object").await;
    }
    let right = stage.object(route);
    let text = Value::Object(right.clone()).to_string();
    for (why, body) in spoilt(&text, right.keys().next().map(String::as_str)) {
        refused(&body, why).await;
    }
    for name in route.fields {
        for value in NO_VALUES.iter().filter(|value| !takes(name, value)) {
            refused(replaced(&right, name, value).as_bytes(), "a value of another kind").await;
        }
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        refused(replaced(&right, name, &deep).as_bytes(), "a deep value").await;
    }
    for name in route.required {
        let mut without = right.clone();
        without.remove(*name);
        refused(Value::Object(without).to_string().as_bytes(), "a field is missing").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_body_is_refused_by_every_route_that_reads_one() {
    let stage = Stage::set().await;
    for route in ROUTES {
        refuse_all(&stage, route).await;
        if route.takes == Takes::Body {
            let empty = stage.bare(route).json("");
            stage.refused(&empty, (400, "bad-request"), "no body").await;
        }
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_more_than_16_kib_is_413_on_every_route_that_reads_one() {
    let stage = Stage::set().await;
    for route in ROUTES {
        for length in [16 * 1_024 + 1, 1 << 20] {
            let body = format!("{{\"userId\":1,\"note\":\"{}\"}}", "x".repeat(length));
            let request = stage.bare(route).json(body);
            stage.refused(&request, (413, "payload-too-large"), "a long string").await;
        }
    }
    stage.assert_nothing_written().await;
}
