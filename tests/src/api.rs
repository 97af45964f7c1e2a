//! A client of the Docker Engine API that hides nothing: one connection a call, so
//! that it can stop reading, or go, wherever a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// An emulated guest is slow; a healthy engine never comes near it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where an engine serves its API.
#[derive(Clone, Debug)]
pub enum Api {
    /// A local socket.
    Unix(PathBuf),
    /// An address such as `127.0.0.1:2375`.
    Tcp(String),
}

/// The answer to a call.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// An answer whose body is still to be read. Dropped, the client is gone.
pub struct Streaming {
    /// The status.
    pub status: u16,
    chunked: bool,
    reader: BufReader<Box<dyn Read + Send>>,
}

impl Api {
    /// Makes a call and reads the whole answer.
    ///
    /// # Errors
    ///
    /// Where there is no engine, or it breaks the answer off.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut streaming = self.open(method, path, body)?;
        let mut whole = Vec::new();
        while let Some(part) = streaming.part()? {
            whole.extend(part);
        }
        Ok(Answer {
            status: streaming.status,
            body: whole,
        })
    }

    /// As [`Self::call`], of a call that has to be answered with a status.
    ///
    /// # Errors
    ///
    /// Where it is answered with another one; tells the answer.
    pub fn expect(
        &self,
        status: u16,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Vec<u8>> {
        let answer = self.call(method, path, body)?;
        ensure!(
            answer.status == status,
            "{method} {path} was answered with {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer.body)
    }

    /// Makes a call and reads the head of its answer.
    ///
    /// # Errors
    ///
    /// As [`Self::call`].
    pub fn open(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Streaming> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let kind = match body.as_str() {
            "" => "",
            _ => "Content-Type: application/json\r\n",
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (mut writer, reader) = self.connect()?;
        writer.write_all(request.as_bytes())?;
        let mut reader = BufReader::new(reader);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.with_context(|| format!("{method} {path}: no answer but {line:?}"))?;
        let mut chunked = false;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                bail!("{method} {path}: the head of the answer breaks off");
            }
            match line.trim().to_lowercase() {
                end if end.is_empty() => break,
                header => chunked |= header == "transfer-encoding: chunked",
            }
        }
        Ok(Streaming {
            status,
            chunked,
            reader,
        })
    }

    /// Makes a call of which only the start is sent: its head, and `sent` of the
    /// `length` bytes of the body that it announces. The call lasts as long as what is
    /// returned; dropped, the client is gone.
    ///
    /// # Errors
    ///
    /// Where there is no engine, or it does not take what is sent.
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        length: u64,
        sent: &[u8],
    ) -> anyhow::Result<Box<dyn Write>> {
        let (mut writer, _) = self.connect()?;
        write!(
            writer,
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/x-tar\r\n\
             Content-Length: {length}\r\n\r\n"
        )?;
        writer.write_all(sent)?;
        Ok(writer)
    }

    fn connect(&self) -> anyhow::Result<(Box<dyn Write>, Box<dyn Read + Send>)> {
        let halves: (Box<dyn Write>, Box<dyn Read + Send>) = match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .with_context(|| format!("no engine at {}", path.display()))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            }
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)
                    .with_context(|| format!("no engine at {address}"))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            }
        };
        Ok(halves)
    }
}

impl Streaming {
    /// Reads the next part of the body; `None` at its end.
    ///
    /// # Errors
    ///
    /// Where the answer breaks off.
    pub fn part(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        if !self.chunked {
            let mut part = vec![0; 64 * 1024];
            let read = self.reader.read(&mut part)?;
            part.truncate(read);
            return Ok((read > 0).then_some(part));
        }
        let mut size = String::new();
        ensure!(
            self.reader.read_line(&mut size)? > 0,
            "the answer breaks off"
        );
        let size = usize::from_str_radix(size.trim(), 16).context("no chunk")?;
        let mut part = vec![0; size + 2];
        self.reader.read_exact(&mut part)?;
        part.truncate(size);
        Ok((size > 0).then_some(part))
    }
}

/// Makes, starts, waits for and removes a container, as `docker run --rm` does.
///
/// # Errors
///
/// Where a step fails, or the container ends with another code than 0.
pub fn run_once(api: &Api, image: &str) -> anyhow::Result<()> {
    let description = serde_json::json!({"Image": image, "Cmd": ["true"]});
    let made = api.expect(201, "POST", "/v1.41/containers/create", Some(&description))?;
    let made: Value = serde_json::from_slice(&made)?;
    let id = made["Id"].as_str().context("no id")?;
    let one = format!("/v1.41/containers/{id}");
    api.expect(204, "POST", &format!("{one}/start"), None)?;
    let ended = api.expect(200, "POST", &format!("{one}/wait"), None)?;
    let ended: Value = serde_json::from_slice(&ended)?;
    ensure!(ended["StatusCode"] == 0, "{ended}");
    api.expect(204, "DELETE", &one, None)?;
    Ok(())
}
