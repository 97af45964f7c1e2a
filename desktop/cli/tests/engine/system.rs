//! The scripted engine's system: one image that a stopped container has and one
//! that none has, and a check that always finds something.

use tonic::{Request, Response, Status};
use wherry_proto::v1::system_server::System;
use wherry_proto::v1::{self as v1, Finding};

use super::{Answer, ID, State, not_here};

fn image(tag: &str, digit: &str, unique: u64, containers: u32) -> v1::ImageUsage {
    v1::ImageUsage {
        image: Some(v1::Image {
            id: format!("sha256:{}", digit.repeat(64)),
            tags: vec![format!("docker.io/library/{tag}")],
            size: 5_000_000,
            ..v1::Image::default()
        }),
        unique,
        containers,
    }
}

#[tonic::async_trait]
impl System for State {
    async fn info(&self, _: Request<v1::InfoRequest>) -> Answer<v1::InfoResponse> {
        not_here()
    }
    async fn set_clock(&self, _: Request<v1::SetClockRequest>) -> Answer<v1::SetClockResponse> {
        not_here()
    }
    async fn power_off(&self, _: Request<v1::PowerOffRequest>) -> Answer<v1::PowerOffResponse> {
        not_here()
    }
    type WatchEngineConnectionsStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<v1::EngineConnection, Status>>>;

    async fn watch_engine_connections(
        &self,
        _: Request<v1::WatchEngineConnectionsRequest>,
    ) -> Answer<Self::WatchEngineConnectionsStream> {
        not_here()
    }
    type EventsStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::Event, Status>>>;

    /// Two events, of which the second comes only to who asks again after the
    /// connection broke.
    async fn events(&self, request: Request<v1::EventsRequest>) -> Answer<Self::EventsStream> {
        let request = request.into_inner();
        let event = |action: &str, nanos| v1::Event {
            time: Some(prost_types::Timestamp { seconds: 5, nanos }),
            r#type: "container".to_owned(),
            action: action.to_owned(),
            id: "abc".to_owned(),
            ..v1::Event::default()
        };
        let ready = v1::Event {
            r#type: "ready".to_owned(),
            ..v1::Event::default()
        };
        let mut events = vec![Ok(ready)];
        match request.since_ns {
            1 => events.push(Ok(event("start", 1))),
            5_000_000_002 => events.push(Ok(event("die", 2))),
            since => panic!("asked for events since {since}"),
        }
        events.push(Err(Status::unavailable("the agent was killed")));
        self.asked.lock().unwrap().filters = request.filters;
        Ok(Response::new(tokio_stream::iter(events)))
    }
    async fn check(&self, request: Request<v1::CheckRequest>) -> Answer<v1::CheckResponse> {
        let repaired = request.into_inner().repair;
        let finding = Finding {
            kind: "layer".to_owned(),
            subject: "/layers/abc".to_owned(),
            problem: "no image has it".to_owned(),
            repairable: true,
            repaired,
        };
        Ok(Response::new(v1::CheckResponse {
            findings: vec![finding],
            images: 2,
            layers: 3,
            containers: 1,
            volumes: 0,
            networks: 1,
        }))
    }
    async fn disk_usage(&self, _: Request<v1::DiskUsageRequest>) -> Answer<v1::DiskUsageResponse> {
        let removed = self.asked.lock().unwrap().removed.clone();
        let container = v1::ContainerUsage {
            container: Some(v1::Container {
                id: ID.to_owned(),
                name: "job".to_owned(),
                status: v1::container::Status::Exited.into(),
                ..v1::Container::default()
            }),
            size: 1_000,
        };
        let nginx = image("nginx:latest", "b", 2_000_000, 0);
        let mut usage = v1::DiskUsageResponse {
            images: vec![image("busybox:latest", "a", 1_000_000, 1), nginx],
            containers: vec![container],
            volumes: vec![v1::Volume {
                name: "cache".to_owned(),
                size: Some(500),
                ..v1::Volume::default()
            }],
            layers: 7_000_000,
        };
        let gone = |name: &str| removed.iter().any(|removed| removed.contains(name));
        if gone(ID) {
            usage.containers.clear();
        }
        if gone("nginx") {
            usage.images.pop();
            usage.layers = 5_000_000;
        }
        Ok(Response::new(usage))
    }
}
