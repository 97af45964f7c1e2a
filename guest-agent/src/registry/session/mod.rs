//! One conversation with a registry about one repository: requests with
//! authorization, redirects and retries.

mod authorize;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};

use super::Error;
use super::access::{Access, Endpoint};
use super::answer::{reason, words};
use super::token::Authorization;
use super::transport::{client, from_here};

/// Attempts at one request, all in all.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that a registry may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// As in Go's client, and with it Docker's.
const REDIRECTS: usize = 10;
/// The largest message of a refusal that is read, bytes.
const MAX_MESSAGE: usize = 16 * 1024;

/// What is asked about, and what for.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// The repository, `library/nginx`; empty for a login.
    pub(super) repository: String,
    /// `pull` or `pull,push`.
    pub(super) actions: &'static str,
    /// Repositories that blobs are mounted from.
    pub(super) sources: Vec<String>,
}

/// A request without its authorization.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// What a request carries.
pub(super) enum Body {
    Empty,
    Bytes(Vec<u8>),
    /// Bytes that cannot be sent a second time: such a request is not repeated.
    Once(Mutex<Option<reqwest::Body>>),
}

/// A registry that has answered.
pub(super) struct Session {
    pub(super) registry: String,
    pub(super) base: Url,
    access: Access,
    endpoint: Endpoint,
    scope: Scope,
    client: reqwest::Client,
    authorization: Mutex<Option<Authorization>>,
    /// Whether it has answered: from then on a failed connection may pass.
    seen: AtomicBool,
}

impl Session {
    /// Connects to an endpoint: its first base that answers.
    pub(super) async fn open(
        access: &Access,
        endpoint: &Endpoint,
        scope: Scope,
    ) -> Result<Session, Error> {
        let mut last = None;
        for base in &endpoint.bases {
            let session = Session::at(access, endpoint, base, &scope)?;
            match session.ping().await {
                Ok(()) => return Ok(session),
                Err(error @ Error::Unreachable { .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Internal("a registry without an address".to_owned())))
    }

    /// Begins a conversation with one base of an endpoint, without a word yet.
    pub(super) fn at(
        access: &Access,
        endpoint: &Endpoint,
        base: &Url,
        scope: &Scope,
    ) -> Result<Session, Error> {
        Ok(Session {
            registry: endpoint.registry.clone(),
            base: base.clone(),
            access: access.clone(),
            endpoint: endpoint.clone(),
            scope: scope.clone(),
            client: client(access, endpoint.insecure)?,
            authorization: Mutex::default(),
            seen: AtomicBool::new(false),
        })
    }

    /// distribution-spec, "Determining Support". Gets the authorization too.
    async fn ping(&self) -> Result<(), Error> {
        let mut request = self.request(Method::GET, "v2/")?;
        let response = self.try_send(&request).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.authorize(&response).await?;
            if self.scope.repository.is_empty() {
                request = self.request(Method::GET, "v2/")?;
                self.expect(&request, &[StatusCode::OK]).await?;
            }
            return Ok(());
        }
        if response.status() == StatusCode::NOT_FOUND || response.status().is_server_error() {
            // Some registries serve repositories and not this.
            return Ok(());
        }
        if !response.status().is_success() {
            return Err(self.refusal(&request, response).await);
        }
        Ok(())
    }

    /// Makes a request for a path below the base.
    pub(super) fn request(&self, method: Method, path: &str) -> Result<Request, Error> {
        let url = self
            .base
            .join(path)
            .map_err(|error| Error::Invalid(format!("{path}: {error}")))?;
        Ok(Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: Body::Empty,
        })
    }

    /// Sends a request; any other status than these is an error.
    pub(super) async fn expect(
        &self,
        request: &Request,
        statuses: &[StatusCode],
    ) -> Result<Response, Error> {
        let response = self.send(request).await?;
        if statuses.contains(&response.status()) {
            Ok(response)
        } else {
            Err(self.refusal(request, response).await)
        }
    }

    /// Sends a request, again after failures that may pass, and with new
    /// authorization where the old one has run out.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, Error> {
        let mut attempt = 1;
        let mut authorized = false;
        loop {
            let again = attempt < ATTEMPTS && !matches!(request.body, Body::Once(_));
            let pause = match self.try_send(request).await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && !authorized => {
                    authorized = true;
                    self.authorize(&response).await?;
                    if matches!(request.body, Body::Once(_)) {
                        return Ok(response);
                    }
                    continue;
                }
                Ok(response) if again && may_pass(response.status()) => {
                    retry_after(response.headers()).unwrap_or_else(|| pause_before(attempt))
                }
                Ok(response) => return Ok(response),
                Err(Error::Unreachable { .. }) if again && self.seen.load(Ordering::Relaxed) => {
                    pause_before(attempt)
                }
                Err(error) => return Err(error),
            };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// Sends a request once, following redirects where it only asks.
    async fn try_send(&self, request: &Request) -> Result<Response, Error> {
        let asks = matches!(request.method, Method::GET | Method::HEAD);
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.try_send_to(request, &url).await?;
            let target = response.headers().get(header::LOCATION);
            let (true, true, Some(target)) = (response.status().is_redirection(), asks, target)
            else {
                return Ok(response);
            };
            let next = self.location(&url, target)?;
            if url.scheme() == "https" && next.scheme() != "https" && !self.endpoint.insecure {
                return Err(self.dishonest("it redirects from TLS to a plain connection"));
            }
            url = next;
        }
        Err(self.dishonest(&format!("it redirects more than {REDIRECTS} times")))
    }

    async fn try_send_to(&self, request: &Request, url: &Url) -> Result<Response, Error> {
        let here = from_here(url, self.access.host);
        let mut builder = self
            .client
            .request(request.method.clone(), here.clone())
            .headers(request.headers.clone());
        if here != *url
            && let Some(host) = host_header(url)
        {
            builder = builder.header(header::HOST, host);
        }
        // A credential is for the registry alone, not for where it points to.
        if url.origin() == self.base.origin()
            && let Some(value) = self.authorization_header()
        {
            builder = builder.header(header::AUTHORIZATION, value);
        }
        builder = match &request.body {
            Body::Empty if request.method == Method::POST || request.method == Method::PUT => {
                builder.header(header::CONTENT_LENGTH, 0)
            }
            Body::Empty => builder,
            Body::Bytes(bytes) => builder.body(bytes.clone()),
            Body::Once(body) => {
                let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
                builder.body(body.ok_or_else(|| self.unreachable("the connection broke"))?)
            }
        };
        let response = builder
            .send()
            .await
            .map_err(|error| self.unreachable(&reason(&error)))?;
        self.seen.store(true, Ordering::Relaxed);
        Ok(response)
    }

    /// Reads where an answer points to.
    pub(super) fn location(&self, from: &Url, target: &HeaderValue) -> Result<Url, Error> {
        let wrong = || self.dishonest("it redirects to what is no address");
        let target = target.to_str().map_err(|_| wrong())?;
        let url = from.join(target).map_err(|_| wrong())?;
        if matches!(url.scheme(), "http" | "https") && url.host().is_some() {
            Ok(url)
        } else {
            Err(wrong())
        }
    }

    /// Reads an answer whole, which may be no longer than `limit` bytes.
    pub(super) async fn body(
        &self,
        mut response: Response,
        limit: usize,
        what: &str,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => {
                    return Err(self.dishonest(&format!(
                        "{what} is longer than the {limit} bytes it may be"
                    )));
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return Ok(bytes),
                Err(error) => return Err(self.unreachable(&reason(&error))),
            }
        }
    }

    /// Turns an answer that was not hoped for into an error with its words.
    pub(super) async fn refusal(&self, request: &Request, mut response: Response) -> Error {
        let status = response.status();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_MESSAGE - body.len())]);
            if body.len() == MAX_MESSAGE {
                break;
            }
        }
        let words = words(&body).unwrap_or_else(|| {
            status
                .canonical_reason()
                .unwrap_or("it gives no reason")
                .to_lowercase()
        });
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorized(&words),
            _ => Error::Refused {
                registry: self.registry.clone(),
                request: format!("{} {}", request.method, request.url.path()),
                status: status.as_u16(),
                reason: words,
            },
        }
    }

    /// An error for a connection that failed.
    pub(super) fn unreachable(&self, reason: &str) -> Error {
        Error::Unreachable {
            registry: self.registry.clone(),
            reason: reason.to_owned(),
        }
    }

    /// An error for an answer that is not what it claims.
    pub(super) fn dishonest(&self, reason: &str) -> Error {
        Error::Dishonest {
            registry: self.registry.clone(),
            reason: reason.to_owned(),
        }
    }

    fn unauthorized(&self, reason: &str) -> Error {
        let subject = match self.scope.repository.as_str() {
            "" => "the login".to_owned(),
            repository => repository.to_owned(),
        };
        Error::Unauthorized {
            registry: self.registry.clone(),
            subject,
            reason: reason.to_owned(),
        }
    }
}

/// The pause before the attempt after this one.
pub(super) fn pause_before(attempt: u32) -> Duration {
    FIRST_PAUSE * 2_u32.saturating_pow(attempt.saturating_sub(1).min(6))
}

fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let pause = Duration::from_secs(seconds.trim().parse().ok()?);
    Some(pause.min(LONGEST_PAUSE))
}

fn host_header(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}
