//! The engine as every command reaches it: `wherryd` started where it does not
//! run, and the machine too.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tonic::transport::Channel;
use wherry_client::{BulkStream, Home, Settings, open_stream, registry};
use wherry_proto::MAX_MESSAGE;
use wherry_proto::v1::containers_client::ContainersClient;
use wherry_proto::v1::engine_client::EngineClient;
use wherry_proto::v1::images_client::ImagesClient;
use wherry_proto::v1::networks_client::NetworksClient;
use wherry_proto::v1::stream_header::Purpose;
use wherry_proto::v1::system_client::SystemClient;
use wherry_proto::v1::volumes_client::VolumesClient;
use wherry_proto::v1::{MachineState, RegistryAccess, StartMachineRequest, StreamHeader};

use crate::failure::Failure;
use crate::output;

/// A connection to the engine.
#[derive(Clone)]
pub(crate) struct Connection {
    home: Home,
    channel: Channel,
}

impl Connection {
    /// Connects to `wherryd`, started where it does not run. The machine may be stopped.
    pub(crate) async fn to_engine() -> Result<Self, Failure> {
        let home = Home::from_environment()?;
        let channel = wherry_client::engine(&home).await?;
        Ok(Self { home, channel })
    }

    /// Connects to the engine with its machine running; starts what does not run.
    pub(crate) async fn to_machine() -> Result<Self, Failure> {
        let connection = Self::to_engine().await?;
        connection.start_machine().await?;
        Ok(connection)
    }

    /// Starts the machine where it does not run, and shows how that goes.
    /// Returns how long it took, or `None` where it ran already.
    pub(crate) async fn start_machine(&self) -> Result<Option<Duration>, Failure> {
        let mut stages = self
            .engine()
            .start_machine(StartMachineRequest {})
            .await?
            .into_inner();
        let mut spinner = Spinner::new();
        let mut started = None;
        let mut last = MachineState::Unspecified;
        while let Some(progress) = stages.message().await? {
            if !progress.warning.is_empty() {
                spinner.warn(&progress.warning);
            }
            last = progress.state();
            if last == MachineState::Starting {
                started = Some(Duration::ZERO);
            }
            started = started.map(|_| Duration::from_millis(progress.elapsed_ms));
            if last == MachineState::Starting {
                spinner.show(&progress.message);
            }
            if last == MachineState::Failed {
                return Err(Failure::new(format!(
                    "the machine failed to start: {}",
                    progress.message
                )));
            }
        }
        if last == MachineState::Running {
            Ok(started)
        } else {
            Err(Failure::new(
                "the engine ended before the machine was ready: `wherry machine status` tells more",
            ))
        }
    }

    /// Has `wherryd` end, and returns when it has.
    pub(crate) async fn end_engine(&self) -> Result<(), Failure> {
        Ok(wherry_client::end_engine(&self.home).await?)
    }

    /// Returns a client of the engine's own service.
    pub(crate) fn engine(&self) -> EngineClient<Channel> {
        EngineClient::new(self.channel.clone())
    }

    /// Returns a client of the guest's containers.
    pub(crate) fn containers(&self) -> ContainersClient<Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Returns a client of the guest's images.
    pub(crate) fn images(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Returns a client of the guest's volumes.
    pub(crate) fn volumes(&self) -> VolumesClient<Channel> {
        VolumesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Returns a client of the guest's networks.
    pub(crate) fn networks(&self) -> NetworksClient<Channel> {
        NetworksClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Returns a client of the guest as a whole.
    pub(crate) fn system(&self) -> SystemClient<Channel> {
        SystemClient::new(self.channel.clone())
    }

    /// Returns how a registry is reached, with the user's credential for it.
    pub(crate) async fn registry_access(&self, name: &str) -> Result<RegistryAccess, Failure> {
        let (home, name) = (self.home.clone(), name.to_owned());
        // Helpers may ask the user something, for as long as that takes.
        let access = tokio::task::spawn_blocking(move || {
            let settings = Settings::load(&home)?;
            Ok::<_, Failure>(registry::access(&settings, &name)?)
        });
        access
            .await
            .map_err(|error| Failure::new(error.to_string()))?
    }

    /// Opens a bulk stream to the guest, past `wherryd`.
    pub(crate) async fn open(&self, purpose: Purpose) -> Result<BulkStream, Failure> {
        let header = StreamHeader {
            wire_version: wherry_proto::WIRE_VERSION,
            purpose: Some(purpose),
        };
        Ok(open_stream(&self.home, header).await?)
    }
}

/// A line on the terminal that shows what is being waited for; nothing in a pipe.
struct Spinner(Option<ProgressBar>);

impl Spinner {
    fn new() -> Self {
        Self(None)
    }

    /// Shows a stage of the start.
    fn show(&mut self, message: &str) {
        if self.0.is_none() && std::io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(80));
            self.0 = Some(bar);
        }
        if let Some(bar) = &self.0 {
            bar.set_message(message.to_owned());
        }
    }

    fn warn(&self, warning: &str) {
        let line = || output::complain(&format!("warning: {warning}"));
        match &self.0 {
            Some(bar) => bar.suspend(line),
            None => line(),
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
