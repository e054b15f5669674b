//! `pailou picker`: the built-in picker as an endpoint picker for other gateways.

#[cfg(feature = "cluster")]
mod cluster;
mod configuration;
mod files;
mod followed;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pailou_epp::{BindError, Certificate, EndpointPicker, Limits, Options, Server};
use pailou_snapshot::PortKey;
use tokio::runtime::Handle;

use crate::{
    admin::{self, state::AdminState},
    cli::{MetricNameSet, PickerArgs},
    exit::{Error, ExitOutcome},
    runtime,
    signals::Signals,
    tokenizers,
};
#[cfg(feature = "cluster")]
use cluster::follow_cluster;
use files::Files;

/// Picks until a signal comes.
pub(crate) fn run(args: &PickerArgs) -> Result<ExitOutcome, Error> {
    runtime::many_threads()?.block_on(serve(args))
}

async fn serve(args: &PickerArgs) -> Result<ExitOutcome, Error> {
    let mut signals = Signals::new(None)?;
    let picker = EndpointPicker::new(&Handle::current(), MetricNameSet::all(&args.metric_names));
    let picker = Arc::new(picker.with_token_source(tokenizers::read(args.tokenizers.as_deref())?));
    let listener = admin::bind(SocketAddr::new(args.bind, args.metrics_port)).await?;
    let server = Server::start(options(args), picker.clone()).await.map_err(not_bound)?;
    let files = match args.files.is_empty() {
        true => {
            follow_cluster(args, picker.clone()).await?;
            None
        }
        false => Some(Files::follow(args, picker.clone())?),
    };
    let how = if args.secure_serving { "TLS" } else { "cleartext" };
    tracing::info!("serving the endpoint picker protocol on {} in {how}", SocketAddr::new(args.bind, args.grpc_port));
    let admin_state = Arc::new(AdminState::new(picker));
    tokio::spawn(admin::serve(listener, admin_state.clone()));
    let signal = signals.next().await;
    tracing::info!("{signal}: finishing requests for at most {} s; a second signal ends at once", args.drain);
    admin_state.drain();
    drop(files);
    tokio::select! {
        is_over = server.drain(Duration::from_secs(args.drain.into())) => match is_over {
            true => tracing::info!("every request is finished"),
            false => tracing::warn!("requests were cut off"),
        },
        signal = signals.next() => tracing::warn!("{signal} again: ending at once"),
    }
    Ok(ExitOutcome::Done)
}

fn options(args: &PickerArgs) -> Options {
    let certificate = args.secure_serving.then(|| match &args.cert_path {
        Some(path) => Certificate::Directory(path.clone()),
        None => Certificate::SelfSigned(vec!["localhost".to_owned()]),
    });
    Options {
        listen: SocketAddr::new(args.bind, args.grpc_port),
        health: SocketAddr::new(args.bind, args.grpc_health_port),
        certificate,
        limits: Limits {
            max_body: (args.max_body as usize) << 20,
            body_memory: u64::from(args.body_memory) << 20,
            max_endpoints: args.max_endpoints.into(),
        },
    }
}

fn not_bound(error: BindError) -> Error {
    match error {
        BindError::Socket { address, source } => Error::Bind {
            port: PortKey::tcp(address),
            purpose: "the endpoint picker".to_owned(),
            source,
            hint: "give other ports with --grpc-port and --grpc-health-port, or another address with --bind".to_owned(),
        },
        BindError::Certificate(error) => Error::PickerCertificate(error),
    }
}

#[cfg(not(feature = "cluster"))]
async fn follow_cluster(_: &PickerArgs, _: Arc<EndpointPicker>) -> Result<(), Error> {
    Err(Error::WithoutCluster)
}
