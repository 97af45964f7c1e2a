//! Who the client is at a registry: it says so itself, in a header.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use wherry_client::{Settings, registry};
use wherry_proto::v1::{LoginRequest, RegistryAccess, RegistryCredential};

use crate::api::error::{ApiError, Result};
use crate::api::{Api, body};

const AUTH: &str = "x-registry-auth";

/// With padding or without, for clients do both.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// What a client sends of its user; `auth` has the name and password again.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    serveraddress: String,
}

impl Auth {
    /// Reads the header, in base64 of either alphabet. One that cannot be read is
    /// nobody, as Docker has it.
    fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(AUTH).map_or(&b""[..], |value| value.as_bytes());
        let decoded = [URL_SAFE, STANDARD]
            .iter()
            .find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok());
        let parsed = decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        parsed.unwrap_or_default()
    }

    fn credential(self, registry: &str) -> Option<RegistryCredential> {
        let (mut username, mut password) = (self.username, self.password);
        if username.is_empty() && !self.auth.is_empty() {
            let bytes = GeneralPurpose::new(&STANDARD, LENIENT)
                .decode(&self.auth)
                .ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (name, secret) = text.split_once(':')?;
            (username, password) = (name.to_owned(), secret.to_owned());
        }
        let somebody = !username.is_empty() || !self.identitytoken.is_empty();
        somebody.then(|| RegistryCredential {
            registry: registry.to_owned(),
            username,
            password,
            identity_token: self.identitytoken,
        })
    }
}

/// Returns how an image's registry is reached, with the client's credential.
///
/// # Errors
///
/// 500 where the settings are wrong.
pub(super) fn of_image(api: &Api, image: &str, headers: &HeaderMap) -> Result<RegistryAccess> {
    access(api, registry::of_image(image), Auth::of(headers))
}

fn access(api: &Api, registry: &str, auth: Auth) -> Result<RegistryAccess> {
    let settings = Settings::load(api.home()).map_err(ApiError::internal)?;
    Ok(RegistryAccess {
        credentials: auth.credential(registry).into_iter().collect(),
        ..registry::public_access(&settings, registry)
    })
}

/// `POST /auth`: asks the registry whether it takes what the client has.
pub(in crate::api) async fn login(State(api): State<Api>, request: Body) -> Result<Json<Value>> {
    let auth: Auth = body::json(request).await?;
    let registry = registry::of_server(&auth.serveraddress).to_owned();
    let request = LoginRequest {
        access: Some(access(&api, &registry, auth)?),
        registry,
    };
    let answer = api.images().await?.login(request).await?.into_inner();
    Ok(Json(json!({
        "Status": "Login Succeeded",
        "IdentityToken": answer.identity_token,
    })))
}

#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(text: &[u8]) {
    if let Ok(value) = http::HeaderValue::from_bytes(text) {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(AUTH), value)]);
        let _ = Auth::of(&headers).credential("x");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    fn credential(encoded: &str) -> Option<RegistryCredential> {
        let headers = [(
            http::HeaderName::from_static(AUTH),
            encoded.parse().unwrap(),
        )];
        Auth::of(&headers.into_iter().collect()).credential("box.lan")
    }

    #[test]
    fn credentials_are_read_in_every_form_of_clients() {
        let json = r#"{"username":"me","password":"p?>~","serveraddress":"box.lan"}"#;
        for encoded in [
            BASE64_STANDARD.encode(json),
            BASE64_URL_SAFE_NO_PAD.encode(json),
        ] {
            let found = credential(&encoded).unwrap();
            assert_eq!((&*found.username, &*found.password), ("me", "p?>~"));
        }
        let both = format!(r#"{{"auth":"{}"}}"#, BASE64_STANDARD.encode("me:a:b"));
        assert_eq!(
            credential(&BASE64_STANDARD.encode(both)).unwrap().password,
            "a:b"
        );
        let token = BASE64_STANDARD.encode(r#"{"identitytoken":"t"}"#);
        assert_eq!(credential(&token).unwrap().identity_token, "t");
    }

    #[test]
    fn nobody_is_nobody() {
        for encoded in ["", "e30=", "bnVsbA==", "%%%", "bm8="] {
            assert_eq!(credential(encoded), None, "{encoded}");
        }
    }
}
