//! Modules that make some of their calls of the host in another way, to see what those cost.

use anyhow::Result;
use lab::module::{Additions, Parts};
use wasm_encoder::{BlockType, Function, InstructionSink, MemArg, MemArgTarget, ValType};

/// A function of the host, and what comes in the place of its calls.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) instead: Instead,
}

/// What comes in the place of a call. Where there is none, it seems to succeed.
#[derive(Clone, Copy)]
pub(super) enum Instead {
    /// As many calls, with the same arguments.
    Calls(i32),
    /// Nothing, of a function that returns nothing but a status.
    Nothing,
    /// The number of 64 bits that the first call gave, through its last parameter.
    Number,
    /// The bytes that an early call gave, through its last two parameters: where they are, and their
    /// number.
    Bytes {
        /// Which of the calls that succeed; those until then are made.
        of_call: i64,
    },
}

/// The module with these calls changed wherever they are made.
pub(super) fn changed(module: &[u8], calls: &[Call]) -> Result<Vec<u8>> {
    let parts = Parts::of(module)?;
    let allocate = parts.export(ALLOCATE)?;
    let mut additions = Additions::default();
    for (call, stub) in calls.iter().zip(parts.first_added()..) {
        let import = parts.import(call.name)?;
        let globals = Globals::from(parts.globals + additions.globals);
        let body = Stub { instead: call.instead, import, globals }.body(&parts, allocate);
        additions.functions.push((parts.type_index(import), body));
        additions.globals += Globals::COUNT;
        additions.calls.insert(import, stub);
    }
    additions.add_to(module)
}

/// What stands in for a function of the host.
struct Stub {
    instead: Instead,
    import: u32,
    globals: Globals,
}

/// What a stub remembers.
#[derive(Clone, Copy)]
struct Globals {
    /// How many calls have succeeded.
    calls: u32,
    /// The number that came back, or where a copy of the bytes is.
    value: u32,
    size: u32,
}

impl Globals {
    fn from(first: u32) -> Self {
        Self { calls: first, value: first + 1, size: first + 2 }
    }

    const COUNT: u32 = 3;
}

impl Stub {
    fn body(&self, parts: &Parts, allocate: u32) -> Function {
        let parameters = parts.parameters(self.import);
        let (status, place) = (parameters, parameters + 1);
        let mut function = Function::new([(2, ValType::I32)]);
        let code = &mut function.instructions();
        match self.instead {
            Instead::Nothing => _ = code.i32_const(OK),
            Instead::Calls(times) => {
                code.i32_const(times).local_set(place).loop_(BlockType::Empty);
                self.call(code, parameters);
                code.local_set(status);
                code.local_get(place).i32_const(1).i32_sub().local_tee(place).br_if(0).end();
                code.local_get(status);
            }
            Instead::Number => {
                let number = parameters - 1;
                self.replay(code, 1, |code, globals| {
                    code.local_get(number).global_get(globals.value).i64_store(AT);
                });
                self.ask(code, parameters, status, 1, |code, globals| {
                    code.local_get(number).i64_load(AT).global_set(globals.value);
                });
            }
            Instead::Bytes { of_call } => {
                let (data, size) = (parameters - 2, parameters - 1);
                self.replay(code, of_call, |code, globals| {
                    code.global_get(globals.size).i32_wrap_i64().call(allocate);
                    code.local_tee(place).global_get(globals.value).i32_wrap_i64();
                    code.global_get(globals.size).i32_wrap_i64().memory_copy(0, 0);
                    code.local_get(data).local_get(place).i32_store(AT);
                    code.local_get(size).global_get(globals.size).i32_wrap_i64().i32_store(AT);
                });
                self.ask(code, parameters, status, of_call, |code, globals| {
                    code.local_get(size).i64_load32_u(AT).global_set(globals.size);
                    code.local_get(size).i32_load(AT).call(allocate);
                    code.local_tee(place).local_get(data).i32_load(AT);
                    code.local_get(size).i32_load(AT).memory_copy(0, 0);
                    code.local_get(place).i64_extend_i32_u().global_set(globals.value);
                });
            }
        }
        code.end();
        function
    }

    fn call(&self, code: &mut InstructionSink<'_>, parameters: u32) {
        for parameter in 0..parameters {
            code.local_get(parameter);
        }
        code.call(self.import);
    }

    /// Gives what came back before, once there were so many calls.
    fn replay(
        &self,
        code: &mut InstructionSink<'_>,
        of_call: i64,
        give: impl FnOnce(&mut InstructionSink<'_>, Globals),
    ) {
        code.global_get(self.globals.calls).i64_const(of_call).i64_ge_u().if_(BlockType::Empty);
        give(code, self.globals);
        code.i32_const(OK).return_().end();
    }

    /// Calls the host, and remembers what the last call gives.
    fn ask(
        &self,
        code: &mut InstructionSink<'_>,
        parameters: u32,
        status: u32,
        of_call: i64,
        remember: impl FnOnce(&mut InstructionSink<'_>, Globals),
    ) {
        let calls = self.globals.calls;
        self.call(code, parameters);
        code.local_tee(status).i32_eqz().if_(BlockType::Empty);
        code.global_get(calls).i64_const(1).i64_add().global_set(calls);
        code.global_get(calls).i64_const(of_call).i64_eq().if_(BlockType::Empty);
        remember(code, self.globals);
        code.end().end().local_get(status);
    }
}

const ALLOCATE: &str = "proxy_on_memory_allocate";
const OK: i32 = 0;
const AT: MemArg = MemArg { offset: 0, align: 0, target: MemArgTarget::Memory(0), ordering: None };

#[cfg(test)]
mod tests {
    use std::fs;

    use lab::checkout;
    use wasmparser::Validator;

    use super::*;

    #[test]
    fn changed_modules_are_valid() {
        let module = fs::read(checkout::module()).expect("a readable module");
        let of = |name, instead| Call { name, instead };
        for calls in [
            [of("proxy_increment_metric", Instead::Nothing)],
            [of("proxy_set_property", Instead::Calls(3))],
            [of("proxy_get_current_time_nanoseconds", Instead::Number)],
            [of("proxy_get_header_map_pairs", Instead::Bytes { of_call: 2 })],
        ] {
            let changed = changed(&module, &calls).expect("a changed module");

            Validator::new().validate_all(&changed).expect("a valid module");
            let parts = [&module, &changed].map(|module| Parts::of(module).expect("parts"));
            let [before, after] = parts.map(|parts| parts.first_added());
            assert_eq!(after, before + 1, "one function more");
        }
        let unknown = changed(&module, &[of("proxy_unknown", Instead::Nothing)]);
        assert!(unknown.is_err());
    }
}
