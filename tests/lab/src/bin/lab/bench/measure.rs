//! What the kernel knows about a process: CPU time and memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::process;
use lab::proxy::Proxy;

/// Of one process.
pub(super) struct Memory {
    pub(super) resident_bytes: u64,
    /// Of each wasm VM: Envoy has one on its main thread and one on each worker.
    pub(super) wasm_bytes: Vec<u64>,
}

impl Memory {
    pub(super) fn of(envoy: &Proxy) -> Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", envoy.id()))?;
        Ok(Self { resident_bytes: envoy.resident_bytes(), wasm_bytes: wasm_memories(&maps) })
    }
}

/// How long all threads of a process have run.
pub(super) fn cpu_time(process: u32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // Some kernels have no such file.
        let Ok(precise) = fs::read_to_string(thread?.path().join("schedstat")) else {
            return Ok(process::cpu_time(process));
        };
        let ran = precise.split(' ').next().context("a thread's time in schedstat")?;
        sum += Duration::from_nanos(ran.parse()?);
    }
    Ok(sum)
}

/// How long a CPU has run anything.
pub(super) fn busy(cpu: usize) -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{cpu} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name)).context("a CPU's times")?;
    let ticks: Vec<u32> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [user, nice, system, _idle, _wait, irq, softirq, steal, ..] = *ticks else {
        return Err(anyhow::anyhow!("{line:?} are not a CPU's times"));
    };
    Ok((user + nice + system + irq + softirq + steal) * TICK)
}

/// The sizes of what is in use at the start of each address space that V8 has reserved.
fn wasm_memories(maps: &str) -> Vec<u64> {
    let mut sizes = Vec::new();
    let mut used = None;
    for mapping in maps.lines().filter_map(Mapping::parse) {
        if let Some((start, end)) = used
            && end == mapping.start
            && mapping.access == "---p"
            && mapping.end - start >= RESERVED
        {
            sizes.push(end - start);
        }
        let is_used = mapping.access == "rw-p" && mapping.is_anonymous;
        used = is_used.then_some((mapping.start, mapping.end));
    }
    sizes
}

struct Mapping<'a> {
    start: u64,
    end: u64,
    access: &'a str,
    is_anonymous: bool,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        Some(Self {
            start: u64::from_str_radix(start, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            access: fields.next()?,
            // After offset, device and inode.
            is_anonymous: fields.nth(3).is_none(),
        })
    }
}

/// V8 reserves all that 32 bits can address, so that it need not check bounds.
const RESERVED: u64 = 4 << 30;
/// Of the kernel's clock: a hundredth of a second, on every architecture that Envoy runs on.
const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_vm_is_what_is_in_use_before_a_reservation() {
        let maps = "\
            5570a0000000-5570a0400000 r--p 00000000 fe:00 123 /usr/bin/envoy\n\
            7f0000000000-7f0000110000 rw-p 00000000 00:00 0 \n\
            7f0000110000-7f0100000000 ---p 00000000 00:00 0 \n\
            7f0200000000-7f0200110000 rw-p 00000000 00:00 0 \n\
            7f0200110000-7f0280000000 ---p 00000000 00:00 0 \n\
            7f0500000000-7f0500001000 rw-p 00000000 00:00 0 [stack]\n\
            7f0500001000-7f0700000000 ---p 00000000 00:00 0 \n";

        assert_eq!(wasm_memories(maps), [0x11_0000]);
    }
}
