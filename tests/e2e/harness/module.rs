//! What the module and its host call each other by.

use std::collections::BTreeSet;
use std::fs;

use wasmparser::{ExternalKind, Parser, Payload};

use super::envoy::wasm_module;

/// The names of the functions that the module imports or exports.
pub(crate) fn functions() -> BTreeSet<String> {
    let module = fs::read(wasm_module()).expect("a readable module");
    let mut names = BTreeSet::new();
    for payload in Parser::new(0).parse_all(&module) {
        match payload.expect("a valid module") {
            Payload::ImportSection(imports) => {
                names.extend(
                    imports
                        .into_iter()
                        .map(|import| import.expect("a valid import").name.to_owned()),
                );
            }
            Payload::ExportSection(exports) => {
                let exports = exports.into_iter().map(|export| export.expect("a valid export"));
                let functions = exports.filter(|export| export.kind == ExternalKind::Func);
                names.extend(functions.map(|export| export.name.to_owned()));
            }
            _ => {}
        }
    }
    names
}
