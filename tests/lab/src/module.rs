//! What the module and its host call each other by.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;

use anyhow::{Context as _, Result, anyhow};
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{
    CodeSection, ConstExpr, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, Module, ValType,
};
use wasmparser::{
    CodeSectionReader, Export, ExternalKind, FuncType, FunctionSectionReader, GlobalSectionReader,
    Parser, Payload, TypeRef,
};

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
pub struct Functions {
    pub imports: BTreeSet<String>,
    pub exports: BTreeSet<String>,
}

impl Functions {
    pub fn of_module() -> Self {
        let module = fs::read(checkout::module()).expect("a readable module");
        let Parts { imports, exports, .. } = Parts::of(&module).expect("a valid module");
        Self {
            imports: imports.into_iter().map(|(name, _)| name).collect(),
            exports: exports.into_keys().collect(),
        }
    }
}

/// What a module is made of, for those who change it.
#[derive(Default)]
pub struct Parts {
    types: Vec<FuncType>,
    /// The host's functions, with the indices of their types.
    imports: Vec<(String, u32)>,
    /// The types of its own functions.
    functions: Vec<u32>,
    pub globals: u32,
    /// The functions that the host can call, by name.
    exports: BTreeMap<String, u32>,
}

impl Parts {
    /// # Errors
    ///
    /// If it is no module.
    pub fn of(module: &[u8]) -> Result<Self> {
        let mut parts = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(types) => {
                    let types = types.into_iter_err_on_gc_types();
                    parts.types = types.collect::<Result<_, _>>()?;
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        if let TypeRef::Func(kind) = import.ty {
                            parts.imports.push((import.name.to_owned(), kind));
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    parts.functions = functions.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::GlobalSection(globals) => parts.globals = globals.count(),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func {
                            parts.exports.insert(export.name.to_owned(), export.index);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(parts)
    }

    /// The index of one of the host's functions.
    ///
    /// # Errors
    ///
    /// If the module does not import it.
    pub fn import(&self, name: &str) -> Result<u32> {
        let found = (0..).zip(&self.imports).find(|(_, (import, _))| import == name);
        found.map(|(index, _)| index).with_context(|| format!("the module does not import {name}"))
    }

    /// The index of a function that the host can call.
    ///
    /// # Errors
    ///
    /// If the module does not export it.
    pub fn export(&self, name: &str) -> Result<u32> {
        let found = self.exports.get(name).copied();
        found.with_context(|| format!("the module does not export {name}"))
    }

    /// The index of the type of a function, which is one that the module has.
    pub fn type_index(&self, function: u32) -> u32 {
        let imported = self.imports.iter().map(|(_, kind)| *kind);
        let mut types = imported.chain(self.functions.iter().copied());
        types.nth(function as usize).expect("one of the functions")
    }

    /// How many parameters a function has.
    pub fn parameters(&self, function: u32) -> u32 {
        self.types[self.type_index(function) as usize].params().len() as u32
    }

    /// The index of the first function that is added to the module.
    pub fn first_added(&self) -> u32 {
        (self.imports.len() + self.functions.len()) as u32
    }
}

/// What comes to a module: functions, after its own, that stand in for others.
#[derive(Default)]
pub struct Additions {
    /// Bodies, with the indices of their types.
    pub functions: Vec<(u32, Function)>,
    /// How many variables of 64 bits there are for them, after the module's own.
    pub globals: u32,
    /// What is called in the place of which function, by indices.
    pub calls: BTreeMap<u32, u32>,
    /// What the host calls under which name.
    pub exports: BTreeMap<&'static str, u32>,
}

impl Additions {
    /// The module with all that.
    ///
    /// # Errors
    ///
    /// If it is no module.
    pub fn add_to(mut self, module: &[u8]) -> Result<Vec<u8>> {
        let mut changed = Module::new();
        self.parse_core_module(&mut changed, Parser::new(0), module)
            .map_err(|error| anyhow!("{error}"))?;
        Ok(changed.finish())
    }
}

impl Reencode for Additions {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(self.calls.get(&function).copied().unwrap_or(function))
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_function_section(self, functions, section)?;
        for (kind, _) in &self.functions {
            functions.function(*kind);
        }
        Ok(())
    }

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: GlobalSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_global_section(self, globals, section)?;
        for _ in 0..self.globals {
            let kind = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
            globals.global(kind, &ConstExpr::i64_const(0));
        }
        Ok(())
    }

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: Export<'_>,
    ) -> Result<(), Error> {
        match self.exports.get(export.name) {
            Some(function) => {
                exports.export(export.name, ExportKind::Func, *function);
                Ok(())
            }
            None => utils::parse_export(self, exports, export),
        }
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error> {
        utils::parse_code_section(self, code, section)?;
        for (_, body) in &self.functions {
            code.function(body);
        }
        Ok(())
    }
}
