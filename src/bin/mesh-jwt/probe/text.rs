//! A probe's result for people.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_jwt::config::DEFAULT_CACHE_DURATION;
use mesh_jwt::jose::DescribedKey;
use mesh_jwt::jwks::refresh_window;

use super::chance::percent;
use super::diagnosis::{Diagnosis, Seen, Verdict};
use super::report::{Answer, Endpoint, KeySet, Report, SetName};
use super::table;
use crate::format::{BOLD, ERROR, GOOD, WARNING};

pub(super) fn print(report: &Report, diagnosis: &Diagnosis) {
    print_endpoints(report, diagnosis);
    for set in &report.sets {
        print_set(set);
    }
    anstream::println!();
    print_verdict(report, diagnosis);
    print_failures(report, diagnosis);
    for note in &report.notes {
        anstream::println!("{WARNING}Note:{WARNING:#} {note}.");
    }
}

/// The answers by URL and address.
fn print_endpoints(report: &Report, diagnosis: &Diagnosis) {
    let mut last: Option<&Endpoint> = None;
    let mut rows = Vec::new();
    let flush = |rows: &mut Vec<Vec<String>>| {
        table::lines(rows).iter().for_each(|line| anstream::println!("  {line}"));
        rows.clear();
    };
    for (place, endpoint) in report.endpoints.iter().enumerate() {
        if last.is_none_or(|last| last.url != endpoint.url) {
            flush(&mut rows);
            anstream::println!("{BOLD}{}{BOLD:#}", endpoint.url);
            if let Some(document) = &endpoint.discovered_by {
                anstream::println!("  named by {document}");
            }
        }
        if let Some(seen) = diagnosis.endpoints.get(place) {
            rows.push(row(report, place, endpoint, seen));
        }
        last = Some(endpoint);
    }
    flush(&mut rows);
    for line in caches(report) {
        anstream::println!("  {line}");
    }
}

fn row(report: &Report, place: usize, endpoint: &Endpoint, seen: &Seen) -> Vec<String> {
    let answers: Vec<&Answer> = report.answers_of(place).collect();
    let failed = answers.iter().filter(|answer| answer.problem().is_some()).count();
    let failed = (failed > 0).then(|| format!("{failed} failed"));
    let order: Vec<String> = answers
        .iter()
        .map(|answer| answer.set().map_or_else(|| "-".to_owned(), |set| set.to_string()))
        .collect();
    vec![
        endpoint.name(),
        counts(seen).into_iter().chain(failed).collect::<Vec<_>>().join(", "),
        times(&answers),
        if order.len() > MAX_ORDER || seen.counts.len() < 2 {
            String::new()
        } else {
            order.concat()
        },
    ]
}

/// Such as `A 5 times`.
fn counts(seen: &Seen) -> Vec<String> {
    let count = |(set, count): (&SetName, &usize)| match count {
        1 => format!("{set} once"),
        count => format!("{set} {count} times"),
    };
    seen.counts.iter().map(count).collect()
}

/// How long the answers took: half of them at most, and the longest.
fn times(answers: &[&Answer]) -> String {
    let mut times: Vec<Duration> =
        answers.iter().filter(|answer| answer.status.is_some()).map(|answer| answer.took).collect();
    times.sort();
    let middle = times.get(times.len() / 2);
    let text = |time: &Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    match (middle, times.last()) {
        (Some(middle), Some(longest)) => format!("{}, at most {}", text(middle), text(longest)),
        _ => String::new(),
    }
}

/// What the answers say about caching, and what the filter makes of it.
fn caches(report: &Report) -> BTreeSet<String> {
    let of_answer = |answer: &Answer| {
        let said = answer.cache_control.as_deref();
        let said = said.map_or_else(
            || "no Cache-Control".to_owned(),
            |value| format!("Cache-Control: {}", shown(value)),
        );
        let max_age = answer.max_age.map(Duration::from_secs);
        let [from, to] =
            refresh_window(max_age, DEFAULT_CACHE_DURATION).map(|time| time.as_secs_f64());
        format!(
            "{said}; with it the filter asks again after {from:.0} to {to:.0} s (cacheDuration 10m)"
        )
    };
    report.answers.iter().filter(|answer| answer.set().is_some()).map(of_answer).collect()
}

fn print_set(set: &KeySet) {
    let keys = match set.keys.len() {
        1 => "1 key".to_owned(),
        keys => format!("{keys} keys"),
    };
    anstream::println!("\n{BOLD}Set {}{BOLD:#}, {keys}", set.name);
    let titles = ["kid", "thumbprint", "bits", "alg", "use", "the filter"].map(str::to_owned);
    let rows: Vec<Vec<String>> =
        std::iter::once(titles.to_vec()).chain(set.keys.iter().map(key_row)).collect();
    for line in table::lines(if set.keys.is_empty() { &[] } else { &rows }) {
        anstream::println!("  {line}");
    }
}

fn key_row(key: &DescribedKey) -> Vec<String> {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), shown);
    vec![
        text(&key.kid),
        text(&key.thumbprint),
        key.bits.map_or_else(|| "-".to_owned(), |bits| bits.to_string()),
        text(&key.alg),
        text(&key.usage),
        key.refusal
            .as_deref()
            .map_or_else(|| "uses it".to_owned(), |why| format!("skips it: {why}")),
    ]
}

fn print_verdict(report: &Report, diagnosis: &Diagnosis) {
    let answers = diagnosis.answers;
    match diagnosis.verdict {
        Verdict::Agree if answers == 1 => {
            anstream::println!("{GOOD}One answer{GOOD:#}, which has nothing to agree with.");
        }
        Verdict::Agree => anstream::println!("{GOOD}All {answers} answers agree.{GOOD:#}"),
        Verdict::Changed => {
            anstream::println!(
                "{WARNING}The set changed{WARNING:#} while it was probed, and no earlier one came back: \
                 a rotation, by the look of it.\nPods that disagree would answer in such an order by \
                 chance with probability {}; probe again to be sure.",
                percent(diagnosis.order_by_chance.unwrap_or(1.0))
            );
        }
        Verdict::Disagree => print_disagreement(report, diagnosis),
        Verdict::NoUsableKey => anstream::println!(
            "{ERROR}No key can be used{ERROR:#}: the filter verifies RS256 with RSA keys of 2048 bits or \
             more. For it such a fetch has failed."
        ),
        Verdict::NothingFetched => anstream::println!("{ERROR}Nothing was fetched.{ERROR:#}"),
    }
    print_partial_keys(diagnosis);
    print_ambiguous_kids(diagnosis);
    if diagnosis.verdict == Verdict::Disagree {
        print_consequences(diagnosis);
    }
    if diagnosis.verdict != Verdict::Changed {
        print_missed(report, diagnosis);
    }
}

fn print_disagreement(report: &Report, diagnosis: &Diagnosis) {
    let (answers, sets) = (diagnosis.answers, report.sets.len());
    let finding = match diagnosis.order_by_chance {
        None => "Pods disagree:",
        Some(_) => "Pods disagree, or the set has just changed:",
    };
    anstream::println!("{ERROR}{finding}{ERROR:#} {answers} answers showed {sets} different sets.");
    match diagnosis.order_by_chance {
        Some(chance) => anstream::println!(
            "  No earlier set came back, but answers of pods that disagree come in such an order with \
             probability\n  {}. Probe again with more --times.",
            percent(chance)
        ),
        None => print_balancers(report, diagnosis),
    }
    if diagnosis.partial_keys.is_empty() {
        anstream::println!("  They differ only in keys that the filter does not use.");
    }
    for set in report.sets.iter().filter(|set| !set.is_usable()) {
        anstream::println!(
            "  Set {} has no key that can be used: for the filter such a fetch has failed.",
            set.name
        );
    }
}

/// The addresses that have shown to be those of several pods.
fn print_balancers(report: &Report, diagnosis: &Diagnosis) {
    for (endpoint, seen) in report.endpoints.iter().zip(&diagnosis.endpoints) {
        if seen.counts.len() > 1 {
            anstream::println!(
                "  {} gave {}: there are several pods behind this address.",
                endpoint.name(),
                counts(seen).join(", ")
            );
        }
    }
}

fn print_partial_keys(diagnosis: &Diagnosis) {
    for key in diagnosis.partial_keys.iter().take(MAX_LISTED) {
        anstream::println!(
            "  The key {} is in {}, not in {}.",
            key_name(key.kid.as_deref(), &key.thumbprint),
            names(&key.present_in),
            names(&key.missing_in)
        );
    }
    let more = diagnosis.partial_keys.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        anstream::println!("  So are {more} more keys in some sets only; --json lists them.");
    }
}

fn print_ambiguous_kids(diagnosis: &Diagnosis) {
    for ambiguous in diagnosis.ambiguous_kids.iter().take(MAX_LISTED) {
        let keys = ambiguous.keys.iter().map(|(key, sets)| format!("{key} in {}", names(sets)));
        anstream::println!(
            "{ERROR}The kid {} names different keys:{ERROR:#} {}.\n  That is the worst case: a verifier \
             that looks for the kid finds a key, so it does not fetch again, and\n  refuses a good token \
             for its signature. Name each key by its thumbprint (RFC 7638).",
            shown(&ambiguous.kid),
            keys.collect::<Vec<_>>().join("; ")
        );
    }
}

fn print_consequences(diagnosis: &Diagnosis) {
    if diagnosis.partial_keys.is_empty() {
        return;
    }
    anstream::println!(
        "
A verifier that caches one of these sets, as Envoy's jwt_authn does, refuses the tokens that the other
pods sign. mesh-jwt trusts what any pod published within cacheDuration; a token whose key it has not
seen waits while it asks more pods, up to jwksWaitTimeout.
Mend: have all pods sign with one key pair and publish it, and during a rotation both: see
docs/rotating-keys.md."
    );
}

/// What the probe cannot exclude: more pods behind an address.
fn print_missed(report: &Report, diagnosis: &Diagnosis) {
    let mut worst: BTreeMap<usize, (f64, Vec<String>)> = BTreeMap::new();
    for (endpoint, seen) in report.endpoints.iter().zip(&diagnosis.endpoints) {
        let Some(missed) = seen.missed_another_pod else { continue };
        let (chance, names) = worst.entry(seen.counts.len()).or_insert((0.0, Vec::new()));
        *chance = chance.max(missed);
        names.push(endpoint.name());
    }
    for (sets, (chance, names)) in worst {
        let (pod, share) = match sets {
            1 => ("A second pod", "half".to_owned()),
            2 => ("A third pod", "a third".to_owned()),
            _ => ("One more pod", format!("1 in {}", sets.saturating_add(1))),
        };
        let behind = match names.as_slice() {
            [name] => name.clone(),
            names => format!("one of {} addresses", names.len()),
        };
        anstream::println!(
            "\n{pod} with another set behind {behind}, which gets {share} of the requests at random, would \
             have\nbeen missed with probability {}.",
            percent(chance)
        );
    }
}

fn print_failures(report: &Report, diagnosis: &Diagnosis) {
    if diagnosis.failed == 0 {
        return;
    }
    let total = report.answers.len();
    anstream::println!("\n{WARNING}{} of {total} fetches failed:{WARNING:#}", diagnosis.failed);
    let mut problems: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for answer in &report.answers {
        if let Some(problem) = answer.problem() {
            let count = problems.entry((answer.endpoint, problem)).or_default();
            *count = count.saturating_add(1);
        }
    }
    for ((place, problem), count) in problems {
        if let Some(endpoint) = report.endpoints.get(place) {
            let from = endpoint.address.map_or_else(|| endpoint.url.clone(), |_| endpoint.name());
            anstream::println!("  {from}, {count} of them: {problem}");
        }
    }
}

fn names<'s>(sets: impl IntoIterator<Item = &'s SetName>) -> String {
    sets.into_iter().map(SetName::to_string).collect::<Vec<_>>().join(", ")
}

fn key_name(kid: Option<&str>, thumbprint: &str) -> String {
    match kid {
        None => format!("without kid ({thumbprint})"),
        // As RFC 7638 suggests.
        Some(kid) if kid == thumbprint => kid.to_owned(),
        Some(kid) => format!("{} ({thumbprint})", shown(kid)),
    }
}

/// A text of the issuer's: shortened, and without anything that a terminal would obey.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// The most keys that are named one by one.
const MAX_LISTED: usize = 10;
/// The most answers whose order is shown.
const MAX_ORDER: usize = 60;
/// In characters.
const MAX_SHOWN: usize = 64;
