//! One run: clients, one picker, its replicas, on a clock that jumps from event to event.

use std::{collections::HashSet, hash::BuildHasherDefault, rc::Rc, time::Duration};

use super::{
    kv::KvEvent,
    lru::Identity,
    model::EngineModel,
    outcome::{Outcome, RunResult},
    policy::{EndpointPicker, PickCall, ReplicaId},
    prompt::{self, BLOCK_TOKENS},
    replica::{Admission, EngineStats, Replica, Sequence},
    timeline::Timeline,
    workload::{ReplicaChange, RequestSpec, RequestStart, Run},
};

/// From gateway to engine, or back.
const NETWORK: Duration = Duration::from_micros(500);
/// From a scrape's figures to the picker that has them.
const SCRAPE_DELAY: Duration = Duration::from_millis(4);
/// From the end of a step to the picker that has its events.
const EVENT_DELAY: Duration = Duration::from_millis(5);
/// Replicas that a request is sent to before it fails.
const MAX_ATTEMPTS: u32 = 4;
/// Between two looks at the balance of replicas.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

enum Event {
    Arrives(usize),
    Delivered(usize, ReplicaId),
    /// The client learns that a replica did not take a request, or lost it.
    Refused(usize, ReplicaId),
    StepEnds(ReplicaId, u32),
    FirstToken(usize),
    Ends(usize),
    /// The second number counts the times that the pool has had the replica.
    Scrape(ReplicaId, u32),
    Scraped(ReplicaId, u32, Option<EngineStats>),
    KvEvents(ReplicaId, u32, Option<Vec<KvEvent>>),
    Changes(usize),
    Sample,
}

struct Progress {
    blocks: Rc<[u64]>,
    attempts: u32,
    outcome: Outcome,
}

/// A run under way.
pub(super) struct Simulation<'a> {
    run: &'a Run,
    picker: Box<dyn EndpointPicker>,
    replicas: Vec<Replica>,
    members: Vec<ReplicaId>,
    joins: Vec<u32>,
    timeline: Timeline<Event>,
    now: Duration,
    progress: Vec<Progress>,
    followers: Vec<Option<usize>>,
    ended: usize,
    /// The next request of a run whose clients wait for each other.
    next_closed: usize,
    /// Blocks of prompts that any replica has computed.
    computed: HashSet<u64, BuildHasherDefault<Identity>>,
    imbalance: Vec<(Duration, f64)>,
    random: fastrand::Rng,
}

impl<'a> Simulation<'a> {
    pub(super) fn new(run: &'a Run, model: &EngineModel, replicas: usize, picker: Box<dyn EndpointPicker>, seed: u64) -> Self {
        let most = run.changes.iter().map(|(_, replica, _)| replica + 1).max().unwrap_or(0).max(replicas);
        let mut simulation = Self {
            run,
            picker,
            replicas: (0..most).map(|_| Replica::new(model)).collect(),
            members: Vec::new(),
            joins: vec![0; most],
            timeline: Timeline::new(),
            now: Duration::ZERO,
            progress: run.requests.iter().map(Progress::new).collect(),
            followers: vec![None; run.requests.len()],
            ended: 0,
            next_closed: 0,
            computed: HashSet::default(),
            imbalance: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        };
        for replica in 0..replicas {
            simulation.replicas[replica].start(Duration::ZERO);
            simulation.joins(replica);
        }
        for (at, change) in run.changes.iter().enumerate() {
            simulation.timeline.schedule(change.0, Event::Changes(at));
        }
        simulation.timeline.schedule(SAMPLE_INTERVAL, Event::Sample);
        simulation.schedule_requests();
        simulation
    }

    fn schedule_requests(&mut self) {
        if let Some(count) = self.run.closed {
            (0..count).for_each(|_| self.start_closed());
            return;
        }
        for (id, request) in self.run.requests.iter().enumerate() {
            match request.start {
                RequestStart::At(at) => self.timeline.schedule(at, Event::Arrives(id)),
                RequestStart::After(earlier, _) => self.followers[earlier] = Some(id),
            }
        }
    }

    /// Runs until every request has ended.
    pub(super) fn finish(mut self) -> RunResult {
        while self.ended < self.progress.len()
            && let Some((at, event)) = self.timeline.next()
        {
            self.now = at;
            self.handle(event);
            for (id, picked) in self.picker.take_dispatched(at) {
                self.send(id, picked);
            }
        }
        let held = self.replicas.iter().map(|replica| replica.kv().used()).sum();
        let outcomes = self.progress.into_iter().map(|progress| progress.outcome).collect();
        RunResult { outcomes, imbalance: self.imbalance, held_blocks: held }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrives(id) => self.arrives(id),
            Event::Delivered(id, replica) => self.delivered(id, replica),
            Event::Refused(id, replica) => self.refused(id, replica),
            Event::StepEnds(replica, life) => self.step_ends(replica, life),
            Event::FirstToken(id) => self.picker.first_token(id, self.now),
            Event::Ends(id) => self.ends(id, false),
            Event::Scrape(replica, join) => self.scrape(replica, join),
            Event::Scraped(replica, join, stats) => self.scraped(replica, join, stats.as_ref()),
            Event::KvEvents(replica, life, events) => {
                if self.replicas[replica].life().number == life && self.members.contains(&replica) {
                    self.picker.take_events(replica, events.as_deref());
                }
            }
            Event::Changes(at) => self.change(at),
            Event::Sample => self.sample(),
        }
    }

    fn arrives(&mut self, id: usize) {
        let spec = &self.run.requests[id];
        let segments = spec.prompt.iter().copied().chain([spec.output]);
        let progress = &mut self.progress[id];
        progress.blocks = prompt::blocks(segments, spec.adapter, BLOCK_TOKENS).into();
        progress.outcome.started = self.now;
        let picked = self.picker.pick(&call(id, spec, &progress.blocks), &self.replicas, self.now);
        if picked.is_some() || !self.picker.is_waiting(id) {
            self.send(id, picked);
        }
    }

    fn send(&mut self, id: usize, picked: Option<ReplicaId>) {
        let Some(replica) = picked else { return self.ends(id, true) };
        let spec = &self.run.requests[id];
        let progress = &mut self.progress[id];
        progress.attempts += 1;
        let blocks = Rc::clone(&progress.blocks);
        let sequence = Sequence::new(id, blocks, prompt::tokens(&spec.prompt), spec.output.tokens, spec.adapter);
        self.replicas[replica].incoming.push(sequence);
        self.timeline.schedule(self.now + NETWORK, Event::Delivered(id, replica));
    }

    fn delivered(&mut self, id: usize, replica: ReplicaId) {
        let engine = &mut self.replicas[replica];
        let outcome = &self.progress[id].outcome;
        if (outcome.prompt + outcome.output).div_ceil(BLOCK_TOKENS) > engine.kv().capacity() {
            engine.refuse(id);
            return self.ends(id, true);
        }
        if !engine.life().is_alive {
            engine.refuse(id);
            return self.timeline.schedule(self.now + NETWORK, Event::Refused(id, replica));
        }
        engine.deliver(id);
        self.step(replica);
    }

    fn refused(&mut self, id: usize, replica: ReplicaId) {
        if self.progress[id].attempts >= MAX_ATTEMPTS {
            return self.ends(id, true);
        }
        let spec = &self.run.requests[id];
        let call = call(id, spec, &self.progress[id].blocks);
        let picked = self.picker.fail_over(&call, replica, &self.replicas, self.now);
        self.send(id, picked);
    }

    /// Begins a replica's next step, if it has something to do.
    fn step(&mut self, replica: ReplicaId) {
        let Some((end, admissions)) = self.replicas[replica].begin_step(self.now) else { return };
        self.timeline.schedule(end, Event::StepEnds(replica, self.replicas[replica].life().number));
        for admission in admissions {
            self.admitted(replica, admission);
        }
    }

    fn admitted(&mut self, replica: ReplicaId, admission: Admission) {
        let Progress { blocks, outcome, .. } = &mut self.progress[admission.id];
        let hit = (admission.hit_tokens / BLOCK_TOKENS) as usize;
        let full = (outcome.prompt / BLOCK_TOKENS) as usize;
        let possible = &blocks[..((outcome.prompt - 1) / BLOCK_TOKENS) as usize];
        let others = self.replicas.iter().enumerate().filter(|(other, engine)| *other != replica && engine.life().is_alive);
        let best = others.map(|(_, engine)| engine.kv().hit(possible).gpu).max().unwrap_or(0);
        outcome.hit = admission.hit_tokens;
        outcome.elsewhere = best.saturating_sub(hit as u32) * BLOCK_TOKENS;
        let again = blocks[hit..full].iter().filter(|hash| !self.computed.insert(**hash)).count();
        // The last block of a prompt that is cached as a whole is computed again whatever a picker does.
        let unavoidable = usize::from(hit == possible.len() && full > possible.len());
        outcome.twice = again.saturating_sub(unavoidable) as u32 * BLOCK_TOKENS;
    }

    fn step_ends(&mut self, replica: ReplicaId, life: u32) {
        if self.replicas[replica].life().number != life || !self.replicas[replica].life().is_alive {
            return;
        }
        let result = self.replicas[replica].end_step();
        let seen = self.now + NETWORK;
        for id in result.first_tokens {
            self.progress[id].outcome.first.get_or_insert(seen);
            self.timeline.schedule(seen, Event::FirstToken(id));
        }
        for id in result.finished {
            self.timeline.schedule(seen, Event::Ends(id));
        }
        let events = self.replicas[replica].take_events();
        if self.picker.subscribes() && !events.is_empty() {
            self.timeline.schedule(self.now + EVENT_DELAY, Event::KvEvents(replica, life, Some(events)));
        }
        self.step(replica);
    }

    fn ends(&mut self, id: usize, failed: bool) {
        let progress = &mut self.progress[id];
        progress.blocks = Rc::default();
        progress.outcome.ended = self.now;
        progress.outcome.failed = failed;
        let hit = progress.outcome.hit;
        let output = progress.outcome.output;
        self.picker.end(id, (!failed).then_some(hit), output, self.now);
        self.ended += 1;
        if let Some(follower) = self.followers[id]
            && let RequestStart::After(_, pause) = self.run.requests[follower].start
        {
            self.timeline.schedule(self.now + pause, Event::Arrives(follower));
        }
        if self.run.closed.is_some() {
            self.start_closed();
        }
    }

    fn start_closed(&mut self) {
        if self.next_closed < self.progress.len() {
            self.timeline.schedule(self.now, Event::Arrives(self.next_closed));
            self.next_closed += 1;
        }
    }

    fn scrape(&mut self, replica: ReplicaId, join: u32) {
        if !self.members.contains(&replica) || self.joins[replica] != join {
            return;
        }
        self.picker.begin_scrape(replica);
        let engine = &self.replicas[replica];
        let stats = engine.life().is_alive.then(|| engine.stats().clone());
        self.timeline.schedule(self.now + SCRAPE_DELAY, Event::Scraped(replica, join, stats));
    }

    fn scraped(&mut self, replica: ReplicaId, join: u32, stats: Option<&EngineStats>) {
        if !self.members.contains(&replica) || self.joins[replica] != join {
            return;
        }
        let pause = self.picker.end_scrape(replica, stats, self.now);
        // No two endpoints in step, as in the scraper.
        let pause = pause.mul_f64(0.9 + self.random.f64() * 0.2);
        self.timeline.schedule(self.now + pause, Event::Scrape(replica, join));
    }

    fn change(&mut self, at: usize) {
        let (_, replica, change) = self.run.changes[at];
        match change {
            ReplicaChange::Dies => self.dies(replica),
            ReplicaChange::Starts => {
                self.replicas[replica].start(self.now);
                if self.picker.subscribes() {
                    let life = self.replicas[replica].life().number;
                    self.timeline.schedule(self.now + EVENT_DELAY, Event::KvEvents(replica, life, None));
                }
            }
            ReplicaChange::Joins => self.joins(replica),
            ReplicaChange::Leaves => {
                self.members.retain(|member| *member != replica);
                self.picker.set_members(&self.members, self.now);
            }
        }
    }

    fn joins(&mut self, replica: ReplicaId) {
        self.members.push(replica);
        self.joins[replica] += 1;
        self.picker.set_members(&self.members, self.now);
        if self.picker.scrapes() {
            self.timeline.schedule(self.now, Event::Scrape(replica, self.joins[replica]));
        }
    }

    /// A request whose client has seen a token is lost with its replica; others go on elsewhere.
    fn dies(&mut self, replica: ReplicaId) {
        for id in self.replicas[replica].kill() {
            match self.progress[id].outcome.first {
                Some(_) => self.ends(id, true),
                None => self.timeline.schedule(self.now + NETWORK, Event::Refused(id, replica)),
            }
        }
    }

    /// Notes the largest number of requests at a replica over the mean, while there is at least one for each.
    fn sample(&mut self) {
        let counts = || self.members.iter().map(|replica| self.replicas[*replica].requests());
        let mean = counts().sum::<usize>() as f64 / self.members.len().max(1) as f64;
        if mean >= 1.0 {
            self.imbalance.push((self.now, counts().max().unwrap_or(0) as f64 / mean));
        }
        self.timeline.schedule(self.now + SAMPLE_INTERVAL, Event::Sample);
    }
}

impl Progress {
    fn new(spec: &RequestSpec) -> Self {
        let outcome = Outcome {
            stage: spec.stage,
            priority: spec.priority,
            prompt: prompt::tokens(&spec.prompt),
            output: spec.output.tokens,
            ..Outcome::default()
        };
        Self { blocks: Rc::default(), attempts: 0, outcome }
    }
}

fn call<'a>(id: usize, spec: &'a RequestSpec, blocks: &'a Rc<[u64]>) -> PickCall<'a> {
    PickCall {
        id,
        prompt: &spec.prompt,
        blocks,
        prompt_tokens: prompt::tokens(&spec.prompt),
        adapter: spec.adapter,
        max_tokens: spec.max_tokens,
        priority: spec.priority,
        output: spec.output.tokens,
    }
}

#[cfg(test)]
mod tests;
