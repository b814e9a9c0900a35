//! The manifests as kustomize renders them: the checkout's, or what a test makes of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use serde_json::Value;

/// The tree `istio/` of the checkout, with changes.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub(crate) struct Source {
    /// The new text of a file, or none where it is removed.
    changes: BTreeMap<String, Option<String>>,
}

impl Source {
    pub(crate) fn checkout() -> Self {
        Self::default()
    }

    pub(crate) fn with(mut self, file: &str, text: String) -> Self {
        self.changes.insert(file.to_owned(), Some(text));
        self
    }

    pub(crate) fn without(mut self, file: &str) -> Self {
        self.changes.insert(file.to_owned(), None);
        self
    }

    pub(crate) fn text(&self, file: &str) -> String {
        let text = match self.changes.get(file) {
            Some(changed) => changed.clone(),
            None => fs::read_to_string(root().join(file)).ok(),
        };
        text.unwrap_or_else(|| panic!("there is no {file}"))
    }

    /// All resources that `kubectl apply -k` would apply, or what kustomize complains about.
    pub(crate) fn render(&self, directory: &str) -> Result<Vec<Resource>, String> {
        // A start of kubectl takes a tenth of a second, and many tests look at the same manifests.
        static RENDERED: LazyLock<Mutex<Renderings>> = LazyLock::new(Mutex::default);
        let key = (self.clone(), directory.to_owned());
        let rendering = Arc::clone(RENDERED.lock().expect("no panic").0.entry(key).or_default());
        rendering.0.get_or_init(|| self.run_kustomize(directory)).clone()
    }

    fn run_kustomize(&self, directory: &str) -> Result<Vec<Resource>, String> {
        let copy = tempfile::tempdir().expect("a temporary directory");
        self.write(copy.path());
        // One level above everything, so that the annotations name files as the checkout does.
        let outermost = format!("resources: [{directory}]\nbuildMetadata: [originAnnotations]\n");
        write(&copy.path().join("kustomization.yaml"), &outermost);

        let output = Command::new(kubectl())
            .arg("kustomize")
            .arg(copy.path())
            // It is over before collecting garbage pays.
            .env("GOGC", "off")
            .output()
            .unwrap_or_else(|error| panic!("kubectl does not run; see KUBECTL: {error}"));
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let here = copy.path().to_str().expect("a name in UTF-8");
            return Err(complaint.replace(here, "").trim_end().to_owned());
        }
        let documents = serde_saphyr::from_slice_multiple(&output.stdout).expect("YAML");
        Ok(documents.into_iter().map(Resource::new).collect())
    }

    fn write(&self, copy: &Path) {
        for file in manifests_under(Path::new("istio")) {
            if !self.changes.contains_key(&file) {
                write(&copy.join(&file), &self.text(&file));
            }
        }
        for (file, text) in &self.changes {
            if let Some(text) = text {
                write(&copy.join(file), text);
            }
        }
    }
}

#[derive(Default)]
struct Renderings(HashMap<(Source, String), Arc<Rendering>>);

/// What others wait for while one thread renders it.
#[derive(Default)]
struct Rendering(OnceLock<Result<Vec<Resource>, String>>);

/// One of the rendered resources.
#[derive(Clone)]
pub(crate) struct Resource {
    pub(crate) value: Value,
    /// The file that it is in before anything patches it.
    pub(crate) file: String,
}

impl Resource {
    fn new(mut value: Value) -> Self {
        let metadata = value["metadata"].as_object_mut().expect("metadata");
        let annotations = metadata["annotations"].as_object_mut().expect("annotations");
        let origin = annotations.remove("config.kubernetes.io/origin").expect("an origin");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
        let origin: Value =
            serde_saphyr::from_str(origin.as_str().expect("a text")).expect("YAML in it");
        let file = origin["path"].as_str().expect("a path").to_owned();
        Self { value, file }
    }

    pub(crate) fn kind(&self) -> &str {
        self.text("/kind")
    }

    pub(crate) fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    pub(crate) fn get(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer)
    }

    /// The text at a JSON pointer; empty where there is none.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.get(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// What is wrong with the value at a JSON pointer.
    pub(crate) fn problem(&self, pointer: &str, what: impl Display) -> String {
        format!("{} {} ({}): {pointer}: {what}", self.kind(), self.name(), self.file)
    }
}

/// Every manifest of the checkout under this directory, by its path from the root.
pub(crate) fn manifests_under(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(directory)).expect("a directory") {
        let path = directory.join(entry.expect("an entry").file_name());
        if root().join(&path).is_dir() {
            found.append(&mut manifests_under(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path.to_str().expect("a name in UTF-8").to_owned());
        }
    }
    found
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("a writable directory");
    fs::write(path, text).expect("a writable directory");
}

fn kubectl() -> PathBuf {
    if let Some(path) = std::env::var_os("KUBECTL") {
        return path.into();
    }
    let fetched = root().join(".cache/kubectl/kubectl");
    assert!(fetched.exists(), "there is no kubectl: run `make kubectl`, or set KUBECTL to one");
    fetched
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
