//! Requests of up to 60 KB, which is what Envoy takes by default, made to cost as much as they can.

use serde_json::{Value, json};

/// One request, with what makes it dear.
pub(crate) struct Hostile {
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

/// Top-level fields, and fields of the first provider, that have the filter look at everything.
pub(crate) fn thorough(keys: &[Value]) -> (Value, Value) {
    let of_host = |number| json!({ "match": { "hosts": [format!("host-{number}.example.com")] }, "scopes": ["c"] });
    let mut rules: Vec<_> = (0..500).map(of_host).collect();
    let others = json!([
        { "match": { "hosts": ["*.open.example.com"], "methods": ["GET", "PUT"],
            "paths": ["/open/**", "/a/*/c"] }, "access": "public" },
        { "match": { "methods": ["DELETE"], "paths": ["/x/**"] }, "scopes": ["a", "b"] },
        { "match": { "paths": ["/public/**"] }, "access": "public" },
    ]);
    rules.extend(others.as_array().into_iter().flatten().cloned());
    let top = json!({ "rules": rules, "caseInsensitivePaths": true, "maxTokenBytes": 60_000,
        "jwksWaitTimeout": "3s",
        "replies": { "cors": { "allowOrigins": [{ "regex": ORIGINS }] } } });
    let provider = json!({
        "fromHeaders": [{ "name": "Authorization", "prefix": "Bearer " }],
        "fromCookies": ["access_token"],
        "fromParams": ["access_token"],
        "jwks": { "keys": keys },
        "outputPayloadToHeader": "X-Jwt-Payload",
        "outputClaimToHeaders": [
            { "header": "X-User-Id", "claim": "sub" },
            { "header": "X-Roles", "claim": "roles", "encoding": "base64url" },
        ],
    });
    (top, provider)
}

/// Another provider, with as many expressions for its tenants as there may be.
pub(crate) fn tenants() -> Value {
    json!({
        "name": "tenants",
        "issuers": {
            "template": "https://login.example.com/{tenant}/v2.0",
            "tenants": vec![json!({ "regex": TENANTS }); 64],
        },
    })
}

/// All of them; `sign` makes a token of a header and a payload.
pub(crate) fn requests(sign: impl Fn(&str, &str) -> String) -> Vec<Hostile> {
    let good = sign(HEADER, &payload("\"x\":1"));
    let bearer = |token: &str| vec![("authorization".to_owned(), format!("Bearer {token}"))];
    let of_token = |name, payload: String| Hostile {
        headers: bearer(&sign(HEADER, &payload)),
        ..plain(name, "/x")
    };
    let of_header = |name, text: String| Hostile {
        headers: bearer(&sign(&text, &payload("\"x\":1"))),
        ..plain(name, "/x")
    };
    let of_value = |name, header: &str, value: String| {
        let mut headers = vec![(header.to_owned(), value)];
        if header != "authorization" {
            headers.extend(bearer(&good));
        }
        Hostile { headers, ..plain(name, "/x") }
    };
    let of_path = |name, path: String| Hostile { headers: bearer(&good), ..plain(name, &path) };
    // Longer ones are not read.
    let path = |text: &str| text.repeat(16_000 / text.len());
    let of_host =
        |name, host: String| Hostile { host, headers: bearer(&good), ..plain(name, "/x") };
    let filled = |text: &str| text.repeat(58_000 / text.len());
    let in_token = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    let lookalikes = (0..90_usize).map(|n| {
        let separator = |n: usize| ["-", "_", ".", "~"].get(n % 4).copied().unwrap_or("-");
        (format!("x{}user{}id", separator(n), separator(n / 4)), "a.b".repeat(200))
    });
    let overrides = (0..90).map(|n| ("x-http-method".to_owned(), format!("{n}").repeat(300)));
    let everything = [
        ("upgrade".to_owned(), "websocket".to_owned()),
        ("connection".to_owned(), "upgrade, x-user-id, x_roles".to_owned()),
        ("cookie".to_owned(), "Access%5Ftoken=a.b; ".repeat(500)),
    ];

    vec![
        Hostile { headers: bearer(&good), ..plain("nothing but a good token", "/x") },
        of_host("a long authority", filled("a.")),
        of_host("an authority of ports", filled("a:")),
        of_path("a path of dots", path("/..")),
        of_path("a path of segments", path("/a")),
        of_path("a path of slashes", path("/")),
        of_path("a path of escapes", format!("/{}", path("%25%32%66"))),
        of_path("a path of what has to be escaped", format!("/{}", path("\"<"))),
        of_path("an ambiguous path", path("/a;b%2f..\\")),
        of_path("an ambiguous path with ends", path("/a%00;b%2f..\\%23")),
        of_path("an ambiguous path in capitals", path("/A;B%2F..%5C%2561")),
        of_path("a path that is too long", filled("/..")),
        Hostile {
            host: "a".repeat(40_000),
            ..plain("a path that is too long of a long authority", &"/a".repeat(8_500))
        },
        of_path("a query of parameters", format!("/x?{}", filled("a=b&"))),
        of_path("a query of escapes", format!("/x?{}", filled("%61=%62&"))),
        of_path("a query of tokens", format!("/x?{}", filled("Access.Token=a.b&"))),
        of_path("a query of separators", format!("/x?{}", filled(";"))),
        of_value("cookies", "cookie", filled("a=b; ")),
        of_value("cookies of tokens", "cookie", filled("Access%5Ftoken=a.b; ")),
        of_value("cookies of separators", "cookie", filled(";")),
        of_value("cookies of commas", "cookie", filled("=,")),
        of_value("schemes", "authorization", filled("bearer")),
        of_value("schemes without tokens", "authorization", filled("Bearer,")),
        of_value("commas", "authorization", filled(",")),
        of_value("a token of dots", "authorization", format!("Bearer {}", filled("."))),
        of_token("a token of zeros", payload(&format!("\"a\":[{}0]", in_token("0,", 40_000)))),
        of_token("as many zeros as are read", payload(&format!("\"a\":[{}0]", "0,".repeat(4000)))),
        of_token("as many objects", payload(&format!("\"a\":[{}0]", "{},".repeat(4000)))),
        of_token("as many members", payload(&members(4000))),
        of_token("a token of nesting", payload(&format!("\"a\":{}", in_token("[", 40_000)))),
        of_token("a token of text", payload(&format!("\"roles\":\"{}\"", in_token("a", 40_000)))),
        of_token(
            "a token of escapes",
            payload(&format!("\"roles\":\"{}\"", in_token("\\u0061", 40_000))),
        ),
        of_token(
            "a token of roles",
            payload(&format!("\"roles\":[{}\"a\"]", "\"administrator\",".repeat(2500))),
        ),
        of_token(
            "a token of scopes",
            payload(&format!("\"scope\":\"{}\"", in_token("c ", 40_000))),
        ),
        of_token("a number of digits", payload(&format!("\"a\":{}", in_token("1", 40_000)))),
        of_token("a number of decimals", payload(&format!("\"a\":0.{}", in_token("1", 40_000)))),
        of_header(
            "a long kid",
            format!("{{\"alg\":\"RS256\",\"kid\":\"{}\"}}", in_token("k", 40_000)),
        ),
        of_header("a header of members", format!("{{\"alg\":\"RS256\",{}}}", members(3000))),
        Hostile {
            headers: bearer(&forged(&sign(NO_KID, &payload("\"x\":1")))),
            ..plain("a forged token that may be of any key", "/x")
        },
        Hostile {
            headers: lookalikes.chain(bearer(&good)).collect(),
            ..plain("headers that look like identity", "/x")
        },
        of_token("the longest tenant", of_tenant(&"a.".repeat(64))),
        of_value("a long origin", "origin", filled("a")),
        of_value("the longest origin", "origin", nearly_allowed()),
        Hostile {
            headers: vec![("origin".to_owned(), nearly_allowed())],
            ..plain("the longest origin of a request that is refused", "/x")
        },
        Hostile {
            headers: overrides.chain(bearer(&good)).collect(),
            ..plain("methods in headers", "/x")
        },
        Hostile {
            method: "PUT",
            host: "a.open.example.com.:8443".to_owned(),
            headers: everything.into_iter().chain(bearer(&good)).collect(),
            ..plain("everything at once", &path("/a;b%2f..\\"))
        },
    ]
}

fn plain(name: &'static str, path: &str) -> Hostile {
    let host = "api.example.com".to_owned();
    Hostile { name, method: "GET", host, path: path.to_owned(), headers: Vec::new() }
}

/// Good claims, and these before them.
fn payload(more: &str) -> String {
    format!(
        "{{{more},\"iss\":\"https://auth.example.com\",\"sub\":\"user-4711\",\"exp\":4102444800}}"
    )
}

/// Claims of a tenant's issuer.
fn of_tenant(tenant: &str) -> String {
    format!("{{\"iss\":\"https://login.example.com/{tenant}/v2.0\",\"exp\":4102444800}}")
}

fn members(number: usize) -> String {
    let members: Vec<_> = (0..number).map(|n| format!("\"m{n}\":0")).collect();
    members.join(",")
}

/// The same with a signature that is below every modulus, so that each key is tried in full.
fn forged(token: &str) -> String {
    let (signed, _) = token.rsplit_once('.').unwrap_or_default();
    format!("{signed}.{}AQ", "AQEB".repeat(85))
}

/// As long as what is looked at, and allowed but for its end.
fn nearly_allowed() -> String {
    format!("https://{}!", "a.".repeat(145))
}

/// Nested as nobody would write it.
const ORIGINS: &str = r"https?://(?:(?:[a-z0-9-]*)*\.)*(?:example\.(?:com|org))?";
/// What is no tenant, but for its end.
const TENANTS: &str = r"(?:(?:[a-z0-9-]*)*\.)*(?:example\.(?:com|org))?!";
const HEADER: &str = r#"{"alg":"RS256","kid":"alpha"}"#;
const NO_KID: &str = r#"{"alg":"RS256"}"#;
