//! Broken HTTP on a raw socket: always a 4xx or a close, never a 5xx and never a hang.

use rstest::rstest;

use super::{HttpConfig, TestServer, request, routes};

const GOOD: &str = "{\"userId\":7}";

/// A POST with these fields and bytes after the head.
fn post(fields: &str, rest: &str) -> Vec<u8> {
    let head = "POST /wish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    format!("{head}{fields}\r\n\r\n{rest}").into_bytes()
}

fn config() -> HttpConfig {
    HttpConfig {
        body_timeout: std::time::Duration::from_millis(300),
        header_timeout: std::time::Duration::from_millis(300),
        ..HttpConfig::default()
    }
}

#[rstest]
#[case::signed_length(post("Content-Length: +12", GOOD), 400)]
#[case::length_in_hex(post("Content-Length: 0xC", GOOD), 400)]
#[case::negative_length(post("Content-Length: -1", GOOD), 400)]
#[case::empty_length(post("Content-Length:", GOOD), 400)]
#[case::two_lengths(post("Content-Length: 12\r\nContent-Length: 13", GOOD), 400)]
#[case::length_list(post("Content-Length: 12, 13", GOOD), 400)]
#[case::length_of_2_to_64(post("Content-Length: 18446744073709551616", GOOD), 400)]
#[case::length_far_too_large(post("Content-Length: 999999999999", GOOD), 413)]
#[case::length_too_small(post("Content-Length: 5\r\nConnection: close", GOOD), 400)]
#[case::length_too_large(post("Content-Length: 15", GOOD), 408)]
#[case::chunk_of_2_to_64(post("Transfer-Encoding: chunked", "10000000000000000\r\n"), 400)]
#[case::chunk_without_size(post("Transfer-Encoding: chunked", "x\r\n{}\r\n0\r\n\r\n"), 400)]
#[case::chunk_that_never_comes(post("Transfer-Encoding: chunked", "ff\r\n{"), 408)]
#[case::unknown_coding(post("Transfer-Encoding: gzip", GOOD), 400)]
#[case::chunked_not_last(post("Transfer-Encoding: chunked, gzip", GOOD), 400)]
#[case::compressed(
    post("Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: 12", GOOD),
    415
)]
#[case::two_types(post("Connection: close\r\nContent-Type: a/b\r\nContent-Length: 12", GOOD), 415)]
#[case::field_without_colon(post("Content-Length", GOOD), 400)]
#[case::space_before_colon(post("Content-Length : 12", GOOD), 400)]
#[case::folded_field(post("X: a\r\n b", GOOD), 400)]
#[case::nul_in_field(post("X: a\0b", GOOD), 400)]
#[case::http_0_9(b"GET /look\r\n\r\n".to_vec(), 400)]
#[case::http_2_preface(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 0)]
#[case::tls_hello(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400)]
#[case::two_spaces(b"GET  /look HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 400)]
#[case::only_newlines(b"\r\n\r\n\r\n".to_vec(), 408)]
#[case::half_a_head(b"GET /look HTTP/1.1\r\nHost".to_vec(), 408)]
#[case::nothing(Vec::new(), 0)]
#[case::path_of_100_kb(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000)).into_bytes(), 431)]
#[case::fields_of_40_kb(request("GET /look?userId=7", &"a".repeat(40_000), ""), 431)]
#[tokio::test]
async fn a_broken_request_is_refused_and_closed(#[case] bytes: Vec<u8>, #[case] status: u16) {
    let server = TestServer::start(routes(), config());
    let answer = server.exchange(&bytes).await;
    assert_eq!(answer.status, status, "{answer:?}");
    if status != 0 {
        let code = match status {
            400 => "bad-request",
            408 => "request-timeout",
            413 => "payload-too-large",
            415 => "unsupported-media-type",
            _ => "headers-too-large",
        };
        assert_eq!(answer.code(), code, "{answer:?}");
    }

    let after = server.exchange(&request("GET /look?userId=7", "", "")).await;
    assert_eq!(after.status, 200, "the server still serves others");
}

/// The answer to what came before is not lost over a request that cannot be read.
#[tokio::test]
async fn a_broken_request_behind_a_good_one_gets_an_answer_of_its_own() {
    let server = TestServer::start(routes(), config());
    let both = [b"GET /look?userId=7 HTTP/1.1\r\n\r\n".as_slice(), &post("X: a\0b", "")].concat();
    let mut client = server.connect().await;
    client.send(&both).await;
    let all = client.rest().await;
    let (first, second) = all.body.split_at(all.body.find("HTTP/1.1").unwrap());
    assert_eq!((all.status, first.contains("\"userId\":7")), (200, true), "{all:?}");
    let second = super::Answer::parse(second.as_bytes());
    assert_eq!((second.status, second.code().as_str()), (400, "bad-request"));
}

/// A path above 64 KiB is too much for the HTTP library, whatever the limit here.
#[tokio::test]
async fn a_path_that_is_too_long_for_the_library_is_the_same_as_one_above_the_limit() {
    let config = HttpConfig { head_bytes_max: 1 << 20, ..config() };
    let server = TestServer::start(routes(), config);
    let answer = server.exchange(&request(&format!("GET /{}", "a".repeat(70_000)), "", "")).await;
    assert_eq!((answer.status, answer.code().as_str()), (431, "headers-too-large"));
}

/// What hyper and RFC 9112 let pass: the request is as good as it looks.
#[rstest]
#[case::equal_lengths(post("Content-Length: 12\r\nContent-Length: 12\r\nConnection: close", GOOD))]
#[case::bare_line_feeds(
    format!("POST /wish HTTP/1.1\nConnection: close\nContent-Type: application/json\n\
        Content-Length: 12\n\n{GOOD}").into_bytes()
)]
#[case::both_lengths(post(
    "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "c\r\n{\"userId\":7}\r\n0\r\n\r\n"
))]
#[case::both_lengths_the_other_way(post(
    "Content-Length: 3\r\nTransfer-Encoding: chunked",
    "c\r\n{\"userId\":7}\r\n0\r\n\r\n"
))]
#[tokio::test]
async fn an_odd_but_clear_request_is_served_and_its_connection_closed(#[case] bytes: Vec<u8>) {
    let server = TestServer::start(routes(), config());
    let answer = server.exchange(&bytes).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.body.contains("HTTP/1.1"), "nothing was smuggled: {answer:?}");
}

#[tokio::test]
async fn a_body_that_ends_early_closes_the_connection() {
    use tokio::io::AsyncWriteExt;

    let server = TestServer::start(routes(), config());
    let mut client = server.connect().await;
    client.send(&post("Content-Length: 100", GOOD)).await;
    client.0.shutdown().await.unwrap();
    let answer = client.rest().await;
    assert!([0, 400].contains(&answer.status), "{answer:?}");
}

#[rstest]
#[case("GET /unknown", 404, "not-found")]
#[case("GET //", 404, "not-found")]
#[case("GET //look", 404, "not-found")]
#[case("GET /look/", 404, "not-found")]
#[case("GET /%2e%2e/look", 404, "not-found")]
#[case("GET /../look", 404, "not-found")]
#[case("GET /%6cook", 404, "not-found")]
#[case("GET /%zz", 404, "not-found")]
#[case("GET /%00", 404, "not-found")]
#[case("GET *", 404, "not-found")]
#[case("OPTIONS *", 404, "not-found")]
#[case("BREW /pot", 404, "not-found")]
#[case("POST /look", 405, "method-not-allowed")]
#[case("OPTIONS /look", 405, "method-not-allowed")]
#[case("BREW /look", 405, "method-not-allowed")]
#[case("GET /wish", 405, "method-not-allowed")]
#[case("CONNECT /look", 405, "method-not-allowed")]
#[case("GET http://x/unknown", 404, "not-found")]
#[tokio::test]
async fn an_unknown_path_or_method_is_a_problem(
    #[case] line: &str,
    #[case] status: u16,
    #[case] code: &str,
) {
    let server = TestServer::start(routes(), config());
    let answer = server.exchange(&request(line, "", "")).await;
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    if status == 405 {
        let allowed = answer.header("allow").unwrap_or_default();
        assert_eq!(allowed, if line.ends_with("/wish") { "post" } else { "get,head,delete" });
    }
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let server = TestServer::start(routes(), config());
    let get = server.exchange(&request("GET /look?userId=7", "", "")).await;
    let head = server.exchange(&request("HEAD /look?userId=7", "", "")).await;
    assert_eq!((get.status, head.status), (200, 200));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(head.body, "");

    let refused = server.exchange(&request("HEAD /unknown", "", "")).await;
    assert_eq!((refused.status, refused.body.as_str()), (404, ""));
}

#[tokio::test]
async fn a_path_of_8_kb_and_a_token_of_10_kb_reach_the_router() {
    let server = TestServer::start(routes(), config());
    let long = server.exchange(&request(&format!("GET /{}", "a".repeat(8_192)), "", "")).await;
    assert_eq!((long.status, long.code().as_str()), (404, "not-found"));

    let token = "a".repeat(10_240);
    let bytes =
        format!("GET /look?userId=7 HTTP/1.1\r\nQueue-Token: {token}\r\nConnection: close\r\n\r\n");
    assert_eq!(server.exchange(bytes.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn a_megabyte_of_body_is_413_in_one_piece_and_in_chunks() {
    let server = TestServer::start(routes(), config());
    let whole = request("POST /wish", "application/json", "x".repeat(1 << 20));
    assert_eq!(server.exchange(&whole).await.status, 413);
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let chunked = post("Transfer-Encoding: chunked", &chunk.repeat(2));
    assert_eq!(server.exchange(&chunked).await.status, 413);
}
