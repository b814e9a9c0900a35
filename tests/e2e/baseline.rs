//! What Envoy does without the filter, so that what the other tests see is the filter's doing.

use lab::bootstrap::Bootstrap;
use lab::envoy::Envoy;
use lab::http::{Request, latin1};
use lab::upstream::{Upstream, received};

#[test]
fn envoy_alone_forwards_everything_as_it_came() {
    let upstream = Upstream::start();
    let envoy = Envoy::start(&Bootstrap::new(upstream.address()), 1);
    let target = "/a//b/./../%2e%2e/%2F%5C\\;x/%00/%252e?x=1&access_token=t&&y=%20a+b";
    let long_token = "t".repeat(60 * 1024);
    let request = Request::new("POST", target)
        .header("X_User_Id", "one")
        .header("x-USER-id", "two")
        .header("X-User-Id", "three")
        .header("Cookie", "a=1;b=\"2\"; access_token=t")
        .header("Cookie", "c=3")
        .header("X-Bytes", "\u{e9}\u{ff}")
        .bearer(&long_token)
        .body(vec![0, 1, 254, 255]);

    let seen = received(&envoy.send(&request));

    assert_eq!(seen.start_line, format!("POST {target} HTTP/1.1"));
    assert_eq!(seen.header("host"), Some("api.example.com"));
    assert_eq!(seen.header("x_user_id"), Some("one"));
    assert_eq!(seen.values("x-user-id").collect::<Vec<_>>(), ["two", "three"]);
    assert_eq!(seen.values("cookie").collect::<Vec<_>>(), ["a=1;b=\"2\"; access_token=t", "c=3"]);
    assert_eq!(seen.header("x-bytes"), Some("\u{e9}\u{ff}"));
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {long_token}").as_str()));
    assert_eq!(latin1(&seen.body), "\u{0}\u{1}\u{fe}\u{ff}");
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn envoy_alone_knows_no_decision() {
    let upstream = Upstream::start();
    let envoy = Envoy::start(&Bootstrap::new(upstream.address()), 1);

    let response = envoy.send(&Request::get("/"));

    assert_eq!(envoy.access_log_line(&response)["code"], serde_json::Value::Null);
    assert_eq!(envoy.stat("http.e2e.downstream_rq_2xx"), 1);
}
