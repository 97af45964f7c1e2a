//! The System service: versions, clock, power, events.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::ready;
use tokio::sync::broadcast::error::RecvError;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};
use wherry_proto::WIRE_VERSION;
use wherry_proto::v1::system_server::System;
use wherry_proto::v1::{
    CheckRequest, CheckResponse, DiskUsageRequest, DiskUsageResponse, EngineConnection, Event,
    EventsRequest, InfoRequest, InfoResponse, PowerOffRequest, PowerOffResponse, SetClockRequest,
    SetClockResponse, WatchEngineConnectionsRequest,
};

use super::options::Listen;
use super::{Agent, resources};
use crate::check::Findings;
use crate::event::{self, Events, Filter};

/// Serves [`System`].
pub(super) struct SystemService {
    agent: Arc<Agent>,
}

impl SystemService {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent }
    }
}

#[tonic::async_trait]
impl System for SystemService {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let request = request.into_inner();
        if request.wire_version != WIRE_VERSION {
            tracing::warn!(
                host = request.wire_version,
                guest = WIRE_VERSION,
                host_version = request.host_version,
                "host and guest speak different versions"
            );
        }
        let (memory_total, memory_available) = resources::memory();
        let (containers, containers_running) = self.agent.containers.count();
        let (disk_total, disk_available) = resources::disk(&self.agent.options.root);
        Ok(Response::new(InfoResponse {
            wire_version: WIRE_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel_version: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            architecture: resources::architecture().to_owned(),
            processors: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
            memory_total,
            memory_available,
            disk_total,
            disk_available,
            containers,
            containers_running,
            images: self.agent.images.list().len() as u32,
            agent_resident: resources::resident("self"),
            time: Some(event::now()),
        }))
    }

    async fn set_clock(
        &self,
        request: Request<SetClockRequest>,
    ) -> Result<Response<SetClockResponse>, Status> {
        let request = request.into_inner();
        let host = request
            .time
            .ok_or_else(|| Status::invalid_argument("no time was given"))?;
        let host = nanoseconds(&host);
        let offset = nanoseconds(&event::now()) - host;
        let stepped = offset.abs() > i128::from(request.tolerance_ms) * 1_000_000;
        if stepped {
            let time = rustix::time::Timespec {
                tv_sec: i64::try_from(host.div_euclid(1_000_000_000))
                    .map_err(|_| Status::invalid_argument("a time out of range"))?,
                tv_nsec: host.rem_euclid(1_000_000_000) as _,
            };
            rustix::time::clock_settime(rustix::time::ClockId::Realtime, time)
                .map_err(|error| Status::internal(format!("cannot set the clock: {error}")))?;
        }
        Ok(Response::new(SetClockResponse {
            offset_ms: (offset / 1_000_000) as i64,
            stepped,
        }))
    }

    async fn power_off(
        &self,
        request: Request<PowerOffRequest>,
    ) -> Result<Response<PowerOffResponse>, Status> {
        let patience = match request.into_inner().timeout_seconds {
            0 => 10,
            seconds => seconds,
        };
        let agent = self.agent.clone();
        // Goes on even if the host does not wait for the answer.
        let stopped = tokio::spawn(async move {
            agent.containers.stop_all(patience).await;
            agent.power_off();
        });
        stopped
            .await
            .map_err(|error| Status::internal(format!("an internal task failed: {error}")))?;
        Ok(Response::new(PowerOffResponse {}))
    }

    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let agent = self.agent.clone();
        let repair = request.into_inner().repair;
        // To its end, and its repairs too, even if the host goes away.
        let checked = tokio::spawn(async move {
            let images = agent.images.clone();
            let checked = tokio::task::spawn_blocking(move || {
                let mut findings = Findings::new(repair);
                images.check(&mut findings).map(|()| findings)
            });
            let findings = checked.await.map_err(|error| internal(&error))??;
            let whole_machine = matches!(agent.options.listen, Listen::Vsock);
            let findings = agent.containers.check(findings, whole_machine).await?;
            Ok::<_, Status>(findings.response)
        });
        Ok(Response::new(
            checked.await.map_err(|error| internal(&error))??,
        ))
    }

    async fn disk_usage(
        &self,
        _: Request<DiskUsageRequest>,
    ) -> Result<Response<DiskUsageResponse>, Status> {
        Ok(Response::new(self.agent.containers.disk_usage().await?))
    }

    type WatchEngineConnectionsStream =
        Pin<Box<dyn Stream<Item = Result<EngineConnection, Status>> + Send>>;

    async fn watch_engine_connections(
        &self,
        _: Request<WatchEngineConnectionsRequest>,
    ) -> Result<Response<Self::WatchEngineConnectionsStream>, Status> {
        let agent = self.agent.clone();
        let accepted = futures_util::stream::unfold(agent, |agent| async move {
            let connection = agent.engine.accept().await;
            Some((Ok(EngineConnection { connection }), agent))
        });
        let mut ending = self.agent.ending.subscribe();
        let end = async move {
            let _ = ending.wait_for(|ending| *ending).await;
        };
        Ok(Response::new(Box::pin(accepted.take_until(end))))
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn events(
        &self,
        request: Request<EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let EventsRequest {
            since_ns,
            until_ns,
            filters,
        } = request.into_inner();
        let filter =
            Filter::new(filters).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let wanted = move |event: &Event| {
            let time = event::time_ns(event);
            time >= since_ns && (until_ns == 0 || time <= until_ns) && filter.matches(event)
        };
        let (mut kept, receiver) = self.agent.events.subscribe();
        kept.retain(|event| (since_ns != 0 || until_ns != 0) && wanted(event));
        let ending = self.agent.ending.subscribe();
        let over = sleep_until(until_ns);
        let later = futures_util::stream::unfold(
            Some((receiver, ending, over)),
            |state| async move {
                let (mut receiver, mut ending, mut over) = state?;
                let event = tokio::select! {
                    biased;
                    _ = ending.wait_for(|ending| *ending) => return None,
                    event = receiver.recv() => event,
                    () = &mut over => return None,
                };
                match event {
                    Ok(event) => Some((Ok(event), Some((receiver, ending, over)))),
                    Err(RecvError::Closed) => None,
                    // It must learn that it missed something, and subscribe anew.
                    Err(RecvError::Lagged(missed)) => Some((
                        Err(Status::data_loss(format!(
                            "{missed} events were lost because they were not read in time: subscribe again"
                        ))),
                        None,
                    )),
                }
            },
        );
        let later = later.filter(move |event| ready(event.as_ref().map_or(true, &wanted)));
        let first = std::iter::once(Events::ready()).chain(kept).map(Ok);
        Ok(Response::new(Box::pin(
            futures_util::stream::iter(first).chain(later),
        )))
    }
}

/// Returns at a time, nanoseconds since 1970; never for 0.
fn sleep_until(time_ns: i64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    if time_ns == 0 {
        return Box::pin(std::future::pending());
    }
    let now = nanoseconds(&event::now());
    let left = (i128::from(time_ns) - now).clamp(0, i128::from(i64::MAX));
    Box::pin(tokio::time::sleep(std::time::Duration::from_nanos(
        left as u64,
    )))
}

fn internal(error: &tokio::task::JoinError) -> Status {
    Status::internal(format!("an internal task failed: {error}"))
}

fn nanoseconds(time: &prost_types::Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

impl Agent {
    /// Ends the agent, and with it the machine where PID 1 is ours.
    fn power_off(&self) {
        if self.options.init {
            tracing::info!("powering off");
            let init = rustix::process::Pid::INIT;
            if let Err(error) = rustix::process::kill_process(init, rustix::process::Signal::TERM) {
                tracing::error!(%error, "cannot ask init to power off");
            }
        }
        self.ending.send_replace(true);
    }
}
