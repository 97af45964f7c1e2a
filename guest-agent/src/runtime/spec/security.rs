//! `--security-opt`, as Docker reads it.

use super::SpecError;
use super::seccomp::Profile;

/// What the options ask for.
#[derive(Debug)]
pub(super) struct Security {
    pub(super) no_new_privileges: bool,
    pub(super) seccomp: Profile,
}

pub(super) fn parse(options: &[String]) -> Result<Security, SpecError> {
    let mut security = Security {
        no_new_privileges: false,
        seccomp: Profile::Default,
    };
    for option in options {
        // `key:value` is Docker's old spelling.
        let (key, value) = option
            .split_once(['=', ':'])
            .map_or((option.as_str(), None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("no-new-privileges", None | Some("true")) => security.no_new_privileges = true,
            ("no-new-privileges", Some("false")) => security.no_new_privileges = false,
            ("seccomp", Some("unconfined")) => security.seccomp = Profile::Unconfined,
            ("seccomp", Some("builtin" | "default")) => security.seccomp = Profile::Default,
            ("seccomp", Some(json)) => {
                security.seccomp =
                    Profile::Given(serde_json::from_str(json).map_err(SpecError::SeccompProfile)?);
            }
            // The guest's kernel has neither AppArmor nor SELinux to confine with.
            ("apparmor", Some("unconfined" | "")) | ("label", Some(_)) => {}
            _ => return Err(SpecError::SecurityOption(option.clone())),
        }
    }
    Ok(security)
}
