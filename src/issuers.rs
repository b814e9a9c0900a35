//! The issuers of every provider, each with keys of its own.
//!
//! A provider has one issuer, or with a template one for each tenant whose tokens come. A token can
//! name any tenant that the configuration allows, so a new tenant is kept apart until a key of its
//! own has verified a token. Until then it displaces no other that is proved, fetches only while
//! requests wait for it, and writes no shared data, which nobody could remove again.

use crate::config::{Config, Provider};
use crate::jwks::{self, SEARCHES_PER_COOLDOWN, SHARED_DATA_VERSION};
use crate::per_provider::{PerProvider, ProviderId};
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
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
    admission: Admission,
    /// Whether it was told that tenants in use had to give way.
    has_told_crowd: bool,
}

/// An issuer and its keys.
pub(crate) struct Issuer {
    tenant: Rc<str>,
    pub(crate) keys: jwks::Cache,
    /// The name of its entry in the shared data.
    pub(crate) shared_name: Rc<str>,
    /// Whether it is no invention of a client's: a key of its has verified a token.
    is_proved: bool,
    /// When it was last used, in [`OfProvider::uses`].
    used: u64,
}

/// The rate at which new tenants are taken in: each costs fetches.
struct Admission {
    spent: f64,
    at: Timestamp,
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
            admission: Admission { spent: 0.0, at: now },
            has_told_crowd: false,
        });
        let mut issuers = Self { of, chance, wait };
        for (id, provider) in config.providers.iter() {
            if provider.tenants.is_none() {
                issuers.add(id, None, now);
            }
        }
        issuers
    }

    /// The issuer of a token that names this tenant, if any; `None` if it cannot be taken in now.
    pub(crate) fn of_token(
        &mut self,
        provider: ProviderId,
        tenant: Option<&str>,
        now: Timestamp,
    ) -> Option<IssuerId> {
        let of = &mut self.of[provider];
        of.uses = of.uses.saturating_add(1);
        if let Some(number) = of.numbers.get(tenant.unwrap_or_default()).copied() {
            if let Some(issuer) = of.issuers.get_mut(&number) {
                issuer.used = of.uses;
            }
            return Some(IssuerId { provider, number });
        }
        let is_admitted = of.make_room() && of.admit(now);
        is_admitted.then(|| self.add(provider, tenant, now))
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
            is_proved: tenant.is_none(),
            used: of.uses,
        };
        let number = of.next_number;
        of.next_number = of.next_number.wrapping_add(1);
        of.numbers.insert(Rc::clone(&issuer.tenant), number);
        of.issuers.insert(number, issuer);
        IssuerId { provider, number }
    }

    /// Records that a key of the issuer has verified a token. Returns whether that makes a tenant
    /// in use give way, for the first time.
    pub(crate) fn prove(&mut self, IssuerId { provider, number }: IssuerId) -> bool {
        let of = &mut self.of[provider];
        match of.issuers.get_mut(&number) {
            Some(issuer) if !issuer.is_proved => issuer.is_proved = true,
            _ => return false,
        }
        of.admission.spent = 0.0;
        let proved = of.count(true);
        proved > of.most()
            && of.displace(true, Some(number))
            && !std::mem::replace(&mut of.has_told_crowd, true)
    }

    pub(crate) fn get(&self, id: IssuerId) -> Option<(&Rc<Provider>, &Issuer)> {
        let of = &self.of[id.provider];
        Some((&of.provider, of.issuers.get(&id.number)?))
    }

    pub(crate) fn get_mut(&mut self, id: IssuerId) -> Option<&mut Issuer> {
        self.of[id.provider].issuers.get_mut(&id.number)
    }

    /// The issuers that may have something to do.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Issuer> {
        let all = self.of.values().flat_map(|of| of.issuers.iter());
        all.map(|(_, issuer)| issuer).filter(|issuer| issuer.is_active())
    }

    /// The same, mutably.
    pub(crate) fn active_mut(&mut self) -> impl Iterator<Item = (IssuerId, &mut Issuer)> {
        self.all_mut().filter(|(_, issuer)| issuer.is_active())
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = (IssuerId, &mut Issuer)> {
        self.of.iter_mut().flat_map(|(provider, of)| {
            let id = move |number: &u32| IssuerId { provider, number: *number };
            of.issuers.iter_mut().map(move |(number, issuer)| (id(number), issuer))
        })
    }

    /// The number of trusted keys of all issuers of a provider.
    pub(crate) fn trusted_keys(&self, provider: ProviderId, now: Timestamp) -> usize {
        self.of[provider].issuers.iter().map(|(_, issuer)| issuer.keys.len(now)).sum()
    }

    /// Keeps the rate of admissions as it was when the clock steps back.
    pub(crate) fn clock_stepped_back(&mut self, by: Duration, now: Timestamp) {
        for (_, of) in self.of.iter_mut() {
            of.admission.at = of.admission.at.saturating_sub(by);
            for issuer in of.issuers.values_mut() {
                issuer.keys.clock_stepped_back(by, now);
            }
        }
    }
}

impl Issuer {
    pub(crate) fn is_proved(&self) -> bool {
        self.is_proved
    }

    fn is_active(&self) -> bool {
        self.is_proved || self.keys.has_waiting()
    }
}

impl OfProvider {
    fn most(&self) -> usize {
        self.provider.tenants.as_ref().map_or(1, |tenants| tenants.most)
    }

    fn count(&self, proved: bool) -> usize {
        self.issuers.iter().filter(|(_, issuer)| issuer.is_proved == proved).count()
    }

    /// Makes room for a tenant that is not proved.
    fn make_room(&mut self) -> bool {
        self.count(false) < self.most() || self.displace(false, None)
    }

    /// Drops the least recently used tenant of those that are proved, or are not, and for which no
    /// request waits.
    fn displace(&mut self, proved: bool, except: Option<u32>) -> bool {
        let may_go = |(number, issuer): &&(u32, Issuer)| {
            issuer.is_proved == proved && Some(*number) != except && !issuer.keys.has_waiting()
        };
        let oldest = self.issuers.iter().filter(may_go).min_by_key(|(_, issuer)| issuer.used);
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        let dropped = self.issuers.remove(&number);
        dropped.is_some_and(|issuer| self.numbers.remove(&*issuer.tenant).is_some())
    }

    /// Whether a new tenant may cause fetches now: a burst of as many as are kept, and then as many
    /// as fetches for missing keys. One that is proved makes room for a whole burst, since no
    /// client can invent it.
    fn admit(&mut self, now: Timestamp) -> bool {
        let per_second = self.provider.remote_jwks().map_or(0.0, |jwks| {
            f64::from(SEARCHES_PER_COOLDOWN) / jwks.refetch_cooldown.as_secs_f64().max(f64::EPSILON)
        });
        let Admission { spent, at } = self.admission;
        let regained = now.saturating_since(at).as_secs_f64() * per_second;
        let spent = (spent - regained).max(0.0) + 1.0;
        let burst = u32::try_from(self.most()).unwrap_or(u32::MAX);
        let is_admitted = spent <= f64::from(burst);
        if is_admitted {
            self.admission = Admission { spent, at: now };
        }
        is_admitted
    }
}
