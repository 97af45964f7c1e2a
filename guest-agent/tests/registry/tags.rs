//! The tags of a repository.

use tonic::Code;
use wherry_proto::v1::ListTagsRequest;

use super::server::{Reply, Request, Server, Then, reply};
use super::support::{Agent, not_root};

async fn tags(
    agent: &Agent,
    answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (String, Result<Vec<String>, tonic::Status>) {
    let server = Server::start(answer).await;
    let request = ListTagsRequest {
        name: format!("{}/team/app", server.address),
        access: None,
    };
    let listed = agent.images.clone().tags(request).await;
    let names = listed.map(|listed| listed.into_inner().names);
    (server.address.clone(), names)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_tags_is_read() {
    if not_root("every_page_of_tags") {
        return;
    }
    let agent = Agent::start().await;
    let (address, names) = tags(&agent, |request| match request.path.as_str() {
        "/v2/team/app/tags/list" => reply(200, r#"{"name": "team/app", "tags": ["1", "no tag!"]}"#)
            .with("Link", "</v2/team/app/tags/list?last=1&n=1>; rel=\"next\""),
        "/v2/team/app/tags/list?last=1&n=1" => reply(200, r#"{"tags": ["2"]}"#),
        "/v2/" => reply(200, "{}"),
        _ => reply(404, ""),
    })
    .await;
    assert_eq!(
        names.unwrap(),
        [
            format!("{address}/team/app:1"),
            format!("{address}/team/app:2")
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_are_none_are_errors() {
    if not_root("tags_that_are_none") {
        return;
    }
    let agent = Agent::start().await;
    let (_, none) = tags(&agent, |_| reply(200, r#"{"tags": null}"#)).await;
    assert_eq!(none.unwrap_err().code(), Code::NotFound);
    let (_, nowhere) = tags(&agent, |_| reply(404, "")).await;
    assert_eq!(nowhere.unwrap_err().code(), Code::NotFound);
    let (_, endless) = tags(&agent, |_| reply(200, "[1, 2, ").then(Then::Again)).await;
    let endless = endless.unwrap_err();
    assert_eq!(endless.code(), Code::DataLoss, "{endless}");
    // Each page points to another one.
    let (_, cycle) = tags(&agent, |_| {
        reply(200, r#"{"tags": ["1"]}"#).with("Link", "<?last=1>; rel=\"next\"")
    })
    .await;
    let cycle = cycle.unwrap_err();
    assert!(cycle.message().contains("has no end"), "{cycle}");
    let request = ListTagsRequest {
        name: "app:1".to_owned(),
        access: None,
    };
    let tagged = agent.images.clone().tags(request).await.unwrap_err();
    assert_eq!(tagged.code(), Code::InvalidArgument);
}
