//! An Envoy that withholds a function from the filter, by `capability_restriction_config`: either the
//! filter refuses its configuration and says what is missing, or every request gets a right answer.

use std::thread;
use std::time::Duration;

use serde_json::json;

use lab::bootstrap::Bootstrap;
use lab::config::{Config, ISSUER_CLUSTER};
use lab::envoy::{Envoy, assert_untrapped};
use lab::http::{Request, Response};
use lab::issuer::{Answer, Issuer};
use lab::module::Functions;
use lab::token::{Key, Token};
use lab::upstream::{Upstream, received};
use lab::wait;

#[test]
fn every_function_that_the_module_imports() {
    let functions: Vec<&'static str> = NEEDED.iter().chain(SPARE).copied().collect();
    let listed = functions.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(Functions::of_module().imports, listed, "the lists below are to name all");

    // Each waits more than it computes.
    let failed = functions.chunks(AT_A_TIME).flat_map(|some| {
        thread::scope(|scope| {
            let start = |function: &&'static str| {
                let function = *function;
                // What a case prints begins with the name of its thread.
                let thread = thread::Builder::new().name(function.to_owned());
                let thread = thread.spawn_scoped(scope, move || judge(function));
                (function, thread.expect("another thread"))
            };
            let threads: Vec<_> = some.iter().map(start).collect();
            let failed = threads
                .into_iter()
                .filter_map(|(function, thread)| thread.join().is_err().then_some(function));
            failed.collect::<Vec<_>>()
        })
    });

    assert_eq!(failed.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn several_are_named_in_one_line() {
    let log = refuse(&config(), &["proxy_send_local_response", "proxy_continue_stream"]);

    assert_names(&log, "proxy_continue_stream, proxy_send_local_response");
}

#[test]
fn calls_are_needed_only_to_fetch() {
    let world = World::new();
    let inline = config().inline_keys(&[Key::alpha().jwk()]);

    let envoy = world.start(&inline, &["proxy_http_call"]);

    assert_identified(&envoy.send(&Request::get("/").bearer(&Token::good().compact())));
}

#[test]
fn random_numbers_are_needed_only_for_regular_expressions() {
    let origins = json!([{ "regex": "https://[a-z]+\\.example\\.com" }]);
    let config = config().set("replies", json!({ "cors": { "allowOrigins": origins } }));

    let log = refuse(&config, &["random_get"]);

    assert_names(&log, "random_get");
    assert_untrapped(&log, "a regular expression without random numbers");
}

#[test]
fn a_regular_expression_is_found_however_its_field_is_written() {
    let origins = json!([{ "regex": "https://a" }]);
    let config = config().set("replies", json!({ "cors": { "allowOrigins": origins } }));
    let disguised = config.render().replace("regex", "r\\u0065gex");
    assert!(disguised.contains("r\\u0065gex"));

    let log = Envoy::refuse(&World::new().bootstrap(&disguised, &["random_get"]));

    assert_names(&log, "random_get");
    assert_untrapped(&log, "a disguised regular expression without random numbers");
}

#[test]
fn ports_that_are_withheld_loosen_nothing() {
    let world = World::new();
    let rules = json!([
        { "match": { "ports": [9090] }, "access": "public" },
        { "match": { "ports": [8080] }, "scopes": ["admin:write"] },
        { "match": { "paths": ["/public"] }, "access": "public" },
    ]);
    let config = config().inline_keys(&[Key::alpha().jwk()]).set("rules", rules);

    let envoy = world.start(&config, &["proxy_get_property"]);

    assert_eq!(envoy.send(&Request::get("/public")).status, 401);
    let good = Token::good().claim("scope", "");
    assert_eq!(envoy.send(&Request::get("/").bearer(&good.compact())).status, 403);
    let admin = Token::good().claim("scope", "admin:write");
    assert_identified(&envoy.send(&Request::get("/").bearer(&admin.compact())));
    let log = envoy.log();
    assert_untrapped(&log, "proxy_get_property");
    let warning = "the host withholds proxy_get_property: no rule with ports loosens access";
    assert!(log.contains(warning), "{log}");
    // Once in each of the three VMs, and for no request.
    assert_eq!(log.matches("Attempted call to restricted").count(), 3);
}

/// The rest of the world, as an Envoy sees it.
struct World {
    issuer: Issuer,
    upstream: Upstream,
}

impl World {
    fn new() -> Self {
        Self { issuer: Issuer::start(Answer::Hang), upstream: Upstream::start() }
    }

    fn start(&self, config: &Config, withheld: &[&str]) -> Envoy {
        Envoy::start(&self.bootstrap(&config.render(), withheld), 1)
    }

    fn bootstrap(&self, config: &str, withheld: &[&str]) -> Bootstrap {
        Bootstrap::new(self.upstream.address())
            .cluster(ISSUER_CLUSTER, self.issuer.address())
            .filter("mesh-jwt", config)
            .withhold(withheld)
    }
}

fn config() -> Config {
    let rules = json!([{ "match": { "paths": ["/public"] }, "access": "public" }]);
    Config::new().set("rules", rules).provider("jwksEndpoints", 1)
}

fn judge(function: &str) {
    if NEEDED.contains(&function) { assert_refused(function) } else { assert_serves(function) }
}

fn refuse(config: &Config, withheld: &[&str]) -> String {
    Envoy::refuse(&World::new().bootstrap(&config.render(), withheld))
}

fn assert_refused(function: &str) {
    let log = refuse(&config(), &[function]);

    assert_names(&log, function);
    assert_untrapped(&log, function);
}

fn assert_names(log: &str, functions: &str) {
    let line = format!(
        "mesh-jwt: the filter cannot work without {functions}: allow that in \
         capability_restriction_config"
    );
    assert_eq!(log.matches(&line).count(), 1, "not one line about {functions}:\n{log}");
}

fn assert_serves(function: &str) {
    let world = World::new();
    let envoy = world.start(&config(), &[function]);
    let get = Request::get("/");
    let good = get.clone().bearer(&Token::good().compact());
    let forged = Token::good().signed_by(Key::beta()).header("kid", "alpha");
    let forged = get.clone().bearer(&forged.compact());

    // While there are no keys.
    let public = Request::get("/public").header("X-User-Id", "root").header("X_User_Id", "root");
    let seen = received(&envoy.send(&public));
    assert!(!seen.headers.iter().any(|(_, value)| value == "root"), "{seen:?}");
    assert_eq!(envoy.send(&get).status, 401);
    let [leaves, stays, is_refused] = [&good, &good, &forged].map(|request| envoy.open(request));
    wait_for_requests(&envoy, 3);
    drop(leaves);
    wait_for_requests(&envoy, 2);
    world.issuer.answer(Answer::Keys(vec![Key::alpha().jwk()]));
    assert_identified(&stays.finish().expect("an answer to who waits"));
    assert_eq!(is_refused.finish().expect("an answer to who waits").status, 401);

    // While there are.
    let refusals = [
        get.clone().bearer("junk"),
        get.clone().bearer(&Token::good().claim("exp", 1).compact()),
        forged,
        get.bearer(&Token::good().signed_by(Key::beta()).compact()),
    ];
    for refused in &refusals {
        assert_eq!(envoy.send(refused).status, 401);
    }
    assert_identified(&envoy.send(&good.header("X-User-Id", "root")));
    assert_eq!(envoy.stat("wasmcustom.mesh_jwt.paused"), 0);
    assert_eq!(world.upstream.requests(), 3);
    let log = envoy.log();
    assert_untrapped(&log, function);
    // Each is an error in the log. Envoy configures the module three times.
    let attempts = log.matches("Attempted call to restricted").count();
    assert!(attempts <= MAX_ATTEMPTS, "{attempts} attempts to call {function}");
}

/// By Envoy's own count: the filter may have none.
fn wait_for_requests(envoy: &Envoy, number: u64) {
    wait::until(&format!("Envoy has {number} requests"), REQUEST_LIMIT, || {
        (envoy.stat("http.e2e.downstream_rq_active") == number).then_some(())
    });
}

/// The request was let through, and the upstream was told whose it is.
fn assert_identified(response: &Response) {
    assert_eq!(received(response).header("x-user-id"), Some("user-4711"));
}

/// Without any of these the filter refuses its configuration.
const NEEDED: &[&str] = &[
    "proxy_continue_stream",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_http_call",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_effective_context",
    "proxy_set_tick_period_milliseconds",
];
/// Without any of these every request gets the same answer as ever.
const SPARE: &[&str] = &[
    // What the filter tells, shares or has computed.
    "proxy_call_foreign_function",
    "proxy_define_metric",
    "proxy_get_log_level",
    "proxy_get_property",
    "proxy_get_shared_data",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_record_metric",
    "proxy_set_property",
    "proxy_set_shared_data",
    "random_get",
    // For when something else has failed.
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "proc_exit",
    "proxy_close_stream",
    // The SDK has them, and nothing calls them.
    "proxy_add_header_map_value",
    "proxy_dequeue_shared_queue",
    "proxy_done",
    "proxy_enqueue_shared_queue",
    "proxy_get_header_map_value",
    "proxy_get_status",
    "proxy_grpc_call",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_grpc_send",
    "proxy_grpc_stream",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_set_buffer_bytes",
    "proxy_set_header_map_pairs",
];
/// As many as the lines that the filter logs for these requests.
const MAX_ATTEMPTS: usize = 20;
const AT_A_TIME: usize = 4;
/// Less than `jwksWaitTimeout`, which ends every pause.
const REQUEST_LIMIT: Duration = Duration::from_millis(2500);
