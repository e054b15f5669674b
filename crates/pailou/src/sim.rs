//! `pailou sim`: a simulated model server on its own.

use std::{fs, io::Write, path::Path, sync::Arc};

use pailou_sim::{
    Config, CostModel, EventEncoding, Fault, KvConnector, KvEvents, KvTransfer, MetricsDialect, OffloadLimits, Secret, Sim,
    StartError, Tls,
};
use pailou_snapshot::PortKey;
use pailou_tokenizer::{ModelFiles, ModelTokenizer};

use crate::{
    cli::{Connector, CostArgs, Dialect, Encoding, KvEventsArgs, KvOffloadArgs, KvTransferArgs, Role, SimArgs},
    exit::{Error, ExitOutcome},
    runtime,
    signals::Signals,
};

/// Runs until a signal comes; requests in progress get a few seconds to end, a second signal cuts them off.
pub(crate) fn run(args: &SimArgs) -> Result<ExitOutcome, Error> {
    let config = config(args)?;
    runtime::many_threads()?.block_on(async {
        let mut signals = Signals::new(None)?;
        let sim = Sim::start(config).await.map_err(|error| start_error(error, "the simulated engine", "--listen IP:PORT"))?;
        let mut out = std::io::stdout();
        writeln!(out, "Simulated engine for {} on {}", args.models.join(", "), sim.url())?;
        if let Some(address) = sim.kv_events_addr() {
            let replay = sim.kv_events_replay_addr().map(|address| format!(", replayed on tcp://{address}"));
            writeln!(out, "KV events on tcp://{address}{}", replay.unwrap_or_default())?;
        }
        out.flush()?;
        signals.next().await;
        tokio::select! {
            () = sim.stop() => {}
            _ = signals.next() => {}
        }
        Ok(ExitOutcome::Done)
    })
}

/// A simulated server's failure to start, with the flag that would move it elsewhere.
pub(crate) fn start_error(error: StartError, purpose: &str, flag: &str) -> Error {
    match error {
        StartError::Bind { addr, source } => Error::Bind {
            port: PortKey::tcp(addr),
            purpose: purpose.to_owned(),
            source,
            hint: format!("give another one with {flag}"),
        },
        other => Error::Sim(other),
    }
}

fn config(args: &SimArgs) -> Result<Config, Error> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source });
    let tls = match (&args.access.tls_cert, &args.access.tls_key) {
        (Some(cert), Some(key)) => Some(Tls { cert_pem: read(cert)?, key_pem: read(key)?.into() }),
        _ => None,
    };
    let api_key: Option<Secret> = match &args.access.api_key_file {
        Some(path) => Some(read(path)?.trim_end().into()),
        None => std::env::var("PAILOU_SIM_API_KEY").ok().map(Secret::from),
    };
    let fault = |text: &String| serde_json::from_str::<Fault>(text).map_err(|source| Error::Fault { text: text.clone(), source });
    Ok(Config {
        listen: args.listen,
        name: args.name.clone(),
        models: args.models.clone(),
        adapters: args.adapters.clone(),
        max_adapters: args.max_adapters,
        cost: cost(&args.cost),
        time_scale: if args.cost.instant { 0.0 } else { args.cost.time_scale },
        seed: args.seed,
        block_size: args.capacity.block_size,
        num_blocks: args.capacity.num_blocks,
        max_num_seqs: args.capacity.max_num_seqs,
        max_num_batched_tokens: args.capacity.max_num_batched_tokens,
        max_waiting: args.capacity.max_waiting,
        max_model_len: args.capacity.max_model_len,
        output_tokens: (args.output_tokens[0], args.output_tokens[1]),
        metrics: match args.dialect {
            Dialect::Vllm => MetricsDialect::Vllm,
            Dialect::Sglang => MetricsDialect::Sglang,
            Dialect::Trtllm => MetricsDialect::Trtllm,
        },
        tls,
        api_key,
        path_prefix: args.path_prefix.clone(),
        kv_events: kv_events(&args.kv_events),
        tokenizer: args.tokenizer.as_deref().map(tokenizer).transpose()?,
        kv_offload: kv_offload(&args.kv_offload),
        kv_transfer: kv_transfer(&args.kv_transfer),
        faults: args.faults.iter().map(fault).collect::<Result<_, _>>()?,
        ..Config::default()
    })
}

fn tokenizer(directory: &Path) -> Result<Arc<ModelTokenizer>, Error> {
    let read = ModelFiles::read(directory).and_then(|files| ModelTokenizer::new(&files));
    read.map(Arc::new).map_err(|source| Error::Tokenizer { path: directory.to_owned(), source })
}

fn kv_events(args: &KvEventsArgs) -> Option<KvEvents> {
    Some(KvEvents {
        listen: args.kv_events_listen?,
        replay_listen: args.kv_events_replay_listen,
        encoding: match args.kv_events_encoding {
            Encoding::Map => EventEncoding::Map,
            Encoding::Array => EventEncoding::Array,
        },
        topic: args.kv_events_topic.clone(),
    })
}

fn kv_offload(args: &KvOffloadArgs) -> Option<OffloadLimits> {
    let KvOffloadArgs { kv_cpu_blocks: cpu_blocks, kv_disk_blocks: disk_blocks, kv_load_us: load_us_per_token } = *args;
    (cpu_blocks > 0 || disk_blocks > 0).then_some(OffloadLimits { cpu_blocks, disk_blocks, load_us_per_token })
}

fn kv_transfer(args: &KvTransferArgs) -> Option<KvTransfer> {
    let role = match args.role? {
        Role::Prefill => pailou_sim::Role::Prefill,
        Role::Decode => pailou_sim::Role::Decode,
        Role::Both => pailou_sim::Role::Both,
    };
    let connector = match args.kv_connector {
        Connector::Nixl => KvConnector::Nixl,
        Connector::Sglang => KvConnector::Sglang,
        Connector::Mooncake => KvConnector::Mooncake,
        Connector::TrtLlm => KvConnector::TrtLlm,
    };
    let settings = KvTransfer::new(role, connector);
    Some(KvTransfer { bootstrap_listen: args.bootstrap_listen, us_per_token: args.transfer_us, ..settings })
}

fn cost(args: &CostArgs) -> CostModel {
    let base = if args.instant { CostModel::instant() } else { CostModel::default() };
    CostModel {
        request_us: args.request_us.unwrap_or(base.request_us),
        step_us: args.step_us.unwrap_or(base.step_us),
        prefill_us_per_token: args.prefill_us.unwrap_or(base.prefill_us_per_token),
        decode_us_per_seq: args.decode_us.unwrap_or(base.decode_us_per_seq),
        jitter: args.jitter.unwrap_or(base.jitter),
    }
}
