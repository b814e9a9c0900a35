//! Which keys are trusted until when.
//!
//! Trust is per key, not per set: each key is trusted until `cacheDuration` after an endpoint last
//! published it. So a withdrawn key lives no longer than in a plain cache, and endpoints that
//! publish different sets do not evict each other's keys.

use crate::jose::{KeySet, MAX_KEYS, VerifyingKey};
use crate::time::Timestamp;
use std::time::Duration;

/// The keys of one provider, the most recently published first.
#[derive(Debug)]
pub(super) struct TrustedKeys {
    keys: Vec<PublishedKey>,
    /// Whether these are the configured keys that the first fetched set replaces.
    are_initial: bool,
    /// How often keys were added that were not trusted before.
    additions: u64,
}

/// A key, and when it was published.
#[derive(Clone, Debug)]
pub(super) struct PublishedKey {
    pub(super) key: VerifyingKey,
    /// When an endpoint last published it; [`Timestamp::MAX`] when it is configured.
    pub(super) published_at: Timestamp,
    /// Whether all endpoints have stopped publishing it: it then never becomes stale.
    pub(super) is_withdrawn: bool,
}

/// How long keys are fresh after their publication, and how long they may be stale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    pub(super) fresh_for: Duration,
    pub(super) stale_for: Duration,
}

/// What a published set changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    /// How many of its keys were not trusted before.
    pub(super) new_keys: usize,
    /// Whether it lacks a key that an endpoint published lately.
    pub(super) lacks_trusted_key: bool,
}

impl Lifetime {
    /// Configured keys are trusted for good.
    pub(super) const FOREVER: Self = Self { fresh_for: Duration::MAX, stale_for: Duration::ZERO };

    fn end(self, key: &PublishedKey) -> Timestamp {
        let stale_for = if key.is_withdrawn { Duration::ZERO } else { self.stale_for };
        self.fresh_until(key).saturating_add(stale_for)
    }

    fn fresh_until(self, key: &PublishedKey) -> Timestamp {
        key.published_at.saturating_add(self.fresh_for)
    }
}

impl TrustedKeys {
    /// Starts with the configured keys; `until_fetched` if the first fetched set replaces them.
    pub(super) fn new(configured: Option<&KeySet>, until_fetched: bool) -> Self {
        let keys = configured.into_iter().flat_map(|set| set.keys.iter().cloned());
        let keys =
            keys.map(|key| PublishedKey { key, published_at: Timestamp::MAX, is_withdrawn: false });
        Self {
            keys: keys.collect(),
            are_initial: configured.is_some() && until_fetched,
            additions: 0,
        }
    }

    pub(super) fn trusted(
        &self,
        lifetime: Lifetime,
        now: Timestamp,
    ) -> impl Iterator<Item = &VerifyingKey> {
        let is_trusted = move |key: &&PublishedKey| now < lifetime.end(key);
        self.keys.iter().filter(is_trusted).map(|published| &published.key)
    }

    /// Whether a trusted key is stale: trusted only because refreshes fail.
    pub(super) fn is_stale(&self, key: &VerifyingKey, lifetime: Lifetime, now: Timestamp) -> bool {
        let mut same = self.keys.iter().filter(|own| own.key.thumbprint() == key.thumbprint());
        !lifetime.stale_for.is_zero() && same.all(|own| lifetime.fresh_until(own) <= now)
    }

    /// When the last of the trusted keys expires.
    pub(super) fn trusted_until(&self, lifetime: Lifetime, now: Timestamp) -> Option<Timestamp> {
        self.keys.iter().map(|key| lifetime.end(key)).filter(|end| now < *end).max()
    }

    /// A number that changes whenever new keys come.
    pub(super) fn additions(&self) -> u64 {
        self.additions
    }

    /// Applies a set that was just published: renews its keys, and leaves the others to expire.
    pub(super) fn renew(
        &mut self,
        mut set: Vec<VerifyingKey>,
        lifetime: Lifetime,
        now: Timestamp,
    ) -> Renewal {
        self.replace_initial();
        let mut new_keys: usize = 0;
        for key in &mut set {
            let known = self.keys.iter().find(|old| old.key.is_same(key));
            let is_trusted = known.is_some_and(|old| now < lifetime.end(old));
            new_keys = new_keys.saturating_add(usize::from(!is_trusted));
            if let Some(old) = known {
                // Keep the old copy: it has its verifier already, and compares by address.
                *key = old.key.clone();
            }
        }
        self.additions = self.additions.saturating_add(u64::from(new_keys > 0));
        self.keys.retain(|old| {
            now < lifetime.fresh_until(old) && !set.iter().any(|key| key.is_same(&old.key))
        });
        let lacks_trusted_key = !self.keys.is_empty();

        // The newest come first; the oldest are dropped when the union grows too large.
        let renewed =
            set.into_iter().map(|key| PublishedKey { key, published_at: now, is_withdrawn: false });
        self.keys.splice(0..0, renewed);
        self.keys.truncate(MAX_KEYS);
        Renewal { new_keys, lacks_trusted_key }
    }

    /// Withdraws the keys that were last published before `now`.
    pub(super) fn withdraw_unpublished(&mut self, now: Timestamp) {
        for key in self.keys.iter_mut().filter(|key| key.published_at < now) {
            key.is_withdrawn = true;
        }
    }

    /// Drops the expired keys, so that a longer lifetime cannot revive them.
    pub(super) fn drop_ended(&mut self, lifetime: Lifetime, now: Timestamp) {
        self.keys.retain(|key| now < lifetime.end(key));
    }

    /// Merges another VM's keys: each key keeps the later time of publication.
    pub(super) fn merge(&mut self, shared: Vec<PublishedKey>, lifetime: Lifetime, now: Timestamp) {
        let mut has_new = false;
        for mut shared in shared {
            if now >= lifetime.end(&shared) {
                continue;
            }
            self.replace_initial();
            let place = self.keys.iter().position(|known| known.key.is_same(&shared.key));
            let Some(known) = place.and_then(|place| self.keys.get_mut(place)) else {
                has_new = true;
                self.insert(shared);
                continue;
            };
            if known.published_at == shared.published_at {
                known.is_withdrawn |= shared.is_withdrawn;
            }
            if known.published_at < shared.published_at
                && let Some(place) = place
            {
                has_new |= lifetime.end(known) <= now;
                shared.key = known.key.clone();
                self.keys.remove(place);
                self.insert(shared);
            }
        }
        self.keys.truncate(MAX_KEYS);
        self.additions = self.additions.saturating_add(u64::from(has_new));
    }

    /// Inserts it after keys of the same time, so that a set keeps its order.
    fn insert(&mut self, key: PublishedKey) {
        let place = self.keys.partition_point(|other| other.published_at >= key.published_at);
        self.keys.insert(place, key);
    }

    /// The keys to share with other VMs: all but the configured ones.
    pub(super) fn published(&self) -> impl Iterator<Item = &PublishedKey> {
        self.keys.iter().filter(|key| key.published_at != Timestamp::MAX)
    }

    /// The known key with this thumbprint and `kid`.
    pub(super) fn find(&self, thumbprint: &str, kid: Option<&str>) -> Option<VerifyingKey> {
        let mut keys = self.keys.iter().map(|published| &published.key);
        keys.find(|key| key.thumbprint() == thumbprint && key.kid() == kid).cloned()
    }

    /// The `kid`s of all keys, in their order.
    pub(super) fn kids(&self) -> impl Iterator<Item = Option<&str>> {
        self.keys.iter().map(|published| published.key.kid())
    }

    /// Moves every time of publication back after the clock has stepped back, so that no key lasts
    /// longer than it should.
    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        for key in self.keys.iter_mut().filter(|key| key.published_at != Timestamp::MAX) {
            key.published_at = key.published_at.saturating_sub(by);
        }
    }

    fn replace_initial(&mut self) {
        if std::mem::take(&mut self.are_initial) {
            self.keys.clear();
        }
    }
}

/// The most signature checks for one token at a time, when several keys share its `kid` or it has
/// none. A check is the most expensive thing that a request without a valid token can cause.
pub(crate) const MAX_CANDIDATES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LIFETIME: Lifetime =
        Lifetime { fresh_for: Duration::from_secs(600), stale_for: Duration::ZERO };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(1000).saturating_add(Duration::from_secs(seconds))
    }

    /// Keys of these names, without any `kid`.
    fn set(names: &[char]) -> Vec<VerifyingKey> {
        let jwk = |name: &char| {
            let modulus = format!("_{name}{}w", "_".repeat(339));
            VerifyingKey::parse(&json!({"kty": "RSA", "n": modulus, "e": "AQAB"})).unwrap()
        };
        names.iter().map(jwk).collect()
    }

    fn fetched(sets: &[&[char]]) -> TrustedKeys {
        let mut keys = TrustedKeys::new(None, true);
        for (second, names) in (0..).zip(sets) {
            keys.renew(set(names), LIFETIME, at(second));
        }
        keys
    }

    fn order(keys: &TrustedKeys) -> Vec<&str> {
        keys.trusted(LIFETIME, at(10)).map(VerifyingKey::thumbprint).collect()
    }

    fn thumbprints(names: &[char]) -> Vec<String> {
        set(names).iter().map(|key| key.thumbprint().to_owned()).collect()
    }

    #[test]
    fn the_latest_set_comes_first_and_keeps_its_order() {
        let keys = fetched(&[&['a', 'b', 'c'], &['d'], &['c', 'b']]);

        assert_eq!(order(&keys), thumbprints(&['c', 'b', 'd', 'a']));
    }

    #[test]
    fn another_vm_has_the_keys_in_the_same_order() {
        for sets in [&[&['a', 'b', 'c', 'd'][..]][..], &[&['a', 'b'], &['c'], &['b', 'd']]] {
            let keys = fetched(sets);
            let mut other = TrustedKeys::new(None, true);
            other.merge(keys.published().cloned().collect(), LIFETIME, at(5));
            assert_eq!(order(&other), order(&keys));

            let mut behind = fetched(&sets[..1]);
            behind.merge(keys.published().cloned().collect(), LIFETIME, at(5));
            assert_eq!(order(&behind), order(&keys));
        }
    }

    #[test]
    fn only_keys_that_were_not_trusted_are_additions() {
        let mut keys = fetched(&[&['a'], &['b']]);
        let before = keys.additions();

        assert_eq!(keys.renew(set(&['a']), LIFETIME, at(2)).new_keys, 0);
        keys.merge(fetched(&[&['a', 'b']]).published().cloned().collect(), LIFETIME, at(3));
        assert_eq!(keys.additions(), before);

        assert_eq!(keys.renew(set(&['a']), LIFETIME, at(602)).new_keys, 1);
        assert_eq!(keys.additions(), before + 1);
    }

    #[test]
    fn a_key_that_was_withdrawn_elsewhere_is_withdrawn_here_unless_it_was_published_since() {
        let mut elsewhere = fetched(&[&['a', 'b'], &['b']]);
        elsewhere.withdraw_unpublished(at(1));
        let withdrawn =
            |keys: &TrustedKeys| keys.keys.iter().filter(|key| key.is_withdrawn).count();

        for (sets, expected) in [(&[&['a', 'b'][..]][..], 1), (&[&[][..], &[], &['a']], 0)] {
            let mut keys = fetched(sets);
            keys.merge(elsewhere.published().cloned().collect(), LIFETIME, at(3));
            assert_eq!(withdrawn(&keys), expected);
        }
    }
}
