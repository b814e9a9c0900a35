//! Lets pages of other origins read the filter's own replies: the headers of the CORS protocol
//! (Fetch standard, §3.3).
//!
//! A `cors` filter behind this one does not see a request that is refused, and so adds none.

use crate::request::RequestHead;
use crate::string_match::StringMatch;

/// Who may read the filter's own replies, and what of them.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    pub(crate) allow_origins: Vec<StringMatch>,
    pub(crate) allow_credentials: bool,
    /// The headers that pages may read, besides those that they always may.
    pub(crate) expose_headers: Vec<String>,
}

impl Cors {
    /// Appends what a reply to a page of this origin needs.
    pub(crate) fn add_headers(
        &self,
        origin: Option<&str>,
        headers: &mut Vec<(&'static str, String)>,
    ) {
        // Without an origin too: a cache may not hand that reply to a page (Fetch standard, §3.3.5).
        headers.push(("vary", "Origin".to_owned()));
        let Some(origin) = origin.filter(|origin| self.allows(origin)) else { return };
        headers.push(("access-control-allow-origin", origin.to_owned()));
        if self.allow_credentials {
            headers.push(("access-control-allow-credentials", "true".to_owned()));
        }
        if !self.expose_headers.is_empty() {
            headers.push(("access-control-expose-headers", self.expose_headers.join(", ")));
        }
    }

    /// As Envoy's filter has it, what matches a `*` matches any origin.
    fn allows(&self, origin: &str) -> bool {
        let mut allowed = self.allow_origins.iter();
        allowed.any(|allowed| allowed.matches(ANY_ORIGIN) || allowed.matches(origin))
    }
}

/// The origin of the page that a request comes from; `None` if there is none, several, or what is
/// none.
pub(crate) fn origin_of<'r>(request: &RequestHead<'r>) -> Option<&'r str> {
    let mut origins = request.values("origin");
    let origin = origins.next().filter(|_| origins.next().is_none())?;
    // Envoy joins several with commas.
    let is_origin_byte = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
    let is_origin = origin.len() <= MAX_ORIGIN_BYTES && origin.iter().all(is_origin_byte);
    str::from_utf8(origin).ok().filter(|_| is_origin)
}

/// What stands for any origin in the configuration of Envoy's filter.
pub(crate) const ANY_ORIGIN: &str = "*";
/// A host of 253 characters with scheme and port fits in. Requests keep it while they wait.
const MAX_ORIGIN_BYTES: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn cors() -> Cors {
        Cors {
            allow_origins: vec![
                StringMatch::Exact("https://app.example.com".to_owned()),
                StringMatch::Prefix("https://preview-".to_owned()),
                StringMatch::regex(r"https://[a-z]+\.example\.org").unwrap(),
            ],
            allow_credentials: false,
            expose_headers: vec!["WWW-Authenticate".to_owned(), "Retry-After".to_owned()],
        }
    }

    fn headers(cors: &Cors, origin: Option<&str>) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        cors.add_headers(origin, &mut headers);
        headers
    }

    fn origins(values: &[&[u8]]) -> Option<String> {
        let request: RequestHead<'_> = values.iter().map(|value| ("origin", *value)).collect();
        origin_of(&request).map(str::to_owned)
    }

    #[test]
    fn an_allowed_origin_is_told_so() {
        for origin in
            ["https://app.example.com", "https://preview-7.example", "https://a.example.org"]
        {
            let expected = [
                ("vary", "Origin"),
                ("access-control-allow-origin", origin),
                ("access-control-expose-headers", "WWW-Authenticate, Retry-After"),
            ];
            let expected = expected.map(|(name, value)| (name, value.to_owned()));

            assert_eq!(headers(&cors(), Some(origin)), expected);
        }
    }

    #[test]
    fn others_are_told_only_that_it_depends_on_the_origin() {
        for origin in [
            None,
            Some("https://evil.example"),
            Some("http://app.example.com"),
            Some("https://app.example.com:8443"),
            Some("https://app.example.com.evil.example"),
            Some("null"),
            Some("*"),
        ] {
            assert_eq!(headers(&cors(), origin), [("vary", "Origin".to_owned())], "{origin:?}");
        }
    }

    #[test]
    fn credentials_and_exposed_headers_are_as_configured() {
        let cors = Cors { allow_credentials: true, expose_headers: Vec::new(), ..cors() };

        let names: Vec<_> = headers(&cors, Some("https://preview-")).into_iter().skip(2).collect();

        assert_eq!(names, [("access-control-allow-credentials", "true".to_owned())]);
    }

    #[test]
    fn what_matches_a_star_matches_any_origin() {
        for any in [
            StringMatch::Exact("*".to_owned()),
            StringMatch::Prefix("*".to_owned()),
            StringMatch::regex(".*").unwrap(),
        ] {
            let cors = Cors { allow_origins: vec![any], ..cors() };

            for origin in ["https://anybody.example", "null"] {
                assert!(cors.allows(origin), "{cors:?}");
            }
        }
    }

    #[test]
    fn only_one_whole_origin_is_an_origin() {
        assert_eq!(origins(&[b"https://a.example"]).as_deref(), Some("https://a.example"));
        assert_eq!(origins(&[b"null"]).as_deref(), Some("null"));
        assert_eq!(origins(&[]), None);
        assert_eq!(origins(&[b"https://a.example", b"https://b.example"]), None);
        assert_eq!(origins(&[b"https://a.example", b"https://a.example"]), None);
        for value in [
            &b"https://a.example,https://b.example"[..],
            b"https://a.example https://b.example",
            b"https://a.example\r\nset-cookie: x",
            b"https://\xe9.example",
            "https://\u{e9}.example".as_bytes(),
            &[b'a'; MAX_ORIGIN_BYTES + 1],
        ] {
            assert_eq!(origins(&[value]), None);
        }
    }
}
