//! Splits a template into its words, as Go's text/template/parse does.

use serde_json::{Number, Value};

/// One word. [`Token::Text`] stands outside of actions, the others inside.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.Name`, without its dot
    Field(String),
    /// `$name`, with its dollar sign
    Variable(String),
    /// A function or a keyword.
    Word(String),
    /// A string, a number or a character.
    Literal(Value),
    Dot,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Comma,
    Pipe,
    LeftParenthesis,
    RightParenthesis,
    /// White space: it parts operands.
    Space,
}

const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a template into words.
pub(super) fn split(template: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = template;
    let mut trim = false;
    loop {
        let (text, after) = match rest.split_once("{{") {
            Some((text, after)) => (text, Some(after)),
            None => (rest, None),
        };
        let (trim_before, after) = match after.map(|after| (after, trim_marker(after))) {
            Some((_, Some(after))) => (true, Some(after)),
            Some((after, None)) => (false, Some(after)),
            None => (false, None),
        };
        // Docker does the same, so that a shell's plain quotes will do.
        let mut text = text.replace("\\t", "\t").replace("\\n", "\n");
        if trim {
            text = text.trim_start_matches(BLANK).to_owned();
        }
        if trim_before {
            text = text.trim_end_matches(BLANK).to_owned();
        }
        if !text.is_empty() {
            tokens.push(Token::Text(text));
        }
        let Some(after) = after else {
            return Ok(tokens);
        };
        (rest, trim) = action(after, &mut tokens)?;
    }
}

/// Returns what follows a `- ` that trims the text before an action.
fn trim_marker(after: &str) -> Option<&str> {
    let after = after.strip_prefix('-')?;
    after.starts_with(BLANK).then_some(after)
}

/// Reads an action or a comment. Returns what follows it, and whether the text
/// that does is trimmed.
fn action<'a>(text: &'a str, tokens: &mut Vec<Token>) -> Result<(&'a str, bool), String> {
    if let Some(comment) = text.trim_start_matches(BLANK).strip_prefix("/*") {
        let (_, after) = comment
            .split_once("*/")
            .ok_or_else(|| "a comment {{/* has no closing */}}".to_owned())?;
        return closing(after)
            .ok_or_else(|| "a comment ends with */}} and has the braces to itself".to_owned());
    }
    tokens.push(Token::Open);
    let mut rest = text;
    loop {
        if let Some((after, trim)) = closing(rest) {
            tokens.push(Token::Close);
            return Ok((after, trim));
        }
        let (token, after) = word(rest).map_err(|why| match why {
            Some(why) => why,
            None => format!("{{{{{text} has no closing }}}}"),
        })?;
        tokens.push(token);
        rest = after;
    }
}

/// Returns what follows the end of an action, if this is one, and whether it
/// trims.
fn closing(text: &str) -> Option<(&str, bool)> {
    if let Some(after) = text.strip_prefix("}}") {
        return Some((after, false));
    }
    let after = text.strip_prefix(BLANK)?.trim_start_matches(BLANK);
    after.strip_prefix("-}}").map(|after| (after, true))
}

/// Reads one word of an action. The error is `None` where the text ends.
fn word(text: &str) -> Result<(Token, &str), Option<String>> {
    let first = text.chars().next().ok_or(None)?;
    let after = &text[first.len_utf8()..];
    let single = |token| Ok((token, after));
    match first {
        blank if BLANK.contains(&blank) => Ok((Token::Space, after.trim_start_matches(BLANK))),
        '|' => single(Token::Pipe),
        '(' => single(Token::LeftParenthesis),
        ')' => single(Token::RightParenthesis),
        ',' => single(Token::Comma),
        '=' => single(Token::Assign),
        ':' => match after.strip_prefix('=') {
            Some(after) => Ok((Token::Declare, after)),
            None => Err(Some("write := to declare a variable".to_owned())),
        },
        '"' | '\'' => quoted(text, first),
        '`' => match after.split_once('`') {
            Some((raw, after)) => Ok((Token::Literal(raw.into()), after)),
            None => Err(Some(format!("{text} has no closing `"))),
        },
        '$' => {
            let (name, after) = name(after);
            Ok((Token::Variable(format!("${name}")), ended(after)?))
        }
        '.' if !after.starts_with(|c: char| c.is_ascii_digit()) => match name(after) {
            ("", after) => Ok((Token::Dot, ended(after)?)),
            (name, after) => Ok((Token::Field(name.to_owned()), ended(after)?)),
        },
        '.' | '+' | '-' | '0'..='9' => number(text).map_err(Some),
        letter if is_letter(letter) => {
            let (name, after) = name(text);
            Ok((Token::Word(name.to_owned()), ended(after)?))
        }
        other => Err(Some(format!("{other:?} has no meaning in {{{{ }}}}"))),
    }
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c| !is_letter(c)).unwrap_or(text.len()))
}

/// Holds a name to what may follow it.
fn ended(after: &str) -> Result<&str, Option<String>> {
    let Some(next) = after.chars().next() else {
        return Ok(after);
    };
    if BLANK.contains(&next) || ".,|:=)(".contains(next) || after.starts_with("}}") {
        return Ok(after);
    }
    Err(Some(format!(
        "{next:?} cannot be in a name: write {{{{index .Labels \"a-b\"}}}} for such a key"
    )))
}

/// Reads a string or a character, as Go quotes them.
fn quoted(text: &str, quote: char) -> Result<(Token, &str), Option<String>> {
    let unclosed = || Some(format!("{text} has no closing {quote}"));
    let mut value = Vec::new();
    let mut chars = text.char_indices().skip(1);
    loop {
        match chars.next() {
            None | Some((_, '\n')) => return Err(unclosed()),
            Some((end, c)) if c == quote => {
                let after = &text[end + 1..];
                let string = String::from_utf8_lossy(&value).into_owned();
                return Ok((literal(string, quote).map_err(Some)?, after));
            }
            Some((_, '\\')) => {
                let (_, escape) = chars.next().ok_or_else(unclosed)?;
                let mut digits = |count, radix| {
                    let digits: String = chars.by_ref().take(count).map(|(_, c)| c).collect();
                    let number = u32::from_str_radix(&digits, radix).ok();
                    number
                        .filter(|_| digits.chars().count() == count && !digits.starts_with('+'))
                        .ok_or_else(|| format!("\\{escape}{digits} is no escape of a string"))
                };
                let byte = |number: u32| u8::try_from(number).ok();
                let wrong = || Some(format!("\\{escape} is no escape of a string"));
                match escape {
                    'a' => value.push(7),
                    'b' => value.push(8),
                    'f' => value.push(12),
                    'n' => value.push(b'\n'),
                    'r' => value.push(b'\r'),
                    't' => value.push(b'\t'),
                    'v' => value.push(11),
                    'x' => value.push(byte(digits(2, 16)?).ok_or_else(wrong)?),
                    'u' | 'U' => {
                        let number = digits(if escape == 'u' { 4 } else { 8 }, 16)?;
                        let c = char::from_u32(number).ok_or_else(wrong)?;
                        value.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    '0'..='3' => {
                        let low = digits(2, 8)?;
                        let high = escape.to_digit(8).unwrap_or(0);
                        value.push(byte(high * 64 + low).ok_or_else(wrong)?);
                    }
                    '\\' => value.push(b'\\'),
                    c if c == quote => value.extend(c.to_string().as_bytes()),
                    _ => return Err(wrong()),
                }
            }
            Some((_, c)) => value.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// A string is itself, a character its number.
fn literal(string: String, quote: char) -> Result<Token, String> {
    if quote == '"' {
        return Ok(Token::Literal(string.into()));
    }
    let mut chars = string.chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) => Ok(Token::Literal(u32::from(c).into())),
        _ => Err(format!(
            "'{string}' is not one character: write \"{string}\" for a string"
        )),
    }
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let (digits, plain) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (digits, false),
        None => (text, true),
    };
    let prefixed = ["0x", "0X", "0o", "0O", "0b", "0B"]
        .iter()
        .any(|prefix| digits.starts_with(prefix));
    let mut end = text.len() - digits.len();
    let mut before = ' ';
    for c in digits.chars() {
        let exponent = !prefixed && matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
        let point = c == '.' && !prefixed;
        if !(is_letter(c) || exponent || point) {
            break;
        }
        end += c.len_utf8();
        before = c;
    }
    let (number, after) = text.split_at(end);
    let wrong = || format!("{number} is no number");
    let value = value(number.trim_start_matches('+')).filter(|_| plain || !digits.is_empty());
    Ok((Token::Literal(value.ok_or_else(wrong)?), after))
}

/// Returns the value of a number, as Go writes numbers.
fn value(number: &str) -> Option<Value> {
    let clean = number.replace('_', "");
    let (sign, digits) = match clean.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", clean.as_str()),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let (radix, whole) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.bytes().all(|byte| byte.is_ascii_digit()) => {
            (if lower.starts_with('0') { 8 } else { 10 }, lower.as_str())
        }
        _ => (10, lower.as_str()),
    };
    if whole.starts_with(['+', '-']) {
        return None;
    }
    if let Ok(number) = i64::from_str_radix(&format!("{sign}{whole}"), radix) {
        return Some(number.into());
    }
    let decimal = radix == 10 && lower.bytes().all(|byte| b"0123456789.e+-".contains(&byte));
    let number: f64 = clean.parse().ok().filter(|_| decimal)?;
    Number::from_f64(number).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn literals(template: &str) -> Vec<Value> {
        let tokens = split(template).unwrap();
        let literals = tokens.into_iter().filter_map(|token| match token {
            Token::Literal(value) => Some(value),
            _ => None,
        });
        literals.collect()
    }

    #[test]
    fn literals_are_as_go_writes_them() {
        assert_eq!(
            literals(
                r#"{{1 -2 +3 0x1F 0b11 010 1_000 1.5 .5 1e3 'a' '\n' "a\tb\"\u00e9\x41" `\n`}}"#
            ),
            [
                json!(1),
                json!(-2),
                json!(3),
                json!(31),
                json!(3),
                json!(8),
                json!(1000),
                json!(1.5),
                json!(0.5),
                json!(1000.0),
                json!(97),
                json!(10),
                json!("a\tb\"éA"),
                json!("\\n")
            ]
        );
        for wrong in [
            "{{1x}}",
            "{{0x}}",
            "{{08}}",
            "{{-}}",
            "{{'ab'}}",
            "{{\"a}}",
            "{{\"\\q\"}}",
            "{{`a}}",
            "{{1.2.3}}",
            "{{+-1}}",
            "{{\"\\x+1\"}}",
        ] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn markers_trim_the_text_beside_them() {
        for (template, texts) in [
            ("a {{- 1 -}} b", vec!["a", "b"]),
            ("a {{-1}} b", vec!["a ", " b"]),
            ("a \n{{- /* no */ -}}\n b", vec!["a", "b"]),
            ("{{/* no */}}a\\t", vec!["a\t"]),
            (" {{- 1 -}} ", vec![]),
        ] {
            let tokens = split(template).unwrap();
            let found: Vec<&str> = tokens
                .iter()
                .filter_map(|token| match token {
                    Token::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            assert_eq!(found, texts, "{template}");
        }
        for wrong in [
            "{{/* a",
            "{{/* a */ 1}}",
            "{{ 1",
            "{{1",
            "{{.a-b}}",
            "{{:}}",
            "{{%}}",
        ] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
