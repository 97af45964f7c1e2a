//! What `system check` collects while it looks at everything.

use std::fmt::Display;

use wherry_proto::v1::{CheckResponse, Finding};

/// How long something half removed or half made may lie about: someone may be
/// at it. Seconds.
pub(crate) const GRACE: u64 = 60;

/// What was looked at and what was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    repair: bool,
    /// The answer so far.
    pub(crate) response: CheckResponse,
}

impl Findings {
    /// Begins; with `repair`, debris is removed as it is found.
    pub(crate) fn new(repair: bool) -> Self {
        Self {
            repair,
            ..Self::default()
        }
    }

    /// Notes something that is lost or wrong, and that nothing here can mend.
    pub(crate) fn damage(&mut self, kind: &str, subject: impl Display, problem: impl Display) {
        self.response.findings.push(Finding {
            kind: kind.to_owned(),
            subject: subject.to_string(),
            problem: problem.to_string(),
            ..Finding::default()
        });
    }

    /// Notes something that belongs to nothing, and removes it where that is
    /// wanted. A removal that fails is told with the problem.
    pub(crate) fn debris<E: Display>(
        &mut self,
        kind: &str,
        subject: impl Display,
        problem: impl Display,
        remove: impl FnOnce() -> Result<(), E>,
    ) {
        let mut finding = Finding {
            kind: kind.to_owned(),
            subject: subject.to_string(),
            problem: problem.to_string(),
            repairable: true,
            repaired: false,
        };
        if self.repair {
            match remove() {
                Ok(()) => finding.repaired = true,
                Err(error) => {
                    finding.problem = format!("{}; removing it failed: {error}", finding.problem);
                }
            }
        }
        self.response.findings.push(finding);
    }

    /// Tells whether debris is to be removed.
    pub(crate) fn repairs(&self) -> bool {
        self.repair
    }
}
