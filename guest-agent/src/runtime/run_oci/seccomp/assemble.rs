//! From rules to a classic BPF program (Documentation/networking/filter.rst,
//! Documentation/userspace-api/seccomp_filter.rst).
//!
//! For each architecture, a binary search over ranges of numbers that have the
//! same answer, so that no system call costs more than ten comparisons.

use libcontainer::oci_spec::runtime::LinuxSeccompOperator as Operator;

use super::Instruction;
use super::resolve::{Comparison, Resolved, Rule, Table};

// Instruction classes, modes and tests of linux/bpf_common.h.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The numbers from `first` to the next one's share an answer.
struct Range<'a> {
    first: u32,
    rules: &'a [Rule],
}

pub(super) fn program(profile: &Resolved) -> Vec<Instruction> {
    let mut program = vec![statement(LOAD, ARCHITECTURE)];
    for table in &profile.architectures {
        let mut body = vec![statement(LOAD, NUMBER)];
        body.extend(search(&ranges(table), profile.default));
        program.push(test(EQUAL, table.audit, 1, 0));
        program.push(statement(JUMP, body.len() as u32));
        program.extend(body);
    }
    // Programs of other architectures than the profile's do not run.
    program.push(statement(RETURN, libc::SECCOMP_RET_KILL_THREAD));
    program
}

fn ranges(table: &Table) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = vec![Range {
        first: 0,
        rules: &[],
    }];
    let mut next = 0;
    for (&number, rules) in &table.rules {
        if number != next {
            push(&mut ranges, next, &[]);
        }
        push(&mut ranges, number, rules);
        next = number + 1;
    }
    push(&mut ranges, next, &[]);
    ranges
}

fn push<'a>(ranges: &mut Vec<Range<'a>>, first: u32, rules: &'a [Rule]) {
    match ranges.last_mut() {
        Some(last) if last.rules == rules => {}
        Some(last) if last.first == first => last.rules = rules,
        _ => ranges.push(Range { first, rules }),
    }
}

fn search(ranges: &[Range<'_>], default: u32) -> Vec<Instruction> {
    if let [only] = ranges {
        return answer(only.rules, default);
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let first = above.first().map_or(0, |range| range.first);
    let below = search(below, default);
    // A conditional jump reaches 255 instructions, an unconditional one all.
    let mut code = vec![
        test(AT_LEAST, first, 0, 1),
        statement(JUMP, below.len() as u32),
    ];
    code.extend(below);
    code.extend(search(above, default));
    code
}

fn answer(rules: &[Rule], default: u32) -> Vec<Instruction> {
    let mut code = Vec::new();
    for rule in rules {
        let mut tests: Vec<Instruction> = Vec::new();
        for &comparison in &rule.comparisons {
            compare(&mut tests, comparison);
        }
        resolve_jumps(&mut tests);
        code.extend(tests);
        code.push(statement(RETURN, rule.action));
    }
    if !rules.iter().any(|rule| rule.comparisons.is_empty()) {
        code.push(statement(RETURN, default));
    }
    code
}

/// Where a test goes when a comparison is decided: to be replaced by the
/// distance to behind the rule, or to behind the comparison.
const FAILS: u8 = 255;
const HOLDS: u8 = 254;

/// Appends the test of one argument, both its halves.
fn compare(code: &mut Vec<Instruction>, comparison: Comparison) {
    let Comparison {
        argument,
        operator,
        value,
        masked,
    } = comparison;
    let place = ARGUMENTS + 8 * argument;
    let (low_place, high_place) = if cfg!(target_endian = "little") {
        (place, place + 4)
    } else {
        (place + 4, place)
    };
    let (low, high) = (value as u32, (value >> 32) as u32);
    let mut tests = vec![statement(LOAD, high_place)];
    match operator {
        Operator::ScmpCmpEq => {
            tests.push(test(EQUAL, high, 0, FAILS));
            tests.push(statement(LOAD, low_place));
            tests.push(test(EQUAL, low, 0, FAILS));
        }
        Operator::ScmpCmpNe => {
            tests.push(test(EQUAL, high, 0, HOLDS));
            tests.push(statement(LOAD, low_place));
            tests.push(test(EQUAL, low, FAILS, 0));
        }
        Operator::ScmpCmpGt | Operator::ScmpCmpGe => {
            tests.push(test(GREATER, high, HOLDS, 0));
            tests.push(test(EQUAL, high, 0, FAILS));
            tests.push(statement(LOAD, low_place));
            let last = match operator {
                Operator::ScmpCmpGt => GREATER,
                _ => AT_LEAST,
            };
            tests.push(test(last, low, 0, FAILS));
        }
        Operator::ScmpCmpLt | Operator::ScmpCmpLe => {
            tests.push(test(GREATER, high, FAILS, 0));
            tests.push(test(EQUAL, high, 0, HOLDS));
            tests.push(statement(LOAD, low_place));
            let last = match operator {
                Operator::ScmpCmpLt => AT_LEAST,
                _ => GREATER,
            };
            tests.push(test(last, low, FAILS, 0));
        }
        Operator::ScmpCmpMaskedEq => {
            tests.push(statement(AND, high));
            tests.push(test(EQUAL, (masked >> 32) as u32, 0, FAILS));
            tests.push(statement(LOAD, low_place));
            tests.push(statement(AND, low));
            tests.push(test(EQUAL, masked as u32, 0, FAILS));
        }
    }
    let length = tests.len();
    for (at, instruction) in tests.iter_mut().enumerate() {
        if is_test(*instruction) {
            let behind = (length - at - 1) as u8;
            for target in [&mut instruction.jump_true, &mut instruction.jump_false] {
                if *target == HOLDS {
                    *target = behind;
                }
            }
        }
    }
    code.extend(tests);
}

/// Sends failures behind the rule's RETURN. At most six comparisons of six
/// instructions each, so that the distance fits.
fn resolve_jumps(code: &mut [Instruction]) {
    let length = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        if is_test(*instruction) {
            for target in [&mut instruction.jump_true, &mut instruction.jump_false] {
                if *target == FAILS {
                    *target = (length - at) as u8;
                }
            }
        }
    }
}

fn is_test(instruction: Instruction) -> bool {
    matches!(instruction.code, EQUAL | GREATER | AT_LEAST)
}

fn statement(code: u16, value: u32) -> Instruction {
    test(code, value, 0, 0)
}

fn test(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        value,
    }
}
