//! How the VMs of a proxy share one issuer's fetches.
//!
//! Every worker thread has its own VM. The proxy's shared data holds what they have in common, and
//! each VM keeps a copy. A VM that wants to fetch, or has an answer, reads the shared data, changes
//! its copy and writes it back with compare-and-swap. Only then does the fetch begin. If another VM
//! wrote first, it starts over from what that VM wrote.

use super::calls::{Answer, Answered, Calls, Progress};
use super::evidence::{Evidence, TOLERANCE};
use super::exchange::{Outcome, Step, Written};
use super::fetch::{FetchError, FetchId, JwksResponse};
use super::keys::{Lifetime, Renewal, TrustedKeys};
use super::schedule::{Claim, Completion, Plan, Quest, Schedule, Terms, Wish};
use super::snapshot::Document;
use super::survey::Finding;
use crate::config::Target;
use crate::jose::{JwkSetError, KeySet, SkippedKey, VerifyingKey, shown_kid};
use crate::time::Timestamp;
use std::time::Duration;

/// One VM's view of one issuer's fetches.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) terms: Terms,
    /// This VM's copy of the shared schedule.
    pub(super) schedule: Schedule,
    /// This VM's fetches in flight.
    calls: Calls,
    /// This VM's fetches whose answers are not evaluated yet.
    answers: Vec<Answered>,
    /// Completed fetches that are not in the shared data yet.
    unpublished: Vec<(Claim, Completion)>,
    outcomes: Vec<Outcome>,
    /// The [fingerprints](SkippedKey::fingerprint) of the skipped keys that were logged.
    told: Vec<u64>,
    asked: Option<Asked>,
    /// Whether requests wait for any key of this issuer.
    pub(super) has_waiting: bool,
    /// Whether a search may go on.
    pub(super) may_search: bool,
    exchange: Exchange,
    read_at: Timestamp,
    /// The version that was read then; 0 before the first read.
    read_version: u32,
    /// Only fetches that began after this are known to have begun after the clock last stepped
    /// back.
    certain_since: Timestamp,
    /// One per issuer, so that no issuer changes the timing of another.
    chance: fastrand::Rng,
    /// A number in 0..1 that spreads the fetches of many proxies.
    jitter: f64,
}

/// A search for a missing key.
#[derive(Clone, Copy, Debug)]
struct Asked {
    since: Timestamp,
    /// [`TrustedKeys::additions`] when it was last asked for.
    additions: u64,
}

/// The state of an exchange with the other VMs: one read, then one write.
#[derive(Debug)]
enum Exchange {
    /// No exchange is under way.
    Idle,
    /// Next: read the shared data.
    Wanted { tries: u32 },
    /// The host is reading.
    Reading { tries: u32 },
    /// Next: write a draft in place of what was read.
    Drafted { draft: Box<Draft>, bytes: Vec<u8>, version: u32 },
    /// The host is writing.
    Writing { draft: Box<Draft> },
}

/// A change that takes effect once it is written.
#[derive(Debug)]
struct Draft {
    schedule: Schedule,
    claims: Vec<Claim>,
    /// Whether a survey found that all endpoints publish the same set.
    withdraws: bool,
    drafted_at: Timestamp,
    tries: u32,
}

impl Remote {
    pub(super) fn new(terms: Terms, seed: u64, now: Timestamp) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        Self {
            jitter: chance.f64(),
            chance,
            terms,
            schedule: Schedule::new(now),
            calls: Calls::default(),
            answers: Vec::new(),
            unpublished: Vec::new(),
            outcomes: Vec::new(),
            told: Vec::new(),
            asked: None,
            has_waiting: false,
            may_search: true,
            exchange: Exchange::Idle,
            read_at: Timestamp::EPOCH,
            read_version: 0,
            certain_since: Timestamp::EPOCH,
        }
    }

    pub(super) fn lifetime(&self) -> Lifetime {
        self.schedule.lifetime(&self.terms.jwks)
    }

    /// Starts or prolongs a search, for a request that came at `since`.
    pub(super) fn ask(&mut self, since: Timestamp, additions: u64) {
        self.asked = Some(Asked { since, additions });
    }

    /// Ends the search if new keys have come since: the missing one may be among them.
    pub(super) fn forget_found(&mut self, additions: u64) {
        self.asked.take_if(|asked| asked.additions != additions);
    }

    /// The evidence that the key of a request that came at `since` does not exist.
    pub(super) fn evidence(&self, since: Timestamp, now: Timestamp) -> Evidence {
        self.schedule.evidence(since.max(self.certain_since), self.terms.pace, now)
    }

    /// What this VM searches for. A search outlives the requests that started it, so that the next
    /// one finds the key, unless the issuer fails.
    fn quest(&self) -> Option<Quest> {
        let asked = self.asked.filter(|_| self.may_search)?;
        let since = asked.since.max(self.certain_since);
        match self.has_waiting {
            true => Some(Quest { since, aim: Evidence::Ample }),
            false if self.schedule.is_failing() => None,
            false => Some(Quest { since, aim: Evidence::Enough }),
        }
    }

    fn wish(&self) -> Wish {
        Wish { quest: self.quest(), is_urgent: self.has_waiting }
    }

    /// The time of the next action, and its reason.
    pub(super) fn next_timeout(&self, has_keys: bool) -> (Timestamp, &'static str) {
        if !matches!(self.exchange, Exchange::Idle) {
            return (Timestamp::EPOCH, "the shared data is to be read or written");
        }
        if self.calls.are_due() {
            return (Timestamp::EPOCH, "a call is to be made");
        }
        let wish = self.wish();
        let is_elsewhere = self.schedule.in_flight() > self.calls.len();
        let look_in = if self.has_waiting || wish.quest.is_some() {
            Some(SHARED_POLL)
        } else if is_elsewhere {
            Some(ELSEWHERE_POLL)
        } else {
            (!has_keys).then_some(NEWS_POLL)
        };
        let look = look_in.map(|look_in| {
            (self.read_at.saturating_add(look_in), "another VM may have got an answer")
        });
        let overdue = self.calls.ends().map(|end| (end, "a fetch was never answered"));
        let Plan { at, is_search, .. } = self.schedule.next_fetch(wish, &self.terms, self.jitter);
        let why = if is_search { "a key is looked for" } else { "a fetch is due" };
        overdue.chain(look).fold((at, why), Ord::min)
    }

    /// Advances the time.
    pub(super) fn handle_timeout(&mut self, has_keys: bool, now: Timestamp) {
        while let Some(answered) = self.calls.give_up(now) {
            self.handle_answer(answered);
        }
        let is_idle = matches!(self.exchange, Exchange::Idle) && !self.calls.are_due();
        if is_idle && self.next_timeout(has_keys).0 <= now {
            self.exchange = Exchange::Wanted { tries: 0 };
        }
    }

    /// Handles the response to a call; returns whether this VM awaits it.
    pub(super) fn handle_response(
        &mut self,
        id: FetchId,
        result: &Result<JwksResponse<'_>, FetchError>,
        now: Timestamp,
    ) -> bool {
        match self.calls.handle_response(id, result, &self.terms.jwks, now) {
            None => return false,
            Some(Progress::Ended(answered)) => self.handle_answer(answered),
            Some(Progress::GoesOn) => {}
            Some(Progress::GoesOnWithoutDocument(error)) => {
                self.outcomes.push(Outcome::DiscoveryFailed { error });
            }
        }
        true
    }

    fn handle_answer(&mut self, answered: Answered) {
        self.answers.push(answered);
        if matches!(self.exchange, Exchange::Idle) {
            self.exchange = Exchange::Wanted { tries: 0 };
        }
    }

    /// The next step for the host.
    pub(super) fn poll_step(&mut self, now: Timestamp) -> Option<Step> {
        if let Some(call) = self.calls.next(now) {
            return Some(call);
        }
        match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::Wanted { tries } => {
                self.exchange = Exchange::Reading { tries };
                Some(Step::Read)
            }
            Exchange::Drafted { draft, bytes, version } => {
                self.exchange = Exchange::Writing { draft };
                Some(Step::Write { bytes, version })
            }
            waits => {
                self.exchange = waits;
                None
            }
        }
    }

    /// Handles a read of the shared data, and drafts a write if something changes. Returns whether
    /// another VM wrote news and there is nothing to write.
    pub(super) fn handle_shared(
        &mut self,
        keys: &mut TrustedKeys,
        shared: Option<&[u8]>,
        version: u32,
        now: Timestamp,
    ) -> bool {
        let Exchange::Reading { tries } = self.exchange else { return false };
        self.read_at = now;
        let mut is_news = false;
        if self.read_version != version {
            self.read_version = version;
            is_news = self.adopt(keys, shared, now);
        }
        for Answered { claim, target, answer } in std::mem::take(&mut self.answers) {
            let completion = self.evaluate(keys, target, answer, now);
            self.unpublished.push((claim, completion));
        }
        let mut schedule = self.schedule.clone();
        schedule.discovered = self.calls.discovered().cloned();
        let withdraws = self.complete(&mut schedule, keys, now);
        schedule.drop_abandoned(now);
        let claims = self.plan(&mut schedule, now);
        if claims.is_empty() && self.unpublished.is_empty() {
            self.schedule = schedule;
            self.exchange = Exchange::Idle;
            self.end_search(now);
            return is_news;
        }
        schedule.revision = schedule.revision.saturating_add(1);
        let bytes = Document::of(&schedule, keys, now).encode();
        let draft = Box::new(Draft { schedule, claims, withdraws, drafted_at: now, tries });
        self.exchange = Exchange::Drafted { draft, bytes, version };
        false
    }

    /// Handles the result of a write. Returns the outcomes of this VM's fetches once the draft
    /// takes effect.
    pub(super) fn handle_written(
        &mut self,
        keys: &mut TrustedKeys,
        written: Written,
        now: Timestamp,
    ) -> Option<Vec<Outcome>> {
        let draft = match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::Writing { draft } => draft,
            other => {
                self.exchange = other;
                return None;
            }
        };
        if written == Written::Contended && draft.tries < MAX_CONTENTION {
            // The next draft reports disagreements again, on top of what the other VM wrote.
            self.outcomes.retain(|outcome| !matches!(outcome, Outcome::Disagreement { .. }));
            self.exchange = Exchange::Wanted { tries: draft.tries.saturating_add(1) };
            return None;
        }
        // Without shared data, or after too much contention, the VM goes on alone.
        let Draft { mut schedule, claims, withdraws, drafted_at, .. } = *draft;
        if written == Written::Unavailable {
            // What nobody else can read does not outdate what they write.
            schedule.revision = self.schedule.revision;
        }
        self.schedule = schedule;
        if withdraws {
            keys.withdraw_unpublished(drafted_at);
        }
        self.unpublished.clear();
        if !self.answers.is_empty() {
            self.exchange = Exchange::Wanted { tries: 0 };
        }
        self.calls.start(claims, &self.terms.jwks, now);
        self.end_search(now);
        Some(std::mem::take(&mut self.outcomes))
    }

    /// Ends a search without waiting requests once there is enough evidence, or after [`INTEREST`].
    fn end_search(&mut self, now: Timestamp) {
        let Some(Asked { since, .. }) = self.asked else { return };
        let is_over =
            now >= since.saturating_add(INTEREST) || self.evidence(since, now) >= Evidence::Enough;
        if is_over && !self.has_waiting {
            self.asked = None;
        }
    }

    pub(super) fn clock_stepped_back(&mut self, by: Duration, now: Timestamp) {
        self.schedule.clock_stepped_back(by);
        // What another VM wrote just before the step is at most this far ahead of the clock.
        self.certain_since = now.saturating_add(by.min(TOLERANCE));
        self.calls.clock_stepped_back(by);
        let answers = self.answers.iter_mut().map(|answered| &mut answered.claim);
        let unpublished = self.unpublished.iter_mut().map(|(claim, _)| claim);
        for claim in answers.chain(unpublished) {
            claim.clock_stepped_back(by);
        }
        if let Some(asked) = &mut self.asked {
            asked.since = asked.since.saturating_sub(by);
        }
        self.read_at = self.read_at.saturating_sub(by);
        // A draft holds times from before the step.
        if let Exchange::Drafted { .. } | Exchange::Writing { .. } = self.exchange {
            self.exchange = Exchange::Wanted { tries: 0 };
        }
    }

    /// Adopts what another VM wrote; returns whether it was news. The shared data keeps its times
    /// when the clock steps back, so reading a known revision again would undo the correction of
    /// this copy.
    fn adopt(&mut self, keys: &mut TrustedKeys, shared: Option<&[u8]>, now: Timestamp) -> bool {
        let document = shared.and_then(|bytes| Document::parse(bytes, now));
        let is_news = |document: &Document| document.revision() > self.schedule.revision;
        let document = document.filter(is_news);
        let Some((mut schedule, shared_keys)) = document.and_then(|d| d.read(keys, now)) else {
            return false;
        };
        if schedule.is_failing() && !self.schedule.is_failing() {
            keys.drop_ended(self.lifetime(), now);
        }
        schedule.make_plausible(&self.terms, now);
        self.calls.learn(schedule.discovered.take());
        self.schedule = schedule;
        keys.merge(shared_keys, self.lifetime(), now);
        true
    }

    /// Drops the keys that were logged before, so that one that every answer holds is logged once.
    fn not_told_before(&mut self, mut skipped: Vec<SkippedKey>) -> Vec<SkippedKey> {
        skipped.retain(|key| {
            let is_news = self.told.len() < MAX_TOLD && !self.told.contains(&key.fingerprint());
            if is_news {
                self.told.push(key.fingerprint());
            }
            is_news
        });
        skipped
    }

    /// Applies an answer to the keys.
    fn evaluate(
        &mut self,
        keys: &mut TrustedKeys,
        target: Target,
        answer: Answer,
        now: Timestamp,
    ) -> Completion {
        let lifetime = self.lifetime();
        match answer {
            Ok((KeySet { keys: set, skipped }, max_age)) => {
                let (fingerprint, count) = (fingerprint(&set), set.len());
                let Renewal { new_keys, lacks_trusted_key } = keys.renew(set, lifetime, now);
                let skipped = self.not_told_before(skipped);
                self.outcomes.push(Outcome::Refreshed { keys: count, new_keys, skipped });
                Completion::Fetched { set: fingerprint, new_keys, lacks_trusted_key, max_age }
            }
            Err(error) => {
                // A set without a usable key is an answer, and withdraws the keys it lacks.
                let is_answer =
                    matches!(error, FetchError::Invalid(JwkSetError::NoUsableKey { .. }));
                keys.drop_ended(lifetime, now);
                let lifetime = Lifetime {
                    stale_for: if is_answer {
                        Duration::ZERO
                    } else {
                        self.terms.jwks.stale_duration
                    },
                    ..lifetime
                };
                let trusted_until = keys.trusted_until(lifetime, now);
                let trusted_keys = keys.trusted(lifetime, now).count();
                self.outcomes.push(Outcome::Failed {
                    target,
                    error,
                    retry_in: Duration::ZERO,
                    trusted_keys,
                });
                Completion::Failed { is_answer, trusted_until }
            }
        }
    }

    /// Adds this VM's completed fetches to a draft; returns whether that withdraws keys.
    fn complete(&mut self, schedule: &mut Schedule, keys: &TrustedKeys, now: Timestamp) -> bool {
        let jitter = self.chance.f64();
        let mut withdraws = false;
        for (claim, completion) in &self.unpublished {
            match schedule.complete(claim, completion, &self.terms, jitter, now) {
                Some(Finding::Disagreement) => {
                    let kids = keys.kids().map(|kid| shown_kid(kid.unwrap_or("(none)")));
                    self.outcomes.push(Outcome::Disagreement {
                        kids: kids.take(SHOWN_KIDS).collect(),
                        keys: keys.kids().count(),
                    });
                }
                Some(Finding::Withdrawal) => withdraws = true,
                None => {}
            }
        }
        let next = schedule.next_fetch(self.wish(), &self.terms, self.jitter).at;
        for outcome in &mut self.outcomes {
            if let Outcome::Failed { retry_in, .. } = outcome {
                *retry_in = next.saturating_since(now);
            }
        }
        withdraws
    }

    /// Adds to a draft the fetches that begin once it is written.
    fn plan(&mut self, schedule: &mut Schedule, now: Timestamp) -> Vec<Claim> {
        let next = schedule.next_fetch(self.wish(), &self.terms, self.jitter);
        if now < next.at {
            return Vec::new();
        }
        self.jitter = self.chance.f64();
        let ids: Vec<_> = (0..next.fetches).map(|_| FetchId(self.chance.u64(..))).collect();
        schedule.claim(&ids, next.is_search, &self.terms, now)
    }
}

/// Identifies a set, whatever the order of its keys.
fn fingerprint(set: &[VerifyingKey]) -> u64 {
    set.iter().map(VerifyingKey::fingerprint).fold(0, u64::wrapping_add)
}

/// How often a VM reads the shared data while requests wait or a search runs.
const SHARED_POLL: Duration = Duration::from_millis(20);
/// How often it does so while only another VM's fetch is in flight.
const ELSEWHERE_POLL: Duration = Duration::from_millis(200);
/// How often a VM without keys does so.
const NEWS_POLL: Duration = Duration::from_millis(500);
/// How long a search goes on after the last request for the key.
const INTEREST: Duration = Duration::from_secs(15);
const SHOWN_KIDS: usize = 8;
/// The most skipped keys that are logged for one issuer.
const MAX_TOLD: usize = 1024;
/// How often a write is retried; it fails only when another VM was faster.
const MAX_CONTENTION: u32 = 100;
