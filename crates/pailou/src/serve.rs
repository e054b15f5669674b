//! `pailou serve`: a gateway on files.

use std::{fs::OpenOptions, io, path::Path, time::Duration};

use pailou_proxy::{Options, access_log::Sink, dns::Overrides, server::Sockets};

use crate::{
    admin,
    cli::{AccessLog, ServeArgs, ServingArgs},
    configuration::Configuration,
    exit::{Error, ExitOutcome},
    handover::{self, Former, HandoverSocket},
    runtime,
    signals::Signals,
    standalone::Standalone,
};

/// Serves until a signal comes.
pub(crate) fn run(args: &ServeArgs) -> Result<ExitOutcome, Error> {
    let configuration = Configuration::new(&args.config)?;
    if let Some(error) = configuration.missing() {
        return Err(error);
    }
    let overrides = Overrides::parse(args.resolve.iter().map(String::as_str)).map_err(Error::Resolve)?;
    let options = Options { overrides, ..serving(&args.serving)? };
    runtime::raise_descriptors();
    runtime::one_thread()?.block_on(async {
        let signals = Signals::new()?;
        let (mut sockets, former) = take_over(args.handover.as_deref())?;
        let admin = match args.admin.0 {
            Some(address) => Some(admin::adopt_or_bind(sockets.take_tcp(address), address).await?),
            None => None,
        };
        let hint = "stop what has the port, change the listener's `port`, or move the Gateway with --address GATEWAY=IP";
        let gateway = Standalone::start(configuration, options, sockets, hint)?;
        if let Some(address) = args.admin.0 {
            tracing::info!("admin endpoint on http://{address}");
        }
        let handover = args.handover.as_deref().map(HandoverSocket::new).transpose().map_err(Error::Handover)?;
        if let Some(former) = former {
            // If the former process has gone meanwhile, this one serves all the same.
            match former.confirm() {
                Ok(()) => tracing::info!("took over the sockets of the former process"),
                Err(error) => tracing::warn!(%error, "the former process has already ended"),
            }
        }
        gateway.run(admin, signals, handover, Duration::from_secs(args.serving.drain.into())).await;
        Ok(ExitOutcome::Done)
    })
}

/// The sockets of a former process, and the connection to it.
fn take_over(path: Option<&Path>) -> Result<(Sockets, Option<Former>), Error> {
    let taken = path.map(handover::take).transpose().map_err(Error::Handover)?.flatten();
    Ok(taken.map_or_else(Default::default, |(sockets, former)| (sockets, Some(former))))
}

/// Options of the data plane, from flags.
pub(crate) fn serving(args: &ServingArgs) -> Result<Options, Error> {
    Ok(Options {
        workers: args.workers.map_or_else(runtime::processors, usize::from),
        overrides: Overrides::default(),
        access_log: sink(&args.access_log)?,
        response_flags: args.response_flags,
        body_budget: u64::from(args.body_memory) << 20,
    })
}

fn sink(target: &AccessLog) -> Result<Sink, Error> {
    Ok(match target {
        AccessLog::Off => Sink::Off,
        AccessLog::Stdout => Sink::To(Box::new(io::stdout())),
        AccessLog::Stderr => Sink::To(Box::new(io::stderr())),
        AccessLog::File(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Sink::To(Box::new(file.map_err(|source| Error::Write { path: path.clone(), source })?))
        }
    })
}
