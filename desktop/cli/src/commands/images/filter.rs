//! `--filter` of `wherry images`.

use wherry_proto::v1::{Image, InspectImageRequest};

use crate::connection::Connection;
use crate::failure::Failure;
use crate::options::parse_moment;
use crate::output;

/// One condition, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Dangling(bool),
    /// `KEY` or `KEY=VALUE`.
    Label(String),
    WithoutLabel(String),
    /// A pattern of names.
    Reference(String),
    /// Made before this image.
    Before(String),
    /// Made after this image.
    Since(String),
    /// Made before this moment, nanoseconds since 1970.
    Until(i64),
}

pub(super) fn parse(text: &str) -> Result<Filter, String> {
    if let Some(label) = text.strip_prefix("label!=") {
        return Ok(Filter::WithoutLabel(label.to_owned()));
    }
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    Ok(match (key, value.to_owned()) {
        (_, value) if value.is_empty() => return Err(unknown(text)),
        ("dangling", value) => match value.as_str() {
            "true" | "1" => Filter::Dangling(true),
            "false" | "0" => Filter::Dangling(false),
            _ => {
                return Err(format!(
                    "invalid filter 'dangling={value}': write dangling=true or dangling=false"
                ));
            }
        },
        ("label", value) => Filter::Label(value),
        ("reference", value) => Filter::Reference(value),
        ("before", value) => Filter::Before(value),
        ("since", value) => Filter::Since(value),
        ("until", value) => Filter::Until(parse_moment(&value)?),
        _ => return Err(unknown(text)),
    })
}

fn unknown(text: &str) -> String {
    format!(
        "invalid filter {text:?}: write dangling=BOOL, label=KEY[=VALUE], label!=KEY[=VALUE], \
         reference=PATTERN, before=IMAGE, since=IMAGE or until=TIME"
    )
}

/// Filters whose images were looked up.
#[derive(Debug, Default)]
pub(super) struct Filters {
    simple: Vec<Filter>,
    before_ns: Option<i64>,
    since_ns: Option<i64>,
}

impl Filters {
    /// Looks up the images that `before` and `since` name.
    ///
    /// # Errors
    ///
    /// Where there is no such image.
    pub(super) async fn resolve(
        connection: &Connection,
        filters: &[Filter],
    ) -> Result<Self, Failure> {
        let mut resolved = Self::default();
        for filter in filters {
            let (name, limit) = match filter {
                Filter::Before(name) => (name, &mut resolved.before_ns),
                Filter::Since(name) => (name, &mut resolved.since_ns),
                other => {
                    resolved.simple.push(other.clone());
                    continue;
                }
            };
            let name = name.clone();
            let request = InspectImageRequest { name };
            let image = connection.images().inspect(request).await?;
            *limit = Some(created_ns(image.get_ref()));
        }
        Ok(resolved)
    }

    /// Keeps the images that fit, of each the names that do.
    pub(super) fn apply(&self, images: &mut Vec<Image>) {
        let patterns = self.simple.iter().filter_map(|filter| match filter {
            Filter::Reference(pattern) => Some(pattern.as_str()),
            _ => None,
        });
        let patterns: Vec<_> = patterns.collect();
        if !patterns.is_empty() {
            for image in &mut *images {
                let fits = |tag: &String| patterns.iter().any(|pattern| is_like(tag, pattern));
                image.tags.retain(fits);
            }
            images.retain(|image| !image.tags.is_empty());
        }
        images.retain(|image| self.fits(image));
    }

    fn fits(&self, image: &Image) -> bool {
        let created = created_ns(image);
        let has = |label: &str| {
            let labels = image.config.as_ref().map(|config| &config.labels);
            let (key, value) = match label.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (label, None),
            };
            let found = labels.and_then(|labels| labels.get(key));
            found.is_some_and(|found| value.is_none_or(|value| found == value))
        };
        self.before_ns.is_none_or(|limit| created < limit)
            && self.since_ns.is_none_or(|limit| created > limit)
            && self.simple.iter().all(|filter| match filter {
                Filter::Dangling(dangling) => image.tags.is_empty() == *dangling,
                Filter::Label(label) => has(label),
                Filter::WithoutLabel(label) => !has(label),
                Filter::Until(until) => created < *until,
                Filter::Reference(_) | Filter::Before(_) | Filter::Since(_) => true,
            })
    }
}

fn created_ns(image: &Image) -> i64 {
    let created = image.created.unwrap_or_default();
    created
        .seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(created.nanos.into())
}

/// Tells whether a name fits a pattern as Docker's `reference` filter has it: the
/// short or the full name, with its tag or without.
fn is_like(tag: &str, pattern: &str) -> bool {
    [tag, output::familiar(tag)].into_iter().any(|name| {
        let (repository, _) = output::split_tag(name);
        matches(pattern.as_bytes(), name.as_bytes())
            || matches(pattern.as_bytes(), repository.as_bytes())
    })
}

/// Shell patterns as Go's `path.Match`: `*` and `?` do not cross a slash.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
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
            let matched = matches(pattern.as_bytes(), text.as_bytes());
            assert_eq!(matched, expected, "{pattern} {text}");
        }
        let tag = "docker.io/library/nginx:1.27";
        for pattern in ["nginx", "nginx:1.*", "docker.io/library/*", "ng*"] {
            assert!(is_like(tag, pattern), "{pattern}");
        }
        assert!(!is_like(tag, "redis*"));
    }

    #[test]
    fn every_filter_keeps_what_fits() {
        let image = |tag: &str, seconds, label: &str| {
            let mut image = Image::default();
            image.tags.extend((!tag.is_empty()).then(|| tag.to_owned()));
            image.created = Some(prost_types::Timestamp { seconds, nanos: 0 });
            image.config.get_or_insert_default().labels =
                [("kind".to_owned(), label.to_owned())].into();
            image
        };
        let all = [
            image("docker.io/library/web:1", 100, "app"),
            image("", 200, "app"),
            image("docker.io/library/db:1", 300, "data"),
        ];
        let kept = |filters: &[&str]| {
            let simple = filters.iter().map(|text| parse(text).unwrap()).collect();
            let mut images = all.to_vec();
            let filters = Filters {
                simple,
                ..Filters::default()
            };
            filters.apply(&mut images);
            images
                .iter()
                .map(created_ns)
                .map(|at| at / 1_000_000_000)
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(&["dangling=true"]), [200]);
        assert_eq!(kept(&["dangling=false"]), [100, 300]);
        assert_eq!(kept(&["label=kind"]), [100, 200, 300]);
        assert_eq!(kept(&["label=kind=app"]), [100, 200]);
        assert_eq!(kept(&["label!=kind=app"]), [300]);
        assert_eq!(kept(&["reference=w*", "reference=db:1"]), [100, 300]);
        assert_eq!(kept(&["reference=w*", "label=kind=data"]), [0; 0]);
        assert_eq!(kept(&["until=250"]), [100, 200]);
        let filters = Filters {
            before_ns: Some(300_000_000_000),
            since_ns: Some(100_000_000_000),
            ..Filters::default()
        };
        let mut images = all.to_vec();
        filters.apply(&mut images);
        assert_eq!(images, all[1..2]);
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for text in [
            "",
            "colour=red",
            "dangling",
            "dangling=maybe",
            "label=",
            "until=never",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
