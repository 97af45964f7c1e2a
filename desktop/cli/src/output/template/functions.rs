//! The functions of Go's templates, and those that Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::datum::{Datum, place};
use super::print;

/// Every function: Go's, then Docker's.
pub(super) const NAMES: [&str; 26] = [
    "and", "or", "not", "len", "index", "slice", "print", "printf", "println", "html", "js",
    "urlquery", "eq", "ne", "lt", "le", "gt", "ge", "json", "split", "join", "title", "lower",
    "upper", "pad", "truncate",
];

/// The most blanks that `pad` adds.
const WIDEST: usize = 65_535;

/// Calls a function; `and` and `or` look at their arguments one by one and are
/// the evaluator's.
pub(super) fn call<'a>(name: &str, arguments: Vec<Datum<'a>>) -> Result<Datum<'a>, String> {
    let arity = |count: usize| match arguments.len() == count {
        true => Ok(()),
        false => Err(format!(
            "{name} takes {}, and not {}",
            counted(count),
            arguments.len()
        )),
    };
    let text = |place: usize| match arguments.get(place).map(Datum::value) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(format!(
            "{name}: {} is no string: write printf \"%v\" first",
            shown(other)
        )),
        None => Err(format!("{name} takes more arguments")),
    };
    let number = |place: usize| match arguments.get(place).map(|datum| datum.value().as_i64()) {
        Some(Some(number)) => Ok(number),
        _ => Err(format!("{name}: argument {} is no whole number", place + 1)),
    };
    match name {
        "not" => arity(1).map(|()| Datum::from(!arguments[0].is_true())),
        "len" => {
            arity(1)?;
            let length = match arguments[0].value() {
                Value::String(text) => text.len(),
                Value::Array(items) => items.len(),
                Value::Object(fields) => fields.len(),
                Value::Null => 0,
                other => return Err(format!("len: {other} has no length")),
            };
            Ok(Datum::from(Value::from(length)))
        }
        "index" => {
            let mut arguments = arguments.into_iter();
            let mut found = arguments
                .next()
                .ok_or_else(|| "index takes a list or a map, and places or keys".to_owned())?;
            for key in arguments {
                found = found.item(key.value())?;
            }
            Ok(found)
        }
        "slice" => slice(&arguments),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, &arguments),
        "json" => {
            arity(1)?;
            Ok(Datum::from(arguments[0].value().to_string()))
        }
        "split" => {
            arity(2)?;
            let (text, separator) = (text(0)?, text(1)?);
            let parts: Vec<Value> = match separator {
                "" => text.chars().map(|c| c.to_string().into()).collect(),
                separator => text.split(separator).map(Value::from).collect(),
            };
            Ok(Datum::from(Value::Array(parts)))
        }
        "join" => {
            arity(2)?;
            let parts: Vec<String> = match arguments[0].value() {
                Value::Array(items) => items.iter().map(print::plain).collect(),
                fields @ Value::Object(_) => {
                    let fields = print::sorted(fields).into_iter();
                    fields.map(|(_, value)| print::plain(value)).collect()
                }
                Value::Null => Vec::new(),
                other => return Err(format!("join: {} is no list", shown(other))),
            };
            Ok(Datum::from(parts.join(text(1)?)))
        }
        "title" => arity(1).and_then(|()| Ok(Datum::from(title(text(0)?)))),
        "lower" => arity(1).and_then(|()| Ok(Datum::from(text(0)?.to_lowercase()))),
        "upper" => arity(1).and_then(|()| Ok(Datum::from(text(0)?.to_uppercase()))),
        "pad" => {
            arity(3)?;
            let width = |place| {
                let width = usize::try_from(number(place)?).ok();
                width
                    .filter(|width| *width <= WIDEST)
                    .ok_or_else(|| format!("pad adds 0 to {WIDEST} blanks at each side"))
            };
            let (before, after) = (width(1)?, width(2)?);
            let text = match text(0)? {
                "" => String::new(),
                text => format!("{}{text}{}", " ".repeat(before), " ".repeat(after)),
            };
            Ok(Datum::from(text))
        }
        "truncate" => {
            arity(2)?;
            let text = text(0)?;
            let length = usize::try_from(number(1)?)
                .map_err(|_| "truncate: a text has no negative length".to_owned())?;
            // Docker counts bytes, and would cut a character in two.
            let end = (0..=length.min(text.len()))
                .rev()
                .find(|end| text.is_char_boundary(*end));
            Ok(Datum::from(text[..end.unwrap_or(0)].to_owned()))
        }
        _ => text_of(name, &arguments),
    }
}

/// The functions that make a text of anything.
fn text_of<'a>(name: &str, arguments: &[Datum<'a>]) -> Result<Datum<'a>, String> {
    let text = match name {
        "print" => printed(arguments),
        "println" => {
            let words: Vec<String> = arguments.iter().map(word).collect();
            words.join(" ") + "\n"
        }
        "printf" => match arguments
            .split_first()
            .map(|(format, rest)| (format.value(), rest))
        {
            Some((Value::String(format), rest)) => {
                let values: Vec<Value> = rest.iter().map(|datum| datum.value().clone()).collect();
                print::formatted(format, &values)
            }
            _ => return Err("printf takes a format such as \"%s\" first".to_owned()),
        },
        "html" => printed(arguments)
            .chars()
            .map(|c| match c {
                '"' => "&#34;".to_owned(),
                '\'' => "&#39;".to_owned(),
                '&' => "&amp;".to_owned(),
                '<' => "&lt;".to_owned(),
                '>' => "&gt;".to_owned(),
                '\0' => char::REPLACEMENT_CHARACTER.to_string(),
                c => c.to_string(),
            })
            .collect(),
        "js" => printed(arguments)
            .chars()
            .map(|c| match c {
                '\\' | '\'' | '"' => format!("\\{c}"),
                '<' | '>' | '&' | '=' => format!("\\u{:04X}", u32::from(c)),
                c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                    format!("\\u{:04X}", u32::from(c))
                }
                c => c.to_string(),
            })
            .collect(),
        "urlquery" => printed(arguments)
            .bytes()
            .map(|byte| match byte {
                b' ' => "+".to_owned(),
                byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
                    char::from(byte).to_string()
                }
                byte => format!("%{byte:02X}"),
            })
            .collect(),
        name => return Err(format!("there is no function {name}")),
    };
    Ok(Datum::from(text))
}

fn word(datum: &Datum<'_>) -> String {
    match datum {
        Datum::Missing => "<no value>".to_owned(),
        datum => {
            let mut text = String::new();
            super::datum::show(datum, &mut text);
            text
        }
    }
}

/// Go's Sprint: a blank between two operands of which none is a string.
fn printed(arguments: &[Datum<'_>]) -> String {
    let mut text = String::new();
    let mut string_before = true;
    for argument in arguments {
        let string = argument.value().is_string();
        if !text.is_empty() && !string && !string_before {
            text.push(' ');
        }
        text.push_str(&word(argument));
        string_before = string;
    }
    text
}

/// Go's Title: each letter that follows none is a capital.
fn title(text: &str) -> String {
    let mut titled = String::new();
    let mut apart = true;
    for c in text.chars() {
        match apart {
            true => titled.extend(c.to_uppercase()),
            false => titled.push(c),
        }
        apart = match c {
            '_' => false,
            c if c.is_ascii() => !c.is_ascii_alphanumeric(),
            c => c.is_whitespace(),
        };
    }
    titled
}

fn slice<'a>(arguments: &[Datum<'a>]) -> Result<Datum<'a>, String> {
    let (of, places) = match arguments {
        [of, places @ ..] if places.len() <= 3 => (of.value(), places),
        _ => return Err("slice takes a text or a list, then two places or fewer".to_owned()),
    };
    let count = match of {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        other => return Err(format!("slice: {} is no text and no list", shown(other))),
    };
    let bound = |number: usize, otherwise: usize| match places.get(number) {
        None => Ok(otherwise),
        Some(key) => match place(key.value(), count, "slice")? {
            bound if bound <= count => Ok(bound),
            bound => Err(format!("slice: {bound} is beyond the end, {count}")),
        },
    };
    let (first, last) = (bound(0, 0)?, bound(1, count)?);
    if places.len() == 3 && (of.is_string() || bound(2, count)? < last) {
        return Err("slice takes two places here".to_owned());
    }
    if first > last {
        return Err(format!("slice: {first} is behind {last}"));
    }
    Ok(Datum::from(match of {
        Value::String(text) => String::from_utf8_lossy(&text.as_bytes()[first..last])
            .into_owned()
            .into(),
        Value::Array(items) => Value::Array(items[first..last].to_vec()),
        other => other.clone(),
    }))
}

fn compare<'a>(name: &str, arguments: &[Datum<'a>]) -> Result<Datum<'a>, String> {
    let (first, others) = match arguments {
        [first, others @ ..] if others.len() == 1 || (name == "eq" && !others.is_empty()) => {
            (first.value(), others)
        }
        _ => return Err(format!("{name} takes two values to compare")),
    };
    let incomparable = |other| {
        Err(format!(
            "{name}: {} and {} cannot be compared",
            shown(first),
            shown(other)
        ))
    };
    if name == "eq" || name == "ne" {
        for other in others.iter().map(Datum::value) {
            match equal(first, other) {
                Some(true) => return Ok(Datum::from(name == "eq")),
                Some(false) => {}
                None => return incomparable(other),
            }
        }
        return Ok(Datum::from(name == "ne"));
    }
    let other = others.first().map_or(&Value::Null, Datum::value);
    let order = match (first, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) if one.is_f64() == other.is_f64() => {
            match (one.as_i64(), other.as_i64()) {
                (Some(one), Some(other)) => Some(one.cmp(&other)),
                _ => one.as_f64().partial_cmp(&other.as_f64()),
            }
        }
        _ => None,
    };
    match order {
        None => incomparable(other),
        Some(order) => Ok(Datum::from(match name {
            "lt" => order == Ordering::Less,
            "le" => order != Ordering::Greater,
            "gt" => order == Ordering::Greater,
            _ => order != Ordering::Less,
        })),
    }
}

/// Tells whether two values are the same; `None` where they are of two kinds.
fn equal(one: &Value, other: &Value) -> Option<bool> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            (one.is_f64() == other.is_f64()).then(|| one == other)
        }
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => {
            Some(one == other)
        }
        (Value::Null, _) | (_, Value::Null) => Some(one == other),
        _ => None,
    }
}

fn counted(count: usize) -> String {
    match count {
        1 => "one argument".to_owned(),
        count => format!("{count} arguments"),
    }
}

/// Returns a value for a message, not longer than it needs to be known again.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
        Value::Null => "nothing".to_owned(),
        value => value.to_string(),
    }
}
