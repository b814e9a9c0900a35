//! What the module and its host call each other by.

use std::collections::BTreeSet;
use std::fs;

use wasmparser::{ExternalKind, Parser, Payload};

use super::envoy::wasm_module;

/// The names of the functions that the module imports or exports.
pub(crate) fn functions() -> BTreeSet<String> {
    let mut names = imports();
    let module = fs::read(wasm_module()).expect("a readable module");
    for payload in Parser::new(0).parse_all(&module) {
        if let Payload::ExportSection(exports) = payload.expect("a valid module") {
            let exports = exports.into_iter().map(|export| export.expect("a valid export"));
            let functions = exports.filter(|export| export.kind == ExternalKind::Func);
            names.extend(functions.map(|export| export.name.to_owned()));
        }
    }
    names
}

/// The names of the functions that the module imports.
pub(crate) fn imports() -> BTreeSet<String> {
    let module = fs::read(wasm_module()).expect("a readable module");
    let mut names = BTreeSet::new();
    for payload in Parser::new(0).parse_all(&module) {
        if let Payload::ImportSection(imports) = payload.expect("a valid module") {
            let imports = imports.into_iter().map(|import| import.expect("a valid import"));
            names.extend(imports.map(|import| import.name.to_owned()));
        }
    }
    names
}
