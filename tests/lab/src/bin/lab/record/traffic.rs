//! Requests of all kinds, from clients that go on until they are told to stop.

use std::iter::Cycle;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::vec;

use lab::crash;
use lab::http::{Exchange, Request};
use lab::token::{self, Key, Token};

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// What makes a faulty module trap.
    Crash,
    /// A token that expired long ago.
    Expired,
    /// A new token, which is then sent a few times.
    Good(fn() -> &'static Key),
    /// A token whose `kid` nobody has heard of.
    Junk,
    /// No token.
    Missing,
    /// A token that is signed with another key than it says.
    Tampered,
}

/// Clients that take these kinds in turn.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

type Kinds = Cycle<vec::IntoIter<Kind>>;

struct Shared {
    is_stopped: AtomicBool,
    sent: AtomicUsize,
    kinds: Mutex<Kinds>,
}

impl Traffic {
    /// Each client rests so long after each answer.
    pub(super) fn start(
        address: SocketAddr,
        clients: usize,
        pause: Duration,
        kinds: Vec<Kind>,
    ) -> Self {
        let shared = Arc::new(Shared {
            is_stopped: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
            kinds: Mutex::new(kinds.into_iter().cycle()),
        });
        let client = |_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.send_requests(address, pause))
        };
        Self { clients: (0..clients).map(client).collect(), shared }
    }

    /// From now on, these.
    pub(super) fn switch_to(&self, kinds: Vec<Kind>) {
        *self.shared.kinds() = kinds.into_iter().cycle();
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            // It does not panic.
            drop(client.join());
        }
    }
}

impl Shared {
    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_requests(&self, address: SocketAddr, pause: Duration) {
        loop {
            let Some(kind) = self.kinds().next() else { return };
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let request = kind.request(number);
            let times = if let Kind::Good(_) = kind { TIMES } else { 1 };
            for _ in 0..times {
                if self.is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                // Whatever comes of it, Envoy counts it.
                drop(Exchange::start(address, &request).and_then(Exchange::finish));
                thread::sleep(pause);
            }
        }
    }
}

impl Kind {
    /// The request of this number.
    pub(super) fn request(self, number: usize) -> Request {
        // Each differs from all others, so that no verdict comes from a cache.
        let token = Token::good().claim("jti", number);
        let token = match self {
            Self::Crash => {
                let bare = Request::get("/");
                return (0..crash::HEADERS).fold(bare, |request, _| request.header("X-Many", "a"));
            }
            Self::Missing => return Request::get("/"),
            Self::Expired => token.claim("exp", token::now() - 3600),
            Self::Good(key) => token.signed_by(key()),
            Self::Junk => token.signed_by(Key::gamma()).header("kid", format!("junk-{number}")),
            Self::Tampered => token.signed_by(Key::gamma()).header("kid", Key::alpha().name()),
        };
        Request::get("/").bearer(&token.compact())
    }
}

/// How often a good token is sent.
const TIMES: usize = 5;
