//! The field `replies`: what the filter's own replies tell, and to whom.

use super::error::ConfigError;
use super::object::Object;
use super::string_match;
use super::uri::HttpUri;
use crate::cors::{ANY_ORIGIN, Cors};
use crate::grammar::is_token;
use crate::reply::{Detail, Replies};
use crate::string_match::StringMatch;
use std::rc::Rc;

pub(super) fn read(object: Option<Object>, realm: Option<Rc<str>>) -> Result<Replies, ConfigError> {
    let Some(mut object) = object else {
        return Ok(Replies {
            realm,
            cors: None,
            detail: Detail::default(),
            resource_metadata: None,
        });
    };
    let replies = Replies {
        realm,
        cors: object.object("cors")?.map(read_cors).transpose()?,
        detail: object.choice(
            "detail",
            &[("full", Detail::Full), ("none", Detail::None)],
            Detail::default(),
        )?,
        resource_metadata: resource_metadata(&mut object)?,
    };
    object.finish()?;
    Ok(replies)
}

/// The URL for the challenge (RFC 9728 §5.1). Its quotes need no escapes: a URI holds none.
fn resource_metadata(object: &mut Object) -> Result<Option<String>, ConfigError> {
    let Some(url) = object.string("resourceMetadata")? else { return Ok(None) };
    let problem = match HttpUri::parse(&url) {
        Ok(uri) if !uri.is_https => {
            "would tell clients over http:// whom to trust (RFC 9728 §2); use https://"
        }
        Ok(_) if url.contains(['"', '\\']) => "holds a character that a URI may not hold",
        Ok(_) => return Ok(Some(url)),
        Err(problem) => problem,
    };
    Err(object.error("resourceMetadata", format!("{url:?} {problem}")))
}

fn read_cors(mut object: Object) -> Result<Cors, ConfigError> {
    let allow_credentials = object.bool("allowCredentials", false)?;
    let mend = "name an origin, such as {\"exact\": \"https://app.example.com\"}";
    let read = |item| read_origin(item, allow_credentials);
    let allow_origins = string_match::list(&mut object, "allowOrigins", mend, read)?;
    let cors = Cors {
        allow_origins,
        allow_credentials,
        expose_headers: exposed(&mut object, allow_credentials)?,
    };
    object.finish()?;
    Ok(cors)
}

fn read_origin(item: Object, allow_credentials: bool) -> Result<StringMatch, ConfigError> {
    let path = item.path().clone();
    let origin = string_match::read(item)?;
    if let StringMatch::Exact(exact) = &origin
        && let Some(problem) = why_none_sends(exact)
    {
        return Err(ConfigError::new(&path.member("exact"), format!("{exact:?} {problem}")));
    }
    if allow_credentials && ANYBODYS.iter().any(|anybodys| origin.matches(anybodys)) {
        return Err(ConfigError::new(
            &path,
            "takes any page for a friend, and allowCredentials has it read what its visitors are \
             told; name the origins, or leave allowCredentials out",
        ));
    }
    Ok(origin)
}

/// Why no browser sends this as its page's origin.
fn why_none_sends(exact: &str) -> Option<&'static str> {
    if [ANY_ORIGIN, NO_ORIGIN].contains(&exact) {
        return None;
    }
    match exact.split_once("://") {
        None => Some("is not an origin; write one such as \"https://app.example.com\", or \"*\""),
        Some(_) if !exact.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') => {
            Some("holds a character that no origin does; write hosts in ASCII, one in each item")
        }
        Some((_, rest)) if rest.contains(['/', '?', '#']) => {
            Some("is no origin: those end after the host and its port; remove what follows")
        }
        Some(_) if exact.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Some("holds capitals, and browsers send origins in small letters; write it so")
        }
        Some(_) => None,
    }
}

fn exposed(object: &mut Object, allow_credentials: bool) -> Result<Vec<String>, ConfigError> {
    let Some(names) = object.optional_strings("exposeHeaders")? else {
        return Ok(DEFAULT_EXPOSED.map(str::to_owned).into());
    };
    let path = object.path().member("exposeHeaders");
    for (index, name) in names.iter().enumerate() {
        let problem = match name.as_str() {
            "*" if allow_credentials => {
                "is not taken for all headers where there are credentials; name them"
            }
            name if !is_token(name) => "is not the name of a header (RFC 9110 §5.1)",
            _ => continue,
        };
        return Err(ConfigError::new(&path.item(index), format!("{name:?} {problem}")));
    }
    Ok(names)
}

/// What a client needs of a refusal.
pub(super) const DEFAULT_EXPOSED: [&str; 2] = ["WWW-Authenticate", "Retry-After"];
/// The origin of pages that have none, such as any sandboxed frame.
const NO_ORIGIN: &str = "null";
/// What nobody means to allow, unless everybody.
const ANYBODYS: [&str; 8] = [
    ANY_ORIGIN,
    NO_ORIGIN,
    "http://zq7x.invalid",
    "https://zq7x.invalid",
    "https://zq7x.com",
    "https://azq7x.com",
    "https://azq7x.net:8443",
    "https://azq7xexample.com",
];

#[cfg(test)]
mod tests {
    use super::super::error::Path;
    use super::*;
    use serde_json::{Value, json};

    fn read_from(value: Value) -> Result<Replies, ConfigError> {
        read(Some(Object::new(value, Path::default().member("replies"))?), None)
    }

    fn cors(allow_credentials: bool, origin: Value) -> Value {
        json!({"cors": {"allowOrigins": [origin], "allowCredentials": allow_credentials}})
    }

    #[track_caller]
    fn assert_refused(value: Value, path: &str, mend: &str) {
        let error = read_from(value.clone()).err().unwrap_or_else(|| panic!("accepted: {value}"));
        assert_eq!(error.path(), path, "{value}: {error}");
        assert!(error.to_string().contains(mend), "{value}: {error}");
    }

    #[test]
    fn pages_may_read_what_a_client_needs() {
        let replies = read_from(cors(false, json!({"exact": "*"}))).unwrap();

        let cors = replies.cors.unwrap();
        assert!(!cors.allow_credentials);
        assert_eq!(cors.expose_headers, ["WWW-Authenticate", "Retry-After"]);
    }

    #[test]
    fn cors_needs_an_origin() {
        for cors in [json!({}), json!({"allowOrigins": []})] {
            let path = "replies.cors.allowOrigins";
            assert_refused(json!({"cors": cors}), path, "is missing or empty; name an origin");
        }
        let many = json!({"cors": {"allowOrigins": vec![json!({"regex": "a"}); 65]}});
        assert_refused(
            many,
            "replies.cors.allowOrigins",
            "has 65 items with regex, and at most 64",
        );
        let path = "replies.cors.allowOrigins[0]";
        assert_refused(cors(false, json!("*")), path, "expected an object, found a string");
        assert_refused(
            cors(false, json!({})),
            path,
            "takes exactly one of exact, prefix and regex",
        );
        let allow_methods = json!({"cors": {"allowOrigins": [{"exact": "*"}], "allowMethods": []}});
        assert_refused(allow_methods, "replies.cors.allowMethods", "the fields here are");
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused() {
        for (exact, mend) in [
            ("app.example.com", "write one such as \"https://app.example.com\""),
            ("https://app.example.com/", "remove what follows"),
            ("https://app.example.com?x", "remove what follows"),
            ("https://App.example.com", "small letters"),
            ("https://b\u{fc}cher.example", "write hosts in ASCII"),
            ("https://a.example,https://b.example", "one in each item"),
        ] {
            assert_refused(
                cors(false, json!({"exact": exact})),
                "replies.cors.allowOrigins[0].exact",
                mend,
            );
        }
        for exact in ["null", "*", "http://localhost:3000", "capacitor://localhost"] {
            assert!(read_from(cors(false, json!({"exact": exact}))).is_ok(), "{exact}");
        }
    }

    #[test]
    fn credentials_are_not_for_pages_that_anybody_can_make() {
        for origin in [
            json!({"exact": "*"}),
            json!({"exact": "null"}),
            json!({"prefix": "*"}),
            json!({"prefix": "h"}),
            json!({"prefix": "https://"}),
            json!({"prefix": "http://"}),
            json!({"regex": ".*"}),
            json!({"regex": "https://.*\\.com"}),
            json!({"regex": "https://.*example\\.com"}),
            json!({"regex": "https://[^z].*"}),
            json!({"regex": "https?://.+"}),
            json!({"regex": "https://[a-z0-9.]+"}),
            json!({"regex": "null|https://app\\.example\\.com"}),
        ] {
            assert!(read_from(cors(false, origin.clone())).is_ok(), "{origin}");
            let path = "replies.cors.allowOrigins[0]";
            assert_refused(cors(true, origin), path, "name the origins, or leave");
        }
        for origin in [
            json!({"exact": "https://app.example.com"}),
            json!({"prefix": "https://preview-"}),
            json!({"regex": "https://[a-z0-9-]+\\.example\\.com"}),
        ] {
            assert!(read_from(cors(true, origin.clone())).is_ok(), "{origin}");
        }
    }

    #[test]
    fn what_is_exposed_are_names_of_headers() {
        let exposing = |names: Value, allow_credentials: bool| {
            json!({"cors": {
                "allowOrigins": [{"exact": "https://a.example"}],
                "allowCredentials": allow_credentials,
                "exposeHeaders": names,
            }})
        };
        let path = "replies.cors.exposeHeaders[1]";

        assert_refused(exposing(json!(["A", "B C"]), false), path, "not the name of a header");
        assert_refused(exposing(json!(["A", "B,C"]), false), path, "not the name of a header");
        assert_refused(exposing(json!(["A", "*"]), true), path, "name them");
        for names in [json!([]), json!(["*"]), json!(["X-Request-Id"])] {
            assert!(read_from(exposing(names.clone(), false)).is_ok(), "{names}");
        }
    }

    #[test]
    fn the_resources_metadata_are_at_an_https_url() {
        let path = "replies.resourceMetadata";
        for (url, mend) in [
            ("http://api.example.com/.well-known/oauth-protected-resource", "use https://"),
            ("http://localhost/x", "use https://"),
            ("/.well-known/oauth-protected-resource", "is not an https://"),
            ("https://api.example.com/\"x", "holds a character that a URI may not hold"),
            ("https://api.example.com/\\x", "holds a character that a URI may not hold"),
            ("https://api.example.com/ x", "holds a character that a URI may not hold"),
            ("https://api.example.com/#x", "remove everything from '#'"),
        ] {
            assert_refused(json!({"resourceMetadata": url}), path, mend);
        }
    }

    #[test]
    fn how_much_is_told_is_a_word() {
        let mend = "\"some\" is not one of \"full\", \"none\"";
        assert_refused(json!({"detail": "some"}), "replies.detail", mend);
    }
}
