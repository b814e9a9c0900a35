//! Surveys: finding the keys of every endpoint when endpoints publish different sets.
//!
//! A set may lack a trusted key for two reasons: the issuer withdrew the key, or another endpoint
//! answered. A few more fetches tell which. If their sets differ, the endpoints disagree, and the
//! fetches renew the keys of each.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Survey {
    /// The fetches left if none brings a new key; zero when no survey is under way.
    quiet_left: u32,
    /// The most fetches left.
    left: u32,
    /// When the latest survey began.
    began: Option<Timestamp>,
    has_found_difference: bool,
}

/// What a fetched set reveals about the endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    /// It lacks a key that an endpoint published lately.
    pub(super) lacks_trusted_key: bool,
    /// It holds a key that was not known.
    pub(super) has_new_key: bool,
    /// It differs from the set before.
    pub(super) differs_from_last: bool,
}

/// The result of a survey.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Finding {
    /// Endpoints publish different sets.
    Disagreement,
    /// All endpoints publish the same set: the keys that it lacks are withdrawn.
    Withdrawal,
}

impl Survey {
    pub(super) fn is_under_way(&self) -> bool {
        self.quiet_left > 0
    }

    /// Records a set; each survey returns at most one finding.
    pub(super) fn observe(
        &mut self,
        seen: Observation,
        interval: Duration,
        now: Timestamp,
    ) -> Option<Finding> {
        if !self.is_under_way() {
            let is_due =
                self.began.is_none_or(|began| now >= began.saturating_add(interval.mul_f64(0.5)));
            if seen.lacks_trusted_key && is_due {
                *self = Self { left: MAX, began: Some(now), ..Self::default() };
            }
            // A new key that a search finds continues the latest survey.
            if seen.lacks_trusted_key && (is_due || seen.has_new_key) {
                self.quiet_left = QUIET.min(self.left);
            }
            return None;
        }
        self.left = self.left.saturating_sub(1);
        self.quiet_left = match seen.has_new_key {
            true => QUIET,
            false => self.quiet_left.saturating_sub(1),
        }
        .min(self.left);
        if self.has_found_difference {
            return None;
        }
        if seen.differs_from_last {
            self.has_found_difference = true;
            return Some(Finding::Disagreement);
        }
        (!self.is_under_way()).then_some(Finding::Withdrawal)
    }

    pub(super) fn abandon(&mut self) {
        self.quiet_left = 0;
    }

    /// Removes what cannot be true now.
    pub(super) fn make_plausible(&mut self, latest: Timestamp) {
        self.left = self.left.min(MAX);
        self.quiet_left = self.quiet_left.min(QUIET).min(self.left);
        self.began = self.began.filter(|began| *began <= latest);
    }

    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        self.began = self.began.map(|began| began.saturating_sub(by));
    }
}

/// A survey ends after this many sets without a new key.
const QUIET: u32 = 5;
/// The most fetches of one survey.
const MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1000);
    const INTERVAL: Duration = Duration::from_secs(600);

    fn seen(lacks_trusted_key: bool, has_new_key: bool, differs_from_last: bool) -> Observation {
        Observation { lacks_trusted_key, has_new_key, differs_from_last }
    }

    #[test]
    fn a_rotation_is_found_to_be_a_withdrawal() {
        let mut survey = Survey::default();
        survey.observe(seen(true, true, true), INTERVAL, NOW);

        let found: Vec<_> =
            (0..QUIET).map(|_| survey.observe(seen(true, false, false), INTERVAL, NOW)).collect();

        assert_eq!(found, [None, None, None, None, Some(Finding::Withdrawal)]);
        assert!(!survey.is_under_way());
    }

    #[test]
    fn a_disagreement_is_told_once_in_each_survey() {
        let mut survey = Survey::default();
        survey.observe(seen(true, true, true), INTERVAL, NOW);

        let found: Vec<_> =
            (0..QUIET).map(|_| survey.observe(seen(true, false, true), INTERVAL, NOW)).collect();

        assert_eq!(found, [Some(Finding::Disagreement), None, None, None, None]);
    }

    #[test]
    fn a_survey_ends_though_every_set_is_new_and_another_comes_only_later() {
        let mut survey = Survey::default();
        let news = seen(true, true, true);
        survey.observe(news, INTERVAL, NOW);

        let mut fetches = 0;
        while survey.is_under_way() {
            fetches += 1;
            survey.observe(news, INTERVAL, NOW);
        }
        assert_eq!(fetches, MAX);
        survey.observe(news, INTERVAL, NOW);
        assert!(!survey.is_under_way());
        survey.observe(news, INTERVAL, NOW.saturating_add(INTERVAL / 2));
        assert!(survey.is_under_way());
    }
}
