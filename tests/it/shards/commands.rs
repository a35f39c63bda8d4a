//! `onsale check` on a cluster, and `onsale dev --cluster`.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use onsale::local::{LocalReplicated, ReplicatedOptions};
use tokio::process::Command;

use super::cluster;
use crate::support::server::{TestServer, fresh_database};
use crate::support::{concert, eventually};

/// Exit code and output of `onsale check`.
async fn check(redis_url: &str, database_url: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.arg("check").env_clear().stdin(Stdio::null());
    command.env("ONSALE_REDIS_URL", redis_url).env("ONSALE_DATABASE_URL", database_url);
    let output = command.output().await.expect("the binary runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_at_every_node_of_a_cluster_and_says_how_to_mend_it() {
    let (cluster, database_url) = (cluster().await, fresh_database().await);
    // The tests' PostgreSQL is in a hurry, and says so: that is the one fault.
    let (code, said) = check(&cluster.url(), &database_url).await;
    assert_eq!((code, said.matches("FAULT").count()), (Some(1), 1), "{said}");
    assert!(said.contains("fsync is off") && said.contains("Mend: alter system"), "{said}");
    for node in cluster.nodes() {
        let name = format!("127.0.0.1:{}: ", node.port().expect("a port"));
        let good = format!("{name}drops no key when its memory is full");
        assert!(said.contains(&good), "no {good} in {said}");
    }
    assert_eq!(said.matches("1 replica(s) follow").count(), 3, "{said}");
    assert!(said.contains("the cluster serves all slots"), "{said}");
    assert!(said.contains("the clocks of the Redis are at most"), "{said}");

    let replica = &cluster.nodes()[4];
    let alone = format!("redis://127.0.0.1:{}", replica.port().expect("a port"));
    let (code, said) = check(&alone, &database_url).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is a replica and takes no writes"), "{said}");
    assert!(said.contains("is one of a cluster"), "{said}");

    replica.say("CONFIG SET maxmemory-policy allkeys-lru").await.expect("a setting");
    cluster.nodes()[5].kill().await;
    let (code, said) = check(&cluster.url(), &database_url).await;
    assert_eq!(code, Some(1), "{said}");
    let evil = format!("127.0.0.1:{}: maxmemory-policy is allkeys-lru", replica.port().unwrap());
    assert!(said.contains(&evil), "{said}");
    assert!(said.contains("Mend: CONFIG SET maxmemory-policy noeviction"), "{said}");
    assert!(said.contains("has no replica that could take over"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_when_the_sentinels_could_not_agree_on_a_failover() {
    let start = LocalReplicated::throwaway(ReplicatedOptions::throwaway(3));
    let (pair, database_url) = (start.await.expect("a private pair"), fresh_database().await);
    let name = |index: usize| {
        let port = pair.sentinels()[index].port().expect("a port");
        format!("Sentinel 127.0.0.1:{port}: ")
    };
    let (_, said) = check(&pair.url(), &database_url).await;
    for index in 0..3 {
        let good = format!("{}knows enough Sentinels", name(index));
        assert!(said.contains(&good), "no {good} in {said}");
    }
    assert_eq!(said.matches("FAULT").count(), 1, "only that PostgreSQL is in a hurry: {said}");

    pair.sentinels()[1].kill().await;
    pair.sentinels()[2].kill().await;
    let is_alone = || async {
        let said = pair.sentinels()[0].say("SENTINEL CKQUORUM onsale").await;
        said.is_err_and(|error| format!("{error:#}").contains("NOQUORUM"))
    };
    eventually("the last Sentinel misses the others", is_alone).await;
    let (code, said) = check(&pair.url(), &database_url).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("FAULT   {}NOQUORUM", name(0))), "{said}");
    assert!(said.contains("Mend: start the Sentinels that are away"), "{said}");
    assert!(said.contains(&format!("FAULT   {}does not answer", name(1))), "{said}");

    let elsewhere = pair.url().replace("sentinelServiceName=onsale", "sentinelServiceName=other");
    let (code, said) = check(&elsewhere, &database_url).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("No such master"), "{said}");
    assert!(said.contains("Mend: the sentinelServiceName of ONSALE_REDIS_URL"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_runs_all_of_it_on_a_cluster_and_ends_it_with_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    // PostgreSQL's own account must get in.
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).expect("a mode");
    let log = std::fs::File::create(folder.path().join("log")).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.args(["dev", "--cluster", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(folder.path().join("data")).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null()).kill_on_drop(true);
    let mut dev = command.spawn().expect("the binary runs");
    let said = || std::fs::read_to_string(folder.path().join("log")).expect("a log");
    let address = || {
        let said = said();
        let (_, rest) = said.split_once("Onsale serves on http://")?;
        rest.split(' ').next()?.parse().ok()
    };
    eventually("it serves", || async { address().is_some() }).await;
    assert!(said().contains("redis-cli -c -p"), "{}", said());
    let server = TestServer::at(address().expect("an address"));
    eventually("it is ready", || async { server.get("/readyz").await.status == 200 }).await;
    let mut demo = concert(1, 1);
    demo.id = 1.try_into().expect("the first of the demo concerts");
    let token = server.admitted(&demo, 7).await;
    server.get_as(&token, "/concert/available-dates").await.expect(200);

    let pid = dev.id().and_then(|pid| i32::try_from(pid).ok()).expect("a live process");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    assert!(dev.wait().await.expect("an exit status").success());
}
