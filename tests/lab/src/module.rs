//! What the module and its host call each other by.

use std::collections::BTreeSet;
use std::fs;

use wasmparser::{ExternalKind, Parser, Payload};

use crate::checkout;

/// The names of the functions that the module imports or exports.
#[derive(Default)]
pub struct Functions {
    pub imports: BTreeSet<String>,
    pub exports: BTreeSet<String>,
}

impl Functions {
    pub fn of_module() -> Self {
        let module = fs::read(checkout::module()).expect("a readable module");
        let mut functions = Self::default();
        for payload in Parser::new(0).parse_all(&module) {
            match payload.expect("a valid module") {
                Payload::ImportSection(imports) => {
                    let imports = imports.into_iter().map(|import| import.expect("a valid import"));
                    functions.imports.extend(imports.map(|import| import.name.to_owned()));
                }
                Payload::ExportSection(exports) => {
                    let exports = exports.into_iter().map(|export| export.expect("a valid export"));
                    let exports = exports.filter(|export| export.kind == ExternalKind::Func);
                    functions.exports.extend(exports.map(|export| export.name.to_owned()));
                }
                _ => {}
            }
        }
        functions
    }
}
