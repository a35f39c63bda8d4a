//! `Content-Type` and `Content-Encoding`: only JSON in UTF-8 is read, and any kind of it is.

use super::{ROUTES, Stage};

/// Types of which a body is not read.
const NOT_JSON: &[&str] = &[
    "text/plain",
    "text/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "application/jsonp",
    "application/+json",
    "application",
    "",
];

/// Types of which a body is read.
const JSON: &[&str] = &[
    "application/json",
    "Application/JSON; charset=\"UTF-8\"",
    "application/vnd.onsale+json",
    "application/merge-patch+json",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_called_json_is_415_on_every_route_that_reads_one() {
    const UNSUPPORTED: (u16, &str) = (415, "unsupported-media-type");
    let stage = Stage::set().await;
    for route in ROUTES {
        let body = serde_json::Value::Object(stage.object(route)).to_string();
        let untyped = stage.bare(route).json(&body).without("Content-Type");
        for wrong in NOT_JSON {
            let request = untyped.clone().with("Content-Type", wrong);
            stage.refused(&request, UNSUPPORTED, wrong).await;
        }
        let json = untyped.clone().with("Content-Type", "application/json");
        let twice = json.clone().with("Content-Type", "application/json");
        stage.refused(&twice, UNSUPPORTED, "twice").await;
        let differ = json.clone().with("Content-Type", "text/plain");
        stage.refused(&differ, UNSUPPORTED, "twice, different").await;
        for encoding in ["gzip", "br", "gzip, identity"] {
            let request = json.clone().with("Content-Encoding", encoding);
            stage.refused(&request, UNSUPPORTED, encoding).await;
        }
        if route.takes.is_body() {
            stage.refused(&untyped, UNSUPPORTED, "no type").await;
        }
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_called_json_is_read_whatever_kind_it_is() {
    let stage = Stage::set().await;
    for route in ROUTES {
        let wrong = stage.bare(route).json("[]").without("Content-Type");
        for json in JSON {
            let request = wrong.clone().with("Content-Type", json);
            stage.refused(&request, (400, "bad-request"), json).await;
        }
        if !route.takes.is_body() {
            // Clients that put a body into a GET often leave the type out.
            stage.refused(&wrong, (400, "bad-request"), "no type").await;
        }
    }
    stage.assert_nothing_written().await;
}
