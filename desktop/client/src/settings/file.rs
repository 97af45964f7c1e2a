//! The text of a settings file: read, checked, and filled up with defaults.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use super::{
    Accelerator, ApiSettings, GIBIBYTE, Hypervisor, Invalid, LEAST_DISK, LEAST_MEMORY, MEBIBYTE,
    MOST_CPUS, Settings, api,
};
use crate::{platform, size};

/// The file as written, each value with its place in it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cpus: Option<toml::Spanned<u32>>,
    memory: Option<toml::Spanned<Bytes>>,
    #[serde(default)]
    accelerator: Accelerator,
    #[serde(default)]
    hypervisor: Hypervisor,
    shares: Option<toml::Spanned<Vec<String>>>,
    publish_address: Option<IpAddr>,
    qemu: Option<PathBuf>,
    disk_size: Option<toml::Spanned<Bytes>>,
    #[serde(default)]
    registry_mirrors: Vec<toml::Spanned<String>>,
    #[serde(default)]
    insecure_registries: Vec<toml::Spanned<String>>,
    api: Option<toml::Spanned<api::Table>>,
}

/// A size, as a number of bytes or as a person writes it.
#[derive(Clone, Copy)]
struct Bytes(u64);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a size such as \"2GiB\" or \"512m\"")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Bytes, E> {
                u64::try_from(value)
                    .map(Bytes)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Bytes, E> {
                size::parse(value).map(Bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl FromStr for Settings {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let at = |place: usize, message: String| Invalid {
            line: text[..place.min(text.len())].matches('\n').count() + 1,
            message,
        };
        let file: File = toml::from_str(text).map_err(|error| {
            let place = error.span().map_or(0, |span| span.start);
            let message = error.message().replace("unknown field", "unknown setting");
            at(place, message.replace('\n', " "))
        })?;
        let ranged =
            |value: Option<toml::Spanned<Bytes>>, name: &str, least: u64, default: u64| match value
            {
                None => Ok(default),
                Some(value) if value.get_ref().0 < least => Err(at(
                    value.span().start,
                    format!(
                        "{name} = {} is too little, the least is {}",
                        size::binary(value.get_ref().0),
                        size::binary(least)
                    ),
                )),
                Some(value) => Ok(value.into_inner().0),
            };
        let cpus = match file.cpus {
            None => default_cpus(),
            Some(value) if !(1..=MOST_CPUS).contains(value.get_ref()) => {
                let message = format!("cpus = {} must be from 1 to {MOST_CPUS}", value.get_ref());
                return Err(at(value.span().start, message));
            }
            Some(value) => value.into_inner(),
        };
        let shares = match file.shares {
            None => default_shares(),
            Some(shares) => {
                let place = shares.span().start;
                shares
                    .into_inner()
                    .iter()
                    .map(|share| expand("share", share).map_err(|message| at(place, message)))
                    .collect::<Result<_, _>>()?
            }
        };
        let checked = |texts: Vec<toml::Spanned<String>>, check: fn(&str) -> Result<(), String>| {
            let texts = texts.into_iter();
            texts
                .map(|text| match check(text.get_ref()) {
                    Ok(()) => Ok(text.into_inner()),
                    Err(message) => Err(at(text.span().start, message)),
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let api = match file.api {
            None => ApiSettings::default(),
            Some(table) => {
                let place = table.span().start;
                let table = table.into_inner();
                let settings = table.settings(|written| expand("file", written));
                settings.map_err(|message| at(place, message))?
            }
        };
        Ok(Self {
            api,
            registry_mirrors: checked(file.registry_mirrors, check_mirror)?,
            insecure_registries: checked(file.insecure_registries, check_insecure)?,
            cpus,
            memory: ranged(file.memory, "memory", LEAST_MEMORY, default_memory())?,
            accelerator: file.accelerator,
            hypervisor: file.hypervisor,
            shares,
            publish_address: file
                .publish_address
                .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            qemu: file.qemu,
            disk_size: ranged(file.disk_size, "disk_size", LEAST_DISK, 64 * GIBIBYTE)?,
        })
    }
}

fn check_mirror(text: &str) -> Result<(), String> {
    let host = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if is_host(host) => Ok(()),
        _ => Err(format!(
            "the registry mirror {text:?} is no address: write it as https://HOST[:PORT]"
        )),
    }
}

fn check_insecure(text: &str) -> Result<(), String> {
    let is_network = text.split_once('/').is_some_and(|(network, length)| {
        let most = match network.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= most)
    });
    if is_network || is_host(text) {
        Ok(())
    } else {
        Err(format!(
            "the insecure registry {text:?} must be a host, HOST:PORT, or a network such as 10.0.0.0/8"
        ))
    }
}

fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn default_cpus() -> u32 {
    let host = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(host).unwrap_or(4).min(4)
}

fn default_memory() -> u64 {
    let host = platform::host_memory().unwrap_or(0);
    // Whole mebibytes, because QEMU takes no less.
    (host / 4 / MEBIBYTE * MEBIBYTE).clamp(GIBIBYTE, 4 * GIBIBYTE)
}

fn default_shares() -> Vec<PathBuf> {
    let home = directories::BaseDirs::new().map(|folders| folders.home_dir().to_owned());
    home.into_iter().chain([std::env::temp_dir()]).collect()
}

/// Returns the path that a user wrote; `~` is the home folder.
fn expand(what: &str, written: &str) -> Result<PathBuf, String> {
    let home_relative = written
        .strip_prefix('~')
        .filter(|rest| rest.is_empty() || rest.starts_with(['/', '\\']));
    let path = match (home_relative, directories::BaseDirs::new()) {
        (Some(rest), Some(folders)) => folders
            .home_dir()
            .join(rest.trim_start_matches(['/', '\\'])),
        _ => PathBuf::from(written),
    };
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!(
            "the {what} {written:?} must be an absolute path, or begin with ~/"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Home;
    use crate::settings::ApiListener;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        text.parse::<Settings>().unwrap_err().to_string()
    }

    #[test]
    fn no_file_means_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings::load(&Home::at(folder.path()).unwrap()).unwrap();
        assert!((1..=4).contains(&settings.cpus));
        assert!((GIBIBYTE..=4 * GIBIBYTE).contains(&settings.memory));
        assert_eq!(settings.accelerator, Accelerator::Auto);
        assert_eq!(settings.publish_address.to_string(), "127.0.0.1");
        assert!(settings.shares.contains(&std::env::temp_dir()));
    }

    #[test]
    fn every_setting_is_read() {
        let settings: Settings = r#"
            cpus = 2
            memory = "2GiB"
            accelerator = "tcg"
            hypervisor = "qemu"
            shares = ["/srv"]
            publish_address = "::1"
            qemu = "/opt/qemu"
            disk_size = "10g"
            registry_mirrors = ["https://mirror.example:5000/"]
            insecure_registries = ["box.lan:5000", "10.0.0.0/8"]
            [api]
            listen = "127.0.0.1:2376"
            ca = "/tls/ca.pem"
            cert = "/tls/cert.pem"
            key = "/tls/key.pem"
            containers = false
        "#
        .parse()
        .unwrap();
        assert_eq!(
            settings,
            Settings {
                cpus: 2,
                memory: 2 * GIBIBYTE,
                accelerator: Accelerator::Tcg,
                hypervisor: Hypervisor::Qemu,
                shares: vec!["/srv".into()],
                publish_address: "::1".parse().unwrap(),
                qemu: Some("/opt/qemu".into()),
                disk_size: 10 * GIBIBYTE,
                registry_mirrors: vec!["https://mirror.example:5000/".to_owned()],
                insecure_registries: vec!["box.lan:5000".to_owned(), "10.0.0.0/8".to_owned()],
                api: ApiSettings {
                    listener: Some(ApiListener {
                        address: "127.0.0.1:2376".parse().unwrap(),
                        ca: "/tls/ca.pem".into(),
                        certificate: "/tls/cert.pem".into(),
                        key: "/tls/key.pem".into(),
                    }),
                    in_containers: false,
                },
            }
        );
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name_and_line() {
        let message = refusal("cpus = 2\nmemroy = \"1g\"\n");
        assert!(
            message.starts_with("line 2: unknown setting `memroy`"),
            "{message}"
        );
        assert!(message.contains("`memory`"), "{message}");
    }

    #[test]
    fn a_wrong_value_says_what_is_right() {
        for (text, right) in [
            ("memory = \"2 bananas\"", "512m"),
            ("memory = \"1m\"", "128MiB"),
            ("memory = -1", "2GiB"),
            ("cpus = 0", "from 1 to 255"),
            ("accelerator = \"warp\"", "`kvm`"),
            ("publish_address = \"everywhere\"", "IP address"),
            ("shares = [\"here\"]", "absolute"),
            ("disk_size = true", "2GiB"),
            ("registry_mirrors = [\"mirror\"]", "https://HOST"),
            ("registry_mirrors = [\"https://\"]", "https://HOST"),
            ("insecure_registries = [\"http://box\"]", "HOST:PORT"),
            ("insecure_registries = [\"10.0.0.0/33\"]", "10.0.0.0/8"),
            ("[api]\nlisten = \"127.0.0.1:2376\"", "needs ca, cert, key"),
            (
                "[api]\nlisten = \"127.0.0.1:2376\"\nca = \"/a\"\nkey = \"/k\"",
                "needs cert too",
            ),
            ("[api]\nca = \"/a\"", "set listen too"),
            ("[api]\nlisten = \"here\"", "socket address"),
            (
                "[api]\nlisten = \"127.0.0.1:2376\"\nca = \"a\"\ncert = \"/c\"\nkey = \"/k\"",
                "absolute",
            ),
        ] {
            let message = refusal(text);
            assert!(message.contains(right), "{text}: {message}");
            assert!(!message.contains('\n'), "{text}: {message}");
        }
    }

    #[test]
    fn a_share_may_begin_with_the_home_folder() {
        let settings: Settings = "shares = [\"~\", \"~/src\"]".parse().unwrap();
        assert!(settings.shares[0].is_absolute());
        assert_eq!(settings.shares[1], settings.shares[0].join("src"));
    }

    proptest! {
        #[test]
        fn any_text_is_settings_or_an_error(text in "\\PC{0,60}") {
            let _ = text.parse::<Settings>();
        }
    }
}
