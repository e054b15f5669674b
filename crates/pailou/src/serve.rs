//! `pailou serve`: a gateway on files.

use std::{io, path::Path, time::Duration};

use pailou_proxy::{Options, access_log::Sink, dns::Overrides, local_addresses::LocalAddresses, server::Sockets};

use crate::{
    admin::{self, guard::AdminGuard},
    cli::{AccessLog, MetricNameSet, ServeArgs, ServingArgs},
    configuration::Configuration,
    exit::{Error, ExitOutcome},
    handover::{self, Former, HandoverSocket},
    limit_service, limit_store,
    log_file::LogFile,
    runtime,
    signals::Signals,
    standalone::Standalone,
    telemetry_variables, tokenizers,
};

/// Serves until a signal comes.
pub(crate) fn run(args: &ServeArgs) -> Result<ExitOutcome, Error> {
    let mut configuration = Configuration::new(&args.config)?;
    configuration.count_in(limit_store::read(&args.limit_store)?, limit_service::read(&args.limit_store)?);
    configuration.reserve_admin(args.admin.0);
    if let Some(error) = configuration.missing() {
        return Err(error);
    }
    let overrides = Overrides::parse(args.resolve.iter().map(String::as_str)).map_err(Error::Resolve)?;
    let (options, log_file) = serving(&args.serving)?;
    let options = Options { overrides, ..options };
    let guard = serving_guard(&args.serving)?;
    runtime::raise_descriptors();
    runtime::one_thread()?.block_on(async {
        let signals = Signals::new(log_file)?;
        let (mut sockets, former) = take_over(args.handover.as_deref())?;
        let admin = match args.admin.0 {
            Some(address) => Some(admin::adopt_or_bind(sockets.take_tcp(address), address).await?),
            None => None,
        };
        let hint = "stop what has the port, change the listener's `port`, or move the Gateway with --address GATEWAY=IP";
        let gateway = Standalone::start(configuration, options, guard, sockets, hint)?;
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

/// Options of the data plane, from flags, and the file of the access log if it goes to one.
pub(crate) fn serving(args: &ServingArgs) -> Result<(Options, Option<LogFile>), Error> {
    let (access_log, log_file) = sink(&args.access_log)?;
    let variables = |name: &str| std::env::var(name).ok();
    let (tracing, metric_sink) = (telemetry_variables::read(&variables)?, telemetry_variables::read_metrics(&variables)?);
    let options = Options {
        workers: args.workers.map_or_else(runtime::processors, usize::from),
        overrides: Overrides::default(),
        access_log,
        response_flags: args.response_flags,
        metric_names: MetricNameSet::all(&args.metric_names),
        body_budget: u64::from(args.body_memory) << 20,
        // The operator who runs the process writes the files.
        local_addresses: LocalAddresses::Allowed,
        local_backends: LocalAddresses::Allowed,
        receipts: args.receipts.settings(),
        tracing,
        model_spans: telemetry_variables::read_model_spans(&variables),
        metric_sink,
        token_source: tokenizers::read(args.tokenizers.as_deref())?,
    };
    Ok((options, log_file))
}

/// Rules of the admin endpoint.
pub(crate) fn serving_guard(args: &ServingArgs) -> Result<AdminGuard, Error> {
    Ok(admin_guard(args.receipts.admin_token_file.as_deref())?.allowing_tries(args.admin_try))
}

/// Rules of an admin endpoint with the token of a file, if one is given.
pub(crate) fn admin_guard(token_file: Option<&Path>) -> Result<AdminGuard, Error> {
    let unread = |source| Error::Read { path: token_file.map(Path::to_owned).unwrap_or_default(), source };
    AdminGuard::new(token_file).map_err(unread)
}

fn sink(target: &AccessLog) -> Result<(Sink, Option<LogFile>), Error> {
    Ok(match target {
        AccessLog::Off => (Sink::Off, None),
        AccessLog::Stdout => (Sink::To(Box::new(io::stdout())), None),
        AccessLog::Stderr => (Sink::To(Box::new(io::stderr())), None),
        AccessLog::File(path) => {
            let file = LogFile::open(path).map_err(|source| Error::Write { path: path.clone(), source })?;
            (Sink::To(Box::new(file.clone())), Some(file))
        }
    })
}
