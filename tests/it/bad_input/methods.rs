//! Methods that a path does not take, and paths that are none.

use std::collections::BTreeSet;

use super::{ROUTES, Request, Stage};

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW", "get",
];

fn of(method: &str, target: impl Into<String>, token: &str) -> Request {
    let (method, target) = (method.to_owned(), target.into());
    let request = Request { method, target, fields: Vec::new(), body: Vec::new() };
    request.with("Queue-Token", token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_path_does_not_take_is_405_and_told_which_it_takes() {
    let stage = Stage::set().await;
    let paths: BTreeSet<_> = ROUTES.iter().map(|route| route.path).collect();
    for path in paths {
        let mut taken: BTreeSet<_> =
            ROUTES.iter().filter(|route| route.path == path).map(|route| route.method).collect();
        if taken.contains("GET") {
            taken.insert("HEAD");
        }
        for method in METHODS.iter().filter(|method| !taken.contains(**method)) {
            let request = of(method, path, &stage.token);
            let answer = stage.send(&request).await;
            let why = request.shown("another method");
            assert_eq!(answer.status, 405, "{why}: {answer:?}");
            let allowed = answer.header("allow").unwrap_or_default().to_uppercase();
            let allowed: BTreeSet<_> = allowed.split(',').map(str::trim).collect();
            assert_eq!(allowed, taken, "{why}");
            if *method == "HEAD" {
                assert_eq!(answer.body, "", "{why}");
            } else {
                let (_, code) = answer.refusal(&why);
                assert_eq!(code, "method-not-allowed", "{why}");
            }
        }
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_every_get_with_its_status_and_no_body() {
    let stage = Stage::set().await;
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        for fields in [stage.object(route), serde_json::Map::new()] {
            let get = stage.with_fields(route, &fields);
            let mut head = get.clone();
            "HEAD".clone_into(&mut head.method);
            let (get, head) = (stage.send(&get).await, stage.send(&head).await);
            assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{route:?}");
        }
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_only_resembles_a_route_is_404() {
    let stage = Stage::set().await;
    for route in ROUTES {
        let path = route.path;
        let first = path.as_bytes()[1];
        let strange = [
            format!("/{path}"),
            format!("{path}/"),
            format!("{path}//"),
            format!("{path}/{}", "a".repeat(8_192)),
            format!("/%2e%2e{path}"),
            format!("/..{path}"),
            format!("/nowhere/..{path}"),
            format!("/nowhere/%2e%2e{path}"),
            format!("/nowhere%2f..{path}"),
            format!("/{}", path[1..].replace('/', "//")),
            format!("/{}", path[1..].replace('/', "%2f")),
            format!("/.{path}"),
            format!("/%{first:02x}{}", &path[2..]),
            format!("{path}%00"),
            format!("{path}%"),
            format!("{path};a=1"),
            path.to_uppercase(),
        ];
        // Some paths have one part alone.
        for target in strange.into_iter().filter(|target| target != path) {
            let body = serde_json::Value::Object(stage.object(route)).to_string();
            let request = of(route.method, target, &stage.token).json(body);
            stage.refused(&request, (404, "not-found"), "no route").await;
        }
    }
    stage.assert_nothing_written().await;
}
