//! All pods share a key and rotate it, in the order of docs/rotating-keys.md or at once.

use crate::keys::Key;
use crate::proxy::CACHE_DURATION;
use crate::story::{GIVEN_UP, LEAD, Outstanding, SECOND, Telling, WATCHED};
use std::time::Duration;

impl Telling {
    /// No token is refused: each key is published before it signs, and as long as its tokens live.
    pub(crate) fn rotate_in_order(&mut self) {
        let (old, new) = (Key(0), self.new_key());
        self.roll_out(&[old, new]);
        self.rest(CACHE_DURATION);

        self.watch(LEAD);
        self.outstanding = Some(Outstanding::Good(old));
        self.roll_out(&[new, old]);
        self.watch(WATCHED);
        let lifetime = SECOND * self.proxy.chance().u32(60..3600);
        self.rest(lifetime + CLOCK_SKEW);

        self.watch(LEAD);
        self.outstanding = None;
        self.roll_out(&[new]);
        self.watch(WATCHED);
        self.rest(CACHE_DURATION);
    }

    /// Tokens of the new key are good at once, and those of the old one for as long as a proxy
    /// trusts it yet: until `cacheDuration` after it saw it last.
    pub(crate) fn rotate_at_once(&mut self) {
        let (old, new) = (Key(0), self.new_key());
        self.outstanding = Some(Outstanding::GivenUp(old));
        let first = self.proxy.now();
        self.roll_out(&[new]);
        let last = self.proxy.now();
        self.watch(WATCHED);
        self.rest(CACHE_DURATION + 2 * WATCHED);

        // It may have seen it last as long ago as a refresh is due.
        let good_until = first + CACHE_DURATION.mul_f64(0.1) - SECOND;
        let refused_from = last + CACHE_DURATION;
        let mut refused = 0;
        for (tag, outcome) in self.proxy.outcomes().iter().filter(|(tag, _)| *tag >= GIVEN_UP) {
            let sent_at = Duration::from_millis(tag - GIVEN_UP);
            let is_good = outcome.code == "allowed";
            assert!(is_good || sent_at >= good_until, "{} at {sent_at:?}", outcome.code);
            assert!(!is_good || sent_at < refused_from, "allowed at {sent_at:?}");
            refused += usize::from(!is_good);
        }
        assert!(refused > 0, "no token of the old key came after its time");
    }

    /// All pods restart with these keys, one after the other.
    fn roll_out(&mut self, keys: &[Key]) {
        let gap = self.any_gap();
        for pod in 0..self.pods() {
            if pod > 0 {
                self.watch(gap);
            }
            self.proxy.issuer().restart(pod, keys);
        }
    }
}

/// The default.
const CLOCK_SKEW: Duration = Duration::from_secs(120);
