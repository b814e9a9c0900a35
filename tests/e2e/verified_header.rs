//! `verifiedHeader`: the upstream learns that the filter verified a request, and no client can say so.

use serde_json::json;

use lab::bootstrap::Bootstrap;
use lab::config::Config;
use lab::envoy::Envoy;
use lab::http::{Message, Request, Response};
use lab::sidecar::Sidecar;
use lab::token::{Key, Token, now};
use lab::upstream::received;

#[test]
fn it_names_the_provider_of_a_verified_token() {
    let partner = json!({
        "name": "partner",
        "issuer": "https://idp.partner.example",
        "jwks": { "keys": [Key::beta().jwk()] },
    });
    let header = json!({ "name": "X-Mesh-Jwt" });
    let config = Config::new().set("verifiedHeader", header).add_provider(partner);
    let sidecar = Sidecar::start(&config);
    let ours = Token::good().compact();
    let theirs = Token::good().claim("iss", "https://idp.partner.example").signed_by(Key::beta());
    let theirs = theirs.compact();
    let ask = |token: &str| sidecar.send(&forge(Request::get("/").bearer(token)));

    // The second time from the cache of tokens.
    for _ in 0..2 {
        assert_eq!(marks(&ask(&ours)), [r#"verified;provider="wealist""#]);
        assert_eq!(marks(&ask(&theirs)), [r#"verified;provider="partner""#]);
    }
    assert!(sidecar.counted("token_cache.hit") >= 2);
}

#[test]
fn it_is_not_there_without_a_verified_token() {
    let rules = json!([
        { "match": { "paths": ["/public"] }, "access": "public" },
        { "match": { "paths": ["/optional"] }, "access": "optional" },
    ]);
    let sidecar = Sidecar::start(&with_secret().set("rules", rules));
    let good = Token::good().compact();
    let preflight = Request::new("OPTIONS", "/")
        .header("Origin", "https://shop.example.com")
        .header("Access-Control-Request-Method", "PUT");

    for request in [
        Request::get("/public"),
        // Nobody looks at the token here.
        Request::get("/public").bearer(&good),
        Request::get("/optional"),
        preflight,
    ] {
        assert_eq!(marks(&sidecar.send(&forge(request))), [""; 0]);
    }
    assert_eq!(marks(&sidecar.send(&forge(Request::get("/optional").bearer(&good)))), [MARK]);
}

#[test]
fn it_is_there_in_report_mode_for_what_enforce_would_allow() {
    let sidecar = Sidecar::start(&with_secret().set("mode", "report"));
    let bad = [
        Token::good().claim("exp", now() - 600),
        Token::good().claim("aud", "another"),
        Token::good().signed_by(Key::beta()).header("kid", "alpha"),
    ];

    assert_eq!(marks(&sidecar.send(&forge(Request::get("/")))), [""; 0]);
    for token in bad.map(|token| token.compact()) {
        assert_eq!(marks(&sidecar.send(&forge(Request::get("/").bearer(&token)))), [""; 0]);
    }
    let good = Token::good().compact();
    assert_eq!(marks(&sidecar.send(&forge(Request::get("/").bearer(&good)))), [MARK]);
}

/// Envoy passes `Connection` on with an upgrade, and what it names is dropped by the next proxy.
#[test]
fn it_is_not_lost_at_the_next_hop_and_does_not_come_in_trailers() {
    let sidecar = Sidecar::start(&with_secret());
    let good = Token::good().compact();
    let upgrade = Request::get("/")
        .bearer(&good)
        .header("Connection", "Upgrade, X-Mesh-Jwt, x_mesh_jwt")
        .header("Upgrade", "websocket");
    let with_trailers = forge(Request::new("POST", "/").bearer(&good))
        .chunked_body(b"body".into())
        .trailer("X-Mesh-Jwt", MARK)
        .trailer("X_Mesh_Jwt", MARK);

    assert_eq!(sidecar.decide(&upgrade), "200 allowed");
    let upgraded = sidecar.upstream.latest();
    let trailed = received(&sidecar.send(&with_trailers));

    assert_eq!(upgraded.header("connection"), Some("close, Upgrade"));
    assert_eq!(marks_of(&upgraded), [MARK]);
    assert_eq!(marks_of(&trailed), [MARK]);
    assert_eq!(trailed.trailers, []);
}

/// A client's header of this name is then as any other.
#[test]
fn it_is_nobodys_unless_it_is_configured() {
    let sidecar = Sidecar::start(&Config::new());
    let request = Request::get("/").bearer(&Token::good().compact()).header("X-Mesh-Jwt", "mine");

    assert_eq!(marks(&sidecar.send(&request)), ["mine"]);
}

#[test]
fn its_secret_is_in_no_log() {
    let sidecar = Sidecar::start(&with_secret().set("mode", "report"));
    sidecar.send(&Request::get("/").bearer(&Token::good().compact()));
    sidecar.send(&Request::get("/").bearer(&Token::good().claim("exp", now() - 600).compact()));
    let ran = sidecar.envoy_log();
    let header = json!({ "name": "X-Mesh-Jwt", "secret": format!("{SECRET}\"") });
    let config = Config::new().set("verifiedHeader", header);
    let bootstrap = Bootstrap::new(sidecar.upstream.address()).filter("mesh-jwt", &config.render());
    let refused = Envoy::refuse(&bootstrap);

    assert!(ran.contains("token_expired"), "denials are logged at debug level");
    assert!(refused.contains("verifiedHeader.secret"), "the log names the place");
    for log in [ran, refused] {
        assert_eq!(log.lines().find(|line| line.contains(SECRET)), None);
    }
}

fn with_secret() -> Config {
    Config::new().set("verifiedHeader", json!({ "name": "X-Mesh-Jwt", "secret": SECRET }))
}

/// Adds every spelling of the header that servers take for it.
fn forge(request: Request) -> Request {
    let spellings = ["X-Mesh-Jwt", "x-mesh-jwt", "X_MESH_JWT", "x_mesh-jwt", "X.Mesh.Jwt"];
    spellings.iter().fold(request, |request, name| request.header(name, MARK))
}

/// What a lax server could take for the header.
fn marks(response: &Response) -> Vec<String> {
    marks_of(&received(response))
}

fn marks_of(seen: &Message) -> Vec<String> {
    let is_mark = |name: &str| {
        let letters = name.split(|letter: char| !letter.is_ascii_alphanumeric());
        letters.collect::<String>().eq_ignore_ascii_case("xmeshjwt")
    };
    seen.headers.iter().filter(|(name, _)| is_mark(name)).map(|(_, value)| value.clone()).collect()
}

const SECRET: &str = "5ecret-of-the-mesh";
const MARK: &str = r#"verified;provider="wealist";secret="5ecret-of-the-mesh""#;
