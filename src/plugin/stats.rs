//! Counters and gauges, by the host's ids.

use super::{host, withheld};
use crate::config::Config;
use crate::counters::Counters;
use crate::engine::Engine;
use crate::metrics::{JwksMetric, Metric};
use crate::per_provider::PerProvider;
use crate::time::Timestamp;
use log::error;

pub(super) struct Stats {
    ids: Ids,
    /// The gauges as they were last reported.
    reported_paused: usize,
    reported: PerProvider<[u64; RECORDED.len()]>,
}

/// The host's id of each metric that can be updated, at its [`Metric::index`].
struct Ids(Vec<Option<u32>>);

impl Ids {
    fn get(&self, metric: Metric) -> Option<u32> {
        self.0.get(metric.index()).copied().flatten()
    }

    fn add(&self, metric: Metric, offset: i64) -> Result<(), u32> {
        self.get(metric).map_or(Ok(()), |id| host::increment_metric(id, offset))
    }
}

impl Stats {
    pub(super) fn define(config: &Config) -> Self {
        let mut ids = Vec::new();
        // A metric that cannot be updated is not defined: it would stay at zero, and each update
        // would log an error in the host.
        let (can_count, can_record) = (withheld::can_count(), withheld::can_record());
        let can_tell = |metric: &Metric| if is_recorded(*metric) { can_record } else { can_count };
        for metric in Metric::all(config) {
            let define = || host::define_metric(metric.is_gauge(), &metric.name(config));
            match can_tell(&metric).then(define).transpose() {
                Ok(id) => ids.push(id),
                Err(status) => {
                    error!("mesh-jwt: the host refused metrics: status {status}");
                    break;
                }
            }
        }
        Self {
            ids: Ids(ids),
            reported_paused: 0,
            reported: config.providers.map(|_, _| [0; RECORDED.len()]),
        }
    }

    /// Adds what was counted. All that the host refuses is one line in its log.
    pub(super) fn tell(&self, counters: &mut Counters) {
        let add = |metric, count| self.ids.add(metric, i64::try_from(count).unwrap_or(i64::MAX));
        log_refusal(counters.tell(add));
    }

    /// Workers share gauges. Each adds its own paused requests, while all of them hold the same
    /// keys, fetched at the same time.
    pub(super) fn report_gauges(&mut self, engine: &Engine, now: Timestamp) {
        let paused = engine.paused();
        if paused != self.reported_paused {
            let (is, was) = (i64::try_from(paused), i64::try_from(self.reported_paused));
            let offset = is.unwrap_or(0).saturating_sub(was.unwrap_or(0));
            log_refusal(self.ids.add(Metric::Paused, offset));
            self.reported_paused = paused;
        }
        for (provider, reported) in self.reported.iter_mut() {
            let keys = u64::try_from(engine.trusted_keys(provider, now)).unwrap_or(u64::MAX);
            let values = [keys, engine.fetched_at(provider).as_secs()];
            for ((metric, value), reported) in RECORDED.into_iter().zip(values).zip(reported) {
                if value != *reported
                    && let Some(id) = self.ids.get(Metric::Jwks(provider, metric))
                    && host::record_metric(id, value).is_ok()
                {
                    *reported = value;
                }
            }
        }
    }
}

fn log_refusal(told: Result<(), u32>) {
    if let Err(status) = told {
        error!("mesh-jwt: the host refused to count: status {status}");
    }
}

/// Whether it is set to a value; all others are incremented or decremented.
fn is_recorded(metric: Metric) -> bool {
    matches!(metric, Metric::Jwks(_, metric) if RECORDED.contains(&metric))
}

/// The metrics of a provider that are set to a value.
const RECORDED: [JwksMetric; 2] = [JwksMetric::Keys, JwksMetric::LastSuccess];
