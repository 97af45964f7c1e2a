//! Shell patterns as Go's `path.Match`: `*` and `?` do not cross a slash.

/// Tells whether a text fits a pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    // Where to go on when a star has to take one byte more.
    let (mut pattern_at, mut text_at, mut star) = (0, 0, None);
    loop {
        if pattern.get(pattern_at) == Some(&b'*') {
            star = Some((pattern_at, text_at));
            pattern_at += 1;
            continue;
        }
        if text_at == text.len() && pattern_at == pattern.len() {
            return true;
        }
        let byte = text.get(text_at).copied();
        if let Some(length) = byte.and_then(|byte| one(&pattern[pattern_at..], byte)) {
            (pattern_at, text_at) = (pattern_at + length, text_at + 1);
            continue;
        }
        match star {
            Some((at, taken)) if text.get(taken).is_some_and(|byte| *byte != b'/') => {
                star = Some((at, taken + 1));
                (pattern_at, text_at) = (at + 1, taken + 1);
            }
            _ => return false,
        }
    }
}

/// Returns how much of a pattern one byte fits: a byte, `?`, `\` and a byte, or a
/// class such as `[a-z]`.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => (byte != b'/').then_some(1),
        [b'\\', escaped, ..] => (*escaped == byte).then_some(2),
        [b'[', class @ ..] => {
            let (negated, class) = match class {
                [b'^', rest @ ..] => (true, rest),
                _ => (false, class),
            };
            let end = class.iter().skip(1).position(|byte| *byte == b']')? + 1;
            let mut set = &class[..end];
            let mut found = false;
            while let [low, rest @ ..] = set {
                let (high, rest) = match rest {
                    [b'-', high, rest @ ..] => (high, rest),
                    _ => (low, rest),
                };
                found |= (*low..=*high).contains(&byte);
                set = rest;
            }
            (found != negated && byte != b'/').then_some(end + 2 + usize::from(negated))
        }
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_a_path() {
        for (pattern, text, expected) in [
            ("nginx", "nginx", true),
            ("ngin?", "nginx", true),
            ("*", "nginx", true),
            ("*", "team/nginx", false),
            ("*/*", "team/nginx", true),
            ("team/n*x", "team/nginx", true),
            ("n*x", "ng/x", false),
            ("[m-o]ginx", "nginx", true),
            ("[^m-o]ginx", "nginx", false),
            ("[^a]ginx:*", "nginx:1", true),
            ("ngin\\x", "nginx", true),
            ("n*n*", "nginx", true),
            ("n*y", "nginx", false),
            ("[", "nginx", false),
            ("[a", "nginx", false),
            ("", "", true),
            ("", "n", false),
            ("a*b*c", "aXbXbXc", true),
        ] {
            let matched = matches(pattern, text);
            assert_eq!(matched, expected, "{pattern} {text}");
        }
    }
}
