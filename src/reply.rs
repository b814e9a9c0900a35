//! The local reply for each reason: status, challenge and problem document, and who may read it.

use crate::cors::{self, Cors};
use crate::reason::{BearerError, Reason};
use crate::request::RequestHead;
use std::rc::Rc;
use std::time::Duration;

/// A response that the proxy sends instead of forwarding the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalReply {
    /// The HTTP status; Envoy turns it into a `grpc-status` for gRPC callers.
    pub status: u16,
    /// The headers, in addition to Envoy's own.
    pub headers: Vec<(&'static str, String)>,
    /// A problem document (RFC 9457), or nothing.
    pub body: String,
}

impl LocalReply {
    /// The reply to a request that comes before there is a configuration.
    #[must_use]
    pub fn internal_error() -> Self {
        let body = r#"{"title":"Internal Server Error","status":500}"#.to_owned();
        Self { status: 500, headers: vec![problem_json()], body }
    }
}

/// What every local reply of a configuration has in common.
#[derive(Clone, Debug)]
pub struct Replies {
    /// The `realm` of challenges; if absent, the request's authority.
    pub(crate) realm: Option<Rc<str>>,
    pub(crate) cors: Option<Cors>,
    pub(crate) detail: Detail,
    /// The URL of the protected resource's metadata (RFC 9728).
    pub(crate) resource_metadata: Option<String>,
}

/// How much a reply tells.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[cfg_attr(
    not(target_arch = "wasm32"),
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline),
    serde(rename_all = "lowercase")
)]
pub enum Detail {
    /// why, in its challenge and in a problem document
    #[default]
    Full,
    /// no body, and no `error`, `error_description` or `scope` in the challenge
    None,
}

/// Where a reply takes from what it takes from its request.
pub(crate) enum Recipient<'r> {
    /// The head of the request. Most get no reply, so nothing is taken before that is certain.
    Head(&'r RequestHead<'r>),
    /// What was taken, since the request waits and its head will be gone.
    Kept(Kept),
}

/// What a reply takes from its request.
#[derive(Clone)]
pub(crate) struct Kept {
    realm: Rc<str>,
    /// The origin of the page, which need not be allowed. Only kept if it matters.
    origin: Option<Box<str>>,
}

impl Replies {
    /// What a reply to this recipient takes from the request.
    pub(crate) fn keep(&self, recipient: &Recipient<'_>) -> Kept {
        match recipient {
            Recipient::Head(request) => Kept {
                realm: self.realm.clone().unwrap_or_else(|| realm(&request.authority())),
                origin: self.cors.as_ref().and_then(|_| cors::origin_of(request)).map(Box::from),
            },
            Recipient::Kept(kept) => kept.clone(),
        }
    }

    /// Whether [`Self::internal_error`] depends on the request.
    #[must_use]
    pub fn depend_on_requests(&self) -> bool {
        self.cors.is_some()
    }

    /// `scopes` are those that the rule requires; `retry_in` is when a retry may succeed.
    pub(crate) fn refusal(
        &self,
        reason: Reason,
        to: &Recipient<'_>,
        scopes: &[String],
        retry_in: Option<Duration>,
    ) -> LocalReply {
        let to = self.keep(to);
        let mut headers = Vec::new();
        if reason.error() != BearerError::None {
            headers.push(("www-authenticate", self.challenge(reason, &to.realm, scopes)));
        }
        if reason.status() == 503 {
            let retry_in = retry_in.unwrap_or_default();
            let began = u64::from(retry_in.subsec_nanos() > 0);
            let whole_seconds = retry_in.as_secs().saturating_add(began).max(1);
            headers.push(("retry-after", whole_seconds.to_string()));
        }
        // None of these texts needs escaping in JSON.
        let body = format!(
            r#"{{"title":"{}","status":{},"code":"{}","detail":"{}"}}"#,
            title(reason.status()),
            reason.status(),
            reason.code(),
            reason.detail()
        );
        self.reply(reason.status(), headers, body, to.origin.as_deref())
    }

    /// The reply to a request that the filter cannot read or edit, and so cannot let through.
    #[must_use]
    pub fn internal_error(&self, request: Option<&RequestHead<'_>>) -> LocalReply {
        let LocalReply { status, body, .. } = LocalReply::internal_error();
        self.reply(status, Vec::new(), body, request.and_then(cors::origin_of))
    }

    fn reply(
        &self,
        status: u16,
        mut headers: Vec<(&'static str, String)>,
        mut body: String,
        origin: Option<&str>,
    ) -> LocalReply {
        match self.detail {
            Detail::Full => headers.push(problem_json()),
            Detail::None => body.clear(),
        }
        if let Some(cors) = &self.cors {
            cors.add_headers(origin, &mut headers);
        }
        LocalReply { status, headers, body }
    }

    /// The challenge of RFC 6750 §3; without `error` when no token was given.
    fn challenge(&self, reason: Reason, realm: &str, scopes: &[String]) -> String {
        let mut challenge = format!("Bearer realm={}", quoted(realm));
        let mut add = |name: &str, value: &str| {
            challenge.push_str(", ");
            challenge.push_str(name);
            challenge.push('=');
            challenge.push_str(&quoted(value));
        };
        if let Some(error) = reason.error().code().filter(|_| self.detail == Detail::Full) {
            add("error", error);
            add("error_description", reason.detail());
            if reason == Reason::ScopeInsufficient {
                add("scope", &scopes.join(" "));
            }
        }
        if let Some(url) = &self.resource_metadata {
            // As long as it is: the operator wrote it, and it holds no quotes.
            challenge.push_str(&format!(", resource_metadata=\"{url}\""));
        }
        challenge
    }
}

fn problem_json() -> (&'static str, String) {
    ("content-type", "application/problem+json".to_owned())
}

/// The realm for a request to this authority: only what a challenge can hold.
fn realm(authority: &str) -> Rc<str> {
    authority.chars().filter(is_quotable).take(MAX_QUOTED_CHARS).collect::<String>().into()
}

/// A quoted-string (RFC 9110 §5.6.4). The realm may come from the client, so characters that no
/// header value may hold are dropped.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push('"');
    for c in text.chars().filter(is_quotable).take(MAX_QUOTED_CHARS) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

fn is_quotable(c: &char) -> bool {
    matches!(c, ' '..='~')
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        _ => "Service Unavailable",
    }
}

const MAX_QUOTED_CHARS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::string_match::StringMatch;

    fn header<'a>(reply: &'a LocalReply, name: &str) -> Option<&'a str> {
        reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    fn replies() -> Replies {
        Replies {
            realm: Some("api".into()),
            cors: None,
            detail: Detail::Full,
            resource_metadata: None,
        }
    }

    fn reply_of(replies: &Replies, reason: Reason, headers: &[(&str, &str)]) -> LocalReply {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        let head = headers.collect();
        let to = Recipient::Head(&head);
        replies.refusal(reason, &to, &["a".into(), "b".into()], Some(Duration::from_millis(1200)))
    }

    fn reply(reason: Reason) -> LocalReply {
        reply_of(&replies(), reason, &[])
    }

    #[test]
    fn challenges_follow_rfc_6750() {
        for (reason, expected) in [
            (Reason::TokenMissing, Some("Bearer realm=\"api\"")),
            (
                Reason::TokenExpired,
                Some(
                    "Bearer realm=\"api\", error=\"invalid_token\", \
                     error_description=\"the token has expired\"",
                ),
            ),
            (
                Reason::ScopeInsufficient,
                Some(
                    "Bearer realm=\"api\", error=\"insufficient_scope\", error_description=\"the \
                     token lacks a scope that this resource requires\", scope=\"a b\"",
                ),
            ),
            (
                Reason::MultipleTokens,
                Some(
                    "Bearer realm=\"api\", error=\"invalid_request\", error_description=\"the \
                     request carries more than one token\"",
                ),
            ),
            (Reason::JwksUnavailable, None),
        ] {
            assert_eq!(header(&reply(reason), "www-authenticate"), expected, "{reason}");
        }
    }

    #[test]
    fn every_reply_is_a_problem_document_with_its_code() {
        for reason in Reason::ALL {
            let reply = reply(*reason);
            let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();

            assert_eq!(header(&reply, "content-type"), Some("application/problem+json"));
            assert_eq!(body["code"], reason.code());
            assert_eq!(body["status"], reply.status);
            assert_eq!(header(&reply, "retry-after").is_some(), reply.status == 503, "{reason}");
        }
        assert_eq!(header(&reply(Reason::JwksUnavailable), "retry-after"), Some("2"));
    }

    #[test]
    fn a_realm_from_the_caller_cannot_leave_its_quotes() {
        let replies = Replies { realm: None, ..replies() };
        let authority = "a\"b\\c\r\nd\u{e9}";

        let reply = reply_of(&replies, Reason::TokenMissing, &[(":authority", authority)]);

        assert_eq!(header(&reply, "www-authenticate"), Some("Bearer realm=\"a\\\"b\\\\cd\""));
    }

    /// The longest URL is not cut off.
    #[test]
    fn every_challenge_names_the_resources_metadata() {
        let url = format!("https://api.example.com/{}", "x".repeat(2 * MAX_QUOTED_CHARS));
        for detail in [Detail::Full, Detail::None] {
            let replies = Replies { detail, resource_metadata: Some(url.clone()), ..replies() };
            for reason in Reason::ALL {
                let reply = reply_of(&replies, *reason, &[]);
                let challenge = header(&reply, "www-authenticate");

                assert_eq!(challenge.is_none(), reply.status == 503, "{reason}");
                let end = format!(", resource_metadata=\"{url}\"");
                assert!(challenge.is_none_or(|challenge| challenge.ends_with(&end)), "{reason}");
            }
        }
    }

    #[test]
    fn a_reply_without_detail_has_a_status_and_a_challenge() {
        let replies = Replies { detail: Detail::None, ..replies() };
        for reason in Reason::ALL {
            let reply = reply_of(&replies, *reason, &[]);

            assert_eq!(reply.status, reason.status());
            assert_eq!(reply.body, "");
            let expected = match reply.status {
                503 => ("retry-after", "2".to_owned()),
                _ => ("www-authenticate", "Bearer realm=\"api\"".to_owned()),
            };
            assert_eq!(reply.headers, [expected], "{reason}");
        }
        assert_eq!(replies.internal_error(None).body, "");
    }

    #[test]
    fn a_page_of_an_allowed_origin_may_read_every_reply() {
        let replies = Replies {
            cors: Some(Cors {
                allow_origins: vec![StringMatch::Prefix("https://app.".to_owned())],
                allow_credentials: true,
                expose_headers: vec!["X".to_owned()],
            }),
            ..replies()
        };
        let page = [("origin", "https://app.example.com")];
        let internal_error =
            replies.internal_error(Some(&[("origin", page[0].1.as_bytes())].into_iter().collect()));
        let refusals = Reason::ALL.iter().map(|reason| reply_of(&replies, *reason, &page));
        for reply in refusals.chain([internal_error]) {
            assert_eq!(header(&reply, "access-control-allow-origin"), Some(page[0].1));
            assert_eq!(header(&reply, "access-control-allow-credentials"), Some("true"));
            assert_eq!(header(&reply, "access-control-expose-headers"), Some("X"));
            assert_eq!(header(&reply, "vary"), Some("Origin"));
        }

        for others in [&[][..], &[("origin", "https://evil.example")]] {
            let reply = reply_of(&replies, Reason::TokenMissing, others);
            assert_eq!(header(&reply, "access-control-allow-origin"), None);
            assert_eq!(header(&reply, "vary"), Some("Origin"));
        }
        assert_eq!(header(&replies.internal_error(None), "vary"), Some("Origin"));
    }

    #[test]
    fn without_cors_a_reply_says_nothing_of_origins() {
        let reply = reply_of(&replies(), Reason::TokenMissing, &[("origin", "https://a.example")]);

        let mut names: Vec<_> = reply.headers.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "www-authenticate"]);
    }
}
