//! Where tokens are looked for, which one counts, and what is left of the place it was found in.

use serde_json::json;

use lab::config::Config;
use lab::http::{Message, Request};
use lab::sidecar::Sidecar;
use lab::token::Token;
use lab::upstream::received;

use crate::explained::decide;

#[test]
fn bearer_scheme_is_matched_in_any_case() {
    let sidecar = Sidecar::start(&Config::new());
    let token = Token::good().compact();

    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let request = Request::get("/").header("Authorization", &format!("{scheme} {token}"));
        let seen = received(&sidecar.send(&request));
        assert_eq!(seen.header("authorization"), None, "{scheme}");
    }
}

#[test]
fn custom_header_takes_the_place_of_authorization() {
    let from_headers = json!([{ "name": "X-Token", "prefix": "jwt:" }]);
    let sidecar = Sidecar::start(&Config::new().provider("fromHeaders", from_headers));
    let token = Token::good().compact();

    let request = Request::get("/").header("X-Token", &format!("jwt:{token}"));
    let seen = received(&sidecar.send(&request));

    assert_eq!(seen.header("x-token"), None);
    assert_eq!(decide(&sidecar, &Request::get("/").bearer(&token)), "401 token_missing");
}

#[test]
fn token_cookie_is_removed_and_no_other() {
    let sidecar = everywhere();
    let token = Token::good().compact();
    let left = |cookies: &str| {
        let request = Request::get("/").header("Cookie", &cookies.replace("TOKEN", &token));
        let seen = received(&sidecar.send(&request));
        assert_eq!(seen.header("x-user-id"), Some("user-4711"));
        seen.header("cookie").map(str::to_owned)
    };
    let some = |cookies: &str| Some(cookies.to_owned());

    assert_eq!(left("access_token=TOKEN"), None);
    assert_eq!(left("access_token=TOKEN; a=1"), some("a=1"));
    assert_eq!(left("a=1; access_token=TOKEN"), some("a=1"));
    assert_eq!(left("a=1; access_token=TOKEN; b=2"), some("a=1; b=2"));
    assert_eq!(
        left("a=\"x y\"; b==; c; =d; access_token=TOKEN; e=%3B; a=1"),
        some("a=\"x y\"; b==; c; =d; e=%3B; a=1")
    );
    assert_eq!(
        left("xaccess_token=1; access_token2=2; Access_Token=3; access_token=TOKEN"),
        some("xaccess_token=1; access_token2=2; Access_Token=3")
    );
}

#[test]
fn token_cookie_is_found_in_any_cookie_header() {
    let sidecar = everywhere();
    let request = Request::get("/")
        .header("Cookie", "a=1; b=2")
        .header("Cookie", &format!("c=3; access_token={}; d=4", Token::good().compact()))
        .header("Cookie", "e=5");

    let seen = received(&sidecar.send(&request));

    let cookies: Vec<&str> = seen.values("cookie").flat_map(|value| value.split("; ")).collect();
    assert_eq!(cookies, ["a=1", "b=2", "c=3", "d=4", "e=5"]);
}

#[test]
fn token_is_one_of_a_hundred_cookies() {
    let sidecar = everywhere();
    let mut cookies: Vec<String> =
        (0..99).map(|number| format!("cookie-{number}=value-{number}")).collect();
    let others = cookies.join("; ");
    cookies.insert(57, format!("access_token={}", Token::good().compact()));

    let request = Request::get("/").header("Cookie", &cookies.join("; "));
    let seen = received(&sidecar.send(&request));

    assert_eq!(seen.header("cookie"), Some(others.as_str()));
}

#[test]
fn token_parameter_is_removed_and_no_other() {
    let sidecar = everywhere();
    let token = Token::good().compact();
    let encoded = token.replace('.', "%2E").replacen('e', "%65", 1);
    let left = |target: &str| {
        let target = target.replace("ENCODED", &encoded).replace("TOKEN", &token);
        let seen = received(&sidecar.send(&Request::get(&target)));
        assert_eq!(seen.header("x-user-id"), Some("user-4711"));
        seen.start_line.replacen("GET ", "", 1).replacen(" HTTP/1.1", "", 1)
    };

    assert_eq!(left("/p?access_token=TOKEN"), "/p");
    assert_eq!(left("/p?access_token=TOKEN&a=1"), "/p?a=1");
    assert_eq!(left("/p?a=1&access_token=TOKEN"), "/p?a=1");
    assert_eq!(
        left("/p%2Fq/./r?a=%20x+y&&b&access_token=TOKEN&=c&a=2?d=%"),
        "/p%2Fq/./r?a=%20x+y&&b&=c&a=2?d=%"
    );
    assert_eq!(
        left("/p?xaccess_token=1&access_token2=2&Access_Token=3&access_token=TOKEN"),
        "/p?xaccess_token=1&access_token2=2&Access_Token=3"
    );
    assert_eq!(left("/p?a=1&access%5Ftoken=ENCODED&b=2"), "/p?a=1&b=2");
    assert_eq!(left("/p?a=1&%61ccess_token=TOKEN"), "/p?a=1");
}

#[test]
fn first_location_wins_and_the_others_lose_their_tokens() {
    let sidecar = everywhere();
    let token_of = |subject: &str| Token::good().claim("sub", subject).compact();
    let target = format!("/p?a=1&access_token={}", token_of("param"));
    let cookie = format!("b=2; access_token={}", token_of("cookie"));
    let from_param = Request::get(&target);
    let from_cookie = from_param.clone().header("Cookie", &cookie);
    let from_header = from_cookie.clone().bearer(&token_of("header"));

    for (request, winner) in
        [(from_header, "header"), (from_cookie, "cookie"), (from_param, "param")]
    {
        let seen = received(&sidecar.send(&request));

        assert_eq!(seen.header("x-user-id"), Some(winner));
        assert_eq!(seen.start_line, "GET /p?a=1 HTTP/1.1");
        assert_eq!(seen.header("authorization"), None);
        assert!(seen.header("cookie").is_none_or(|cookie| cookie == "b=2"));
        assert_no_token(&seen);
    }
}

#[test]
fn bad_token_in_the_first_location_is_not_made_good_by_a_later_one() {
    let sidecar = everywhere();
    let good = Token::good().compact();

    let request = Request::get("/").bearer("bad").header("Cookie", &format!("access_token={good}"));

    assert_eq!(decide(&sidecar, &request), "401 token_malformed");
}

#[test]
fn other_authorization_scheme_does_not_hide_a_cookie() {
    let sidecar = everywhere();
    let request = Request::get("/")
        .header("Authorization", "Basic dXNlcjpwYXNz")
        .header("Cookie", &format!("access_token={}", Token::good().compact()));

    assert_eq!(received(&sidecar.send(&request)).header("x-user-id"), Some("user-4711"));
}

#[test]
fn two_tokens_in_one_location_are_refused() {
    let sidecar = everywhere();
    let good = Token::good().compact();
    let cookie = format!("access_token={good}");

    let requests = [
        Request::get("/").header("Cookie", &format!("{cookie}; {cookie}")),
        Request::get("/").header("Cookie", &cookie).header("Cookie", &cookie),
        Request::get(&format!("/?access_token={good}&access_token={good}")),
        Request::get(&format!("/?access_token={good}&access%5Ftoken={good}")),
    ];

    for request in requests {
        assert_eq!(decide(&sidecar, &request), "400 multiple_tokens");
    }
}

#[test]
fn forwarded_tokens_stay_where_they_were() {
    let config = Config::new().tokens_from_everywhere().provider("forwardOriginalToken", true);
    let sidecar = Sidecar::start(&config);
    let token = Token::good().compact();
    let cookie = format!("a=1;access_token={token}; b=2");
    let target = format!("/p?a=1&access_token={token}");

    let by_cookie = received(&sidecar.send(&Request::get("/").header("Cookie", &cookie)));
    let by_param = received(&sidecar.send(&Request::get(&target)));

    assert_eq!(by_cookie.header("x-user-id"), Some("user-4711"));
    assert_eq!(by_param.header("x-user-id"), Some("user-4711"));
    assert_eq!(by_cookie.header("cookie"), Some(cookie.as_str()));
    assert_eq!(by_param.start_line, format!("GET {target} HTTP/1.1"));
}

/// A sidecar that takes tokens from all three kinds of location.
fn everywhere() -> Sidecar {
    Sidecar::start(&Config::new().tokens_from_everywhere())
}

fn assert_no_token(seen: &Message) {
    // The payload header is the filter's own; what it holds has no header part.
    let token_start = "eyJhbGci";
    assert!(!seen.start_line.contains(token_start), "{}", seen.start_line);
    for (name, value) in &seen.headers {
        assert!(!value.contains(token_start), "{name}: {value}");
    }
}
