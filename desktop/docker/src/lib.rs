//! The shapes that Docker gives containers, images, networks, volumes and events, made
//! of the engine's own messages. The command and the Engine API both show them, and
//! so agree.

pub mod container;
pub mod event;
pub mod human;
pub mod image;
pub mod network;
pub mod pattern;
pub mod reference;
pub mod volume;

use serde_json::Value;

/// Returns `null` for an empty list or map, as Go writes one that was never made.
pub fn or_null(value: impl Into<Value>) -> Value {
    match value.into() {
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Object(map) if map.is_empty() => Value::Null,
        other => other,
    }
}

/// Takes out the figures of these names that are 0, as Go's `omitempty` does.
pub fn omit_zero(value: &mut Value, names: &[&str]) {
    if let Value::Object(fields) = value {
        fields.retain(|name, field| !(names.contains(&name.as_str()) && *field == 0));
    }
}

/// Takes out the fields of these names that are empty, as Go's `omitempty` does.
pub(crate) fn omit_empty(value: &mut Value, names: &[&str]) {
    let Value::Object(fields) = value else {
        return;
    };
    for name in names {
        let empty = match fields.get(*name) {
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Bool(set)) => !set,
            Some(Value::Null) => true,
            _ => false,
        };
        if empty {
            fields.remove(*name);
        }
    }
}
