//! What the `--filter` options of several commands share.

use crate::options::parse_moment;

/// Splits `KEY=VALUE`.
///
/// # Errors
///
/// Where there is no `=`; names the keys.
pub(super) fn split<'a>(text: &'a str, keys: &str) -> Result<(&'a str, &'a str), String> {
    text.split_once('=')
        .ok_or_else(|| format!("write KEY=VALUE; the keys are {keys}"))
}

/// Returns what is said of a key that a command does not know.
pub(super) fn unknown(key: &str, keys: &str) -> String {
    format!("there is no filter {key:?}: the keys are {keys}")
}

/// Reads the value of `dangling`.
///
/// # Errors
///
/// For what is neither true nor false.
pub(super) fn dangling(value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("dangling={value} is neither true nor false")),
    }
}

/// A label that must be there, with any value or with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    key: String,
    value: Option<String>,
}

impl Label {
    /// Reads `KEY` or `KEY=VALUE`.
    pub(super) fn read(text: &str) -> Self {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        Self {
            key: key.to_owned(),
            value,
        }
    }

    /// Returns whether labels have it.
    pub(super) fn is_among<'a>(
        &self,
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> bool {
        labels.into_iter().any(|(key, value)| {
            *key == self.key && self.value.as_ref().is_none_or(|wanted| wanted == value)
        })
    }
}

/// As Docker's: of several filters of one key one must match (of labels all),
/// and every key.
pub(super) fn all_match<F>(
    filters: &[F],
    is_label: impl Fn(&F) -> bool,
    one: impl Fn(&F) -> bool,
) -> bool {
    filters.iter().all(|filter| {
        if is_label(filter) {
            return one(filter);
        }
        filters
            .iter()
            .filter(|other| std::mem::discriminant(*other) == std::mem::discriminant(filter))
            .any(&one)
    })
}

/// What a prune leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Prune {
    /// What was made later; nanoseconds since 1970.
    Until(i64),
    /// What has not the label, `KEY` or `KEY=VALUE`.
    Label(String),
    /// What has it.
    NotLabel(String),
}

/// Reads a filter of a prune.
///
/// # Errors
///
/// For what is no such filter; says what there is.
pub(super) fn parse_prune(text: &str) -> Result<Prune, String> {
    let wrong = || "write until=TIME, label=KEY[=VALUE] or label!=KEY[=VALUE]".to_owned();
    match text.split_once('=').ok_or_else(wrong)? {
        (_, "") => Err(wrong()),
        ("until", time) => parse_moment(time).map(Prune::Until),
        ("label", label) => Ok(Prune::Label(label.to_owned())),
        ("label!", label) => Ok(Prune::NotLabel(label.to_owned())),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_dockers() {
        let label = |text: &str| text.to_owned();
        assert_eq!(parse_prune("label=a=b"), Ok(Prune::Label(label("a=b"))));
        assert_eq!(parse_prune("label!=a"), Ok(Prune::NotLabel(label("a"))));
        assert!(matches!(parse_prune("until=10m"), Ok(Prune::Until(_))));
        for text in ["label", "until=", "name=x", "until=soon"] {
            assert!(parse_prune(text).is_err(), "{text}");
        }
    }
}
