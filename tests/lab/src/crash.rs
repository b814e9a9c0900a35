//! The filter with a fault: it traps on a request that has very many headers, which nothing makes the
//! real one do.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use wasm_encoder::Module;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection};
use wasmparser::{CodeSectionReader, Export, FunctionSectionReader, Parser};

use crate::checkout;
use crate::module::Parts;

/// No request of a test has as many without meaning it.
pub const HEADERS: i32 = 100;

/// Writes the module to a file.
pub fn write(path: &Path) {
    let module = fs::read(checkout::module()).expect("a readable module");
    let mut fault = Fault::of(&module);
    let mut faulty = Module::new();
    fault.parse_core_module(&mut faulty, Parser::new(0), &module).expect("a valid module");
    fs::write(path, faulty.finish()).expect("a writable directory");
}

/// A function that is put in front of the callback.
struct Fault {
    callback: u32,
    type_index: u32,
    index: u32,
}

impl Fault {
    fn of(module: &[u8]) -> Self {
        let parts = Parts::of(module).expect("a valid module");
        let callback = parts.export(CALLBACK).expect("the callback");
        Self { callback, type_index: parts.type_index(callback), index: parts.first_added() }
    }

    /// Of the callback's parameters the second is the number of headers.
    fn function(&self) -> Function {
        let mut function = Function::new([]);
        function.instructions().local_get(1).i32_const(HEADERS).i32_ge_s();
        function.instructions().if_(BlockType::Empty).unreachable().end();
        function.instructions().local_get(0).local_get(1).local_get(2).call(self.callback).end();
        function
    }
}

impl Reencode for Fault {
    type Error = Infallible;

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_function_section(self, functions, section)?;
        functions.function(self.type_index);
        Ok(())
    }

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: Export<'_>,
    ) -> Result<(), Error> {
        if export.name == CALLBACK {
            exports.export(CALLBACK, ExportKind::Func, self.index);
            return Ok(());
        }
        utils::parse_export(self, exports, export)
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_code_section(self, code, section)?;
        code.function(&self.function());
        Ok(())
    }
}

const CALLBACK: &str = "proxy_on_request_headers";
