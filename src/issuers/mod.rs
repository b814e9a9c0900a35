//! The issuers of every provider, each with keys of its own.
//!
//! A provider has one issuer, or with a template one for each tenant whose tokens come. A token can
//! name any tenant that the configuration allows, so a new tenant is kept apart until a key of its
//! own has verified a token. Until then it displaces no other that is proved, fetches only while
//! requests wait for it, and writes no shared data, which nobody could remove again.

mod allowance;

use crate::config::{Config, Provider};
use crate::jwks::{self, SHARED_DATA_VERSION, Step};
use crate::per_provider::{PerProvider, ProviderId};
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use allowance::Allowance;
use std::rc::Rc;
use std::time::Duration;

/// Identifies an issuer of an engine; never used again for another.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct IssuerId {
    provider: ProviderId,
    number: u32,
}

impl IssuerId {
    /// The provider that the issuer belongs to.
    #[must_use]
    pub fn provider(self) -> ProviderId {
        self.provider
    }
}

/// All issuers whose keys are kept.
pub(crate) struct Issuers {
    of: PerProvider<OfProvider>,
    chance: fastrand::Rng,
    /// `jwksWaitTimeout`.
    wait: Duration,
}

struct OfProvider {
    provider: Rc<Provider>,
    /// By number.
    issuers: SortedMap<u32, Issuer>,
    /// The numbers by tenant; the tenant of a single issuer is empty.
    numbers: SortedMap<Rc<str>, u32>,
    next_number: u32,
    /// Counts the uses of all issuers.
    uses: u64,
    /// What clients may cause at the service of a template's tenants.
    allowance: Allowance,
    /// Whether it was told that tenants in use had to give way.
    has_told_crowd: bool,
    /// When it was last told that a tenant that is not proved has no keys.
    told_at: Option<Timestamp>,
}

/// An issuer and its keys.
pub(crate) struct Issuer {
    tenant: Rc<str>,
    pub(crate) keys: jwks::Cache,
    /// The name of its entry in the shared data.
    pub(crate) shared_name: Rc<str>,
    standing: Standing,
    /// When it was last used, in [`OfProvider::uses`] and by the clock.
    used: u64,
    used_at: Timestamp,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// The only one of its provider.
    Sole,
    /// A tenant that a token named. Its keys may be in the shared data.
    Named,
    /// They are not, and it may fetch them.
    Admitted,
    /// It is no invention of a client's: a key of its has verified a token, here or in another VM.
    Proved,
}

/// What an issuer needs next.
pub(crate) enum Polled {
    Step(Step),
    /// To go on without shared data.
    Unshared,
    /// To go: it may not fetch now.
    Refused,
}

impl Issuers {
    pub(crate) fn new(config: &Config, seed: u64, now: Timestamp) -> Self {
        let (chance, wait) = (fastrand::Rng::with_seed(seed), config.jwks_wait_timeout);
        let of = config.providers.map(|_, provider| OfProvider {
            provider: Rc::clone(provider),
            issuers: SortedMap::new(),
            numbers: SortedMap::new(),
            next_number: 0,
            uses: 0,
            allowance: Allowance::new(provider, now),
            has_told_crowd: false,
            told_at: None,
        });
        let mut issuers = Self { of, chance, wait };
        for (id, provider) in config.providers.iter() {
            if provider.tenants.is_none() {
                issuers.add(id, None, now);
            }
        }
        issuers
    }

    /// The issuer of a token that names this tenant, if any; `None` if there is no room for it.
    pub(crate) fn of_token(
        &mut self,
        provider: ProviderId,
        tenant: Option<&str>,
        now: Timestamp,
    ) -> Option<IssuerId> {
        let of = &mut self.of[provider];
        if let Some(number) = of.numbers.get(tenant.unwrap_or_default()).copied() {
            of.use_by_anyone(number);
            return Some(IssuerId { provider, number });
        }
        of.make_room(Standing::Named).then(|| self.add(provider, tenant, now))
    }

    fn add(&mut self, provider: ProviderId, tenant: Option<&str>, now: Timestamp) -> IssuerId {
        let seed = self.chance.u64(..);
        let of = &mut self.of[provider];
        let of_tenant = tenant.map(|tenant| of.provider.keys.of_tenant(tenant));
        let source = of_tenant.as_ref().unwrap_or(&of.provider.keys);
        let name = source.remote().map(|jwks| format!("{SHARED_DATA_VERSION} {}", jwks.identity()));
        let issuer = Issuer {
            tenant: tenant.unwrap_or_default().into(),
            keys: jwks::Cache::new(source, self.wait, seed, now),
            shared_name: name.unwrap_or_default().into(),
            standing: if tenant.is_none() { Standing::Sole } else { Standing::Named },
            used: of.uses,
            used_at: now,
        };
        let number = of.next_number;
        of.next_number = of.next_number.wrapping_add(1);
        of.numbers.insert(Rc::clone(&issuer.tenant), number);
        of.issuers.insert(number, issuer);
        IssuerId { provider, number }
    }

    /// Records that a key of the issuer has verified a token. Returns whether that makes a tenant
    /// in use give way, for the first time.
    pub(crate) fn verified(&mut self, id: IssuerId, now: Timestamp) -> bool {
        let of = &mut self.of[id.provider];
        of.uses = of.uses.saturating_add(1);
        let uses = of.uses;
        let Some(issuer) = of.issuers.get_mut(&id.number) else { return false };
        (issuer.used, issuer.used_at) = (uses, now);
        if issuer.is_proved() {
            return false;
        }
        of.allowance.refill();
        self.prove(id)
    }

    /// Records that a proved issuer has a new key, which no client can make: others may look for
    /// theirs.
    pub(crate) fn handle_new_key(&mut self, provider: ProviderId) {
        self.of[provider].allowance.refill();
    }

    /// Records that the issuer's keys were in the shared data, if they were: only a VM that has
    /// proved it writes them there.
    pub(crate) fn learned(&mut self, id: IssuerId, now: Timestamp) -> bool {
        let is_shared = self.get(id).is_some_and(|(_, issuer)| {
            issuer.standing == Standing::Named && issuer.keys.len(now) > 0
        });
        is_shared && self.prove(id)
    }

    fn prove(&mut self, IssuerId { provider, number }: IssuerId) -> bool {
        let of = &mut self.of[provider];
        if let Some(issuer) = of.issuers.get_mut(&number) {
            issuer.standing = Standing::Proved;
        }
        let mut is_crowded = false;
        while of.count(Standing::Proved) > of.most() && of.displace(Standing::Proved, Some(number))
        {
            is_crowded = true;
        }
        is_crowded && !std::mem::replace(&mut of.has_told_crowd, true)
    }

    /// Drops a tenant that nothing waits for any more.
    pub(crate) fn remove(&mut self, IssuerId { provider, number }: IssuerId) {
        self.of[provider].remove(number);
    }

    pub(crate) fn get(&self, id: IssuerId) -> Option<(&Rc<Provider>, &Issuer)> {
        let of = &self.of[id.provider];
        Some((&of.provider, of.issuers.get(&id.number)?))
    }

    pub(crate) fn get_mut(&mut self, id: IssuerId) -> Option<&mut Issuer> {
        self.of[id.provider].issuers.get_mut(&id.number)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Issuer> {
        self.of.iter_mut().flat_map(|(_, of)| of.issuers.values_mut())
    }

    /// What any of them needs next.
    pub(crate) fn poll(&mut self, now: Timestamp) -> Option<(IssuerId, Polled)> {
        self.of.iter_mut().find_map(|(provider, of)| {
            let (number, polled) = of.poll(now)?;
            Some((IssuerId { provider, number }, polled))
        })
    }

    /// When any of them needs something next, and why.
    pub(crate) fn next_timeout(&self, now: Timestamp) -> Option<(Timestamp, &'static str)> {
        let of_each = self.of.values().flat_map(|of| {
            let active = of.issuers.iter().map(|(_, issuer)| issuer);
            let active = active.filter(move |issuer| issuer.is_active(&of.provider, now));
            active.filter_map(move |issuer| issuer.keys.next_timeout(now))
        });
        of_each.min()
    }

    /// Whether it is time to tell that a tenant that is not proved has no keys.
    pub(crate) fn may_tell(&mut self, provider: ProviderId, now: Timestamp) -> bool {
        let told_at = &mut self.of[provider].told_at;
        let may_tell = told_at.is_none_or(|told_at| now >= told_at.saturating_add(TOLD_EVERY));
        if may_tell {
            *told_at = Some(now);
        }
        may_tell
    }

    /// The number of trusted keys of all issuers of a provider.
    pub(crate) fn trusted_keys(&self, provider: ProviderId, now: Timestamp) -> usize {
        self.of[provider].issuers.iter().map(|(_, issuer)| issuer.keys.len(now)).sum()
    }

    /// When a fetch last brought keys of a provider, whichever tenant's; [`Timestamp::EPOCH`] if none
    /// did.
    pub(crate) fn fetched_at(&self, provider: ProviderId) -> Timestamp {
        let times = self.of[provider].issuers.iter().map(|(_, issuer)| issuer.keys.fetched_at());
        times.fold(Timestamp::EPOCH, Timestamp::max)
    }

    /// Keeps everything as far away as it was when the clock steps back.
    pub(crate) fn clock_stepped_back(&mut self, by: Duration, now: Timestamp) {
        for (_, of) in self.of.iter_mut() {
            of.allowance.clock_stepped_back(by);
            of.told_at = of.told_at.map(|told_at| told_at.saturating_sub(by));
            for issuer in of.issuers.values_mut() {
                issuer.used_at = issuer.used_at.saturating_sub(by);
                issuer.keys.clock_stepped_back(by, now);
            }
        }
    }
}

impl Issuer {
    pub(crate) fn is_proved(&self) -> bool {
        matches!(self.standing, Standing::Proved | Standing::Sole)
    }

    /// Whether it may have something to do. The keys of a tenant that nobody uses are not refreshed.
    fn is_active(&self, provider: &Provider, now: Timestamp) -> bool {
        let is_kept = || match self.standing {
            Standing::Sole => true,
            Standing::Named | Standing::Admitted => false,
            Standing::Proved => provider.remote_jwks().is_some_and(|jwks| {
                let lifetime = jwks.cache_duration.saturating_add(jwks.stale_duration);
                now < self.used_at.saturating_add(lifetime)
            }),
        };
        self.keys.has_waiting() || is_kept()
    }
}

impl OfProvider {
    fn most(&self) -> usize {
        self.provider.tenants.as_ref().map_or(1, |tenants| tenants.most)
    }

    /// Anyone can use a tenant that is not proved, and only a good token another.
    fn use_by_anyone(&mut self, number: u32) {
        self.uses = self.uses.saturating_add(1);
        if let Some(issuer) = self.issuers.get_mut(&number)
            && !issuer.is_proved()
        {
            issuer.used = self.uses;
        }
    }

    /// Makes room for one more of this standing.
    fn make_room(&mut self, standing: Standing) -> bool {
        let most = match standing {
            Standing::Named => self.most().max(MAX_NAMED),
            Standing::Admitted | Standing::Proved | Standing::Sole => self.most(),
        };
        self.count(standing) < most || self.displace(standing, None)
    }

    fn count(&self, standing: Standing) -> usize {
        self.issuers.iter().filter(|(_, issuer)| issuer.standing == standing).count()
    }

    /// Drops the least recently used tenant of this standing for which no request waits.
    fn displace(&mut self, standing: Standing, except: Option<u32>) -> bool {
        let may_go = |(number, issuer): &&(u32, Issuer)| {
            issuer.standing == standing && Some(*number) != except && !issuer.keys.has_waiting()
        };
        let oldest = self.issuers.iter().filter(may_go).min_by_key(|(_, issuer)| issuer.used);
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        self.remove(number);
        true
    }

    fn remove(&mut self, number: u32) {
        if let Some(issuer) = self.issuers.remove(&number) {
            self.numbers.remove(&*issuer.tenant);
        }
    }

    fn poll(&mut self, now: Timestamp) -> Option<(u32, Polled)> {
        let may_admit = self.make_room(Standing::Admitted);
        self.issuers.iter_mut().find_map(|(number, issuer)| {
            if !issuer.is_active(&self.provider, now) {
                return None;
            }
            issuer.keys.allow_searches(self.allowance.is_left(now));
            // A request that was just judged may need a fetch at once.
            issuer.keys.handle_timeout(now);
            let step = issuer.keys.poll_step(now)?;
            let polled = match (step, issuer.standing) {
                (Step::Write { .. }, Standing::Named)
                    if !may_admit || !self.allowance.is_left(now) =>
                {
                    Polled::Refused
                }
                (Step::Write { .. }, Standing::Named | Standing::Admitted) => {
                    issuer.standing = Standing::Admitted;
                    Polled::Unshared
                }
                (step, standing) => {
                    if let Step::Call { is_search, .. } = step
                        && (is_search || standing == Standing::Admitted)
                    {
                        self.allowance.charge(now);
                    }
                    Polled::Step(step)
                }
            };
            Some((*number, polled))
        })
    }
}

/// The most tenants whose shared data is about to be read. They stay for the blink of an eye, and as
/// many may come in that as requests may wait.
const MAX_NAMED: usize = 1000;
/// How often it is told that tenants that are not proved have no keys: clients invent tenants.
const TOLD_EVERY: Duration = Duration::from_mins(1);
