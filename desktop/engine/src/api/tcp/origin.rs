//! Requests that a browser makes for somebody else's page, which a client's
//! certificate in that browser would let through.

use http::uri::Authority;
use http::{HeaderMap, StatusCode, Uri, header};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;

use crate::api::error::{ApiError, Result};

/// The names that the server's certificate is for.
pub(in crate::api) struct Names(CertificateDer<'static>);

impl Names {
    pub(super) fn of(certificate: CertificateDer<'static>) -> Self {
        Self(certificate)
    }

    fn has(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else {
            return false;
        };
        let host = authority.host().trim_matches(['[', ']']);
        let (Ok(name), Ok(certificate)) = (
            ServerName::try_from(host),
            ParsedCertificate::try_from(&self.0),
        ) else {
            return false;
        };
        verify_server_name(&certificate, &name).is_ok()
    }

    /// Checks that a request is meant for this server, and is no web page's.
    ///
    /// A page whose name an attacker has lead here (DNS rebinding) has another name
    /// than the certificate, for whatever name stands in the address a browser
    /// sends. A page of another site gives itself away by `Origin`, or by
    /// `Sec-Fetch-Site` where there is none. Docker's clients send neither.
    ///
    /// # Errors
    ///
    /// 403, and 400 without a `Host`.
    pub(in crate::api) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<()> {
        let hosts = headers.get_all(header::HOST).iter();
        let mut hosts = hosts.map(|host| host.to_str().unwrap_or_default());
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(ApiError::bad_request("a request has to have one Host"));
        };
        let asked = uri.authority().map(Authority::as_str);
        if let Some(wrong) = [Some(host), asked]
            .into_iter()
            .flatten()
            .find(|name| !self.has(name))
        {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                format!(
                    "the engine's certificate is not for {wrong:?}: name it with `wherry certificates create --name`"
                ),
            ));
        }
        let of_page = headers.contains_key(header::ORIGIN)
            || headers
                .get("sec-fetch-site")
                .is_some_and(|site| site != "none");
        if of_page {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "requests of web pages are refused",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    fn names() -> Names {
        let folder = tempfile::tempdir().unwrap();
        let name = ["box.lan".to_owned()];
        let files = wherry_client::certificates::create(folder.path(), &name, false).unwrap();
        Names::of(CertificateDer::from_pem_file(files.certificate).unwrap())
    }

    fn check(names: &Names, uri: &str, headers: &[(&'static str, &str)]) -> u16 {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        match names.check(&uri.parse().unwrap(), &headers.collect()) {
            Ok(()) => 200,
            Err(error) => error.status().as_u16(),
        }
    }

    #[test]
    fn only_the_names_of_the_certificate_are_answered() {
        let names = names();
        for (host, answer) in [
            ("localhost:2376", 200),
            ("127.0.0.1", 200),
            ("[::1]:2376", 200),
            ("BOX.lan:2376", 200),
            ("box.lan.evil.example", 403),
            ("evil.example:2376", 403),
            ("127.0.0.2", 403),
            ("", 403),
            ("a b", 403),
        ] {
            assert_eq!(check(&names, "/_ping", &[("host", host)]), answer, "{host}");
        }
        assert_eq!(check(&names, "/_ping", &[]), 400);
        assert_eq!(
            check(&names, "http://evil.example/", &[("host", "localhost")]),
            403
        );
    }

    #[test]
    fn web_pages_are_refused() {
        let names = names();
        let with = |header| check(&names, "/_ping", &[("host", "localhost"), header]);
        assert_eq!(with(("origin", "https://evil.example")), 403);
        assert_eq!(with(("origin", "null")), 403);
        assert_eq!(with(("sec-fetch-site", "cross-site")), 403);
        assert_eq!(with(("sec-fetch-site", "same-origin")), 403);
        assert_eq!(with(("sec-fetch-site", "none")), 200);
    }
}
