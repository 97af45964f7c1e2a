//! Images, as `images` and `history` show them.

use std::time::SystemTime;

use serde_json::{Value, json};
use wherry_client::size;
use wherry_docker::human;
use wherry_docker::reference::{familiar, short_id, split_tag};
use wherry_proto::v1::Image;
use wherry_proto::v1::image_history_response::Step;

/// Returns the rows of an image in `images`, one for each of its names.
pub(crate) fn rows(image: &Image, full: bool, now: SystemTime) -> Vec<Value> {
    let row = |repository: &str, tag: &str| {
        json!({
            "CreatedAt": human::date(image.created.as_ref()),
            "CreatedSince": format!("{} ago", human::since(image.created.as_ref(), now)),
            "Digest": if image.manifest_digest.is_empty() { "<none>" } else { image.manifest_digest.as_str() },
            "ID": if full { image.id.as_str() } else { short_id(&image.id) },
            "Repository": repository,
            "Size": size::decimal(image.size),
            "Tag": tag,
        })
    };
    if image.tags.is_empty() {
        return vec![row("<none>", "<none>")];
    }
    image
        .tags
        .iter()
        .map(|tag| {
            let (repository, tag) = split_tag(familiar(tag));
            row(repository, tag)
        })
        .collect()
}

/// Returns the row of one step in `history`.
pub(crate) fn history_row(step: &Step, full: bool, people: bool, now: SystemTime) -> Value {
    let created = step.created.as_ref();
    let at = human::rfc3339(created);
    let id = match step.id.as_str() {
        "" => "<missing>",
        id if full => id,
        id => short_id(id),
    };
    let by = step.created_by.replace('\t', " ");
    json!({
        "ID": id,
        "CreatedAt": at,
        "CreatedSince": match (created, people) {
            (None, true) => "N/A".to_owned(),
            (Some(_), true) => format!("{} ago", human::since(created, now)),
            (_, false) => at,
        },
        "CreatedBy": if full { by } else { ellipsis(&by, 45) },
        "Size": if people { size::decimal(step.size) } else { step.size.to_string() },
        "Comment": step.comment,
    })
}

/// Cuts a text to so many characters, the last of them an ellipsis.
pub(crate) fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept = text.chars().take(most.saturating_sub(1));
    kept.chain(['…']).collect()
}
