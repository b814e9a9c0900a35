//! The local reply for each reason: status, challenge and problem document.

use crate::reason::{BearerError, Reason};
use std::rc::Rc;
use std::time::Duration;

/// A response that the proxy sends instead of forwarding the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalReply {
    /// The HTTP status; Envoy turns it into a `grpc-status` for gRPC callers.
    pub status: u16,
    /// The headers, in addition to Envoy's own.
    pub headers: Vec<(&'static str, String)>,
    /// A problem document (RFC 9457).
    pub body: String,
}

impl LocalReply {
    /// `scopes` are those that the rule requires; `retry_in` is when a retry may succeed.
    pub(crate) fn new(
        reason: Reason,
        realm: &str,
        scopes: &[String],
        retry_in: Option<Duration>,
    ) -> Self {
        let mut headers = vec![problem_json()];
        if let Some(challenge) = challenge(reason, realm, scopes) {
            headers.push(("www-authenticate", challenge));
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
        Self { status: reason.status(), headers, body }
    }
}

/// The realm for a request to this authority: only what a challenge can hold.
pub(crate) fn realm(authority: &str) -> Rc<str> {
    authority.chars().filter(is_quotable).take(MAX_QUOTED_CHARS).collect::<String>().into()
}

fn problem_json() -> (&'static str, String) {
    ("content-type", "application/problem+json".to_owned())
}

/// The challenge of RFC 6750 §3; without `error` when no token was given.
fn challenge(reason: Reason, realm: &str, scopes: &[String]) -> Option<String> {
    let error = match reason.error() {
        BearerError::None => return None,
        BearerError::Challenge => return Some(format!("Bearer realm={}", quoted(realm))),
        BearerError::InsufficientScope => "insufficient_scope",
        BearerError::InvalidRequest => "invalid_request",
        BearerError::InvalidToken => "invalid_token",
    };
    let mut challenge = format!(
        "Bearer realm={}, error=\"{error}\", error_description={}",
        quoted(realm),
        quoted(reason.detail())
    );
    if reason == Reason::ScopeInsufficient {
        challenge.push_str(", scope=");
        challenge.push_str(&quoted(&scopes.join(" ")));
    }
    Some(challenge)
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

    fn header<'a>(reply: &'a LocalReply, name: &str) -> Option<&'a str> {
        reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    fn reply(reason: Reason) -> LocalReply {
        LocalReply::new(reason, "api", &["a".into(), "b".into()], Some(Duration::from_millis(1200)))
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
        let reply = LocalReply::new(Reason::TokenMissing, "a\"b\\c\r\nd\u{e9}", &[], None);

        assert_eq!(header(&reply, "www-authenticate"), Some("Bearer realm=\"a\\\"b\\\\cd\""));
    }
}
