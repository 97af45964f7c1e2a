//! `wherry system check`

use wherry_proto::v1::{CheckRequest, CheckResponse, Finding};

use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;

/// The exit code where something is wrong and stays so.
const WRONG: u8 = 2;

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Looks for layers and blobs that are damaged or that no image has, for records and
directories of containers and volumes that do not fit together, and for mounts,
cgroups and network devices that were left. Nothing stops meanwhile.

Exit codes:
  0   nothing is wrong, or all of it has been repaired
  1   the check itself failed
  2   something is wrong")]
pub(super) struct Arguments {
    /// Remove debris: what belongs to no image, container or volume
    #[arg(long)]
    repair: bool,
}

pub(super) async fn run(arguments: &Arguments) -> Outcome {
    let repair = arguments.repair;
    let connection = Connection::to_machine().await?;
    let checked = connection.system().check(CheckRequest { repair }).await?;
    let checked = checked.into_inner();
    for finding in &checked.findings {
        output::print_line(&line(finding))?;
    }
    output::print_line(&summary(&checked))?;
    let left = checked.findings.iter().any(|finding| !finding.repaired);
    Ok(if left { WRONG } else { 0 })
}

fn line(finding: &Finding) -> String {
    let Finding {
        kind,
        subject,
        problem,
        ..
    } = finding;
    let outcome = match (finding.repaired, finding.repairable) {
        (true, _) => " (repaired)",
        (false, true) => " (--repair removes it)",
        (false, false) => "",
    };
    format!("{kind} {subject}: {problem}{outcome}")
}

fn summary(checked: &CheckResponse) -> String {
    let count = |number: u32, what: &str| match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let looked_at = [
        count(checked.images, "image"),
        count(checked.layers, "layer"),
        count(checked.containers, "container"),
        count(checked.volumes, "volume"),
        count(checked.networks, "network"),
    ]
    .join(", ");
    let (found, repaired) = (
        checked.findings.len(),
        checked
            .findings
            .iter()
            .filter(|finding| finding.repaired)
            .count(),
    );
    match (found, repaired) {
        (0, _) => format!("Checked {looked_at}: nothing is wrong"),
        (found, 0) => format!("Checked {looked_at}: {}", count(found as u32, "problem")),
        (found, repaired) => format!(
            "Checked {looked_at}: {}, {repaired} repaired",
            count(found as u32, "problem")
        ),
    }
}
