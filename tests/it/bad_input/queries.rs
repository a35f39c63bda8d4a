//! The query, and a body that says something else.

use serde_json::{Map, Value, json};

use super::{ROUTES, Route, Stage, Takes, query_of};

/// Another right value of a field.
fn another(name: &str) -> Value {
    match name {
        "concertDate" => json!("2099-12-24"),
        "reservationId" | "ownedBefore" => json!("01890a5d-ac96-774b-bcce-b302099a8058"),
        "seatNumbers" => json!([7, 8]),
        _ => json!(7),
    }
}

/// Queries that are wrong as a whole for a route with these right fields.
fn wrong_queries(right: &Map<String, Value>) -> Vec<String> {
    let right = query_of(right);
    let strange = ["a[]=", "a=1", "=1", "a=%00", "a=%", "a=%4", "a=%zz", "a=%ff", "%00=1", "a"];
    strange.iter().map(|strange| format!("{right}&{strange}")).collect()
}

async fn refuse_all(stage: &Stage, route: &Route) {
    let right = stage.object(route);
    let refused = async |query: &str, why: &str| {
        stage.refused(&stage.bare(route).query(query), (400, "bad-request"), why).await;
    };
    for query in wrong_queries(&right) {
        refused(&query, "a strange pair").await;
    }
    for name in route.fields {
        let mut others = right.clone();
        let value = others.remove(*name).expect("the field");
        let one = Map::from_iter([((*name).to_owned(), value.clone())]);
        let (others, pair) = (query_of(&others), query_of(&one));
        refused(&format!("{others}&{pair}&{pair}"), "twice, the same").await;
        let second = Map::from_iter([((*name).to_owned(), another(name))]);
        refused(&format!("{others}&{pair}&{}", query_of(&second)), "twice, different").await;
        for spoilt in ["", "=", "[]=1", "=%00", "=%ff", "=%", "=1.0", "=1%00", "=%201"] {
            refused(&format!("{others}&{name}{spoilt}"), "no value").await;
        }
        refused(&format!("{others}&{}=1", name.to_uppercase()), "another case").await;
        let mut differing = right.clone();
        differing.insert((*name).to_owned(), another(name));
        let both =
            stage.bare(route).query(&query_of(&right)).json(Value::Object(differing).to_string());
        stage.refused(&both, (400, "ambiguous-input"), "query and body differ").await;
    }
    for name in route.required {
        let mut without = right.clone();
        without.remove(*name);
        refused(&query_of(&without), "a field is missing").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_query_is_refused_by_every_route_that_reads_one() {
    let stage = Stage::set().await;
    for route in ROUTES.iter().filter(|route| route.takes == Takes::Query) {
        refuse_all(&stage, route).await;
    }
    stage.assert_nothing_written().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_reads_a_body_does_not_ignore_a_query() {
    let stage = Stage::set().await;
    for route in ROUTES.iter().filter(|route| route.takes.is_body()) {
        let right = stage.with_fields(route, &stage.object(route));
        for query in ["userId=1", "userId=2", "a[]=", "%00", "%"] {
            let request = right.clone().query(query);
            stage.refused(&request, (400, "bad-request"), "a query").await;
        }
    }
    stage.assert_nothing_written().await;
}

/// A balancer's probe and a scrape's `params` are not written by who reads this API's description.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_on_a_timer_may_add_any_query() {
    let stage = Stage::set().await;
    let asked: Vec<_> = ROUTES.iter().filter(|route| route.takes == Takes::AnyQuery).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    for route in asked {
        let strange = wrong_queries(&Map::new());
        for query in strange.iter().map(String::as_str).chain(["probe=1", "token=x&userId=0"]) {
            let answer = stage.send(&stage.bare(route).query(query)).await;
            assert_eq!(answer.status, 200, "{route:?} {query}: {answer:?}");
        }
    }
    stage.assert_nothing_written().await;
}
