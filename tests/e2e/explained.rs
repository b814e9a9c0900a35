//! The command line explains each decision as the filter took it in Envoy.

use std::fs;
use std::process::Command;

use serde_json::Value;

use lab::http::Request;
use lab::sidecar::Sidecar;

/// [`Sidecar::decide`], explained.
pub(crate) fn decide(sidecar: &Sidecar, request: &Request) -> String {
    let decision = sidecar.decide(request);
    let (_, code) = decision.split_once(' ').expect("a status and a code");
    assert_explained(sidecar, request, code);
    decision
}

/// `mesh-jwt explain` comes to the same code, and prints nothing that is secret.
pub(crate) fn assert_explained(sidecar: &Sidecar, request: &Request, code: &str) {
    let ([config], Some(jwks)) = (sidecar.configs(), sidecar.issuer.jwk_set()) else { return };
    // Envoy answered by itself, or it was a matter of time.
    if matches!(code, "-" | "jwks_unavailable" | "overloaded") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a writable folder");
        path
    };
    let port = request.destination_port().unwrap_or_else(|| sidecar.address().port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-jwt"));
    command
        .args(["--json", "explain", "--port", &port.to_string(), "--config"])
        .arg(write("config.json", config.as_bytes()))
        .arg("--request")
        .arg(write("request", &request.head()));
    if config.contains("jwksUri") {
        command.arg("--jwks").arg(write("jwks.json", jwks.to_string().as_bytes()));
    }

    let output = command.output().expect("the command line");

    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let explained: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{errors}"));
    assert_eq!(explained["decision"]["code"], code, "{text}");
    let passes = explained["decision"]["kind"] == "passes";
    assert_eq!(output.status.code(), Some(i32::from(!passes)), "{text}");
    let steps = explained["steps"].as_array().expect("steps");
    let failed = steps.iter().filter(|step| step["passed"] == false).count();
    assert_eq!(failed, usize::from(!passes), "one step fails: {text}");
    for secret in ["eyJ", "user-4711"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}
