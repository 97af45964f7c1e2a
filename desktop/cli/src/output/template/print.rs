//! How Go prints values: plainly, and by the verbs of `printf` (package fmt).

use serde_json::Value;

/// No width is more than this, which is what Rust formats (Go: a million).
const WIDEST: usize = 65_535;

/// Returns a value as `%v` prints it.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(it) => it.to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => general(float, None),
            _ => number.to_string(),
        },
        Value::Array(items) => format!("[{}]", joined(items.iter().map(plain))),
        Value::Object(_) => {
            let fields = sorted(value).into_iter();
            format!(
                "map[{}]",
                joined(fields.map(|(key, value)| format!("{key}:{}", plain(value))))
            )
        }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}

/// Returns the fields of an object in the order of their names, as Go goes
/// through maps.
pub(super) fn sorted(value: &Value) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = value.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(key, _)| *key);
    fields
}

/// Returns a text in quotes, as `%q` prints it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The flags, width and precision of a verb.
#[derive(Clone, Copy, Debug, Default)]
struct Verb {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Prints `arguments` as `format` says.
pub(super) fn formatted(format: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut chars = format.chars().peekable();
    let (mut next, mut reordered) = (0, false);
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.next_if(|c| "+-# 0".contains(*c)) {
            match flag {
                '+' => verb.plus = true,
                '-' => verb.minus = true,
                '#' => verb.sharp = true,
                ' ' => verb.space = true,
                _ => verb.zero = true,
            }
        }
        let mut wrong = false;
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
                          next: &mut usize| {
            if chars.next_if_eq(&'*').is_some() {
                let given = arguments.get(*next).and_then(Value::as_i64);
                *next += 1;
                wrong |= given.is_none_or(|given| given.unsigned_abs() > WIDEST as u64);
                return given;
            }
            let mut number = None;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                chars.next();
                let so_far: i64 = number.unwrap_or(0);
                number = Some((so_far * 10 + i64::from(digit)).min(WIDEST as i64));
            }
            number
        };
        let mut index = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>, next: &mut usize| {
            if chars.next_if_eq(&'[').is_some() {
                let digits: String = chars.by_ref().take_while(|c| *c != ']').collect();
                reordered = true;
                *next = match digits.parse::<usize>() {
                    Ok(place) if place > 0 => place - 1,
                    _ => usize::MAX,
                };
            }
        };
        index(&mut chars, &mut next);
        if let Some(width) = number(&mut chars, &mut next) {
            verb.minus |= width < 0;
            verb.width = usize::try_from(width.unsigned_abs()).ok();
        }
        if chars.next_if_eq(&'.').is_some() {
            index(&mut chars, &mut next);
            let precision = number(&mut chars, &mut next).unwrap_or(0);
            verb.precision = usize::try_from(precision).ok();
        }
        index(&mut chars, &mut next);
        if wrong {
            text.push_str("%!(BADWIDTH)");
            verb.width = None;
            verb.precision = None;
        }
        match chars.next() {
            None => text.push_str("%!(NOVERB)"),
            Some('%') => text.push('%'),
            Some(letter) => {
                match arguments.get(next) {
                    Some(value) => text.push_str(&verb.print(letter, value)),
                    None if reordered => text.push_str(&format!("%!{letter}(BADINDEX)")),
                    None => text.push_str(&format!("%!{letter}(MISSING)")),
                }
                next = next.saturating_add(1);
            }
        }
    }
    if !reordered && next < arguments.len() {
        let extra = arguments[next..].iter().map(typed).collect::<Vec<_>>();
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text
}

fn typed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        value => format!("{}={}", kind(value), plain(value)),
    }
}

/// Returns the name of a value's type in Go.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

impl Verb {
    fn print(self, letter: char, value: &Value) -> String {
        let wrong = || format!("%!{letter}({})", typed(value));
        match (letter, value) {
            ('T', value) => self.pad(kind(value), false),
            ('v', Value::Null) => self.pad("<nil>", false),
            (_, Value::Null) => wrong(),
            (letter, Value::Array(items)) => {
                format!(
                    "[{}]",
                    joined(items.iter().map(|item| self.print(letter, item)))
                )
            }
            (letter, Value::Object(_)) => {
                let fields = sorted(value).into_iter().map(|(key, value)| {
                    let key = Value::from(key.as_str());
                    format!("{}:{}", self.print(letter, &key), self.print(letter, value))
                });
                format!("map[{}]", joined(fields))
            }
            ('v' | 't', Value::Bool(it)) => self.pad(&it.to_string(), false),
            ('v', Value::String(text)) if self.sharp => self.pad(&quoted(text), false),
            ('v' | 's', Value::String(text)) => self.pad(&self.cut(text), false),
            ('q', Value::String(text)) => self.pad(&quoted(&self.cut(text)), false),
            ('x' | 'X', Value::String(text)) => {
                let lower: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
                let digits = if letter == 'X' {
                    lower.to_uppercase()
                } else {
                    lower
                };
                self.pad(&digits, false)
            }
            ('v', Value::Number(number)) if number.is_f64() => {
                self.float('g', number.as_f64().unwrap_or(0.0))
            }
            ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Number(number)) if number.is_f64() => {
                self.float(letter, number.as_f64().unwrap_or(0.0))
            }
            (letter, Value::Number(number)) if !number.is_f64() => {
                let signed = number.as_i64().map(i128::from);
                let whole = signed.or(number.as_u64().map(i128::from)).unwrap_or(0);
                self.whole(letter, whole).unwrap_or_else(wrong)
            }
            _ => wrong(),
        }
    }

    /// Cuts a text to the precision, characters.
    fn cut(self, text: &str) -> String {
        text.chars()
            .take(self.precision.unwrap_or(usize::MAX))
            .collect()
    }

    fn whole(self, letter: char, number: i128) -> Option<String> {
        let size = number.unsigned_abs();
        let (digits, prefix) = match letter {
            'v' | 'd' => (size.to_string(), ""),
            'b' => (format!("{size:b}"), "0b"),
            'o' => (format!("{size:o}"), "0"),
            'O' => (format!("{size:o}"), "0o"),
            'x' => (format!("{size:x}"), "0x"),
            'X' => (format!("{size:X}"), "0X"),
            'c' | 'q' | 'U' => {
                let c = u32::try_from(size).ok().and_then(char::from_u32);
                let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
                let text = match letter {
                    'c' => c.to_string(),
                    'q' if c == '\'' => "'\\''".to_owned(),
                    'q' if c == '"' => "'\"'".to_owned(),
                    'q' => quoted(&c.to_string()).replace('"', "'"),
                    _ => format!("U+{size:04X}"),
                };
                return Some(self.pad(&text, false));
            }
            _ => return None,
        };
        let least = self.precision.unwrap_or(0);
        let digits = format!("{digits:0>least$}");
        let prefix = if self.sharp || letter == 'O' {
            prefix
        } else {
            ""
        };
        Some(self.signed(
            number < 0,
            &format!("{prefix}{digits}"),
            self.precision.is_none(),
        ))
    }

    fn float(self, letter: char, number: f64) -> String {
        let size = number.abs();
        let text = match letter {
            'f' | 'F' => format!("{size:.*}", self.precision.unwrap_or(6)),
            'e' | 'E' => exponential(&format!("{size:.*e}", self.precision.unwrap_or(6))),
            _ => general(size, self.precision),
        };
        let text = match letter {
            'E' | 'G' => text.to_uppercase(),
            _ => text,
        };
        self.signed(number.is_sign_negative(), &text, true)
    }

    fn signed(self, negative: bool, digits: &str, zeros: bool) -> String {
        let sign = match negative {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        };
        let width = self.width.unwrap_or(0);
        if self.zero && zeros && !self.minus {
            let width = width.saturating_sub(sign.len());
            return format!("{sign}{digits:0>width$}");
        }
        self.pad(&format!("{sign}{digits}"), true)
    }

    fn pad(self, text: &str, number: bool) -> String {
        let width = self.width.unwrap_or(0);
        match () {
            () if self.minus => format!("{text:<width$}"),
            () if self.zero && !number => format!("{text:0>width$}"),
            () => format!("{text:>width$}"),
        }
    }
}

/// `%g`: the exponent where the number is very small or large.
fn general(number: f64, precision: Option<usize>) -> String {
    let digits = match precision {
        Some(precision) => format!("{number:.*e}", precision.max(1) - 1),
        None => format!("{number:e}"),
    };
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    };
    let most = match precision {
        Some(precision) => i32::try_from(precision.max(1)).unwrap_or(i32::MAX),
        // strconv.FormatFloat: the shortest form goes by six digits.
        None => 6,
    };
    if exponent < -4 || exponent >= most {
        return exponential(&format!("{mantissa}e{exponent}"));
    }
    let whole: f64 = format!("{mantissa}e{exponent}").parse().unwrap_or(number);
    whole.to_string()
}

/// Writes an exponent with a sign and two digits.
fn exponential(number: &str) -> String {
    let (mantissa, exponent) = number.split_once('e').unwrap_or((number, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
