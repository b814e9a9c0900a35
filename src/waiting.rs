//! The requests that wait for keys.
//!
//! Each provider has a queue of its own. When there is no room left, the longest queue gives a place
//! up, so that no provider's trouble keeps another's requests out.

use crate::per_provider::{PerProvider, ProviderId};
use crate::request::StreamId;
use crate::screen::Case;
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use std::time::Duration;

/// Requests that wait, in the order in which they came.
pub(crate) struct Waiting {
    most: usize,
    queues: PerProvider<Queue>,
    next: Ticket,
}

/// Boxed, since those that come later move when one goes.
type Queue = SortedMap<Ticket, (StreamId, Box<Paused>)>;

/// When a request came: the lower, the earlier.
pub(crate) type Ticket = u64;

/// A request that waits. Its token is kept as text: taken apart it is many times larger. Nothing else
/// here is as long as the client likes.
pub(crate) struct Paused {
    pub(crate) token: String,
    pub(crate) case: Case,
    pub(crate) patience: Patience,
}

/// How long a request may wait, and for what.
pub(crate) struct Patience {
    pub(crate) since: Timestamp,
    pub(crate) deadline: Timestamp,
    /// Absent until the token has been checked with the keys that there are.
    pub(crate) miss: Option<Miss>,
}

/// That no key fits, of those that there were.
pub(crate) struct Miss {
    /// What stands for the token's `kid`, if it has one.
    pub(crate) kid: Option<u64>,
    pub(crate) is_kid_known: bool,
    /// The fingerprints of the keys that were tried: each is tried once.
    pub(crate) tried: Vec<u64>,
}

/// Who has to go when a request comes and there is no room.
pub(crate) enum Room {
    /// Nobody.
    Free,
    /// The one that came.
    Full,
    /// This one, in favour of it.
    Of(StreamId, Box<Paused>),
}

impl Waiting {
    /// `queues` says which providers there are.
    pub(crate) fn new<T>(providers: &PerProvider<T>, most: usize) -> Self {
        Self { most, queues: providers.map(|_, _| Queue::new()), next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.values().map(SortedMap::len).sum()
    }

    pub(crate) fn contains(&self, stream: StreamId) -> bool {
        self.find(stream).is_some()
    }

    /// Makes room for a request of this provider.
    ///
    /// Where it is another provider that takes up the room, its oldest request goes. Among its own
    /// the oldest goes if `is_doubtful` says that something speaks against it which does not speak
    /// against the one that came.
    pub(crate) fn make_room(
        &mut self,
        provider: ProviderId,
        is_doubtful: impl FnOnce(&Paused) -> bool,
    ) -> Room {
        if self.len() < self.most {
            return Room::Free;
        }
        let own = self.queues[provider].len();
        let longest = self.queues.iter().max_by_key(|(_, queue)| queue.len());
        let gives = match longest {
            Some((longest, queue)) if own == 0 || queue.len() > own.saturating_add(1) => longest,
            _ => provider,
        };
        let Some((_, (_, oldest))) = self.queues[gives].first() else { return Room::Full };
        if gives == provider && !is_doubtful(oldest) {
            return Room::Full;
        }
        match self.queues[gives].pop_first() {
            Some((_, (stream, oldest))) => Room::Of(stream, oldest),
            None => Room::Full,
        }
    }

    /// Takes in a request that comes last.
    pub(crate) fn insert(&mut self, stream: StreamId, paused: Paused) {
        // A host that uses a number again has forgotten who had it before.
        self.remove(stream);
        self.put_back(self.next, stream, Box::new(paused));
        self.next = self.next.wrapping_add(1);
    }

    pub(crate) fn remove(&mut self, stream: StreamId) -> Option<Box<Paused>> {
        let (provider, ticket) = self.find(stream)?;
        self.queues[provider].remove(&ticket).map(|(_, paused)| paused)
    }

    /// Takes out all requests of a provider, in their order, to be judged again.
    pub(crate) fn take(
        &mut self,
        provider: ProviderId,
    ) -> impl Iterator<Item = (Ticket, StreamId, Box<Paused>)> + use<> {
        let queue = std::mem::replace(&mut self.queues[provider], Queue::new());
        queue.into_iter().map(|(ticket, (stream, paused))| (ticket, stream, paused))
    }

    /// Puts a request back to where it was.
    pub(crate) fn put_back(&mut self, ticket: Ticket, stream: StreamId, paused: Box<Paused>) {
        self.queues[paused.case.provider].insert(ticket, (stream, paused));
    }

    /// The request of a provider that came last.
    pub(crate) fn newest(&self, provider: ProviderId) -> Option<&Paused> {
        self.queues[provider].last().map(|(_, (_, paused))| &**paused)
    }

    /// When the first request of each provider has waited long enough.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (ProviderId, Timestamp)> {
        self.queues.iter().filter_map(|(provider, queue)| {
            let (_, (_, oldest)) = queue.first()?;
            Some((provider, oldest.patience.deadline))
        })
    }

    /// Keeps every deadline as far away as it was.
    pub(crate) fn clock_stepped_back(&mut self, by: Duration) {
        let queues = self.queues.iter_mut().flat_map(|(_, queue)| queue.values_mut());
        for (_, paused) in queues {
            let Patience { since, deadline, .. } = &mut paused.patience;
            for time in [since, deadline] {
                *time = time.saturating_sub(by);
            }
        }
    }

    fn find(&self, stream: StreamId) -> Option<(ProviderId, Ticket)> {
        self.queues.iter().find_map(|(provider, queue)| {
            let place = queue.iter().find(|(_, (other, _))| *other == stream);
            place.map(|(ticket, _)| (provider, *ticket))
        })
    }
}
