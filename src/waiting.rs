//! The requests that wait for keys.
//!
//! Each provider has its own queue. When there is no room, the longest queue gives up a place, so
//! that the trouble of one provider does not keep out the requests of another.

use crate::per_provider::{PerProvider, ProviderId};
use crate::request::StreamId;
use crate::screen::Case;
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use std::time::Duration;

/// The waiting requests, in order of arrival.
pub(crate) struct Waiting {
    most: usize,
    queues: PerProvider<Queue>,
    next: Ticket,
}

/// Requests are boxed, since removing one moves all later ones.
type Queue = SortedMap<Ticket, (StreamId, Box<Paused>)>;

/// The order of arrival: the lower, the earlier.
pub(crate) type Ticket = u64;

/// A waiting request. It keeps the token as text, which is many times smaller than a parsed token.
/// The client controls the size of nothing else here.
pub(crate) struct Paused {
    pub(crate) token: String,
    pub(crate) case: Case,
    pub(crate) patience: Patience,
}

/// How long a request may wait, and what for.
pub(crate) struct Patience {
    pub(crate) since: Timestamp,
    pub(crate) deadline: Timestamp,
    /// Absent until the token was checked with the trusted keys.
    pub(crate) miss: Option<Miss>,
}

/// No trusted key verified the token.
pub(crate) struct Miss {
    /// The fingerprint of the token's `kid`, if it has one.
    pub(crate) kid: Option<u64>,
    pub(crate) is_kid_known: bool,
    /// The fingerprints of the keys that were tried: each is tried once.
    pub(crate) tried: Vec<u64>,
}

/// Whether there is room for a new request.
pub(crate) enum Room {
    /// There is room.
    Free,
    /// There is none: turn the new request away.
    Full,
    /// This waiting request gave up its place: turn it away.
    Of(StreamId, Box<Paused>),
}

impl Waiting {
    /// One queue for each provider, with `most` requests in all.
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
    /// If another provider's queue takes up the room, its oldest request goes. If its own does, its
    /// oldest goes only if `is_doubtful`: if something speaks against it that does not speak
    /// against the new one.
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

    /// Adds a new request at the end of its queue.
    pub(crate) fn insert(&mut self, stream: StreamId, paused: Box<Paused>) {
        // A host that reuses an id has dropped the earlier stream.
        self.remove(stream);
        self.put_back(self.next, stream, paused);
        self.next = self.next.wrapping_add(1);
    }

    pub(crate) fn remove(&mut self, stream: StreamId) -> Option<Box<Paused>> {
        let (provider, ticket) = self.find(stream)?;
        self.queues[provider].remove(&ticket).map(|(_, paused)| paused)
    }

    /// Takes out all requests of a provider, in order, to judge them again.
    pub(crate) fn take(
        &mut self,
        provider: ProviderId,
    ) -> impl Iterator<Item = (Ticket, StreamId, Box<Paused>)> + use<> {
        let queue = std::mem::replace(&mut self.queues[provider], Queue::new());
        queue.into_iter().map(|(ticket, (stream, paused))| (ticket, stream, paused))
    }

    /// Puts a request back into its place.
    pub(crate) fn put_back(&mut self, ticket: Ticket, stream: StreamId, paused: Box<Paused>) {
        self.queues[paused.case.provider].insert(ticket, (stream, paused));
    }

    /// The newest request of a provider.
    pub(crate) fn newest(&self, provider: ProviderId) -> Option<&Paused> {
        self.queues[provider].last().map(|(_, (_, paused))| &**paused)
    }

    /// The earliest deadline of each provider's requests.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (ProviderId, Timestamp)> {
        self.queues.iter().filter_map(|(provider, queue)| {
            let (_, (_, oldest)) = queue.first()?;
            Some((provider, oldest.patience.deadline))
        })
    }

    /// Keeps every deadline as far away as it was when the clock steps back.
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
