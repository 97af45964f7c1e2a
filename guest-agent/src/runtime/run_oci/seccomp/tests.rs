//! The programs are run by a small interpreter of classic BPF and compared
//! with the rules they were made from.

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator as Operator, LinuxSyscallBuilder,
};
use proptest::prelude::*;

use super::resolve::{Resolved, Rule, resolve};
use super::*;
use crate::runtime::spec::{ContainerDescription, container};

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        0 => number,
        4 => architecture,
        _ => {
            let argument = arguments[((offset - 16) / 8) as usize];
            (argument >> (offset % 8 * 8)) as u32
        }
    };
    let (mut at, mut register) = (0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        let jump = |holds: bool| match holds {
            true => usize::from(instruction.jump_true),
            false => usize::from(instruction.jump_false),
        };
        match instruction.code {
            0x20 => register = load(instruction.value),
            0x54 => register &= instruction.value,
            0x05 => at += instruction.value as usize,
            0x15 => at += jump(register == instruction.value),
            0x25 => at += jump(register > instruction.value),
            0x35 => at += jump(register >= instruction.value),
            0x06 => return instruction.value,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What the rules say, read plainly.
fn expected(profile: &Resolved, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let table = profile
        .architectures
        .iter()
        .find(|one| one.audit == architecture);
    let Some(table) = table else {
        return libc::SECCOMP_RET_KILL_THREAD;
    };
    let holds = |rule: &&Rule| {
        rule.comparisons.iter().all(|one| {
            let argument = arguments[one.argument as usize];
            match one.operator {
                Operator::ScmpCmpNe => argument != one.value,
                Operator::ScmpCmpLt => argument < one.value,
                Operator::ScmpCmpLe => argument <= one.value,
                Operator::ScmpCmpEq => argument == one.value,
                Operator::ScmpCmpGe => argument >= one.value,
                Operator::ScmpCmpGt => argument > one.value,
                Operator::ScmpCmpMaskedEq => argument & one.value == one.masked,
            }
        })
    };
    let rules = table.rules.get(&number);
    rules
        .and_then(|rules| rules.iter().find(holds))
        .map_or(profile.default, |rule| rule.action)
}

fn default_profile() -> LinuxSeccomp {
    let description = ContainerDescription {
        args: vec!["true".to_owned()],
        ..ContainerDescription::default()
    };
    let spec = container(&description).unwrap();
    spec.linux().as_ref().unwrap().seccomp().clone().unwrap()
}

#[test]
fn every_number_has_the_answer_of_the_default_profile_s_rules() {
    let profile = default_profile();
    let resolved = resolve(&profile).unwrap();
    let filter = compile(&profile).unwrap();
    // BPF_MAXINSNS
    assert!(filter.instructions.len() < 4096);
    for architecture in [X86_64, I386, 7] {
        for base in [0, 0x4000_0000] {
            for number in base..base + 1000 {
                for arguments in [[0; 6], [u64::MAX; 6], [40, 0, 0, 0, 0, 0]] {
                    assert_eq!(
                        run(&filter.instructions, architecture, number, arguments),
                        expected(&resolved, architecture, number, arguments),
                        "{architecture:#x} {number} {arguments:?}"
                    );
                }
            }
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn known_system_calls_are_answered_as_docker_does() {
    let filter = compile(&default_profile()).unwrap();
    let answer = |number: i64, first: u64| {
        run(
            &filter.instructions,
            X86_64,
            number as u32,
            [first, 0, 0, 0, 0, 0],
        )
    };
    let (allowed, denied) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_ERRNO | 1);
    let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    assert_eq!(answer(libc::SYS_read, 0), allowed);
    assert_eq!(answer(libc::SYS_mount, 0), denied);
    assert_eq!(answer(libc::SYS_unshare, 0), denied);
    assert_eq!(answer(libc::SYS_clone3, 0), unknown);
    assert_eq!(answer(libc::SYS_clone, libc::SIGCHLD as u64), allowed);
    assert_eq!(answer(libc::SYS_clone, libc::CLONE_NEWUSER as u64), denied);
    assert_eq!(answer(libc::SYS_socket, libc::AF_INET as u64), allowed);
    assert_eq!(answer(libc::SYS_socket, libc::AF_VSOCK as u64), denied);
    // fchmodat2, which libseccomp 2.5.4 does not know, and one that none does.
    assert_eq!(answer(452, 0), allowed);
    assert_eq!(answer(900, 0), unknown);
}

#[test]
fn a_profile_that_asks_another_process_is_refused() {
    let profile = LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActNotify)
        .build()
        .unwrap();
    assert!(compile(&profile).is_err());
}

fn operator() -> impl Strategy<Value = Operator> {
    prop_oneof![
        Just(Operator::ScmpCmpNe),
        Just(Operator::ScmpCmpLt),
        Just(Operator::ScmpCmpLe),
        Just(Operator::ScmpCmpEq),
        Just(Operator::ScmpCmpGe),
        Just(Operator::ScmpCmpGt),
        Just(Operator::ScmpCmpMaskedEq),
    ]
}

/// Numbers whose halves are often equal, or one apart.
fn number() -> impl Strategy<Value = u64> {
    (0u64..3, 0u64..3).prop_map(|(high, low)| high << 32 | low)
}

proptest! {
    #[test]
    fn programs_do_what_rules_say(
        rules in proptest::collection::vec(
            (0usize..4, proptest::collection::vec((0usize..3, operator(), number(), number()), 0..4), 1u32..40),
            0..12,
        ),
        arguments in [number(), number(), number(), number(), number(), number()],
    ) {
        let names = ["read", "write", "socket", "fchmodat2"];
        let syscalls = rules.iter().map(|(name, comparisons, errno)| {
            let args: Vec<_> = comparisons.iter().map(|(index, op, value, two)| {
                LinuxSeccompArgBuilder::default()
                    .index(*index).op(*op).value(*value).value_two(*two)
                    .build().unwrap()
            }).collect();
            LinuxSyscallBuilder::default()
                .names(vec![names[*name].to_owned()])
                .action(LinuxSeccompAction::ScmpActErrno)
                .errno_ret(*errno)
                .args(args)
                .build().unwrap()
        }).collect::<Vec<_>>();
        let profile = LinuxSeccompBuilder::default()
            .default_action(LinuxSeccompAction::ScmpActAllow)
            .architectures(vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86])
            .syscalls(syscalls)
            .build().unwrap();
        let resolved = resolve(&profile).unwrap();
        let filter = compile(&profile).unwrap();
        for architecture in [X86_64, I386] {
            for number in [0, 1, 3, 4, 41, 359, 452, 500] {
                prop_assert_eq!(
                    run(&filter.instructions, architecture, number, arguments),
                    expected(&resolved, architecture, number, arguments)
                );
            }
        }
    }
}
