//! `lab image`: the module as an OCI image, in a layout that skopeo and others can push.
//!
//! The image is what Istio's agent looks for: /plugin.wasm in one gzipped layer. The same module makes
//! the same bytes wherever and whenever it is packed, so that the digest says what is in it.
//!
//!     make image
//!     skopeo copy oci:dist/image:0.1.0 docker://registry.example.com/mesh-jwt:0.1.0

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use oci_spec::image::{
    ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REF_NAME, ANNOTATION_TITLE,
    ANNOTATION_VERSION, Arch, ConfigBuilder, Descriptor, HistoryBuilder, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os, RootFsBuilder,
    SCHEMA_VERSION, Sha256Digest,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Pack the filter as an OCI image layout, and print the digest of its manifest.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    module: PathBuf,
    /// Where the image goes; what is there is replaced.
    layout: PathBuf,
}

impl Arguments {
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        pack(&self.module, &self.layout)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn pack(module: &Path, layout: &Path) -> Result<()> {
    let content =
        fs::read(module).with_context(|| format!("{}: run `make build`", module.display()))?;
    let digest = write(&content, layout).with_context(|| layout.display().to_string())?;
    println!("{}: mesh-jwt {VERSION}", layout.display());
    println!("sha256: {digest}");
    Ok(())
}

/// The manifest's digest, which is what a WasmPlugin's `sha256` is compared with.
fn write(module: &[u8], layout: &Path) -> Result<String> {
    let blobs = Blobs::create(layout)?;
    let files = archive(module)?;
    let labels = labels(module);
    let config = ImageConfigurationBuilder::default()
        .created(CREATED)
        .architecture(Arch::Wasm)
        .os(Os::Other("wasip1".to_owned()))
        .config(ConfigBuilder::default().labels(labels.clone()).build()?)
        .rootfs(RootFsBuilder::default().diff_ids([format!("sha256:{}", sha256(&files))]).build()?)
        .history([HistoryBuilder::default().created(CREATED).created_by("lab image").build()?])
        .build()?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(blobs.add(&json(&config)?, MediaType::ImageConfig)?)
        .layers([blobs.add(&gzip(&files)?, MediaType::ImageLayerGzip)?])
        .annotations(labels)
        .build()?;
    let mut descriptor = blobs.add(&json(&manifest)?, MediaType::ImageManifest)?;
    let name = (ANNOTATION_REF_NAME.to_owned(), VERSION.to_owned());
    descriptor.set_annotations(Some([name].into()));
    let digest = descriptor.digest().digest().to_owned();
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .manifests([descriptor])
        .build()?;
    fs::write(layout.join("index.json"), json(&index)?)?;
    let version = OciLayoutBuilder::default().image_layout_version("1.0.0").build()?;
    fs::write(layout.join("oci-layout"), json(&version)?)?;
    Ok(digest)
}

fn labels(module: &[u8]) -> HashMap<String, String> {
    let labels = [
        (ANNOTATION_TITLE, "mesh-jwt".to_owned()),
        (ANNOTATION_DESCRIPTION, "JWT authentication as a proxy-wasm filter".to_owned()),
        (ANNOTATION_LICENSES, "Apache-2.0".to_owned()),
        (ANNOTATION_VERSION, VERSION.to_owned()),
        // Of /plugin.wasm itself, which is what file:// and https:// URLs are compared with.
        ("mesh-jwt.module.sha256", sha256(module)),
    ];
    labels.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Where the parts of an image are kept under their digests.
struct Blobs(PathBuf);

impl Blobs {
    /// In a layout that replaces what is there.
    fn create(layout: &Path) -> Result<Self> {
        match fs::remove_dir_all(layout) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let blobs = layout.join("blobs").join("sha256");
        fs::create_dir_all(&blobs)?;
        Ok(Self(blobs))
    }

    fn add(&self, content: &[u8], kind: MediaType) -> Result<Descriptor> {
        let digest = sha256(content);
        fs::write(self.0.join(&digest), content)?;
        Ok(Descriptor::new(kind, content.len() as u64, digest.parse::<Sha256Digest>()?))
    }
}

fn archive(module: &[u8]) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(module.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "plugin.wasm", module)?;
    archive.into_inner()
}

/// Without compression: Istio takes gzipped layers only, but what a compressor makes of them depends
/// on its version.
fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let unknown = 255;
    let builder = GzBuilder::new().mtime(0).operating_system(unknown);
    let mut encoder = builder.write(Vec::new(), Compression::none());
    encoder.write_all(content)?;
    encoder.finish()
}

/// With the names in order, which those of labels have not by themselves.
fn json(document: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut document = serde_json::to_value(document)?;
    document.sort_all_objects();
    serde_json::to_vec(&document)
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of the workspace, and so of the filter.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Nothing in the image may tell when it was packed.
const CREATED: &str = "1970-01-01T00:00:00Z";
