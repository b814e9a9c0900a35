//! What `jwt_authn` refuses the result refuses too, or a looser effect is listed: with random rules
//! over two providers, by what Envoy documents of them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use lab::token::{Key, Token, now};
use mesh_jwt::config::Config;
use mesh_jwt::explain::{Decision, Explainer, Mask};
use mesh_jwt::request::RequestHead;
use mesh_jwt::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Settings, RngSeed, TestRunner};
use serde_json::{Value, json};

use super::super::conversion::Options;
use super::super::report::Effect;
use super::super::tests::try_convert;

#[derive(Clone, Debug)]
struct Source {
    /// Of the provider `a`.
    has_audience: bool,
    has_subject: bool,
    rules: Vec<(Matched, Need)>,
}

#[derive(Clone, Copy, Debug)]
struct Matched {
    path: Path,
    needs_header: bool,
}

#[derive(Clone, Copy, Debug)]
enum Path {
    Prefix(&'static str),
    Exact(&'static str),
    Segments(&'static str),
    /// A regex, and what begins all that it matches; it matches all of that.
    Regex(&'static str, &'static str),
}

#[derive(Clone, Copy, Debug)]
enum Need {
    Nothing,
    A,
    B,
    AWithOtherAudience,
    Either,
    AOrNothing,
    AnyOrNothing,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    path: &'static str,
    has_header: bool,
    token: Option<Claims>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Claims {
    issuer: &'static str,
    audience: &'static str,
    subject: &'static str,
}

impl Source {
    fn message(&self) -> Value {
        let provider = |issuer: &str| {
            json!({ "issuer": issuer, "remote_jwks": { "http_uri": {
                "uri": "https://auth.example.com/jwks", "cluster": "auth", "timeout": "1s",
            } } })
        };
        let mut a = provider(A);
        if self.has_audience {
            a["audiences"] = json!([OWN]);
        }
        if self.has_subject {
            a["subjects"] = json!({ "exact": ONLY });
        }
        let rule = |(matched, need): &(Matched, Need)| {
            let mut rule = json!({ "match": matched.message() });
            if let Some(requirement) = need.message() {
                rule["requires"] = requirement;
            }
            rule
        };
        let rules: Vec<_> = self.rules.iter().map(rule).collect();
        json!({ "providers": { "a": a, "b": provider(B) }, "rules": rules })
    }

    fn passes(&self, request: &Request) -> bool {
        let rule = self.rules.iter().find(|(matched, _)| matched.is_for(request));
        let Some((_, need)) = rule else { return true };
        let is_good = |issuer: &str, audience: Option<&str>| {
            request.token.is_some_and(|token| {
                let has_more = issuer == A;
                let own = (has_more && self.has_audience).then_some(OWN);
                token.issuer == issuer
                    && audience.or(own).is_none_or(|audience| token.audience == audience)
                    && (!has_more || !self.has_subject || token.subject == ONLY)
            })
        };
        let either = || is_good(A, None) || is_good(B, None);
        match need {
            Need::Nothing => true,
            Need::A => is_good(A, None),
            Need::B => is_good(B, None),
            Need::AWithOtherAudience => is_good(A, Some(OTHER)),
            Need::Either => either(),
            Need::AOrNothing => request.token.is_none() || is_good(A, None),
            Need::AnyOrNothing => request.token.is_none() || either(),
        }
    }
}

impl Matched {
    fn message(&self) -> Value {
        let mut message = match self.path {
            Path::Prefix(prefix) => json!({ "prefix": prefix }),
            Path::Exact(path) => json!({ "path": path }),
            Path::Segments(path) => json!({ "path_separated_prefix": path }),
            Path::Regex(regex, _) => json!({ "safe_regex": { "regex": regex } }),
        };
        if self.needs_header {
            message["headers"] = json!([{ "name": "x-y", "present_match": true }]);
        }
        message
    }

    fn is_for(&self, request: &Request) -> bool {
        let is_path = match self.path {
            Path::Prefix(prefix) | Path::Regex(_, prefix) => request.path.starts_with(prefix),
            Path::Exact(path) => request.path == path,
            Path::Segments(path) => request
                .path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        };
        is_path && (request.has_header || !self.needs_header)
    }
}

impl Need {
    fn message(self) -> Option<Value> {
        let named = |name: &str| json!({ "provider_name": name });
        let any =
            |one: Value, other: Value| json!({ "requires_any": { "requirements": [one, other] } });
        let missing = || json!({ "allow_missing": {} });
        Some(match self {
            Self::Nothing => return None,
            Self::A => named("a"),
            Self::B => named("b"),
            Self::AWithOtherAudience => json!({ "provider_and_audiences": {
                "provider_name": "a", "audiences": [OTHER],
            } }),
            Self::Either => any(named("a"), named("b")),
            Self::AOrNothing => any(named("a"), missing()),
            Self::AnyOrNothing => missing(),
        })
    }
}

/// The compact form of each token.
fn compact(claims: Claims) -> &'static str {
    static TOKENS: OnceLock<BTreeMap<Claims, String>> = OnceLock::new();
    let sign = |claims: Claims| {
        let Claims { issuer, audience, subject } = claims;
        let token = Token::good().claim("iss", issuer).claim("aud", audience);
        (claims, token.claim("sub", subject).compact())
    };
    &TOKENS.get_or_init(|| all_claims().into_iter().map(sign).collect())[&claims]
}

fn all_claims() -> Vec<Claims> {
    let mut all = Vec::new();
    for issuer in [A, B] {
        for audience in [OWN, OTHER] {
            all.extend([ONLY, "another"].map(|subject| Claims { issuer, audience, subject }));
        }
    }
    all
}

fn passes(explainer: &Explainer, request: &Request) -> bool {
    let authorization = request.token.map(|token| format!("Bearer {}", compact(token)));
    let mut headers =
        vec![(":method", "GET"), (":authority", "shop.example.com"), (":path", request.path)];
    headers.extend(request.has_header.then_some(("x-y", "1")));
    headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
    let head: RequestHead<'_> =
        headers.into_iter().map(|(name, value)| (name, value.as_bytes())).collect();
    let explanation = explainer.explain(&head, Timestamp::from_secs(now()), Mask::Values);
    matches!(explanation.decision, Decision::Passes { .. })
}

fn sources() -> impl Strategy<Value = Source> {
    let prefixes = || select(&["/", "/x", "/x/", "/v1", "/v1/", "/v1/x", "/v1/x/"][..]);
    let path = prop_oneof![
        3 => prefixes().prop_map(Path::Prefix),
        1 => select(PATHS).prop_map(Path::Exact),
        1 => select(&["/x", "/v1", "/v1/x"][..]).prop_map(Path::Segments),
        1 => select(&[("/x/?.*", "/x"), ("/v1/x/*.*", "/v1/x"), ("/v1/.*", "/v1/")][..])
            .prop_map(|(regex, literal)| Path::Regex(regex, literal)),
    ];
    let matched = (path, prop::bool::weighted(0.2))
        .prop_map(|(path, needs_header)| Matched { path, needs_header });
    let need = select(
        &[
            Need::Nothing,
            Need::A,
            Need::B,
            Need::AWithOtherAudience,
            Need::Either,
            Need::AOrNothing,
            Need::AnyOrNothing,
        ][..],
    );
    let rules = prop::collection::vec((matched, need), 1..5);
    (prop::bool::weighted(0.3), prop::bool::weighted(0.2), rules)
        .prop_map(|(has_audience, has_subject, rules)| Source { has_audience, has_subject, rules })
}

#[test]
fn what_is_refused_there_passes_only_where_a_looser_effect_is_listed() {
    let token = prop::option::weighted(0.9, select(all_claims()));
    let request = (select(PATHS), any::<bool>(), token)
        .prop_map(|(path, has_header, token)| Request { path, has_header, token });
    let requests = prop::collection::vec(request, 48);
    let mut settings = Settings { failure_persistence: None, ..Settings::default() };
    if settings.rng_seed == RngSeed::Random {
        settings.rng_seed = RngSeed::Fixed(0);
    }
    let keys = json!({ "keys": [Key::alpha().jwk()] }).to_string();
    let (converted, refused) = (std::cell::Cell::new(0_u32), std::cell::Cell::new(0_u32));

    let result = TestRunner::new(settings).run(&(sources(), requests), |(source, requests)| {
        let Ok((manifests, report)) =
            try_convert(&source.message().to_string(), Options::default())
        else {
            return Ok(());
        };
        if report.not_carried_over.iter().any(|lost| lost.effect == Effect::Looser) {
            return Ok(());
        }
        converted.set(converted.get() + 1);
        let config = super::tests::config(&manifests[0]);
        let mut explainer = Explainer::new(Config::parse(config.to_string().as_bytes()).unwrap());
        explainer.publish(None, keys.as_bytes()).unwrap();
        for request in requests.iter().filter(|request| !source.passes(request)) {
            refused.set(refused.get() + 1);
            prop_assert!(!passes(&explainer, request), "{request:?} passes {config}");
        }
        Ok(())
    });

    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(converted.get() > 0 && refused.get() > 0, "nothing was tried");
}

const A: &str = "https://a.example.com";
const B: &str = "https://b.example.com";
const OWN: &str = "own";
const OTHER: &str = "other";
const ONLY: &str = "only";
const PATHS: &[&str] = &[
    "/",
    "/x",
    "/x/",
    "/x/1",
    "/xy",
    "/xy/1",
    "/v1",
    "/v1/",
    "/v1/x",
    "/v1/x/",
    "/v1/xy",
    "/v1/x/1",
    "/v1/admin",
    "/v2",
];
