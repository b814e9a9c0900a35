//! The cache of verified tokens, which saves checking the signature of a repeated token again.
//!
//! It remembers the signature check only. The caller still checks times, audience and rule, and
//! that the key is still trusted.

use crate::authn::Authenticated;
use crate::sorted_map::SortedMap;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;

/// A bounded number of verified tokens, in a bounded amount of memory.
///
/// While there is room, every token is admitted. A full cache admits a token only when it soon
/// comes a second time, and evicts only entries that were not used for a whole round. So tokens
/// that come once cost next to nothing, and cannot displace those in use.
pub(crate) struct TokenCache {
    max_entries: usize,
    /// An estimate.
    max_bytes: usize,
    seed: u64,
    entries: SortedMap<Fingerprint, Entry>,
    /// The order in which entries are considered for eviction.
    round: VecDeque<Fingerprint>,
    bytes: usize,
    /// The tokens that were lately not admitted, hashed into slots: a newer one overwrites the
    /// older.
    turned_away: Vec<Fingerprint>,
}

struct Entry {
    token: Rc<Authenticated>,
    bytes: usize,
    /// Whether it was used since it was last considered for eviction.
    is_used: bool,
}

/// The lookup key of a token: a keyed hash of the end of its signature, whose value nobody can
/// choose. Only who knows the signature hits an entry, so the time of a comparison reveals nothing.
type Fingerprint = u64;

impl TokenCache {
    /// `seed` makes the fingerprints differ from those of other caches; 0 entries switch the cache
    /// off.
    pub(crate) fn new(max_entries: usize, seed: u64) -> Self {
        Self {
            max_entries,
            max_bytes: MAX_BYTES,
            seed,
            entries: SortedMap::new(),
            round: VecDeque::new(),
            bytes: 0,
            turned_away: vec![0; max_entries.min(MAX_TURNED_AWAY)],
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.max_entries > 0
    }

    /// The verified token with exactly this text.
    pub(crate) fn find(&mut self, text: &[u8]) -> Option<Rc<Authenticated>> {
        if !self.is_on() {
            return None;
        }
        let entry = self.entries.get_mut(&fingerprint(self.seed, text))?;
        if entry.token.text().as_bytes() != text {
            return None;
        }
        entry.is_used = true;
        Some(Rc::clone(&entry.token))
    }

    /// Offers a token that was just verified; the cache may decline it.
    pub(crate) fn offer(&mut self, token: &Rc<Authenticated>) {
        if !self.is_on() {
            return;
        }
        let fingerprint = fingerprint(self.seed, token.text().as_bytes());
        let bytes = token.size().saturating_add(ENTRY_BYTES);
        let is_welcome =
            self.has_room(bytes) || (self.comes_again(fingerprint) && self.make_room(bytes));
        if !is_welcome {
            return;
        }
        let entry = Entry { token: Rc::clone(token), bytes, is_used: false };
        self.bytes = self.bytes.saturating_add(bytes);
        match self.entries.insert(fingerprint, entry) {
            Some(old) => self.bytes = self.bytes.saturating_sub(old.bytes),
            None => self.round.push_back(fingerprint),
        }
    }

    /// Drops a token whose key is no longer trusted.
    pub(crate) fn forget(&mut self, token: &Authenticated) {
        let fingerprint = fingerprint(self.seed, token.text().as_bytes());
        if let Some(entry) = self.entries.remove(&fingerprint) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.round.retain(|other| *other != fingerprint);
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.entries.len() < self.max_entries && self.bytes.saturating_add(bytes) <= self.max_bytes
    }

    /// Whether this one was lately not admitted; records that it came.
    fn comes_again(&mut self, fingerprint: Fingerprint) -> bool {
        let places = u64::try_from(self.turned_away.len()).unwrap_or(u64::MAX);
        let place = fingerprint.checked_rem(places).and_then(|place| usize::try_from(place).ok());
        place
            .and_then(|place| self.turned_away.get_mut(place))
            .is_some_and(|last| std::mem::replace(last, fingerprint) == fingerprint)
    }

    /// Evicts entries that were not used since they were last considered.
    fn make_room(&mut self, bytes: usize) -> bool {
        // Consider no entry twice.
        for _ in 0..MAX_LOOKS.min(self.round.len()) {
            let Some(fingerprint) = self.round.pop_front() else { break };
            match self.entries.get_mut(&fingerprint) {
                Some(entry) if entry.is_used => {
                    entry.is_used = false;
                    self.round.push_back(fingerprint);
                }
                _ => {
                    let gone = self.entries.remove(&fingerprint).map_or(0, |entry| entry.bytes);
                    self.bytes = self.bytes.saturating_sub(gone);
                }
            }
            if self.has_room(bytes) {
                return true;
            }
        }
        false
    }
}

fn fingerprint(seed: u64, token: &[u8]) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(seed);
    hasher.write(token.last_chunk::<HASHED_BYTES>().map_or(token, |end| end));
    hasher.finish()
}

/// The most memory of all entries, by estimate.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The size of an entry besides its token.
const ENTRY_BYTES: usize = 64;
const MAX_TURNED_AWAY: usize = 1024;
/// The most entries that are considered for one token: it bounds the cost of admitting it.
const MAX_LOOKS: usize = 8;
/// 32 characters of base64url are 192 bits of the signature.
const HASHED_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::jose::{Crypto, KeySet, Token};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rsa::RsaPrivateKey;
    use rsa::pkcs1v15::SigningKey;
    use rsa::pkcs8::DecodePrivateKey as _;
    use rsa::signature::{SignatureEncoding as _, Signer as _};
    use rsa::traits::PublicKeyParts as _;

    /// Different tokens, really verified.
    fn verified<const N: usize>(filling: usize) -> [Rc<Authenticated>; N] {
        let pem = include_str!("../tests/keys/alpha.pem");
        let private = RsaPrivateKey::from_pkcs8_pem(pem).unwrap();
        let [n, e] = [private.n_bytes(), private.e_bytes()].map(|n| URL_SAFE_NO_PAD.encode(n));
        let set = format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"{e}"}}]}}"#);
        let set = KeySet::parse(set.as_bytes()).unwrap();
        let key = SigningKey::<sha2::Sha256>::new(private);
        let config = br#"{"providers":[{"issuer":"i","jwksUri":"https://i/"}]}"#;
        let config = Config::parse(config).unwrap();
        let (id, provider) = config.providers.iter().next().unwrap();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
        std::array::from_fn(|number| {
            let claims = format!(r#"{{"n":{number},"filling":"{}"}}"#, "x".repeat(filling));
            let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
            let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).to_bytes());
            let token = Token::parse(format!("{signed}.{signature}").as_bytes()).unwrap();
            let verified = token.verify(set.keys.iter(), Crypto::Module, || ()).unwrap();
            Rc::new(Authenticated::new(id, provider, verified))
        })
    }

    fn holds(cache: &TokenCache, token: &Authenticated) -> bool {
        cache.entries.get(&fingerprint(cache.seed, token.text().as_bytes())).is_some()
    }

    #[test]
    fn a_token_is_found_by_its_exact_text_only() {
        let [token] = verified(0);
        let mut cache = TokenCache::new(1, 7);
        cache.offer(&token);

        assert!(cache.find(token.text().as_bytes()).is_some());
        for index in 0..token.text().len() {
            let mut other = token.text().as_bytes().to_vec();
            other[index] ^= 1;
            assert!(cache.find(&other).is_none(), "{index}");
        }
        assert!(cache.find(&token.text().as_bytes()[1..]).is_none());
        assert!(cache.find(&[b"x", token.text().as_bytes()].concat()).is_none());
        assert!(cache.find(b"").is_none());
    }

    #[test]
    fn without_entries_it_is_off() {
        let [token] = verified(0);
        let mut cache = TokenCache::new(0, 7);

        cache.offer(&token);
        cache.offer(&token);

        assert!(!cache.is_on() && cache.find(token.text().as_bytes()).is_none());
    }

    #[test]
    fn a_full_cache_takes_only_what_comes_again_soon() {
        let [a, b, c] = verified(0);
        let mut cache = TokenCache::new(2, 7);
        cache.offer(&a);
        cache.offer(&b);

        cache.offer(&c);
        assert!(!holds(&cache, &c), "the first time");

        cache.offer(&c);
        assert!(holds(&cache, &c) && holds(&cache, &b) && !holds(&cache, &a), "the second time");
    }

    #[test]
    fn tokens_in_use_stay() {
        let tokens: [_; 24] = verified(0);
        let (in_use, others) = tokens.split_at(4);
        let mut cache = TokenCache::new(4, 7);
        for token in in_use {
            cache.offer(token);
        }

        for token in others.iter().flat_map(|token| [token, token, token]) {
            for token in in_use {
                assert!(cache.find(token.text().as_bytes()).is_some());
            }
            cache.offer(token);
        }

        assert!(in_use.iter().all(|token| holds(&cache, token)));
    }

    #[test]
    fn entries_and_bytes_are_bounded() {
        let tokens: [_; 20] = verified(1000);
        let each = tokens[0].size() + ENTRY_BYTES;
        for (max_entries, max_bytes) in [(5, usize::MAX), (20, 5 * each + 1), (3, 5 * each)] {
            let mut cache = TokenCache { max_bytes, ..TokenCache::new(max_entries, 7) };

            for token in tokens.iter().flat_map(|token| [token, token]) {
                cache.offer(token);

                assert!(cache.entries.len() <= max_entries.min(5));
                assert_eq!(cache.entries.len(), cache.round.len());
                let sum: usize =
                    cache.round.iter().map(|at| cache.entries.get(at).unwrap().bytes).sum();
                assert!(cache.bytes == sum && sum <= max_bytes);
            }
            assert!(holds(&cache, &tokens[19]));
        }
    }

    #[test]
    fn a_forgotten_token_leaves_nothing_behind() {
        let [a, b] = verified(0);
        let mut cache = TokenCache::new(1, 7);

        for token in [&a, &b, &a, &b] {
            cache.offer(token);
            assert!(cache.find(token.text().as_bytes()).is_some());
            cache.forget(token);
            cache.forget(token);
        }

        assert_eq!((cache.entries.len(), cache.round.len(), cache.bytes), (0, 0, 0));
    }

    #[test]
    fn the_estimate_of_a_token_grows_with_what_it_holds() {
        let [small] = verified(0);
        let [large] = verified(6000);

        assert!(small.size() > small.text().len());
        // The text in base64url, and the parsed claim.
        assert!(large.size() - small.size() >= 6000 * 4 / 3 + 6000);
    }
}
