//! `--filter` of `wherry images`.

use wherry_proto::v1::{Image, InspectImageRequest};

use wherry_docker::pattern;

use crate::connection::Connection;
use crate::failure::Failure;
use crate::options::parse_moment;

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
    [tag, wherry_docker::reference::familiar(tag)]
        .into_iter()
        .any(|name| {
            let (repository, _) = wherry_docker::reference::split_tag(name);
            pattern::matches(pattern, name) || pattern::matches(pattern, repository)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_pattern_of_names() {
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
