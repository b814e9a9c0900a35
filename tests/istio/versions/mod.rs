//! The manifests and the schemas, held against real versions of Istio: their own
//! CustomResourceDefinitions, and what they made of the manifests.
//!
//! That data is no part of this project. The tests look for it beside the checkout, in
//! `../shared/istio`, or where `MESH_JWT_ISTIO` says; where it is not they are skipped.

mod crd;
mod narrower;
mod readme;
mod refused;
mod rule_examples;
mod rules;
mod seen;
mod variants;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{env, fs};

use serde_json::Value;

use crd::{Crd, Crds};

pub(crate) struct Version {
    /// Such as `1.29.6`.
    pub(crate) name: String,
    crds: Crds,
    /// What each situation looked like in a proxy.
    pub(crate) seen: Value,
}

/// None where there is no data, which is then said.
pub(crate) fn all() -> Option<&'static [Version]> {
    static VERSIONS: LazyLock<Option<Vec<Version>>> = LazyLock::new(read);
    if VERSIONS.is_none() {
        // Past libtest, which would keep it to itself.
        let skipped = "skipped: there is no ../shared/istio with Istio's own schemas; \
                       MESH_JWT_ISTIO names another place";
        drop(writeln!(io::stderr(), "{skipped}"));
    }
    VERSIONS.as_deref()
}

fn read() -> Option<Vec<Version>> {
    let chosen = env::var_os("MESH_JWT_ISTIO").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/istio");
    let folder = chosen.or_else(|| beside.exists().then_some(beside))?;
    let entries = fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut versions: Vec<_> = entries
        .filter_map(|entry| {
            let file = entry.expect("an entry").file_name().into_string().expect("a name");
            let name = file.strip_prefix("crds-")?.strip_suffix(".json")?;
            Some(Version::read(&folder, name))
        })
        .collect();
    versions.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!versions.is_empty(), "{} has no crds-VERSION.json", folder.display());
    Some(versions)
}

impl Version {
    fn read(folder: &Path, name: &str) -> Self {
        let read = |file: String| -> Value {
            let text = fs::read_to_string(folder.join(&file));
            let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
        };
        let minor: Vec<_> = name.split('.').take(2).collect();
        Self {
            name: name.to_owned(),
            crds: Crds::new(read(format!("crds-{name}.json"))),
            seen: read(format!("seen-{}.json", minor.join("."))),
        }
    }

    /// None of a kind that is newer than the version.
    fn crd(&self, version: &str, kind: &str) -> Option<&Crd> {
        let found = self.crds.of(version, kind);
        let is_newer = kind == "TrafficExtension" && self.minor() < 30;
        assert_eq!(found.is_none(), is_newer, "{}: {version} {kind}", self.name);
        found
    }

    /// The 29 in 1.29.6.
    fn minor(&self) -> u32 {
        let minor = self.name.split('.').nth(1).and_then(|minor| minor.parse().ok());
        minor.unwrap_or_else(|| panic!("{} is not a version of Istio", self.name))
    }
}
