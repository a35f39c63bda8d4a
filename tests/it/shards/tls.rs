//! TLS with a private authority: to one Redis, under Sentinels and in a cluster.

use std::path::Path;
use std::process::Command;

use onsale::concerts::Concert;
use onsale::local::{
    ClusterOptions, LocalCluster, LocalRedis, LocalReplicated, RedisOptions, ReplicatedOptions,
    TlsFiles,
};

use super::deployment;
use crate::support::concert;
use crate::support::process::ServerProcess;

/// An authority and a certificate for 127.0.0.1, made by the `openssl` that is here anyway.
fn files(folder: &Path) -> TlsFiles {
    let file = |name: &str| folder.join(name);
    let openssl = |words: &str| {
        let status = Command::new("openssl").args(words.split(' ')).current_dir(folder).output();
        let output = status.expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::write(file("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .expect("a file");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    openssl(&format!("req {key} -keyout redis.key -out redis.csr -subj /CN=redis"));
    openssl(
        "x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -out redis.pem -days 2 -extfile names",
    );
    TlsFiles { ca: file("ca.pem"), certificate: file("redis.pem"), key: file("redis.key") }
}

/// A purchase through a server that trusts the authority, and none through one that does not.
async fn sells(url: String, concert: &Concert, tls: &TlsFiles) {
    let deployment = deployment(url, vec![concert.clone()]).await;
    let stranger = ServerProcess::start_unready(&deployment).await;
    let trusting = [("SSL_CERT_FILE", tls.ca.as_path())];
    let process = ServerProcess::start_with(&deployment, &trusting).await;
    let token = process.server.admitted(concert, 7).await;
    process.server.charge(&token, 7, 1000).await;
    process.server.reserve(&token, concert, 7, 3).await.expect(201);
    process.server.pay(&token, 7).await.expect(200);
    stranger.server.get("/readyz").await.expect(503);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_redis_that_talks_tls_is_trusted_by_its_authority() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = files(folder.path());
    let options = RedisOptions { tcp: true, tls: Some(tls.clone()), ..RedisOptions::throwaway() };
    let redis = LocalRedis::throwaway(options).await.expect("a private Redis");
    sells(redis.tcp_url().expect("an address"), &concert(10, 1), &tls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_pair_talk_tls_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = files(folder.path());
    let options = ReplicatedOptions { tls: Some(tls.clone()), ..ReplicatedOptions::throwaway(3) };
    let pair = LocalReplicated::throwaway(options).await.expect("a private pair");
    sells(pair.url(), &concert(10, 1), &tls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_talks_tls_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = files(folder.path());
    let options = ClusterOptions { tls: Some(tls.clone()), ..ClusterOptions::throwaway() };
    let cluster = LocalCluster::throwaway(options).await.expect("a private cluster");
    sells(cluster.url(), &concert(10, 1), &tls).await;
}
