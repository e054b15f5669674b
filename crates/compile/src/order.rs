//! All routes in the order in which they are compiled, and what each came to.

use std::{collections::HashSet, sync::Arc};

use crate::store::Change;
use pailou_api::Kind;
use pailou_snapshot::{Name, RouteKind};

use super::{
    any_route::AnyRoute,
    cluster_ids::IdCounts,
    index::{Index, Reads, Touched},
    output::Output,
};

/// The tables of routes, a bit each.
const ROUTES: u64 = 1 << Kind::HttpRoute as u8
    | 1 << Kind::GrpcRoute as u8
    | 1 << Kind::TlsRoute as u8
    | 1 << Kind::TcpRoute as u8
    | 1 << Kind::UdpRoute as u8;

/// Most changes to apply one by one; beyond that, sorting anew is cheaper.
const MANY: usize = 64;

/// All routes. Those for requests come first, and each sort the oldest first: of rivals the first one wins.
#[derive(Debug, Default)]
pub(crate) struct Order {
    pub(crate) routes: Vec<AnyRoute>,
    pub(crate) slots: Vec<Slot>,
    /// The tables that anything was ever looked up in for a route, a bit each.
    tables: u64,
}

/// State of the route of the same place.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// The clusters and breakers that came before it.
    pub(crate) count: IdCounts,
    /// Its result; `None` before compilation.
    pub(crate) output: Option<Arc<Output>>,
    /// Every lookup that the output came of.
    reads: Reads,
}

/// Up to where nothing has changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) place: usize,
    pub(crate) count: IdCounts,
}

impl Order {
    /// Takes changes of routes in. Gives what is gone of what routes came to, and up to where nothing has changed; `total` is what
    /// there was in the end.
    pub(crate) fn apply(&mut self, changes: &[Change], total: IdCounts) -> (Vec<Arc<Output>>, Start) {
        let gone: Vec<_> = changes.iter().filter_map(|change| AnyRoute::of(change.before.as_ref()?)).collect();
        let come: Vec<_> = changes.iter().filter_map(|change| AnyRoute::of(change.now.as_ref()?)).collect();
        if gone.len() + come.len() > MANY {
            return (self.apply_many(&gone, come), Start { place: 0, count: IdCounts::default() });
        }
        let mut start = Start { place: self.routes.len(), count: total };
        let mut outputs = Vec::new();
        for route in &gone {
            let place = self.place(route);
            start = self.earlier(start, place);
            self.routes.remove(place);
            outputs.extend(self.slots.remove(place).output);
        }
        for route in come {
            let place = self.place(&route);
            start = self.earlier(start, place);
            self.routes.insert(place, route);
            self.slots.insert(place, Slot::default());
        }
        (outputs, start)
    }

    fn apply_many(&mut self, gone: &[AnyRoute], come: Vec<AnyRoute>) -> Vec<Arc<Output>> {
        let gone: HashSet<usize> = gone.iter().map(AnyRoute::address).collect();
        let before = std::mem::take(&mut self.routes).into_iter().zip(std::mem::take(&mut self.slots));
        let (left, rest): (Vec<_>, Vec<_>) = before.partition(|(route, _)| gone.contains(&route.address()));
        let mut all: Vec<_> = rest.into_iter().chain(come.into_iter().map(|route| (route, Slot::default()))).collect();
        all.sort_by(|(a, _), (b, _)| a.order().cmp(&b.order()));
        (self.routes, self.slots) = all.into_iter().unzip();
        left.into_iter().filter_map(|(_, slot)| slot.output).collect()
    }

    /// The place of a route, or where it would be.
    fn place(&self, route: &AnyRoute) -> usize {
        self.routes.partition_point(|it| it.order() < route.order())
    }

    fn earlier(&self, start: Start, place: usize) -> Start {
        match self.slots.get(place) {
            Some(slot) if place < start.place => Start { place, count: slot.count },
            _ => start,
        }
    }

    /// Whether a route was touched, or something that one looked at.
    pub(crate) fn is_touched(&self, touched: &Touched) -> bool {
        let is_stale = |slot: &Slot| slot.output.is_some() && slot.reads.are_touched(touched);
        touched.tables() & ROUTES != 0 || self.may_be_touched(touched) && self.slots.iter().any(is_stale)
    }

    /// Mostly no route's lookups have changed: this notices without a look at all of them.
    fn may_be_touched(&self, touched: &Touched) -> bool {
        self.tables & touched.tables() != 0
    }

    /// Forgets what routes came to that looked at something that was touched, and gives it.
    pub(crate) fn forget_touched(&mut self, touched: &Touched, start: &mut Start) -> Vec<Arc<Output>> {
        if !self.may_be_touched(touched) {
            return Vec::new();
        }
        let mut outputs = Vec::new();
        for place in 0..self.slots.len() {
            if self.slots[place].output.is_some() && self.slots[place].reads.are_touched(touched) {
                *start = self.earlier(*start, place);
                outputs.extend(self.slots[place].output.take());
            }
        }
        outputs
    }

    /// Remembers what a route came to, and the lookups that it came of.
    pub(crate) fn remember(&mut self, place: usize, output: Arc<Output>, reads: Reads) {
        self.tables |= reads.tables();
        self.slots[place].output = Some(output);
        self.slots[place].reads = reads;
    }

    /// Forgets what one route came to, and gives it.
    pub(crate) fn forget_one(&mut self, index: &Index<'_>, kind: RouteKind, name: &Name, start: &mut Start) -> Option<Arc<Output>> {
        let place = AnyRoute::find(index, kind, name).map(|route| self.place(&route))?;
        let output = self.slots.get_mut(place)?.output.take()?;
        *start = self.earlier(*start, place);
        Some(output)
    }

    /// Forgets what all routes came to.
    pub(crate) fn forget_all(&mut self) -> Start {
        self.tables = 0;
        self.slots.iter_mut().for_each(|slot| *slot = Slot::default());
        Start { place: 0, count: IdCounts::default() }
    }

    /// The result of a route; `None` before it is compiled.
    pub(crate) fn output(&self, index: &Index<'_>, kind: RouteKind, name: &Name) -> Option<&Output> {
        let place = self.place(&AnyRoute::find(index, kind, name)?);
        self.slots.get(place)?.output.as_deref()
    }
}
