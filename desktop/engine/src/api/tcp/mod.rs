//! The API over TCP: with TLS, to clients whose certificate the user's authority
//! has signed, and to nobody else.

mod identity;
mod origin;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_util::task::AbortOnDropHandle;
use wherry_client::settings::ApiListener;

use super::hangup::Hangup;
use super::server::serve_connection;
use super::{Api, router};
use identity::Identity;
pub(super) use origin::Names;

/// How long a client may take to show its certificate.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How many strangers may be asked for their certificates at once.
const STRANGERS: usize = 64;

/// How long to wait where no connection can be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// When a silent client is asked whether it is there, and how often then.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// The first byte of TLS (RFC 8446, section 5.1: `handshake`).
const TLS: u8 = 22;

/// What Go's servers, and so dockerd, answer to HTTP without TLS: clients know it.
const PLAIN: &[u8] = b"HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\n\
    Client sent an HTTP request to an HTTPS server.\n";

/// Why the API is not served over TCP.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    /// A file cannot be read.
    #[error("cannot read {path}, which [api] in config.toml names: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others may read the key.
    #[error("other users may read the key {path}: run `chmod 600` on it", path = path.display())]
    Public {
        /// The key.
        path: PathBuf,
    },
    /// A file holds something else.
    #[error("{path} holds no {what} in PEM form", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The files do not belong together.
    #[error("the certificates that [api] in config.toml names cannot be used: {0}")]
    Unusable(String),
    /// The address is not to be had.
    #[error(
        "cannot serve the Engine API at {address}: {source}; another address is set with listen in [api] of config.toml"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// Serves the API over TCP where the settings say so.
pub(crate) struct Tcp {
    api: Api,
    serving: Mutex<Option<Serving>>,
}

struct Serving {
    address: SocketAddr,
    identity: Identity,
    /// Ends the listening, not the connections.
    task: AbortOnDropHandle<()>,
}

impl Tcp {
    pub(crate) fn new(api: Api) -> Self {
        Self {
            api,
            serving: Mutex::default(),
        }
    }

    /// Serves as the settings say now. What is served already stays as it is,
    /// unless the address or a file is another one.
    ///
    /// # Errors
    ///
    /// [`TcpError`]; then what was served before may be served no more.
    pub(crate) async fn settle(&self, wanted: Option<&ApiListener>) -> Result<(), TcpError> {
        let mut serving = self.serving.lock().await;
        let Some(wanted) = wanted else {
            *serving = None;
            return Ok(());
        };
        let identity = Identity::read(wanted)?;
        let (address, same) = (wanted.address, |now: &Serving| {
            now.address == wanted.address && now.identity == identity && !now.task.is_finished()
        });
        if serving.as_ref().is_some_and(same) {
            return Ok(());
        }
        let (config, names) = identity.config(wanted)?;
        if let Some(before) = serving.take() {
            // It lets go of the address, which may be the same.
            before.task.abort();
            let _ = before.task.await;
        }
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| TcpError::Listen { address, source })?;
        tracing::info!(%address, "the Engine API is served over TCP too");
        let router = router().with_state(self.api.clone());
        let serve = serve(listener, TlsAcceptor::from(config), names, router);
        *serving = Some(Serving {
            address,
            identity,
            task: AbortOnDropHandle::new(tokio::spawn(serve)),
        });
        Ok(())
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, names: Arc<Names>, router: Router) {
    let strangers = Arc::new(Semaphore::new(STRANGERS));
    loop {
        let Ok(turn) = strangers.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (acceptor, names, router) = (acceptor.clone(), names.clone(), router.clone());
                tokio::spawn(async move {
                    let greeted = timeout(HANDSHAKE_DEADLINE, greet(stream, &acceptor)).await;
                    drop(turn);
                    match greeted {
                        Ok(Ok(Some((stream, hangup)))) => {
                            serve_connection(stream, hangup, router, Some(names)).await;
                        }
                        Ok(Ok(None)) => {}
                        Ok(Err(error)) => {
                            tracing::warn!(%peer, %error, "a Docker client over TCP was turned away");
                        }
                        Err(_) => tracing::debug!(%peer, "a Docker client showed no certificate"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a Docker client could not be accepted over TCP");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

type Secured = tokio_rustls::server::TlsStream<TcpStream>;

/// Has a client show its certificate. One that speaks no TLS is told so, and gone.
async fn greet(
    mut stream: TcpStream,
    acceptor: &TlsAcceptor,
) -> io::Result<Option<(Secured, Hangup)>> {
    stream.set_nodelay(true)?;
    let (after, every) = KEEP_ALIVE;
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(after)
        .with_interval(every);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first != [TLS] {
        stream.write_all(PLAIN).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    let (stream, hangup) = Hangup::of_tcp(stream)?;
    Ok(Some((acceptor.accept(stream).await?, hangup)))
}

type Config = Arc<rustls::ServerConfig>;
