//! One purchase, told in examples: what is asked, and what is answered.
//!
//! A test holds each of them against the schema of its answer.

use serde_json::{Value, json};

use crate::metrics::{BOUNDS, Latencies};

/// The example of an operation's successful answer, by the operation's id.
pub(super) fn answer(operation: &str) -> Option<Value> {
    let (reservation, held) = (RESERVATION, held());
    let owned = json!([{
        "paymentId": "01a205c0-1f7a-7d02-8d3b-2f6f5c9e7a40", "reservationId": reservation,
        "concertId": 1, "concertDate": "2030-12-24", "seatNumber": 12, "amount": 50_000,
        "paidAt": "2030-11-01 20:11:02",
    }]);
    Some(match operation {
        "list_catalogue" => json!({
            "auth": "jwt", "maxSeatsPerUser": 4,
            "concerts": [{
                "concertId": 1, "name": "Winter night", "dates": ["2030-12-24"], "seats": 50,
                "price": 50_000, "timeZone": "Asia/Seoul", "opensAt": "2030-11-01T20:00:00+09:00",
            }],
        }),
        "join_line" => json!({
            "token": "00000436-4cbb-861a-b87e-77835403a804_123", "queuePosition": 123,
            "estimatedWaitTime": 30, "status": "waiting", "concertId": 1, "pollAfter": 3.2,
        }),
        "show_position" => json!({
            "queuePosition": 57, "estimatedWaitTime": 14, "status": "waiting", "concertId": 1,
            "pollAfter": 1.5, "message": "We go on at 20:15.",
        }),
        "leave_line" => json!({ "status": "left" }),
        "list_dates" => json!({ "availableDates": ["2030-12-24"] }),
        "show_fairness" => json!({
            "concertId": 1, "prequeue": "lottery", "missedLottery": false,
            "opensAt": "2030-11-01T11:00:00Z",
            "draw": {
                "id": "6f1c0f5e-54a5-4b0e-9f3a-0f2c8d6b7e10", "algorithm": "onsale-draw-1",
                "committedAt": "2030-10-25T09:00:00Z",
                "commitment": "9b74c9897bac770ffc029102a200c5de9b74c9897bac770ffc029102a200c5de",
                "beaconRound": "drand quicknet 30000000",
            },
        }),
        "list_seats" => json!({ "availableSeats": [1, 2, 3, 10, 12, 20] }),
        "reserve_seats" => {
            let mut reserved = held;
            reserved["status"] = json!("reserved");
            reserved
        }
        "release_seat" => json!({
            "reservationId": reservation, "concertDate": "2030-12-24", "seatNumber": 12,
            "status": "released",
        }),
        "charge_balance" => json!({
            "userId": 1, "balance": 60_000, "message": "Balance charged successfully.",
        }),
        "show_balance" => json!({ "userId": 1, "balance": 60_000 }),
        "pay_holds" => json!({
            "userId": 1, "status": "completed",
            "message": "Payment successful and ownership assigned.", "balance": 10_000,
            "payments": owned,
        }),
        "list_reservations" => json!({ "holds": [held], "owned": owned }),
        "list_withheld" => json!({
            "concertId": 1, "dates": [{ "concertDate": "2030-12-24", "seatNumbers": [1, 2] }],
        }),
        "withhold_seats" | "give_seats_back" => json!({
            "concertId": 1, "concertDate": "2030-12-24", "seatNumbers": [1, 2],
        }),
        "show_health" => json!({ "status": "alive", "version": env!("CARGO_PKG_VERSION") }),
        "show_readiness" => json!({ "status": "ready", "version": env!("CARGO_PKG_VERSION") }),
        _ => return for_operators(operation),
    })
}

const RESERVATION: &str = "01a205bf-5d1c-7c31-9f0e-6b1f1f6a2c11";

fn held() -> Value {
    json!({
        "reservationId": RESERVATION, "concertId": 1, "concertDate": "2030-12-24", "seatNumber": 12,
        "price": 50_000, "expireAt": "2030-11-01 20:15:00", "expiresIn": 299,
    })
}

/// What operators are answered.
fn for_operators(operation: &str) -> Option<Value> {
    let mut held_in_utc = held();
    held_in_utc["expireAt"] = json!("2030-11-01T11:15:00Z");
    Some(match operation {
        "list_concerts" => json!({ "concerts": [overview()] }),
        "configure_concert" => overview(),
        "show_dashboard" => dashboard(),
        "show_person" => json!({
            "concertId": 1, "userId": 1, "place": 60_154_812_345_678_i64,
            "standing": {
                "queuePosition": 0, "estimatedWaitTime": 0, "status": "active", "concertId": 1,
                "pollAfter": 2.0, "expiresIn": 540,
            },
            "claimed": true, "activeUntil": "2030-11-01T11:19:00Z", "holds": [held_in_utc], "owned": [],
            "balance": 60_000,
        }),
        "list_series" => json!({
            "concertId": 1, "fields": ["at", "waiting", "active"],
            "rows": [[1_919_761_800_000_i64, 1234, 1000], [1_919_761_801_000_i64, 1180, 1000]],
        }),
        "clear_line" => json!({ "concertId": 1, "left": 1234 }),
        "release_holds" => json!({
            "concertId": 1, "concertDate": "2030-12-24", "seatNumbers": [12],
        }),
        "list_changes" => json!({
            "entries": [
                {
                    "at": "2030-11-01T11:12:31.207Z", "request": "01a205c1-77b2-7a0e-8e21-90c5d1d5b0a4",
                    "action": "released", "setting": null, "before": null, "after": null,
                    "concertDate": "2030-12-24", "seatNumber": 12, "userId": 1,
                    "place": 60_154_812_345_678_i64,
                },
                {
                    "at": "2030-11-01T11:10:02.551Z", "request": "01a205bf-84b1-7cc1-a3c3-5a3d2f6f0b52",
                    "action": "changed", "setting": "paused", "before": null, "after": "1",
                },
            ],
        }),
        _ => return None,
    })
}

/// One concert as operators see it.
fn overview() -> Value {
    json!({
        "concertId": 1, "name": "Winter night", "waiting": 1234, "active": 1000, "capacity": 1000,
        "batch": 100, "paused": false, "missedLottery": false, "opensAt": "2030-11-01T11:00:00Z",
        "closesAt": null,
        "message": "We go on at 20:15.", "beaconAwaited": null, "held": 12, "withheld": 2, "sold": 31, "seats": 50,
        "stats": {
            "issued": 3310, "promoted": 2040, "claimed": 1979, "expired": 980, "left": 65,
            "consumed": 31, "held": 77, "released": 5, "lapsed": 29, "sold": 31, "displaced": 0,
            "corrected": 0,
        },
    })
}

/// What the dashboard shows of one server and the sale.
fn dashboard() -> Value {
    let bounds: Vec<_> = Latencies::bounds().collect();
    json!({
        "server": {
            "id": "5f0c2a91", "version": env!("CARGO_PKG_VERSION"), "missing": [],
            "requestsInWork": 3, "requestsInWorkMax": 1024, "latencyBounds": bounds,
            "routes": [{
                "route": "/concert/reserve", "method": "POST", "statuses": { "201": 77, "409": 1412 },
                "latencies": latencies(1412, 77),
            }],
            "refusals": { "seat-taken": 1412 },
            "redis": {
                "nodes": [{ "name": "redis:6379", "up": true, "breakerOpened": 0 }],
                "latencies": latencies(41_022, 310), "failures": 0,
            },
            "postgres": {
                "connections": 16, "connectionsIdle": 14, "connectionsMax": 16,
                "latencies": latencies(0, 139), "failures": 0,
            },
            "jobs": {
                "ops.sample": 0.4, "payments.finish": 0.4, "payments.verify": 0.3,
                "queue.promote": 0.4, "seats.sweep": 3.4,
            },
        },
        "concerts": [overview()],
        "sales": [{
            "concertId": 1, "verified": true,
            "sample": {
                "nowMs": 1_919_761_800_000_i64, "servers": 2, "waiting": 1234, "active": 1000,
                "held": 12, "withheld": 2, "sold": 31, "last": 60_154_812_347_271_i64,
                "head": 60_154_812_346_002_i64, "estimate": 62, "issued": 3310, "promoted": 2040,
                "claimed": 1979, "expired": 980, "left": 65, "consumed": 31, "holds": 77,
                "released": 5, "lapsed": 29, "polls": 40_311,
            },
        }],
    })
}

/// So many within 0.5 ms, and so many within 2 ms.
fn latencies(quick: u64, slower: u64) -> [u64; BOUNDS + 1] {
    let mut counts = [0; BOUNDS + 1];
    (counts[5], counts[7]) = (quick, slower);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::document;

    /// Why `value` is not of `schema`; the part of JSON Schema that the description uses for answers.
    fn fault(document: &Value, schema: &Value, value: &Value) -> Option<String> {
        if let Some(name) = schema["$ref"].as_str() {
            let target = document.pointer(name.trim_start_matches('#')).unwrap();
            return fault(document, target, value);
        }
        let parts = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
        for choice in ["oneOf", "anyOf"] {
            let all = parts(choice);
            if !all.is_empty() && all.iter().all(|part| fault(document, part, value).is_some()) {
                return Some(format!("{value} is none of {choice}"));
            }
        }
        if let Some(fault) = parts("allOf").iter().find_map(|part| fault(document, part, value)) {
            return Some(fault);
        }
        let types: Vec<_> = match &schema["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let is = |name: &&str| match *name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("a type that examples do not know: {other}"),
        };
        if !types.is_empty() && !types.iter().any(is) {
            return Some(format!("{value} is not of {types:?}"));
        }
        if let (Some(most), Some(number)) = (schema["maximum"].as_f64(), value.as_f64())
            && number > most
        {
            return Some(format!("{number} is above {most}"));
        }
        for name in parts("required") {
            if value.get(name.as_str().unwrap()).is_none() {
                return Some(format!("{name} is missing in {value}"));
            }
        }
        let items = value.as_array().into_iter().flatten();
        let members = value.as_object().into_iter().flatten();
        let in_items = items.filter_map(|item| fault(document, &schema["items"], item));
        let in_members = members.filter_map(|(name, one)| {
            let named = schema["properties"].get(name);
            fault(document, named.unwrap_or(&schema["additionalProperties"]), one)
        });
        in_items.chain(in_members).next()
    }

    /// Every name of a field that a schema has, with those of its parts.
    fn fields(document: &Value, schema: &Value) -> Vec<String> {
        if let Some(name) = schema["$ref"].as_str() {
            return fields(document, document.pointer(name.trim_start_matches('#')).unwrap());
        }
        let own = schema["properties"].as_object().into_iter().flatten();
        let mut all: Vec<_> = own.map(|(name, _)| name.clone()).collect();
        for part in ["allOf", "oneOf"].iter().filter_map(|name| schema[name].as_array()).flatten() {
            all.extend(fields(document, part));
        }
        all
    }

    #[test]
    fn every_request_of_a_purchase_has_an_example_that_is_as_described() {
        let document: Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
        let mut seen = 0;
        for (path, methods) in document["paths"].as_object().unwrap() {
            for operation in methods.as_object().unwrap().values() {
                let answers = operation["responses"].as_object().unwrap().iter();
                for (status, answer) in answers.filter(|(status, _)| status.starts_with('2')) {
                    let content = &answer["content"]["application/json"];
                    let Some(example) = content.get("example") else {
                        let others = ["/openapi.json", "/events", "/metrics"];
                        let may_lack = others.iter().any(|part| path.contains(part));
                        assert!(may_lack, "{path} {status} has no example");
                        continue;
                    };
                    let wrong = fault(&document, &content["schema"], example);
                    assert_eq!(wrong, None, "{path} {status}");
                    let known = fields(&document, &content["schema"]);
                    for (name, _) in example.as_object().unwrap() {
                        assert!(known.contains(name), "{path} {status} has no field {name}");
                    }
                    seen += 1;
                }
            }
        }
        assert!(seen >= 14, "{seen}");
    }

    #[test]
    fn an_example_that_is_not_as_described_is_found() {
        let document: Value = serde_json::from_str(&document().to_json().unwrap()).unwrap();
        let schema = json!({ "$ref": "#/components/schemas/StandingView" });
        let right = answer("show_position").unwrap();
        assert_eq!(fault(&document, &schema, &right), None);
        for (field, value) in [("status", json!(1)), ("queuePosition", json!("57"))] {
            let mut wrong = right.clone();
            wrong[field] = value;
            assert!(fault(&document, &schema, &wrong).is_some(), "{field}");
        }
        let mut wrong = right.clone();
        wrong.as_object_mut().unwrap().remove("pollAfter");
        assert!(fault(&document, &schema, &wrong).is_some());
    }
}
