//! Which events someone wants to see, by Docker's filters.

use wherry_proto::v1::{Event, EventFilter};

/// The filters there are.
const KEYS: [&str; 7] = [
    "container",
    "event",
    "image",
    "label",
    "network",
    "type",
    "volume",
];

/// A filter that is none.
#[derive(Debug, thiserror::Error)]
#[error("invalid filter '{0}': the filters are {known}", known = KEYS.join(", "))]
pub(crate) struct FilterError(String);

/// What is wanted of events: of each key one of its values, of labels all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter(Vec<EventFilter>);

impl Filter {
    /// Takes filters as they go over the wire.
    ///
    /// # Errors
    ///
    /// [`FilterError`] for a key that is none.
    pub(crate) fn new(filters: Vec<EventFilter>) -> Result<Self, FilterError> {
        match filters
            .iter()
            .find(|filter| !KEYS.contains(&filter.key.as_str()))
        {
            Some(unknown) => Err(FilterError(unknown.key.clone())),
            None => Ok(Self(filters)),
        }
    }

    /// Tells whether an event is wanted.
    pub(crate) fn matches(&self, event: &Event) -> bool {
        self.0.iter().all(|filter| {
            let wanted = |value: &String| matches(&filter.key, value, event);
            match filter.key.as_str() {
                "label" => filter.values.iter().all(wanted),
                _ => filter.values.iter().any(wanted),
            }
        })
    }
}

fn matches(key: &str, value: &str, event: &Event) -> bool {
    let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
    let of_kind = |kind: &str, name: &str| {
        event.r#type == kind && (event.id.starts_with(value) || name.starts_with(value))
    };
    match key {
        "type" => event.r#type == value,
        // "exec_start" is every "exec_start: COMMAND".
        "event" => {
            let rest = event.action.strip_prefix(value);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        }
        "container" => {
            of_kind("container", attribute("name"))
                || (matches!(event.r#type.as_str(), "volume" | "network")
                    && attribute("container").starts_with(value))
        }
        "volume" => of_kind("volume", &event.id),
        "network" => of_kind("network", attribute("name")),
        "image" => {
            of_kind("image", attribute("name"))
                || (event.r#type == "container" && is_image(attribute("image"), value))
        }
        "label" => match value.split_once('=') {
            Some((name, value)) => event.attributes.get(name).is_some_and(|has| has == value),
            None => event.attributes.contains_key(value),
        },
        _ => false,
    }
}

/// Tells whether an image's name is the wanted one, with or without its tag.
fn is_image(name: &str, wanted: &str) -> bool {
    let rest = name.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(pairs: &[(&str, &[&str])]) -> Filter {
        let filters = pairs.iter().map(|(key, values)| EventFilter {
            key: (*key).to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        });
        Filter::new(filters.collect()).unwrap()
    }

    #[test]
    fn filters_choose_as_dockers() {
        let attributes = [("name", "web"), ("image", "nginx:1.27"), ("tier", "front")];
        let event = Event {
            r#type: "container".to_owned(),
            action: "exec_start: sh -c x".to_owned(),
            id: "abc123".to_owned(),
            attributes: attributes
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Event::default()
        };
        for (pairs, wanted) in [
            (&[][..], true),
            (&[("type", &["container"][..])], true),
            (&[("type", &["image", "container"])], true),
            (&[("type", &["image"])], false),
            (&[("event", &["exec_start"])], true),
            (&[("event", &["exec"])], false),
            (&[("container", &["web"])], true),
            (&[("container", &["abc"])], true),
            (&[("container", &["bc1"])], false),
            (&[("image", &["nginx"])], true),
            (&[("image", &["nginx:1.27"])], true),
            (&[("image", &["ngin"])], false),
            (&[("label", &["tier"])], true),
            (&[("label", &["tier=front", "x"])], false),
            (&[("volume", &["abc"])], false),
            (&[("container", &["web"]), ("event", &["die"])], false),
        ] {
            assert_eq!(filter(pairs).matches(&event), wanted, "{pairs:?}");
        }
    }

    #[test]
    fn an_unknown_filter_is_told_with_those_there_are() {
        let unknown = EventFilter {
            key: "colour".to_owned(),
            values: Vec::new(),
        };
        let error = Filter::new(vec![unknown]).unwrap_err().to_string();
        assert!(
            error.contains("'colour'") && error.contains("volume"),
            "{error}"
        );
    }
}
