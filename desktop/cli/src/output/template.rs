//! The part of Go's templates that scripts use on `--format`: fields by path,
//! `json`, text between them, and `\t` and `\n`.

use serde_json::Value;

use crate::failure::Failure;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Field { path: Vec<String>, json: bool },
}

impl Template {
    /// Parses a template.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: String| Failure::new(format!("--format: {why}"));
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after
                .split_once("}}")
                .ok_or_else(|| wrong(format!("{{{{{after} has no closing }}}}")))?;
            pieces.push(Piece::Text(unescape(before)));
            pieces.push(parse_action(action.trim()).map_err(wrong)?);
            rest = after;
        }
        pieces.push(Piece::Text(unescape(rest)));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Ok(Self(pieces))
    }

    /// Returns the template with the fields of `value`.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Failure> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field { path, json } => {
                    let found = lookup(value, path)?;
                    if *json {
                        text.push_str(&found.to_string());
                    } else {
                        show(found, &mut text);
                    }
                }
            }
        }
        Ok(text)
    }

    /// Tells whether a field of this name is shown, at the top.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|piece| match piece {
            Piece::Text(_) => false,
            Piece::Field { path, .. } => path.first().is_some_and(|first| first == name),
        })
    }

    /// Returns the heads of the columns of a `table` template: the last name of
    /// each field, as `heading` writes it.
    pub(crate) fn headings(&self, heading: impl Fn(&str) -> String) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Field { path, .. } => heading(path.last().map_or("", String::as_str)),
            })
            .collect()
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn parse_action(action: &str) -> Result<Piece, String> {
    let (json, field) = match action.strip_prefix("json") {
        Some(rest) if rest.starts_with(char::is_whitespace) => (true, rest.trim()),
        _ => (false, action),
    };
    let unsupported = || {
        format!(
            "{{{{{action}}}}} is not supported: write fields such as {{{{.Name}}}} or {{{{.State.Status}}}}, or {{{{json .}}}}"
        )
    };
    let path = field.strip_prefix('.').ok_or_else(unsupported)?;
    let path: Vec<String> = match path {
        "" => Vec::new(),
        path => path.split('.').map(str::to_owned).collect(),
    };
    let name =
        |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if path.iter().all(name) {
        Ok(Piece::Field { path, json })
    } else {
        Err(unsupported())
    }
}

fn lookup<'a>(value: &'a Value, path: &[String]) -> Result<&'a Value, Failure> {
    let mut found = value;
    for (depth, name) in path.iter().enumerate() {
        found = match found {
            Value::Object(fields) => fields.get(name).ok_or_else(|| {
                let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                Failure::new(format!(
                    "--format: there is no field .{}: the fields are {known}",
                    path[..=depth].join(".")
                ))
            })?,
            _ => {
                return Err(Failure::new(format!(
                    "--format: .{} has no fields in it, so no .{name}",
                    path[..depth].join(".")
                )));
            }
        };
    }
    Ok(found)
}

/// Appends a value as Go's templates print it.
fn show(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => text.push_str(string),
        Value::Null => text.push_str("<nil>"),
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(' ');
                }
                show(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            text.push_str("map[");
            for (place, (name, field)) in fields.iter().enumerate() {
                if place > 0 {
                    text.push(' ');
                }
                text.push_str(name);
                text.push(':');
                show(field, text);
            }
            text.push(']');
        }
        Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn render(template: &str, value: &Value) -> Result<String, String> {
        Template::parse(template)
            .and_then(|template| template.render(value))
            .map_err(|failure| failure.message.unwrap_or_default())
    }

    #[test]
    fn fields_text_and_json_are_put_together() {
        let value = json!({"Name": "web", "State": {"ExitCode": 3, "Running": false}, "Args": ["a", "b"], "Labels": {"k": "v"}, "None": null});
        for (template, expected) in [
            ("{{.Name}}", "web"),
            (
                "{{ .Name }}: {{.State.ExitCode}}\\t{{.State.Running}}\\n",
                "web: 3\tfalse\n",
            ),
            ("{{json .State}}", "{\"ExitCode\":3,\"Running\":false}"),
            ("{{json .Name}}", "\"web\""),
            ("{{.Args}} {{.Labels}} {{.None}}", "[a b] map[k:v] <nil>"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(
                render(template, &value).as_deref(),
                Ok(expected),
                "{template}"
            );
        }
        assert_eq!(render("{{json .}}", &value), Ok(value.to_string()));
    }

    #[test]
    fn an_unknown_field_is_told_with_those_there_are() {
        let value = json!({"ID": "1", "Names": "web", "State": {"Status": "x"}});
        let error = render("{{.Id}}", &value).unwrap_err();
        assert!(
            error.contains(".Id") && error.contains("ID, Names, State"),
            "{error}"
        );
        let error = render("{{.State.Code}}", &value).unwrap_err();
        assert!(
            error.contains(".State.Code") && error.contains("Status"),
            "{error}"
        );
        assert!(
            render("{{.ID.x}}", &value)
                .unwrap_err()
                .contains("no fields in it")
        );
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for template in [
            "{{range .X}}",
            "{{if .X}}",
            "{{.X",
            "{{}}",
            "{{.A..B}}",
            "{{.X | json}}",
            "{{.A b}}",
        ] {
            let error = render(template, &json!({})).unwrap_err();
            assert!(error.starts_with("--format: "), "{template}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_an_error(text in "[{}.a-cjson \\\\|]{0,30}") {
            let _ = render(&text, &json!({"a": {"b": 1}}));
        }

        #[test]
        fn text_without_braces_comes_back(text in "[^{\\\\]{0,30}") {
            prop_assert_eq!(render(&text, &json!({})), Ok(text));
        }
    }
}
