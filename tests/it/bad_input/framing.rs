//! Broken HTTP on a raw socket, for every route. The plumbing alone is in `src/http/tests/framing.rs`.

use super::{ROUTES, Request, Stage};
use crate::support::raw_http::{exchange, exchange_and_end};

/// Ends of a head that no route gets to see: what a request is cannot be told.
const BROKEN_HEADS: &[(&str, &str)] = &[
    ("a signed length", "Content-Length: +3"),
    ("a negative length", "Content-Length: -1"),
    ("a length in hex", "Content-Length: 0x3"),
    ("an empty length", "Content-Length:"),
    ("two lengths", "Content-Length: 3\r\nContent-Length: 4"),
    ("a list of lengths", "Content-Length: 3, 4"),
    ("a length of 2^64", "Content-Length: 18446744073709551616"),
    ("an unknown coding", "Transfer-Encoding: gzip"),
    ("chunked, but not last", "Transfer-Encoding: chunked, gzip"),
    ("a field without colon", "Content-Length"),
    ("a space before the colon", "Content-Length : 3"),
    ("a folded field", "X: a\r\n b"),
    ("NUL in a field", "X: a\0b"),
];

/// Ends of a head with the bytes after it, which never are a whole body.
const BROKEN_BODIES: &[(&str, &str, &str)] = &[
    ("a chunk of 2^64 bytes", "Transfer-Encoding: chunked", "10000000000000000\r\nnull"),
    ("a chunk without size", "Transfer-Encoding: chunked", "x\r\nnull\r\n0\r\n\r\n"),
    ("a signed chunk size", "Transfer-Encoding: chunked", "+4\r\nnull\r\n0\r\n\r\n"),
    ("a chunk that is longer", "Transfer-Encoding: chunked", "3\r\nnull\r\n0\r\n\r\n"),
];

/// A request whose body is to be read as JSON.
fn typed(stage: &Stage, route: &super::Route) -> Request {
    stage.bare(route).with("Content-Type", "application/json")
}

fn with_end(request: &Request, end: &str, after: &str) -> Vec<u8> {
    [request.head(), format!("{end}\r\n\r\n{after}").into_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_cannot_be_trusted_is_400_on_every_route() {
    let stage = Stage::set().await;
    for route in ROUTES {
        let body = serde_json::Value::Object(stage.object(route)).to_string();
        for (why, end) in BROKEN_HEADS {
            let request = typed(&stage, route);
            let answer = exchange(stage.server.address, &with_end(&request, end, &body)).await;
            let shown = request.shown(why);
            assert_eq!(answer.refusal(&shown), (400, "bad-request".to_owned()), "{shown}");
            assert_eq!(answer.header("connection"), Some("close"), "{shown}");
        }
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_431_on_every_route() {
    let stage = Stage::set().await;
    for route in ROUTES {
        let request = stage.bare(route);
        let much = request.clone().with("X", "a".repeat(40_000));
        let many = (0..150).fold(request.clone(), |request, _| request.with("X", "a"));
        let long = request.query(&"a".repeat(100_000));
        for (why, request) in [("much", much), ("many", many), ("long", long)] {
            stage.refused(&request, (431, "headers-too-large"), why).await;
        }
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_never_whole_is_400_on_every_route_that_reads_one() {
    let stage = Stage::set().await;
    for route in ROUTES {
        for (why, end, after) in BROKEN_BODIES {
            let request = typed(&stage, route);
            let answer = exchange(stage.server.address, &with_end(&request, end, after)).await;
            let shown = request.shown(why);
            assert_eq!(answer.refusal(&shown), (400, "bad-request".to_owned()), "{shown}");
        }
        let request = typed(&stage, route);
        let early = with_end(&request, "Content-Length: 100", "{\"userId\":1");
        let answer = exchange_and_end(stage.server.address, &early).await;
        assert!([0, 400].contains(&answer.status), "{}: {answer:?}", request.shown("early end"));
    }
    stage.assert_nothing_written().await;
}

/// A length that is too small cuts the body, and what is left over is no second request.
#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_too_small_cuts_the_body_and_smuggles_nothing() {
    let stage = Stage::set().await;
    for route in ROUTES {
        let rest = "POST /payment/charge HTTP/1.1\r\nHost: x\r\n\r\n";
        let after = format!("{{\"u{rest}");
        let request = typed(&stage, route);
        let bytes = with_end(&request, "Content-Length: 3", &after);
        let answer = exchange(stage.server.address, &bytes).await;
        let shown = request.shown("cut");
        assert_eq!(answer.refusal(&shown), (400, "bad-request".to_owned()), "{shown}");
    }
    stage.assert_nothing_written().await;
}

/// What HTTP lets pass is read as RFC 9112 says: chunks win over a length, and a line may end
/// without a carriage return. The body is wrong, so that all of it is refused for that alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_odd_but_clear_framing_is_read_as_one_request() {
    let stage = Stage::set().await;
    for route in ROUTES {
        let request = typed(&stage, route);
        let chunks = "2\r\n[]\r\n0\r\n\r\n";
        for end in [
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
        ] {
            let answer = exchange(stage.server.address, &with_end(&request, end, chunks)).await;
            let shown = request.shown(end);
            assert_eq!(answer.refusal(&shown), (400, "bad-request".to_owned()), "{shown}");
        }
        let bytes = with_end(&request, "Content-Length: 2", "[]");
        let bare: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\r').collect();
        let answer = exchange(stage.server.address, &bare).await;
        let shown = request.shown("bare line feeds");
        assert_eq!(answer.refusal(&shown), (400, "bad-request".to_owned()), "{shown}");
    }
    stage.assert_nothing_written().await;
}
