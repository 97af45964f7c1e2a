//! Events, as `events` shows them.

use wherry_docker::human;
use wherry_proto::v1::Event;

/// Returns an event in one line, as Docker writes it.
pub(crate) fn line(event: &Event) -> String {
    let mut attributes: Vec<_> = event.attributes.iter().collect();
    attributes.sort();
    let attributes: Vec<_> = attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let attributes = match attributes.join(", ") {
        list if list.is_empty() => list,
        list => format!(" ({list})"),
    };
    format!(
        "{} {} {} {}{attributes}",
        human::rfc3339(event.time.as_ref()),
        event.r#type,
        event.action,
        event.id
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 5,
            }),
            r#type: "container".to_owned(),
            action: "die".to_owned(),
            id: "abc".to_owned(),
            attributes: [("name", "web"), ("image", "nginx"), ("exitCode", "3")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }

    #[test]
    fn an_event_is_a_line_of_dockers() {
        assert_eq!(
            line(&event()),
            "2023-11-14T22:13:20.000000005Z container die abc (exitCode=3, image=nginx, name=web)"
        );
    }
}
