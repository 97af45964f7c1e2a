//! Pulls and pushes as the host asks for them: by a plain agent, from Debian's
//! `docker-registry` and from servers that lie.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
mod support;

#[path = "registry/authority.rs"]
mod authority;

#[path = "registry/debian.rs"]
mod debian;

#[path = "registry/distribution.rs"]
mod distribution;

#[path = "registry/image.rs"]
mod image;

#[path = "registry/lies.rs"]
mod lies;

#[path = "registry/pull.rs"]
mod pull;

#[path = "registry/push.rs"]
mod push;

#[path = "registry/server.rs"]
mod server;

#[path = "registry/tags.rs"]
mod tags;

use std::path::Path;

use support::{Agent, within};
use tonic::Status;
use wherry_proto::v1::transfer_event::Event;
use wherry_proto::v1::*;

/// What a transfer told, and how it ended.
struct Transfer {
    layers: Vec<LayerProgress>,
    messages: Vec<String>,
    result: Result<TransferResult, Status>,
}

async fn pull(agent: &Agent, name: &str) -> Result<TransferResult, Status> {
    pull_with(agent, name, |_| ()).await.result
}

async fn pull_with(
    agent: &Agent,
    name: &str,
    change: impl FnOnce(&mut PullImageRequest),
) -> Transfer {
    let mut request = PullImageRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    change(&mut request);
    let events = agent.images.clone().pull(request).await;
    watch(events.map(tonic::Response::into_inner)).await
}

async fn watch(events: Result<tonic::Streaming<TransferEvent>, Status>) -> Transfer {
    let mut transfer = Transfer {
        layers: Vec::new(),
        messages: Vec::new(),
        result: Err(Status::internal("no result")),
    };
    let mut events = match events {
        Ok(events) => events,
        Err(status) => {
            transfer.result = Err(status);
            return transfer;
        }
    };
    loop {
        match within(events.message()).await {
            Ok(Some(event)) => match event.event.unwrap() {
                Event::Layer(layer) => transfer.layers.push(layer),
                Event::Message(message) => transfer.messages.push(message),
                Event::Result(result) => transfer.result = Ok(result),
            },
            Ok(None) => return transfer,
            Err(status) => {
                transfer.result = Err(status);
                return transfer;
            }
        }
    }
}

fn access(change: impl FnOnce(&mut RegistryAccess)) -> Option<RegistryAccess> {
    let mut access = RegistryAccess::default();
    change(&mut access);
    Some(access)
}

fn credential(registry: &str, username: &str, password: &str) -> Vec<RegistryCredential> {
    vec![RegistryCredential {
        registry: registry.to_owned(),
        username: username.to_owned(),
        password: password.to_owned(),
        ..Default::default()
    }]
}

/// Everything that the store has, by path.
fn files(agent: &Agent) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["layers", "skeletons", "blobs/sha256", "images/tmp"] {
        list(&agent.root().join(directory), directory, &mut found);
    }
    found.sort();
    found
}

fn list(directory: &Path, name: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap().file_name().into_string().unwrap();
        found.push(format!("{name}/{entry}"));
    }
}

/// Waits until the store is again as it was.
async fn assert_no_debris(agent: &Agent, before: &[String]) {
    let deadline = std::time::Instant::now() + support::DEADLINE;
    loop {
        let now = files(agent);
        if now == before {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "left behind: {now:?}, before: {before:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
