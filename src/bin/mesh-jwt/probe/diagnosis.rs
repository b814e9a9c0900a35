//! What the answers come to: do pods disagree, and in what?

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::chance;
use super::report::{Report, SetName};

/// The result of a probe.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diagnosis {
    pub(super) verdict: Verdict,
    /// How many answers held a set.
    pub(super) answers: usize,
    /// How many fetches brought none.
    pub(super) failed: usize,
    /// For each endpoint of the report.
    pub(super) endpoints: Vec<Seen>,
    /// Keys that the filter uses and that are not in every set.
    pub(super) partial_keys: Vec<PartialKey>,
    /// `kid`s that name several keys.
    pub(super) ambiguous_kids: Vec<AmbiguousKid>,
    /// If every endpoint left each set for good: how likely it is that answers of pods that disagree come
    /// in such an order by chance.
    pub(super) order_by_chance: Option<f64>,
}

/// What is said in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    /// There was one set.
    Agree,
    /// One set followed another, and did not come back.
    Changed,
    /// There were several sets.
    Disagree,
    /// There was one set, and the filter can use none of its keys.
    NoUsableKey,
    /// There was no set.
    NothingFetched,
}

/// What came from one endpoint.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seen {
    /// How often each set came.
    pub(super) counts: BTreeMap<SetName, usize>,
    /// How likely it is that one more pod behind it was missed; `None` if nothing came at all.
    pub(super) missed_another_pod: Option<f64>,
}

/// A key that only some sets hold.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartialKey {
    pub(super) kid: Option<String>,
    pub(super) thumbprint: String,
    pub(super) present_in: Vec<SetName>,
    pub(super) missing_in: Vec<SetName>,
}

/// A `kid` and its keys.
#[derive(Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AmbiguousKid {
    pub(super) kid: String,
    /// By thumbprint, the sets that hold the key under this `kid`.
    pub(super) keys: BTreeMap<String, BTreeSet<SetName>>,
}

impl Diagnosis {
    pub(super) fn of(report: &Report) -> Self {
        let answers = report.answers.iter().filter(|answer| answer.set().is_some()).count();
        let order_by_chance = order_by_chance(report);
        Self {
            verdict: verdict(report, order_by_chance),
            answers,
            failed: report.answers.len().saturating_sub(answers),
            endpoints: (0..report.endpoints.len()).map(|place| Seen::of(report, place)).collect(),
            partial_keys: partial_keys(report),
            ambiguous_kids: ambiguous_kids(report),
            order_by_chance,
        }
    }

    /// What `mesh-jwt probe --help` promises.
    pub(super) fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Disagree | Verdict::NoUsableKey => 1,
            Verdict::NothingFetched => 3,
            Verdict::Agree | Verdict::Changed if self.failed > 0 => 3,
            Verdict::Agree | Verdict::Changed => 0,
        }
    }
}

impl Seen {
    fn of(report: &Report, endpoint: usize) -> Self {
        let mut counts = BTreeMap::new();
        for set in report.sets_of(endpoint) {
            let count: &mut usize = counts.entry(set).or_default();
            *count = count.saturating_add(1);
        }
        let answers = counts.values().sum();
        let missed = (answers > 0).then(|| chance::missed(answers, counts.len()));
        Self { counts, missed_another_pod: missed }
    }
}

fn verdict(report: &Report, order_by_chance: Option<f64>) -> Verdict {
    match report.sets.as_slice() {
        [] => Verdict::NothingFetched,
        [set] if set.is_usable() => Verdict::Agree,
        [_] => Verdict::NoUsableKey,
        _ => match order_by_chance {
            Some(chance) if chance < HARDLY => Verdict::Changed,
            _ => Verdict::Disagree,
        },
    }
}

/// Pods that disagree take turns behind an address, so that a set that was left comes back; or each has
/// an address of its own, and the addresses end with different sets. `None` if it was so, or if nothing
/// changed.
fn order_by_chance(report: &Report) -> Option<f64> {
    let mut last_sets = BTreeSet::new();
    let mut chance = None;
    for endpoint in 0..report.endpoints.len() {
        let mut runs: Vec<(SetName, usize)> = Vec::new();
        for set in report.sets_of(endpoint) {
            if let Some((_, count)) = runs.last_mut().filter(|(last, _)| *last == set) {
                *count = count.saturating_add(1);
            } else if runs.iter().any(|(earlier, _)| *earlier == set) {
                return None;
            } else {
                runs.push((set, 1));
            }
        }
        last_sets.extend(runs.last().map(|(last, _)| *last));
        if runs.len() > 1 {
            let counts: Vec<_> = runs.iter().map(|(_, count)| *count).collect();
            chance = Some(chance.unwrap_or(1.0) * chance::in_runs(&counts));
        }
    }
    chance.filter(|_| last_sets.len() == 1)
}

fn partial_keys(report: &Report) -> Vec<PartialKey> {
    let mut keys: BTreeMap<(Option<&str>, &str), BTreeSet<SetName>> = BTreeMap::new();
    for set in &report.sets {
        for key in set.keys.iter().filter(|key| key.is_used()) {
            let identity = (key.kid.as_deref(), key.thumbprint.as_deref().unwrap_or_default());
            keys.entry(identity).or_default().insert(set.name);
        }
    }
    keys.retain(|_, sets| sets.len() < report.sets.len());
    let partial = |((kid, thumbprint), sets): ((Option<&str>, &str), BTreeSet<SetName>)| {
        let all = report.sets.iter().map(|set| set.name);
        let (present_in, missing_in) = all.partition(|name| sets.contains(name));
        let (kid, thumbprint) = (kid.map(str::to_owned), thumbprint.to_owned());
        PartialKey { kid, thumbprint, present_in, missing_in }
    };
    keys.into_iter().map(partial).collect()
}

fn ambiguous_kids(report: &Report) -> Vec<AmbiguousKid> {
    let mut kids: BTreeMap<&str, BTreeMap<String, BTreeSet<SetName>>> = BTreeMap::new();
    for set in &report.sets {
        for key in set.keys.iter().filter(|key| key.is_used()) {
            if let (Some(kid), Some(thumbprint)) = (&key.kid, &key.thumbprint) {
                let keys = kids.entry(kid).or_default();
                keys.entry(thumbprint.clone()).or_default().insert(set.name);
            }
        }
    }
    kids.retain(|_, keys| keys.len() > 1);
    kids.into_iter().map(|(kid, keys)| AmbiguousKid { kid: kid.to_owned(), keys }).collect()
}

/// What is less likely than this is not taken for chance.
const HARDLY: f64 = 0.01;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::report::tests::{key, report, skipped};
    use super::*;

    fn diagnose(orders: &[&str]) -> Diagnosis {
        Diagnosis::of(&report(&[&[key("a", "1")], &[key("b", "2")], &[key("c", "3")]], orders))
    }

    fn verdict_of(orders: &[&str]) -> (Verdict, u8) {
        let diagnosis = diagnose(orders);
        (diagnosis.verdict, diagnosis.exit_code())
    }

    #[test]
    fn one_set_everywhere_is_agreement() {
        assert_eq!(verdict_of(&["AAAA", "AAAA"]), (Verdict::Agree, 0));
    }

    #[test]
    fn one_set_for_each_address_is_disagreement() {
        assert_eq!(verdict_of(&["AAAAAAAAAA", "BBBBBBBBBB"]), (Verdict::Disagree, 1));
    }

    #[test]
    fn a_set_that_comes_back_is_disagreement() {
        assert_eq!(verdict_of(&["AAAAABBBBBA"]), (Verdict::Disagree, 1));
        assert_eq!(verdict_of(&["ABABABABAB"]), (Verdict::Disagree, 1));
    }

    #[test]
    fn a_set_that_is_left_for_good_has_changed() {
        assert_eq!(verdict_of(&["AAAAABBBBB"]), (Verdict::Changed, 0));
        assert_eq!(verdict_of(&["AAAABBBBBB", "AAAAAABBBB"]), (Verdict::Changed, 0));
        assert_eq!(verdict_of(&["AAAAABBBBB", "BBBBBBBBBB"]), (Verdict::Changed, 0));
        assert_eq!(verdict_of(&["AAAABBBBCCCC"]), (Verdict::Changed, 0));
    }

    #[test]
    fn an_order_that_may_be_chance_is_no_rotation() {
        for order in ["AB", "AAB", "AAABBB", "AAAAAAAAAB"] {
            assert_eq!(verdict_of(&[order]), (Verdict::Disagree, 1), "{order}");
            assert!(diagnose(&[order]).order_by_chance.is_some(), "{order}");
        }
    }

    #[test]
    fn addresses_that_change_to_different_sets_disagree() {
        assert_eq!(verdict_of(&["AAAAABBBBB", "AAAAACCCCC"]), (Verdict::Disagree, 1));
        assert_eq!(verdict_of(&["AAAAABBBBB", "CCCCCCCCCC"]), (Verdict::Disagree, 1));
    }

    #[test]
    fn failures_are_told_apart_from_disagreement() {
        assert_eq!(verdict_of(&["AA-A", "AAAA"]), (Verdict::Agree, 3));
        assert_eq!(verdict_of(&["AAA-AABBBBBB"]), (Verdict::Changed, 3));
        assert_eq!(verdict_of(&["A-BA"]), (Verdict::Disagree, 1));
        assert_eq!(verdict_of(&["----"]), (Verdict::NothingFetched, 3));
        assert_eq!(verdict_of(&[]), (Verdict::NothingFetched, 3));
        let diagnosis = diagnose(&["AA-A"]);
        assert_eq!((diagnosis.answers, diagnosis.failed), (3, 1));
    }

    #[test]
    fn a_set_without_a_usable_key_is_a_finding() {
        for keys in [&[][..], &[skipped("a", "1")]] {
            let diagnosis = Diagnosis::of(&report(&[keys], &["AA"]));

            assert_eq!((diagnosis.verdict, diagnosis.exit_code()), (Verdict::NoUsableKey, 1));
        }
    }

    #[test]
    fn each_address_is_counted_on_its_own() {
        let diagnosis = diagnose(&["AABA", "B-BB", "----"]);

        let counts: Vec<Vec<_>> = diagnosis
            .endpoints
            .iter()
            .map(|seen| seen.counts.iter().map(|(set, count)| format!("{set}{count}")).collect())
            .collect();
        assert_eq!(counts, [vec!["A3", "B1"], vec!["B3"], vec![]]);
        let missed: Vec<_> =
            diagnosis.endpoints.iter().map(|seen| seen.missed_another_pod).collect();
        assert_eq!(
            missed,
            [Some(chance::missed(4, 2)), Some(chance::missed(3, 1)), None],
            "a third pod behind the first, a second one behind the other"
        );
    }

    #[test]
    fn keys_that_a_set_lacks_are_named_with_the_sets() {
        let (shared, own) = (key("shared", "0"), key("own", "1"));
        let sets = [&[shared.clone(), own][..], &[shared, skipped("enc", "2")]];

        let diagnosis = Diagnosis::of(&report(&sets, &["ABAB"]));

        let partial = serde_json::to_value(&diagnosis.partial_keys).unwrap();
        let expected = json!([
            { "kid": "own", "thumbprint": "1", "presentIn": ["A"], "missingIn": ["B"] },
        ]);
        assert_eq!(partial, expected);
        assert_eq!(diagnosis.ambiguous_kids, []);
    }

    #[test]
    fn a_kid_of_different_keys_is_found_within_a_set_and_across() {
        let across = [&[key("same", "1")][..], &[key("same", "2")]];
        let within = [&[key("same", "1"), key("same", "2")][..]];
        for (sets, orders, [one, other]) in
            [(&across[..], "ABAB", [["A"], ["B"]]), (&within, "AAAA", [["A"], ["A"]])]
        {
            let diagnosis = Diagnosis::of(&report(sets, &[orders]));

            let ambiguous = serde_json::to_value(&diagnosis.ambiguous_kids).unwrap();
            assert_eq!(ambiguous, json!([{ "kid": "same", "keys": { "1": one, "2": other } }]));
        }
    }

    #[test]
    fn a_key_under_one_kid_in_all_sets_is_not_ambiguous() {
        let sets = [&[key("a", "1")][..], &[key("a", "1"), key("b", "2")]];

        assert_eq!(Diagnosis::of(&report(&sets, &["ABAB"])).ambiguous_kids, []);
    }
}
