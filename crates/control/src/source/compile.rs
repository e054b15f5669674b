//! Compilation of the newest objects, whenever the last one is complete.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pailou_compile::{Compiler, Settings};
use tokio::{sync::watch, time};

use crate::{
    cluster_state::{ClusterState, CompiledState},
    leader::Leadership,
    metrics::Metrics,
    work,
};

/// Head start of the feed: proxies get changes in this time, of which a compilation only makes statuses.
const PRECEDENCE: Duration = Duration::from_millis(10);
/// How much longer than a compilation took it is until the next one begins, where changes do not end: proxies wait for none, and
/// whoever makes the changes has better use for the processor.
const PAUSE: u32 = 2;
/// The shortest pause, and the longest. The writes that follow a compilation, of statuses and data planes, cost more than it
/// does.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// Compiles while this replica leads, until the collector ends: no other replica has a use for statuses. A replica that leads
/// again compiles from nothing.
pub(crate) async fn follow(
    known: watch::Receiver<Option<ClusterState>>,
    published: watch::Sender<Option<CompiledState>>,
    mut leadership: Leadership,
    metrics: Arc<Metrics>,
) {
    loop {
        leadership.gained().await;
        let mut newest = known.clone();
        newest.mark_changed();
        tokio::select! {
            biased;
            () = leadership.lost() => drop(published.send_replace(None)),
            () = compile(newest, &published, &metrics) => return,
        }
    }
}

async fn compile(
    mut known: watch::Receiver<Option<ClusterState>>,
    published: &watch::Sender<Option<CompiledState>>,
    metrics: &Metrics,
) {
    let mut last: Option<Compiler> = None;
    while known.changed().await.is_ok() {
        time::sleep(PRECEDENCE).await;
        // Without the data planes' state, Gateways that work would get conditions that say the contrary.
        let Some(now) = known.borrow_and_update().clone().filter(|now| now.settings.data_planes.is_some()) else { continue };
        let mut compiler = last.take().unwrap_or_else(|| Compiler::new(Settings::clone(&now.settings)));
        compiler.settle(&now.settings);
        let (store, start) = (now.store.clone(), Instant::now());
        let compiling = work::through(store.len(), move || {
            let compiled = compiler.update(&store);
            (compiler, compiled)
        });
        let (compiler, compiled) = match compiling.await {
            Ok(done) => done,
            // The next change tries again, from nothing.
            Err(error) => {
                tracing::error!(%error, "compilation failed; statuses and data planes stay as they are");
                continue;
            }
        };
        let took = start.elapsed();
        metrics.compiled(took, now.store.len());
        let (objects, milliseconds) = (now.store.len(), took.as_secs_f64() * 1e3);
        match published.borrow().is_some() {
            true => tracing::debug!("{objects} objects compiled in {milliseconds:.1} ms"),
            false => tracing::info!("first compilation: {objects} objects in {milliseconds:.1} ms"),
        }
        last = Some(compiler);
        published.send_replace(Some(CompiledState { cluster: now, compiled }));
        time::sleep((took * PAUSE).clamp(SHORTEST, LONGEST)).await;
    }
}
