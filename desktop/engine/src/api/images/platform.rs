//! The platform that a client means. An image has one here, and another one is not
//! found, as in Docker.

use http::StatusCode;
use http::request::Parts;
use serde_json::Value;
use wherry_proto::v1::Image;

use super::list::find;
use crate::api::Api;
use crate::api::error::{ApiError, Result};
use crate::api::query::Query;
use crate::api::version::ApiVersion;

/// Checks the platform of a request that names an image, which clients may send in
/// JSON `since` a version.
///
/// # Errors
///
/// As [`check`].
pub(super) async fn of_request(
    api: &Api,
    name: &str,
    parts: &Parts,
    since: ApiVersion,
) -> Result<()> {
    if ApiVersion::of(parts) < since {
        return Ok(());
    }
    for wanted in Query::of(&parts.uri).all("platform") {
        of_image(api, name, &wanted).await?;
    }
    Ok(())
}

/// Checks the platform of an image that is here; an image that is not is for others
/// to tell of.
///
/// # Errors
///
/// As [`check`].
pub(in crate::api) async fn of_image(api: &Api, name: &str, wanted: &str) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    match find(api, name.to_owned()).await {
        Ok(image) => check(&image, name, wanted),
        Err(_) => Ok(()),
    }
}

/// Checks that an image is for the platform that is wanted; any where none is.
///
/// # Errors
///
/// 404 in Docker's words for another one, 400 for what names none.
pub(super) fn check(image: &Image, name: &str, wanted: &str) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let words = parse(wanted).ok_or_else(|| {
        ApiError::bad_request(format!(
            "invalid platform {wanted:?}: write os/architecture"
        ))
    })?;
    let normal = |word: &str| match word {
        "x86_64" | "x86-64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        word => word.to_lowercase(),
    };
    let own = [&image.os, &image.architecture, &image.variant];
    // Of what either does not say, everything fits.
    let fits = words
        .iter()
        .zip(own)
        .all(|(wanted, own)| wanted.is_empty() || own.is_empty() || normal(wanted) == normal(own));
    if fits {
        return Ok(());
    }
    let joined = |words: [&str; 3]| {
        let words = words.into_iter().filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("/")
    };
    Err(ApiError::new(
        StatusCode::NOT_FOUND,
        format!(
            "image with reference {name} was found but its platform ({}) does not match the specified platform ({})",
            joined(own.map(String::as_str)),
            joined([&words[0], &words[1], &words[2]]),
        ),
    ))
}

/// Reads `os/architecture/variant`, an architecture alone, and OCI's form in JSON.
fn parse(text: &str) -> Option<[String; 3]> {
    if let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) {
        let field = |key: &str| {
            let value = fields.get(key).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        return Some(["os", "architecture", "variant"].map(field));
    }
    let is_word = |word: &&str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let words: Vec<&str> = text.split('/').collect();
    if !words.iter().all(is_word) {
        return None;
    }
    let words = match words[..] {
        ["linux"] => ["linux", "", ""],
        [architecture] => ["", architecture, ""],
        [os, architecture] => [os, architecture, ""],
        [os, architecture, variant] => [os, architecture, variant],
        _ => return None,
    };
    Some(words.map(str::to_owned))
}

#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(text: &str) {
    let _ = check(&Image::default(), "x", text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_platform_is_not_found() {
        let image = Image {
            os: "linux".to_owned(),
            architecture: "arm64".to_owned(),
            variant: "v8".to_owned(),
            ..Image::default()
        };
        let answer = |wanted: &str| match check(&image, "app", wanted) {
            Ok(()) => 200,
            Err(error) => error.status().as_u16(),
        };
        for (wanted, status) in [
            ("", 200),
            ("linux/arm64", 200),
            ("linux/aarch64/v8", 200),
            ("arm64", 200),
            ("linux/amd64", 404),
            ("linux/arm64/v7", 404),
            ("windows/arm64", 404),
            (r#"{"os":"linux","architecture":"arm64"}"#, 200),
            (r#"{"os":"linux","architecture":"s390x"}"#, 404),
            ("linux/", 400),
            ("a/b/c/d", 400),
        ] {
            assert_eq!(answer(wanted), status, "{wanted}");
        }
        let error = check(&image, "app", "linux/amd64").unwrap_err();
        assert!(
            error
                .message()
                .ends_with("(linux/arm64/v8) does not match the specified platform (linux/amd64)")
        );
    }
}
