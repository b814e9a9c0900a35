//! The filter with a fault: it traps on a request that has very many headers, which nothing makes the
//! real one do.

use std::fs;
use std::path::Path;

use wasm_encoder::{BlockType, Function};

use crate::checkout;
use crate::module::{Additions, Parts};

/// No request of a test has as many without meaning it.
pub const HEADERS: i32 = 100;

/// Writes the module to a file.
pub fn write(path: &Path) {
    let module = fs::read(checkout::module()).expect("a readable module");
    let parts = Parts::of(&module).expect("a valid module");
    let callback = parts.export(CALLBACK).expect("the callback");
    let additions = Additions {
        functions: vec![(parts.type_index(callback), fault(callback))],
        exports: [(CALLBACK, parts.first_added())].into(),
        ..Additions::default()
    };
    let faulty = additions.add_to(&module).expect("a valid module");
    fs::write(path, faulty).expect("a writable directory");
}

/// A function that is put in front of the callback. Of its parameters the second is the number of headers.
fn fault(callback: u32) -> Function {
    let mut function = Function::new([]);
    function.instructions().local_get(1).i32_const(HEADERS).i32_ge_s();
    function.instructions().if_(BlockType::Empty).unreachable().end();
    function.instructions().local_get(0).local_get(1).local_get(2).call(callback).end();
    function
}

const CALLBACK: &str = "proxy_on_request_headers";
