//! What is kept of each attached container, so that `serve` can die and the
//! next one knows every address that is in use.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::interface::Sysctl;
use super::{NetworkError, NetworkMode};

/// One container's place in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    /// For `container:`, the container whose network it really is.
    pub(super) mode: NetworkMode,
    /// The names it answers to, in lower case.
    pub(super) names: Vec<String>,
    /// Where it is on bridge networks; see [`Endpoint::gateway_priority`].
    #[serde(default)]
    pub(super) endpoints: Vec<Endpoint>,
    /// Names of its own for other containers: alias and name.
    #[serde(default)]
    pub(super) links: Vec<(String, String)>,
    /// The name servers that it asks for other names; none: the agent's.
    #[serde(default)]
    pub(super) name_servers: Vec<IpAddr>,
    /// The port of its own name server, on its loopback.
    #[serde(default)]
    pub(super) resolver_port: Option<u16>,
    /// Its network is gone for all but the kernel, which still works on it.
    #[serde(skip)]
    pub(super) leaving: bool,
}

/// A container's place on one bridge network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Endpoint {
    /// 64 hexadecimal digits.
    pub(super) id: String,
    /// The network's id.
    pub(super) network: String,
    /// The container's end of the veth pair.
    pub(super) interface: String,
    /// The guest's end of the veth pair.
    pub(super) veth: String,
    pub(super) ipv4: IpAddr,
    pub(super) ipv6: Option<IpAddr>,
    pub(super) mac: [u8; 6],
    /// The names it has on this network alone, in lower case.
    pub(super) aliases: Vec<String>,
    /// The container's way out is by the endpoint with the highest.
    #[serde(default)]
    pub(super) gateway_priority: i32,
    /// What is set of the container's end.
    #[serde(default)]
    pub(super) sysctls: Vec<Sysctl>,
    /// Addresses of the container's end of which nobody else is told.
    #[serde(default)]
    pub(super) link_local: Vec<IpAddr>,
}

impl Endpoint {
    /// Returns its addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [Some(self.ipv4), self.ipv6].into_iter().flatten()
    }
}

impl Record {
    /// Returns the names that it answers to on a network.
    pub(super) fn names_on(&self, endpoint: &Endpoint) -> Vec<String> {
        let mut names = self.names.clone();
        for alias in &endpoint.aliases {
            if !names.contains(alias) {
                names.push(alias.clone());
            }
        }
        names
    }
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
