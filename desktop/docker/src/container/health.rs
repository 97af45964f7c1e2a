//! A container's health, as `ps` and `inspect` show it.

use serde_json::{Value, json};
use wherry_proto::v1::{Container, Health, HealthCheck};

use crate::human;

/// Returns what `ps` adds to the state: ` (healthy)`, or nothing.
pub(super) fn suffix(container: &Container) -> String {
    match container.health.as_ref().map(|health| &*health.status) {
        None => String::new(),
        Some("starting") => " (health: starting)".to_owned(),
        Some(status) => format!(" ({status})"),
    }
}

/// Returns Docker's word for a container's health: `none` where it is not checked.
pub fn word(container: &Container) -> &str {
    container
        .health
        .as_ref()
        .map_or("none", |health| health.status.as_str())
}

/// Returns `State.Health` of an inspect.
pub(super) fn state(health: &Health) -> Value {
    let log: Vec<Value> = health
        .log
        .iter()
        .map(|result| {
            json!({
                "Start": human::rfc3339(result.start.as_ref()),
                "End": human::rfc3339(result.end.as_ref()),
                "ExitCode": result.exit_code,
                "Output": result.output,
            })
        })
        .collect();
    json!({ "Status": health.status, "FailingStreak": health.failing_streak, "Log": log })
}

/// Returns `Config.Healthcheck` of an inspect: the container's own over the image's.
pub(super) fn check(own: Option<&HealthCheck>, image: Option<&HealthCheck>) -> Option<Value> {
    let none = HealthCheck::default();
    if own.is_none() && image.is_none() {
        return None;
    }
    let (own, image) = (own.unwrap_or(&none), image.unwrap_or(&none));
    let or = |own: u64, image: u64| if own == 0 { image } else { own };
    let test = if own.test.is_empty() {
        &image.test
    } else {
        &own.test
    };
    Some(json!({
        "Test": test,
        "Interval": or(own.interval_ns, image.interval_ns),
        "Timeout": or(own.timeout_ns, image.timeout_ns),
        "StartPeriod": or(own.start_period_ns, image.start_period_ns),
        "StartInterval": or(own.start_interval_ns, image.start_interval_ns),
        "Retries": or(own.retries.into(), image.retries.into()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_said_in_dockers_words() {
        let mut container = Container::default();
        assert_eq!(
            (suffix(&container).as_str(), word(&container)),
            ("", "none")
        );
        for (status, said) in [
            ("starting", " (health: starting)"),
            ("healthy", " (healthy)"),
            ("unhealthy", " (unhealthy)"),
        ] {
            container.health = Some(Health {
                status: status.to_owned(),
                ..Health::default()
            });
            assert_eq!(
                (suffix(&container).as_str(), word(&container)),
                (said, status)
            );
        }
    }

    #[test]
    fn a_check_is_the_containers_over_the_images() {
        let image = HealthCheck {
            test: vec!["CMD".to_owned(), "x".to_owned()],
            retries: 4,
            ..HealthCheck::default()
        };
        let own = HealthCheck {
            retries: 2,
            ..HealthCheck::default()
        };
        assert_eq!(check(None, None), None);
        let merged = check(Some(&own), Some(&image)).unwrap();
        assert_eq!(
            (&merged["Test"][1], &merged["Retries"]),
            (&json!("x"), &json!(2))
        );
    }
}
