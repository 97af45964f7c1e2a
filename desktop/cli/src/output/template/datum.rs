//! Values while a template is shown. JSON does not say what Go's types do: which
//! objects are maps, and which fields are left out where they are empty. Field
//! names do.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Datum<'a> {
    /// What a map has not.
    Missing,
    Known {
        value: Cow<'a, Value>,
        /// The field that it was in.
        field: Option<&'a str>,
    },
    /// What the heads of columns are taken from: each of its fields is the head
    /// of a column.
    Heads,
}

/// Fields that are maps: what is not in one is nothing, and no mistake.
const MAPS: [&str; 16] = [
    "Annotations",
    "Attributes",
    "Containers",
    "Data",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Status",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Fields of Docker's that are not told where they are empty: in which they are,
/// and what they are then.
const OMITTED: [(Option<&str>, &str, Empty); 20] = [
    (None, "SizeRootFs", Empty::Nothing),
    (None, "SizeRw", Empty::Nothing),
    (Some("Config"), "ArgsEscaped", Empty::No),
    (Some("Config"), "ExposedPorts", Empty::Map),
    (Some("Config"), "Healthcheck", Empty::Nothing),
    (Some("Config"), "MacAddress", Empty::Text),
    (Some("Config"), "NetworkDisabled", Empty::No),
    (Some("Config"), "Shell", Empty::List),
    (Some("Config"), "StopSignal", Empty::Text),
    (Some("Config"), "StopTimeout", Empty::Nothing),
    (Some("HostConfig"), "Annotations", Empty::Map),
    (Some("HostConfig"), "Init", Empty::Nothing),
    (Some("HostConfig"), "Mounts", Empty::List),
    (Some("HostConfig"), "Runtime", Empty::Text),
    (Some("HostConfig"), "StorageOpt", Empty::Map),
    (Some("HostConfig"), "Sysctls", Empty::Map),
    (Some("HostConfig"), "Tmpfs", Empty::Map),
    (Some("Mounts"), "Driver", Empty::Text),
    (Some("Mounts"), "Name", Empty::Text),
    (Some("State"), "Health", Empty::Nothing),
];

/// Fields that Docker's templates know by another name than its JSON.
const NAMES: [(&str, &str); 11] = [
    ("CPUPeriod", "CpuPeriod"),
    ("CPUQuota", "CpuQuota"),
    ("CPURealtimePeriod", "CpuRealtimePeriod"),
    ("CPURealtimeRuntime", "CpuRealtimeRuntime"),
    ("CPUShares", "CpuShares"),
    ("DNS", "Dns"),
    ("DNSOptions", "DnsOptions"),
    ("DNSSearch", "DnsSearch"),
    ("ID", "Id"),
    ("NanoCPUs", "NanoCpus"),
    ("HostIP", "HostIp"),
];

/// Lists that are `null` where they are empty.
const LISTS: [&str; 18] = [
    "Binds",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "Mounts",
    "OnBuild",
    "RepoDigests",
    "RepoTags",
    "SecurityOpt",
    "VolumesFrom",
];

#[derive(Clone, Copy, Debug)]
enum Empty {
    Text,
    No,
    List,
    Map,
    Nothing,
}

impl Empty {
    fn value(self) -> Value {
        match self {
            Self::Text => Value::String(String::new()),
            Self::No => Value::Bool(false),
            Self::List => Value::Array(Vec::new()),
            Self::Map => Value::Object(Map::new()),
            Self::Nothing => Value::Null,
        }
    }
}

impl<'a> Datum<'a> {
    pub(super) fn borrowed(value: &'a Value) -> Self {
        Self::Known {
            value: Cow::Borrowed(value),
            field: None,
        }
    }

    /// Tells whether `if` takes it for true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Missing => false,
            Self::Heads => true,
            Self::Known { value, .. } => match &**value {
                Value::Null => false,
                Value::Bool(it) => *it,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
            },
        }
    }

    /// Returns the value; `null` where there is none.
    pub(super) fn value(&self) -> &Value {
        match self {
            Self::Known { value, .. } => value,
            Self::Missing | Self::Heads => &Value::Null,
        }
    }

    /// Returns the field `name` of it, which the template calls `path`.
    pub(super) fn field(self, name: &'a str, path: &str) -> Result<Self, String> {
        let (value, of) = match self {
            Self::Known { value, field } => (value, field),
            Self::Missing | Self::Heads => return Ok(Self::Missing),
        };
        let found = match value {
            Cow::Borrowed(Value::Object(fields)) => {
                known(fields, name).map(|found| Cow::Borrowed(&fields[found]))
            }
            Cow::Owned(Value::Object(ref fields)) => {
                known(fields, name).map(|found| Cow::Owned(fields[found].clone()))
            }
            _ => None,
        };
        if let Some(value) = found {
            return Ok(Self::Known {
                value,
                field: Some(name),
            });
        }
        let within = match path.len().checked_sub(name.len() + 1) {
            Some(0) | None => ".",
            Some(length) => &path[..length],
        };
        match &*value {
            Value::Object(_) | Value::Null if of.is_some_and(|of| MAPS.contains(&of)) => {
                Ok(Self::Missing)
            }
            Value::Object(fields) => match OMITTED
                .iter()
                .find(|(within, omitted, _)| *within == of && *omitted == name)
            {
                Some((_, _, empty)) => Ok(Self::Known {
                    value: Cow::Owned(empty.value()),
                    field: Some(name),
                }),
                None => Err(format!(
                    "there is no field {path}: the fields are {}",
                    listed(fields)
                )),
            },
            Value::Null => Err(format!(
                "{within} is nothing here, so it has no .{name}: write {{{{with {within}}}}}{{{{.{name}}}}}{{{{end}}}}"
            )),
            _ => Err(format!("{within} has no fields in it, so no .{name}")),
        }
    }

    /// Returns the item at a place or under a key.
    pub(super) fn item(self, key: &Value) -> Result<Self, String> {
        let (value, field) = match self {
            Self::Known { value, field } => (value, field),
            Self::Missing | Self::Heads => return Err("index: there is nothing to look in".into()),
        };
        match (&*value, key) {
            (Value::Object(_) | Value::Null, Value::String(key)) => {
                let found = match &value {
                    Cow::Borrowed(value) => value.get(key).map(Cow::Borrowed),
                    Cow::Owned(value) => value.get(key).cloned().map(Cow::Owned),
                };
                Ok(match found {
                    Some(value) => Self::Known { value, field: None },
                    // The zero value of what such a map holds.
                    None if holds_text(&value, field) => Self::from(String::new()),
                    None => Self::Missing,
                })
            }
            (Value::Array(items), key) => {
                let place = place(key, items.len(), "index")?;
                let item = match &value {
                    Cow::Borrowed(value) => value.get(place).map(Cow::Borrowed),
                    Cow::Owned(value) => value.get(place).cloned().map(Cow::Owned),
                };
                match item {
                    Some(value) => Ok(Self::Known { value, field }),
                    None => Err(beyond(place, items.len())),
                }
            }
            (Value::String(text), key) => {
                let place = place(key, text.len(), "index")?;
                match text.as_bytes().get(place) {
                    Some(byte) => Ok(Self::from(Value::from(*byte))),
                    None => Err(beyond(place, text.len())),
                }
            }
            (Value::Null, _) => Err("index: the list is empty".to_owned()),
            (Value::Object(fields), key) => Err(format!(
                "index: {key} is no key: the keys are {}",
                listed(fields)
            )),
            (value, _) => Err(format!("index: there is nothing in {value}")),
        }
    }
}

impl From<Value> for Datum<'_> {
    fn from(value: Value) -> Self {
        Self::Known {
            value: Cow::Owned(value),
            field: None,
        }
    }
}

impl From<String> for Datum<'_> {
    fn from(text: String) -> Self {
        Self::from(Value::String(text))
    }
}

impl From<bool> for Datum<'_> {
    fn from(it: bool) -> Self {
        Self::from(Value::Bool(it))
    }
}

impl From<Number> for Datum<'_> {
    fn from(number: Number) -> Self {
        Self::from(Value::Number(number))
    }
}

/// Returns how the JSON calls a field, if it has it.
fn known<'n>(fields: &Map<String, Value>, name: &'n str) -> Option<&'n str> {
    if fields.contains_key(name) {
        return Some(name);
    }
    let (_, json) = NAMES.iter().find(|(known, _)| *known == name)?;
    fields.contains_key(*json).then_some(*json)
}

fn listed(fields: &Map<String, Value>) -> String {
    if fields.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    names.join(", ")
}

fn holds_text(map: &Value, field: Option<&str>) -> bool {
    const TEXTS: [&str; 6] = [
        "Annotations",
        "Attributes",
        "Labels",
        "Options",
        "Sysctls",
        "Tmpfs",
    ];
    match map.as_object().filter(|fields| !fields.is_empty()) {
        Some(fields) => fields.values().all(Value::is_string),
        None => field.is_some_and(|field| TEXTS.contains(&field)),
    }
}

/// Returns a key as a place among so many.
pub(super) fn place(key: &Value, count: usize, function: &str) -> Result<usize, String> {
    let number = key
        .as_i64()
        .ok_or_else(|| format!("{function}: {key} is no place in a list: write a number"))?;
    usize::try_from(number).map_err(|_| format!("{function}: {number} is not in a list of {count}"))
}

fn beyond(place: usize, count: usize) -> String {
    format!("index: there is no item {place} in a list of {count}")
}

/// Appends a value that was in a field as Go's templates print it.
pub(super) fn show(datum: &Datum<'_>, text: &mut String) {
    let (value, field) = match datum {
        Datum::Missing | Datum::Heads => return text.push_str("<no value>"),
        Datum::Known { value, field } => (&**value, *field),
    };
    match (value, field) {
        (Value::Null, Some(field)) if LISTS.contains(&field) => text.push_str("[]"),
        (Value::Null, Some(field)) if MAPS.contains(&field) => text.push_str("map[]"),
        // Sets, which Go has as maps to empty structures.
        (Value::Object(_), Some("ExposedPorts" | "Volumes")) => {
            let keys: Vec<String> = super::print::sorted(value)
                .iter()
                .map(|(key, _)| format!("{key}:{{}}"))
                .collect();
            text.push_str(&format!("map[{}]", keys.join(" ")));
        }
        _ => text.push_str(&super::print::plain(value)),
    }
}
