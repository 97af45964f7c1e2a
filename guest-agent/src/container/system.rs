//! Containers that are whole systems: their first process is an init with
//! services.

use std::path::Path;

use wherry_proto::v1::ContainerSpec;

use super::error::Error;
use super::record::Record;
use crate::runtime::spec::{MountKind, MountPoint};

/// The programs by which an init is known.
const INITS: [&str; 7] = [
    "/sbin/init",
    "/usr/sbin/init",
    "/usr/local/sbin/init",
    "/bin/systemd",
    "/usr/bin/systemd",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
];

/// What asks systemd to shut down (systemd(1), "SIGNALS").
const HALT_SYSTEMD: &str = "RTMIN+3";

/// What asks sysvinit and busybox's init to: they take it for Ctrl-Alt-Del.
const HALT_OTHER: &str = "INT";

/// Checks what a user asks for.
///
/// # Errors
///
/// [`Error::Invalid`] for a word that is none.
pub(super) fn check(spec: &ContainerSpec) -> Result<(), Error> {
    match spec.init_system.as_str() {
        "" | "always" | "never" => {}
        other => {
            return Err(Error::Invalid(format!(
                "invalid init system mode {other:?}: write always or never"
            )));
        }
    }
    if spec.init && spec.init_system == "always" {
        return Err(Error::Invalid(
            "conflicting options: an init system is the first process itself, so --init cannot be"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Tells whether a container's first process is an init with services.
pub(super) fn is_system(record: &Record) -> bool {
    match record.spec.init_system.as_str() {
        "always" => true,
        "never" => false,
        _ if record.spec.init => false,
        _ => record
            .args
            .first()
            .is_some_and(|program| INITS.contains(&program.as_str())),
    }
}

/// Returns the signal that shuts such a system down, by what its init is.
pub(super) fn halt_signal(root: &Path, record: &Record) -> &'static str {
    let program = record.args.first().map_or("", String::as_str);
    // A link's target is looked at, not followed: the root is the image's.
    let link = std::fs::read_link(root.join(program.trim_start_matches('/')));
    let target = link.map_or_else(|_| program.to_owned(), |link| link.display().to_string());
    if target.ends_with("systemd") {
        HALT_SYSTEMD
    } else {
        HALT_OTHER
    }
}

/// Returns the capabilities that a container has beside the usual ones. An init
/// ends by reboot(2), which in a process namespace of its own ends that alone
/// (pid_namespaces(7)); without it, it would wait for ever when all is down.
pub(super) fn capabilities(record: &Record) -> Vec<String> {
    let mut added = record.spec.cap_add.clone();
    if is_system(record) && record.spec.pid_mode.is_empty() {
        added.push("SYS_BOOT".to_owned());
    }
    added
}

/// Returns what such a system finds mounted: what it makes there is of one run.
pub(super) fn mounts(record: &Record) -> Vec<MountPoint> {
    let memory = |target: &str, options: &[&str]| MountPoint {
        kind: MountKind::Tmpfs(options.iter().map(|&option| option.to_owned()).collect()),
        target: target.to_owned(),
        read_only: false,
    };
    let wanted = [
        memory("/run", &["mode=755"]),
        memory("/run/lock", &["mode=1777", "size=5m"]),
    ];
    let own = |target: &str| record.mounts.iter().any(|mount| mount.target == target);
    wanted
        .into_iter()
        .filter(|mount| !own(&mount.target))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn record(program: &str, init_system: &str) -> Record {
        let spec = ContainerSpec {
            init_system: init_system.to_owned(),
            ..ContainerSpec::default()
        };
        let mut record = Record::new("ab".repeat(32), "one".to_owned(), spec);
        record.args = vec![program.to_owned()];
        record
    }

    #[test]
    fn an_init_is_known_by_its_name_or_by_what_is_said() {
        for (program, said, system) in [
            ("/sbin/init", "", true),
            ("/lib/systemd/systemd", "", true),
            ("init", "", false),
            ("/bin/sh", "", false),
            ("/bin/sh", "always", true),
            ("/sbin/init", "never", false),
        ] {
            assert_eq!(
                is_system(&record(program, said)),
                system,
                "{program} {said}"
            );
        }
        assert!(check(&record("x", "sometimes").spec).is_err());
    }

    #[test]
    fn the_signal_is_that_of_the_init_behind_the_link() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("sbin")).unwrap();
        let record = record("/sbin/init", "");
        std::fs::write(root.path().join("sbin/init"), "").unwrap();
        assert_eq!(halt_signal(root.path(), &record), HALT_OTHER);
        std::fs::remove_file(root.path().join("sbin/init")).unwrap();
        symlink("/lib/systemd/systemd", root.path().join("sbin/init")).unwrap();
        assert_eq!(halt_signal(root.path(), &record), HALT_SYSTEMD);
    }
}
