//! What the VMs of one proxy tell each other about a provider's keys.
//!
//! Every worker thread has a VM of its own. One of them fetches while it holds the lease, and
//! writes what it knows to the proxy's shared data; the others read it there. The data outlives
//! every VM, so one that starts late or again begins with it.
//!
//! Anything else in the proxy may write there as well. So what is read is checked like the answer
//! of an issuer, and when it is not what was expected, it is as if nothing were there.

use crate::jose::{MAX_KEYS, VerifyingKey, parse_json_object};
use crate::time::Timestamp;
use serde_json::{Map, Value};
use std::time::Duration;

/// The shared state of one provider; nothing is known in the default.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) keys: Vec<PublishedKey>,
    /// When the latest fetch succeeded.
    pub(super) fetched_at: Timestamp,
    /// When the latest fetch failed.
    pub(super) failed_at: Timestamp,
    /// Whether the latest fetch brought no set at all.
    pub(super) is_failing: bool,
    /// Until when another VM is fetching.
    pub(super) lease_until: Timestamp,
    /// When the latest searches for unknown keys began.
    pub(super) searches: Vec<Timestamp>,
}

#[derive(Debug)]
pub(super) struct PublishedKey {
    pub(super) key: VerifyingKey,
    pub(super) published_at: Timestamp,
    pub(super) is_withdrawn: bool,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            fetched_at: Timestamp::EPOCH,
            failed_at: Timestamp::EPOCH,
            is_failing: false,
            lease_until: Timestamp::EPOCH,
            searches: Vec::new(),
        }
    }
}

impl Snapshot {
    /// Reads what another VM wrote. What is dated ahead of the clock counts for nothing: the clock
    /// has stepped back since, and how old it is cannot be known. But `now` may itself be of a
    /// moment ago.
    pub(super) fn parse(bytes: &[u8], now: Timestamp) -> Self {
        let parsed = parse_json_object(bytes).ok().and_then(|members| Self::read(&members, now));
        parsed.unwrap_or_default()
    }

    fn read(members: &Map<String, Value>, now: Timestamp) -> Option<Self> {
        let latest = now.saturating_add(TOLERANCE);
        let time = |name: &str| timestamp(members.get(name)?);
        let list = |name: &str| members.get(name)?.as_array();
        let keys = list("keys")?.iter().take(MAX_KEYS).map(|jwk| {
            let published_at = timestamp(jwk.get("published_at")?).filter(|at| *at <= latest)?;
            let is_withdrawn = jwk.get("is_withdrawn")?.as_bool()?;
            Some(PublishedKey { key: VerifyingKey::parse(jwk).ok()?, published_at, is_withdrawn })
        });
        Some(Self {
            keys: keys.collect::<Option<_>>()?,
            fetched_at: time("fetched_at").filter(|at| *at <= latest)?,
            failed_at: time("failed_at").filter(|at| *at <= latest)?,
            is_failing: members.get("is_failing")?.as_bool()?,
            lease_until: time("lease_until")?,
            searches: list("searches")?.iter().map(timestamp).collect::<Option<_>>()?,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let keys: Vec<_> = self.keys.iter().map(PublishedKey::encode).collect();
        let searches: Vec<_> = self.searches.iter().map(|at| at.as_nanos().to_string()).collect();
        format!(
            r#"{{"keys":[{}],"fetched_at":{},"failed_at":{},"is_failing":{},"lease_until":{},"searches":[{}]}}"#,
            keys.join(","),
            self.fetched_at.as_nanos(),
            self.failed_at.as_nanos(),
            self.is_failing,
            self.lease_until.as_nanos(),
            searches.join(","),
        )
        .into_bytes()
    }
}

impl PublishedKey {
    fn encode(&self) -> String {
        let (n, e) = self.key.components();
        // Strings always have a JSON form.
        let kid = self.key.kid().and_then(|kid| serde_json::to_string(kid).ok());
        let kid = kid.map_or_else(String::new, |kid| format!(r#","kid":{kid}"#));
        let published_at = self.published_at.as_nanos();
        let is_withdrawn = self.is_withdrawn;
        format!(
            r#"{{"kty":"RSA","n":"{n}","e":"{e}"{kid},"published_at":{published_at},"is_withdrawn":{is_withdrawn}}}"#
        )
    }
}

/// How much later than ours the time of another VM may be: how long a callback may last, which
/// sees one time only.
pub(super) const TOLERANCE: Duration = Duration::from_secs(1);

fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_u64().map(Timestamp::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::KeySet;

    const NOW: Timestamp = Timestamp::from_secs(1000);

    fn snapshot() -> Snapshot {
        let n = format!("{}w", "_".repeat(341));
        let set = format!(
            r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"AQAB","kid":"a\"\n"}},{{"kty":"RSA","n":"{n}","e":"Aw"}}]}}"#
        );
        let keys = KeySet::parse(set.as_bytes()).unwrap().keys;
        Snapshot {
            keys: keys
                .into_iter()
                .zip([false, true])
                .map(|(key, is_withdrawn)| PublishedKey { key, published_at: NOW, is_withdrawn })
                .collect(),
            fetched_at: Timestamp::from_nanos(999_999_999_999),
            failed_at: Timestamp::from_secs(7),
            is_failing: true,
            lease_until: Timestamp::from_secs(1006),
            searches: vec![Timestamp::from_secs(1), Timestamp::from_secs(2)],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let written = snapshot();

        let read = Snapshot::parse(&written.encode(), NOW);

        assert_eq!(format!("{read:?}"), format!("{written:?}"));
    }

    #[test]
    fn times_ahead_of_the_clock_do_not_extend_trust() {
        let read = Snapshot::parse(
            &snapshot().encode(),
            NOW.saturating_sub(TOLERANCE).saturating_sub(Duration::from_nanos(1)),
        );

        assert!(read.keys.is_empty());
        assert_eq!(read.fetched_at, Timestamp::EPOCH);
    }

    #[test]
    fn anything_else_is_taken_for_nothing() {
        let good = snapshot().encode();
        let is_nothing = |bytes: &[u8]| Snapshot::parse(bytes, NOW).keys.is_empty();

        for length in 0..good.len() {
            assert!(is_nothing(&good[..length]), "{length}");
        }
        for bytes in [&b"[]"[..], b"{}", b"\xff", br#"{"keys":[7]}"#] {
            assert!(is_nothing(bytes));
        }
        let text = String::from_utf8(good).unwrap();
        assert!(is_nothing(text.replace("RSA", "EC").as_bytes()));
        assert!(is_nothing(text.replace("true,", "1,").as_bytes()));
    }
}
