//! The requests that wait for keys.
//!
//! Each issuer has its own queue. When there is no room, the longest queue gives up a place, so that
//! the trouble of one issuer does not keep out the requests of another.

use crate::issuers::IssuerId;
use crate::per_provider::ProviderId;
use crate::request::StreamId;
use crate::screen::Case;
use crate::sorted_map::SortedMap;
use crate::time::Timestamp;
use std::cmp::Reverse;
use std::time::Duration;

/// The waiting requests, in order of arrival.
pub(crate) struct Waiting {
    most: usize,
    /// None is empty.
    queues: SortedMap<IssuerId, Queue>,
    next: Ticket,
}

/// Requests are boxed, since removing one moves all later ones.
type Queue = SortedMap<Ticket, (StreamId, Box<Paused>)>;

/// The order of arrival: the lower, the earlier.
pub(crate) type Ticket = u64;

/// A waiting request. It keeps the token as text, which is many times smaller than a parsed token.
/// The client controls the size of nothing else here.
pub(crate) struct Paused {
    pub(crate) issuer: IssuerId,
    pub(crate) token: String,
    pub(crate) case: Case<'static>,
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
    /// Room for `most` requests.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, queues: SortedMap::new(), next: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.iter().map(|(_, queue)| queue.len()).sum()
    }

    pub(crate) fn contains(&self, stream: StreamId) -> bool {
        self.find(stream).is_some()
    }

    /// Makes room for a request of this issuer.
    ///
    /// If the queues of another provider, or the queue of another issuer of the same, take up the
    /// room, the oldest request there goes. If its own does, its oldest goes only if `is_doubtful`:
    /// if something speaks against it that does not speak against the new one.
    pub(crate) fn make_room(
        &mut self,
        issuer: IssuerId,
        is_doubtful: impl FnOnce(&Paused) -> bool,
    ) -> Room {
        if self.len() < self.most {
            return Room::Free;
        }
        let gives = self.giver(issuer);
        let oldest = self.queues.get(&gives).and_then(SortedMap::first);
        let Some((ticket, (_, oldest))) = oldest else { return Room::Full };
        if gives == issuer && !is_doubtful(oldest) {
            return Room::Full;
        }
        let ticket = *ticket;
        match self.take_out(gives, ticket) {
            Some((stream, oldest)) => Room::Of(stream, oldest),
            None => Room::Full,
        }
    }

    /// The issuer whose queue gives up a place for this one.
    fn giver(&self, issuer: IssuerId) -> IssuerId {
        // Queues are in the order of their providers.
        let mut totals = Vec::<(ProviderId, usize)>::new();
        for (id, queue) in self.queues.iter() {
            match totals.last_mut() {
                Some((last, total)) if *last == id.provider() => {
                    *total = total.saturating_add(queue.len());
                }
                _ => totals.push((id.provider(), queue.len())),
            }
        }
        let takes_up = |longest: usize, own: usize| own == 0 || longest > own.saturating_add(1);
        let own = totals.iter().find(|(provider, _)| *provider == issuer.provider());
        let own = own.map_or(0, |(_, total)| *total);
        let heaviest = totals.iter().max_by_key(|(_, total)| *total);
        let provider = match heaviest {
            Some((heaviest, total)) if takes_up(*total, own) => *heaviest,
            _ => issuer.provider(),
        };
        let own = self.queues.get(&issuer).map_or(0, SortedMap::len);
        let queues = self.queues.iter().filter(|(id, _)| id.provider() == provider);
        // Of queues that are equally long, the one of the oldest issuer.
        match queues.max_by_key(|(id, queue)| (queue.len(), Reverse(*id))) {
            Some((longest, queue))
                if provider != issuer.provider() || takes_up(queue.len(), own) =>
            {
                *longest
            }
            _ => issuer,
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
        let (issuer, ticket) = self.find(stream)?;
        self.take_out(issuer, ticket).map(|(_, paused)| paused)
    }

    /// Takes out all requests of an issuer, in order, to judge them again.
    pub(crate) fn take(
        &mut self,
        issuer: IssuerId,
    ) -> impl Iterator<Item = (Ticket, StreamId, Box<Paused>)> + use<> {
        let queue = self.queues.remove(&issuer).unwrap_or(Queue::new());
        queue.into_iter().map(|(ticket, (stream, paused))| (ticket, stream, paused))
    }

    /// Puts a request back into its place.
    pub(crate) fn put_back(&mut self, ticket: Ticket, stream: StreamId, paused: Box<Paused>) {
        let issuer = paused.issuer;
        match self.queues.get_mut(&issuer) {
            Some(queue) => _ = queue.insert(ticket, (stream, paused)),
            None => {
                let mut queue = Queue::new();
                queue.insert(ticket, (stream, paused));
                self.queues.insert(issuer, queue);
            }
        }
    }

    /// The newest request of an issuer.
    pub(crate) fn newest(&self, issuer: IssuerId) -> Option<&Paused> {
        self.queues.get(&issuer)?.last().map(|(_, (_, paused))| &**paused)
    }

    /// The earliest deadline of each issuer's requests.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (IssuerId, Timestamp)> {
        self.queues.iter().filter_map(|(issuer, queue)| {
            let (_, (_, oldest)) = queue.first()?;
            Some((*issuer, oldest.patience.deadline))
        })
    }

    /// Keeps every deadline as far away as it was when the clock steps back.
    pub(crate) fn clock_stepped_back(&mut self, by: Duration) {
        for (_, paused) in self.queues.values_mut().flat_map(SortedMap::values_mut) {
            let Patience { since, deadline, .. } = &mut paused.patience;
            for time in [since, deadline] {
                *time = time.saturating_sub(by);
            }
        }
    }

    fn take_out(&mut self, issuer: IssuerId, ticket: Ticket) -> Option<(StreamId, Box<Paused>)> {
        let queue = self.queues.get_mut(&issuer)?;
        let taken = queue.remove(&ticket);
        if queue.len() == 0 {
            self.queues.remove(&issuer);
        }
        taken
    }

    fn find(&self, stream: StreamId) -> Option<(IssuerId, Ticket)> {
        self.queues.iter().find_map(|(issuer, queue)| {
            let place = queue.iter().find(|(_, (other, _))| *other == stream);
            place.map(|(ticket, _)| (*issuer, *ticket))
        })
    }
}
