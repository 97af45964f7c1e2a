//! What is kept of a network, in `networks/ID.json` on the data disk: a power
//! cut leaves the old record or the new one, never a torn one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::NetworkError;
use super::options::BridgeOptions;
use super::prefix::Prefix;
use super::record::files;

/// The version of the record's form.
const VERSION: u32 = 1;

/// The option that gives a network's bridge its interface name.
pub(super) const INTERFACE_OPTION: &str = "com.docker.network.bridge.name";
/// The option that says how many bytes a packet may have.
pub(super) const MTU_OPTION: &str = "com.docker.network.driver.mtu";
/// The option that, when "false", leaves the containers' own addresses on what
/// leaves the network.
pub(super) const MASQUERADE_OPTION: &str = "com.docker.network.bridge.enable_ip_masquerade";

/// The option that, when "false", keeps the network's containers from each other.
pub(super) const ICC_OPTION: &str = "com.docker.network.bridge.enable_icc";
/// The option that gives the address of the host that ports are published at
/// which name none.
pub(super) const HOST_BINDING_OPTION: &str = "com.docker.network.bridge.host_binding_ipv4";

/// A bridge network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Definition {
    version: u32,
    /// 64 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) name: String,
    /// Nanoseconds since 1970.
    pub(crate) created: i64,
    pub(crate) ipv4: Range,
    pub(crate) ipv6: Option<Range>,
    /// Nothing goes out of it and nothing comes in.
    pub(crate) internal: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: BTreeMap<String, String>,
    /// The bridge's name, at most 15 bytes.
    pub(crate) interface: String,
    /// The nftables table in family inet.
    pub(crate) table: String,
}

/// The addresses of one family of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) subnet: Prefix,
    /// The bridge's own address.
    pub(crate) gateway: IpAddr,
    /// What addresses are handed out of; none: the whole subnet.
    pub(crate) range: Option<Prefix>,
    /// Addresses that no container gets, by the name the user gave them.
    pub(crate) auxiliary: BTreeMap<String, IpAddr>,
    /// The user chose the subnet.
    pub(crate) configured: bool,
}

impl Range {
    /// Returns a whole subnet with its first address for the gateway.
    pub(super) fn whole(subnet: Prefix) -> Self {
        Self {
            subnet,
            gateway: subnet.nth(1).unwrap_or(subnet.network()),
            range: None,
            auxiliary: BTreeMap::new(),
            configured: false,
        }
    }
}

/// The id of one of the networks that are always there: the same everywhere,
/// so that nothing need be kept of them.
pub(crate) fn predefined_id(name: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(format!("wherry network {name}")))
}

impl Definition {
    /// Begins the record of a network; its interface and table are named after
    /// its id.
    pub(super) fn new(id: String, name: &str, created: i64, ipv4: Range) -> Self {
        let short = id.get(..12).unwrap_or(&id).to_owned();
        Self {
            version: VERSION,
            id,
            name: name.to_owned(),
            created,
            ipv4,
            ipv6: None,
            internal: false,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            interface: format!("br-{short}"),
            table: format!("wherry-{short}"),
        }
    }

    /// Returns the network that is always there.
    pub(super) fn default_bridge(bridge: &BridgeOptions) -> Self {
        let range = Range::whole(bridge.subnet.prefix());
        let mut definition = Self::new(predefined_id("bridge"), "bridge", 0, range);
        definition.interface.clone_from(&bridge.interface);
        definition.table.clone_from(&bridge.table);
        definition
    }

    /// Tells whether it is the network that is always there, on which
    /// containers have no aliases.
    pub(crate) fn is_default(&self) -> bool {
        self.name == "bridge"
    }

    /// Returns its subnets.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = Prefix> {
        let ranges = std::iter::once(&self.ipv4).chain(&self.ipv6);
        ranges
            .map(|range| range.subnet)
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Returns how many bytes a packet may have, where that was said.
    pub(super) fn mtu(&self) -> Option<u32> {
        self.options.get(MTU_OPTION)?.parse().ok()
    }

    /// Tells whether its containers may not reach each other.
    pub(super) fn isolates(&self) -> bool {
        self.options
            .get(ICC_OPTION)
            .is_some_and(|value| truth(value) == Some(false))
    }

    /// Returns the address of the host where its containers' ports are published
    /// that name none.
    pub(crate) fn host_binding(&self) -> Option<&str> {
        let address = self.options.get(HOST_BINDING_OPTION)?;
        Some(address.as_str()).filter(|address| !address.is_empty())
    }

    /// Tells whether what leaves it has the guest's address.
    pub(super) fn masquerades(&self) -> bool {
        self.options
            .get(MASQUERADE_OPTION)
            .is_none_or(|value| truth(value) != Some(false))
    }
}

/// Reads a flag as Go does (strconv.ParseBool).
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A file that holds no network, and what is wrong with it.
pub(super) type Damaged = (PathBuf, String);

/// The folder with one file for each network.
#[derive(Debug)]
pub(super) struct DefinitionFolder {
    path: PathBuf,
}

impl DefinitionFolder {
    /// Opens the folder, and makes it if need be.
    pub(super) fn open(path: PathBuf) -> Result<Self, NetworkError> {
        fs::create_dir_all(&path).map_err(NetworkError::file("create", &path))?;
        Ok(Self { path })
    }

    fn file(&self, id: &str) -> PathBuf {
        self.path.join(format!("{id}.json"))
    }

    /// Writes a record and waits for the disk.
    pub(super) fn write(&self, definition: &Definition) -> Result<(), NetworkError> {
        let path = self.file(&definition.id);
        let temporary = self.path.join(format!("{}.new", definition.id));
        let written = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(definition)?)?;
            file.sync_data()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.path)?.sync_all()
        };
        written().map_err(|error| {
            let _ = fs::remove_file(&temporary);
            let _ = fs::remove_file(&path);
            NetworkError::file("write", &path)(error)
        })
    }

    /// Removes a record and waits for the disk; fine if there is none.
    pub(super) fn remove(&self, id: &str) -> Result<(), NetworkError> {
        let path = self.file(id);
        let removed = match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => File::open(&self.path).and_then(|folder| folder.sync_all()),
        };
        removed.map_err(NetworkError::file("remove", &path))
    }

    /// Returns all records, and the files that hold none, with what is wrong.
    pub(super) fn read_all(&self) -> Result<(Vec<Definition>, Vec<Damaged>), NetworkError> {
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for path in files(&self.path)? {
            if path.extension().is_some_and(|extension| extension == "new") {
                // Writing it was cut off.
                fs::remove_file(&path).map_err(NetworkError::file("remove", &path))?;
                continue;
            }
            match read(&path) {
                Ok(definition) if self.file(&definition.id) == path => found.push(definition),
                Ok(_) => damaged.push((path, "it is another network's record".to_owned())),
                Err(problem) => damaged.push((path, problem)),
            }
        }
        found.sort_by_key(|definition: &Definition| definition.created);
        Ok((found, damaged))
    }
}

fn read(path: &Path) -> Result<Definition, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let definition: Definition =
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if definition.version > VERSION {
        return Err(format!(
            "it is of version {}, this agent knows {VERSION}: upgrade Wherry",
            definition.version
        ));
    }
    Ok(definition)
}
