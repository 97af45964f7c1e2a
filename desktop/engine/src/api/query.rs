//! Parameters of queries, read as Go's handlers read them.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::error::{ApiError, Result};

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &http::Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Returns a parameter's first value; an empty text where it is left out.
    pub(super) fn text(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Returns every value of a parameter.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(key, _)| key == name);
        values.map(|(_, value)| value.clone()).collect()
    }

    /// Returns the lines of every value of a parameter.
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        let values = self.all(name);
        let lines = values.iter().flat_map(|value| value.lines());
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Returns whether a parameter is set, as Docker reads it: anything but
    /// nothing, "0", "no", "false" and "none".
    pub(super) fn flag(&self, name: &str) -> bool {
        let value = self.text(name).trim().to_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// As [`Self::flag`], of a parameter that is set unless it is said not to be.
    pub(super) fn flag_or(&self, name: &str, otherwise: bool) -> bool {
        if self.text(name).is_empty() {
            otherwise
        } else {
            self.flag(name)
        }
    }

    /// Returns a parameter's number, `None` where it is left out.
    ///
    /// # Errors
    ///
    /// 400 for what is no number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("invalid value of {name}: {text:?} is no number"))
            }),
        }
    }

    /// Returns a time in seconds since 1970, with a fraction, as nanoseconds; 0
    /// where it is left out.
    ///
    /// # Errors
    ///
    /// 400 for what is no such time.
    pub(super) fn time_ns(&self, name: &str) -> Result<i64> {
        time_ns(self.text(name)).ok_or_else(|| {
            ApiError::bad_request(format!(
                "invalid value of {name}: no time in seconds since 1970"
            ))
        })
    }

    /// Returns a time, or how long ago a time was ("10m"), as nanoseconds since 1970;
    /// 0 where it is left out.
    ///
    /// # Errors
    ///
    /// 400 for what is neither.
    pub(super) fn moment_ns(&self, name: &str) -> Result<i64> {
        moment_ns(name, self.text(name))
    }

    /// Returns the filters: keys, and the values of each.
    ///
    /// # Errors
    ///
    /// 400 for what is not in the form of Docker's filters.
    pub(super) fn filters(&self) -> Result<Filters> {
        match self.text("filters") {
            "" => Ok(Filters::default()),
            text => Filters::parse(text),
        }
    }
}

/// Reads "1700000000.5" and "1700000000"; a RFC 3339 time too.
fn time_ns(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        return i64::try_from(since.as_nanos()).ok();
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: i64 = digits.parse().ok()?;
    // A moment that nobody lives to see is one all the same.
    Some(
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(nanoseconds),
    )
}

fn moment_ns(name: &str, text: &str) -> Result<i64> {
    if let Some(time) = time_ns(text) {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok();
    let then = ago.and_then(|ago| SystemTime::now().checked_sub(ago));
    let since = then.and_then(|then| then.duration_since(UNIX_EPOCH).ok());
    since
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .ok_or_else(|| {
            ApiError::bad_request(format!(
                "invalid value of {name}: {text:?} is neither a time nor a duration"
            ))
        })
}

/// Filters of a list, a prune or events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads `{"key": ["value"]}` and the older `{"key": {"value": true}}`.
    fn parse(text: &str) -> Result<Self> {
        let invalid = || ApiError::bad_request(format!("invalid filters: {text}"));
        let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
            return Err(invalid());
        };
        let mut filters = BTreeMap::new();
        for (key, values) in fields {
            let values = match values {
                Value::Array(values) => values
                    .iter()
                    .map(|value| value.as_str().map(str::to_owned))
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(invalid)?,
                Value::Object(values) => values
                    .into_iter()
                    .filter(|(_, set)| set.as_bool() != Some(false))
                    .map(|(value, _)| value)
                    .collect(),
                _ => return Err(invalid()),
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    /// Returns what a filter that is either true or false says; `None` where it is left
    /// out.
    ///
    /// # Errors
    ///
    /// 400 in Docker's words for any other value.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        let read = |value: &str| match value {
            "1" | "true" | "True" | "TRUE" | "t" | "T" => Some(true),
            "0" | "false" | "False" | "FALSE" | "f" | "F" => Some(false),
            _ => None,
        };
        let values = self.values(key);
        match values
            .iter()
            .map(|value| read(value))
            .collect::<Option<Vec<_>>>()
        {
            Some(flags) => Ok(flags.first().copied()),
            None => Err(ApiError::bad_request(format!(
                "invalid filter '{key}=[{}]'",
                values.join(" ")
            ))),
        }
    }

    /// Refuses values of a key that are not among the known ones.
    ///
    /// # Errors
    ///
    /// 400 in Docker's words.
    pub(super) fn one_of(&self, key: &str, known: &[&str]) -> Result<()> {
        let unknown = |value: &&String| !known.contains(&value.as_str());
        match self.values(key).iter().find(unknown) {
            Some(value) => Err(ApiError::bad_request(format!(
                "invalid filter '{key}={value}': it must be one of {}",
                known.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// Refuses keys that the call does not know.
    ///
    /// # Errors
    ///
    /// 400 in Docker's words.
    pub(super) fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(ApiError::bad_request(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// Returns the values of a key; none where it is left out.
    pub(super) fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        !self.values(key).is_empty()
    }

    /// Returns whether one of a key's values holds, or there are none.
    pub(super) fn any(&self, key: &str, holds: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| holds(value))
    }

    pub(super) fn add(&mut self, key: &str, value: &str) {
        self.0
            .entry(key.to_owned())
            .or_default()
            .push(value.to_owned());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Vec<String>)> {
        self.0.iter()
    }

    /// Returns the time of `until`, nanoseconds since 1970; 0 where it is left out.
    ///
    /// # Errors
    ///
    /// 400 for what is neither a time nor a duration before now.
    pub(super) fn until_ns(&self) -> Result<i64> {
        let text = self.values("until").first();
        moment_ns("until", text.map_or("", String::as_str))
    }

    /// Returns whether labels have each of the filter's `label`, "key" or
    /// "key=value", and none of its `label!`.
    pub(super) fn matches_labels<'a>(&self, label: impl Fn(&str) -> Option<&'a String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => label(key).is_some_and(|found| found == value),
            None => label(wanted).is_some(),
        };
        self.values("label").iter().all(has) && !self.values("label!").iter().any(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        let query = Query::of(&"/x?a=1&b=false&c=&d=True&e=0".parse().unwrap());
        let flags = ["a", "b", "c", "d", "e", "f"].map(|name| query.flag(name));
        assert_eq!(flags, [true, false, false, true, false, false]);
        assert!(query.flag_or("f", true) && !query.flag_or("b", true));
    }

    #[test]
    fn both_forms_of_filters_are_read() {
        let listed = Filters::parse(r#"{"label":["a=b","c"]}"#).unwrap();
        let mapped = Filters::parse(r#"{"label":{"a=b":true,"c":true,"d":false}}"#).unwrap();
        assert_eq!(listed, mapped);
        assert!(Filters::parse("[]").is_err() && Filters::parse(r#"{"a":[1]}"#).is_err());
    }

    #[test]
    fn values_that_a_filter_does_not_know_are_refused() {
        let filters = Filters::parse(r#"{"a":["1"],"b":["x"],"c":[]}"#).unwrap();
        assert_eq!(filters.flag("a").unwrap(), Some(true));
        assert_eq!(filters.flag("c").unwrap(), None);
        assert!(filters.flag("b").is_err());
        assert!(filters.one_of("b", &["x", "y"]).is_ok());
        assert!(filters.one_of("a", &["x", "y"]).is_err());
    }

    #[test]
    fn times_have_fractions() {
        assert_eq!(time_ns("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(time_ns("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(
            time_ns("2023-11-14T22:13:20Z"),
            Some(1_700_000_000_000_000_000)
        );
        assert_eq!((time_ns(""), time_ns("soon")), (Some(0), None));
        assert_eq!(time_ns("99999999999999999"), Some(i64::MAX));
    }
}
