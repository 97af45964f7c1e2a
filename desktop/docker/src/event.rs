//! Events.

use serde_json::{Map, Value, json};
use wherry_proto::v1::Event;

use crate::human;

/// Returns an event in one line, as Docker writes it.
pub fn line(event: &Event) -> String {
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

/// Returns an event in the shape of the JSON that Docker writes.
pub fn json(event: &Event) -> Value {
    let fields = fields(event);
    let mut value = json!({
        "Type": fields["Type"],
        "Action": fields["Action"],
        "Actor": fields["Actor"],
        "scope": fields["Scope"],
        "time": fields["Time"],
        "timeNano": fields["TimeNano"],
    });
    if let (Value::Object(map), "container" | "image") = (&mut value, event.r#type.as_str()) {
        map.insert("status".to_owned(), fields["Status"].clone());
        map.insert("id".to_owned(), fields["ID"].clone());
        if event.r#type == "container" {
            map.insert("from".to_owned(), fields["From"].clone());
        }
    }
    value
}

/// Returns the fields that a template may name.
pub fn fields(event: &Event) -> Value {
    let time = event.time.unwrap_or_default();
    let nanoseconds = time
        .seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(time.nanos.into());
    let attributes: Map<String, Value> = event
        .attributes
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    json!({
        "Type": event.r#type,
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": attributes },
        "Scope": "local",
        "Time": time.seconds,
        "TimeNano": nanoseconds,
        "Status": event.action,
        "ID": event.id,
        "From": event.attributes.get("image").cloned().unwrap_or_default(),
    })
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

    #[test]
    fn an_event_is_json_of_dockers() {
        assert_eq!(
            json(&event()),
            json!({
                "status": "die", "id": "abc", "from": "nginx", "Type": "container", "Action": "die",
                "Actor": {"ID": "abc", "Attributes": {"exitCode": "3", "image": "nginx", "name": "web"}},
                "scope": "local", "time": 1_700_000_000, "timeNano": 1_700_000_000_000_000_005_i64,
            })
        );
    }
}
