//! No file of the filter imports one that imports it, directly or through others: each can be read, and
//! replaced, without those above it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Item, UseTree, Visibility};

#[test]
fn of_files_form_no_circle() {
    let imports = Files::read().imports();

    assert!(imports.len() > 50, "only {} files were found", imports.len());
    assert_no_circle(imports);
}

/// A folder counts as one: `config` may not import what any file of it imports.
#[test]
fn of_modules_form_no_circle() {
    let mut modules = Imports::new();
    for (file, others) in Files::read().imports() {
        let module = file.into_iter().take(1).collect::<Module>();
        let others = others.into_iter().map(|other| other.into_iter().take(1).collect());
        let others = others.filter(|other| *other != module).collect::<BTreeSet<_>>();
        modules.entry(module).or_default().extend(others);
    }

    assert!(modules.len() > 20, "only {} modules were found", modules.len());
    assert_no_circle(modules);
}

fn assert_no_circle(mut left: Imports) {
    // Take away whatever imports nothing that is left: a circle stays.
    while let Some(free) = left.iter().find(|(_, others)| others.is_empty()) {
        let free = free.0.clone();
        left.remove(&free);
        for others in left.values_mut() {
            others.remove(&free);
        }
    }
    assert!(left.is_empty(), "these import each other: {left:#?}");
}

/// What each imports.
type Imports = BTreeMap<Module, BTreeSet<Module>>;
/// A module by its path, such as `["jwks", "keys"]`.
type Module = Vec<String>;

struct Files {
    items: BTreeMap<Module, Vec<Item>>,
    /// Where a name that a module exports for another one comes from.
    exported: BTreeMap<(Module, String), Module>,
}

impl Files {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut items = BTreeMap::new();
        for file in rust_files(&root) {
            let text = fs::read_to_string(&file).expect("a readable file");
            let mut parsed = syn::parse_file(&text).expect("a file that compiles").items;
            parsed.retain(|item| !is_for_tests(item));
            items.insert(module(file.strip_prefix(&root).expect("a file of src")), parsed);
        }
        let mut files = Self { items, exported: BTreeMap::new() };
        files.exported = files.exports();
        files
    }

    fn exports(&self) -> BTreeMap<(Module, String), Module> {
        let mut exports = BTreeMap::new();
        for (module, path) in self.used(|visibility| !matches!(visibility, Visibility::Inherited)) {
            let name = path.last().expect("a path").clone();
            exports.insert((module, name), self.longest(&path));
        }
        exports
    }

    fn imports(&self) -> Imports {
        let mut imports: Imports =
            self.items.keys().map(|module| (module.clone(), BTreeSet::new())).collect();
        for (module, path) in self.used(|_| true) {
            let mut target = self.longest(&path);
            if let Some(name) = path.get(target.len())
                && let Some(origin) = self.exported.get(&(target.clone(), name.clone()))
            {
                target = origin.clone();
            }
            // The root only says which modules there are.
            if target != module && !target.is_empty() {
                imports.get_mut(&module).expect("a module").insert(target);
            }
        }
        imports
    }

    /// Every module with each path that it uses, from the root of the crate.
    fn used(&self, is_meant: impl Fn(&Visibility) -> bool) -> Vec<(Module, Module)> {
        let mut used = Vec::new();
        for (module, items) in &self.items {
            for item in items {
                let Item::Use(item) = item else { continue };
                if is_meant(&item.vis) {
                    let mut paths = Vec::new();
                    flatten(&item.tree, &mut Vec::new(), &mut paths);
                    let paths = paths.into_iter().filter_map(|path| self.absolute(module, path));
                    used.extend(paths.map(|path| (module.clone(), path)));
                }
            }
        }
        used
    }

    fn absolute(&self, module: &Module, path: Vec<String>) -> Option<Module> {
        let (first, rest) = path.split_first().expect("a path");
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let (_, parent) = module.split_last().expect("a parent");
                let parent = parent.to_vec();
                match rest.first().is_some_and(|next| next == "super") {
                    true => self.absolute(&parent, rest.to_vec()),
                    false => Some([&parent, rest].concat()),
                }
            }
            _ => {
                let child = [module.as_slice(), std::slice::from_ref(first)].concat();
                self.items.contains_key(&child).then(|| [child.as_slice(), rest].concat())
            }
        }
    }

    /// The module that a path leads into.
    fn longest(&self, path: &[String]) -> Module {
        let lengths = (0..=path.len()).rev();
        let mut prefixes = lengths.map(|length| path[..length].to_vec());
        prefixes.find(|prefix| self.items.contains_key(prefix)).expect("the root, at least")
    }
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => vec![path],
        })
        // src/config/tests.rs is a file of tests.
        .filter(|path| path.extension().is_some_and(|rs| rs == "rs") && !path.ends_with("tests.rs"))
        .collect()
}

fn module(file: &Path) -> Module {
    let mut module: Module =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

fn is_for_tests(item: &Item) -> bool {
    let Item::Mod(item) = item else { return false };
    item.ident == "tests"
}

fn flatten(tree: &UseTree, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            flatten(&part.tree, path, paths);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => paths.push(path.clone()),
        UseTree::Name(name) => paths.push([path.as_slice(), &[name.ident.to_string()]].concat()),
        UseTree::Rename(name) => paths.push([path.as_slice(), &[name.ident.to_string()]].concat()),
        UseTree::Glob(_) => paths.push(path.clone()),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| flatten(tree, path, paths));
        }
    }
}
