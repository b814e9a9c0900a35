//! The requests that wait for keys.
//!
//! Each provider has a queue of its own. When there is no room left, the longest queue gives a place
//! up, so that no provider's trouble keeps another's requests out.

use crate::engine::StreamId;
use crate::screen::Case;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Requests that wait, in the order in which they came.
pub(crate) struct Waiting {
    most: usize,
    /// By provider.
    queues: Vec<BTreeMap<Ticket, (StreamId, Paused)>>,
    places: BTreeMap<StreamId, (usize, Ticket)>,
    next: Ticket,
}

/// When a request came: the lower, the earlier.
pub(crate) type Ticket = u64;

/// A request that waits. Its token is kept as text: taken apart it is many times larger. Nothing else
/// here is as long as the client likes.
pub(crate) struct Paused {
    pub(crate) token: String,
    pub(crate) case: Case,
    pub(crate) since: Timestamp,
    pub(crate) deadline: Timestamp,
    /// Absent while there are no keys at all.
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
    pub(crate) fn new(providers: usize, most: usize) -> Self {
        Self {
            most,
            queues: (0..providers).map(|_| BTreeMap::new()).collect(),
            places: BTreeMap::new(),
            next: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn contains(&self, stream: StreamId) -> bool {
        self.places.contains_key(&stream)
    }

    /// Makes room for a request of this provider.
    ///
    /// Where it is another provider that takes up the room, its oldest request goes. Among its own
    /// the oldest goes if `is_doubtful` says that something speaks against it which does not speak
    /// against the one that came.
    pub(crate) fn make_room(
        &mut self,
        provider: usize,
        is_doubtful: impl FnOnce(&Paused) -> bool,
    ) -> Room {
        if self.len() < self.most {
            return Room::Free;
        }
        let len = |index: usize| self.queues.get(index).map_or(0, BTreeMap::len);
        let longest = (0..self.queues.len()).max_by_key(|index| len(*index)).unwrap_or(provider);
        let is_unfair = len(longest) > len(provider).saturating_add(1) || len(provider) == 0;
        let gives = if is_unfair { longest } else { provider };
        let oldest = self.queues.get(gives).and_then(BTreeMap::first_key_value);
        let Some((_, (stream, paused))) = oldest else { return Room::Full };
        if gives == provider && !is_doubtful(paused) {
            return Room::Full;
        }
        let stream = *stream;
        self.remove(stream).map_or(Room::Full, |paused| Room::Of(stream, Box::new(paused)))
    }

    /// Takes in a request that comes last.
    pub(crate) fn insert(&mut self, stream: StreamId, paused: Paused) {
        // A host that uses a number again has forgotten who had it before.
        self.remove(stream);
        self.put_back(self.next, stream, paused);
        self.next = self.next.wrapping_add(1);
    }

    pub(crate) fn remove(&mut self, stream: StreamId) -> Option<Paused> {
        let (provider, ticket) = self.places.remove(&stream)?;
        self.queues.get_mut(provider)?.remove(&ticket).map(|(_, paused)| paused)
    }

    /// Takes out all requests of a provider, in their order, to be judged again.
    pub(crate) fn take(&mut self, provider: usize) -> Vec<(Ticket, StreamId, Paused)> {
        let queue = self.queues.get_mut(provider).map(std::mem::take).unwrap_or_default();
        let requests = queue.into_iter().map(|(ticket, (stream, paused))| {
            self.places.remove(&stream);
            (ticket, stream, paused)
        });
        requests.collect()
    }

    /// Puts a request back to where it was.
    pub(crate) fn put_back(&mut self, ticket: Ticket, stream: StreamId, paused: Paused) {
        let provider = paused.case.provider;
        if let Some(queue) = self.queues.get_mut(provider) {
            queue.insert(ticket, (stream, paused));
            self.places.insert(stream, (provider, ticket));
        }
    }

    /// The request of a provider that came last.
    pub(crate) fn newest(&self, provider: usize) -> Option<&Paused> {
        self.queues.get(provider)?.last_key_value().map(|(_, (_, paused))| paused)
    }

    /// When the first request of each provider has waited long enough.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (usize, Timestamp)> {
        let queues = self.queues.iter().enumerate();
        queues.filter_map(|(provider, queue)| {
            let (_, (_, oldest)) = queue.first_key_value()?;
            Some((provider, oldest.deadline))
        })
    }

    /// Keeps every deadline as far away as it was.
    pub(crate) fn clock_stepped_back(&mut self, by: Duration) {
        let queues = self.queues.iter_mut().flat_map(BTreeMap::values_mut);
        for (_, paused) in queues {
            for time in [&mut paused.since, &mut paused.deadline] {
                *time = time.saturating_sub(by);
            }
        }
    }
}
