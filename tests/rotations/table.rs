//! What all seeds of a story showed.

use crate::issuer::Health;
use crate::story::{Event, Junk, Shown, Story};
use std::fmt;
use std::time::Duration;

pub(crate) struct Row {
    pub(crate) story: Story,
    pub(crate) seeds: u64,
    good: u64,
    /// Of the good requests.
    unauthorized: u64,
    unavailable: u64,
    /// Of those that waited, in no order.
    waits: Vec<Duration>,
    fetches: usize,
    time: Duration,
    peak: usize,
}

impl Row {
    pub(crate) fn new(story: Story) -> Self {
        Self {
            story,
            seeds: 0,
            good: 0,
            unauthorized: 0,
            unavailable: 0,
            waits: Vec::new(),
            fetches: 0,
            time: Duration::ZERO,
            peak: 0,
        }
    }

    pub(crate) fn add(&mut self, shown: Shown) {
        self.seeds += 1;
        for outcome in shown.outcomes {
            self.good += 1;
            match outcome.code {
                "allowed" => {}
                "jwks_unavailable" | "overloaded" => self.unavailable += 1,
                _ => self.unauthorized += 1,
            }
            if !outcome.waited.is_zero() {
                self.waits.push(outcome.waited);
            }
        }
        self.fetches += shown.fetches;
        self.time += shown.time;
        self.peak = self.peak.max(shown.peak);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.good += other.good;
        self.unauthorized += other.unauthorized;
        self.unavailable += other.unavailable;
        self.waits.extend(other.waits);
        self.fetches += other.fetches;
        self.time += other.time;
        self.peak = self.peak.max(other.peak);
    }

    /// With up to three pods no good request is refused, and with five none for its own fault, nor
    /// where a pod does not answer in time.
    ///
    /// Where junk has spent the budget, four draws a second are not always enough for more than one
    /// pod: that is nobody's fault either. What reaches the issuer is bounded all the same: the
    /// burst, 240 a minute, another burst for each new key, and what is fetched without being asked
    /// for: refreshes, probes and surveys.
    pub(crate) fn is_as_promised(&self) -> bool {
        let pods = usize::try_from(self.story.pods).expect("few");
        let most = 30 + 240 + 2 * pods * 30 + 50;
        let is_bounded = self.good > 0 && self.peak <= most;
        if self.story.event == Event::SharedKeyInOrder {
            // Each key is there before its first token: nobody waits for it, whatever else is wrong.
            return is_bounded
                && self.unauthorized + self.unavailable == 0
                && self.waits.is_empty();
        }
        let is_spent = !matches!(self.story.junk, Junk::Nothing | Junk::Elsewhere { .. });
        let tolerated = match self.story.pods {
            _ if self.story.health != Health::Well => self.good,
            0..=1 => 0,
            2..=3 if !is_spent => 0,
            5 if !is_spent => self.good / 1_000,
            // Of two pods, twelve draws miss one in every 4096th rotation.
            2 => self.good / 10_000,
            _ => self.good / 100,
        };
        // A pod that only fails publishes nothing, so that its tokens may be refused, if seldom.
        let unauthorized = match self.story.health {
            Health::Failing => self.good / 10_000,
            Health::Slow | Health::Well => 0,
        };
        is_bounded && self.unauthorized <= unauthorized && self.unavailable <= tolerated
    }

    fn wait(&self, share: f64) -> u128 {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let at = (waits.len().saturating_sub(1) as f64 * share) as usize;
        waits.get(at).map_or(0, Duration::as_millis)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Story { event, balancer, pods, junk, health } = self.story;
        let per_million = |count: u64| count as f64 * 1e6 / self.good.max(1) as f64;
        let per_minute = self.fetches as f64 * 60.0 / self.time.as_secs_f64().max(1.0);
        write!(
            f,
            "| {event:?} | {junk:?} | {health:?} | {balancer:?} | {pods} | {} | {} | {:.1} | {:.1} | {per_minute:.0} | {} | {} | {} | {} | {} |",
            self.seeds,
            self.good,
            per_million(self.unauthorized),
            per_million(self.unavailable),
            self.peak,
            self.waits.len(),
            self.wait(0.5),
            self.wait(0.99),
            self.wait(1.0),
        )
    }
}
