//! Where everything is: the checkout, what was built into it and what was fetched.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

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
    let built = || root().join("dist/mesh-jwt.wasm");
    let path = env::var_os("MESH_JWT_WASM").map_or_else(built, PathBuf::from);
    assert!(path.is_file(), "there is no module {path:?}: run `make build`, or set MESH_JWT_WASM");
    path
}

/// Envoy's binary: `ENVOY`, or what `make envoy` fetched.
pub fn envoy() -> &'static Path {
    static ENVOY: OnceLock<PathBuf> = OnceLock::new();
    ENVOY.get_or_init(|| {
        let found = Command::new("python3")
            .arg(root().join("envoy/install.py"))
            .arg("--fetched")
            .output()
            .expect("python3 can be executed");
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        PathBuf::from(String::from_utf8_lossy(&found.stdout).trim_end())
    })
}
