//! What a name stands for in a registry.

use serde_json::json;
use tonic::Code;

use super::debian::Registry;
use super::image::{Image, digest, index, tar};
use super::server::{Server, reply};
use super::support::{Agent, not_root};
use super::*;

async fn ask(agent: &Agent, name: &str) -> Result<DistributionResponse, Status> {
    let request = DistributionRequest {
        name: name.to_owned(),
        access: None,
    };
    let answer = agent.images.clone().distribution(request).await;
    answer.map(tonic::Response::into_inner)
}

fn names(found: &DistributionResponse) -> Vec<String> {
    let platforms = found.platforms.iter();
    platforms
        .map(|found| format!("{}/{}/{}", found.os, found.architecture, found.variant))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_told_without_a_pull() {
    if not_root("a_name_is_told") {
        return;
    }
    let agent = Agent::start().await;
    let registry = Registry::start().await;
    let before = files(&agent);
    let arm = Image::new("arm64", &[tar(&[("arm", b"1")])]);
    let other = Image::new("s390x", &[tar(&[("other", b"1")])]);
    let entries = [
        (
            &arm,
            json!({"os": "linux", "architecture": "arm64", "variant": "v8"}),
        ),
        (
            &other,
            json!({"os": "linux", "architecture": "s390x", "os.features": null}),
        ),
    ];
    let index = index(&entries);
    let name = registry.put_layout("app:several", &[&arm, &other], &index);
    let found = ask(&agent, &name).await.unwrap();
    assert_eq!(names(&found), ["linux/arm64/v8", "linux/s390x/"]);
    assert_eq!(
        (found.digest, found.size),
        (digest(&index), index.len() as u64)
    );
    assert!(found.media_type.ends_with("image.index.v1+json"));

    let name = registry.put("app:one", &arm);
    let found = ask(&agent, &name).await.unwrap();
    assert_eq!(names(&found), ["linux/arm64/"]);
    assert_eq!(found.digest, digest(&arm.manifest_bytes()));
    let missing = ask(&agent, &format!("{}/app:none", registry.address)).await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
    assert_eq!(files(&agent), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_answers_nonsense_is_named() {
    if not_root("a_registry_that_answers_nonsense") {
        return;
    }
    let agent = Agent::start().await;
    let server = Server::start(|_| reply(200, "[1, 2")).await;
    let error = ask(&agent, &format!("{}/app:1", server.address))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
    assert!(error.message().contains(&server.address), "{error}");
}
