//! What is kept of each attached container, so that `serve` can die and the
//! next one knows every address that is in use.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{NetworkError, NetworkMode};

/// One container's place in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    /// For `container:`, the container whose network it really is.
    pub(super) mode: NetworkMode,
    /// The names it answers to, in lower case.
    pub(super) names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<Ipv4Addr>,
    /// The guest's end of its veth pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) veth: Option<String>,
    /// Its network is gone for all but the kernel, which still works on it.
    #[serde(skip)]
    pub(super) leaving: bool,
}

/// The folder with one file for each record. It lies on a tmpfs, as the
/// namespaces do, so nothing here needs to survive a power cut; the rename
/// keeps a killed process from leaving half a record.
#[derive(Debug)]
pub(super) struct RecordFolder {
    path: PathBuf,
}

impl RecordFolder {
    /// Opens the folder, and makes it if need be.
    pub(super) fn open(path: PathBuf) -> Result<Self, NetworkError> {
        fs::create_dir_all(&path).map_err(NetworkError::file("create", &path))?;
        Ok(Self { path })
    }

    fn file(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.json"))
    }

    /// Writes a record, in place of an older one.
    pub(super) fn write(&self, record: &Record) -> Result<(), NetworkError> {
        let path = self.file(&record.id);
        let temporary = self.path.join(format!("{}.tmp", record.id));
        let bytes = serde_json::to_vec(record)
            .map_err(io::Error::from)
            .map_err(NetworkError::file("write", &path))?;
        fs::write(&temporary, bytes).map_err(NetworkError::file("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(NetworkError::file("write", &path))
    }

    /// Removes a record; fine if there is none.
    pub(super) fn remove(&self, id: &str) -> Result<(), NetworkError> {
        let path = self.file(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(NetworkError::file("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Returns all records. What cannot be read is removed with a warning: its
    /// container is found among the namespaces.
    pub(super) fn read_all(&self) -> Result<Vec<Record>, NetworkError> {
        let mut records = Vec::new();
        for path in files(&self.path)? {
            let record: Option<Record> = fs::read(&path)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match record {
                Some(record) if self.file(&record.id) == path => records.push(record),
                _ => {
                    if path
                        .extension()
                        .is_some_and(|extension| extension == "json")
                    {
                        tracing::warn!(path = %path.display(), "removing an unreadable network record");
                    }
                    fs::remove_file(&path).map_err(NetworkError::file("remove", &path))?;
                }
            }
        }
        Ok(records)
    }
}

/// Returns the paths of a folder's files; none if there is no such folder.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, NetworkError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(NetworkError::file("read", folder))?,
    };
    entries
        .map(|entry| Ok(entry.map_err(NetworkError::file("read", folder))?.path()))
        .collect()
}
