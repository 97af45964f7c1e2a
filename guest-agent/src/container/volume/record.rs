//! What is kept of a volume, in `volumes/NAME/volume.json`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::container::error::Error;

const VERSION: u32 = 1;
const FILE: &str = "volume.json";

/// The label that tells a volume without a name of the user's choice, by which
/// Docker tells it too (moby, volume/service/service.go, `AnonymousLabel`).
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    version: u32,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Nanoseconds since 1970.
    pub(crate) created: i64,
    /// Those of Docker's driver "local" that it was made with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) options: BTreeMap<String, String>,
    /// The host's folder that it stands for, by its path in the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bind: Option<PathBuf>,
}

impl VolumeRecord {
    /// Begins the record of a new volume.
    pub(super) fn new(name: &str, labels: BTreeMap<String, String>) -> Self {
        Self {
            version: VERSION,
            name: name.to_owned(),
            labels,
            created: crate::container::record::now(),
            options: BTreeMap::new(),
            bind: None,
        }
    }

    /// Tells whether nobody gave it a name.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }

    /// Writes the record into a volume's directory, and with `durable` waits
    /// for the disk.
    pub(super) fn save(&self, directory: &Path, durable: bool) -> io::Result<()> {
        let mut file = File::create_new(directory.join(FILE))?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        if durable {
            file.sync_all()?;
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }

    /// Reads the record of a volume; `None` where there is no such volume. One
    /// without a record is of an agent that wrote none, or was made for a
    /// container that a power cut took.
    ///
    /// # Errors
    ///
    /// When the record cannot be read or is of a newer version.
    pub(super) fn load(directory: &Path, name: &str) -> Result<Option<Self>, Error> {
        let path = directory.join(FILE);
        let failed = |error: io::Error| Error::path("reading", &path, error);
        let metadata = match fs::metadata(directory.join("_data")) {
            Ok(metadata) => metadata,
            Err(error) if absent(&error) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if absent(&error) => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        if bytes.is_empty() {
            let made = metadata.modified().ok();
            let since = made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
            return Ok(Some(Self {
                created: since.map_or(0, |since| since.as_nanos() as i64),
                ..Self::new(name, BTreeMap::new())
            }));
        }
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
        if record.version > VERSION {
            return Err(Error::Internal(format!(
                "{} is of version {}, this agent knows {VERSION}: upgrade Wherry",
                path.display(),
                record.version
            )));
        }
        Ok(Some(record))
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
