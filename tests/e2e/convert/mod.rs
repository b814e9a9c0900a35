//! What `mesh-jwt convert` makes of a source, beside the source itself, in two Envoys that get the
//! same requests: they have to decide alike, and hand the same on, but for the differences that the
//! tables list.

mod istio;
mod jwt_authn;
mod spring;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use lab::bootstrap::Bootstrap;
use lab::checkout;
use lab::config::ISSUER_CLUSTER;
use lab::envoy::Envoy;
use lab::http::{Request, Response};
use lab::issuer::{Answer, Issuer};
use lab::token::{Key, Token};
use lab::upstream::{Upstream, received};

/// What the command line prints of a source.
struct Converted {
    manifests: Vec<Value>,
    /// What takes the place of the source's policies.
    policies: Vec<Value>,
    /// The paths of what was not carried over, with their effects.
    lost: Vec<String>,
    /// What is left to do.
    steps: Vec<String>,
}

#[test]
fn a_source_without_anything_to_convert_prints_no_manifest_and_exits_with_2() {
    let output = run("kind: Service", &[]);

    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("-: holds no RequestAuthentication"), "{errors}");
}

#[test]
fn the_printed_yaml_is_the_manifest() {
    let source = json!({
        "providers": { "main": {
            "issuer": "https://auth.example.com",
            "remote_jwks": { "http_uri": { "uri": "https://auth.example.com/jwks" } },
        } },
    });

    for kind in ["wasmplugin", "trafficextension", "envoy-filter", "plugin-config"] {
        let output = run(&source.to_string(), &["--kind", kind]);
        let printed: Value = serde_saphyr::from_slice(&output.stdout).expect("YAML");
        let converted = convert(&source.to_string(), &["--kind", kind]);
        assert_eq!([printed], *converted.manifests, "{kind}");
    }
}

#[test]
fn policies_that_ask_for_no_tokens_are_printed_apart_from_the_filter() {
    let resource = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "security.istio.io/v1",
            "kind": kind,
            "metadata": { "name": "shop", "namespace": "shop" },
            "spec": spec,
        })
    };
    let selector = json!({ "matchLabels": { "app": "shop" } });
    let rule =
        json!({ "issuer": "https://auth.example.com", "jwksUri": "https://auth.example.com/jwks" });
    let tokens = json!({ "selector": selector, "jwtRules": [rule] });
    let allow = json!({ "selector": selector, "rules": [{
        "from": [{ "source": { "requestPrincipals": ["*"] } }],
        "to": [{ "operation": { "paths": ["/a"] } }],
    }] });
    let items = [resource("RequestAuthentication", tokens), resource("AuthorizationPolicy", allow)];
    let source = json!({ "kind": "List", "items": items }).to_string();
    let printed = |arguments: &[&str]| {
        let output = run(&source, arguments);
        String::from_utf8(output.stdout).expect("text")
    };
    let converted = convert(&source, &[]);

    let filter = printed(&[]);
    assert!(filter.starts_with("# Begin with mode: report"), "{filter}");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&filter).expect("YAML");
    assert_eq!(documents, converted.manifests);

    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&printed(&["--policies"])).expect("YAML");
    assert_eq!(documents, converted.policies);
    let rules = &documents[0]["spec"]["rules"];
    assert_eq!(*rules, json!([{ "to": [{ "operation": { "paths": ["/a"] } }] }]));
}

/// Runs the command line with this source as its input.
fn run(source: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-jwt"))
        .args(["convert", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command line can be executed");
    let mut input = command.stdin.take().expect("a pipe");
    input.write_all(source.as_bytes()).expect("the command line reads its input");
    drop(input);
    command.wait_with_output().expect("the command line ends")
}

/// Converts a source of which something can be converted.
fn convert(source: &str, arguments: &[&str]) -> Converted {
    let output = run(source, &[arguments, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    let lost: Vec<_> = printed["notCarriedOver"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|lost| {
            let text = |name: &str| lost[name].as_str().expect("a text").to_owned();
            format!("{} {}", text("effect"), text("path"))
        })
        .collect();
    assert_eq!(output.status.code(), Some(i32::from(!lost.is_empty())), "{errors}");
    let steps = printed["steps"].as_array().expect("a list").iter();
    let all = |name: &str| printed[name].as_array().expect("a list").clone();
    Converted {
        manifests: all("manifests"),
        policies: all("policies"),
        steps: steps.map(|step| step.as_str().expect("a text").to_owned()).collect(),
        lost,
    }
}

/// An Envoy with the source, and one with what became of it.
struct Pair {
    source: Envoy,
    converted: Envoy,
    _issuer: Issuer,
    _upstream: Upstream,
}

impl Pair {
    /// Both fetch the keys of `alpha` from the same issuer, and have the same upstream.
    fn start(source: Vec<Value>, converted: Vec<Value>) -> Self {
        let issuer = Issuer::start(Answer::Keys(vec![Key::alpha().jwk()]));
        let upstream = Upstream::start();
        let start = |filters: Vec<Value>| {
            let bootstrap = Bootstrap::new(upstream.address())
                .cluster(ISSUER_CLUSTER, issuer.address())
                .cluster("outbound|80||auth.example.com", issuer.address())
                // As Istio has it, and as Envoy recommends it in front of rules by path.
                .manager("normalize_path", json!(true));
            Envoy::start(&filters.into_iter().fold(bootstrap, Bootstrap::other_filter), 1)
        };
        let (source, converted) = (start(source), start(converted));
        // While it fetches the keys, `jwt_authn` may set headers twice for a rule that names a
        // provider twice, as those of Istio do.
        source.send(&Request::get("/").bearer(&Token::good().compact()));
        Self { source, converted, _issuer: issuer, _upstream: upstream }
    }

    /// Sends each request to both.
    fn compare(&self, rows: Vec<Row>) {
        let mut wrong = Vec::new();
        for Row { what, request, expected } in rows {
            let source = Outcome::of(&self.source.send(&request));
            let converted = Outcome::of(&self.converted.send(&request));
            let is_expected = match expected {
                Expected::Both(status) => source == converted && source.status == status,
                Expected::Differ { source: one, converted: other, why: _ } => {
                    source != converted && (source.status, converted.status) == (one, other)
                }
            };
            if !is_expected {
                wrong.push(format!("{what}: {expected:?}\n  {source:?}\n  {converted:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.converted.assert_untrapped("converted");
    }
}

/// A request, and what has to become of it.
struct Row {
    what: &'static str,
    request: Request,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    /// The same, with this status.
    Both(u16),
    /// A difference that is meant: in status, or in what the upstream gets.
    #[allow(dead_code, reason = "the reason is there to be read, and printed by a test that fails")]
    Differ { source: u16, converted: u16, why: &'static str },
}

fn same(status: u16, what: &'static str, request: Request) -> Row {
    Row { what, request, expected: Expected::Both(status) }
}

fn differ(
    (source, converted): (u16, u16),
    what: &'static str,
    request: Request,
    why: &'static str,
) -> Row {
    Row { what, request, expected: Expected::Differ { source, converted, why } }
}

/// The status, and what the upstream got if the request went there.
#[derive(Debug, Eq, PartialEq)]
struct Outcome {
    status: u16,
    forwarded: Option<(String, Vec<(String, String)>)>,
}

impl Outcome {
    fn of(response: &Response) -> Self {
        let forwarded = (response.status == 200).then(|| {
            let seen = received(response);
            let mut headers: Vec<_> = seen
                .headers
                .into_iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
                .filter(|(name, _)| name != "x-request-id")
                .collect();
            headers.sort();
            (seen.start_line, headers)
        });
        Self { status: response.status, forwarded }
    }
}

/// The filter of a plugin configuration.
fn wasm_filter(plugin_config: &Value) -> Value {
    lab::resources::wasm_filter("converted", &checkout::module(), &plugin_config.to_string())
}

/// The filter as it was printed, but for the place of the module.
fn printed_filter(manifest: &Value) -> Value {
    let mut filter = manifest.clone();
    filter["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"] =
        json!(checkout::module());
    filter
}
