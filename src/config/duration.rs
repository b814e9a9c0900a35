//! Durations as Kubernetes and Istio write them: `500ms`, `5s`, `1h30m`.

use std::time::Duration;

/// Parses one or more numbers, each with a unit of `ms`, `s`, `m` or `h`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(number_end)?;
        let (unit, tail) = UNITS
            .iter()
            .find_map(|(suffix, unit)| tail.strip_prefix(suffix).map(|tail| (*unit, tail)))?;
        total = total.checked_add(multiple(number, unit)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// A decimal number of `unit`; digits below a nanosecond are dropped.
fn multiple(number: &str, unit: Duration) -> Option<Duration> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let mut total = unit.checked_mul(whole.parse().ok()?)?;
    let mut digit_unit = unit;
    for digit in fraction.chars() {
        digit_unit = digit_unit.checked_div(10)?;
        total = total.checked_add(digit_unit.checked_mul(digit.to_digit(10)?)?)?;
    }
    Some(total)
}

/// `ms` comes before its prefix `m`.
const UNITS: [(&str, Duration); 4] = [
    ("ms", Duration::from_millis(1)),
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_mins(1)),
    ("h", Duration::from_hours(1)),
];

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
            ("0.25h", 900_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_not_a_duration() {
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
