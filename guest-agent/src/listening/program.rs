//! The programs that the kernel runs, as it reads them (the instruction set is
//! that of RFC 9669).

use std::os::fd::RawFd;

use libbpf_sys as bpf;

/// `struct bpf_insn` of linux/bpf.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u8,
    /// The destination in the low half, the source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const STORE_NUMBER: u8 = 0x7a;
const LOAD_WIDE: u8 = 0x18;
const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const ADD_NUMBER: u8 = 0x07;
const JUMP: u8 = 0x05;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_UNLESS_SAME: u8 = 0x5d;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// A wide load whose number is a map's descriptor.
const MAP: u8 = 1;

/// Where a jump goes to the end; put right when that is known.
const TO_END: i16 = i16::MAX;

/// `TCP_LISTEN` of linux/tcp_states.h.
const TCP_LISTEN: i32 = 10;
const SOCK_DGRAM: i32 = 2;

/// Offsets in `struct bpf_sock_ops` and `struct bpf_sock` of linux/bpf.h.
const OPERATION: i16 = 0;
const FIRST_ARGUMENT: i16 = 4;
const SOCKET_TYPE: i16 = 8;

/// Returns a program of type `SOCK_OPS` that tells when a TCP socket of a
/// network begins to listen, and when one ends to.
pub(super) fn listening(map: RawFd, network: u64) -> Vec<Instruction> {
    let mut program = of_network(network);
    program.extend([
        step(LOAD_WORD, 2, 6, OPERATION, 0),
        // Over the four that follow.
        step(
            JUMP_IF_EQUAL,
            2,
            0,
            4,
            bpf::BPF_SOCK_OPS_TCP_LISTEN_CB as i32,
        ),
        step(
            JUMP_UNLESS_EQUAL,
            2,
            0,
            TO_END,
            bpf::BPF_SOCK_OPS_STATE_CB as i32,
        ),
        step(LOAD_WORD, 3, 6, FIRST_ARGUMENT, 0),
        step(JUMP_UNLESS_EQUAL, 3, 0, TO_END, TCP_LISTEN),
        // Over the three that follow.
        step(JUMP, 0, 0, 3, 0),
        // One that listens: be called for its changes of state too.
        step(MOVE, 1, 6, 0, 0),
        step(MOVE_NUMBER, 2, 0, 0, bpf::BPF_SOCK_OPS_STATE_CB_FLAG as i32),
        call(bpf::BPF_FUNC_sock_ops_cb_flags_set),
    ]);
    tell(program, map)
}

/// Returns a program of type `CGROUP_SOCK` that tells of every datagram socket
/// of a network.
pub(super) fn datagrams(map: RawFd, network: u64) -> Vec<Instruction> {
    let mut program = of_network(network);
    program.extend([
        step(LOAD_WORD, 2, 6, SOCKET_TYPE, 0),
        step(JUMP_UNLESS_EQUAL, 2, 0, TO_END, SOCK_DGRAM),
    ]);
    tell(program, map)
}

/// Keeps the context in register 6, and ends for sockets of other networks.
fn of_network(network: u64) -> Vec<Instruction> {
    let [low, high] = wide(2, 0, network);
    vec![
        step(MOVE, 6, 1, 0, 0),
        call(bpf::BPF_FUNC_get_netns_cookie),
        low,
        high,
        step(JUMP_UNLESS_SAME, 0, 2, TO_END, 0),
    ]
}

/// Writes eight bytes to the ring buffer, and lets the socket go on.
fn tell(mut program: Vec<Instruction>, map: RawFd) -> Vec<Instruction> {
    let [low, high] = wide(1, MAP, map as u64);
    program.extend([
        step(STORE_NUMBER, 10, 0, -8, 0),
        low,
        high,
        step(MOVE, 2, 10, 0, 0),
        step(ADD_NUMBER, 2, 0, 0, -8),
        step(MOVE_NUMBER, 3, 0, 0, 8),
        step(MOVE_NUMBER, 4, 0, 0, 0),
        call(bpf::BPF_FUNC_ringbuf_output),
    ]);
    let end = program.len();
    program.extend([step(MOVE_NUMBER, 0, 0, 0, 1), step(EXIT, 0, 0, 0, 0)]);
    for (place, instruction) in program.iter_mut().enumerate() {
        if instruction.offset == TO_END {
            // A jump counts from the instruction after it; there are few.
            instruction.offset = (end - place - 1) as i16;
        }
    }
    program
}

fn step(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: source << 4 | destination,
        offset,
        immediate,
    }
}

fn call(function: bpf::bpf_func_id) -> Instruction {
    step(CALL, 0, 0, 0, function as i32)
}

/// A 64-bit number takes two instructions.
fn wide(destination: u8, source: u8, number: u64) -> [Instruction; 2] {
    [
        step(LOAD_WIDE, destination, source, 0, number as i32),
        step(0, 0, 0, 0, (number >> 32) as i32),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_stays_inside_and_the_end_is_reached() {
        for program in [listening(3, u64::MAX), datagrams(3, 1)] {
            let jumps = [JUMP, JUMP_IF_EQUAL, JUMP_UNLESS_EQUAL, JUMP_UNLESS_SAME];
            for (place, instruction) in program.iter().enumerate() {
                if jumps.contains(&instruction.code) {
                    let target = place + 1 + instruction.offset as usize;
                    assert!(target < program.len(), "{place}: {instruction:?}");
                    // Not into the second half of a wide load.
                    assert_ne!(program[target].code, 0);
                }
            }
            assert_eq!(program.last().unwrap().code, EXIT);
        }
    }
}
