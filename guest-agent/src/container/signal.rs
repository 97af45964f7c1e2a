//! Signals by name and by number.

use super::error::Error;

const NAMES: &[(&str, i32)] = &[
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGIO),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", libc::SIGSTKFLT),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

/// The real-time signals as the kernel and a container's program count them.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// Reads `SIGTERM`, `term`, `15`, `RTMIN+3` or `SIGRTMAX-1`.
///
/// # Errors
///
/// [`Error::Invalid`] for anything else.
pub(crate) fn parse(text: &str) -> Result<i32, Error> {
    let invalid = || Error::Invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64)
            .contains(&number)
            .then_some(number)
            .ok_or_else(invalid);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| -> Option<i32> {
        if rest.is_empty() {
            return Some(0);
        }
        rest.strip_prefix(sign)?.parse().ok()
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest, '+').and_then(|offset| REAL_TIME.start().checked_add(offset))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest, '-').and_then(|offset| REAL_TIME.end().checked_sub(offset))
    } else {
        return NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| *number)
            .ok_or_else(invalid);
    };
    number
        .filter(|number| REAL_TIME.contains(number))
        .ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signals_are_read_in_every_spelling() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("Kill", 9),
            ("9", 9),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "",
            "0",
            "65",
            "-1",
            "FOO",
            "RTMIN+99",
            "RTMIN-1",
            "SIG",
            "RTMAX+1",
            "RTMIN+2147483647",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_signal_of_the_kernel_or_an_error(text in "\\PC{0,16}") {
            if let Ok(number) = parse(&text) {
                prop_assert!((1..=64).contains(&number));
            }
        }
    }
}
