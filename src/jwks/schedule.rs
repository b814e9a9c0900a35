//! When the next fetch begins. This is what the VMs of a proxy have in common: each of them plans
//! on a copy, and its plan counts once the shared data has it.

use super::evidence::{Draws, Evidence, Pending, TOLERANCE};
use super::fetch::FetchId;
use super::keys::Lifetime;
use super::search::{Pace, Search};
use super::survey::{Finding, Observation, Survey};
use crate::config::{MAX_TIMEOUT, RemoteJwks};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The fetches of one provider.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Schedule {
    /// How often it was changed: of two copies, the one that was changed more often counts.
    pub(super) revision: u64,
    /// When the next refresh begins, or the next attempt after a failure.
    due_at: Timestamp,
    /// When a fetch last brought a set.
    fetched_at: Timestamp,
    /// Refreshes that failed since then; drives the back-off.
    failures: u32,
    /// Whether the latest fetch brought no JWK Set. Only then do keys live on as stale: a set that
    /// was published without them withdraws them.
    is_failing: bool,
    in_flight: Vec<Claim>,
    draws: Draws,
    /// The set that was fetched last.
    last_set: Option<u64>,
    /// How many fetches are to follow soon, to see other endpoints.
    probes_left: u32,
    search: Search,
    survey: Survey,
}

/// A fetch that one of the VMs carries out.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Claim {
    pub(super) id: FetchId,
    pub(super) began: Timestamp,
    /// When it is given up, whether or not its VM is still there.
    pub(super) until: Timestamp,
    /// Whether it was not due but looks for a key.
    is_search: bool,
}

/// What came of a fetch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Completion {
    /// Which may be an answer all the same: a set without any usable key.
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

/// What a VM wants to know of a key that is missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quest {
    /// When it was asked for last.
    pub(super) since: Timestamp,
    /// How much is to be known before it is given up.
    pub(super) aim: Evidence,
}

/// What a VM would have fetched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    pub(super) quest: Option<Quest>,
    /// Whether requests wait for what is due.
    pub(super) is_urgent: bool,
}

/// How a provider is fetched from, as its operator has it.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) jwks: RemoteJwks,
    pub(super) pace: Pace,
}

impl Claim {
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
            in_flight: Vec::new(),
            draws: Draws::default(),
            last_set: None,
            probes_left: 0,
            search: Search::new(),
            survey: Survey::default(),
        }
    }

    /// How long keys are trusted, as things are.
    pub(super) fn lifetime(&self, jwks: &RemoteJwks) -> Lifetime {
        Lifetime {
            fresh_for: jwks.cache_duration,
            stale_for: if self.is_failing { jwks.stale_duration } else { Duration::ZERO },
        }
    }

    /// Whether the latest fetch brought no JWK Set.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// How many fetches are under way, in all VMs.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// What is known of a key that has been missing since then.
    pub(super) fn evidence(&self, since: Timestamp, pace: Pace, now: Timestamp) -> Evidence {
        let oldest = self.in_flight.iter().map(|claim| claim.began).min();
        let fetches = self.in_flight.len();
        let pending = oldest.map(|oldest| Pending { fetches, oldest, now });
        self.draws.tally(since, pending, pace.endpoints).evidence()
    }

    /// When the answer to a fetch may come next, at the earliest: the past if one is under way.
    pub(super) fn next_attempt(&self, quest: Option<Quest>, terms: &Terms) -> Timestamp {
        match self.in_flight.as_slice() {
            [] => self.next_fetch(Wish { quest, is_urgent: true }, terms, 0.5).0,
            [..] => Timestamp::EPOCH,
        }
    }

    /// When the next fetches may begin, how many, and why; nothing begins while those under way may
    /// tell. But while requests wait, one that takes long does not keep the next one back: its VM may
    /// have died, or its endpoint hangs.
    pub(super) fn next_fetch(
        &self,
        Wish { quest, is_urgent }: Wish,
        terms: &Terms,
        jitter: f64,
    ) -> (Timestamp, u32, FetchReason) {
        let hedges = is_urgent && self.in_flight.len() < MAX_IN_FLIGHT;
        let ends = self.in_flight.iter().map(|claim| match hedges {
            true => claim.until.min(claim.began.saturating_add(HEDGE)),
            false => claim.until,
        });
        let due = ends.fold(self.due_at(terms), Timestamp::max);
        let refresh = (due, 1, FetchReason::Due);
        let Some(Quest { since, aim }) = quest else { return refresh };
        let tally = self.draws.tally(since, None, terms.pace.endpoints);
        let needed = tally.needed(Evidence::Ample);
        let (at, draws) = self.search.next(since, needed, terms.pace, jitter);
        let room = MAX_IN_FLIGHT.saturating_sub(self.in_flight.len());
        let has_room = usize::try_from(draws).is_ok_and(|draws| draws <= room);
        if at < due && has_room && self.under_way(since) < tally.lacking(aim) {
            (at, draws, FetchReason::Search)
        } else {
            refresh
        }
    }

    /// How many fetches are under way that began after this time.
    fn under_way(&self, since: Timestamp) -> usize {
        self.in_flight.iter().filter(|claim| claim.began > since).count()
    }

    /// When the next refresh or attempt is due. Another configuration of the proxy that fetches the
    /// same may have planned it, whose keys live longer.
    pub(super) fn due_at(&self, Terms { jwks, .. }: &Terms) -> Timestamp {
        let latest = self.fetched_at.saturating_add(jwks.cache_duration.mul_f64(REFRESH_AT));
        if self.failures == 0 && self.fetched_at > Timestamp::EPOCH {
            self.due_at.min(latest)
        } else {
            self.due_at
        }
    }

    /// Has fetches begin now.
    pub(super) fn claim(
        &mut self,
        ids: &[FetchId],
        why: FetchReason,
        terms: &Terms,
        now: Timestamp,
    ) -> Vec<Claim> {
        let is_search = why == FetchReason::Search;
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

    /// Forgets fetches whose VMs have died.
    pub(super) fn drop_abandoned(&mut self, now: Timestamp) {
        self.in_flight.retain(|claim| now < claim.until);
    }

    /// Takes note of what came of a fetch, and schedules the next refresh or attempt.
    ///
    /// `jitter` is a number in 0..1 that spreads what many proxies would do at the same moment.
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
                // Another VM may have found it first.
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

    /// A first set, or a refresh, is followed by a few more fetches: so that another endpoint's key
    /// is there before the first user of it.
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
        let interval = max_age
            .map_or(jwks.cache_duration, |max_age| max_age.max(MIN_MAX_AGE))
            .min(jwks.cache_duration);
        let soon = interval.mul_f64(PROBE_SPREAD * (0.5 + 0.5 * jitter));
        if self.survey.is_under_way() && has_new_key {
            // Where there is one new key there may be more. But all proxies see a rotation at once.
            AT_ONCE.mul_f64(jitter).min(soon)
        } else if self.survey.is_under_way() || self.probes_left > 0 {
            // None is in a hurry to be sure: what requests wait for is looked for anyway.
            soon
        } else {
            interval.mul_f64(REFRESH_AT - REFRESH_SPREAD * jitter)
        }
    }

    /// Schedules the next attempt: exponential back-off with equal jitter.
    ///
    /// Without keys every request fails, so the cap is lower then, and the moment at which the
    /// last key ends is not slept through.
    fn fail(
        &mut self,
        claim: &Claim,
        trusted_until: Option<Timestamp>,
        jitter: f64,
        now: Timestamp,
    ) {
        // What clients have caused does not bring an attempt forward that comes out of no budget.
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

    /// Moves every point in time by the same amount after the clock has stepped back. What came before
    /// a request then cannot be told from what came after it.
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

    /// Leaves nothing in it that could not have come about by now. Another plugin of the proxy may
    /// have written it, or a VM before the clock stepped back.
    pub(super) fn make_plausible(&mut self, terms: &Terms, now: Timestamp) {
        let latest = now.saturating_add(TOLERANCE);
        self.due_at = self.due_at.min(latest.saturating_add(terms.jwks.cache_duration));
        self.fetched_at = self.fetched_at.min(latest);
        let longest = latest.saturating_add(MAX_TIMEOUT).saturating_add(GRACE);
        self.in_flight.retain(|claim| claim.began <= latest && claim.until <= longest);
        self.in_flight.truncate(MAX_IN_FLIGHT);
        self.probes_left = self.probes_left.min(PROBES_AT_START);
        self.draws.make_plausible(latest);
        self.search.make_plausible(latest);
        self.survey.make_plausible(latest);
    }
}

/// Why a fetch begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FetchReason {
    /// The keys are to be refreshed, or the last attempt failed.
    Due,
    /// A key is looked for.
    Search,
}

/// After so long requests do not wait for one fetch alone.
const HEDGE: Duration = Duration::from_secs(1);
/// How much longer than the call's own timeout an answer is waited for.
const GRACE: Duration = Duration::from_secs(1);
/// The longest pause between attempts while keys are trusted.
const MAX_BACKOFF: Duration = Duration::from_mins(1);
/// The longest pause between attempts while there are none.
const MAX_BACKOFF_WITHOUT_KEYS: Duration = Duration::from_secs(10);
const MAX_DOUBLINGS: u32 = 16;
/// The most fetches at once, however slow the issuer is.
pub(super) const MAX_IN_FLIGHT: usize = 8;
/// The first pause after a failure.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// The least that `Cache-Control: max-age` can shorten the refresh interval to.
const MIN_MAX_AGE: Duration = Duration::from_secs(30);
/// With two endpoints, five draws miss one of them in 3 % of all starts.
const PROBES_AT_START: u32 = 4;
const PROBES_AT_REFRESH: u32 = 2;
/// Within what time the endpoints are asked again that have just shown a new key.
const AT_ONCE: Duration = Duration::from_millis(500);
/// The share of the interval within which the next probe comes.
const PROBE_SPREAD: f64 = 0.01;
/// A refresh comes at the latest when this share of the interval has passed, and up to
/// [`REFRESH_SPREAD`] earlier.
const REFRESH_AT: f64 = 0.9;
const REFRESH_SPREAD: f64 = 0.2;
