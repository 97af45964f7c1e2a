//! An engine that speaks the real protocol on real sockets and plays its
//! containers from a script: the command's first word says what each does.

mod networks;
mod system;
mod volumes;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};
use wherry_client::Home;
use wherry_client::local::{self, LocalStream};
use wherry_proto::frame::{self, Kind};
use wherry_proto::v1::containers_server::{Containers, ContainersServer};
use wherry_proto::v1::engine_server::{Engine, EngineServer};
use wherry_proto::v1::images_server::{Images, ImagesServer};
use wherry_proto::v1::networks_server::NetworksServer;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::system_server::SystemServer;
use wherry_proto::v1::volumes_server::VolumesServer;
use wherry_proto::v1::wait_container_request::Condition;
use wherry_proto::v1::{self as v1, MachineProgress, MachineState, StreamReply};

/// What the engine was asked, for tests to look at.
#[derive(Default)]
pub struct Asked {
    pub created: Vec<v1::ContainerSpec>,
    pub kills: Vec<String>,
    pub removed: Vec<String>,
    pub archive: Vec<u8>,
    pub sizes: Vec<(u32, u32)>,
    pub filters: Vec<v1::EventFilter>,
    pub pulled: Vec<v1::PullImageRequest>,
    pub tagged: Vec<v1::TagImageRequest>,
    pub pruned: Vec<v1::PruneImagesRequest>,
    pub networks: Vec<v1::CreateNetworkRequest>,
    pub connected: Vec<v1::ConnectNetworkRequest>,
    pub waits: Vec<Condition>,
}

/// One container on its script.
#[derive(Clone)]
struct Actor {
    script: Vec<String>,
    started: watch::Sender<bool>,
    killed: watch::Sender<Option<String>>,
}

#[derive(Clone, Default)]
struct State {
    asked: Arc<Mutex<Asked>>,
    actors: Arc<Mutex<HashMap<String, Actor>>>,
}

/// A running engine of this kind.
pub struct ScriptedEngine {
    folder: tempfile::TempDir,
    state: State,
    _runtime: tokio::runtime::Runtime,
}

impl ScriptedEngine {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.prepare().unwrap();
        let state = State::default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = local::listen(&home.wherryd_socket()).await.unwrap();
            let server = tonic::transport::Server::builder()
                .add_service(EngineServer::new(state.clone()))
                .add_service(ContainersServer::new(state.clone()))
                .add_service(ImagesServer::new(state.clone()))
                .add_service(VolumesServer::new(state.clone()))
                .add_service(NetworksServer::new(state.clone()))
                .add_service(SystemServer::new(state.clone()));
            tokio::spawn(server.serve_with_incoming(local::incoming(listener)));
            let streams = local::listen(&home.stream_socket()).await.unwrap();
            let state = state.clone();
            tokio::spawn(async move {
                while let Ok(stream) = streams.accept().await {
                    let state = state.clone();
                    // A client that goes away ends its stream with an error.
                    tokio::spawn(async move { state.serve_stream(stream).await.ok() });
                }
            });
        });
        Self {
            folder,
            state,
            _runtime: runtime,
        }
    }

    pub fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.state.asked.lock().unwrap()
    }

    /// Writes the settings.
    #[allow(dead_code)]
    pub fn configure(&self, settings: &str) {
        std::fs::write(self.folder.path().join("config.toml"), settings).unwrap();
    }

    /// A `wherry` command that talks to this engine.
    pub fn wherry(&self, arguments: &[&str]) -> Command {
        wherry(self.folder.path(), arguments)
    }

    /// Runs a command with `input` on its standard input.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .wherry(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }
}

/// A `wherry` command with this home folder.
pub fn wherry(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wherry"));
    command
        .args(arguments)
        .env("WHERRY_HOME", home)
        .env_remove("COLUMNS");
    command
}

/// The standard error of a command as text.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

impl State {
    fn actor(&self, name: &str) -> Result<Actor, Status> {
        let actors = self.actors.lock().unwrap();
        actors
            .get(name)
            .cloned()
            .ok_or_else(|| Status::not_found(format!("no such container: {name}")))
    }

    async fn serve_stream(
        &self,
        mut stream: LocalStream,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let header = frame::read_stream_header(&mut stream).await?;
        let refuse = |code: Code, error: &str| StreamReply {
            error: error.to_owned(),
            code: code as i32,
        };
        match header.purpose {
            Some(Purpose::Attach(attach)) => {
                let actor = self.actor(&attach.container)?;
                frame::write_stream_reply(&mut stream, &StreamReply::default()).await?;
                let mut started = actor.started.subscribe();
                started.wait_for(|started| *started).await?;
                play(&actor, stream).await
            }
            Some(Purpose::Exec(exec)) if exec.exec == "missing" => {
                let reply = refuse(
                    Code::FailedPrecondition,
                    "exec: \"missing\": executable file not found in $PATH",
                );
                Ok(frame::write_stream_reply(&mut stream, &reply).await?)
            }
            Some(Purpose::Exec(exec)) => {
                frame::write_stream_reply(&mut stream, &StreamReply::default()).await?;
                let actor = Actor {
                    script: vec![exec.exec],
                    started: watch::Sender::new(true),
                    killed: watch::Sender::new(None),
                };
                play(&actor, stream).await
            }
            Some(Purpose::Save(save)) => {
                frame::write_stream_reply(&mut stream, &StreamReply::default()).await?;
                frame::write_frame(&mut stream, Kind::Data, b"half").await?;
                if save.images[0] == "damaged" {
                    let reply = refuse(Code::DataLoss, "a layer is damaged");
                    let reply = prost::Message::encode_to_vec(&reply);
                    return Ok(frame::write_frame(&mut stream, Kind::Failure, &reply).await?);
                }
                frame::write_frame(&mut stream, Kind::Data, b"whole").await?;
                Ok(frame::write_frame(&mut stream, Kind::End, &[]).await?)
            }
            Some(Purpose::Load(_)) => {
                frame::write_stream_reply(&mut stream, &StreamReply::default()).await?;
                let mut archive = Vec::new();
                loop {
                    let frame = frame::read_frame(&mut stream).await?.ok_or("cut off")?;
                    if frame.kind == Kind::End {
                        break;
                    }
                    archive.extend_from_slice(&frame.payload);
                    if archive.starts_with(b"corrupt") {
                        let reply = refuse(Code::InvalidArgument, "the archive is no tar archive");
                        let reply = prost::Message::encode_to_vec(&reply);
                        return Ok(frame::write_frame(&mut stream, Kind::Failure, &reply).await?);
                    }
                }
                self.asked.lock().unwrap().archive = archive;
                let result = v1::LoadResult {
                    images: vec![v1::Image {
                        tags: vec!["docker.io/library/nginx:latest".to_owned()],
                        ..v1::Image::default()
                    }],
                };
                let result = prost::Message::encode_to_vec(&result);
                frame::write_frame(&mut stream, Kind::Result, &result).await?;
                Ok(frame::write_frame(&mut stream, Kind::End, &[]).await?)
            }
            _ => Ok(frame::write_stream_reply(
                &mut stream,
                &refuse(Code::Unimplemented, "not here"),
            )
            .await?),
        }
    }
}

/// Does what the script's first word says.
async fn play(
    actor: &Actor,
    stream: LocalStream,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut input, mut output) = tokio::io::split(stream);
    let code: i32 = match actor.script.first().map(String::as_str) {
        Some(first @ ("cat" | "prompt")) => {
            if first == "prompt" {
                frame::write_frame(&mut output, Kind::Stdout, b"ready> ").await?;
            }
            loop {
                let frame = frame::read_frame(&mut input).await?.ok_or("cut off")?;
                match frame.kind {
                    Kind::Data => {
                        frame::write_frame(&mut output, Kind::Stdout, &frame.payload).await?
                    }
                    _ => break 0,
                }
            }
        }
        Some("both") => {
            frame::write_frame(&mut output, Kind::Stdout, b"out\n").await?;
            frame::write_frame(&mut output, Kind::Stderr, b"err\n").await?;
            3
        }
        Some("yes") => {
            let mut killed = actor.killed.subscribe();
            let killed = killed.wait_for(Option::is_some);
            let yes = async {
                loop {
                    frame::write_frame(&mut output, Kind::Stdout, &b"y\n".repeat(4096)).await?;
                }
                #[allow(unreachable_code)]
                Ok::<(), std::io::Error>(())
            };
            tokio::select! {
                _ = killed => 137,
                _ = yes => 141,
            }
        }
        Some("sleep") => {
            frame::write_frame(&mut output, Kind::Stdout, b"ready\n").await?;
            let mut killed = actor.killed.subscribe();
            let signal = killed.wait_for(Option::is_some).await?.clone();
            if signal.as_deref() == Some("INT") {
                130
            } else {
                143
            }
        }
        Some("crash") => return Ok(()),
        _ => 0,
    };
    frame::write_frame(&mut output, Kind::Exit, &code.to_be_bytes()).await?;
    frame::write_frame(&mut output, Kind::End, &[]).await?;
    Ok(())
}

type Answer<T> = Result<Response<T>, Status>;

fn not_here<T>() -> Answer<T> {
    Err(Status::unimplemented("not in this engine"))
}

#[tonic::async_trait]
impl Engine for State {
    type StartMachineStream =
        tokio_stream::Iter<std::vec::IntoIter<Result<MachineProgress, Status>>>;

    async fn start_machine(
        &self,
        _: Request<v1::StartMachineRequest>,
    ) -> Answer<Self::StartMachineStream> {
        let running = MachineProgress {
            state: MachineState::Running.into(),
            ..MachineProgress::default()
        };
        Ok(Response::new(tokio_stream::iter(vec![Ok(running)])))
    }
    async fn stop_machine(
        &self,
        _: Request<v1::StopMachineRequest>,
    ) -> Answer<v1::StopMachineResponse> {
        Ok(Response::new(v1::StopMachineResponse {}))
    }
    async fn machine_status(
        &self,
        _: Request<v1::MachineStatusRequest>,
    ) -> Answer<v1::MachineStatusResponse> {
        Ok(Response::new(v1::MachineStatusResponse::default()))
    }
    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        Ok(Response::new(v1::VersionResponse::default()))
    }
    async fn shutdown(&self, _: Request<v1::ShutdownRequest>) -> Answer<v1::ShutdownResponse> {
        not_here()
    }
}

#[tonic::async_trait]
impl Containers for State {
    type WatchListeningStream = tokio_stream::Empty<Result<v1::Listening, Status>>;
    async fn watch_listening(
        &self,
        _: Request<v1::WatchListeningRequest>,
    ) -> Answer<Self::WatchListeningStream> {
        not_here()
    }
    async fn note_failed_start(
        &self,
        _: Request<v1::NoteFailedStartRequest>,
    ) -> Answer<v1::NoteFailedStartResponse> {
        not_here()
    }
    async fn note_ports(&self, _: Request<v1::NotePortsRequest>) -> Answer<v1::NotePortsResponse> {
        not_here()
    }
    async fn create(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let spec = request.into_inner().spec.unwrap_or_default();
        let pulled = |name: &String| {
            self.asked
                .lock()
                .unwrap()
                .pulled
                .iter()
                .any(|pulled| pulled.name == *name)
        };
        if spec.image.starts_with("unknown") && !pulled(&spec.image) {
            return Err(Status::not_found(format!("no such image: {}", spec.image)));
        }
        let actor = Actor {
            script: spec.cmd.clone(),
            started: watch::Sender::new(false),
            killed: watch::Sender::new(None),
        };
        self.actors.lock().unwrap().insert(ID.to_owned(), actor);
        self.asked.lock().unwrap().created.push(spec);
        Ok(Response::new(v1::CreateContainerResponse {
            id: ID.to_owned(),
            warnings: vec!["mind the gap".to_owned()],
        }))
    }
    async fn start(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        let actor = self.actor(&request.into_inner().container)?;
        if actor.script.first().map(String::as_str) == Some("missing") {
            let mut status = Status::failed_precondition(
                "exec: \"missing\": executable file not found in $PATH",
            );
            status
                .metadata_mut()
                .insert("wherry-exit-code", "127".parse().unwrap());
            return Err(status);
        }
        actor.started.send_replace(true);
        Ok(Response::new(v1::StartContainerResponse {}))
    }
    async fn stop(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        self.actor(&request.into_inner().container)?;
        Ok(Response::new(v1::StopContainerResponse {}))
    }
    async fn kill(
        &self,
        request: Request<v1::KillContainerRequest>,
    ) -> Answer<v1::KillContainerResponse> {
        let request = request.into_inner();
        self.asked
            .lock()
            .unwrap()
            .kills
            .push(request.signal.clone());
        self.actor(&request.container)?
            .killed
            .send_replace(Some(request.signal));
        Ok(Response::new(v1::KillContainerResponse {}))
    }
    async fn remove(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        let container = request.into_inner().container;
        self.actor(&container)?;
        self.asked.lock().unwrap().removed.push(container);
        Ok(Response::new(v1::RemoveContainerResponse {}))
    }
    async fn remove_link(
        &self,
        request: Request<v1::RemoveLinkRequest>,
    ) -> Answer<v1::RemoveLinkResponse> {
        let link = request.into_inner().link;
        if link != "/web/db" {
            return Err(Status::not_found(format!("No such container: {link}")));
        }
        Ok(Response::new(v1::RemoveLinkResponse {}))
    }
    /// One for each that was created, a second apart.
    async fn list(
        &self,
        _: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        let created = self.asked.lock().unwrap().created.clone();
        let containers = created.into_iter().zip(1_i64..);
        let containers = containers.map(|(spec, seconds)| v1::Container {
            id: format!("{seconds:064}"),
            name: spec.name.clone(),
            spec: Some(spec),
            status: v1::container::Status::Created.into(),
            created: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..v1::Container::default()
        });
        Ok(Response::new(v1::ListContainersResponse {
            containers: containers.collect(),
        }))
    }
    async fn inspect(
        &self,
        request: Request<v1::InspectContainerRequest>,
    ) -> Answer<v1::Container> {
        self.actor(&request.into_inner().container)?;
        Ok(Response::new(v1::Container {
            id: ID.to_owned(),
            ..v1::Container::default()
        }))
    }
    async fn wait(
        &self,
        request: Request<v1::WaitContainerRequest>,
    ) -> Answer<v1::WaitContainerResponse> {
        let condition = request.into_inner().condition();
        self.asked.lock().unwrap().waits.push(condition);
        Err(Status::not_found("it is gone"))
    }
    async fn resize(&self, request: Request<v1::ResizeRequest>) -> Answer<v1::ResizeResponse> {
        let request = request.into_inner();
        self.asked
            .lock()
            .unwrap()
            .sizes
            .push((request.rows, request.columns));
        Ok(Response::new(v1::ResizeResponse {}))
    }
    async fn create_exec(
        &self,
        request: Request<v1::CreateExecRequest>,
    ) -> Answer<v1::CreateExecResponse> {
        let request = request.into_inner();
        if request.container != "web" {
            return Err(Status::not_found(format!(
                "no such container: {}",
                request.container
            )));
        }
        Ok(Response::new(v1::CreateExecResponse {
            exec: request.cmd[0].clone(),
        }))
    }
    async fn inspect_exec(&self, _: Request<v1::InspectExecRequest>) -> Answer<v1::Exec> {
        not_here()
    }
    async fn restart(
        &self,
        request: Request<v1::RestartContainerRequest>,
    ) -> Answer<v1::RestartContainerResponse> {
        self.actor(&request.into_inner().container)?;
        Ok(Response::new(v1::RestartContainerResponse {}))
    }
    async fn pause(
        &self,
        request: Request<v1::PauseContainerRequest>,
    ) -> Answer<v1::PauseContainerResponse> {
        self.actor(&request.into_inner().container)?;
        Ok(Response::new(v1::PauseContainerResponse {}))
    }
    async fn unpause(
        &self,
        _: Request<v1::UnpauseContainerRequest>,
    ) -> Answer<v1::UnpauseContainerResponse> {
        not_here()
    }
    async fn rename(
        &self,
        _: Request<v1::RenameContainerRequest>,
    ) -> Answer<v1::RenameContainerResponse> {
        not_here()
    }
    async fn top(&self, request: Request<v1::TopRequest>) -> Answer<v1::TopResponse> {
        let fields = request.into_inner().arguments;
        Ok(Response::new(v1::TopResponse {
            titles: vec!["PID".to_owned(), "CMD".to_owned()],
            processes: vec![v1::TopProcess { fields }],
        }))
    }
    async fn stat_path(&self, _: Request<v1::StatPathRequest>) -> Answer<v1::PathStatus> {
        not_here()
    }
    async fn sizes(&self, request: Request<v1::SizesRequest>) -> Answer<v1::SizesResponse> {
        let sizes = request.into_inner().containers.into_iter();
        let sizes = sizes.map(|container| v1::ContainerSize {
            container,
            written: 1_100,
            root: 4_260_000,
        });
        Ok(Response::new(v1::SizesResponse {
            sizes: sizes.collect(),
        }))
    }
    async fn diff(&self, _: Request<v1::DiffRequest>) -> Answer<v1::DiffResponse> {
        let change = |path: &str, kind: v1::file_change::Kind| v1::FileChange {
            path: path.to_owned(),
            kind: kind.into(),
        };
        Ok(Response::new(v1::DiffResponse {
            changes: vec![
                change("/etc", v1::file_change::Kind::Modified),
                change("/etc/new", v1::file_change::Kind::Added),
                change("/etc/old", v1::file_change::Kind::Deleted),
            ],
        }))
    }
    async fn commit(&self, _: Request<v1::CommitRequest>) -> Answer<v1::Image> {
        not_here()
    }
    async fn prune(
        &self,
        _: Request<v1::PruneContainersRequest>,
    ) -> Answer<v1::PruneContainersResponse> {
        Ok(Response::new(v1::PruneContainersResponse {
            ids: vec![ID.to_owned()],
            reclaimed: 1500,
        }))
    }
    async fn update(
        &self,
        _: Request<v1::UpdateContainerRequest>,
    ) -> Answer<v1::UpdateContainerResponse> {
        not_here()
    }
    async fn stats(&self, _: Request<v1::StatsRequest>) -> Answer<v1::StatsResponse> {
        let stats = v1::ContainerStats {
            id: ID.to_owned(),
            name: "web".to_owned(),
            running: true,
            memory: 1 << 20,
            memory_limit: 4 << 20,
            ..v1::ContainerStats::default()
        };
        Ok(Response::new(v1::StatsResponse { stats: vec![stats] }))
    }
}

#[tonic::async_trait]
impl Images for State {
    async fn distribution(
        &self,
        _: Request<v1::DistributionRequest>,
    ) -> Answer<v1::DistributionResponse> {
        not_here()
    }
    type PushStream = Self::PullStream;

    async fn push(&self, request: Request<v1::PushImageRequest>) -> Answer<Self::PushStream> {
        use v1::transfer_event::Event;
        let request = request.into_inner();
        let event = Event::Result(v1::TransferResult {
            name: request.name,
            digest: "sha256:1234".to_owned(),
            size: 42,
            ..v1::TransferResult::default()
        });
        let events = vec![Ok(v1::TransferEvent { event: Some(event) })];
        Ok(Response::new(tokio_stream::iter(events)))
    }
    async fn tag(&self, request: Request<v1::TagImageRequest>) -> Answer<v1::TagImageResponse> {
        self.asked.lock().unwrap().tagged.push(request.into_inner());
        Ok(Response::new(v1::TagImageResponse {}))
    }
    async fn history(
        &self,
        _: Request<v1::ImageHistoryRequest>,
    ) -> Answer<v1::ImageHistoryResponse> {
        let step = |id: &str, by: &str, size| v1::image_history_response::Step {
            id: id.to_owned(),
            created_by: by.to_owned(),
            size,
            ..Default::default()
        };
        let long = "RUN a command that is longer than the column that shows it";
        let steps = vec![
            step("sha256:0123456789abcdef", "CMD [\"sh\"]", 0),
            step("", long, 1_234_567),
        ];
        Ok(Response::new(v1::ImageHistoryResponse { steps }))
    }
    async fn prune(
        &self,
        request: Request<v1::PruneImagesRequest>,
    ) -> Answer<v1::PruneImagesResponse> {
        self.asked.lock().unwrap().pruned.push(request.into_inner());
        Ok(Response::new(v1::PruneImagesResponse {
            untagged: vec!["docker.io/library/old:1".to_owned()],
            deleted: vec!["sha256:1234".to_owned()],
            reclaimed: 1_000_000,
        }))
    }
    async fn search(
        &self,
        _: Request<v1::SearchImagesRequest>,
    ) -> Answer<v1::SearchImagesResponse> {
        let found = |name: &str, stars, official| v1::search_images_response::Found {
            name: name.to_owned(),
            description: "Something".to_owned(),
            stars,
            official,
            automated: false,
        };
        Ok(Response::new(v1::SearchImagesResponse {
            found: vec![found("nginx", 20_000, true), found("me/nginx", 3, false)],
        }))
    }

    /// Every repository has two tags.
    async fn tags(&self, request: Request<v1::ListTagsRequest>) -> Answer<v1::ListTagsResponse> {
        let name = request.into_inner().name;
        Ok(Response::new(v1::ListTagsResponse {
            names: vec![format!("{name}:1"), format!("{name}:2")],
        }))
    }

    type PullStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::TransferEvent, Status>>>;

    /// Only what is called `unknown/...` is in no registry.
    async fn pull(&self, request: Request<v1::PullImageRequest>) -> Answer<Self::PullStream> {
        use v1::transfer_event::Event;
        let request = request.into_inner();
        if request.name.starts_with("unknown/") {
            return Err(Status::not_found(
                "unknown is not in the registry docker.io",
            ));
        }
        let (repository, tag) = match request.name.split_once('@') {
            Some(_) => (request.name.clone(), String::new()),
            None => match request.name.rsplit_once(':') {
                Some((repository, tag)) => (repository.to_owned(), format!(":{tag}")),
                None => (request.name.clone(), ":latest".to_owned()),
            },
        };
        let domain = if repository.contains('.') {
            ""
        } else {
            "docker.io/library/"
        };
        let events = [
            Event::Layer(v1::LayerProgress {
                id: "0123456789ab".to_owned(),
                stage: v1::layer_progress::Stage::Pulled.into(),
                current: 1,
                total: 1,
            }),
            Event::Message("mind the platform".to_owned()),
            Event::Result(v1::TransferResult {
                name: format!("{domain}{repository}{tag}"),
                digest: "sha256:1234".to_owned(),
                up_to_date: repository == "current",
                ..v1::TransferResult::default()
            }),
        ];
        self.asked.lock().unwrap().pulled.push(request);
        let events = events.map(|event| Ok(v1::TransferEvent { event: Some(event) }));
        Ok(Response::new(tokio_stream::iter(
            events.into_iter().collect::<Vec<_>>(),
        )))
    }
    /// The password is "right".
    async fn login(&self, request: Request<v1::LoginRequest>) -> Answer<v1::LoginResponse> {
        let access = request.into_inner().access.unwrap_or_default();
        match access.credentials.first() {
            Some(credential) if credential.password == "right" => {
                Ok(Response::new(v1::LoginResponse::default()))
            }
            _ => Err(Status::unauthenticated("wrong password")),
        }
    }
    async fn list(&self, _: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        Ok(Response::new(v1::ListImagesResponse::default()))
    }
    async fn inspect(&self, request: Request<v1::InspectImageRequest>) -> Answer<v1::Image> {
        Err(Status::not_found(format!(
            "no such image: {}",
            request.into_inner().name
        )))
    }
    async fn remove(&self, _: Request<v1::RemoveImageRequest>) -> Answer<v1::RemoveImageResponse> {
        not_here()
    }
}
