//! `lab module`: from the module that cargo has linked to the one that is shipped.
//!
//! The SDK exports every callback of the ABI, and Envoy enters the VM for each that is there: nine times
//! for a request, and not four. Here they go, and with them the functions that only they call. All
//! numbers are encoded anew, as short as they can be; the linker leaves room for the largest address in
//! each.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lab::module::CALLBACKS;
use wasm_encoder::reencode::{Error, Reencode, utils};
use wasm_encoder::{CodeSection, ExportSection, FunctionSection, ImportSection, Module};
use wasmparser::{
    CodeSectionReader, CustomSectionReader, Export, ExternalKind, FunctionBody,
    FunctionSectionReader, ImportSectionReader, Parser, TypeRef,
};

/// Make the filter that is shipped of the module that cargo has linked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What cargo has linked.
    linked: PathBuf,
    /// Where the filter goes.
    shipped: PathBuf,
}

impl Arguments {
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        ship(&self.linked, &self.shipped)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn ship(input: &Path, output: &Path) -> Result<()> {
    let linked = fs::read(input).with_context(|| input.display().to_string())?;
    let shipped = shrink(&linked).with_context(|| input.display().to_string())?;
    if let Some(directory) = output.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    fs::write(output, &shipped).with_context(|| output.display().to_string())?;
    println!("{}: {} bytes", output.display(), shipped.len());
    Ok(())
}

fn shrink(linked: &[u8]) -> Result<Vec<u8>, Error> {
    let mut reach = Reach::default();
    reach.parse_core_module(&mut Module::new(), Parser::new(0), linked)?;
    let mut shipped = Module::new();
    let mut shrinker =
        Shrinker { imports: reach.imports, kept: reach.functions.into_iter().collect() };
    shrinker.parse_core_module(&mut shipped, Parser::new(0), linked)?;
    Ok(shipped.finish())
}

fn is_answered(export: &Export<'_>) -> bool {
    export.kind != ExternalKind::Func || CALLBACKS.contains(&export.name)
}

/// Which functions can be called. What it encodes on its way is of no use.
#[derive(Default)]
struct Reach {
    /// How many functions the host has: the first ones.
    imports: u32,
    functions: BTreeSet<u32>,
}

impl Reencode for Reach {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        self.functions.insert(function);
        Ok(function)
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Result<(), Error> {
        for import in section.clone().into_imports() {
            if let TypeRef::Func(_) = import?.ty {
                self.functions.insert(self.imports);
                self.imports += 1;
            }
        }
        utils::parse_import_section(self, imports, section)
    }

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: Export<'_>,
    ) -> Result<(), Error> {
        if is_answered(&export) { utils::parse_export(self, exports, export) } else { Ok(()) }
    }

    /// Everything else that refers to functions comes before this section.
    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error> {
        let bodies: Vec<FunctionBody<'_>> = section.into_iter().collect::<Result<_, _>>()?;
        let mut seen = BTreeSet::new();
        while let Some(&next) = self.functions.difference(&seen).next() {
            seen.insert(next);
            let body = next.checked_sub(self.imports).and_then(|body| bodies.get(body as usize));
            if let Some(body) = body {
                self.parse_function_body(code, body.clone())?;
            }
        }
        Ok(())
    }
}

/// Leaves out what nobody calls.
struct Shrinker {
    imports: u32,
    /// The functions that stay, in order.
    kept: Vec<u32>,
}

impl Shrinker {
    /// What stays of a section that has one item for each function that the host does not have.
    fn kept<T>(&self, items: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        let numbered = (self.imports..).zip(items);
        let kept = numbered.filter(|(function, _)| self.kept.binary_search(function).is_ok());
        kept.map(|(_, item)| item)
    }
}

impl Reencode for Shrinker {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(self.kept.partition_point(|kept| *kept < function) as u32)
    }

    fn parse_export(
        &mut self,
        exports: &mut ExportSection,
        export: Export<'_>,
    ) -> Result<(), Error> {
        if is_answered(&export) { utils::parse_export(self, exports, export) } else { Ok(()) }
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        for kind in self.kept(section).collect::<Vec<_>>() {
            functions.function(kind?);
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: CodeSectionReader<'_>,
    ) -> Result<(), Error> {
        for body in self.kept(section).collect::<Vec<_>>() {
            self.parse_function_body(code, body?)?;
        }
        Ok(())
    }

    /// Names and the like are for tools.
    fn parse_custom_section(
        &mut self,
        _: &mut Module,
        _: CustomSectionReader<'_>,
    ) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        ConstExpr, DataSection, ElementSection, Elements, EntityType, ExportKind, Function,
        TypeSection, ValType,
    };
    use wasmparser::{Payload, Validator};

    use super::*;

    #[test]
    fn what_only_an_unanswered_callback_calls_is_left_out() {
        let linked = linked();
        Validator::new().validate_all(&linked).expect("a valid module to begin with");

        let shipped = shrink(&linked).expect("a module");

        // Each function has a type of its own: a call of another one would not be valid.
        Validator::new().validate_all(&shipped).expect("a valid module");
        assert_eq!(exports(&shipped), ["memory", "proxy_on_tick"]);
        assert_eq!((bodies(&linked), bodies(&shipped)), (5, 3));
        assert!(
            !Parser::new(0).parse_all(&shipped).any(|payload| {
                matches!(payload.expect("a section"), Payload::CustomSection(_))
            })
        );
    }

    /// One imported function, and five of which `proxy_on_done` and what it calls are not needed.
    fn linked() -> Vec<u8> {
        let mut types = TypeSection::new();
        for parameters in 0..6 {
            types.ty().function(vec![ValType::I32; parameters], []);
        }
        let mut imports = ImportSection::new();
        imports.import("env", "proxy_log", EntityType::Function(0));
        let mut functions = FunctionSection::new();
        let mut code = CodeSection::new();
        let calls: [&[u32]; 5] = [&[2], &[0], &[0, 4], &[0], &[0]];
        for (kind, called) in (1..).zip(calls) {
            functions.function(kind);
            let mut function = Function::new([]);
            for called in called {
                for _ in 0..*called {
                    function.instructions().i32_const(7);
                }
                function.instructions().call(*called);
            }
            function.instructions().end();
            code.function(&function);
        }
        let mut tables = wasm_encoder::TableSection::new();
        tables.table(wasm_encoder::TableType {
            element_type: wasm_encoder::RefType::FUNCREF,
            table64: false,
            minimum: 1,
            maximum: None,
            shared: false,
        });
        let mut memories = wasm_encoder::MemorySection::new();
        memories.memory(wasm_encoder::MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export("proxy_on_done", ExportKind::Func, 1);
        exports.export("proxy_on_tick", ExportKind::Func, 3);
        let mut elements = ElementSection::new();
        elements.active(None, &ConstExpr::i32_const(0), Elements::Functions([5][..].into()));
        let mut data = DataSection::new();
        data.active(0, &ConstExpr::i32_const(0), *b"data");
        let mut module = Module::new();
        module
            .section(&types)
            .section(&imports)
            .section(&functions)
            .section(&tables)
            .section(&memories)
            .section(&exports)
            .section(&elements)
            .section(&code)
            .section(&data)
            .section(&wasm_encoder::CustomSection {
                name: "producers".into(),
                data: [0][..].into(),
            });
        module.finish()
    }

    fn exports(module: &[u8]) -> Vec<String> {
        let payloads = Parser::new(0).parse_all(module).map(|payload| payload.expect("a section"));
        payloads
            .filter_map(|payload| match payload {
                Payload::ExportSection(exports) => Some(exports),
                _ => None,
            })
            .flatten()
            .map(|export| export.expect("an export").name.to_owned())
            .collect()
    }

    fn bodies(module: &[u8]) -> usize {
        let payloads = Parser::new(0).parse_all(module).map(|payload| payload.expect("a section"));
        payloads.filter(|payload| matches!(payload, Payload::CodeSectionEntry(_))).count()
    }
}
