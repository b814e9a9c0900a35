//! Turns what was measured into numbers to compare.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::checkout;
use serde::{Serialize, Serializer};

use super::cpus::Cpus;
use super::measure::Memory;
use super::scaling::Point;
use super::startup::Starts;
use super::switch::Cost;
use super::systems::{
    CROWD, JWT_AUTHN, JWT_AUTHN_CACHE, MESH_JWT, MESH_JWT_NO_CACHE, MESH_JWT_UNTOLD, PLAIN,
};
use super::{Plan, Record};

/// All that is told of one benchmark.
#[derive(Serialize)]
pub(super) struct Results {
    pub(super) about: About,
    /// By load.
    pub(super) systems: BTreeMap<&'static str, Table<Figures>>,
    pub(super) ratios: Vec<Ratio>,
    pub(super) scaling: Vec<Scaled>,
    pub(super) memory: Table<MemoryFigures>,
    pub(super) start: Table<StartFigures>,
    pub(super) switch: Vec<Cost>,
    records: Vec<Record>,
}

#[derive(Serialize)]
pub(super) struct About {
    #[serde(flatten)]
    pub(super) plan: Plan,
    pub(super) envoy: String,
    pub(super) module_bytes: u64,
    pub(super) cpu: String,
    pub(super) cpus: usize,
    pub(super) pinned: bool,
    /// How much of Envoy's CPU other programs took.
    pub(super) others: Spread,
}

/// Something of each system, in their order.
pub(super) struct Table<T>(pub(super) Vec<(String, T)>);

#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) requests_per_second: Spread,
    pub(super) busy: Spread,
    pub(super) cpu_us: Spread,
    /// Beyond what the same round cost without a check.
    pub(super) added_cpu_us: Spread,
    pub(super) paced_requests_per_second: Spread,
    pub(super) p50_ms: Spread,
    pub(super) p99_ms: Spread,
}

/// How many times as much CPU Envoy's own filter adds.
#[derive(Serialize)]
pub(super) struct Ratio {
    pub(super) load: &'static str,
    pub(super) native: &'static str,
    pub(super) ours: &'static str,
    #[serde(flatten)]
    pub(super) ratio: Spread,
}

/// One thing enlarged, under one load.
#[derive(Serialize)]
pub(super) struct Scaled {
    pub(super) dimension: &'static str,
    pub(super) size: usize,
    pub(super) load: &'static str,
    pub(super) baseline_added_cpu_us: Spread,
    pub(super) added_cpu_us: Spread,
    pub(super) ratio: Spread,
}

#[derive(Serialize)]
pub(super) struct MemoryFigures {
    pub(super) resident_bytes: u64,
    pub(super) wasm_bytes: Vec<u64>,
    /// Beyond the Envoy without a check.
    pub(super) added_bytes: f64,
    /// What every worker beyond the first adds to the process.
    pub(super) each_worker_bytes: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct StartFigures {
    pub(super) ready_ms: Spread,
    pub(super) verified_ms: Spread,
}

/// What some rounds came to.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Results {
    pub(super) fn of(
        about: About,
        records: Vec<Record>,
        points: &[Point],
        memory: &[(String, Memory, Option<Memory>)],
        starts: &[Starts],
        switch: Vec<Cost>,
    ) -> Self {
        let measured = Measured(&records);
        let plain = memory.iter().find(|(system, ..)| system == PLAIN);
        let plain = plain.map_or(0, |(_, alone, _)| alone.resident_bytes);
        Self {
            about,
            systems: LOADS.map(|load| (load, measured.compare(load))).into(),
            ratios: RIVALS.map(|rivals| measured.ratio(rivals)).into(),
            scaling: points.iter().flat_map(|point| measured.scaled(point)).collect(),
            memory: memory
                .iter()
                .map(|(system, alone, crowd)| {
                    (system.clone(), MemoryFigures::of(alone, crowd.as_ref(), plain))
                })
                .collect(),
            start: starts.iter().map(StartFigures::of).collect(),
            switch,
            records,
        }
    }
}

impl About {
    pub(super) fn of(plan: &Plan, records: &[Record], cpus: &Cpus) -> Result<Self> {
        let others = records.iter().filter(|record| record.phase != "paced");
        Ok(Self {
            plan: *plan,
            envoy: envoy_version()?,
            module_bytes: fs::metadata(checkout::find_module()?)?.len(),
            cpu: cpu_model()?,
            cpus: cpus.count(),
            pinned: cpus.are_pinned(),
            others: others.map(|record| record.sample.others).collect(),
        })
    }
}

fn envoy_version() -> Result<String> {
    let output = Command::new(checkout::find_envoy()?).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let is_version =
        |part: &&str| part.split('.').filter(|number| number.parse::<u32>().is_ok()).count() == 3;
    Ok(text.split('/').find(is_version).unwrap_or(&text).to_owned())
}

fn cpu_model() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Ok(model.map_or(std::env::consts::ARCH, |(_, model)| model.trim()).to_owned())
}

/// The records, to take figures out.
struct Measured<'a>(&'a [Record]);

impl Measured<'_> {
    fn of<T>(
        &self,
        phase: &str,
        load: &str,
        system: &str,
        figure: impl Fn(&Record) -> T,
    ) -> Vec<T> {
        let is_one = |record: &&Record| {
            (record.phase, &*record.load, &*record.system) == (phase, load, system)
        };
        self.0.iter().filter(is_one).map(figure).collect()
    }

    /// Beyond what the same round cost without a check.
    fn added_cpu(&self, phase: &str, load: &str, system: &str) -> Vec<f64> {
        let cpu = |system| self.of(phase, load, system, |record| record.sample.cpu_us);
        cpu(system).iter().zip(cpu(PLAIN)).map(|(cpu, plain)| cpu - plain).collect()
    }

    fn compare(&self, load: &str) -> Table<Figures> {
        let is_of_first = |record: &&Record| {
            (record.round, record.phase, &*record.load) == (1, "saturated", load)
        };
        let systems = self.0.iter().filter(is_of_first).map(|record| &record.system);
        systems.map(|system| (system.clone(), self.figures(load, system))).collect()
    }

    fn figures(&self, load: &str, system: &str) -> Figures {
        let saturated = |figure: fn(&Record) -> f64| {
            self.of("saturated", load, system, figure).into_iter().collect()
        };
        let paced = |figure: fn(&Record) -> f64| {
            self.of("paced", load, system, figure).into_iter().collect()
        };
        Figures {
            requests_per_second: saturated(|record| record.sample.requests_per_second),
            busy: saturated(|record| record.sample.busy),
            cpu_us: saturated(|record| record.sample.cpu_us),
            added_cpu_us: self.added_cpu("saturated", load, system).into_iter().collect(),
            paced_requests_per_second: paced(|record| record.sample.requests_per_second),
            p50_ms: paced(|record| record.sample.p50_ms),
            p99_ms: paced(|record| record.sample.p99_ms),
        }
    }

    fn ratio(&self, (load, native, ours): (&'static str, &'static str, &'static str)) -> Ratio {
        let added = |system| self.added_cpu("saturated", load, system);
        Ratio { load, native, ours, ratio: divided(&added(native), &added(ours)) }
    }

    fn scaled(&self, point: &Point) -> Vec<Scaled> {
        let scaled = |kind: &&'static str| {
            let baseline = self.added_cpu("scaling", kind, MESH_JWT);
            let load = point.load_name(kind);
            let enlarged = self.added_cpu("scaling", &load, &point.system.name);
            Scaled {
                dimension: point.dimension,
                size: point.size,
                load: kind,
                ratio: divided(&enlarged, &baseline),
                baseline_added_cpu_us: baseline.into_iter().collect(),
                added_cpu_us: enlarged.into_iter().collect(),
            }
        };
        point.kinds.iter().map(scaled).collect()
    }
}

fn divided(numerators: &[f64], denominators: &[f64]) -> Spread {
    let both = numerators.iter().zip(denominators);
    both.map(|(numerator, denominator)| numerator / denominator).collect()
}

impl MemoryFigures {
    fn of(alone: &Memory, crowd: Option<&Memory>, plain: u64) -> Self {
        let beyond = |more: u64, less: u64| more as f64 - less as f64;
        Self {
            resident_bytes: alone.resident_bytes,
            wasm_bytes: alone.wasm_bytes.clone(),
            added_bytes: beyond(alone.resident_bytes, plain),
            each_worker_bytes: crowd.map(|crowd| {
                beyond(crowd.resident_bytes, alone.resident_bytes) / f64::from(CROWD - 1)
            }),
        }
    }
}

impl StartFigures {
    fn of(starts: &Starts) -> (String, Self) {
        let spread =
            |times: &[Duration]| times.iter().map(|time| 1e3 * time.as_secs_f64()).collect();
        let (ready_ms, verified_ms) = (spread(&starts.ready), spread(&starts.verified));
        (starts.system.clone(), Self { ready_ms, verified_ms })
    }
}

impl FromIterator<f64> for Spread {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let (half, last) = (values.len() / 2, values.len().saturating_sub(1));
        Self { median: f64::midpoint(at(last / 2), at(half)), min: at(0), max: at(last) }
    }
}

impl<T> FromIterator<(String, T)> for Table<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(rows: I) -> Self {
        Self(rows.into_iter().collect())
    }
}

impl<T: Serialize> Serialize for Table<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(system, row)| (system, row)))
    }
}

pub(super) const LOADS: [&str; 3] = ["cold", "hot", "rejected"];
/// By load, what of Envoy's own comes nearest to which of ours.
const RIVALS: [(&str, &str, &str); 7] = [
    ("cold", JWT_AUTHN, MESH_JWT),
    ("cold", JWT_AUTHN, MESH_JWT_UNTOLD),
    ("cold", JWT_AUTHN, MESH_JWT_NO_CACHE),
    // Istio's RequestAuthentication has no cache.
    ("hot", JWT_AUTHN, MESH_JWT),
    ("hot", JWT_AUTHN, MESH_JWT_UNTOLD),
    ("hot", JWT_AUTHN_CACHE, MESH_JWT),
    ("rejected", JWT_AUTHN, MESH_JWT),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_of_an_even_number_has_its_median_between_two() {
        let spread = |values: &[f64]| {
            let Spread { median, min, max } = values.iter().copied().collect();
            (median, min, max)
        };

        assert_eq!(spread(&[3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert_eq!(spread(&[4.0, 1.0, 3.0, 2.0]), (2.5, 1.0, 4.0));
        assert_eq!(spread(&[7.0]), (7.0, 7.0, 7.0));
    }
}
