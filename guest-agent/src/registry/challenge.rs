//! `WWW-Authenticate`: what a registry wants to see (RFC 9110, section 11.6.1).

use http_auth::ChallengeRef;
use http_auth::parser::ChallengeParser;

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user's name and password with every request.
    Basic,
    /// A token from elsewhere: distribution's token specification.
    Bearer {
        realm: String,
        service: String,
        scope: String,
    },
}

impl Challenge {
    /// Reads one header, and of its challenges the first of a scheme that is
    /// spoken here; `None` where there is none.
    pub(super) fn parse(header: &str) -> Option<Challenge> {
        // Ends at the first error: what stands before it is good.
        ChallengeParser::new(header)
            .map_while(Result::ok)
            .find_map(|challenge| Challenge::read(&challenge))
    }

    fn read(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
        if challenge.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !challenge.scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameter = |name: &str| {
            let mut parameters = challenge.params.iter();
            let (_, value) = parameters.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            Some(value.to_unescaped())
        };
        Some(Challenge::Bearer {
            realm: parameter("realm")?,
            service: parameter("service").unwrap_or_default(),
            scope: parameter("scope").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn challenges_of_real_registries_are_read() {
        assert_eq!(
            Challenge::parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ),
            Some(Challenge::Bearer {
                realm: "https://auth.docker.io/token".to_owned(),
                service: "registry.docker.io".to_owned(),
                scope: "repository:a/b:pull,push".to_owned(),
            })
        );
        assert_eq!(
            Challenge::parse(r#"Basic realm="Registry""#),
            Some(Challenge::Basic)
        );
        assert_eq!(
            Challenge::parse(r#"Negotiate, bearer Realm="a\"b" , error=invalid_token"#),
            Some(Challenge::Bearer {
                realm: "a\"b".to_owned(),
                service: String::new(),
                scope: String::new(),
            })
        );
        assert_eq!(Challenge::parse("Negotiate abc"), None);
        assert_eq!(Challenge::parse("Bearer service=\"x\""), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_challenge_or_none(text in "((Bearer|Basic) )?\\PC{0,80}") {
            let _ = Challenge::parse(&text);
        }
    }
}
