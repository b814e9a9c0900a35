//! When a key that is not known yet may be looked for.
//!
//! A token can name any `kid`, so looking is rationed: [`BURST`] fetches in each `refetchCooldown`.
//! The first two follow each other, because each may reach another endpoint; the third is kept back
//! for what comes next. When a ration was spent in vain, the next one is spread evenly: then a key
//! that is really new does not find it spent, however much is asked for that is not there.

use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// The ration of one provider.
#[derive(Debug)]
pub(super) struct Search {
    cooldown: Duration,
    /// When the first fetch of the present ration began.
    since: Timestamp,
    last_fetch: Timestamp,
    /// How much of the ration is spent.
    fetches: u32,
    /// What was looked for in vain since then.
    missed: SortedMap<MissId, ()>,
    /// Whether a new key has been found since then.
    has_found: bool,
    /// Whether the ration is spread evenly, because none was found with the one before.
    is_spread: bool,
}

/// Names what is looked for, in a size that does not depend on the client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct MissId([u8; 16]);

impl MissId {
    /// `is_known` tells a bad signature under a known `kid` from an unknown `kid`.
    pub(crate) fn new(kid: Option<&str>, is_known: bool) -> Self {
        let mut digest = Sha256::new();
        digest.update([u8::from(is_known), u8::from(kid.is_some())]);
        digest.update(kid.unwrap_or_default());
        let mut id = [0; 16];
        // Half a digest is still out of reach for collisions that are made on purpose.
        for (to, from) in id.iter_mut().zip(digest.finalize()) {
            *to = from;
        }
        Self(id)
    }
}

impl Search {
    pub(super) fn new(cooldown: Duration) -> Self {
        Self {
            cooldown,
            since: Timestamp::EPOCH,
            last_fetch: Timestamp::EPOCH,
            fetches: 0,
            missed: SortedMap::new(),
            has_found: false,
            is_spread: false,
        }
    }

    /// When the next fetch may begin; the past when it may begin now.
    pub(super) fn permitted_at(&self) -> Timestamp {
        match self.fetches {
            0 => Timestamp::EPOCH,
            1..BURST if self.is_spread => self.last_fetch.saturating_add(self.share(BURST)),
            1 => Timestamp::EPOCH,
            // Sooner than requests lose patience by default.
            2 => self.last_fetch.saturating_add(self.share(4)),
            _ => self.since.saturating_add(self.cooldown),
        }
    }

    /// Whether who has been told of one fetch is to hope for another of the same ration.
    pub(super) fn is_spread(&self) -> bool {
        self.is_spread
    }

    /// Spends one fetch.
    pub(super) fn spend(&mut self, now: Timestamp) {
        self.renew(now);
        if self.fetches == 0 {
            let quiet_since = self.since.saturating_add(self.cooldown.saturating_mul(2));
            self.is_spread &= now < quiet_since;
            self.since = now;
        }
        self.fetches = self.fetches.saturating_add(1);
        self.last_fetch = now;
    }

    /// Takes over that other VMs have spent the ration, which began at `since`.
    pub(super) fn exhaust(&mut self, since: Timestamp) {
        self.fetches = BURST;
        self.since = since;
    }

    /// Gives out a new ration once the old one is over.
    pub(super) fn renew(&mut self, now: Timestamp) {
        if self.fetches > 0 && now >= self.since.saturating_add(self.cooldown) {
            self.fetches = 0;
            self.is_spread = !std::mem::take(&mut self.has_found);
            self.missed.clear();
        }
    }

    /// Takes note that there is a new key.
    pub(super) fn found(&mut self) {
        self.has_found = true;
    }

    pub(super) fn has_missed(&self, miss: MissId) -> bool {
        self.missed.contains_key(&miss)
    }

    /// Takes note of a key that is not there, for as long as the present ration lasts: once that is
    /// over, the key may be looked for again.
    pub(super) fn remember(&mut self, miss: MissId) {
        if self.fetches > 0 && self.missed.len() < MAX_REMEMBERED {
            self.missed.insert(miss, ());
        }
    }

    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        self.since = self.since.saturating_sub(by);
        self.last_fetch = self.last_fetch.saturating_sub(by);
    }

    fn share(&self, parts: u32) -> Duration {
        self.cooldown.checked_div(parts).unwrap_or_default()
    }
}

/// How many fetches may look for unknown keys in one `refetchCooldown`.
pub(super) const BURST: u32 = 3;
/// How many are remembered. One that is not may be looked for again, within the same ration.
const MAX_REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(9);
    const START: Timestamp = Timestamp::from_secs(1000);

    /// The seconds after the start at which fetches begin when every one that may begin does.
    fn schedule(search: &mut Search, seconds: u64) -> Vec<u64> {
        let mut began = Vec::new();
        for second in 0..seconds {
            let now = START.saturating_add(Duration::from_secs(second));
            search.renew(now);
            while search.permitted_at() <= now {
                search.spend(now);
                began.push(second);
            }
        }
        began
    }

    #[test]
    fn the_first_ration_is_spent_at_once_but_for_one() {
        assert_eq!(schedule(&mut Search::new(COOLDOWN), 9), [0, 0, 3]);
    }

    #[test]
    fn after_a_ration_in_vain_the_next_ones_are_spread_evenly() {
        assert_eq!(schedule(&mut Search::new(COOLDOWN), 27)[3..], [9, 12, 15, 18, 21, 24]);
    }

    #[test]
    fn a_key_that_is_found_or_a_quiet_time_ends_the_spreading() {
        let mut search = Search::new(COOLDOWN);
        schedule(&mut search, 9);
        search.found();
        search.renew(START.saturating_add(COOLDOWN));
        assert!(!search.is_spread());

        let mut search = Search::new(COOLDOWN);
        schedule(&mut search, 9);
        search.spend(START.saturating_add(COOLDOWN.saturating_mul(2)));
        assert!(!search.is_spread());
    }

    #[test]
    fn misses_are_remembered_until_the_next_ration_and_their_number_is_bounded() {
        let mut search = Search::new(COOLDOWN);
        let miss = MissId::new(Some("a"), false);
        search.spend(START);
        search.remember(miss);
        for n in 0..2 * MAX_REMEMBERED {
            search.remember(MissId::new(Some(&n.to_string()), true));
        }

        assert_eq!(search.missed.len(), MAX_REMEMBERED);
        assert!(search.has_missed(miss));
        search.renew(START.saturating_add(COOLDOWN));
        assert!(!search.has_missed(miss));
    }

    #[test]
    fn different_misses_have_different_names() {
        let ids = [
            MissId::new(None, true),
            MissId::new(Some(""), true),
            MissId::new(Some("a"), true),
            MissId::new(Some("a"), false),
        ];

        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    }
}
