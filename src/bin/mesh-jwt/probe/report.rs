//! What came from where: the facts, before anything is made of them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_jwt::jose::DescribedKey;
use serde::{Serialize, Serializer};

/// All answers, in the order in which they came.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(super) endpoints: Vec<Endpoint>,
    /// The different sets, in the order in which they were first seen.
    pub(super) sets: Vec<KeySet>,
    pub(super) answers: Vec<Answer>,
    /// What else there is to say, in sentences without a full stop.
    pub(super) notes: Vec<String>,
}

/// One address of a URL.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Endpoint {
    pub(super) url: String,
    /// The discovery document that named the URL.
    #[serde(rename = "discoveredBy", skip_serializing_if = "Option::is_none")]
    pub(super) discovered_by: Option<String>,
    /// `None` where it did not come to a connection: no address is known.
    pub(super) address: Option<SocketAddr>,
}

/// A set of keys, by whatever order they came in.
#[derive(Debug, Serialize)]
pub(super) struct KeySet {
    pub(super) name: SetName,
    pub(super) keys: Vec<DescribedKey>,
}

/// A set by its place in [`Report::sets`]: `A` to `Z`, then `A1` to `Z1` and so on.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct SetName(usize);

/// What became of one fetch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    /// The place in [`Report::endpoints`].
    pub(super) endpoint: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
    pub(super) took: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<String>,
    /// `max-age` of that, in seconds, if the filter finds one there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_age: Option<u64>,
    #[serde(flatten)]
    pub(super) content: Content,
}

/// What an answer held.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Content {
    Set(SetName),
    /// Why there is no set.
    Problem(String),
}

impl Report {
    /// Adds an endpoint; returns its place.
    pub(super) fn add_endpoint(&mut self, endpoint: Endpoint) -> usize {
        self.endpoints.push(endpoint);
        self.endpoints.len().saturating_sub(1)
    }

    /// The name of a set, which is added if it is new.
    pub(super) fn name_of(&mut self, keys: Vec<DescribedKey>) -> SetName {
        let known = self.sets.iter().find(|set| identities(&set.keys) == identities(&keys));
        known.map(|set| set.name).unwrap_or_else(|| {
            let name = SetName(self.sets.len());
            self.sets.push(KeySet { name, keys });
            name
        })
    }

    /// The answers of one endpoint.
    pub(super) fn answers_of(&self, endpoint: usize) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(move |answer| answer.endpoint == endpoint)
    }

    /// The sets that came from an endpoint, in the order of the answers.
    pub(super) fn sets_of(&self, endpoint: usize) -> impl Iterator<Item = SetName> {
        self.answers_of(endpoint).filter_map(Answer::set)
    }
}

impl Endpoint {
    pub(super) fn name(&self) -> String {
        self.address.map_or_else(|| "no address".to_owned(), |address| address.to_string())
    }
}

impl KeySet {
    /// Whether the filter takes anything from it; without a key that it can use, the fetch has failed
    /// for it.
    pub(super) fn is_usable(&self) -> bool {
        self.keys.iter().any(DescribedKey::is_used)
    }
}

impl Answer {
    /// Nothing came, for this reason.
    pub(super) fn failed(endpoint: usize, problem: String) -> Self {
        Self {
            endpoint,
            status: None,
            took: Duration::ZERO,
            cache_control: None,
            max_age: None,
            content: Content::Problem(problem),
        }
    }

    pub(super) fn set(&self) -> Option<SetName> {
        match self.content {
            Content::Set(name) => Some(name),
            Content::Problem(_) => None,
        }
    }

    pub(super) fn problem(&self) -> Option<&str> {
        match &self.content {
            Content::Set(_) => None,
            Content::Problem(problem) => Some(problem),
        }
    }
}

/// By what keys differ: `kid`, thumbprint, and why they are skipped.
type Identity<'k> = (Option<&'k str>, Option<&'k str>, Option<&'k str>);

fn identities(keys: &[DescribedKey]) -> BTreeSet<Identity<'_>> {
    keys.iter()
        .map(|key| (key.kid.as_deref(), key.thumbprint.as_deref(), key.refusal.as_deref()))
        .collect()
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (round, letter) = (self.0 / LETTERS, self.0 % LETTERS);
        let letter = u8::try_from(letter).unwrap_or_default();
        write!(f, "{}", char::from(b'A'.saturating_add(letter)))?;
        if round > 0 { write!(f, "{round}") } else { Ok(()) }
    }
}

impl Serialize for SetName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn milliseconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Whole microseconds, which is more than can be relied on.
    serializer.serialize_f64((took.as_secs_f64() * 1e6).round() / 1e3)
}

const LETTERS: usize = 26;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A key that the filter uses.
    pub(in super::super) fn key(kid: &str, thumbprint: &str) -> DescribedKey {
        DescribedKey {
            kid: Some(kid.to_owned()),
            thumbprint: Some(thumbprint.to_owned()),
            bits: Some(2048),
            ..DescribedKey::default()
        }
    }

    /// One that it skips.
    pub(in super::super) fn skipped(kid: &str, thumbprint: &str) -> DescribedKey {
        DescribedKey { refusal: Some("use is not sig".to_owned()), ..key(kid, thumbprint) }
    }

    /// Endpoints by what they answered: a letter for a set of `sets`, anything else for a failure. They
    /// were asked in turns.
    pub(in super::super) fn report(sets: &[&[DescribedKey]], orders: &[&str]) -> Report {
        let endpoint = |port: usize| Endpoint {
            url: "http://auth/jwks".to_owned(),
            discovered_by: None,
            address: Some(SocketAddr::from(([10, 0, 0, 1], u16::try_from(port).unwrap()))),
        };
        let endpoints = (0..orders.len()).map(endpoint).collect();
        let mut report = Report { endpoints, ..Report::default() };
        let rounds = orders.iter().map(|order| order.len()).max().unwrap_or_default();
        for round in 0..rounds {
            for (endpoint, order) in orders.iter().enumerate() {
                let Some(letter) = order.as_bytes().get(round) else { continue };
                let set = usize::from(letter.wrapping_sub(b'A'));
                let mut answer = Answer::failed(endpoint, "there was no answer in time".to_owned());
                if let Some(keys) = sets.get(set) {
                    answer.content = Content::Set(report.name_of(keys.to_vec()));
                }
                report.answers.push(answer);
            }
        }
        report
    }

    #[test]
    fn the_order_of_keys_does_not_make_another_set() {
        let (one, other) = (key("a", "1"), key("b", "2"));

        let report = report(
            &[&[one.clone(), other.clone()], &[other.clone(), one.clone()], &[one]],
            &["ABC"],
        );

        let sets: Vec<_> = report.answers.iter().filter_map(Answer::set).collect();
        assert_eq!(sets, [0, 0, 1].map(SetName));
    }

    #[test]
    fn kid_thumbprint_and_use_make_another_set() {
        let mut report = Report::default();

        let sets = [key("a", "1"), key("b", "1"), key("a", "2"), skipped("a", "1")]
            .map(|key| report.name_of(vec![key]));

        assert_eq!(sets, [0, 1, 2, 3].map(SetName));
    }

    #[test]
    fn names_do_not_run_out() {
        let names = [0, 25, 26, 52].map(|place| SetName(place).to_string());

        assert_eq!(names, ["A", "Z", "A1", "A2"]);
    }
}
