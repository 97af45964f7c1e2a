use std::io;
use std::pin::Pin;
use std::sync::Mutex;

use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status};
use wherry_client::{GuestImage, Home};
use wherry_proto::v1::system_server::{System, SystemServer};
use wherry_proto::v1::{
    CheckRequest, CheckResponse, DiskUsageRequest, DiskUsageResponse, EngineConnection, Event,
    EventsRequest, InfoRequest, PowerOffRequest, PowerOffResponse, SetClockRequest,
    SetClockResponse, WatchEngineConnectionsRequest,
};

use super::*;
use crate::vm::{GuestStream, Kind, VmError};

/// A guest that answers `Info` and nothing else.
struct Answers(u32);

#[tonic::async_trait]
impl System for Answers {
    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Ok(Response::new(InfoResponse {
            wire_version: self.0,
            ..InfoResponse::default()
        }))
    }

    async fn set_clock(
        &self,
        _: Request<SetClockRequest>,
    ) -> Result<Response<SetClockResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn power_off(
        &self,
        _: Request<PowerOffRequest>,
    ) -> Result<Response<PowerOffResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn disk_usage(
        &self,
        _: Request<DiskUsageRequest>,
    ) -> Result<Response<DiskUsageResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type WatchEngineConnectionsStream =
        Pin<Box<dyn Stream<Item = Result<EngineConnection, Status>> + Send>>;

    async fn watch_engine_connections(
        &self,
        _: Request<WatchEngineConnectionsRequest>,
    ) -> Result<Response<Self::WatchEngineConnectionsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    type EventsStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn events(
        &self,
        _: Request<EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A VM that ended as told, or one whose guest answers.
struct Guestlike {
    state: watch::Sender<VmState>,
    streams: Option<mpsc::UnboundedSender<io::Result<tokio::io::DuplexStream>>>,
}

impl Guestlike {
    fn failed(reason: &str) -> Self {
        let end = VmState::Ended(End::Failed(reason.into()));
        Self {
            state: watch::Sender::new(end),
            streams: None,
        }
    }

    fn answers(wire_version: u32) -> Self {
        let (streams, incoming) = mpsc::unbounded_channel();
        let incoming = futures_util::stream::unfold(incoming, |mut incoming| async {
            Some((incoming.recv().await?, incoming))
        });
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(SystemServer::new(Answers(wire_version)))
                .serve_with_incoming(incoming),
        );
        Self {
            state: watch::Sender::new(VmState::Running),
            streams: Some(streams),
        }
    }
}

impl Vm for Guestlike {
    fn state(&self) -> watch::Receiver<VmState> {
        self.state.subscribe()
    }

    fn pid(&self) -> u32 {
        7
    }

    fn connect(&self, _: u32) -> BoxFuture<'static, io::Result<Box<dyn GuestStream>>> {
        let (near, far) = tokio::io::duplex(4096);
        let connected = self.streams.as_ref().map(|streams| streams.send(Ok(far)));
        Box::pin(async move {
            match connected {
                Some(Ok(())) => Ok(Box::new(near) as Box<dyn GuestStream>),
                _ => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }

    fn pause(&self) -> BoxFuture<'_, Result<(), VmError>> {
        Box::pin(async { Ok(()) })
    }

    fn resume(&self) -> BoxFuture<'_, Result<(), VmError>> {
        Box::pin(async { Ok(()) })
    }

    fn press_power_button(&self) -> BoxFuture<'_, Result<(), VmError>> {
        Box::pin(async { Ok(()) })
    }

    fn cut_power(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Has KVM, on which guests end, and emulation, on which they do as told.
struct Bench {
    emulated: fn() -> Guestlike,
    verdicts: Mutex<Vec<(Accelerator, Option<String>)>>,
}

impl Bench {
    fn new(emulated: fn() -> Guestlike) -> Self {
        Self {
            emulated,
            verdicts: Mutex::default(),
        }
    }

    fn verdicts(&self) -> Vec<(Accelerator, Option<String>)> {
        self.verdicts.lock().unwrap().clone()
    }
}

impl Hypervisor for Bench {
    fn kind(&self) -> Kind {
        Kind::Qemu
    }

    fn accelerators(&self, _: Accelerator) -> Result<Vec<Accelerator>, VmError> {
        Ok(vec![Accelerator::Kvm, Accelerator::Tcg])
    }

    fn rejected(&self, _: Accelerator) -> Option<(Accelerator, String)> {
        None
    }

    fn confirm(&self, accelerator: Accelerator) {
        self.verdicts.lock().unwrap().push((accelerator, None));
    }

    fn confirmed(&self, _: Accelerator) -> bool {
        false
    }

    fn reject(&self, accelerator: Accelerator, reason: &str) {
        let verdict = (accelerator, Some(reason.to_owned()));
        self.verdicts.lock().unwrap().push(verdict);
    }

    fn start<'a>(
        &'a self,
        _: &'a VmDescription,
        accelerator: Accelerator,
    ) -> BoxFuture<'a, Result<Arc<dyn Vm>, VmError>> {
        Box::pin(async move {
            let vm = match accelerator {
                Accelerator::Kvm => Guestlike::failed("QEMU stopped in `internal-error`"),
                _ => (self.emulated)(),
            };
            Ok(Arc::new(vm) as Arc<dyn Vm>)
        })
    }
}

fn machine(folder: &tempfile::TempDir) -> (MachineConfig, Board) {
    let home = Home::at(folder.path()).unwrap();
    home.prepare().unwrap();
    let config = MachineConfig {
        settings: "shares = []".parse().unwrap(),
        image: GuestImage {
            folder: folder.path().join("image"),
        },
        shares: Vec::new(),
        home: home.clone(),
    };
    (config, Board::new(home))
}

#[tokio::test]
async fn a_useless_accelerator_is_one_warning_and_emulation_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let (config, board) = machine(&folder);
    let bench = Bench::new(|| Guestlike::answers(WIRE_VERSION));
    boot(&bench, &config, &board).await.unwrap();
    let status = board.status();
    assert_eq!(status.accelerator, "tcg");
    assert!(
        status.warning.starts_with(
            "kvm cannot run the guest on this host (QEMU stopped in `internal-error`)"
        ),
        "{}",
        status.warning
    );
    let reason = "QEMU stopped in `internal-error`".to_owned();
    let expected = [(Accelerator::Kvm, Some(reason)), (Accelerator::Tcg, None)];
    assert_eq!(bench.verdicts(), expected);
}

#[tokio::test]
async fn a_guest_that_runs_nowhere_leaves_no_verdict_on_the_accelerator() {
    let folder = tempfile::tempdir().unwrap();
    let (config, board) = machine(&folder);
    let bench = Bench::new(|| Guestlike::failed("the guest's kernel panicked"));
    let error = boot(&bench, &config, &board)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("the guest's kernel panicked"), "{error}");
    assert!(error.contains("console.log"), "{error}");
    assert_eq!(bench.verdicts(), []);
}

#[tokio::test]
async fn a_guest_of_another_version_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (config, board) = machine(&folder);
    let bench = Bench::new(|| Guestlike::answers(WIRE_VERSION + 1));
    let error = boot(&bench, &config, &board)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("cargo xtask guest"), "{error}");
}
