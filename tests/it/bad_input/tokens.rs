//! Tokens that are missing, given twice, or not ours. Those of other people and other stages of a
//! sale are in `security::refusals`.

use super::{ROUTES, Request, Route, Stage, Takes};

/// A right request without its token.
fn tokenless(stage: &Stage, route: &Route) -> Request {
    stage.with_fields(route, &stage.object(route)).without("Queue-Token")
}

/// What is no token of ours: its MAC with one bit flipped, other forms, and nonsense.
fn not_ours(token: &str) -> Vec<String> {
    let (text, _) = token.split_once('_').expect("the given form");
    let uuid: uuid::Uuid = text.parse().expect("a UUID");
    let flipped = uuid::Uuid::from_u128(uuid.as_u128() ^ 1);
    vec![
        format!("{flipped}_1"),
        format!("{text}_"),
        format!("{text}_x"),
        format!("{text}_-1"),
        format!("{text}__1"),
        format!("{text}_{}", "1".repeat(21)),
        format!("x{text}"),
        uuid.simple().to_string(),
        uuid::Uuid::nil().to_string(),
        "_".to_owned(),
        "_1".to_owned(),
        "null".to_owned(),
        "a".repeat(10_240),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_missing_doubled_or_not_ours_is_refused_by_every_route_that_needs_one() {
    let stage = Stage::set().await;
    for route in ROUTES.iter().filter(|route| route.token) {
        let bare = tokenless(&stage, route);
        stage.refused(&bare, (401, "token-missing"), "none").await;
        let empty = bare.clone().with("Queue-Token", "");
        stage.refused(&empty, (401, "token-missing"), "empty").await;
        let basic = bare.clone().with("Authorization", "Basic dXNlcjpwYXNz");
        stage.refused(&basic, (401, "token-missing"), "another scheme").await;
        for wrong in not_ours(&stage.token) {
            let by_header = bare.clone().with("Queue-Token", &wrong);
            stage.refused(&by_header, (401, "token-invalid"), &wrong).await;
            let bearer = bare.clone().with("Authorization", format!("Bearer {wrong}"));
            stage.refused(&bearer, (401, "token-invalid"), &wrong).await;
        }
        let binary = bare.clone().with("Queue-Token", b"\xff\xfe");
        stage.refused(&binary, (401, "token-invalid"), "binary").await;
        let twice = bare.clone().with("Queue-Token", &stage.token);
        let same = twice.clone().with("Queue-Token", &stage.token);
        stage.refused(&same, (400, "bad-request"), "twice, the same").await;
        let two = twice.clone().with("Queue-Token", "another");
        stage.refused(&two, (400, "bad-request"), "twice, different").await;
        let differ = twice.with("Authorization", "Bearer another");
        stage.refused(&differ, (400, "ambiguous-input"), "two ways").await;
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_query_is_read_by_the_routes_that_say_so_alone() {
    let stage = Stage::set().await;
    for route in ROUTES.iter().filter(|route| route.token) {
        if route.token_by_query {
            let fields = stage.object(route);
            let with = |pairs: &str| {
                let mut request = tokenless(&stage, route);
                let join = if fields.is_empty() { '?' } else { '&' };
                request.target = format!("{}{join}{pairs}", request.target);
                request
            };
            for wrong in not_ours(&stage.token).iter().filter(|wrong| wrong.len() < 1_000) {
                let request = with(&format!("token={wrong}"));
                stage.refused(&request, (401, "token-invalid"), "by query").await;
                let request = tokenless(&stage, route).json(format!("{{\"token\":\"{wrong}\"}}"));
                stage.refused(&request, (401, "token-invalid"), "by body").await;
            }
            stage.refused(&with("token="), (401, "token-missing"), "empty").await;
            for pairs in ["token=a&token=a", "token=%00", "token[]=a"] {
                stage.refused(&with(pairs), (400, "bad-request"), pairs).await;
            }
            let differ = with("token=another").with("Queue-Token", &stage.token);
            stage.refused(&differ, (400, "ambiguous-input"), "header and query").await;
            let differ = with("token=a").json("{\"token\":\"b\"}");
            stage.refused(&differ, (400, "ambiguous-input"), "query and body").await;
        } else if route.takes == Takes::Query {
            let mut request = tokenless(&stage, route);
            request.target = format!("{}&token={}", request.target, stage.token);
            stage.refused(&request, (400, "bad-request"), "an unknown field").await;
        }
    }
    stage.assert_nothing_written().await;
}
