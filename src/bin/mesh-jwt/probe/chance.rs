//! How likely what was seen is by chance alone.

/// How likely it is that one more pod gave none of these answers, where each pod, this one included, gets
/// the same share of the requests and a balancer draws at random.
pub(super) fn missed(answers: usize, sets: usize) -> f64 {
    let sets = number(sets);
    (sets / (sets + 1.0)).powf(number(answers))
}

/// How likely it is that answers in random order show each set in one run without a gap; `counts` says
/// how often each came.
pub(super) fn in_runs(counts: &[usize]) -> f64 {
    let factorials = counts.iter().map(|count| ln_factorial(*count)).sum::<f64>();
    let orders = ln_factorial(counts.iter().sum()) - factorials;
    (ln_factorial(counts.len()) - orders).exp()
}

/// A probability as people write it: two digits.
pub(super) fn percent(probability: f64) -> String {
    let percent = probability * 100.0;
    if percent < 0.0001 {
        return "less than 0.0001 %".to_owned();
    }
    let rounded = format!("{percent:.1e}").parse().unwrap_or(percent);
    format!("{rounded} %")
}

fn ln_factorial(n: usize) -> f64 {
    (2..=n).map(|factor| number(factor).ln()).sum()
}

fn number(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_pod_is_missed_as_often_as_nobody_draws_it() {
        assert_eq!(percent(missed(10, 1)), "0.098 %");
        assert_eq!(percent(missed(20, 2)), "0.03 %");
        assert_eq!(percent(missed(1, 1)), "50 %");
        assert_eq!(percent(missed(0, 1)), "100 %");
    }

    #[test]
    fn runs_are_counted_among_all_orders() {
        // Of AABB, ABAB, ABBA, BAAB, BABA and BBAA two have no gap.
        assert!((in_runs(&[2, 2]) - 2.0 / 6.0).abs() < 1e-9);
        // 6 orders of three runs, of 90 in all.
        assert!((in_runs(&[2, 2, 2]) - 6.0 / 90.0).abs() < 1e-9);
        assert!((in_runs(&[7]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn percentages_have_two_digits() {
        assert_eq!(percent(0.123), "12 %");
        assert_eq!(percent(0.0123), "1.2 %");
        assert_eq!(percent(0.01), "1 %");
        assert_eq!(percent(0.000_123), "0.012 %");
        assert_eq!(percent(1e-9), "less than 0.0001 %");
        assert_eq!(percent(1.0), "100 %");
    }
}
