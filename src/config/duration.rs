//! Durations as Kubernetes and Istio write them: `500ms`, `5s`, `1h30m`.

use std::time::Duration;

/// Reads one or more numbers, each with a unit of `ms`, `s`, `m` or `h`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest)?;
        let (unit, tail) = UNITS
            .iter()
            .find_map(|(suffix, unit)| tail.strip_prefix(suffix).map(|tail| (*unit, tail)))?;
        // Fractions are rare and short: f64 is exact enough for milliseconds.
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, tail) = text.split_at_checked(end)?;
    let well_formed = number.starts_with(|c: char| c.is_ascii_digit())
        && number.ends_with(|c: char| c.is_ascii_digit());
    well_formed.then_some((number, tail))
}

/// Seconds per unit; `ms` stands before `m`, of which it is no prefix.
const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_durations() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "+5s",
            "5d",
            "5S",
            "1.s",
            ".5s",
            "1.2.3s",
            "5s ",
            "1e3s",
            "99999999999999999999h",
            "5µs",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
