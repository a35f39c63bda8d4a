//! Named inputs: every way to be wrong, and what is told.

use axum::body::Body;
use axum::http::Request;
use rstest::rstest;
use serde_json::{Value, json};

use super::{HttpConfig, request, routes};

const JSON: &str = "application/json";

/// Answers status and body, without a socket.
async fn ask(line: &str, content_type: &str, body: impl Into<Vec<u8>>) -> (u16, Value) {
    let (method, path) = line.split_once(' ').unwrap();
    let body: Vec<u8> = body.into();
    let mut request = Request::builder().method(method).uri(path);
    if !content_type.is_empty() {
        request = request.header("Content-Type", content_type);
    }
    let front = routes().finish((), &HttpConfig::default());
    let answer = front.answer(request.body(Body::from(body)).unwrap(), [127, 0, 0, 1].into()).await;
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn refused(
    line: &str,
    content_type: &str,
    body: impl Into<Vec<u8>>,
) -> (u16, String, String) {
    let (status, body) = ask(line, content_type, body).await;
    let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    (status, text("code"), text("detail"))
}

#[tokio::test]
async fn every_kind_of_field_arrives_by_body_and_by_query() {
    let expected = json!({
        "userId": 7, "seatNumbers": [3, 1], "concertDate": "2024-02-29",
        "reservationId": "01890a5d-ac96-774b-bcce-b302099a8057", "note": "ü &"
    });
    let body = br#" {"userId":7,"seatNumbers":[ 3 , 1 ],"concertDate":"2024-02-29",
        "reservationId":"01890a5d-ac96-774b-bcce-b302099a8057","not\u0065":"\u00fc &"} "#;
    assert_eq!(ask("POST /wish", JSON, *body).await, (200, expected.clone()));
    let query = "userId=7&&seatNumbers=3,1&concertDate=2024-02-29&note=%C3%BC+%26\
        &reservationId=01890A5D-ac96-774b-bcce-b302099a8057";
    assert_eq!(ask(&format!("GET /look?{query}"), "", "").await, (200, expected.clone()));
    assert_eq!(ask("DELETE /look", JSON, *body).await, (200, expected.clone()));
    assert_eq!(ask("GET /look?userId=7", "", *body).await, (200, expected), "a GET without type");
}

#[rstest]
#[case("", "the body is empty")]
#[case("null", "not null")]
#[case("[]", "not an array")]
#[case("[1,7]", "not an array")]
#[case("\"userId\"", "not a string")]
#[case("17", "not a number")]
#[case("true", "not a boolean")]
#[case("{", "line 1 column 1")]
#[case("{\"userId\":7", "EOF while parsing an object at line 1 column 11")]
#[case("{\"userId\":7} x", "trailing characters at line 1 column 14")]
#[case("{\"userId\":7}{}", "trailing characters")]
#[case("{\"userId\":7,}", "trailing comma")]
#[case("{\"userId\":07}", "not valid JSON")]
#[case("{userId:7}", "not valid JSON")]
#[case("{\"userId\":7,\"userId\":7}", "userId is given twice")]
#[case("{\"userId\":7,\"user\\u0049d\":8}", "userId is given twice")]
#[case("\u{feff}{\"userId\":7}", "byte order mark")]
#[case("{\"userId\":null}", "must be an integer or left out, not null")]
#[case("{\"userId\":\"1\"}", "must be an integer, not a string")]
#[case("{\"userId\":1.0}", "without fraction or exponent")]
#[case("{\"userId\":1e3}", "without fraction or exponent")]
#[case("{\"userId\":1e400}", "without fraction or exponent")]
#[case("{\"userId\":-0}", "without fraction or exponent")]
#[case("{\"userId\":NaN}", "not valid JSON")]
#[case("{\"userId\":{}}", "not an object")]
#[case("{\"userId\":7,\"seatNumbers\":[1,\"2\"]}", "plain digits only")]
#[case("{\"userId\":7,\"seatNumbers\":[1,[2]]}", "plain digits only")]
#[case("{\"userId\":7,\"seatNumbers\":3}", "a list of integers, not a number")]
#[case("{\"userId\":7,\"concertDate\":\"2025-02-29\"}", "must be a date as YYYY-MM-DD")]
#[case("{\"userId\":7,\"concertDate\":\"2025-13-01\"}", "must be a date")]
#[case("{\"userId\":7,\"concertDate\":\"2025-1-1\"}", "must be a date")]
#[case("{\"userId\":7,\"concertDate\":\"\"}", "must be a date")]
#[case("{\"userId\":7,\"concertDate\":20250101}", "must be a date as YYYY-MM-DD, not a number")]
#[case("{\"userId\":7,\"concertDate\":\"+025-01-01\"}", "must be a date")]
#[case("{\"userId\":7,\"reservationId\":\"01890a5dac96774bbcceb302099a8057\"}", "must be a UUID")]
#[case("{\"userId\":7,\"note\":\"a\\u0000b\"}", "NUL")]
#[case("{\"userId\":7,\"note\":\"\\ud800\"}", "not valid JSON")]
#[case("{\"userId\":7,\"note\":\"a\nb\"}", "not valid JSON")]
#[case("{}", "userId is missing: an integer")]
#[case("{\"userid\":7}", "userId is missing: an integer; userid is not a field of this request")]
#[case("{\"userId\":7,\"amount\":1}", "amount is not a field of this request; it takes userId, ")]
#[case("{\"userId\":0,\"amount\":1}", "amount is not a field")]
#[case("{\"userId\":7,\"\":1}", "a field without a name is not a field")]
#[tokio::test]
async fn a_body_with_a_fault_is_400_with_a_sentence(#[case] body: &str, #[case] sentence: &str) {
    let (status, code, detail) = refused("POST /wish", JSON, body).await;
    assert_eq!((status, code.as_str()), (400, "bad-request"));
    assert!(detail.contains(sentence), "{detail}");
}

#[rstest]
#[case("userId", "must be an integer")]
#[case("userId=", "must be an integer")]
#[case("userId=1.0", "must be an integer")]
#[case("userId=+1", "must be an integer")]
#[case("userId=%2B1", "must be an integer")]
#[case("userId=01", "must be an integer")]
#[case("userId=-0", "must be an integer")]
#[case("userId=-", "must be an integer")]
#[case("userId=1e3", "must be an integer")]
#[case("userId=%EF%BC%91", "must be an integer")]
#[case("userId=1&userId=1", "userId is given twice")]
#[case("userId=1&user%49d=2", "userId is given twice")]
#[case("userId[]=1", "userId is missing: an integer; userId[] is not a field")]
#[case("userId=1&a[]=1", "a[] is not a field")]
#[case("userId=%00", "NUL")]
#[case("userId=1&note=%00", "NUL")]
#[case("userId=1&note=%zz", "% without two hex digits")]
#[case("userId=1&note=%+1", "% without two hex digits")]
#[case("userId=1&note=%4", "% without two hex digits")]
#[case("userId=1&note=%ff", "not UTF-8")]
#[case("userId=1&seatNumbers=1,,2", "separated by commas")]
#[case("userId=1&concertDate=2025-02-29", "must be a date")]
#[tokio::test]
async fn a_query_with_a_fault_is_400_with_a_sentence(#[case] query: &str, #[case] sentence: &str) {
    let (status, code, detail) = refused(&format!("GET /look?{query}"), "", "").await;
    assert_eq!((status, code.as_str()), (400, "bad-request"));
    assert!(detail.contains(sentence), "{detail}");
}

#[tokio::test]
async fn a_date_of_10_000_characters_is_400() {
    let body = format!("{{\"userId\":7,\"concertDate\":\"{}\"}}", "1".repeat(10_000));
    let (status, _, detail) = refused("POST /wish", JSON, body).await;
    assert_eq!((status, detail.as_str()), (400, "concertDate must be a date as YYYY-MM-DD"));
}

#[tokio::test]
async fn deep_nesting_is_refused_without_recursion() {
    for depth in [129, 8_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for body in [
            deep.clone(),
            format!("{{\"userId\":{deep}}}"),
            format!("{{\"userId\":7,\"seatNumbers\":{deep}}}"),
            format!("{{\"userId\":7,\"deep\":{deep}}}"),
        ] {
            assert_eq!(refused("POST /wish", JSON, body).await.0, 400);
        }
    }
}

#[tokio::test]
async fn utf_16_and_broken_utf_8_are_400() {
    let utf_16: Vec<u8> = "{\"userId\":7}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(refused("POST /wish", JSON, utf_16).await.0, 400);
    let (status, _, detail) = refused("POST /wish", JSON, b"{\"note\":\"\xff\"}".to_vec()).await;
    assert_eq!((status, detail.as_str()), (400, "the body is not UTF-8: see byte 9"));
}

#[tokio::test]
async fn query_and_body_may_agree_and_must_not_differ() {
    let (status, _) = ask("GET /look?userId=7", JSON, r#"{"userId":7,"note":"x"}"#).await;
    assert_eq!(status, 200);
    let (status, problem) = ask("GET /look?userId=7", JSON, r#"{"userId":8}"#).await;
    assert_eq!((status, &problem["code"]), (400, &json!("ambiguous-input")));
    assert_eq!(problem["field"], "userId");
}

#[tokio::test]
async fn a_post_does_not_ignore_a_query() {
    for line in ["POST /wish?userId=8", "POST /perhaps?userId=8"] {
        let (status, _, detail) = refused(line, JSON, r#"{"userId":7}"#).await;
        assert_eq!(status, 400);
        assert!(detail.contains("not in the query"), "{detail}");
    }
    assert_eq!(ask("POST /wish?", JSON, r#"{"userId":7}"#).await.0, 200);
}

#[tokio::test]
async fn no_body_is_fine_where_no_field_is_needed() {
    for content_type in ["", JSON, "text/plain"] {
        let answer = ask("POST /perhaps", content_type, "").await;
        assert_eq!(answer, (200, json!({ "userId": null })));
        assert_eq!(ask("GET /nothing", content_type, "").await.0, 200);
    }
    assert_eq!(ask("POST /perhaps", JSON, "{}").await.0, 200);
    assert_eq!(ask("POST /perhaps", JSON, r#"{"userId":3}"#).await.1["userId"], 3);
    assert_eq!(refused("POST /perhaps", JSON, " ").await.0, 400);
    let (status, _, detail) = refused("GET /nothing?a=1", "", "").await;
    assert_eq!((status, detail.contains("it takes no fields")), (400, true));
}

#[rstest]
#[case("POST /wish", "", 415)]
#[case("POST /wish", "text/plain", 415)]
#[case("POST /wish", "application/x-www-form-urlencoded", 415)]
#[case("POST /wish", "application/json; charset=utf-16", 415)]
#[case("POST /wish", "application/json; charset=utf-8", 200)]
#[case("POST /wish", "application/vnd.onsale+json", 200)]
#[case("GET /look", "text/plain", 415)]
#[case("GET /look", "", 200)]
#[tokio::test]
async fn a_body_must_be_json(#[case] line: &str, #[case] content_type: &str, #[case] status: u16) {
    assert_eq!(ask(line, content_type, r#"{"userId":7}"#).await.0, status);
}

#[tokio::test]
async fn a_number_outside_of_its_range_is_422_with_the_range() {
    let huge = "9".repeat(10_000);
    for given in ["0", "-1", "9007199254740992", "18446744073709551616", &huge] {
        for (line, body) in [
            ("POST /wish", format!("{{\"userId\":{given}}}")),
            (&*format!("GET /look?userId={given}"), String::new()),
        ] {
            let (status, problem) = ask(line, JSON, body).await;
            assert_eq!((status, &problem["code"]), (422, &json!("out-of-range")));
            assert_eq!(problem["field"], "userId");
            assert_eq!((&problem["min"], &problem["max"]), (&json!(1), &json!((1_u64 << 53) - 1)));
            assert!(problem["detail"].as_str().unwrap().len() < 120, "{problem}");
        }
    }
    let (status, problem) = ask("POST /wish", JSON, r#"{"userId":1,"seatNumbers":[1,0]}"#).await;
    assert_eq!((status, &problem["field"]), (422, &json!("seatNumbers")));
}

#[tokio::test]
async fn a_body_is_at_most_16_kib() {
    let body_of = |length: usize| {
        let frame = r#"{"userId":7,"note":""}"#;
        format!(r#"{{"userId":7,"note":"{}"}}"#, "x".repeat(length - frame.len()))
    };
    assert_eq!(ask("POST /wish", JSON, body_of(16 * 1_024)).await.0, 200);
    let (status, code, _) = refused("POST /wish", JSON, body_of(16 * 1_024 + 1)).await;
    assert_eq!((status, code.as_str()), (413, "payload-too-large"));
    assert_eq!(refused("GET /look", JSON, body_of(1_024 * 1_024)).await.0, 413);
}

#[test]
fn a_request_is_spelled_as_http_wants_it() {
    let spelled = request("GET /x", "a/b", "c");
    let expected = b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: a/b\r\n\
        Content-Length: 1\r\n\r\nc";
    assert_eq!(spelled, expected);
}
