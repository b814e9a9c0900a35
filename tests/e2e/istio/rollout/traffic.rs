//! Good and bad requests that never cease, and what becomes of each.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lab::connection::Connection;
use lab::http::Response;
use lab::token::{Key, Token, now};
use lab::wait;

/// What a client sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Good,
    Missing,
    Expired,
    Forged,
    OfAnotherAudience,
    /// No token, but the headers by which the filter says who is calling, secret and all.
    Impostor,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Good,
        Self::Missing,
        Self::Expired,
        Self::Forged,
        Self::OfAnotherAudience,
        Self::Impostor,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Missing => "missing",
            Self::Expired => "expired",
            Self::Forged => "forged",
            Self::OfAnotherAudience => "of another audience",
            Self::Impostor => "impostor",
        }
    }

    /// The lines of a request; those of other numbers have other tokens.
    fn headers(self, good: &Token, secret: &str, number: usize) -> String {
        let token = good.clone().claim("jti", number);
        let token = match self {
            Self::Missing => return String::new(),
            Self::Impostor => {
                return format!(
                    "X-User-Id: root\r\nX-Scopes: all\r\n\
                     X-Mesh-Jwt: verified;provider=\"main\";secret=\"{secret}\"\r\n"
                );
            }
            Self::Good => token,
            Self::Expired => token.claim("exp", now() - 3600),
            Self::Forged => token.signed_by(Key::beta()).header("kid", Key::alpha().name()),
            Self::OfAnotherAudience => token.claim("aud", "another-api"),
        };
        format!("Authorization: Bearer {}\r\n", token.compact())
    }

    /// What is wrong with an answer, if anything: who is good is answered as who he is, and everybody
    /// else is refused.
    fn judge(self, response: &Response) -> Option<String> {
        let answer = || format!("{self:?}: {} {}", response.status, response.text());
        if self != Self::Good {
            // It is not sure yet that the issuer has no such key.
            let is_unsettled = self == Self::Forged && response.text().contains("jwks_unavailable");
            let is_refused = [401, 403].contains(&response.status) || is_unsettled;
            return (!is_refused).then(answer);
        }
        let is_known = response.status == 200 && {
            let identity = &response.json()["identity"];
            identity["x-user-id"] == "user-4711" && identity["x-scopes"] == "users:read users:write"
        };
        (!is_known).then(answer)
    }
}

/// A client or more of each kind, until they are told to stop.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    address: SocketAddr,
    good: Token,
    secret: String,
    is_stopped: AtomicBool,
    sent: AtomicUsize,
    /// Locked by each client while a request of its own is under way.
    gate: RwLock<()>,
    tally: Mutex<Tally>,
}

/// What became of the requests so far.
#[derive(Clone, Default)]
pub(super) struct Tally {
    /// How many of each kind were answered.
    answered: BTreeMap<&'static str, usize>,
    /// How many a service refused itself, by the code that it gave.
    pub(super) refused_by_service: BTreeMap<String, usize>,
    /// Good requests that were not answered as such.
    pub(super) good_refused: Vec<String>,
    /// Bad requests that were let in, or were not told that they are bad.
    pub(super) bad_not_refused: Vec<String>,
}

impl Traffic {
    /// Good requests with such tokens, and bad ones of each kind.
    pub(super) fn start(address: SocketAddr, good: &Token, secret: &str) -> Self {
        let shared = Arc::new(Shared {
            address,
            good: good.clone(),
            secret: secret.to_owned(),
            is_stopped: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
            gate: RwLock::new(()),
            tally: Mutex::default(),
        });
        let good = [Kind::Good; 2];
        let clients = good.into_iter().chain(Kind::ALL).map(|kind| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.send(kind))
        });
        Self { clients: clients.collect(), shared }
    }

    /// Waits until so many more requests of each kind are answered.
    pub(super) fn flow(&self) {
        let names = Kind::ALL.map(Kind::name);
        let before = self.tally();
        wait::until("enough requests of each kind are answered", FLOW_LIMIT, || {
            let now = self.tally();
            let flowed = |name: &&str| now.answered(name) - before.answered(name) >= REQUESTS;
            names.iter().all(flowed).then_some(())
        });
    }

    /// Waits until no request is under way, and lets none begin before this is dropped.
    pub(super) fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.gate.write().expect("no client panics")
    }

    pub(super) fn tally(&self) -> Tally {
        self.shared.tally().clone()
    }

    /// Ends the traffic.
    pub(super) fn finish(mut self) -> Tally {
        self.stop();
        self.tally()
    }

    fn stop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("no client panics");
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            eprintln!("{}", self.tally());
        }
    }
}

impl Shared {
    fn send(&self, kind: Kind) {
        let mut connection = Connection::new(self.address);
        // To sign one takes longer than all that becomes of it.
        let requests: Vec<_> =
            (0..TOKENS).map(|number| kind.headers(&self.good, &self.secret, number)).collect();
        let mut requests = requests.iter().cycle();
        while !self.is_stopped.load(Ordering::SeqCst) {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            if number.is_multiple_of(REQUESTS_PER_CONNECTION) {
                connection.close();
            }
            let Some(headers) = requests.next() else { return };
            let under_way = self.gate.read().expect("no client panics");
            let answer = connection.send("/orders", headers);
            let mut tally = self.tally();
            let problem = match &answer {
                Ok(response) => kind.judge(response),
                // Envoy hangs up on whoever is still there when it has drained: nobody is let in by that.
                Err(_) if kind != Kind::Good => None,
                Err(error) => Some(format!("{error:?}")),
            };
            match kind {
                Kind::Good => tally.good_refused.extend(problem),
                _ => tally.bad_not_refused.extend(problem),
            }
            *tally.answered.entry(kind.name()).or_default() += 1;
            if let Ok(response) = answer
                && let Some(code) = refused_by_service(&response)
            {
                *tally.refused_by_service.entry(code).or_default() += 1;
            }
            drop((tally, under_way));
            thread::sleep(if kind == Kind::Forged { LONG_PAUSE } else { PAUSE });
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("no client panics")
    }
}

impl Tally {
    fn answered(&self, kind: &str) -> usize {
        self.answered.get(kind).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, refused_by_service, good_refused, bad_not_refused } = self;
        writeln!(f, "answered: {answered:?}; refused by a service: {refused_by_service:?}")?;
        for (what, which) in
            [("good ones refused", good_refused), ("bad ones not refused", bad_not_refused)]
        {
            let some: Vec<_> = which.iter().take(5).collect();
            writeln!(f, "{what}: {}, {some:#?}", which.len())?;
        }
        Ok(())
    }
}

/// The code, if a service has refused this and not the filter before it.
fn refused_by_service(response: &Response) -> Option<String> {
    if response.status == 200 {
        return None;
    }
    let problem = response.try_json().ok()?;
    problem.get("verification")?;
    Some(problem["code"].as_str()?.to_owned())
}

/// Each client has so many, which the filter sees for the first time whenever it is configured anew.
const TOKENS: usize = 20;
const REQUESTS: usize = 20;
/// So many requests of all clients, and the next takes a new connection, which may lead to another
/// worker.
const REQUESTS_PER_CONNECTION: usize = 7;
const PAUSE: Duration = Duration::from_millis(10);
/// Each has the filter look for another key, and there is a budget for that.
const LONG_PAUSE: Duration = Duration::from_millis(50);
const FLOW_LIMIT: Duration = Duration::from_secs(60);
