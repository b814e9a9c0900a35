//! Encoding and decoding of the shared data.
//!
//! It outlives every VM, so a VM that starts late or restarts begins with it. Anything else in the
//! proxy may write there too. So what is read is checked like an issuer's answer, and anything
//! unexpected counts as absent.

use super::evidence::TOLERANCE;
use super::keys::{PublishedKey, TrustedKeys};
use super::schedule::Schedule;
use crate::jose::{MAX_KEYS, VerifyingKey};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What the VMs of one proxy share for one issuer.
#[derive(Deserialize, Serialize)]
pub(super) struct Document {
    written_at: Timestamp,
    schedule: Schedule,
    keys: Vec<Key>,
}

#[derive(Deserialize, Serialize)]
struct Key {
    kid: Option<String>,
    n: String,
    e: String,
    thumbprint: String,
    published_at: Timestamp,
    is_withdrawn: bool,
}

impl Document {
    /// Reads what another VM wrote; `None` if that is dated ahead of the clock: the clock has
    /// stepped back, and the age of the data is unknown. A little ahead is fine, since `now` may be
    /// a moment old.
    pub(super) fn parse(bytes: &[u8], now: Timestamp) -> Option<Self> {
        let (document, rest) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        let is_of_now = document.written_at <= now.saturating_add(TOLERANCE);
        let can_be_followed = document.schedule.revision < MAX_REVISION;
        (rest.is_empty() && is_of_now && can_be_followed).then_some(document)
    }

    pub(super) fn of(schedule: &Schedule, keys: &TrustedKeys, now: Timestamp) -> Self {
        let keys = keys.published().map(Key::of).collect();
        Self { written_at: now, schedule: schedule.clone(), keys }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // It fails only for a sequence of unknown length.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    pub(super) fn revision(&self) -> u64 {
        self.schedule.revision
    }

    /// The schedule and the keys. Known keys are reused, not parsed again.
    pub(super) fn read(
        self,
        known: &TrustedKeys,
        now: Timestamp,
    ) -> Option<(Schedule, Vec<PublishedKey>)> {
        let latest = now.saturating_add(TOLERANCE);
        let keys = self.keys.into_iter().take(MAX_KEYS).filter(|key| key.published_at <= latest);
        let keys = keys.map(|key| key.read(known)).collect::<Option<_>>()?;
        Some((self.schedule, keys))
    }
}

impl Key {
    fn of(published: &PublishedKey) -> Self {
        let PublishedKey { key, published_at, is_withdrawn } = published;
        let [n, e] = key.components();
        Self {
            kid: key.kid().map(str::to_owned),
            n,
            e,
            thumbprint: key.thumbprint().to_owned(),
            published_at: *published_at,
            is_withdrawn: *is_withdrawn,
        }
    }

    fn read(self, known: &TrustedKeys) -> Option<PublishedKey> {
        let Self { kid, n, e, thumbprint, published_at, is_withdrawn } = self;
        let key = known.find(&thumbprint, kid.as_deref());
        let key = key.or_else(|| VerifyingKey::new(kid, &n, &e).ok())?;
        Some(PublishedKey { key, published_at, is_withdrawn })
    }
}

/// The prefix of the name of the shared data; a new layout needs a new one.
pub(crate) const SHARED_DATA_VERSION: &str = "mesh_jwt.v3";
/// VMs count from zero, so they never reach this.
const MAX_REVISION: u64 = 1 << 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::KeySet;
    use crate::jwks::keys::Lifetime;
    use sha2::{Digest as _, Sha256};
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_secs(1000);
    const LIFETIME: Lifetime =
        Lifetime { fresh_for: Duration::from_secs(600), stale_for: Duration::ZERO };

    fn keys() -> TrustedKeys {
        let n = format!("{}w", "_".repeat(341));
        let set = format!(
            r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"AQAB","kid":"a\"\n"}},{{"kty":"RSA","n":"{n}","e":"Aw"}}]}}"#
        );
        let mut keys = TrustedKeys::new(None, true);
        keys.renew(KeySet::parse(set.as_bytes()).unwrap().keys, LIFETIME, NOW);
        keys
    }

    fn written() -> Vec<u8> {
        let mut schedule = Schedule::new(NOW);
        schedule.revision = 7;
        Document::of(&schedule, &keys(), NOW).encode()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let document = Document::parse(&written(), NOW).unwrap();

        assert_eq!(document.revision(), 7);
        let (_, read) = document.read(&TrustedKeys::new(None, true), NOW).unwrap();
        let written: Vec<_> = keys().published().cloned().collect();
        assert_eq!(format!("{read:?}"), format!("{written:?}"));
    }

    /// VMs of another build may run in the same proxy.
    #[test]
    fn another_layout_has_another_name() {
        let digest = Sha256::digest(written());
        let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();

        assert_eq!(
            (digest.as_str(), SHARED_DATA_VERSION),
            ("57e0d113909cece7", "mesh_jwt.v3"),
            "count the version up, and write the new digest here"
        );
    }

    #[test]
    fn data_that_is_dated_ahead_of_the_clock_counts_as_absent() {
        let at = |before| Document::parse(&written(), NOW.saturating_sub(before)).is_some();

        assert!(at(TOLERANCE));
        assert!(!at(TOLERANCE + Duration::from_nanos(1)));
    }

    #[test]
    fn a_revision_too_high_to_be_followed_counts_as_absent() {
        let mut schedule = Schedule::new(NOW);
        schedule.revision = u64::MAX;

        let bytes = Document::of(&schedule, &keys(), NOW).encode();

        assert!(Document::parse(&bytes, NOW).is_none());
    }

    #[test]
    fn anything_else_counts_as_absent() {
        let good = written();
        let is_nothing = |bytes: &[u8]| Document::parse(bytes, NOW).is_none();

        for length in 0..good.len() {
            assert!(is_nothing(&good[..length]), "{length}");
        }
        assert!(is_nothing(&[good.as_slice(), b"\0"].concat()));
        for bytes in [&b"[]"[..], b"{}", b"\xff", &[0xff; 64]] {
            assert!(is_nothing(bytes));
        }
        // An invalid modulus.
        let bad: Vec<_> = good.iter().map(|b| if *b == b'_' { b'=' } else { *b }).collect();
        let bad = Document::parse(&bad, NOW).unwrap();
        assert!(bad.read(&TrustedKeys::new(None, true), NOW).is_none());
    }
}
