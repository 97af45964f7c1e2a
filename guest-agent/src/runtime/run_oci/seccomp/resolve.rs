//! From names to numbers: a profile's rules for each architecture.

use std::collections::BTreeMap;

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator,
};
use libseccomp::{ScmpArch, ScmpSyscall};

/// What in a profile cannot be.
#[derive(Debug, thiserror::Error)]
pub(in crate::runtime::run_oci) enum ProfileError {
    /// It wants another process to decide.
    #[error("a seccomp profile with SCMP_ACT_NOTIFY is not supported")]
    Notify,
    /// A condition on an argument that no system call has.
    #[error("a seccomp profile compares argument {0}, system calls have 0 to 5")]
    Argument(usize),
}

/// A profile by number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) default: u32,
    pub(super) architectures: Vec<Table>,
}

/// The rules of one architecture, as the kernel tells them apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// `AUDIT_ARCH_*`.
    pub(super) audit: u32,
    pub(super) rules: BTreeMap<u32, Vec<Rule>>,
}

/// What happens when every comparison holds; one without any is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) comparisons: Vec<Comparison>,
    pub(super) action: u32,
}

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) argument: u32,
    pub(super) operator: LinuxSeccompOperator,
    pub(super) value: u64,
    /// For a masked comparison, which has its mask in `value`.
    pub(super) masked: u64,
}

/// System calls newer than Debian 12's libseccomp (2.5.4), which all
/// architectures number alike from 424 on (the kernel's scripts/syscall.tbl).
const NEW: [(&str, u32); 20] = [
    ("set_mempolicy_home_node", 450),
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

/// Of an x32 system call's number (`__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;

pub(super) fn resolve(profile: &LinuxSeccomp) -> Result<Resolved, ProfileError> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut architectures: Vec<Table> = Vec::new();
    let native = [Arch::ScmpArchNative];
    let wanted = profile.architectures().as_deref().unwrap_or(&native);
    // The native one belongs to every profile, as in libseccomp.
    for architecture in native.iter().chain(wanted) {
        let Some((audit, library)) = known(*architecture) else {
            continue;
        };
        let at = architectures
            .iter()
            .position(|table| table.audit == audit)
            .unwrap_or_else(|| {
                architectures.push(Table {
                    audit,
                    rules: BTreeMap::new(),
                });
                architectures.len() - 1
            });
        for syscall in profile.syscalls().iter().flatten() {
            let action = action(syscall.action(), syscall.errno_ret())?;
            let rules = rules(syscall.args().as_deref().unwrap_or_default(), action)?;
            for name in syscall.names() {
                if let Some(number) = number(name, library) {
                    add(architectures[at].rules.entry(number).or_default(), &rules);
                }
            }
        }
    }
    Ok(Resolved {
        default,
        architectures,
    })
}

/// An unconditional rule stands over all others, then what came first.
fn add(present: &mut Vec<Rule>, rules: &[Rule]) {
    for rule in rules {
        if present.contains(rule) {
            continue;
        }
        let is_final = present.iter().any(|one| one.comparisons.is_empty());
        if rule.comparisons.is_empty() && !is_final {
            *present = vec![rule.clone()];
        } else if !is_final {
            present.push(rule.clone());
        }
    }
}

/// Comparisons of different arguments must all hold; of the same argument, any
/// (as runc reads profiles, seccomp_linux.go).
fn rules(arguments: &[LinuxSeccompArg], action: u32) -> Result<Vec<Rule>, ProfileError> {
    let mut comparisons = Vec::new();
    for argument in arguments {
        if argument.index() > 5 {
            return Err(ProfileError::Argument(argument.index()));
        }
        comparisons.push(Comparison {
            argument: argument.index() as u32,
            operator: argument.op(),
            value: argument.value(),
            masked: argument.value_two().unwrap_or(0),
        });
    }
    let repeated = comparisons.iter().enumerate().any(|(at, one)| {
        comparisons[..at]
            .iter()
            .any(|two| two.argument == one.argument)
    });
    if !repeated {
        return Ok(vec![Rule {
            comparisons,
            action,
        }]);
    }
    Ok(comparisons
        .into_iter()
        .map(|comparison| Rule {
            comparisons: vec![comparison],
            action,
        })
        .collect())
}

/// Returns the architectures whose programs this machine can run.
fn known(architecture: Arch) -> Option<(u32, ScmpArch)> {
    const I386: u32 = 0x4000_0003;
    const X86_64: u32 = 0xc000_003e;
    const ARM: u32 = 0x4000_0028;
    const AARCH64: u32 = 0xc000_00b7;
    Some(match architecture {
        Arch::ScmpArchNative if cfg!(target_arch = "x86_64") => (X86_64, ScmpArch::X8664),
        Arch::ScmpArchNative if cfg!(target_arch = "aarch64") => (AARCH64, ScmpArch::Aarch64),
        Arch::ScmpArchX86_64 => (X86_64, ScmpArch::X8664),
        Arch::ScmpArchX86 => (I386, ScmpArch::X86),
        // The kernel tells x32 from x86_64 by the number alone.
        Arch::ScmpArchX32 => (X86_64, ScmpArch::X32),
        Arch::ScmpArchAarch64 => (AARCH64, ScmpArch::Aarch64),
        Arch::ScmpArchArm => (ARM, ScmpArch::Arm),
        _ => return None,
    })
}

fn number(name: &str, architecture: ScmpArch) -> Option<u32> {
    let new = NEW.iter().find(|(new, _)| *new == name);
    if let Some((_, number)) = new {
        let x32 = matches!(architecture, ScmpArch::X32);
        return Some(if x32 { number | X32 } else { *number });
    }
    let call = ScmpSyscall::from_name_by_arch(name, architecture).ok()?;
    // libseccomp's own numbers for what an architecture does not have are negative.
    u32::try_from(call.as_raw_syscall()).ok()
}

/// `SECCOMP_RET_*` (include/uapi/linux/seccomp.h).
fn action(action: LinuxSeccompAction, value: Option<u32>) -> Result<u32, ProfileError> {
    let value = value.unwrap_or(libc::EPERM as u32) & libc::SECCOMP_RET_DATA;
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            libc::SECCOMP_RET_KILL_THREAD
        }
        LinuxSeccompAction::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        LinuxSeccompAction::ScmpActErrno => libc::SECCOMP_RET_ERRNO | value,
        LinuxSeccompAction::ScmpActTrace => libc::SECCOMP_RET_TRACE | value,
        LinuxSeccompAction::ScmpActLog => libc::SECCOMP_RET_LOG,
        LinuxSeccompAction::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
        LinuxSeccompAction::ScmpActNotify => return Err(ProfileError::Notify),
    })
}
