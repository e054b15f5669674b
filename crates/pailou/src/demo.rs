//! `pailou demo`: the examples with simulated engines behind them, all on loopback.

mod engines;
mod objects;
mod words;

use std::{io::Write, time::Duration};

use pailou_compile::Settings;
use pailou_picker::MetricNames;
use pailou_proxy::{
    Options, access_log::Sink, dns::Overrides, local_addresses::LocalAddresses, model_spans::ModelSpans, receipts::ReceiptSettings,
    server::Sockets,
};

use crate::{
    admin::{self, guard::AdminGuard},
    cli::DemoArgs,
    configuration::Configuration,
    exit::{Error, ExitOutcome},
    runtime,
    signals::Signals,
    standalone::Standalone,
};
use engines::Engines;

/// How long requests get to finish: nobody waits for a demo's.
const DRAIN: Duration = Duration::from_secs(2);

/// Bytes of request bodies held at once.
const BODY_BUDGET: u64 = 256 << 20;

/// Runs until a signal comes.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitOutcome, Error> {
    runtime::many_threads()?.block_on(async {
        let signals = Signals::new(None)?;
        let engines = Engines::start(args.engine_port).await?;
        let admin = match args.admin.0 {
            Some(address) => Some(admin::bind(address).await?),
            None => None,
        };
        let settings = Settings { addresses: vec![args.bind], admin: args.admin.0, ..Settings::default() };
        let configuration = Configuration::of_objects(objects::namespace(), objects::all(args, &engines), settings);
        let hosted = format!("{}:443:{}", objects::HOSTED_NAME, engines.hosted());
        let options = Options {
            workers: runtime::processors(),
            overrides: Overrides::parse([hosted.as_str()]).map_err(Error::Resolve)?,
            access_log: if args.access_log { Sink::To(Box::new(std::io::stdout())) } else { Sink::Off },
            response_flags: true,
            body_budget: BODY_BUDGET,
            metric_names: MetricNames::default(),
            local_addresses: LocalAddresses::Allowed,
            local_backends: LocalAddresses::Allowed,
            receipts: ReceiptSettings { count: 4096, share: 1.0, slow: None, headers: false },
            tracing: None,
            model_spans: ModelSpans::default(),
            metric_sink: None,
            token_source: None,
        };
        let gateway = Standalone::start(
            configuration,
            options,
            AdminGuard::default().allowing_tries(true),
            Sockets::default(),
            "give other ports with --port and --hosted-port, or another address with --bind",
        )?;
        let mut out = std::io::stdout();
        out.write_all(words::welcome(args, &engines).as_bytes())?;
        out.flush()?;
        gateway.run(admin, signals, None, DRAIN).await;
        engines.stop().await;
        Ok(ExitOutcome::Done)
    })
}
