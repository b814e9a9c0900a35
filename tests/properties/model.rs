//! Which keys are to be trusted, said as simply as possible: one VM, a clock that only moves on,
//! and nothing about when to fetch.

use crate::inputs::{Reply, Settings};
use crate::tokens::{KEYS, members};
use crate::world::{FetchName, GIVE_UP};
use std::time::Duration;

/// The keys of one provider.
#[derive(Debug)]
pub(crate) struct Model {
    settings: Settings,
    keys: [Option<Published>; KEYS],
    /// Whether the latest fetch brought no JWK Set.
    is_failing: bool,
    /// The fetches under way, and when they began.
    asked: Vec<(FetchName, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Published {
    at: Duration,
    /// A later set did not hold it. A survey may have found by that that it was withdrawn.
    is_doubtful: bool,
}

/// How to take keys that may have been withdrawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Doubt {
    /// They are trusted through an outage.
    Generous,
    /// They are not.
    Strict,
}

impl Model {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            keys: [None; KEYS],
            is_failing: false,
            asked: Vec::new(),
        }
    }

    /// Some endpoint published it less than `cacheDuration` ago, or less than `staleDuration`
    /// longer if fetches have failed since it was.
    pub(crate) fn is_usable(&self, key: usize, doubt: Doubt, now: Duration) -> bool {
        let Some(published) = self.keys[key] else { return false };
        let outlives_outages = doubt == Doubt::Generous || !published.is_doubtful;
        let stale = match self.is_failing || self.has_hung(now) {
            true if outlives_outages => self.settings.stale,
            _ => Duration::ZERO,
        };
        now < published.at + self.settings.cache + stale
    }

    pub(crate) fn has_usable_key(&self, doubt: Doubt, now: Duration) -> bool {
        (0..KEYS).any(|key| self.is_usable(key, doubt, now))
    }

    pub(crate) fn asked(&mut self, fetch: FetchName, now: Duration) {
        self.give_up(now);
        self.asked.push((fetch, now));
    }

    pub(crate) fn answered(&mut self, fetch: FetchName, reply: &Reply, now: Duration) {
        self.give_up(now);
        let Some(index) = self.asked.iter().position(|(asked, _)| *asked == fetch) else {
            // It is too late.
            return;
        };
        self.asked.remove(index);
        let Reply::Set { keys, .. } = *reply else { return self.begin_failing(now) };
        self.forget_unusable(now);
        self.is_failing = false;
        for published in self.keys.iter_mut().flatten() {
            published.is_doubtful = true;
        }
        for key in members(keys) {
            self.keys[key] = Some(Published { at: now, is_doubtful: false });
        }
        self.forget_unusable(now);
    }

    fn given_up_at(&self) -> Option<Duration> {
        self.asked.iter().map(|(_, at)| *at + GIVE_UP).min()
    }

    fn has_hung(&self, now: Duration) -> bool {
        self.given_up_at().is_some_and(|at| at <= now)
    }

    fn give_up(&mut self, now: Duration) {
        while let Some(at) = self.given_up_at().filter(|at| *at <= now) {
            self.asked.retain(|(_, began)| *began + GIVE_UP > at);
            self.begin_failing(at);
        }
    }

    fn begin_failing(&mut self, at: Duration) {
        self.forget_unusable(at);
        self.is_failing = true;
    }

    fn forget_unusable(&mut self, now: Duration) {
        for key in 0..KEYS {
            if !self.is_usable(key, Doubt::Generous, now) {
                self.keys[key] = None;
            }
        }
    }
}
