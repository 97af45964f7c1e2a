//! The keys that detach a client from a container. Clients look for them in what they
//! send; here only is checked that they can be read, as in Docker.

use super::error::{ApiError, Result};

/// Checks keys such as `ctrl-p,ctrl-q`; nothing is the default.
///
/// # Errors
///
/// 400 for what is no list of keys.
pub(super) fn check(keys: &str) -> Result<()> {
    if keys.is_empty() || keys.split(',').all(is_key) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "Invalid detach keys ({keys}) provided"
    )))
}

/// One character, or `ctrl-` and a letter or one of `@[\\]^_`.
fn is_key(key: &str) -> bool {
    let held = key.strip_prefix("ctrl-");
    let one = |text: &str| text.len() == 1;
    match held {
        Some(held) => {
            one(held) && held.contains(|c: char| c.is_ascii_lowercase() || "@[\\]^_".contains(c))
        }
        None => one(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_docker() {
        for keys in ["", "ctrl-p,ctrl-q", "ctrl-@", "q", "a,ctrl-\\"] {
            assert!(check(keys).is_ok(), "{keys}");
        }
        for keys in ["no such", "ctrl-", "ctrl-P", "ctrl-ab", ",", "alt-x"] {
            assert!(check(keys).is_err(), "{keys}");
        }
    }
}
