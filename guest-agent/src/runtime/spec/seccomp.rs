//! Docker's seccomp profiles: the default one, kept in `seccomp.json` in an
//! arrangement of ours, and those a user gives in Docker's format, both
//! resolved by architecture and by the container's capabilities.

use std::collections::BTreeMap;

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;

use super::{SpecError, capabilities};

const DEFAULT: &str = include_str!("seccomp.json");

/// The `CLONE_NEW*` bits that `clone` may not be asked for without CAP_SYS_ADMIN.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Answers EPERM.
const DENY: LinuxSeccompAction = LinuxSeccompAction::ScmpActErrno;

/// A container's profile.
#[derive(Debug)]
pub(super) enum Profile {
    /// Docker's.
    Default,
    /// None.
    Unconfined,
    /// The user's.
    Given(Given),
}

impl Profile {
    pub(super) fn resolve(
        &self,
        set: &capabilities::Set,
    ) -> Result<Option<LinuxSeccomp>, SpecError> {
        match self {
            Self::Unconfined => Ok(None),
            Self::Default => {
                let table: Table =
                    serde_json::from_str(DEFAULT).map_err(SpecError::SeccompProfile)?;
                table.resolve(set).map(Some)
            }
            Self::Given(given) => given.resolve(set).map(Some),
        }
    }
}

/// The default profile. Each string is any number of names with spaces between.
///
/// What is neither allowed nor denied by name is answered with ENOSYS, as podman
/// does it: a system call newer than libseccomp has no name there, and C
/// libraries fall back on an older one only after ENOSYS (fchmodat2 in glibc
/// 2.39 is one). What Docker denies is denied with EPERM all the same.
#[derive(Debug, Deserialize)]
struct Table {
    allow: Vec<String>,
    allow_on: BTreeMap<String, String>,
    allow_with: BTreeMap<String, String>,
    deny: Vec<String>,
    socket_families_below: u64,
    socket_families: Vec<u64>,
    socket_families_denied: Vec<u64>,
    personalities: Vec<u64>,
}

impl Table {
    fn resolve(&self, set: &capabilities::Set) -> Result<LinuxSeccomp, SpecError> {
        let has = |name: &str| capabilities::by_name(name).is_some_and(|one| set.contains(&one));
        let here = self
            .allow_on
            .iter()
            .filter(|(architecture, _)| *architecture == architecture_name());
        let capable = self.allow_with.iter().filter(|(name, _)| has(name));
        let mut names: Vec<String> = self
            .allow
            .iter()
            .chain(here.map(|(_, list)| list))
            .chain(capable.map(|(_, list)| list))
            .flat_map(|list| list.split_whitespace())
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();

        let denied: Vec<String> = self
            .deny
            .iter()
            .flat_map(|list| list.split_whitespace())
            .filter(|name| !names.iter().any(|allowed| allowed == name))
            .map(str::to_owned)
            .collect();

        let (allow, equal) = (
            LinuxSeccompAction::ScmpActAllow,
            LinuxSeccompOperator::ScmpCmpEq,
        );
        let below = LinuxSeccompOperator::ScmpCmpLt;
        let mut syscalls = vec![
            LinuxSyscallBuilder::default()
                .names(names)
                .action(allow)
                .build()?,
            deny(denied).build()?,
            rule_if("socket", allow, below, self.socket_families_below, None)?,
        ];
        for &family in &self.socket_families {
            syscalls.push(rule_if("socket", allow, equal, family, None)?);
        }
        for &family in &self.socket_families_denied {
            syscalls.push(rule_if("socket", DENY, equal, family, None)?);
        }
        for &personality in &self.personalities {
            syscalls.push(rule_if("personality", allow, equal, personality, None)?);
        }
        if !has("CAP_SYS_ADMIN") {
            let masked = LinuxSeccompOperator::ScmpCmpMaskedEq;
            syscalls.push(rule_if("clone", allow, masked, NAMESPACE_FLAGS, Some(0))?);
            for bit in (0..32).map(|bit| 1 << bit) {
                if NAMESPACE_FLAGS & bit != 0 {
                    syscalls.push(rule_if("clone", DENY, masked, bit, Some(bit))?);
                }
            }
            // clone3 is left to the default: its flags lie in memory, where a
            // filter cannot look, and ENOSYS sends C libraries back to clone.
        }
        Ok(LinuxSeccompBuilder::default()
            .default_action(LinuxSeccompAction::ScmpActErrno)
            .default_errno_ret(libc::ENOSYS as u32)
            .architectures(native_architectures())
            .syscalls(syscalls)
            .build()?)
    }
}

fn deny(names: Vec<String>) -> LinuxSyscallBuilder {
    LinuxSyscallBuilder::default()
        .names(names)
        .action(DENY)
        .errno_ret(libc::EPERM as u32)
}

/// Allows or denies a system call by its first argument.
fn rule_if(
    name: &str,
    action: LinuxSeccompAction,
    operator: LinuxSeccompOperator,
    value: u64,
    value_two: Option<u64>,
) -> Result<LinuxSyscall, SpecError> {
    let mut argument = LinuxSeccompArgBuilder::default()
        .index(0_usize)
        .value(value)
        .op(operator);
    if let Some(value_two) = value_two {
        argument = argument.value_two(value_two);
    }
    let names = vec![name.to_owned()];
    let rule = match action {
        DENY => deny(names),
        _ => LinuxSyscallBuilder::default().names(names).action(action),
    };
    Ok(rule.args(vec![argument.build()?]).build()?)
}

/// As in Docker's profiles, which is as in Go.
fn architecture_name() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn native_architectures() -> Vec<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "aarch64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => vec![Arch::ScmpArchNative],
    }
}

/// A profile in Docker's format, which is OCI's with conditions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Given {
    default_action: LinuxSeccompAction,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<Arch>>,
    #[serde(default)]
    syscalls: Option<Vec<GivenRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GivenRule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Default, Deserialize)]
struct Condition {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
}

impl Given {
    fn resolve(&self, set: &capabilities::Set) -> Result<LinuxSeccomp, SpecError> {
        let has = |name: &String| capabilities::by_name(name).is_some_and(|one| set.contains(&one));
        let here = |name: &String| name == architecture_name();
        let mut syscalls = Vec::new();
        for rule in self.syscalls.iter().flatten() {
            // `includes` wants one of the architectures and all of the
            // capabilities; any hit in `excludes` drops the rule.
            let (includes, excludes) = (&rule.includes, &rule.excludes);
            let included = includes
                .arches
                .as_ref()
                .is_none_or(|list| list.iter().any(here))
                && includes
                    .caps
                    .as_ref()
                    .is_none_or(|list| list.iter().all(has));
            let excluded = excludes.arches.iter().flatten().any(here)
                || excludes.caps.iter().flatten().any(has);
            if !included || excluded {
                continue;
            }
            let mut names = rule.names.clone().unwrap_or_default();
            names.extend(rule.name.clone());
            let mut syscall = LinuxSyscallBuilder::default()
                .names(names)
                .action(rule.action)
                .build()?;
            syscall
                .set_errno_ret(rule.errno_ret)
                .set_args(rule.args.clone().filter(|args| !args.is_empty()));
            syscalls.push(syscall);
        }
        let mut profile = LinuxSeccompBuilder::default()
            .default_action(self.default_action)
            .architectures(
                self.architectures
                    .clone()
                    .unwrap_or_else(native_architectures),
            )
            .syscalls(syscalls)
            .build()?;
        profile.set_default_errno_ret(self.default_errno_ret);
        Ok(profile)
    }
}
