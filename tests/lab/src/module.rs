//! What the module and its host call each other by.

use std::collections::BTreeSet;
use std::fs;

use wasmparser::{ExternalKind, Parser, Payload};

use crate::checkout;

/// What Envoy calls: of the ABI's callbacks those that the filter answers, since Envoy enters the VM for
/// each that is there; and of the ABI's versions one, since a host takes the first that it knows.
pub const CALLBACKS: [&str; 12] = [
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_http_call_response",
    "proxy_on_memory_allocate",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

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
                    let imports =
                        imports.into_imports().map(|import| import.expect("a valid import"));
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
