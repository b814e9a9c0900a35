//! The OCI image that `make image` writes: the same bytes each time, and what a registry gives back.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lab::checkout;
use serde_json::Value;

#[test]
fn same_module_makes_the_same_image() {
    let directory = Directory::create("reproducible");

    let first = write_image(&directory.0.join("first"));
    let second = write_image(&directory.0.join("elsewhere").join("second"));

    assert_eq!(first, second);
    assert_eq!(first.len(), 64);
}

#[test]
fn image_holds_the_module_where_istio_looks_for_it() {
    let directory = Directory::create("contents");
    let layout = directory.0.join("image");

    let digest = write_image(&layout);

    let image = Image::open(&layout, &digest);
    assert_eq!(image.manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(image.manifest["layers"].as_array().map(Vec::len), Some(1));
    let layer = image.manifest.pointer("/layers/0").expect("a layer");
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(image.module(), fs::read(checkout::module()).expect("the module"));
    for labels in [image.manifest.pointer("/annotations"), image.config.pointer("/config/Labels")] {
        let labels = labels.expect("labels");
        assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(labels["mesh-jwt.module.sha256"], sha256(&checkout::module()));
    }
}

#[test]
fn registry_gives_back_what_was_pushed() {
    for (program, package) in [("skopeo", "skopeo"), ("docker-registry", "docker-registry")] {
        if Command::new(program).arg("--version").output().is_err() {
            // Past libtest, which would keep it to itself.
            drop(writeln!(
                io::stderr(),
                "skipped: {program} is missing: apt-get install {package}"
            ));
            return;
        }
    }
    let directory = Directory::create("registry");
    let layout = directory.0.join("image");
    let digest = write_image(&layout);
    let registry = Registry::start(&directory.0);
    let pushed = format!("docker://{}/mesh-jwt", registry.address);
    let pulled = directory.0.join("pulled");

    skopeo(&["--dest-tls-verify=false", &oci(&layout), &format!("{pushed}:0.1.0")]);
    skopeo(&["--src-tls-verify=false", &format!("{pushed}@sha256:{digest}"), &oci(&pulled)]);

    let image = Image::open(&pulled, &digest);
    assert_eq!(image.module(), fs::read(checkout::module()).expect("the module"));
}

/// An image layout that was read.
struct Image {
    layout: PathBuf,
    manifest: Value,
    config: Value,
}

impl Image {
    fn open(layout: &Path, digest: &str) -> Self {
        let manifest = json(&blob(layout, &format!("sha256:{digest}")));
        let config = manifest.pointer("/config/digest").and_then(Value::as_str);
        let config = json(&blob(layout, config.expect("the digest of the configuration")));
        Self { layout: layout.to_owned(), manifest, config }
    }

    /// `plugin.wasm`, by a program that has nothing in common with the one that packed it.
    fn module(&self) -> Vec<u8> {
        let digest = self.manifest.pointer("/layers/0/digest").and_then(Value::as_str);
        let layer = blob(&self.layout, digest.expect("the digest of the layer"));
        output(Command::new("tar").arg("-xzOf").arg(layer).arg("plugin.wasm"))
    }
}

/// A registry on loopback that keeps its images in a directory; ends with this.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start(directory: &Path) -> Self {
        let (config, log) = (directory.join("registry.yaml"), directory.join("registry.log"));
        let storage = directory.join("registry");
        let settings = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {storage:?}}}}}\n\
             http: {{addr: 127.0.0.1:0}}\n"
        );
        fs::write(&config, settings).expect("a writable target directory");
        let output = File::create(&log).expect("a writable target directory");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the log"))
            .stderr(output)
            .spawn()
            .expect("a registry");
        let mut registry = Self { process, address: String::new() };
        let deadline = Instant::now() + START_LIMIT;
        while registry.address.is_empty() {
            let said = fs::read_to_string(&log).expect("the registry's log");
            assert!(Instant::now() < deadline, "the registry does not listen:\n{said}");
            // A line that is not whole yet may end in the middle of the port.
            if let Some((said, _)) = said.rsplit_once('\n')
                && let Some((_, address)) = said.split_once("listening on ")
            {
                let is_part = |part: &char| part.is_ascii_digit() || ['.', ':'].contains(part);
                registry.address = address.chars().take_while(is_part).collect();
            }
            thread::sleep(Duration::from_millis(20));
        }
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Both fail only for a process that is already gone.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Where one test keeps its files; removed with it.
struct Directory(PathBuf);

impl Directory {
    fn create(name: &str) -> Self {
        let name = format!("image-{}-{name}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a writable target directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed stays under target/, where `cargo clean` finds it.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Returns the digest that it prints for a manifest's `sha256`.
fn write_image(layout: &Path) -> String {
    let printed = output(
        Command::new(env!("CARGO_BIN_EXE_lab")).arg("image").arg(checkout::module()).arg(layout),
    );
    let printed = String::from_utf8(printed).expect("UTF-8");
    let digest = printed.lines().find_map(|line| line.strip_prefix("sha256: "));
    digest.unwrap_or_else(|| panic!("no digest: {printed}")).to_owned()
}

fn blob(layout: &Path, digest: &str) -> PathBuf {
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    assert_eq!(format!("sha256:{}", sha256(&path)), digest);
    path
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a blob")).expect("JSON")
}

fn sha256(path: &Path) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(fs::read(path).unwrap_or_else(|_| panic!("no {path:?}")));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn oci(layout: &Path) -> String {
    format!("oci:{}", layout.display())
}

fn skopeo(arguments: &[&str]) {
    output(Command::new("skopeo").args(["--insecure-policy", "copy"]).args(arguments));
}

fn output(command: &mut Command) -> Vec<u8> {
    let result = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{command:?}: {said}");
    result.stdout
}

const START_LIMIT: Duration = Duration::from_secs(10);
