//! The description of the API against a server: the methods that it names are those of each path.

use std::collections::BTreeSet;

use crate::support::concert;
use crate::support::server::Deployment;

#[tokio::test(flavor = "multi_thread")]
async fn every_method_of_every_path_is_described_and_no_other() {
    let server = Deployment::new(vec![concert(10, 1)]).await.start().await;
    let document = server.get("/openapi.json").await.expect(200).body;
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 12, "{}", paths.len());
    for (path, item) in paths {
        let described: BTreeSet<_> =
            item.as_object().expect("methods").keys().map(|method| method.to_uppercase()).collect();
        let refusal = server.send("PUT", path, None, None).await;
        assert_eq!(refusal.refusal(), (405, "method-not-allowed"), "{path}");
        let allowed = refusal.headers["allow"].to_str().expect("text").split(',').map(str::trim);
        // HEAD is GET without the body.
        let allowed: BTreeSet<_> =
            allowed.filter(|method| *method != "HEAD").map(str::to_owned).collect();
        assert_eq!(described, allowed, "{path}");
    }
}
