//! The built module as a host sees it before it runs a single instruction.
//!
//! Envoy refuses a module with an import that it does not offer, and says so only when the
//! configuration is loaded. A dependency that brings one in is to fail here.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use lab::module::CALLBACKS;
use wasmparser::{ExternalKind, Parser, Payload, Validator};

#[test]
fn it_imports_only_what_envoy_offers() {
    for (module, name) in &Module::built().imports {
        let offered = match module.as_str() {
            "env" => name.strip_prefix("proxy_").is_some_and(|name| PROXY_WASM.contains(&name)),
            "wasi_snapshot_preview1" => WASI.contains(&name.as_str()),
            // wasm-bindgen's modules end here, among others.
            _ => false,
        };
        assert!(offered, "Envoy has no {module}.{name}");
    }
}

#[test]
fn it_exports_what_envoy_is_to_call_and_nothing_else() {
    let exports = Module::built().functions;

    assert_eq!(exports, CALLBACKS.map(str::to_owned).into());
}

#[test]
fn it_carries_no_names_and_no_debug_information() {
    for section in &Module::built().custom_sections {
        assert!(section != "name" && !section.starts_with(".debug"), "section {section}");
    }
}

#[test]
fn it_does_not_tell_where_it_was_built() {
    let bytes = Module::bytes();

    for place in ["/registry/src/", env!("CARGO_MANIFEST_DIR")] {
        assert!(!bytes.windows(place.len()).any(|part| part == place.as_bytes()), "{place}");
    }
}

/// Every proxy fetches and compiles the module before it serves: size is start-up time.
#[test]
fn it_fits_its_budget() {
    // Some room for a feature, none for a heavy dependency.
    const BUDGET: usize = 528_000;

    let size = Module::built().size;

    assert!(size <= BUDGET, "{size} bytes, {} over the budget", size - BUDGET);
}

/// Envoy's V8 compiles all functions at the start. What it needs for the largest ones on the way stays
/// with the process, and it is several hundred times their size.
#[test]
fn none_of_its_functions_is_large() {
    const LIMIT: usize = 9_000;

    let largest = Module::built().largest_function;

    assert!(
        largest <= LIMIT,
        "a function of {largest} bytes: is it new, or were the flags in .cargo/config.toml ignored?"
    );
}

struct Module {
    size: usize,
    /// The bytes of its body.
    largest_function: usize,
    imports: BTreeSet<(String, String)>,
    /// The names of the exported functions.
    functions: BTreeSet<String>,
    custom_sections: Vec<String>,
}

impl Module {
    fn bytes() -> Vec<u8> {
        let path = env::var_os("MESH_JWT_WASM").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/mesh-jwt.wasm"),
            PathBuf::from,
        );
        fs::read(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; run `make build`", path.display()))
    }

    fn built() -> Self {
        let bytes = Self::bytes();
        Validator::new().validate_all(&bytes).expect("not a valid module");

        let mut module = Self {
            size: bytes.len(),
            largest_function: 0,
            imports: BTreeSet::new(),
            functions: BTreeSet::new(),
            custom_sections: Vec::new(),
        };
        for payload in Parser::new(0).parse_all(&bytes) {
            match payload.unwrap() {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import.unwrap();
                        module.imports.insert((import.module.to_owned(), import.name.to_owned()));
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports.into_iter().map(Result::unwrap) {
                        if export.kind == ExternalKind::Func {
                            module.functions.insert(export.name.to_owned());
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    module.largest_function = module.largest_function.max(body.as_bytes().len());
                }
                Payload::CustomSection(section) => {
                    module.custom_sections.push(section.name().to_owned());
                }
                _ => {}
            }
        }
        module
    }
}

/// What proxy-wasm-cpp-host registers in the module `env` for ABI 0.2.1, without `proxy_`
/// (`FOR_ALL_HOST_FUNCTIONS` in its exports.h, and `WasmBase::registerCallbacks`).
const PROXY_WASM: [&str; 39] = [
    "add_header_map_value",
    "call_foreign_function",
    "close_stream",
    "continue_stream",
    "define_metric",
    "dequeue_shared_queue",
    "done",
    "enqueue_shared_queue",
    "get_buffer_bytes",
    "get_buffer_status",
    "get_current_time_nanoseconds",
    "get_header_map_pairs",
    "get_header_map_size",
    "get_header_map_value",
    "get_log_level",
    "get_metric",
    "get_property",
    "get_shared_data",
    "get_status",
    "grpc_call",
    "grpc_cancel",
    "grpc_close",
    "grpc_send",
    "grpc_stream",
    "http_call",
    "increment_metric",
    "log",
    "record_metric",
    "register_shared_queue",
    "remove_header_map_value",
    "replace_header_map_value",
    "resolve_shared_queue",
    "send_local_response",
    "set_buffer_bytes",
    "set_effective_context",
    "set_header_map_pairs",
    "set_property",
    "set_shared_data",
    "set_tick_period_milliseconds",
];

/// What it registers in `wasi_snapshot_preview1` (`FOR_ALL_WASI_FUNCTIONS` in the same file).
const WASI: [&str; 15] = [
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_read",
    "fd_seek",
    "fd_write",
    "path_open",
    "proc_exit",
    "random_get",
];
