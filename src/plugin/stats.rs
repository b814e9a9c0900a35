//! Counters and gauges, by the host's ids.

use super::{host, withheld};
use crate::config::Config;
use crate::engine::Engine;
use crate::event::Event;
use crate::metrics::{JwksMetric, Metric};
use crate::per_provider::PerProvider;
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use crate::verdict::Verdict;
use log::error;

pub(super) struct Stats {
    ids: SortedMap<Metric, u32>,
    /// The gauges as they were last reported.
    reported_paused: usize,
    reported_keys: PerProvider<usize>,
}

impl Stats {
    pub(super) fn define(config: &Config) -> Self {
        let mut ids = SortedMap::new();
        // A metric that cannot be updated is not defined: it would stay at zero, and each update
        // would log an error in the host.
        let (can_count, can_record) = (withheld::can_count(), withheld::can_record());
        let can_tell = |metric: &Metric| if is_recorded(*metric) { can_record } else { can_count };
        for metric in Metric::all(config).filter(can_tell) {
            match host::define_metric(metric.is_gauge(), &metric.name(config)) {
                Ok(id) => _ = ids.insert(metric, id),
                Err(status) => {
                    error!("mesh-jwt: the host refused metrics: status {status}");
                    break;
                }
            }
        }
        Self { ids, reported_paused: 0, reported_keys: config.providers.map(|_, _| 0) }
    }

    pub(super) fn count_verdict(&self, verdict: &Verdict) {
        self.add(Metric::of_verdict(verdict), 1);
    }

    pub(super) fn count_event(&self, event: &Event) {
        if let Some(metric) = Metric::of_event(event) {
            self.add(metric, 1);
        }
    }

    /// Workers share gauges. Each adds its own paused requests, while all of them hold the same
    /// keys.
    pub(super) fn report_gauges(&mut self, engine: &Engine, now: Timestamp) {
        let paused = engine.paused();
        if paused != self.reported_paused {
            let (is, was) = (i64::try_from(paused), i64::try_from(self.reported_paused));
            self.add(Metric::Paused, is.unwrap_or(0).saturating_sub(was.unwrap_or(0)));
            self.reported_paused = paused;
        }
        for (provider, reported) in self.reported_keys.iter_mut() {
            let keys = engine.trusted_keys(provider, now);
            if keys != *reported
                && let Some(id) = self.ids.get(&Metric::Jwks(provider, JwksMetric::Keys))
                && host::record_metric(*id, u64::try_from(keys).unwrap_or(u64::MAX)).is_ok()
            {
                *reported = keys;
            }
        }
    }

    fn add(&self, metric: Metric, offset: i64) {
        if let Some(id) = self.ids.get(&metric)
            && let Err(status) = host::increment_metric(*id, offset)
        {
            error!("mesh-jwt: the host refused to count: status {status}");
        }
    }
}

/// Whether it is set to a value; all others are incremented or decremented.
fn is_recorded(metric: Metric) -> bool {
    matches!(metric, Metric::Jwks(_, JwksMetric::Keys))
}
