//! Restart policies: whether a container that ended starts again, and when.

use std::time::Duration;

use wherry_proto::v1::ContainerSpec;

use super::error::Error;
use super::record::State;

/// The pause before the first restart; it doubles with each one that follows.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause before a restart.
const LONGEST: Duration = Duration::from_secs(60);

/// A container that ran this long starts again after the first pause.
const SETTLED: Duration = Duration::from_secs(10);

/// A container's restart policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// It stays as it ended.
    No,
    /// It starts again however it ended.
    Always,
    /// As [`Policy::Always`], but what someone stopped stays so when the machine
    /// starts.
    UnlessStopped,
    /// It starts again after a failure.
    OnFailure {
        /// How often at most; 0 is any number.
        retries: u32,
    },
}

impl Policy {
    /// Reads a policy as it goes over the wire.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] in Docker's words.
    pub(super) fn parse(name: &str, retries: u32) -> Result<Self, Error> {
        let policy = match name {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => return Ok(Self::OnFailure { retries }),
            other => {
                return Err(Error::Invalid(format!(
                    "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
                )));
            }
        };
        if retries != 0 {
            return Err(Error::Invalid(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'"
                    .to_owned(),
            ));
        }
        Ok(policy)
    }

    /// Reads the policy of a container; a record's was checked when it was made.
    pub(super) fn of(spec: &ContainerSpec) -> Self {
        Self::parse(&spec.restart_policy, spec.restart_retries).unwrap_or(Self::No)
    }

    /// Tells whether a container that ended starts again while the machine runs.
    pub(super) fn applies(self, state: &State) -> bool {
        !state.stopped && (matches!(self, Self::Always) || self.applies_at_boot(state))
    }

    /// Tells whether a container starts when the machine does.
    pub(super) fn applies_at_boot(self, state: &State) -> bool {
        match self {
            Self::No => false,
            Self::Always => true,
            Self::UnlessStopped => !state.stopped,
            Self::OnFailure { retries } => {
                !state.stopped
                    && state.exit_code != 0
                    && (retries == 0 || state.restart_count < retries)
            }
        }
    }
}

/// Returns the pause before the next restart, after `previous` (zero: there was
/// none) and a run of that length.
pub(super) fn pause(previous: Duration, ran: Duration) -> Duration {
    if previous.is_zero() || ran >= SETTLED {
        return FIRST;
    }
    (previous * 2).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(exit_code: i32, restart_count: u32, stopped: bool) -> State {
        State {
            exit_code,
            restart_count,
            stopped,
            ..State::default()
        }
    }

    #[test]
    fn a_policy_is_read_in_dockers_words() {
        assert_eq!(Policy::parse("", 0).unwrap(), Policy::No);
        assert_eq!(
            Policy::parse("on-failure", 3).unwrap(),
            Policy::OnFailure { retries: 3 }
        );
        let error = Policy::parse("sometimes", 0).unwrap_err().to_string();
        assert!(error.contains("unknown policy 'sometimes'"), "{error}");
        let error = Policy::parse("always", 3).unwrap_err().to_string();
        assert!(error.contains("only be used with 'on-failure'"), "{error}");
    }

    #[test]
    fn each_policy_applies_where_dockers_does() {
        let limited = Policy::OnFailure { retries: 2 };
        let unlimited = Policy::OnFailure { retries: 0 };
        for (policy, state, applies, at_boot) in [
            (Policy::No, state(1, 0, false), false, false),
            (Policy::Always, state(0, 9, false), true, true),
            (Policy::Always, state(0, 9, true), false, true),
            (Policy::UnlessStopped, state(0, 9, false), true, true),
            (Policy::UnlessStopped, state(0, 9, true), false, false),
            (limited, state(0, 0, false), false, false),
            (limited, state(1, 1, false), true, true),
            (limited, state(1, 2, false), false, false),
            (unlimited, state(1, 99, false), true, true),
            (unlimited, state(137, 0, true), false, false),
        ] {
            assert_eq!(policy.applies(&state), applies, "{policy:?} {state:?}");
            assert_eq!(
                policy.applies_at_boot(&state),
                at_boot,
                "{policy:?} {state:?}"
            );
        }
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let short = Duration::from_millis(5);
        let mut pauses = vec![pause(Duration::ZERO, short)];
        for _ in 0..11 {
            pauses.push(pause(pauses[pauses.len() - 1], short));
        }
        assert_eq!(pauses[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(
            pauses[9..],
            [51_200, 60_000, 60_000].map(Duration::from_millis)
        );
        assert_eq!(pause(LONGEST, SETTLED), FIRST);
    }
}
