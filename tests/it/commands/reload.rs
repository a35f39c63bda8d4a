//! SIGHUP: `onsale serve` reads the catalogue again.

use rustix::process::Signal;
use serde_json::json;

use crate::support::process::ServerProcess;
use crate::support::server::Deployment;
use crate::support::{concert, eventually};

const KEPT: &str = "the catalogue stays as it was";

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_brings_new_concerts_and_a_faulty_file_changes_nothing() {
    let (first, second) = (concert(10, 1), concert(10, 1));
    let process = ServerProcess::start(&Deployment::new(vec![first.clone()]).await).await;
    let server = &process.server;
    let unknown = server.post("/user/token", json!({"concertId": second.id})).await;
    assert_eq!(unknown.refusal(), (404, "unknown-concert"));

    process.write_catalogue(&[first.clone(), second.clone()]);
    process.signal(Signal::HUP);
    let joins = || async {
        server.post("/user/token", json!({"concertId": second.id})).await.status == 201
    };
    eventually("the new concert is there", joins).await;
    let token = server.admitted(&second, 1).await;
    server.reserve(&token, &second, 1, 3).await.expect(201);

    // A date that does not exist, and a file that is gone.
    let mut faulty = process.read_catalogue();
    faulty = faulty.replace("2099-12-01", "2099-12-32");
    for (nth, text) in [Some(faulty), None].into_iter().enumerate() {
        process.replace_catalogue(text.as_deref());
        process.signal(Signal::HUP);
        let refused = || async { process.log().matches(KEPT).count() > nth };
        eventually("the file is refused", refused).await;
        server.admitted(&first, 2).await;
        server.reserve(&token, &second, 1, 3).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_the_default_concert_is_refused_as_at_the_start() {
    let (default, other) = (concert(10, 1), concert(10, 1));
    let mut deployment = Deployment::new(vec![default.clone(), other.clone()]).await;
    deployment = deployment.with("default_concert", &default.id.to_string());
    let process = ServerProcess::start(&deployment).await;
    let server = &process.server;
    server.post("/user/token", json!({})).await.expect(201);

    process.write_catalogue(std::slice::from_ref(&other));
    process.signal(Signal::HUP);
    let fault = "ONSALE_DEFAULT_CONCERT is not in the catalogue";
    let is_told = || async { process.log().lines().any(|l| l.contains(KEPT) && l.contains(fault)) };
    eventually("the file is refused", is_told).await;
    server.post("/user/token", json!({})).await.expect(201);

    deployment.concerts = vec![other];
    let refusal = ServerProcess::refused(&deployment).await;
    assert_eq!(refusal.exit_code, Some(2), "{}", refusal.said);
    assert!(refusal.said.contains("is not in the catalogue"), "{}", refusal.said);
}
