//! The figures in Markdown.

use super::Mode;
use super::figures::{
    Figures, LOADS, MemoryFigures, Ratio, Results, Scaled, Spread, StartFigures, Table,
};
use super::switch::Cost;
use super::systems::{CLAIMS, MESH_JWT, PLAIN};
use super::{tokens, wrk};
use crate::table;

pub(super) fn markdown(results: &Results) -> String {
    let mut parts = vec![introduction(results)];
    for load in LOADS {
        parts.push(format!("### {}", title(load)));
        parts.extend(results.systems.get(load).map(systems_table));
    }
    parts.push("### Added CPU, jwt_authn ÷ mesh-jwt".to_owned());
    parts.push(ratios_table(&results.ratios));
    parts.push(format!(
        "### Added CPU, enlarged ÷ {MESH_JWT} with one rule, one provider, one key and the smallest \
         token"
    ));
    parts.push(scaling_table(&results.scaling));
    parts.push("### `ISTIO_JWT_MODE`: who verifies, CPU per request".to_owned());
    parts.push(switch_table(&results.switch));
    parts.push("### Memory of a process with one worker".to_owned());
    parts.push(memory_table(&results.memory));
    parts.push("### From the start of Envoy".to_owned());
    parts.push(start_table(&results.start));
    parts.join("\n\n") + "\n"
}

fn title(load: &str) -> String {
    let count = tokens::COUNT;
    match load {
        "cold" => format!("Cold: {count} good tokens in turn"),
        "hot" => "Hot: one good token".to_owned(),
        _ => format!("Rejected: {count} tokens with a bad signature in turn"),
    }
}

fn introduction(results: &Results) -> String {
    let about = &results.about;
    let plan = &about.plan;
    let mode = match plan.mode {
        Mode::Short => "short",
        Mode::Full => "full",
    };
    let all = results.systems.values().flat_map(|systems| &systems.0);
    let paced: Spread = all.map(|(_, figures)| figures.paced_requests_per_second.median).collect();
    let placement = if about.pinned { "Envoy alone on one of them" } else { "all on it" };
    format!(
        "## Benchmark, {mode}\n\n\
         Envoy {envoy}, mesh-jwt.wasm of {bytes} bytes; {cpu}, {cpus} CPUs, {placement}, of which \
         other programs took {others:.0} % (at most {most:.0} %).\n\n\
         Each system checks signature, issuer, audience and times, removes the token and sets \
         {claims} headers from claims; `{PLAIN}` is the same Envoy without a check, which forwards \
         the token, and answers the rejected requests with 401 by a route. Medians of {rounds} rounds \
         (min–max).\n\n\
         - requests/s: with {connections} connections, for {saturated} s a run; busy is how much of a \
         CPU Envoy used: well below 100 %, something else was the limit\n\
         - CPU: Envoy's own, per request, during that; added: beyond `{PLAIN}` in the same round\n\
         - p50, p99: at {paced:.0} requests/s, for {paced_seconds} s a run\n\
         - rejected: mesh-jwt has its keys in the configuration. Where it fetches them it looks for a \
         new key first, and lets the request wait.",
        envoy = about.envoy,
        bytes = grouped(about.module_bytes),
        cpu = about.cpu,
        cpus = about.cpus,
        others = 100.0 * about.others.median,
        most = 100.0 * about.others.max,
        claims = CLAIMS.len(),
        rounds = plan.rounds,
        connections = wrk::CONNECTIONS,
        saturated = plan.saturated_seconds,
        paced = paced.median,
        paced_seconds = plan.paced_seconds,
    )
}

fn systems_table(systems: &Table<Figures>) -> String {
    let header = ["", "requests/s", "busy", "CPU µs", "added CPU µs", "p50 ms", "p99 ms"];
    let row = |(name, figures): &(String, Figures)| {
        [
            name.clone(),
            figures.requests_per_second.shown(0),
            format!("{:.0} %", 100.0 * figures.busy.median),
            figures.cpu_us.shown(1),
            beyond_plain(name, figures.added_cpu_us.shown(1)),
            figures.p50_ms.shown(2),
            figures.p99_ms.shown(2),
        ]
    };
    tabulated(header, systems.0.iter().map(row))
}

fn ratios_table(ratios: &[Ratio]) -> String {
    let row = |ratio: &Ratio| {
        let compared = format!("{} ÷ {}", ratio.native, ratio.ours);
        [ratio.load.to_owned(), compared, ratio.ratio.shown(2)]
    };
    tabulated(["load", "compared", "ratio"], ratios.iter().map(row))
}

fn scaling_table(rows: &[Scaled]) -> String {
    let header = ["enlarged to", "load", "added before, µs", "added after, µs", "ratio"];
    let row = |row: &Scaled| {
        [
            format!("{} {}", grouped(row.size as u64), row.dimension),
            row.load.to_owned(),
            row.baseline_added_cpu_us.shown(1),
            row.added_cpu_us.shown(1),
            row.ratio.shown(2),
        ]
    };
    tabulated(header, rows.iter().map(row))
}

fn switch_table(costs: &[Cost]) -> String {
    let row = |cost: &Cost| {
        let figures = [cost.envoy_cpu_us, cost.service_cpu_us, cost.both_cpu_us];
        let [envoy, service, both] = figures.map(|figure| figure.shown(1));
        [cost.load.clone(), cost.side.clone(), envoy, service, both]
    };
    tabulated(["load", "", "Envoy, µs", "user-service, µs", "both, µs"], costs.iter().map(row))
}

fn memory_table(memory: &Table<MemoryFigures>) -> String {
    let beyond = format!("beyond {PLAIN}, MiB");
    let header =
        ["", "resident MiB", &beyond, "each worker more, MiB", "wasm memory of each VM, KiB"];
    let mebibytes = |bytes: f64| format!("{:.1}", bytes / 1024.0 / 1024.0);
    let row = |(name, one): &(String, MemoryFigures)| {
        let vms: Vec<_> = one.wasm_bytes.iter().map(|bytes| grouped(bytes / 1024)).collect();
        [
            name.clone(),
            mebibytes(one.resident_bytes as f64),
            beyond_plain(name, mebibytes(one.added_bytes)),
            one.each_worker_bytes.map(mebibytes).unwrap_or_default(),
            vms.join(" + "),
        ]
    };
    tabulated(header, memory.0.iter().map(row))
}

fn start_table(start: &Table<StartFigures>) -> String {
    let row = |(name, one): &(String, StartFigures)| {
        [name.clone(), one.ready_ms.shown(0), one.verified_ms.shown(0)]
    };
    tabulated(["", "ready ms", "first verified request ms"], start.0.iter().map(row))
}

fn tabulated<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let mut all = vec![header.map(str::to_owned)];
    all.extend(rows);
    table::markdown(&all)
}

/// Nothing is beyond itself.
fn beyond_plain(name: &str, figure: String) -> String {
    if name == PLAIN { String::new() } else { figure }
}

impl Spread {
    fn shown(self, decimals: usize) -> String {
        let [median, low, high] = [self.median, self.min, self.max].map(|value| {
            // Digits are grouped where there are many.
            let is_long = decimals == 0 && value >= 1000.0;
            if is_long { grouped(value.round() as u64) } else { format!("{value:.decimals$}") }
        });
        format!("{median} ({low}–{high})")
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups_of_three() {
        for (number, text) in [(7, "7"), (512, "512"), (8192, "8,192"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
