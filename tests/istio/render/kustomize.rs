//! A kustomization: its resources, components, patches, replacements and namespace, in kustomize's
//! order.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::node::{Content, Node, Place, Problem};
use super::{patch, replacement, yaml};

/// Where kustomizations are read from: the checkout, or what a test says is in it.
#[derive(Clone)]
pub(crate) struct Source {
    root: PathBuf,
    changes: Vec<(PathBuf, String)>,
    files_read: RefCell<BTreeSet<String>>,
}

impl Source {
    pub(crate) fn checkout() -> Self {
        Self {
            root: env!("CARGO_MANIFEST_DIR").into(),
            changes: Vec::new(),
            files_read: RefCell::default(),
        }
    }

    /// A file with other text than it has, or one that is not there.
    pub(crate) fn with(mut self, file: &str, text: String) -> Self {
        self.changes.push((file.into(), text));
        self
    }

    pub(crate) fn text(&self, file: &Path) -> Option<String> {
        let changed = self.changes.iter().rfind(|(changed, _)| changed == file);
        changed
            .map(|(_, text)| text.clone())
            .or_else(|| fs::read_to_string(self.root.join(file)).ok())
    }

    /// Every file that went into what was rendered.
    pub(crate) fn files_read(&self) -> BTreeSet<String> {
        self.files_read.borrow().clone()
    }

    /// All resources that `kubectl apply -k` would apply.
    pub(crate) fn render(&self, directory: &str) -> Result<Vec<Node>, Problem> {
        let mut resources = Vec::new();
        let nowhere = Place::new(&Rc::from(directory), 1);
        self.add_directory(Path::new(directory), "Kustomization", &mut resources, &nowhere)?;
        Ok(resources)
    }

    fn add_directory(
        &self,
        directory: &Path,
        kind: &str,
        resources: &mut Vec<Node>,
        reference: &Place,
    ) -> Result<(), Problem> {
        let kustomization = self.read(&directory.join("kustomization.yaml"), reference)?;
        known(
            &kustomization,
            &[
                "apiVersion",
                "kind",
                "namespace",
                "resources",
                "components",
                "patches",
                "replacements",
            ],
        )?;
        let stated = required(&kustomization, "kind")?;
        if stated.text() != Some(kind) {
            return Err(stated.place.problem(format!("this should be a {kind}")));
        }
        for resource in list(&kustomization, "resources") {
            let path = beside(directory, resource)?;
            if path.extension().is_some() {
                resources.push(self.read(&path, &resource.place)?);
            } else {
                let mut base = Vec::new();
                self.add_directory(&path, "Kustomization", &mut base, &resource.place)?;
                resources.append(&mut base);
            }
        }
        for component in list(&kustomization, "components") {
            let path = beside(directory, component)?;
            self.add_directory(&path, "Component", resources, &component.place)?;
        }
        for entry in list(&kustomization, "patches") {
            self.patch(directory, resources, entry)?;
        }
        if let Some(namespace) = kustomization.get("namespace") {
            for resource in &mut *resources {
                let metadata = resource.entry("metadata")?;
                metadata.entry("namespace")?.clone_from(namespace);
            }
        }
        for entry in list(&kustomization, "replacements") {
            replacement::replace(resources, entry)?;
        }
        Ok(())
    }

    fn patch(&self, directory: &Path, resources: &mut [Node], entry: &Node) -> Result<(), Problem> {
        known(entry, &["target", "path", "patch"])?;
        let change = match (entry.get("path"), entry.get("patch")) {
            (Some(path), None) => self.read(&beside(directory, path)?, &path.place)?,
            // The text of a block begins on the line after its `|-`.
            (None, Some(text)) => {
                yaml::parse(&text.place.below(1), text.text().unwrap_or_default())?
            }
            _ => return Err(entry.place.problem("a patch has either a path or its text")),
        };
        let selector = match entry.get("target") {
            Some(target) => Selector::read(target)?,
            None => Selector::of(&change),
        };
        let mut targets = resources.iter_mut().filter(|resource| selector.matches(resource));
        let Some(first) = targets.next() else {
            return Err(change.place.problem("there is no resource to patch"));
        };
        for target in std::iter::once(first).chain(targets) {
            match change.items() {
                Some(operations) => patch::apply(target, operations)?,
                None => patch::merge(target, &change),
            }
        }
        Ok(())
    }

    fn read(&self, file: &Path, reference: &Place) -> Result<Node, Problem> {
        let name: Rc<str> = file.to_str().expect("a name in UTF-8").into();
        let text =
            self.text(file).ok_or_else(|| reference.problem(format!("there is no {name}")))?;
        self.files_read.borrow_mut().insert(name.to_string());
        yaml::parse(&Place::new(&name, 1), &text)
    }
}

/// Picks resources by what is given of them.
pub(crate) struct Selector {
    pub(crate) kind: Option<String>,
    pub(crate) name: Option<String>,
}

impl Selector {
    pub(crate) fn read(node: &Node) -> Result<Self, Problem> {
        known(node, &["kind", "name"])?;
        let text = |name| node.get(name).and_then(Node::text).map(str::to_owned);
        Ok(Self { kind: text("kind"), name: text("name") })
    }

    fn of(resource: &Node) -> Self {
        let text = |path: &[&str]| resource.at(path).and_then(Node::text).map(str::to_owned);
        Self { kind: text(&["kind"]), name: text(&["metadata", "name"]) }
    }

    pub(crate) fn matches(&self, resource: &Node) -> bool {
        let is = |wanted: &Option<String>, path: &[&str]| {
            wanted.is_none() || wanted.as_deref() == resource.at(path).and_then(Node::text)
        };
        is(&self.kind, &["kind"]) && is(&self.name, &["metadata", "name"])
    }
}

pub(crate) fn required<'node>(node: &'node Node, name: &str) -> Result<&'node Node, Problem> {
    node.get(name).ok_or_else(|| node.place.problem(format!("{name} is missing")))
}

/// What is not rendered here must not be in a file either.
pub(crate) fn known(node: &Node, names: &[&str]) -> Result<(), Problem> {
    let members = node.members().ok_or_else(|| node.place.problem("this should be a mapping"))?;
    match members.iter().find(|(key, _)| !names.contains(&key.name.as_str())) {
        Some((key, _)) => Err(key.place.problem(format!("{} is unknown here", key.name))),
        None => Ok(()),
    }
}

fn list<'node>(node: &'node Node, name: &str) -> &'node [Node] {
    match node.get(name).map(|list| &list.content) {
        Some(Content::List(items)) => items,
        _ => &[],
    }
}

/// The path that is written in a kustomization, from the root of the checkout.
fn beside(directory: &Path, node: &Node) -> Result<PathBuf, Problem> {
    let text = node.text().ok_or_else(|| node.place.problem("this should be a path"))?;
    let mut path = directory.to_owned();
    for part in text.split('/') {
        match part {
            "." => {}
            ".." => drop(path.pop()),
            name => path.push(name),
        }
    }
    Ok(path)
}
