//! Identities within one compilation: indices of lists that the next compilation builds anew.

use std::{
    marker::PhantomData,
    ops::{Index, IndexMut},
};

/// Identity in a [`ById`].
pub(crate) trait Id: Copy {
    /// Identity of the object at a place in the list.
    fn new(place: usize) -> Self;
    /// Place in the list.
    fn place(self) -> usize;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub(crate) struct $name(usize);

            impl Id for $name {
                fn new(place: usize) -> Self {
                    Self(place)
                }

                fn place(self) -> usize {
                    self.0
                }
            }
        )+
    };
}

ids! {
    /// Gateway that is served.
    GatewayId,
    /// Policy among those of its kind, the oldest first.
    PolicyId,
    /// InferencePool.
    PoolId,
}

/// Listener of a Gateway, its own or a ListenerSet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ListenerId {
    pub(crate) gateway: GatewayId,
    /// Place in `GatewayState::listeners`.
    pub(crate) place: usize,
}

/// ListenerSet of a Gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ListenerSetId {
    pub(crate) gateway: GatewayId,
    /// Place in `GatewayState::sets`.
    pub(crate) place: usize,
}

/// List whose entries are found by identities of one kind.
pub(crate) struct ById<I, T> {
    list: Vec<T>,
    kind: PhantomData<I>,
}

impl<I: Id, T> ById<I, T> {
    /// Identity of the entry that is pushed next.
    pub(crate) fn next(&self) -> I {
        I::new(self.list.len())
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, entry: T) -> I {
        let id = self.next();
        self.list.push(entry);
        id
    }

    /// All entries, in the order of identities.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.list.iter().enumerate().map(|(place, entry)| (I::new(place), entry))
    }

    /// All entries, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (I, &mut T)> {
        self.list.iter_mut().enumerate().map(|(place, entry)| (I::new(place), entry))
    }

    /// All entries by value.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = (I, T)> {
        self.list.into_iter().enumerate().map(|(place, entry)| (I::new(place), entry))
    }
}

impl<I, T> Default for ById<I, T> {
    fn default() -> Self {
        Self { list: Vec::new(), kind: PhantomData }
    }
}

impl<I, T> FromIterator<T> for ById<I, T> {
    fn from_iter<E: IntoIterator<Item = T>>(entries: E) -> Self {
        Self { list: entries.into_iter().collect(), kind: PhantomData }
    }
}

impl<I: Id, T> Index<I> for ById<I, T> {
    type Output = T;

    fn index(&self, id: I) -> &T {
        &self.list[id.place()]
    }
}

impl<I: Id, T> IndexMut<I> for ById<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.list[id.place()]
    }
}
