//! A server that answers as a test wants, in HTTP written by hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::image::{Image, digest};

/// A request, its header fields in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        Some(fields.find(|(known, _)| known == name)?.1.as_str())
    }
}

/// An answer.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Claimed instead of the body's length.
    pub(crate) length: Option<u64>,
    pub(crate) then: Then,
}

/// What follows the body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next request.
    Next,
    /// Nothing: the connection closes.
    Close,
    /// Nothing, and the connection stays open.
    Silence,
    /// The body again, for ever, without a length.
    Again,
}

pub(crate) fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply {
        status,
        fields: Vec::new(),
        body: body.into(),
        length: None,
        then: Then::Next,
    }
}

impl Reply {
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn then(mut self, then: Then) -> Reply {
        self.then = then;
        self
    }
}

/// Answers as an honest registry that has one image, `app:1`.
pub(crate) fn honest(image: &Image, request: &Request) -> Reply {
    let path = request.path.split('?').next().unwrap();
    if path == "/v2/" {
        return reply(200, "{}");
    }
    let blobs = image.blobs();
    let wanted = path.rsplit('/').next().unwrap();
    let found = match (wanted, path.contains("/manifests/")) {
        ("1", true) => Some(image.manifest_bytes()),
        (digest, _) => blobs.get(digest).cloned(),
    };
    let Some(bytes) = found else {
        return reply(404, "");
    };
    if path.contains("/manifests/") {
        return reply(200, bytes).with(
            "Content-Type",
            image.manifest["mediaType"].as_str().unwrap_or_default(),
        );
    }
    let range = request
        .field("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'))
        .and_then(|start| start.parse::<usize>().ok());
    match range {
        Some(start) => reply(206, &bytes[start..]).with(
            "Content-Range",
            format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
        ),
        None => reply(200, bytes),
    }
}

/// A server, and what it was asked.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let task = tokio::spawn({
            let requests = requests.clone();
            async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, answer.clone(), requests.clone()));
                }
            }
        });
        Server {
            address,
            requests,
            task,
        }
    }

    /// Starts a registry that lies where `lie` says so.
    pub(crate) async fn lying(
        image: &Image,
        lie: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let image = image.clone();
        Self::start(move |request| lie(request, honest(&image, request))).await
    }

    /// Everything that was asked.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How often a blob was asked for.
    pub(crate) fn asked_for(&self, blob: &[u8]) -> usize {
        let digest = digest(blob);
        let requests = self.requests();
        let asked = requests
            .iter()
            .filter(|asked| asked.path.ends_with(&digest));
        asked.count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    stream: TcpStream,
    answer: Arc<impl Fn(&Request) -> Reply>,
    requests: Arc<Mutex<Vec<Request>>>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        requests.lock().unwrap().push(request.clone());
        let reply = answer(&request);
        let mut head = format!("HTTP/1.1 {} Word\r\n", reply.status);
        for (name, value) in &reply.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if reply.then != Then::Again {
            let length = reply.length.unwrap_or(reply.body.len() as u64);
            head += &format!("Content-Length: {length}\r\n");
        }
        head += "\r\n";
        let body: &[u8] = match request.method.as_str() {
            "HEAD" => &[],
            _ => &reply.body,
        };
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(body).await.is_err()
        {
            return;
        }
        match reply.then {
            Then::Next => {}
            Then::Close => return,
            Then::Silence => tokio::time::sleep(Duration::from_secs(3600)).await,
            Then::Again => while stream.write_all(body).await.is_ok() {},
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request {
        method,
        path,
        fields: Vec::new(),
    };
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        let field = (name.to_ascii_lowercase(), value.to_owned());
        request.fields.push(field);
    }
    if request.field("transfer-encoding") == Some("chunked") {
        loop {
            line.clear();
            stream.read_line(&mut line).await.ok()?;
            let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            if length == 0 {
                return Some(request);
            }
        }
    }
    let length = request
        .field("content-length")
        .unwrap_or("0")
        .parse()
        .ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(request)
}
