//! The guest's services, served on the host: every call goes on to the guest as
//! it came, but for the few that name host paths or host ports.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::{Service, ServiceExt, service_fn};

use super::containers::Translator;
use super::machine::MachineLink;
use super::{networks, volumes};

type Request = http::Request<Body>;
type Response = http::Response<Body>;
type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Forwards the calls of one gRPC service. The marker gives the service's name,
/// because tonic takes it from the type.
pub(super) struct Forward<Name> {
    link: Arc<MachineLink>,
    name: std::marker::PhantomData<fn() -> Name>,
}

impl<Name> Clone for Forward<Name> {
    fn clone(&self) -> Self {
        Self::new(self.link.clone())
    }
}

impl<Name> Forward<Name> {
    fn new(link: Arc<MachineLink>) -> Self {
        Self {
            link,
            name: std::marker::PhantomData,
        }
    }
}

pub(super) struct System;
pub(super) struct Images;
pub(super) struct Containers;
pub(super) struct Volumes;
pub(super) struct Networks;

impl NamedService for Forward<System> {
    const NAME: &'static str = "wherry.v1.System";
}

impl NamedService for Forward<Images> {
    const NAME: &'static str = "wherry.v1.Images";
}

impl NamedService for Forward<Containers> {
    const NAME: &'static str = "wherry.v1.Containers";
}

impl NamedService for Forward<Volumes> {
    const NAME: &'static str = "wherry.v1.Volumes";
}

impl NamedService for Forward<Networks> {
    const NAME: &'static str = "wherry.v1.Networks";
}

impl Forward<Networks> {
    pub(super) fn networks(link: Arc<MachineLink>) -> Self {
        Self::new(link)
    }
}

impl Forward<System> {
    pub(super) fn system(link: Arc<MachineLink>) -> Self {
        Self::new(link)
    }
}

impl Forward<Images> {
    pub(super) fn images(link: Arc<MachineLink>) -> Self {
        Self::new(link)
    }
}

impl Forward<Containers> {
    pub(super) fn containers(link: Arc<MachineLink>) -> Self {
        Self::new(link)
    }
}

impl Forward<Volumes> {
    pub(super) fn volumes(link: Arc<MachineLink>) -> Self {
        Self::new(link)
    }
}

impl<Name> Service<Request> for Forward<Name> {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answer {
        let link = self.link.clone();
        Box::pin(async move {
            let answer = match request.uri().path() {
                "/wherry.v1.Containers/Create" => {
                    unary(link, request, |link, message| async move {
                        Translator::new(link).create(message).await
                    })
                    .await
                }
                "/wherry.v1.Containers/Start" => {
                    unary(link, request, |link, message| async move {
                        Translator::new(link).start(message).await
                    })
                    .await
                }
                "/wherry.v1.Containers/Stop" => {
                    unary(link, request, |link, message| async move {
                        Translator::new(link).stop(message).await
                    })
                    .await
                }
                "/wherry.v1.Containers/Kill" => {
                    unary(link, request, |link, message| async move {
                        Translator::new(link).kill(message).await
                    })
                    .await
                }
                "/wherry.v1.Containers/Remove" => {
                    unary(link, request, |link, message| async move {
                        Translator::new(link).remove(message).await
                    })
                    .await
                }
                "/wherry.v1.Containers/Restart" => {
                    unary(link, request, |link, message| async move {
                        Translator::new(link).restart(message).await
                    })
                    .await
                }
                "/wherry.v1.Networks/Create" => {
                    unary(link, request, |link, message| async move {
                        networks::create(&link, message).await
                    })
                    .await
                }
                "/wherry.v1.Volumes/Create" => {
                    unary(link, request, |link, message| async move {
                        volumes::create(&link, message).await
                    })
                    .await
                }
                // Powering off goes through the machine, which must know why the
                // guest went away.
                "/wherry.v1.System/PowerOff" => Status::permission_denied(
                    "the guest is stopped through its machine: run `wherry machine stop`",
                )
                .into_http(),
                _ => forward(&link, request)
                    .await
                    .unwrap_or_else(Status::into_http),
            };
            Ok(answer)
        })
    }
}

/// Sends a call to the guest as it came.
async fn forward(link: &MachineLink, request: Request) -> Result<Response, Status> {
    link.guest().await?.oneshot(request).await.map_err(|error| {
        Status::unavailable(format!("the guest does not answer: {}", chain(&error)))
    })
}

/// Answers a call here, with its message decoded.
async fn unary<M, N, F, A>(link: Arc<MachineLink>, request: Request, answer: F) -> Response
where
    M: prost::Message + Default + 'static,
    N: prost::Message + Default + 'static,
    F: Fn(Arc<MachineLink>, tonic::Request<M>) -> A + Send,
    A: Future<Output = Result<tonic::Response<N>, Status>> + Send + 'static,
{
    let codec = tonic_prost::ProstCodec::<N, M>::default();
    tonic::server::Grpc::new(codec)
        .unary(service_fn(|message| answer(link.clone(), message)), request)
        .await
}

/// Returns an error and what caused it in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
