//! Values that exist once for each provider of a configuration.

use std::ops::{Index, IndexMut};

/// Identifies a provider of a configuration.
///
/// Only a [`PerProvider`] makes one, so it is a valid index of every table of the same
/// configuration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ProviderId(usize);

impl ProviderId {
    /// Its place in the order of the configuration.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// A value for each provider, in the order of the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PerProvider<T>(Vec<T>);

impl<T> PerProvider<T> {
    /// Only the configuration calls this; every other table comes from [`Self::map`].
    pub(crate) fn new(values: Vec<T>) -> Self {
        Self(values)
    }

    /// A table with another value for each provider.
    pub fn map<'a, U>(&'a self, mut of: impl FnMut(ProviderId, &'a T) -> U) -> PerProvider<U> {
        PerProvider(self.iter().map(|(id, value)| of(id, value)).collect())
    }

    /// Every provider with its value.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (ProviderId, &T)> + ExactSizeIterator {
        self.0.iter().enumerate().map(|(index, value)| (ProviderId(index), value))
    }

    /// Every provider with its value, mutably.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ProviderId, &mut T)> {
        self.0.iter_mut().enumerate().map(|(index, value)| (ProviderId(index), value))
    }

    /// Every value.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.0.iter()
    }
}

#[expect(clippy::indexing_slicing, reason = "all tables of a configuration are equally long")]
impl<T> Index<ProviderId> for PerProvider<T> {
    type Output = T;

    fn index(&self, ProviderId(index): ProviderId) -> &T {
        &self.0[index]
    }
}

#[expect(clippy::indexing_slicing, reason = "all tables of a configuration are equally long")]
impl<T> IndexMut<ProviderId> for PerProvider<T> {
    fn index_mut(&mut self, ProviderId(index): ProviderId) -> &mut T {
        &mut self.0[index]
    }
}
