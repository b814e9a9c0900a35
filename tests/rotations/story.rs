//! What happens to an issuer's pods while good requests come, and junk beside them.

use crate::issuer::{Balancer, Health, IssuerPods};
use crate::keys::{Key, Naming, junk};
use crate::proxy::{ISSUER, OTHER_ISSUER, Outcome, Proxy};
use std::time::Duration;

/// One row of the table; what it leaves open is drawn for each seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Story {
    pub(crate) event: Event,
    pub(crate) balancer: Balancer,
    pub(crate) pods: u32,
    pub(crate) junk: Junk,
    pub(crate) health: Health,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    /// A proxy starts, and the tokens of all pods are used at once.
    ColdStart,
    /// One pod restarts with a key of its own.
    RestartOfOne,
    /// All pods do, one after the other.
    RollingRestart,
    /// One pod comes, and another goes.
    Scaling,
    /// All pods share a key, and rotate it in the order of docs/rotating-keys.md.
    SharedKeyInOrder,
    /// They do it at once: the old key goes with the first tokens of the new one.
    SharedKeyAtOnce,
}

impl Event {
    pub(crate) fn is_of_shared_key(self) -> bool {
        matches!(self, Self::SharedKeyInOrder | Self::SharedKeyAtOnce)
    }
}

/// What somebody sends meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Junk {
    Nothing,
    /// A bad signature under a known `kid`, every so many seconds.
    BadSignature {
        every: u64,
    },
    /// Made-up `kid`s, so many in a second.
    Kids {
        per_second: u64,
    },
    /// Bad signatures under the `kid` of the new key, so many in a second.
    NewKid {
        per_second: u64,
    },
    /// Requests that wait for an issuer that hangs, of another provider.
    Elsewhere {
        requests: u32,
    },
}

/// What one seed showed.
pub(crate) struct Shown {
    /// Of good requests.
    pub(crate) outcomes: Vec<Outcome>,
    /// In the time in which new keys are used.
    pub(crate) fetches: usize,
    pub(crate) time: Duration,
    /// The most in any minute.
    pub(crate) peak: usize,
}

/// Tags of requests: of forgeries, of good ones, and of those that are good until their key is given
/// up; the latter tell when they were sent, in milliseconds.
const BAD: u64 = 0;
const GOOD: u64 = 1;
pub(crate) const GIVEN_UP: u64 = 2;
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// All probes after the start are over by then.
const WARM: Duration = Duration::from_secs(26);
/// For how long junk comes before the first new key.
pub(crate) const LEAD: Duration = Duration::from_secs(10);
/// For how long each new key is watched.
pub(crate) const WATCHED: Duration = Duration::from_secs(8);
/// [`Telling::pause`], where something happens.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
const LONG_PAUSE: Duration = Duration::from_secs(3);

impl Story {
    pub(crate) fn tell(self, seed: u64) -> Shown {
        Telling::begin(self, seed).tell()
    }
}

pub(crate) struct Telling {
    story: Story,
    naming: Naming,
    pub(crate) proxy: Proxy,
    next_key: u32,
    junk_sent: u32,
    junk_at: Option<Duration>,
    requests_at: Duration,
    /// Between good requests of one key.
    pub(crate) pause: Duration,
    /// A key that signs no more, but whose tokens are still about.
    pub(crate) outstanding: Option<Outstanding>,
}

/// What becomes of the tokens of such a key.
#[derive(Clone, Copy)]
pub(crate) enum Outstanding {
    /// They are good.
    Good(Key),
    /// They are good until their key is given up.
    GivenUp(Key),
}

impl Telling {
    fn begin(story: Story, seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let naming = match story.junk {
            Junk::BadSignature { .. } => Naming::SharedKid,
            Junk::NewKid { .. } => Naming::OwnKids,
            _ => [Naming::NoKid, Naming::OwnKids, Naming::SharedKid][chance.usize(..3)],
        };
        let workers = [1, 2, 4][chance.usize(..3)];
        let keys =
            (0..story.pods).map(|pod| Key(if story.event.is_of_shared_key() { 0 } else { pod }));
        let Story { balancer, health, .. } = story;
        let issuer = IssuerPods::new(naming, balancer, health, keys, workers, &mut chance);
        let wait = if matches!(story.junk, Junk::Elsewhere { .. }) { "5s" } else { "3s" };
        Self {
            story,
            naming,
            proxy: Proxy::start(issuer, workers, wait, seed),
            next_key: story.pods,
            junk_sent: 0,
            junk_at: None,
            requests_at: Duration::ZERO,
            pause: PAUSE,
            outstanding: None,
        }
    }

    fn tell(mut self) -> Shown {
        if self.story.event == Event::ColdStart {
            self.watch(WATCHED);
            return self.end(Duration::ZERO);
        }
        self.proxy.run_until(WARM);
        self.requests_at = WARM;
        self.begin_junk();
        self.watch(LEAD);
        let from = self.proxy.now();
        match self.story.event {
            Event::ColdStart => {}
            Event::RestartOfOne => {
                let pod = self.any_pod();
                let key = self.new_key();
                self.proxy.issuer().restart(pod, &[key]);
            }
            Event::RollingRestart => {
                let gap = self.any_gap();
                for pod in 0..self.pods() {
                    if pod > 0 {
                        self.watch(gap);
                    }
                    let key = self.new_key();
                    self.proxy.issuer().restart(pod, &[key]);
                }
            }
            Event::Scaling => {
                let key = self.new_key();
                self.proxy.issuer().add(key);
                self.watch(WATCHED);
                let pod = self.any_pod();
                self.proxy.issuer().remove(pod);
            }
            Event::SharedKeyInOrder => self.rotate_in_order(),
            Event::SharedKeyAtOnce => self.rotate_at_once(),
        }
        self.watch(WATCHED);
        self.end(from)
    }

    fn end(mut self, from: Duration) -> Shown {
        let now = self.proxy.now();
        self.proxy.issuer().recover();
        self.proxy.run_until(now + 6 * SECOND);
        assert_eq!(self.proxy.waiting(), 0, "requests that nobody has answered");
        for (tag, outcome) in self.proxy.outcomes() {
            assert!(*tag != BAD || outcome.code != "allowed", "junk was allowed");
        }
        let good = self.proxy.outcomes().iter().filter(|(tag, _)| *tag == GOOD);
        let fetched_at = self.proxy.fetched_at();
        let within = |begin: Duration, end: Duration| {
            fetched_at.iter().filter(|at| (begin..end).contains(at)).count()
        };
        Shown {
            outcomes: good.map(|(_, outcome)| *outcome).collect(),
            fetches: within(from, now),
            time: now - from,
            peak: fetched_at.iter().map(|at| within(*at, *at + 60 * SECOND)).max().unwrap_or(0),
        }
    }

    /// Between the restarts of a rolling one: from 1 to 30 seconds, and mostly short.
    pub(crate) fn any_gap(&mut self) -> Duration {
        SECOND.mul_f64(1.0 + 29.0 * self.proxy.chance().f64().powi(3))
    }

    pub(crate) fn pods(&mut self) -> usize {
        self.proxy.issuer().keys().len()
    }

    fn any_pod(&mut self) -> usize {
        let pods = self.pods();
        self.proxy.chance().usize(..pods)
    }

    pub(crate) fn new_key(&mut self) -> Key {
        self.next_key += 1;
        Key(self.next_key - 1)
    }

    /// Lets so much time pass with few requests.
    pub(crate) fn rest(&mut self, duration: Duration) {
        let junk_at = self.junk_at.take();
        self.pause = LONG_PAUSE;
        self.watch(duration);
        self.pause = PAUSE;
        self.junk_at = junk_at.map(|_| self.proxy.now());
    }

    fn begin_junk(&mut self) {
        self.junk_at = Some(self.proxy.now());
        if let Junk::Elsewhere { requests } = self.story.junk {
            self.proxy.hang();
            for number in 0..requests {
                self.proxy.send(&junk(number, OTHER_ISSUER), BAD);
            }
        }
    }

    /// Sends good requests with every key that a pod has, and junk, for so long.
    pub(crate) fn watch(&mut self, duration: Duration) {
        let end = self.proxy.now() + duration;
        self.requests_at = self.requests_at.max(self.proxy.now());
        loop {
            let next = self.junk_at.map_or(self.requests_at, |junk| junk.min(self.requests_at));
            if next > end {
                break;
            }
            self.proxy.run_until(next);
            if self.requests_at <= next {
                self.send_good();
            } else {
                self.send_junk();
            }
        }
        self.proxy.run_until(end);
    }

    fn send_good(&mut self) {
        let signing = self.proxy.issuer().keys();
        for key in &signing {
            self.proxy.send(&self.naming.token(*key, ISSUER), GOOD);
        }
        match self.outstanding {
            Some(Outstanding::Good(key)) => self.proxy.send(&self.naming.token(key, ISSUER), GOOD),
            Some(Outstanding::GivenUp(key)) => {
                let sent_at = u64::try_from(self.proxy.now().as_millis()).expect("not for long");
                self.proxy.send(&self.naming.token(key, ISSUER), GIVEN_UP + sent_at);
            }
            None => {}
        }
        self.requests_at += self.pause;
    }

    fn send_junk(&mut self) {
        self.junk_sent += 1;
        let number = self.junk_sent;
        let (token, pause) = match self.story.junk {
            Junk::Nothing => {
                self.junk_at = None;
                return;
            }
            Junk::BadSignature { every } => {
                let key = self.proxy.issuer().keys()[0];
                (
                    self.naming.forgery(key, number, ISSUER),
                    SECOND * u32::try_from(every).expect("few"),
                )
            }
            Junk::Kids { per_second } => (junk(number, ISSUER), SECOND.div_f64(per_second as f64)),
            Junk::NewKid { per_second } => {
                let key = Key(self.next_key.max(self.story.pods + 1) - 1);
                (self.naming.forgery(key, number, ISSUER), SECOND.div_f64(per_second as f64))
            }
            Junk::Elsewhere { .. } => (junk(1_000_000 + number, OTHER_ISSUER), PAUSE),
        };
        self.proxy.send(&token, BAD);
        self.junk_at = self.junk_at.map(|at| at + pause);
    }
}
