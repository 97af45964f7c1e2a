//! What strangers say, made fit to be shown.

/// Returns what an HTTP error comes from: its own words only say that there is one.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    if error.is_timeout() {
        return "it does not answer in time".to_owned();
    }
    plain(&deepest.to_string())
}

/// Returns the messages of a distribution error (distribution-spec, "Error Codes").
pub(super) fn words(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        #[serde(default)]
        errors: Vec<Entry>,
        #[serde(default)]
        details: String,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    let said: Vec<_> = envelope
        .errors
        .iter()
        .map(|entry| match entry.message.as_str() {
            "" => entry.code.clone(),
            message => message.to_owned(),
        })
        .chain(Some(envelope.details))
        .filter(|said| !said.is_empty())
        .collect();
    Some(plain(&said.join("; "))).filter(|said| !said.is_empty())
}

/// One line of what a stranger says, without control characters.
fn plain(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(300)
        .collect();
    text.trim().to_owned()
}
