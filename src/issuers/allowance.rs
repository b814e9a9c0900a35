//! How much clients may cause at the service of a template's tenants.
//!
//! Each issuer has a budget for its searches. But anyone can name tenants, and one service answers
//! for all of them, so the calls that this causes there are bounded as well: a burst of `maxTenants`,
//! or [`MIN_BURST`] if that is more, and then as many as one issuer may get for missing keys. A tenant
//! that proves itself fills it up, and so does a new key: no client can invent either.

use crate::config::Provider;
use crate::jwks::SEARCHES_PER_COOLDOWN;
use crate::time::Timestamp;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Allowance {
    /// How much of the burst was spent at `at`; absent if it has no bound.
    spent: Option<f64>,
    at: Timestamp,
    burst: f64,
    /// How long it takes to regain one.
    interval: Duration,
}

impl Allowance {
    /// Unbounded for a provider without tenants.
    pub(super) fn new(provider: &Provider, now: Timestamp) -> Self {
        let most = provider.tenants.as_ref().map(|tenants| tenants.most);
        let cooldown = provider.remote_jwks().map(|jwks| jwks.refetch_cooldown);
        let interval = cooldown.unwrap_or_default().checked_div(SEARCHES_PER_COOLDOWN);
        let burst = u32::try_from(most.unwrap_or_default()).unwrap_or(u32::MAX);
        Self {
            spent: most.map(|_| 0.0),
            at: now,
            burst: f64::from(burst.max(MIN_BURST)),
            interval: interval.unwrap_or_default(),
        }
    }

    fn spent(&self, now: Timestamp) -> Option<f64> {
        let elapsed = now.saturating_since(self.at).as_secs_f64();
        let regained = elapsed / self.interval.as_secs_f64().max(f64::EPSILON);
        self.spent.map(|spent| (spent - regained).max(0.0))
    }

    pub(super) fn is_left(&self, now: Timestamp) -> bool {
        self.spent(now).is_none_or(|spent| spent + 1.0 <= self.burst)
    }

    /// Spends one call, or makes a debt: several tenants may begin at the same moment, and a fetch
    /// may take more than one call.
    pub(super) fn charge(&mut self, now: Timestamp) {
        self.spent = self.spent(now).map(|spent| spent + 1.0);
        self.at = now;
    }

    pub(super) fn refill(&mut self) {
        self.spent = self.spent.map(|_| 0.0);
    }

    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        self.at = self.at.saturating_sub(by);
    }
}

/// As large as the burst of one issuer's searches.
const MIN_BURST: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn allowance(fields: &str) -> Allowance {
        let json = format!(r#"{{"providers":[{{{fields},"refetchCooldown":"10s"}}]}}"#);
        let config = Config::parse(json.as_bytes()).unwrap();
        Allowance::new(config.providers.values().next().unwrap(), NOW)
    }

    fn of_template(most: usize) -> Allowance {
        allowance(&format!(
            r#""issuers":{{"template":"https://a/{{tenant}}","tenants":[{{"exact":"b"}}],"maxTenants":{most}}}"#
        ))
    }

    fn spend_all(allowance: &mut Allowance, now: Timestamp) -> usize {
        let mut spend = || {
            let is_left = allowance.is_left(now);
            allowance.charge(now);
            is_left
        };
        let spent = (0..10_000).take_while(|_| spend()).count();
        // The last one was not left.
        allowance.spent = allowance.spent.map(|spent| spent - 1.0);
        spent
    }

    #[test]
    fn after_a_burst_it_is_regained_slowly_or_at_once_by_a_proof() {
        for (most, burst) in [(1, 30), (100, 100)] {
            let mut allowance = of_template(most);
            assert_eq!(spend_all(&mut allowance, NOW), burst);
            assert!(!allowance.is_left(NOW));

            let later = NOW.saturating_add(Duration::from_secs(5));
            assert_eq!(spend_all(&mut allowance, later), 20);
            let much_later = later.saturating_add(Duration::from_hours(1));
            assert_eq!(spend_all(&mut allowance, much_later), burst);

            allowance.refill();
            assert_eq!(spend_all(&mut allowance, much_later), burst);
        }
    }

    #[test]
    fn the_clock_gains_and_costs_nothing_when_it_steps_back() {
        let mut allowance = of_template(1);
        assert_eq!(spend_all(&mut allowance, NOW), 30);

        let by = Duration::from_secs(500);
        allowance.clock_stepped_back(by);

        let earlier = NOW.saturating_sub(by);
        assert!(!allowance.is_left(earlier));
        assert_eq!(spend_all(&mut allowance, earlier.saturating_add(Duration::from_secs(1))), 4);
    }

    #[test]
    fn a_debt_is_paid_first() {
        let mut allowance = of_template(1);
        for _ in 0..40 {
            allowance.charge(NOW);
        }

        let later = |seconds| NOW.saturating_add(Duration::from_secs(seconds));
        assert!(!allowance.is_left(later(2)));
        assert_eq!(spend_all(&mut allowance, later(3)), 2);
    }

    #[test]
    fn a_single_issuer_has_its_own_budget_alone() {
        let mut allowance = allowance(r#""issuer":"https://a""#);

        assert_eq!(spend_all(&mut allowance, NOW), 10_000);
    }
}
