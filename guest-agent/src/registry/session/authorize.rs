//! What a registry wants of those who ask, and getting it.

use std::sync::PoisonError;

use reqwest::header::{self, HeaderValue};
use reqwest::{Response, Url};

use super::Session;
use crate::registry::Error;
use crate::registry::access::is_loopback;
use crate::registry::challenge::Challenge;
use crate::registry::token::{self, Authorization};

impl Session {
    pub(super) fn authorization_header(&self) -> Option<HeaderValue> {
        let authorization = self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        authorization.as_ref().map(|present| present.header.clone())
    }

    /// Gets what a 401 asks for.
    pub(super) async fn authorize(&self, response: &Response) -> Result<(), Error> {
        let challenge = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .next()
            .ok_or_else(|| self.unauthorized("it does not say how to log in"))?;
        let authorization = match challenge {
            Challenge::Basic => {
                let credential = self.endpoint.credential.as_ref();
                let credential =
                    credential.ok_or_else(|| self.unauthorized("it wants a name and password"))?;
                Authorization::basic(credential)
                    .ok_or_else(|| self.unauthorized("it takes no identity token"))?
            }
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let realm = Url::parse(&realm)
                    .map_err(|_| self.dishonest("its token server has no valid address"))?;
                let plain = realm.scheme() != "https";
                if plain
                    && !(self.endpoint.insecure
                        && (self.base.scheme() == "http" || is_loopback(&realm)))
                {
                    return Err(self.dishonest("its token server is asked without TLS"));
                }
                let request = token::TokenRequest {
                    realm,
                    service,
                    scopes: self.scopes(&scope),
                    credential: self.endpoint.credential.as_ref(),
                };
                token::fetch(&self.client, self.access.host, &request)
                    .await
                    .map_err(|failure| match failure {
                        token::Failure::Connection(reason) => {
                            self.unreachable(&format!("its token server: {reason}"))
                        }
                        token::Failure::Refused(reason) => self.unauthorized(&reason),
                        token::Failure::Malformed(reason) => self.dishonest(&reason),
                    })?
            }
        };
        *self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    /// distribution, "Token Scope Documentation".
    fn scopes(&self, asked: &str) -> Vec<String> {
        let scope = &self.scope;
        if scope.repository.is_empty() {
            return Some(asked.to_owned())
                .filter(|scope| !scope.is_empty())
                .into_iter()
                .collect();
        }
        let own = format!("repository:{}:{}", scope.repository, scope.actions);
        let sources = scope.sources.iter();
        std::iter::once(own)
            .chain(sources.map(|source| format!("repository:{source}:pull")))
            .collect()
    }

    /// Returns the identity token that came with the authorization, if one did.
    pub(in crate::registry) fn identity_token(&self) -> String {
        let authorization = self
            .authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        authorization
            .as_ref()
            .map(|present| present.identity_token.clone())
            .unwrap_or_default()
    }
}
