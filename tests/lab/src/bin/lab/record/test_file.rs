//! The files that `promtool test rules` runs: expectations, which are written by hand, and below them
//! the series, which are recorded.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use regex_lite::Regex;

use super::series::{INTERVAL, Series};

/// Replaces the series of the file by those that the rules ask for; returns how many these are.
pub(super) fn update(path: &Path, series: &Series, speed: u32) -> Result<usize> {
    let place = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(place)?;
    let (text, kept) = updated(&text, series, speed).with_context(place)?;
    fs::write(path, text).with_context(place)?;
    Ok(kept)
}

fn updated(text: &str, series: &Series, speed: u32) -> Result<(String, usize)> {
    let found = text.split_once(MARK);
    let (expectations, _) = found.with_context(|| format!("no line begins with `{MARK}`"))?;
    let word = Regex::new(r"\w+")?;
    let words: Vec<_> = word.find_iter(RULES).map(|word| word.as_str()).collect();
    let mut text = format!(
        "{expectations}{MARK}, one scrape each {INTERVAL} s; time is stretched {speed} times.\n  \
         interval: {INTERVAL}s\n  input_series:\n"
    );
    let mut kept = 0;
    for (series, values) in series.of(|name| words.contains(&name)) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  - series: '{series}'\n    values: {values}");
        kept += 1;
    }
    Ok((text, kept))
}

const RULES: &str = include_str!("../../../../../../envoy/dashboards/alerts.yaml");
const MARK: &str = "  # Recorded by `lab record`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_stay_and_series_that_rules_ask_for_are_replaced() {
        let mut series = Series::new(5);
        series.add("mesh_jwt_allowed{} 1\nmesh_jwt_public{} 2").expect("series");
        series.add("mesh_jwt_allowed{} 4\nmesh_jwt_public{} 2").expect("series");
        let before = format!("tests:\n- expected: this\n{MARK} once\n  input_series: []\n");

        let (after, kept) = updated(&before, &series, 5).expect("a file with the mark");

        let expected = format!(
            "tests:\n- expected: this\n{MARK}, one scrape each 30 s; time is stretched 5 times.\n  \
             interval: 30s\n  input_series:\n  \
             - series: 'mesh_jwt_allowed{{job=\"envoy\",instance=\"proxy-1\"}}'\n    \
             values: 1+3x1\n"
        );
        assert_eq!((after, kept), (expected, 1));
        assert!(updated("tests: []\n", &series, 5).is_err());
    }
}
