//! What browsers get: the files, with what keeps a browser safe, and the catalogue that a page shows.

use std::time::Duration;

use chrono::DateTime;
use onsale::words::ConcertId;
use reqwest::Method;
use reqwest::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::support::server::Deployment;
use crate::support::{concert, within};

const ADMIN: &str = "the-operators-token-of-a-test";

#[tokio::test(flavor = "multi_thread")]
async fn every_file_is_sent_with_its_type_and_a_strict_policy_and_then_confirmed() {
    let server = Deployment::new(vec![concert(10, 1)]).await.start().await;
    let client = reqwest::Client::new();
    for file in &onsale::web::FILES {
        let path = file.path;
        let url = format!("http://{}{path}", server.address);
        let answer = client.get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let headers = answer.headers().clone();
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{path}: {policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers[CACHE_CONTROL], "no-cache", "{path}");
        let script = path.rsplit('.').next() == Some("js");
        assert_eq!(headers[CONTENT_TYPE] == "text/javascript; charset=utf-8", script, "{path}");
        assert!(!answer.bytes().await.expect("a body").is_empty(), "{path}");

        let again = client.get(&url).header(IF_NONE_MATCH, &headers[ETAG]);
        let again = again.send().await.expect("an answer");
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.bytes().await.expect("a body").is_empty(), "{path}");
        let refused = client.post(&url).send().await.expect("an answer");
        assert_eq!(refused.status(), 405, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_asked_for_with_a_slash_at_its_end_is_found() {
    let server = Deployment::new(vec![concert(10, 1)]).await.start().await;
    let client = reqwest::Client::builder().redirect(Policy::none()).build().expect("a client");
    for (path, target) in [("/docs/", "../docs"), ("/ops/", "../ops")] {
        let url = format!("http://{}{path}", server.address);
        for method in [Method::GET, Method::HEAD] {
            let answer = client.request(method, &url).send().await.expect("an answer");
            assert_eq!(answer.status(), 307, "{path}");
            // Relative, so that it is right below a gateway's own path, too.
            assert_eq!(answer.headers()[LOCATION], target, "{path}");
        }
        let refused = client.post(&url).send().await.expect("an answer");
        assert_eq!(refused.status(), 405, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_tells_what_is_on_sale_and_nothing_about_who_bought() {
    let opens_at = DateTime::parse_from_rfc3339("2030-11-01T20:00:00+09:00").expect("a moment");
    let (open, mut later) = (concert(10, 2), concert(5, 1));
    later.opens_at = Some(opens_at);
    let ids = [open.id, later.id];
    let deployment = Deployment::new(vec![open, later]).await.with("max_seats_per_user", "3");
    let deployment = deployment.with("admin_token", ADMIN);
    let server = deployment.start().await;
    let answer = server.get("/concerts").await.expect(200);
    let expected = json!({
        "auth": "trust",
        "maxSeatsPerUser": 3,
        "concerts": [
            {
                "concertId": ids[0], "name": format!("Concert {}", ids[0]), "seats": 10, "price": 100,
                "dates": ["2099-12-01", "2099-12-02"], "timeZone": "Asia/Seoul",
            },
            {
                "concertId": ids[1], "name": format!("Concert {}", ids[1]), "seats": 5, "price": 100,
                "dates": ["2099-12-01"], "timeZone": "Asia/Seoul",
                "opensAt": "2030-11-01T20:00:00+09:00",
            },
        ],
    });
    assert_eq!(answer.body, expected);

    // What operators change while the sale goes is told, and taken back.
    let change = async |id: ConcertId, opens_at: Value, closes_at: Value| {
        let body = json!({"concertId": id, "opensAt": opens_at, "closesAt": closes_at});
        let request = server.request("PATCH", "/admin/concerts").bearer_auth(ADMIN).json(&body);
        server.answer(request).await.expect(200);
    };
    let told = async |concert: usize| {
        let catalogue = server.get("/concerts").await.expect(200).body;
        let concert = &catalogue["concerts"][concert];
        (concert["opensAt"].clone(), concert["closesAt"].clone())
    };
    let at = |text: &str| json!(format!("2031-05-06T{text}"));
    for id in ids {
        change(id, at("07:08:09Z"), at("07:08:10Z")).await;
    }
    let in_seoul = (at("16:08:09+09:00"), at("16:08:10+09:00"));
    for n in [0, 1] {
        let is_told = || async { told(n).await == in_seoul };
        within(Duration::from_secs(3), "the change is told", is_told).await;
    }
    change(ids[1], Value::Null, Value::Null).await;
    let is_back = || async { told(1).await == (json!("2030-11-01T20:00:00+09:00"), Value::Null) };
    within(Duration::from_secs(3), "the catalogue counts again", is_back).await;
    let refused = server.get("/concerts?x=1").await;
    assert_eq!(refused.refusal(), (400, "bad-request"));
    assert_eq!(refused.body["field"], "x");
}
