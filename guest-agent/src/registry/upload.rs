//! Sending one layer: packed on the way, so that its digest is known at the end.

use std::io::{self, BufWriter, Read, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::Error;
use super::pull::blocking;
use super::session::{Body, Request, Session, pause_before};
use crate::image::{Descriptor, Digest, LAYER, LayerTar, Store};

/// Attempts at one layer: each packs it anew.
const ATTEMPTS: u32 = 3;
/// Bytes of one piece.
const PIECE: usize = 128 * 1024;
/// Pieces between the packing and the connection.
const PIECES: usize = 8;

/// A layer on its way.
pub(super) struct Upload<'a> {
    pub(super) session: &'a Session,
    pub(super) path: &'a str,
    pub(super) store: Arc<Store>,
    pub(super) diff_id: Digest,
    /// Told the bytes of the tar that are packed.
    pub(super) report: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Upload<'_> {
    /// Sends the layer, again where a failure may pass.
    pub(super) async fn run(&self) -> Result<Descriptor, Error> {
        let mut attempt = 1;
        loop {
            match self.send().await {
                Err(error) if attempt < ATTEMPTS && may_pass(&error) => {
                    tokio::time::sleep(pause_before(attempt)).await;
                    attempt += 1;
                }
                end => return end,
            }
        }
    }

    /// distribution-spec, "Pushing a blob in chunks", with one chunk of a length
    /// that nobody knows before its end: as Docker does.
    async fn send(&self) -> Result<Descriptor, Error> {
        let begin = format!("v2/{}/blobs/uploads/", self.path);
        let begin = self.session.request(Method::POST, &begin)?;
        let response = self.session.expect(&begin, &[StatusCode::ACCEPTED]).await?;
        let place_of_upload = place(self.session, &begin, &response)?;
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
        let packing = {
            let (store, diff_id) = (self.store.clone(), self.diff_id);
            let report = self.report.clone();
            blocking(move || {
                let tar = store.layer_tar(&diff_id)?;
                Ok(pack(tar, sender, &*report))
            })
        };
        let sending = async {
            let mut request = self.session.request(Method::PATCH, "")?;
            request.url = place_of_upload;
            request.headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            );
            let pieces = tokio_stream::wrappers::ReceiverStream::new(receiver);
            request.body = Body::Once(Mutex::new(Some(reqwest::Body::wrap_stream(pieces))));
            let accepted = [StatusCode::ACCEPTED, StatusCode::NO_CONTENT];
            let response = self.session.expect(&request, &accepted).await?;
            place(self.session, &request, &response)
        };
        let (packed, sent) = tokio::join!(packing, sending);
        // A layer that cannot be read breaks the connection, and says more.
        let packed = match (packed?, &sent) {
            (Err(error), _) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(crate::image::Error::Damaged(error.to_string()).into());
            }
            (Err(_), Ok(_)) => {
                let reason = "it says that it took a layer before it had it";
                return Err(self.session.dishonest(reason));
            }
            (Err(_), Err(_)) => None,
            (Ok(packed), _) => Some(packed),
        };
        let mut finish = self.session.request(Method::PUT, "")?;
        finish.url = sent?;
        let Some((digest, size)) = packed else {
            return Err(Error::Internal("a layer was not packed whole".to_owned()));
        };
        finish
            .url
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        self.session.expect(&finish, &[StatusCode::CREATED]).await?;
        Ok(Descriptor {
            media_type: format!("{LAYER}+gzip"),
            digest: digest.to_string(),
            size,
            ..Descriptor::default()
        })
    }
}

fn may_pass(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } => true,
        Error::Refused { status, .. } => *status >= 500,
        _ => false,
    }
}

/// Returns where an upload goes on.
pub(super) fn place(
    session: &Session,
    request: &Request,
    response: &Response,
) -> Result<Url, Error> {
    let location = response
        .headers()
        .get(header::LOCATION)
        .ok_or_else(|| session.dishonest("it does not say where an upload goes on"))?;
    session.location(&request.url, location)
}

/// Packs a layer and hands it on in pieces; returns its digest and its bytes.
/// The same layer packs to the same bytes.
fn pack(
    mut tar: LayerTar,
    sender: mpsc::Sender<io::Result<Bytes>>,
    report: &dyn Fn(u64),
) -> io::Result<(Digest, u64)> {
    let pieces = Pieces {
        sender,
        hash: Sha256::new(),
        size: 0,
    };
    let pieces = BufWriter::with_capacity(PIECE, pieces);
    let mut packer = flate2::write::GzEncoder::new(pieces, flate2::Compression::default());
    let mut buffer = vec![0; PIECE];
    let mut read = 0;
    loop {
        match tar.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                packer.write_all(&buffer[..length])?;
                read += length as u64;
                report(read);
            }
            Err(error) => {
                // The connection must not end as if this were all.
                let broken = io::Error::new(error.kind(), error.to_string());
                let _ = packer.get_ref().get_ref().sender.blocking_send(Err(broken));
                return Err(error);
            }
        }
    }
    let pieces = packer.finish()?.into_inner()?;
    Ok((Digest::finish(pieces.hash), pieces.size))
}

/// Hands on each write as a piece.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    hash: Sha256,
    size: u64,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        match self.sender.blocking_send(Ok(Bytes::copy_from_slice(bytes))) {
            Ok(()) => Ok(bytes.len()),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
