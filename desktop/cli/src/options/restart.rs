//! Restart policies.

/// A restart policy as Docker spells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RestartPolicy {
    /// "no", "always", "unless-stopped" or "on-failure".
    pub(crate) name: String,
    /// Of "on-failure"; 0 is any number.
    pub(crate) retries: u32,
}

/// Parses the value of `--restart`.
pub(crate) fn parse_restart(text: &str) -> Result<RestartPolicy, String> {
    let known = "no, always, unless-stopped, on-failure or on-failure:NUMBER";
    let (name, retries) = match text.split_once(':') {
        None => (text, 0),
        Some(("on-failure", number)) => {
            let retries = number
                .parse()
                .map_err(|_| "maximum retry count must be a number, 0 or more".to_owned())?;
            ("on-failure", retries)
        }
        Some(("", _)) => return Err(format!("no policy before the colon: write {known}")),
        Some(_) => {
            return Err("maximum retry count can only be used with \"on-failure\"".to_owned());
        }
    };
    match name {
        "no" | "always" | "unless-stopped" | "on-failure" => Ok(RestartPolicy {
            name: name.to_owned(),
            retries,
        }),
        _ => Err(format!("unknown policy {name:?}: write {known}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_one_of_dockers_four() {
        let policy = |text: &str| parse_restart(text).map(|policy| (policy.name, policy.retries));
        for (text, name, retries) in [
            ("no", "no", 0),
            ("always", "always", 0),
            ("unless-stopped", "unless-stopped", 0),
            ("on-failure", "on-failure", 0),
            ("on-failure:5", "on-failure", 5),
        ] {
            assert_eq!(policy(text), Ok((name.to_owned(), retries)));
        }
        for (text, said) in [
            ("", "unknown policy"),
            ("sometimes", "unknown policy"),
            (":3", "no policy before"),
            ("always:3", "only be used with"),
            ("on-failure:", "must be a number"),
            ("on-failure:-1", "must be a number"),
            ("on-failure:x", "must be a number"),
        ] {
            let error = policy(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
