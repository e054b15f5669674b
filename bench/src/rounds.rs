//! All turns of a run, round by round.

use std::{path::Path, time::Duration};

use crate::{
    cli::Cli,
    cluster::{self, Clustered},
    cpu,
    engine::Engine,
    error::Error,
    footprint::{self, Footprint},
    subject::Subject,
    tls::Tls,
    token::Tokens,
    turn::{self, Conditions, Sample},
    workload::{Kind, Workload},
};

/// Length of a smoke test's phases, and of their warm-up.
const SMOKE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(50));
const WARM_UP: Duration = Duration::from_millis(700);

/// Subjects, workloads, durations and rounds of a measurement.
pub(crate) struct Results {
    /// Length of a phase.
    pub(crate) length: Duration,
    pub(crate) rounds: u32,
    pub(crate) samples: Vec<Sample>,
    pub(crate) footprints: Vec<Footprint>,
    pub(crate) clusters: Vec<Clustered>,
    /// Turns that failed, and why.
    pub(crate) left_out: Vec<String>,
}

/// Takes all turns, with the gateway's first core if processes are pinned. A turn that fails is left out.
///
/// # Errors
/// When load or engine cannot be set up.
pub(crate) async fn measure(cli: &Cli, directory: &Path, core: Option<usize>, subjects: &[Subject]) -> Result<Results, Error> {
    let tls = Tls::new(directory)?;
    let engine = Engine::start(tls.acceptor.clone()).await.map_err(Error::Engine)?;
    let (length, warm_up) = if cli.smoke { SMOKE } else { (Duration::from_secs(cli.seconds.into()), WARM_UP) };
    let rounds = if cli.smoke { 1 } else { cli.rounds };
    let open_files = cpu::open_files().map_err(Error::Limits)?;
    let tokens = Tokens::default();
    let conditions =
        Conditions { length, warm_up, core, open_files, smoke: cli.smoke, directory, engine: &engine, tls: &tls, tokens: &tokens };
    let mut results =
        Results { length, rounds, samples: Vec::new(), footprints: Vec::new(), clusters: Vec::new(), left_out: Vec::new() };
    for (round, subject, workload) in turns(cli, subjects, rounds) {
        let turn = format!("{}, round {} of {rounds}: {}", workload.shape().title, round + 1, subject.name);
        eprintln!("{turn}");
        if let Err(error) = take(&conditions, subject, workload, round, &mut results).await {
            eprintln!("left out: {error}");
            results.left_out.push(format!("{turn} is left out: {error}"));
        }
    }
    Ok(results)
}

async fn take(
    conditions: &Conditions<'_>,
    subject: &Subject,
    workload: Workload,
    round: u32,
    results: &mut Results,
) -> Result<(), Error> {
    match workload.shape().kind {
        Kind::Requests(_) | Kind::Streams(_) => {
            results.samples.extend(turn::measure(conditions, subject, workload, round).await?);
        }
        Kind::Idle(_) | Kind::Start => {
            results.footprints.extend(footprint::measure(conditions, subject, workload, round).await?);
        }
        Kind::Cluster => results.clusters.extend(cluster::measure(conditions, subject, round).await?),
    }
    Ok(())
}

/// Every turn, in order: workloads that are compared with each other follow each other, for each subject in each round.
fn turns<'s>(cli: &Cli, subjects: &'s [Subject], rounds: u32) -> Vec<(u32, &'s Subject, Workload)> {
    let mut turns = Vec::new();
    for group in Workload::groups() {
        for round in 0..rounds {
            for subject in in_turn(subjects, round) {
                let served = group.iter().filter(|workload| chosen(cli, **workload) && subject.serves(**workload));
                turns.extend(served.map(|workload| (round, subject, *workload)));
            }
        }
    }
    turns
}

/// Whether the command line names the workload, or one that it is the comparison of.
fn chosen(cli: &Cli, workload: Workload) -> bool {
    cli.workload.is_empty() || cli.workload.iter().any(|asked| *asked == workload || asked.base() == Some(workload))
}

/// The subjects in an order that starts elsewhere in each round: none always comes after the same neighbour's warmth.
fn in_turn(subjects: &[Subject], round: u32) -> impl Iterator<Item = &Subject> {
    subjects.iter().cycle().skip(round as usize % subjects.len()).take(subjects.len())
}
