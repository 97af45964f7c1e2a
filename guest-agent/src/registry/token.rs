//! Tokens: distribution's "Token Authentication Specification" and "Oauth2
//! Token Authentication".

use std::net::Ipv4Addr;

use base64::Engine;
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};

use super::access::Credential;
use super::answer::{reason, words};
use super::transport::from_here;

/// The largest answer of a token server, bytes.
const MAX_ANSWER: usize = 1024 * 1024;
/// Who asks, in Docker's own field for it.
const CLIENT: &str = "wherry";

/// The header that a registry takes.
pub(super) struct Authorization {
    pub(super) header: HeaderValue,
    /// To be kept instead of a password; often empty.
    pub(super) identity_token: String,
}

/// What to ask a token server.
pub(super) struct TokenRequest<'a> {
    pub(super) realm: Url,
    pub(super) service: String,
    pub(super) scopes: Vec<String>,
    pub(super) credential: Option<&'a Credential>,
}

/// Why there is no token.
pub(super) enum Failure {
    Connection(String),
    Refused(String),
    Malformed(String),
}

#[derive(serde::Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
}

impl Authorization {
    /// RFC 7617. `None` for an identity token, which is no password.
    pub(super) fn basic(credential: &Credential) -> Option<Authorization> {
        if !credential.identity_token.is_empty() {
            return None;
        }
        let text = format!("{}:{}", credential.username, credential.password);
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        Authorization::sensitive(&format!("Basic {text}"), String::new())
    }

    fn sensitive(value: &str, identity_token: String) -> Option<Authorization> {
        let mut header = HeaderValue::from_str(value).ok()?;
        header.set_sensitive(true);
        Some(Authorization {
            header,
            identity_token,
        })
    }
}

/// Asks for a token.
pub(super) async fn fetch(
    client: &reqwest::Client,
    host: Ipv4Addr,
    request: &TokenRequest<'_>,
) -> Result<Authorization, Failure> {
    let mut realm = from_here(&request.realm, host);
    let identity = request
        .credential
        .filter(|credential| !credential.identity_token.is_empty());
    let builder = if let Some(credential) = identity {
        let scope = request.scopes.join(" ");
        let form = form(
            &realm,
            &[
                ("grant_type", "refresh_token"),
                ("service", &request.service),
                ("client_id", CLIENT),
                ("scope", &scope),
                ("refresh_token", &credential.identity_token),
            ],
        );
        client
            .post(realm)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
    } else {
        {
            let mut query = realm.query_pairs_mut();
            if !request.service.is_empty() {
                query.append_pair("service", &request.service);
            }
            for scope in &request.scopes {
                query.append_pair("scope", scope);
            }
            if let Some(credential) = request.credential {
                query.append_pair("account", &credential.username);
                query.append_pair("client_id", CLIENT);
                query.append_pair("offline_token", "true");
            }
        }
        let builder = client.get(realm);
        match request.credential.and_then(Authorization::basic) {
            Some(basic) => builder.header(reqwest::header::AUTHORIZATION, basic.header),
            None => builder,
        }
    };
    let mut response = builder
        .send()
        .await
        .map_err(|error| Failure::Connection(reason(&error)))?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure::Connection(reason(&error)))?
    {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::Malformed(
                "its token server's answer has no end".to_owned(),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    if status != StatusCode::OK {
        let reason = words(&body).unwrap_or_else(|| format!("its token server says {status}"));
        return Err(Failure::Refused(reason));
    }
    let malformed = || Failure::Malformed("its token server gives no token".to_owned());
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| malformed())?;
    let token = if answer.token.is_empty() {
        answer.access_token
    } else {
        answer.token
    };
    if token.is_empty() {
        return Err(malformed());
    }
    Authorization::sensitive(&format!("Bearer {token}"), answer.refresh_token).ok_or_else(malformed)
}

/// The encoding of a query is that of a form.
fn form(base: &Url, fields: &[(&str, &str)]) -> String {
    let mut url = base.clone();
    url.query_pairs_mut().clear().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}
