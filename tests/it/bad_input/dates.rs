//! Days that are none, and days on which nothing is sold.

use serde_json::json;

use super::{Stage, Takes, taking};

/// What is no day of the calendar, or not written as one.
const NO_DAYS: &[&str] = &[
    "",
    "2025-02-29",
    "2025-13-01",
    "2025-00-10",
    "2025-01-32",
    "2025-1-1",
    "20251201",
    "2025-12-01T00:00",
    "-025-12-01",
    "10000-01-01",
    "2025/12/01",
    "tomorrow",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_does_not_exist_is_400_and_one_not_on_sale_404() {
    let stage = Stage::set().await;
    for route in taking("concertDate") {
        let on = |day: &str| {
            let mut fields = stage.object(route);
            fields.insert("concertDate".to_owned(), json!(day));
            stage.with_fields(route, &fields)
        };
        for day in NO_DAYS {
            stage.refused(&on(day), (400, "bad-request"), "no day").await;
        }
        stage.refused(&on(&"9".repeat(10_000)), (400, "bad-request"), "10,000 digits").await;
        for (day, why) in [("2020-01-01", "past"), ("2099-12-31", "not on sale")] {
            stage.refused(&on(day), (404, "unknown-date"), why).await;
        }
        if route.takes != Takes::Query {
            for value in ["20991201", "null", "[\"2099-12-01\"]"] {
                let body = format!("{{\"userId\":1,\"seatNumber\":2,\"concertDate\":{value}}}");
                let request = stage.bare(route).json(body);
                stage.refused(&request, (400, "bad-request"), "no text").await;
            }
        }
    }
    stage.assert_nothing_written().await;
}
