//! When the next fetch begins. The VMs of a proxy share this schedule: each plans on a copy, and a
//! plan takes effect once it is in the shared data.

use super::discovery::Discovered;
use super::evidence::{Draws, Evidence, Pending, TOLERANCE};
use super::fetch::FetchId;
use super::keys::Lifetime;
use super::search::{Pace, Search};
use super::survey::{Finding, Observation, Survey};
use crate::config::{MAX_TIMEOUT, RemoteJwks};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The fetch schedule of one issuer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Schedule {
    /// The number of changes. Of two copies, the one with the higher number is valid.
    pub(super) revision: u64,
    /// When the next refresh, or the next attempt after a failure, begins.
    due_at: Timestamp,
    /// When a fetch last brought a set.
    fetched_at: Timestamp,
    /// Refreshes that failed since then; drives the back-off.
    failures: u32,
    /// Whether the latest fetch brought no JWK Set. Only then may stale keys be used: a set that
    /// was published without them withdraws them.
    is_failing: bool,
    /// Where the keys are, if that has to be discovered.
    pub(super) discovered: Option<Discovered>,
    in_flight: Vec<Claim>,
    draws: Draws,
    /// The fingerprint of the set that was fetched last.
    last_set: Option<u64>,
    /// How many extra fetches will follow soon, to reach other endpoints.
    probes_left: u32,
    search: Search,
    survey: Survey,
}

/// A fetch that one of the VMs carries out.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Claim {
    pub(super) id: FetchId,
    pub(super) began: Timestamp,
    /// When it counts as abandoned, whether or not its VM is still alive.
    pub(super) until: Timestamp,
    /// Whether it belongs to a search.
    is_search: bool,
}

/// The result of a fetch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Completion {
    /// No usable key; `is_answer` if the issuer published a set without one.
    Failed {
        is_answer: bool,
        trusted_until: Option<Timestamp>,
    },
    Fetched {
        set: u64,
        new_keys: usize,
        lacks_trusted_key: bool,
        max_age: Option<Duration>,
    },
}

/// A VM's search for a missing key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quest {
    /// When the newest request for it came.
    pub(super) since: Timestamp,
    /// The evidence at which the search ends.
    pub(super) aim: Evidence,
}

/// What a VM wants fetched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    pub(super) quest: Option<Quest>,
    /// Whether requests wait.
    pub(super) is_urgent: bool,
}

/// What the configuration says about a provider's fetches.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) jwks: RemoteJwks,
    pub(super) pace: Pace,
}

impl Claim {
    pub(super) fn is_search(&self) -> bool {
        self.is_search
    }

    /// How long a call may take that begins now. All calls of a fetch share its time.
    pub(super) fn time_left(&self, now: Timestamp) -> Duration {
        self.until.saturating_sub(GRACE).saturating_since(now).max(MIN_TIMEOUT)
    }

    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        for time in [&mut self.began, &mut self.until] {
            *time = time.saturating_sub(by);
        }
    }
}

impl Terms {
    fn give_up_at(&self, began: Timestamp) -> Timestamp {
        began.saturating_add(self.jwks.timeout).saturating_add(GRACE)
    }
}

impl Schedule {
    /// The first fetch is due at once.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            revision: 0,
            due_at: now,
            fetched_at: Timestamp::EPOCH,
            failures: 0,
            is_failing: false,
            discovered: None,
            in_flight: Vec::new(),
            draws: Draws::default(),
            last_set: None,
            probes_left: 0,
            search: Search::new(),
            survey: Survey::default(),
        }
    }

    /// How long keys are trusted at the moment.
    pub(super) fn lifetime(&self, jwks: &RemoteJwks) -> Lifetime {
        Lifetime {
            fresh_for: jwks.cache_duration,
            stale_for: if self.is_failing { jwks.stale_duration } else { Duration::ZERO },
        }
    }

    /// When a fetch last brought a set; [`Timestamp::EPOCH`] if none did.
    pub(super) fn fetched_at(&self) -> Timestamp {
        self.fetched_at
    }

    /// Whether the latest fetch brought no JWK Set.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// The number of fetches in flight, in all VMs.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The evidence that a key that was missing at `since` does not exist.
    pub(super) fn evidence(&self, since: Timestamp, pace: Pace, now: Timestamp) -> Evidence {
        let oldest = self.in_flight.iter().map(|claim| claim.began).min();
        let fetches = self.in_flight.len();
        let pending = oldest.map(|oldest| Pending { fetches, oldest, now });
        self.draws.tally(since, pending, pace.endpoints).evidence()
    }

    /// The earliest time at which a fetch may begin; in the past if one is in flight.
    pub(super) fn next_attempt(&self, quest: Option<Quest>, terms: &Terms) -> Timestamp {
        match self.in_flight.as_slice() {
            [] => self.next_fetch(Wish { quest, is_urgent: true }, terms, 0.5).at,
            [..] => Timestamp::EPOCH,
        }
    }

    /// The next fetches. None begins while those in flight may be
    /// enough. But while requests wait, a slow fetch does not hold back the next one: its VM may
    /// have died, or its endpoint may hang.
    pub(super) fn next_fetch(
        &self,
        Wish { quest, is_urgent }: Wish,
        terms: &Terms,
        jitter: f64,
    ) -> Plan {
        let hedges = is_urgent && self.in_flight.len() < MAX_IN_FLIGHT;
        let ends = self.in_flight.iter().map(|claim| match hedges {
            true => claim.until.min(claim.began.saturating_add(HEDGE)),
            false => claim.until,
        });
        let due = ends.fold(self.due_at(terms), Timestamp::max);
        let refresh = Plan { at: due, fetches: 1, is_search: false };
        let Some(Quest { since, aim }) = quest else { return refresh };
        let tally = self.draws.tally(since, None, terms.pace.endpoints);
        let needed = tally.needed(Evidence::Ample);
        let (at, draws) = self.search.next(since, needed, terms.pace, jitter);
        let room = MAX_IN_FLIGHT.saturating_sub(self.in_flight.len());
        let has_room = usize::try_from(draws).is_ok_and(|draws| draws <= room);
        if at < due && has_room && self.under_way(since) < tally.lacking(aim) {
            Plan { at, fetches: draws, is_search: true }
        } else {
            refresh
        }
    }

    /// The number of fetches in flight that began after this time.
    fn under_way(&self, since: Timestamp) -> usize {
        self.in_flight.iter().filter(|claim| claim.began > since).count()
    }

    /// When the next refresh or attempt is due. Another configuration with a longer `cacheDuration`
    /// may have scheduled it, so the own one caps it.
    pub(super) fn due_at(&self, Terms { jwks, .. }: &Terms) -> Timestamp {
        let latest = self.fetched_at.saturating_add(jwks.cache_duration.mul_f64(REFRESH_AT));
        if self.failures == 0 && self.fetched_at > Timestamp::EPOCH {
            self.due_at.min(latest)
        } else {
            self.due_at
        }
    }

    /// Adds fetches that begin now.
    pub(super) fn claim(
        &mut self,
        ids: &[FetchId],
        is_search: bool,
        terms: &Terms,
        now: Timestamp,
    ) -> Vec<Claim> {
        if is_search {
            let draws = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            self.search.draw(draws, terms.pace, now);
        }
        let until = terms.give_up_at(now);
        let claims: Vec<_> =
            ids.iter().map(|id| Claim { id: *id, began: now, until, is_search }).collect();
        self.in_flight.extend(&claims);
        claims
    }

    /// Drops fetches that were never answered: their VMs have died.
    pub(super) fn drop_abandoned(&mut self, now: Timestamp) {
        self.in_flight.retain(|claim| now < claim.until);
    }

    /// Records the result of a fetch, and schedules the next refresh or attempt.
    ///
    /// `jitter` is a number in 0..1 that spreads the fetches of many proxies.
    pub(super) fn complete(
        &mut self,
        claim: &Claim,
        completion: &Completion,
        terms: &Terms,
        jitter: f64,
        now: Timestamp,
    ) -> Option<Finding> {
        self.in_flight.retain(|other| other.id != claim.id);
        match *completion {
            Completion::Failed { is_answer, trusted_until } => {
                self.draws.add(claim.began, now, None);
                self.is_failing = !is_answer;
                self.fail(claim, trusted_until, jitter, now);
                None
            }
            Completion::Fetched { set, new_keys, lacks_trusted_key, max_age } => {
                let has_new_key = new_keys > 0;
                self.fetched_at = now;
                self.failures = 0;
                self.is_failing = false;
                self.search.succeed();
                // A set that is known already is another VM's find.
                if has_new_key && !self.draws.hold(set) {
                    self.search.find();
                }
                self.draws.add(claim.began, now, Some(set));
                let seen = Observation {
                    lacks_trusted_key,
                    has_new_key,
                    differs_from_last: self.last_set != Some(set),
                };
                self.count_probe(claim);
                self.last_set = Some(set);
                let finding = self.survey.observe(seen, terms.jwks.cache_duration, now);
                let refresh_in = self.refresh_in(has_new_key, max_age, &terms.jwks, jitter);
                self.due_at = now.saturating_add(refresh_in);
                finding
            }
        }
    }

    /// After the first set, and after each refresh, a few more fetches (probes) reach for the keys
    /// of other endpoints before their first users come.
    fn count_probe(&mut self, claim: &Claim) {
        self.probes_left = match self.probes_left {
            _ if self.last_set.is_none() => PROBES_AT_START,
            left if claim.is_search || self.survey.is_under_way() => left,
            0 => PROBES_AT_REFRESH,
            left => left.saturating_sub(1),
        };
    }

    fn refresh_in(
        &self,
        has_new_key: bool,
        max_age: Option<Duration>,
        jwks: &RemoteJwks,
        jitter: f64,
    ) -> Duration {
        let interval = interval(max_age, jwks.cache_duration);
        let soon = interval.mul_f64(PROBE_SPREAD * (0.5 + 0.5 * jitter));
        if self.survey.is_under_way() && has_new_key {
            // One new key suggests more. Jitter spreads the proxies, which all see a rotation at
            // once.
            AT_ONCE.mul_f64(jitter).min(soon)
        } else if self.survey.is_under_way() || self.probes_left > 0 {
            // There is no hurry: a search looks for any key that requests wait for.
            soon
        } else {
            interval.mul_f64(REFRESH_AT - REFRESH_SPREAD * jitter)
        }
    }

    /// Schedules the next attempt: exponential back-off with equal jitter.
    ///
    /// Without keys every request fails, so the cap is lower. The next attempt comes no later than
    /// the last trusted key ends, unless the back-off without keys is longer.
    fn fail(
        &mut self,
        claim: &Claim,
        trusted_until: Option<Timestamp>,
        jitter: f64,
        now: Timestamp,
    ) {
        // Clients cause searches, so a failed search must not bring forward a refresh, which no
        // budget limits.
        if claim.is_search {
            self.search.fail();
            return;
        }
        let doubled = MIN_BACKOFF.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        self.survey.abandon();
        self.probes_left = 0;
        let spread = |backoff: Duration| backoff.mul_f64(1.0 - 0.5 * jitter);
        let soon = spread(doubled.min(MAX_BACKOFF_WITHOUT_KEYS));
        let retry_in = match trusted_until {
            Some(end) => spread(doubled.min(MAX_BACKOFF)).min(end.saturating_since(now).max(soon)),
            None => soon,
        };
        self.due_at = now.saturating_add(retry_in);
    }

    /// Moves every time back after the clock has stepped back. The order of earlier fetches and
    /// later requests is then unknown, so the draws are dropped.
    pub(super) fn clock_stepped_back(&mut self, by: Duration) {
        self.draws.clear();
        for claim in &mut self.in_flight {
            claim.clock_stepped_back(by);
        }
        for time in [&mut self.due_at, &mut self.fetched_at] {
            *time = time.saturating_sub(by);
        }
        self.search.clock_stepped_back(by);
        self.survey.clock_stepped_back(by);
    }

    /// Removes what cannot be true now. Another plugin of the proxy may have written it, or a VM
    /// before the clock stepped back.
    pub(super) fn make_plausible(&mut self, terms: &Terms, now: Timestamp) {
        let latest = now.saturating_add(TOLERANCE);
        self.due_at = self.due_at.min(latest.saturating_add(terms.jwks.cache_duration));
        self.fetched_at = self.fetched_at.min(latest);
        let longest = latest.saturating_add(MAX_TIMEOUT).saturating_add(GRACE);
        self.in_flight.retain(|claim| claim.began <= latest && claim.until <= longest);
        self.in_flight.truncate(MAX_IN_FLIGHT);
        self.probes_left = self.probes_left.min(PROBES_AT_START);
        self.discovered.take_if(|discovered| !discovered.is_plausible(latest));
        self.draws.make_plausible(latest);
        self.search.make_plausible(latest);
        self.survey.make_plausible(latest);
    }
}

/// How long a set is taken to be current, by its `max-age`.
fn interval(max_age: Option<Duration>, cache_duration: Duration) -> Duration {
    max_age.map_or(cache_duration, |max_age| max_age.max(MIN_MAX_AGE)).min(cache_duration)
}

/// How long after a fetch that brought nothing new the next refresh comes: at the earliest, and at the
/// latest. `max_age` is that of the answer, `cache_duration` the provider's.
#[cfg(not(target_arch = "wasm32"))]
#[must_use]
pub fn refresh_window(max_age: Option<Duration>, cache_duration: Duration) -> [Duration; 2] {
    let interval = interval(max_age, cache_duration);
    [REFRESH_AT - REFRESH_SPREAD, REFRESH_AT].map(|share| interval.mul_f64(share))
}

/// The next fetches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) at: Timestamp,
    pub(super) fetches: u32,
    /// Otherwise it is a refresh, or an attempt after a failure.
    pub(super) is_search: bool,
}

/// While requests wait, a fetch holds back the next one for no longer than this.
const HEDGE: Duration = Duration::from_secs(1);
/// How long to wait for an answer after the call's own timeout.
const GRACE: Duration = Duration::from_secs(1);
/// The longest back-off while keys are trusted.
const MAX_BACKOFF: Duration = Duration::from_mins(1);
/// The longest back-off without keys.
const MAX_BACKOFF_WITHOUT_KEYS: Duration = Duration::from_secs(10);
const MAX_DOUBLINGS: u32 = 16;
/// The most fetches in flight, however slow the issuer is.
pub(super) const MAX_IN_FLIGHT: usize = 8;
/// The first back-off.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// To the host, zero is no timeout at all.
pub(super) const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// A shorter `Cache-Control: max-age` counts as this.
const MIN_MAX_AGE: Duration = Duration::from_secs(30);
/// With two endpoints, the first fetch and these four miss one of them in 6 % of all starts.
const PROBES_AT_START: u32 = 4;
const PROBES_AT_REFRESH: u32 = 2;
/// In a survey, the longest delay of the fetch after one that brought a new key.
const AT_ONCE: Duration = Duration::from_millis(500);
/// The next probe comes within this share of the interval.
const PROBE_SPREAD: f64 = 0.01;
/// A refresh comes when this share of the interval has passed, or up to [`REFRESH_SPREAD`] earlier.
const REFRESH_AT: f64 = 0.9;
const REFRESH_SPREAD: f64 = 0.2;
