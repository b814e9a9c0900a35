//! Where everything is: the checkout, what was built into it and what was fetched.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

/// The top directory of the checkout.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        root.canonicalize().expect("the checkout that this was compiled in")
    })
}

/// Where cargo builds: `CARGO_TARGET_DIR`, or `target`.
pub fn target() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// A directory for files that are gone with their test, or else with `cargo clean`.
pub fn scratch() -> PathBuf {
    let path = target().join("tmp");
    fs::create_dir_all(&path).expect("a writable target directory");
    path
}

/// The filter: `MESH_JWT_WASM`, or what `make build` made.
pub fn module() -> PathBuf {
    find_module().unwrap_or_else(|error| panic!("{error}"))
}

/// The same, for those who have to tell the user that it is not there.
pub fn find_module() -> Result<PathBuf> {
    let Some(path) = env::var_os("MESH_JWT_WASM").map(PathBuf::from) else {
        return built("dist/mesh-jwt.wasm", "make build");
    };
    ensure!(path.is_file(), "there is no MESH_JWT_WASM={}", path.display());
    Ok(path)
}

/// One of the demo's services, which `make services` builds.
pub fn service(name: &str) -> Result<PathBuf> {
    built(target().join("tools").join(name), "make services")
}

/// The same, optimised as one that is shipped; `make bench` builds it.
pub fn optimised_service(name: &str) -> Result<PathBuf> {
    built(target().join("service").join(name), "make bench")
}

/// A file of the checkout that this command makes.
pub fn built(path: impl AsRef<Path>, command: &str) -> Result<PathBuf> {
    let path = root().join(path);
    ensure!(path.exists(), "{} is not there yet; run `{command}` first", path.display());
    Ok(path)
}

/// Such as `1.36.4`; not everything that is tested is there in every version.
pub fn envoy_version() -> String {
    let envoy = find_envoy().unwrap_or_else(|error| panic!("{error}"));
    let output = Command::new(envoy).arg("--version").output().expect("Envoy can be executed");
    let version = String::from_utf8_lossy(&output.stdout);
    // /path/to/envoy  version: COMMIT/1.36.4/Clean/RELEASE/BoringSSL
    let version = version.split_once("version: ").and_then(|(_, build)| build.split('/').nth(1));
    version.expect("Envoy tells its version").to_owned()
}

/// Envoy's binary: `ENVOY`, or what `make envoy` fetched.
pub fn find_envoy() -> Result<PathBuf> {
    // It takes longer to ask than Envoy takes to start.
    static ENVOY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = ENVOY.get() {
        return Ok(found.clone());
    }
    let found = Command::new("python3")
        .arg(root().join("envoy/install.py"))
        .arg("--fetched")
        .output()
        .context("python3 cannot be executed; install it with `apt-get install python3`")?;
    if !found.status.success() {
        bail!("{}", String::from_utf8_lossy(&found.stderr).trim_end());
    }
    let found = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim_end());
    Ok(ENVOY.get_or_init(|| found).clone())
}
