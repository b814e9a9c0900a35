//! Series, as a Prometheus would keep them that scrapes every half minute.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::iter;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

/// Seconds between two scrapes, in the time of the series.
pub(super) const INTERVAL: u32 = 30;

/// All that was scraped, by name and labels.
pub(super) struct Series {
    values: BTreeMap<String, Vec<Option<f64>>>,
    scrapes: usize,
    began: SystemTime,
    speed: u32,
}

impl Series {
    pub(super) fn new(speed: u32) -> Self {
        Self { values: BTreeMap::new(), scrapes: 0, began: SystemTime::now(), speed }
    }

    pub(super) fn scrapes(&self) -> usize {
        self.scrapes
    }

    /// Adds what Envoy's `/stats/prometheus` says now of the filter and its VMs.
    pub(super) fn add(&mut self, text: &str) -> Result<()> {
        for line in text.lines().filter(|line| is_of_filter(line)) {
            let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            let value: f64 = value.parse().with_context(|| line.to_owned())?;
            let value = if is_time(series) { self.in_series_time(value) } else { value };
            let values = self.values.entry(with_target(series)).or_default();
            values.resize(self.scrapes, None);
            values.push(Some(value));
        }
        self.scrapes += 1;
        Ok(())
    }

    /// The time of the series begins with zero. What is zero already was never set.
    fn in_series_time(&self, unix_seconds: f64) -> f64 {
        if unix_seconds == 0.0 {
            return 0.0;
        }
        let began = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        ((unix_seconds - began.as_secs_f64()) * f64::from(self.speed)).round()
    }

    /// The series whose metric is one of these, with their values as promtool's tests write them.
    pub(super) fn of<'a>(
        &'a self,
        is_wanted: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a str, String)> {
        let is_wanted = move |(series, _): &(&String, _)| is_wanted(name(series));
        let wanted = self.values.iter().filter(is_wanted);
        wanted.map(|(series, values)| (series.as_str(), notation(values, self.scrapes)))
    }

    /// Everything, as a text that Prometheus can be filled with.
    pub(super) fn open_metrics(&self) -> String {
        let mut text = String::new();
        for (series, values) in &self.values {
            for (at, value) in (BASE..).step_by(INTERVAL as usize).zip(values) {
                let Some(value) = value else { continue };
                let value =
                    if is_time(series) && *value != 0.0 { value + BASE as f64 } else { *value };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{series} {value} {at}");
            }
        }
        text.push_str("# EOF\n");
        text
    }
}

fn is_of_filter(line: &str) -> bool {
    line.starts_with("mesh_jwt_") || line.starts_with("envoy_wasm_")
}

fn name(series: &str) -> &str {
    series.split_once('{').map_or(series, |(name, _)| name)
}

/// Whether its value is a time.
fn is_time(series: &str) -> bool {
    name(series).ends_with("_timestamp_seconds")
}

/// With the labels that Prometheus adds.
fn with_target(series: &str) -> String {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let comma = if labels == "}" { "" } else { "," };
    let labels = labels.strip_suffix('}').unwrap_or(labels);
    format!("{name}{{{labels}{comma}{TARGET}}}")
}

/// Runs of equal steps are `first+stepxcount`, and absent values `_`.
fn notation(values: &[Option<f64>], scrapes: usize) -> String {
    let absent = iter::repeat_n(&None, scrapes.saturating_sub(values.len()));
    let mut rest: Vec<_> = values.iter().chain(absent).copied().collect();
    rest.reverse();
    let mut parts = Vec::new();
    while let Some(first) = rest.pop() {
        let Some(first) = first else {
            parts.push("_".to_owned());
            continue;
        };
        let step = rest.last().copied().flatten().map_or(0.0, |next| next - first);
        let mut count = 0;
        while rest.last().copied().flatten() == Some(first + step * f64::from(count + 1)) {
            rest.pop();
            count += 1;
        }
        parts.push(match count {
            0 => first.to_string(),
            _ if step < 0.0 => format!("{first}{step}x{count}"),
            _ => format!("{first}+{step}x{count}"),
        });
    }
    parts.join(" ")
}

const TARGET: &str = r#"job="envoy",instance="proxy-1""#;
/// When the series begin that Prometheus is filled with: the first of January 2026.
const BASE: u64 = 1_767_225_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_steps_are_written_as_runs() {
        let values = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
        for (scraped, written) in [
            (values(&[0.0, 0.0, 0.0]), "0+0x2"),
            (values(&[0.0, 0.0, 3.0, 5.0, 7.0, 7.0]), "0+0x1 3+2x2 7"),
            (values(&[9.0, 5.0, 1.0, 4.0]), "9-4x2 4"),
            (values(&[-2.5]), "-2.5"),
            (vec![None, Some(1.0), None, Some(2.0), Some(3.0)], "_ 1 _ 2+1x1"),
        ] {
            assert_eq!(notation(&scraped, scraped.len()), written);
        }
        assert_eq!(notation(&values(&[1.0, 2.0]), 4), "1+1x1 _ _");
    }

    #[test]
    fn series_begin_with_time_zero_and_have_the_labels_of_their_target() {
        let mut series = Series::new(5);
        let began = series.began.duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
        let before = began.as_secs() - 100;
        let scraped = format!(
            "# TYPE mesh_jwt_paused gauge\nmesh_jwt_paused{{}} 3\nenvoy_server_live{{}} 1\n\
             mesh_jwt_jwks_last_success_timestamp_seconds{{provider=\"a\"}} {before}\n\
             mesh_jwt_jwks_last_success_timestamp_seconds{{provider=\"b\"}} 0\n"
        );
        series.add("").expect("an empty answer");
        series.add(&scraped).expect("series");

        let all: BTreeMap<_, _> = series.of(|_| true).collect();

        let target = r#"job="envoy",instance="proxy-1"}"#;
        let time = "mesh_jwt_jwks_last_success_timestamp_seconds";
        assert_eq!(all.len(), 3);
        assert_eq!(all[format!("mesh_jwt_paused{{{target}").as_str()], "_ 3");
        assert_eq!(all[format!("{time}{{provider=\"b\",{target}").as_str()], "_ 0");
        let a = all[format!("{time}{{provider=\"a\",{target}").as_str()].trim_start_matches("_ ");
        let a: i32 = a.parse().expect("a whole number");
        assert!((-505..=-500).contains(&a), "{a}");
        let paused = format!("mesh_jwt_paused{{{target} 3 {}\n", BASE + u64::from(INTERVAL));
        assert!(series.open_metrics().contains(&paused));
    }
}
