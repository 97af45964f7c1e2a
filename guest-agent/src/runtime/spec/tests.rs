use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::{
    Capability, LinuxNamespaceType, LinuxSeccomp, LinuxSeccompAction, Spec,
};
use wherry_proto::v1::Ulimit;

use super::*;

fn description() -> ContainerDescription {
    ContainerDescription {
        rootfs: PathBuf::from("/rootfs"),
        args: words(&["sh", "-c", "true"]),
        hostname: "host".to_owned(),
        cgroup: PathBuf::from("/wherry/one"),
        ..ContainerDescription::default()
    }
}

fn spec(change: impl FnOnce(&mut ContainerDescription)) -> Spec {
    let mut description = description();
    change(&mut description);
    container(&description).unwrap()
}

fn bounding(spec: &Spec) -> std::collections::HashSet<Capability> {
    let process = spec.process().as_ref().unwrap();
    let sets = process.capabilities().as_ref().unwrap();
    assert_eq!(sets.bounding(), sets.effective());
    assert_eq!(sets.bounding(), sets.permitted());
    assert!(sets.inheritable().is_none() && sets.ambient().is_none());
    sets.bounding().clone().unwrap()
}

fn seccomp(spec: &Spec) -> Option<&LinuxSeccomp> {
    spec.linux().as_ref().unwrap().seccomp().as_ref()
}

fn rule<'a>(profile: &'a LinuxSeccomp, name: &str) -> Vec<&'a LinuxSyscall> {
    let syscalls = profile.syscalls().as_ref().unwrap();
    syscalls
        .iter()
        .filter(|rule| rule.names().iter().any(|one| one == name))
        .collect()
}

use libcontainer::oci_spec::runtime::LinuxSyscall;

fn environment(process: &Process, name: &str) -> Option<String> {
    let env = process.env().as_ref().unwrap();
    env.iter()
        .find_map(|entry| entry.strip_prefix(&format!("{name}=")).map(str::to_owned))
}

#[test]
fn a_container_has_docker_s_fourteen_capabilities() {
    let set = bounding(&spec(|_| {}));
    assert_eq!(set.len(), 14);
    assert!(set.contains(&Capability::NetRaw) && !set.contains(&Capability::SysAdmin));
}

#[test]
fn capabilities_are_added_and_dropped_in_docker_s_spellings() {
    let set = bounding(&spec(|d| {
        d.cap_add = words(&["net_admin", "CAP_SYS_TIME"]);
        d.cap_drop = words(&["CHOWN"]);
    }));
    assert_eq!(set.len(), 15);
    assert!(set.contains(&Capability::NetAdmin) && !set.contains(&Capability::Chown));

    let set = bounding(&spec(|d| {
        d.cap_drop = words(&["ALL"]);
        d.cap_add = words(&["KILL"]);
    }));
    assert_eq!(set, [Capability::Kill].into());

    let set = bounding(&spec(|d| {
        d.cap_add = words(&["all"]);
        d.cap_drop = words(&["SYS_ADMIN"]);
    }));
    assert_eq!(set.len(), 40);
}

#[test]
fn an_unknown_capability_is_refused_by_name() {
    let mut description = description();
    description.cap_add = words(&["FLY"]);
    let error = container(&description).unwrap_err();
    assert!(error.to_string().contains("FLY"));
}

#[test]
fn default_mounts_and_namespaces_are_docker_s() {
    let spec = spec(|_| {});
    let mounts = spec.mounts().as_ref().unwrap();
    let targets: Vec<_> = mounts.iter().map(|mount| mount.destination()).collect();
    for target in [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
    ] {
        assert!(
            targets.iter().any(|one| *one == Path::new(target)),
            "{target}"
        );
    }
    let sys = mounts
        .iter()
        .find(|one| one.destination() == Path::new("/sys"));
    assert!(
        sys.unwrap()
            .options()
            .as_ref()
            .unwrap()
            .contains(&"ro".to_owned())
    );
    let namespaces = spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
    assert_eq!(namespaces.len(), 6);
}

#[test]
fn the_network_namespace_is_new_given_or_the_guest_s() {
    let of = |network| {
        let spec = spec(|d| d.network = network);
        let namespaces = spec.linux().as_ref().unwrap().namespaces().clone().unwrap();
        namespaces
            .into_iter()
            .find(|one| one.typ() == LinuxNamespaceType::Network)
            .map(|one| one.path().clone())
    };
    assert_eq!(of(NetworkNamespace::New), Some(None));
    assert_eq!(of(NetworkNamespace::Host), None);
    let path = PathBuf::from("/run/netns/one");
    assert_eq!(of(NetworkNamespace::Path(path.clone())), Some(Some(path)));
}

#[test]
fn a_mount_of_the_user_s_replaces_the_default_on_its_target() {
    let spec = spec(|d| {
        d.mounts = vec![MountPoint {
            kind: MountKind::Tmpfs(words(&["size=1m"])),
            target: "/dev/shm/".to_owned(),
            read_only: false,
        }];
    });
    let mounts = spec.mounts().as_ref().unwrap();
    let shm: Vec<_> = mounts
        .iter()
        .filter(|one| one.destination().starts_with("/dev/shm"))
        .collect();
    assert_eq!(shm.len(), 1);
    assert!(
        shm[0]
            .options()
            .as_ref()
            .unwrap()
            .contains(&"size=1m".to_owned())
    );
}

#[test]
fn a_read_only_bind_says_so() {
    let spec = spec(|d| {
        d.mounts = vec![MountPoint {
            kind: MountKind::Bind(PathBuf::from("/from")),
            target: "/to".to_owned(),
            read_only: true,
        }];
    });
    let mount = spec.mounts().as_ref().unwrap().last().unwrap().clone();
    assert_eq!(mount.source().as_deref(), Some(Path::new("/from")));
    assert!(mount.options().as_ref().unwrap().contains(&"ro".to_owned()));
}

#[test]
fn ulimits_become_rlimits() {
    let ulimit = |name: &str, soft, hard| Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    };
    let limited = spec(|d| d.ulimits = vec![ulimit("nofile", 10, -1)]);
    let limits = limited
        .process()
        .as_ref()
        .unwrap()
        .rlimits()
        .clone()
        .unwrap();
    assert_eq!(limits[0].typ(), PosixRlimitType::RlimitNofile);
    assert_eq!((limits[0].soft(), limits[0].hard()), (10, u64::MAX));
    let mut description = description();
    description.ulimits = vec![ulimit("files", 1, 1)];
    let error = container(&description).unwrap_err();
    assert_eq!(error.to_string(), "invalid ulimit type: files");
}

#[test]
fn the_default_profile_depends_on_capabilities() {
    let plain = spec(|_| {});
    let profile = seccomp(&plain).unwrap();
    assert_eq!(profile.default_action(), LinuxSeccompAction::ScmpActErrno);
    let eperm = Some(libc::EPERM as u32);
    assert_eq!(profile.default_errno_ret(), Some(libc::ENOSYS as u32));
    assert_eq!(rule(profile, "mount")[0].errno_ret(), eperm);
    assert_eq!(rule(profile, "setns")[0].errno_ret(), eperm);
    let chroot = rule(profile, "chroot");
    assert_eq!(chroot.len(), 1);
    assert_eq!(chroot[0].action(), LinuxSeccompAction::ScmpActAllow);
    assert!(rule(profile, "clone3").is_empty());
    assert!(
        rule(profile, "clone")
            .iter()
            .all(|rule| rule.args().is_some())
    );

    let admin = spec(|d| d.cap_add = words(&["SYS_ADMIN"]));
    let profile = seccomp(&admin).unwrap();
    for name in ["mount", "clone", "clone3"] {
        let rules = rule(profile, name);
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0].action(), LinuxSeccompAction::ScmpActAllow);
        assert!(rules[0].args().is_none());
    }
}

#[test]
fn vsock_sockets_are_not_allowed() {
    let plain = spec(|_| {});
    let sockets = rule(seccomp(&plain).unwrap(), "socket");
    assert!(sockets.len() > 20);
    for socket in sockets {
        let args = socket.args().as_ref().unwrap();
        if args[0].value() == libc::AF_VSOCK as u64 {
            assert_eq!(socket.errno_ret(), Some(libc::EPERM as u32));
        }
    }
}

#[test]
fn security_options_choose_the_profile() {
    let of = |options: &[&str]| spec(|d| d.security_opt = words(options));
    assert!(seccomp(&of(&["seccomp=unconfined"])).is_none());
    assert!(seccomp(&of(&["seccomp:unconfined"])).is_none());
    let own = of(&[r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":13},
        {"names":["chown"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_CHOWN"]}},
        {"names":["chmod"],"action":"SCMP_ACT_ERRNO","includes":{"arches":["s390x"]}}]}"#]);
    let profile = seccomp(&own).unwrap();
    assert_eq!(profile.syscalls().as_ref().unwrap().len(), 1);
    assert_eq!(rule(profile, "mkdir")[0].errno_ret(), Some(13));

    let nnp = of(&["no-new-privileges"]);
    assert_eq!(
        nnp.process().as_ref().unwrap().no_new_privileges(),
        Some(true)
    );

    let mut description = description();
    description.security_opt = words(&["bogus=1"]);
    assert!(
        container(&description)
            .unwrap_err()
            .to_string()
            .contains("bogus=1")
    );
}

#[test]
fn a_privileged_container_is_not_confined() {
    let spec = spec(|d| d.privileged = true);
    assert_eq!(bounding(&spec).len(), 41);
    assert!(seccomp(&spec).is_none());
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.masked_paths().is_none() && linux.readonly_paths().is_none());
    let devices = linux
        .resources()
        .as_ref()
        .unwrap()
        .devices()
        .clone()
        .unwrap();
    assert!(devices.len() == 1 && devices[0].allow());
}

#[test]
fn what_is_hidden_can_be_chosen() {
    let linux = |spec: Spec| spec.linux().clone().unwrap();
    let usual = linux(spec(|_| ()));
    assert!(
        usual
            .masked_paths()
            .clone()
            .unwrap()
            .contains(&"/proc/kcore".to_owned())
    );
    let chosen = linux(spec(|d| {
        d.masked_paths = Some(words(&["/proc/version"]));
        d.readonly_paths = Some(Vec::new());
    }));
    assert_eq!(
        chosen.masked_paths().clone().unwrap(),
        words(&["/proc/version"])
    );
    assert!(chosen.readonly_paths().clone().unwrap().is_empty());
}

#[test]
fn the_environment_has_path_hostname_and_term() {
    let spec = spec(|d| {
        d.terminal = true;
        d.env = words(&["PATH=/mine", "A=1"]);
    });
    let process = spec.process().as_ref().unwrap();
    assert_eq!(environment(process, "PATH").as_deref(), Some("/mine"));
    assert_eq!(environment(process, "HOSTNAME").as_deref(), Some("host"));
    assert_eq!(environment(process, "TERM").as_deref(), Some("xterm"));
}

#[test]
fn an_exec_inherits_what_it_does_not_say() {
    let spec = spec(|d| {
        d.env = words(&["A=1", "B=2"]);
        d.cwd = "/work".to_owned();
        d.user.uid = 7;
    });
    let mut exec = ExecSpec {
        id: "e".to_owned(),
        args: words(&["id"]),
        env: words(&["B=3", "C=4"]),
        cwd: None,
        user: None,
        terminal: false,
        terminal_size: None,
        open_stdin: false,
        privileged: false,
    };
    let process = exec_process(&spec, &exec).unwrap();
    assert_eq!(environment(&process, "A").as_deref(), Some("1"));
    assert_eq!(environment(&process, "B").as_deref(), Some("3"));
    assert_eq!(process.cwd(), Path::new("/work"));
    assert_eq!(process.user().uid(), 7);
    exec.cwd = Some("relative".to_owned());
    assert!(exec_process(&spec, &exec).is_err());
}

#[test]
fn the_guest_s_process_namespace_is_shared_when_asked_for() {
    let kinds = |spec: &Spec| -> Vec<LinuxNamespaceType> {
        let linux = spec.linux().as_ref().unwrap();
        let namespaces = linux.namespaces().as_ref().unwrap();
        namespaces.iter().map(LinuxNamespace::typ).collect()
    };
    assert!(kinds(&spec(|_| {})).contains(&LinuxNamespaceType::Pid));
    assert!(!kinds(&spec(|d| d.pid = Namespace::Host)).contains(&LinuxNamespaceType::Pid));
}
