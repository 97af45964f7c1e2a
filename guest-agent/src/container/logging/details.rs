//! What `logs --details` shows before each line: what `--log-opt` names of a
//! container's labels, its environment and itself. Docker writes it beside each
//! line; it is the same for all of a container's lines, so that here it is made
//! when they are read.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::invalid;
use crate::container::error::Error;
use crate::container::record::Record;
use crate::container::validate::merged_environment;

/// The longest pattern, bytes.
const LONGEST_PATTERN: usize = 1024;

/// Tells whether an option of `--log-opt` is about details, and checks it.
///
/// # Errors
///
/// [`Error::Invalid`] for a pattern or a template that is none.
pub(super) fn check(option: &str, value: &str) -> Result<bool, Error> {
    match option {
        "labels" | "env" => {}
        "labels-regex" | "env-regex" => {
            pattern(option, value)?;
        }
        "tag" => {
            tag(value, |_| String::new())?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Returns what stands before each line of a container's log, `KEY=VALUE` apart
/// by commas and escaped as in a query (moby,
/// `daemon/server/httputils/write_log_stream.go`).
pub(crate) fn details(record: &Record) -> String {
    let Some(config) = &record.spec.log else {
        return String::new();
    };
    let option = |name: &str| config.options.get(name).map(String::as_str);
    let mut labels = record.image_config.labels.clone();
    labels.extend(record.spec.labels.clone());
    let variables = merged_environment(&record.spec, &record.image_config);
    let variables = variables
        .iter()
        .filter_map(|variable| variable.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut shown = BTreeMap::new();
    let sources = [
        (
            labels.into_iter().collect::<Vec<_>>(),
            "labels",
            "labels-regex",
        ),
        (variables.collect(), "env", "env-regex"),
    ];
    for (values, named, fitting) in sources {
        let named: Vec<_> = option(named)
            .into_iter()
            .flat_map(|list| list.split(','))
            .collect();
        // It was checked when the container was made.
        let fitting = option(fitting).and_then(|text| pattern("", text).ok());
        let wanted = |name: &str| {
            named.contains(&name)
                || fitting
                    .as_ref()
                    .is_some_and(|fitting| fitting.is_match(name))
        };
        shown.extend(values.into_iter().filter(|(name, _)| wanted(name)));
    }
    if let Some(Ok(tag)) = option("tag").map(|text| tag(text, |field| of_itself(record, field)))
        && !tag.is_empty()
    {
        shown.insert("tag".to_owned(), tag);
    }
    let pairs = shown
        .iter()
        .map(|(name, value)| format!("{}={}", escape(name), escape(value)));
    pairs.collect::<Vec<_>>().join(",")
}

fn pattern(option: &str, text: &str) -> Result<Regex, Error> {
    let parsed = if text.len() > LONGEST_PATTERN {
        Err(format!("it is longer than {LONGEST_PATTERN} bytes"))
    } else {
        Regex::new(text).map_err(|error| error.to_string())
    };
    parsed.map_err(|why| Error::Invalid(format!("invalid value '{text}' for {option}: {why}")))
}

/// The fields of a tag (Docker's manual, "Customize log driver output").
const FIELDS: [&str; 7] = [
    "ID",
    "FullID",
    "Name",
    "ImageID",
    "ImageFullID",
    "ImageName",
    "DaemonName",
];

fn of_itself(record: &Record, field: &str) -> String {
    let image = record.image_id.trim_start_matches("sha256:");
    let short = |digits: &str| digits.chars().take(12).collect();
    match field {
        "ID" => short(&record.id),
        "FullID" => record.id.clone(),
        "Name" => record.name.clone(),
        "ImageID" => short(image),
        "ImageFullID" => record.image_id.clone(),
        "ImageName" => record.spec.image.clone(),
        _ => "wherry".to_owned(),
    }
}

/// Fills a tag's template.
fn tag(template: &str, field: impl Fn(&str) -> String) -> Result<String, Error> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let field_and_rest = after.split_once("}}").and_then(|(name, after)| {
            let name = name.trim().strip_prefix('.')?;
            FIELDS.contains(&name).then_some((name, after))
        });
        let Some((name, after)) = field_and_rest else {
            return invalid(format!(
                "invalid value '{template}' for tag: its fields are {{{{.{}}}}}",
                FIELDS.join("}}, {{.")
            ));
        };
        filled.push_str(before);
        filled.push_str(&field(name));
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Escapes as Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(byte.into());
            }
            b' ' => escaped.push('+'),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use wherry_proto::v1::{ContainerSpec, ImageConfig, LogConfig};

    fn record(options: &[(&str, &str)]) -> Record {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let spec = ContainerSpec {
            image: "app:1".to_owned(),
            env: vec!["MODE=a b".to_owned(), "OS_NAME=x".to_owned()],
            labels: [pair(&("tier", "web&more")), pair(&("other", "1"))].into(),
            log: Some(LogConfig {
                driver: String::new(),
                options: options.iter().map(pair).collect(),
            }),
            ..ContainerSpec::default()
        };
        let mut record = Record::new("ab".repeat(32), "one".to_owned(), spec);
        record.image_config = ImageConfig {
            env: vec!["MODE=image".to_owned(), "OS_KIND=y".to_owned()],
            labels: [pair(&("tier", "image"))].into(),
            ..ImageConfig::default()
        };
        record
    }

    #[test]
    fn details_are_what_the_options_name_sorted_and_escaped() {
        for (options, expected) in [
            (&[][..], ""),
            (&[("max-size", "1m")], ""),
            (&[("labels", "tier,none")], "tier=web%26more"),
            (&[("env", "MODE")], "MODE=a+b"),
            (
                &[("labels-regex", "^(tier|other)$"), ("env-regex", "^OS_")],
                "OS_KIND=y,OS_NAME=x,other=1,tier=web%26more",
            ),
            (&[("tag", "{{.Name}}/{{ .ID }}")], "tag=one%2Fabababababab"),
        ] {
            assert_eq!(details(&record(options)), expected, "{options:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_or_template_is_refused() {
        assert!(check("labels", "anything").unwrap());
        assert!(!check("max-size", "1m").unwrap());
        for (option, value, words) in [
            ("env-regex", "(", "invalid value '(' for env-regex"),
            ("labels-regex", &"a".repeat(2000), "longer than"),
            ("tag", "{{.Colour}}", "{{.FullID}}"),
            ("tag", "{{.ID", "its fields are"),
        ] {
            let error = check(option, value).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
