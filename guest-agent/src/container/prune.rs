//! Removing all containers that do not run.

use std::collections::HashMap;
use std::sync::Arc;

use wherry_proto::v1::PruneContainersRequest;

use super::error::Error;
use super::record::Record;
use super::{Containers, blocking, chain};

impl Containers {
    /// Removes the containers that do not run, without their volumes. Returns
    /// their ids and the bytes that they took.
    ///
    /// # Errors
    ///
    /// None for a container that cannot be removed: it is logged and passed over.
    pub(crate) async fn prune(
        self: &Arc<Self>,
        request: &PruneContainersRequest,
    ) -> Result<(Vec<String>, u64), Error> {
        let (mut ids, mut reclaimed) = (Vec::new(), 0);
        for container in self.all() {
            if !is_wanted(&container.record(), request) {
                continue;
            }
            let sized = container.clone();
            let size = blocking(move || Ok(sized.written())).await?;
            match self.remove(&container.id, false, false).await {
                Ok(()) => {
                    ids.push(container.id.clone());
                    reclaimed += size;
                }
                Err(error) => {
                    tracing::warn!(container = container.id, "not pruned: {}", chain(&error));
                }
            }
        }
        Ok((ids, reclaimed))
    }
}

fn is_wanted(record: &Record, request: &PruneContainersRequest) -> bool {
    let mut labels = record.image_config.labels.clone();
    labels.extend(record.spec.labels.clone());
    let has = |wanted: &String| has_label(&labels, wanted);
    !record.state.is_live()
        && (request.until_ns == 0 || record.created < request.until_ns)
        && request.labels.iter().all(has)
        && !request.not_labels.iter().any(has)
}

fn has_label(labels: &HashMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|has| has == value),
        None => labels.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Status;
    use super::*;
    use wherry_proto::v1::ContainerSpec;

    #[test]
    fn filters_choose_by_age_and_label() {
        let spec = ContainerSpec {
            labels: [("tier".to_owned(), "web".to_owned())].into(),
            ..Default::default()
        };
        let mut record = Record::new("ab".repeat(32), "one".to_owned(), spec);
        record.created = 1000;
        let request = |until_ns, labels: &[&str], not_labels: &[&str]| PruneContainersRequest {
            until_ns,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            not_labels: not_labels.iter().map(|label| (*label).to_owned()).collect(),
        };
        for (request, wanted) in [
            (request(0, &[], &[]), true),
            (request(1000, &[], &[]), false),
            (request(1001, &["tier"], &[]), true),
            (request(0, &["tier=web"], &[]), true),
            (request(0, &["tier=db"], &[]), false),
            (request(0, &[], &["tier"]), false),
            (request(0, &[], &["tier=db"]), true),
        ] {
            assert_eq!(is_wanted(&record, &request), wanted, "{request:?}");
        }
        record.state.status = Status::Running;
        assert!(!is_wanted(&record, &request(0, &[], &[])));
    }
}
