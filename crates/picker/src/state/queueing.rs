//! A pool's queue, as its users see it.

use std::time::Instant;

use super::PoolState;
use crate::{
    candidates::{filters_context, saturation_of_pool},
    load::Tokens,
    pick::{self, Gate},
    pick_request::{PickError, PickRequest},
    picked::Picked,
    queue::{self, QueueClock, QueueReport, QueueTerms, Restriction, Size, SystemClock},
    room::RoomTerms,
};

impl PoolState {
    /// Picks an endpoint that has room, if no other request waits for it; where none has any, the request waits for its turn.
    ///
    /// # Errors
    /// As of [`PoolState::pick`] where the pool's requests do not wait. Else as [`PoolState::wait`], and where no endpoint of the pool is
    /// in the request's subset.
    pub async fn pick_or_wait(&self, request: &PickRequest<'_>, terms: &QueueTerms<'_>) -> Result<Picked, PickError> {
        match self.pick_if_room(request) {
            Err(error) if self.may_wait(request, error) => self.wait(request, terms, || self.pick_in_turn(request)).await,
            picked => picked,
        }
    }

    /// Picks an endpoint that has room, if no other request waits for it. In a pool whose requests do not wait it is
    /// [`PoolState::pick`].
    ///
    /// # Errors
    /// As of [`PoolState::pick`]; also where others wait.
    pub fn pick_if_room(&self, request: &PickRequest<'_>) -> Result<Picked, PickError> {
        pick::pick(&self.shared, request, Gate::Queue, Instant::now())
    }

    /// Picks an endpoint that has room, whether or not others wait for it: for the one whose turn it is.
    ///
    /// # Errors
    /// As of [`PoolState::pick`].
    pub fn pick_in_turn(&self, request: &PickRequest<'_>) -> Result<Picked, PickError> {
        pick::pick(&self.shared, request, Gate::Turn, Instant::now())
    }

    /// Whether a request may wait that was not picked for. One whose subset has no endpoint of the pool has nothing to wait for: which
    /// addresses it stands for was settled when the request came. Nor has one of a length that no endpoint is for.
    pub fn may_wait(&self, request: &PickRequest<'_>, error: PickError) -> bool {
        let members = self.shared.members.load();
        let is_too_long = filters_context(&members, request.stage) && !members.endpoints.is_empty();
        let is_hopeless = error == PickError::NoEndpoints && (request.subset.is_some() || is_too_long);
        members.pool.queueing.is_some() && !is_hopeless
    }

    /// Waits in the pool's queue until it is the request's turn and `pick` picks.
    ///
    /// # Errors
    /// Its priority's queue is full, its time ran out, the pool had no endpoint all the while, none is left that it may use, or the process
    /// ends.
    pub async fn wait(
        &self,
        request: &PickRequest<'_>,
        terms: &QueueTerms<'_>,
        pick: impl FnMut() -> Result<Picked, PickError>,
    ) -> Result<Picked, PickError> {
        self.wait_by(&SystemClock, request, terms, pick).await
    }

    /// The same as [`PoolState::pick_or_wait`] by a simulator's clock.
    ///
    /// # Errors
    /// As of [`PoolState::pick_or_wait`].
    #[cfg(feature = "simulation")]
    pub async fn pick_or_wait_by(
        &self,
        clock: &impl QueueClock,
        request: &PickRequest<'_>,
        terms: &QueueTerms<'_>,
    ) -> Result<Picked, PickError> {
        let pick = |gate| pick::pick(&self.shared, request, gate, clock.now());
        match pick(Gate::Queue) {
            Err(error) if self.may_wait(request, error) => self.wait_by(clock, request, terms, || pick(Gate::Turn)).await,
            picked => picked,
        }
    }

    async fn wait_by(
        &self,
        clock: &impl QueueClock,
        request: &PickRequest<'_>,
        terms: &QueueTerms<'_>,
        pick: impl FnMut() -> Result<Picked, PickError>,
    ) -> Result<Picked, PickError> {
        let members = self.shared.members.load_full();
        // Queueing has just been switched off.
        let Some(settings) = members.pool.queueing else { return self.pick(request) };
        let tokens = Tokens::estimate(request.input_bytes, request.max_tokens);
        let size = Size { tokens: tokens.number(), bytes: request.input_bytes as u64 };
        let may_wait = |error| self.may_wait(request, error);
        let is_empty = || self.shared.members.load().endpoints.is_empty();
        let is_saturated = || {
            let members = self.shared.members.load();
            let terms = RoomTerms::of(&members.pool, false);
            saturation_of_pool(&members, request, terms, clock.now()).is_some_and(|saturation| saturation >= 1.0)
        };
        let is_restricted = request.subset.is_some() || filters_context(&members, request.stage);
        let restriction = Restriction { subset: request.subset, is_restricted };
        queue::wait(&members.queue, clock, settings, (terms, size, restriction), pick, may_wait, (is_empty, is_saturated)).await
    }

    /// Whether the pool's requests may wait.
    pub fn has_queueing(&self) -> bool {
        self.shared.traits.has_queueing()
    }

    /// Whether an endpoint picker of the pool's own chooses, in whose queue requests wait as the pool's configuration has it.
    pub fn queues_at_external_picker(&self) -> bool {
        self.shared.traits.queues_at_external_picker()
    }

    /// Refuses the requests that wait, and those that would, as the process ends.
    pub fn close_queue(&self) {
        self.shared.members.load().queue.close();
    }

    /// The requests that wait; `None` where none do and none have.
    pub fn queue(&self) -> Option<QueueReport> {
        let members = self.shared.members.load();
        let report = members.queue.report(Instant::now());
        (members.pool.queueing.is_some() || !report.levels.is_empty() || !report.counts.is_empty()).then_some(report)
    }
}
