//! The keys that leave a container running and give the terminal back.

use std::str::FromStr;

/// A sequence of keys, `ctrl-p,ctrl-q` unless chosen otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| {
            "write keys with commas between: a letter, or ctrl- and one of a to z, @, [, \\, ], ^ and _".to_owned()
        })
    }
}

fn key(text: &str) -> Option<u8> {
    let control = text.strip_prefix("ctrl-");
    let &[byte] = control.unwrap_or(text).as_bytes() else {
        return None;
    };
    match (control, byte) {
        (None, b' '..=b'~') => Some(byte),
        // ASCII's control characters are 64 below @, A to Z, [, \, ], ^ and _.
        (Some(_), b'a'..=b'z') => Some(byte.to_ascii_uppercase() - 64),
        (Some(_), b'@' | b'['..=b'_') => Some(byte - 64),
        _ => None,
    }
}

/// Looks for the detach keys in what is typed.
#[derive(Debug)]
pub(crate) struct Detector {
    keys: Vec<u8>,
    /// How many of them the last bytes were; these are held back.
    matched: usize,
}

impl Detector {
    pub(crate) fn new(keys: &DetachKeys) -> Self {
        Self {
            keys: keys.0.clone(),
            matched: 0,
        }
    }

    /// Appends to `passed` what is to be sent of `typed`. Returns whether the
    /// keys were complete; what came after them is dropped.
    pub(crate) fn filter(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        for &byte in typed {
            // Keys like a,a,b need the longest beginning that still fits.
            while self.matched > 0 && self.keys[self.matched] != byte {
                let shorter = self.longest_border();
                passed.extend_from_slice(&self.keys[..self.matched - shorter]);
                self.matched = shorter;
            }
            if self.keys[self.matched] == byte {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
            } else {
                passed.push(byte);
            }
        }
        false
    }

    /// Returns what is held back when the input ends.
    pub(crate) fn rest(&mut self) -> &[u8] {
        let held = std::mem::take(&mut self.matched);
        &self.keys[..held]
    }

    /// Returns the length of the longest proper end of what matched that the
    /// keys also begin with.
    fn longest_border(&self) -> usize {
        let matched = &self.keys[..self.matched];
        (0..matched.len())
            .rev()
            .find(|&length| matched.ends_with(&self.keys[..length]))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(text: &str) -> DetachKeys {
        text.parse().unwrap()
    }

    #[test]
    fn ctrl_p_ctrl_q_detaches_and_neither_is_sent() {
        let mut detector = Detector::new(&DetachKeys::default());
        let mut passed = Vec::new();
        assert!(!detector.filter(b"ls\r\x10", &mut passed));
        assert!(detector.filter(b"\x11rest", &mut passed));
        assert_eq!(passed, b"ls\r");
    }

    #[test]
    fn ctrl_p_alone_is_sent_with_the_next_key() {
        let mut detector = Detector::new(&DetachKeys::default());
        let mut passed = Vec::new();
        assert!(!detector.filter(b"\x10", &mut passed));
        assert!(passed.is_empty());
        assert!(!detector.filter(b"a", &mut passed));
        assert_eq!(passed, b"\x10a");
    }

    #[test]
    fn keys_are_written_as_dockers() {
        assert_eq!(keys("ctrl-p,ctrl-q"), DetachKeys::default());
        assert_eq!(keys("a,ctrl-@,ctrl-["), DetachKeys(vec![b'a', 0, 27]));
        for wrong in ["", "ctrl-", "ctrl-1", "ab", "a,,b", "Ctrl-p", "ctrl-ä"] {
            assert!(wrong.parse::<DetachKeys>().is_err(), "{wrong}");
        }
    }

    proptest! {
        /// Against the plain definition: the first place where the keys stand.
        #[test]
        fn everything_before_the_keys_is_sent_however_it_arrives(
            typed in proptest::collection::vec(b'a'..=b'c', 0..40),
            keys in proptest::collection::vec(b'a'..=b'c', 1..4),
            chunk in 1usize..7,
        ) {
            let place = typed.windows(keys.len()).position(|window| window == keys);
            let mut detector = Detector::new(&DetachKeys(keys));
            let mut passed = Vec::new();
            let detached = typed.chunks(chunk).any(|chunk| detector.filter(chunk, &mut passed));
            prop_assert_eq!(detached, place.is_some());
            if !detached {
                passed.extend_from_slice(detector.rest());
            }
            prop_assert_eq!(&passed[..], &typed[..place.unwrap_or(typed.len())]);
        }
    }
}
