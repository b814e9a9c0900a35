//! What was counted, and the host has not been told yet.
//!
//! To tell it is a crossing of the VM's border for each counter, and a request adds to up to three.

use crate::config::Config;
use crate::metrics::Metric;

/// A number for each metric, in their order; those of gauges stay zero.
#[derive(Debug)]
pub struct Counters(Vec<(Metric, u64)>);

impl Counters {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Metric::all(config).into_iter().map(|metric| (metric, 0)).collect())
    }

    pub(crate) fn count(&mut self, metric: Metric) {
        if let Some((_, pending)) = self.0.get_mut(metric.index()) {
            *pending = pending.saturating_add(1);
        }
    }

    /// Tells how much to add to each counter that something was counted for. What is refused is
    /// told again the next time.
    ///
    /// # Errors
    ///
    /// The last refusal.
    pub fn tell<E>(&mut self, mut add: impl FnMut(Metric, u64) -> Result<(), E>) -> Result<(), E> {
        let mut told = Ok(());
        for (metric, pending) in self.0.iter_mut().filter(|(_, pending)| *pending > 0) {
            match add(*metric, *pending) {
                Ok(()) => *pending = 0,
                Err(refusal) => told = Err(refusal),
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::JwksMetric;
    use crate::reason::Reason;
    use std::convert::Infallible;

    #[test]
    fn each_counter_is_told_once_with_all_that_was_counted() {
        let mut counters = counters();
        let miss = second_miss();
        for metric in [Metric::Allowed, miss, Metric::Allowed, EXPIRED, Metric::Allowed] {
            counters.count(metric);
        }

        assert_eq!(told(&mut counters), [(Metric::Allowed, 3), (EXPIRED, 1), (miss, 1)]);
        assert_eq!(told(&mut counters), []);

        counters.count(miss);
        assert_eq!(told(&mut counters), [(miss, 1)]);
    }

    #[test]
    fn what_is_refused_is_told_again_and_holds_up_nothing_else() {
        let mut counters = counters();
        for metric in [Metric::Allowed, EXPIRED, EXPIRED, Metric::Public] {
            counters.count(metric);
        }

        let refused = counters.tell(|metric, _| if metric == EXPIRED { Err(7) } else { Ok(()) });

        assert_eq!(refused, Err(7));
        counters.count(EXPIRED);
        assert_eq!(told(&mut counters), [(EXPIRED, 3)]);
    }

    #[test]
    fn no_counter_is_taken_for_another() {
        for metric in Metric::all(&config()) {
            let mut counters = counters();
            counters.count(metric);
            assert_eq!(told(&mut counters), [(metric, 1)]);
        }
    }

    #[test]
    fn counts_end_at_the_greatest_number() {
        let mut counters = counters();
        counters.count(Metric::Allowed);
        counters.0.iter_mut().for_each(|(_, pending)| *pending = u64::MAX);
        counters.count(Metric::Allowed);

        assert_eq!(told(&mut counters).first(), Some(&(Metric::Allowed, u64::MAX)));
    }

    fn told(counters: &mut Counters) -> Vec<(Metric, u64)> {
        let mut told = Vec::new();
        let all = counters.tell(|metric, count| {
            told.push((metric, count));
            Ok::<_, Infallible>(())
        });
        assert_eq!(all, Ok(()));
        told
    }

    fn counters() -> Counters {
        Counters::new(&config())
    }

    fn second_miss() -> Metric {
        let config = config();
        let (provider, _) = config.providers.iter().nth(1).expect("a second provider");
        Metric::Jwks(provider, JwksMetric::Miss)
    }

    fn config() -> Config {
        let providers = br#"{"providers": [
            {"issuer": "https://a.example.com", "jwksUri": "https://a.example.com/jwks"},
            {"issuer": "https://b.example.com", "jwksUri": "https://b.example.com/jwks"}
        ]}"#;
        Config::parse(providers).expect("a good configuration")
    }

    const EXPIRED: Metric = Metric::Denied(Reason::TokenExpired);
}
