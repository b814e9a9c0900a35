//! What a page of another origin gets to know, in a real browser.

use std::env;
use std::fs;
use std::io::{Write as _, stderr};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::browser::Browser;
use lab::config::Config;
use lab::server::Server;
use lab::sidecar::Sidecar;
use lab::token::Token;

/// Skipped where there is no browser, unless `REQUIRE_CHROMIUM` is set.
#[test]
fn page_reads_why_it_is_refused_only_where_it_may() {
    let Some(browser) = Browser::find() else {
        assert!(env::var_os("REQUIRE_CHROMIUM").is_none(), "no Chromium");
        // Past the harness, which keeps the output of tests that pass to itself.
        stderr().write_all(b"skipped: no Chromium\n").expect("stderr");
        return;
    };
    let start = |config: &Config| Sidecar::start_adapted(config, Bootstrap::cors_behind);
    let without_cors = start(&Config::new());
    let open = start(&Config::new().set("replies", replies(false)));
    let to_credentials = start(&Config::new().set("replies", replies(true)));
    let (page, results) = serve_page();
    let url = |sidecar: &Sidecar| format!("http://{}/", sidecar.address());
    let (without_cors, open, to_credentials) =
        (url(&without_cors), url(&open), url(&to_credentials));
    let good = Token::good().compact();
    let cases = [
        // Without a token there is no preflight.
        (&open, "", "omit", refusal("token_missing", "Bearer realm=\"e2e\"")),
        (&open, "junk", "omit", malformed()),
        (&open, &good, "omit", json!({ "status": 200 })),
        (&open, "", "include", network_error()),
        (&to_credentials, "", "include", refusal("token_missing", "Bearer realm=\"e2e\"")),
        (&to_credentials, "junk", "include", malformed()),
        (&to_credentials, &good, "include", json!({ "status": 200 })),
        // As if the gateway were down; what passes is readable as ever.
        (&without_cors, "", "omit", network_error()),
        (&without_cors, "junk", "omit", network_error()),
        (&without_cors, "", "include", network_error()),
        (&without_cors, &good, "include", json!({ "status": 200 })),
    ];
    let requests = cases.iter().map(|(url, token, credentials, _)| {
        json!({ "url": url, "token": token, "credentials": credentials })
    });
    let requests = requests.collect::<Value>().to_string();
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a writable target directory");

    let url = format!("http://{}/#{}", page.address, percent_encoded(&requests));
    let shown = browser.open(&url, &directory).expect("Chromium can be executed");
    let seen = results.recv_timeout(PATIENCE);

    let log = shown.output();
    drop(shown);
    // What cannot be removed stays under target/, where `cargo clean` finds it.
    drop(fs::remove_dir_all(&directory));
    let seen = seen.unwrap_or_else(|error| panic!("the page tells nothing ({error}):\n{log}"));
    let seen: Vec<Value> = serde_json::from_str(&seen).expect("what the page makes of answers");
    assert_eq!(seen.len(), cases.len());
    for ((url, token, credentials, expected), seen) in cases.iter().zip(&seen) {
        assert_eq!(seen, expected, "{url} with token {token:?}, credentials {credentials}");
    }
}

fn replies(allow_credentials: bool) -> Value {
    json!({ "cors": {
        "allowOrigins": [{ "regex": r"http://127\.0\.0\.1:\d+" }],
        "allowCredentials": allow_credentials,
    } })
}

fn refusal(code: &str, challenge: &str) -> Value {
    json!({ "status": 401, "code": code, "challenge": challenge })
}

fn malformed() -> Value {
    let challenge = "Bearer realm=\"e2e\", error=\"invalid_token\", \
                     error_description=\"the token is not a well-formed JWT\"";
    refusal("token_malformed", challenge)
}

/// All that the page learns: neither a status nor a reason.
fn network_error() -> Value {
    json!({ "error": "TypeError" })
}

/// Serves the page, which sends back what it has seen.
fn serve_page() -> (Server, Receiver<String>) {
    let (sender, results) = mpsc::channel();
    let server = Server::start(move |request, stream| {
        let is_result = request.start_line.starts_with("POST ");
        if is_result {
            // The test may have given up.
            drop(sender.send(String::from_utf8_lossy(&request.body).into_owned()));
        }
        let page = if is_result { "" } else { PAGE };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        )
    });
    (server, results)
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Makes the requests of its fragment, one after the other.
const PAGE: &str = r#"<!doctype html>
<title>a page of another origin</title>
<script>
async function ask({ url, token, credentials }) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const response = await fetch(url, { headers, credentials });
    if (response.ok) return { status: response.status };
    const { code } = await response.json();
    return { status: response.status, code, challenge: response.headers.get("WWW-Authenticate") };
  } catch (error) {
    return { error: error.name };
  }
}
(async () => {
  const seen = [];
  for (const request of JSON.parse(decodeURIComponent(location.hash.slice(1)))) {
    seen.push(await ask(request));
  }
  await fetch("/", { method: "POST", body: JSON.stringify(seen) });
})();
</script>
"#;
/// A browser takes seconds to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
