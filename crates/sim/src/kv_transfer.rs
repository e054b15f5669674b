//! KV cache on its way from an engine that prefills to one that decodes, by vLLM's, SGLang's and TensorRT-LLM's protocols.
//!
//! Addresses and identifiers in requests and replies are the engines' own. Between two simulated engines HTTP takes the place of NIXL and of
//! Mooncake's transfer engine: `POST /sim/kv/fetch` and `/sim/kv/join`. Nothing but the number of tokens is sent; the rest of the time that it
//! takes passes at the engine that decodes.

mod exchange;
mod handover;
mod held;
mod mooncake;
mod rooms;
mod trtllm;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

pub(crate) use self::handover::Handover;
use self::held::Held;
pub(crate) use self::mooncake::query;
use self::rooms::{Room, Rooms};
use crate::app::App;
use crate::config::{KvConnector, KvTransfer, Role};
use crate::generation::{Generation, Wish};
use crate::reply::{ApiError, Reply, json as reply_json};
use crate::service::Call;

/// Caches that this engine holds for others, and those it takes.
pub(crate) struct Transfers {
    /// The engine's own address; set once it listens.
    address: OnceLock<SocketAddr>,
    held: Held,
    rooms: Rooms,
    received: AtomicU64,
    sent: AtomicU64,
}

/// Members of a request that say where its KV cache comes from or goes.
#[derive(Deserialize)]
struct Members {
    kv_transfer_params: Option<VllmParams>,
    bootstrap_host: Option<String>,
    bootstrap_port: Option<u16>,
    bootstrap_room: Option<u64>,
    disaggregated_params: Option<trtllm::Params>,
    sampling_params: Option<Settings>,
    n: Option<u32>,
}

/// Settings of a request of tokens for tokens.
#[derive(Deserialize)]
struct Settings {
    extra_args: Option<ExtraArgs>,
}

#[derive(Deserialize)]
struct ExtraArgs {
    kv_transfer_params: Option<VllmParams>,
}

#[derive(Deserialize)]
struct VllmParams {
    #[serde(default)]
    do_remote_prefill: bool,
    #[serde(default)]
    do_remote_decode: bool,
    remote_engine_id: Option<String>,
    remote_request_id: Option<String>,
    remote_host: Option<String>,
    remote_port: Option<u16>,
    remote_block_ids: Option<Vec<Vec<u32>>>,
    transfer_id: Option<String>,
    remote_bootstrap_addr: Option<String>,
}

/// A request's part in a transfer.
pub(crate) enum Transfer {
    None,
    /// Its prompt has come, with so many tokens.
    Received(u32),
    /// Its prompt is held for another engine.
    Held,
    /// The same of TensorRT-LLM's.
    Context(trtllm::Context),
    /// Its prompt is offered to the engine that joins this room.
    Offered(Room),
    /// Its prompt goes to the engine that joins this room.
    Room(Room),
}

impl Transfers {
    pub(crate) fn new() -> Self {
        let (received, sent) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { address: OnceLock::new(), held: Held::default(), rooms: Rooms::default(), received, sent }
    }

    pub(crate) fn listens_on(&self, address: SocketAddr) {
        let _ = self.address.set(address);
    }

    /// Prompts that came from other engines.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Prompts that went to other engines.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Prompts that wait for another engine to fetch them.
    pub(crate) fn held(&self) -> usize {
        self.held.len() + self.rooms.ready()
    }

    /// Their metrics.
    pub(crate) fn render(&self) -> String {
        let each = [
            ("received_total", "Prompts whose KV cache came from another engine.", "counter", self.received()),
            ("sent_total", "Prompts whose KV cache went to another engine.", "counter", self.sent()),
            ("held", "Prompts whose KV cache waits for another engine.", "gauge", self.held() as u64),
        ];
        let page = each.map(|(name, help, kind, value)| {
            let name = format!("pailou_sim_kv_{name}");
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
        });
        page.concat()
    }
}

impl Transfer {
    /// Reads a request's part, and waits for its prompt where that comes from another engine.
    ///
    /// # Errors
    /// A member that the engine's role needs is missing; the other engine is silent, or does not have the prompt.
    pub(crate) async fn begin(app: &Arc<App>, call: &Call) -> Result<Self, ApiError> {
        let Some(settings) = &app.config.kv_transfer else { return Ok(Self::None) };
        let mut members: Members = call.json()?;
        let nested = members.sampling_params.take().and_then(|settings| settings.extra_args?.kv_transfer_params);
        members.kv_transfer_params = members.kv_transfer_params.or(nested);
        let transfer = match settings.connector {
            KvConnector::Nixl => Self::nixl(app, settings, &members).await?,
            KvConnector::Sglang => Self::sglang(app, settings, &members).await?,
            KvConnector::Mooncake => mooncake::begin(app, settings, &members).await?,
            KvConnector::TrtLlm => trtllm::begin(app, settings, &members).await?,
        };
        if members.n.is_some_and(|n| n > 1) && !matches!(transfer, Self::None) {
            return Err(ApiError::bad_request("One completion alone is possible with prefill and decode apart."));
        }
        Ok(transfer)
    }

    async fn nixl(app: &Arc<App>, settings: &KvTransfer, members: &Members) -> Result<Self, ApiError> {
        let Some(params) = &members.kv_transfer_params else { return Ok(Self::None) };
        if params.do_remote_decode {
            return Ok(Self::Held);
        }
        if !params.do_remote_prefill {
            return Ok(Self::None);
        }
        let VllmParams { remote_engine_id, remote_request_id, remote_host, remote_port, remote_block_ids, .. } = params;
        let known = remote_engine_id.as_ref().zip(remote_request_id.as_ref()).zip(remote_block_ids.as_ref());
        let (Some(((engine, request), blocks)), Some((host, port))) = (known, remote_host.as_ref().zip(*remote_port)) else {
            return Err(ApiError::bad_request("kv_transfer_params do not say where the remote blocks are."));
        };
        let question = json!({"engine_id": engine, "request_id": request, "blocks": blocks});
        let tokens = exchange::ask(host, port, "/sim/kv/fetch", &question, settings.timeout()).await?;
        Self::arrived(app, settings, tokens).await
    }

    async fn sglang(app: &Arc<App>, settings: &KvTransfer, members: &Members) -> Result<Self, ApiError> {
        if settings.role == Role::Both {
            return Ok(Self::None);
        }
        let Some(room) = members.bootstrap_room else {
            return Err(ApiError::bad_request("A disaggregated request came without a bootstrap room."));
        };
        if settings.role == Role::Prefill {
            return Ok(Self::Room(app.transfers.rooms.open(room)?));
        }
        let Some((host, port)) = members.bootstrap_host.as_ref().zip(members.bootstrap_port) else {
            return Err(ApiError::bad_request("A disaggregated request came without a bootstrap address."));
        };
        let tokens = exchange::ask(host, port, "/sim/kv/join", &json!({"room": room}), settings.timeout()).await?;
        Self::arrived(app, settings, tokens).await
    }

    /// Lets the time of the transfer pass.
    async fn arrived(app: &App, settings: &KvTransfer, tokens: u32) -> Result<Self, ApiError> {
        let seconds = settings.us_per_token * f64::from(tokens) / 1e6 * app.config.time_scale;
        tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or_default()).await;
        app.transfers.received.fetch_add(1, Ordering::Relaxed);
        Ok(Self::Received(tokens))
    }

    /// Tokens of the prompt that came.
    pub(crate) fn received(&self) -> Option<u32> {
        match self {
            Self::Received(tokens) => Some(*tokens),
            _ => None,
        }
    }

    /// The answer that is wanted: one token of an engine that only prefills by SGLang's or TensorRT-LLM's protocol, whatever the request says.
    pub(crate) fn wish(&self, wish: Wish) -> Wish {
        match self {
            Self::Room(_) | Self::Context(_) => Wish { max_tokens: Some(1), ..wish },
            _ => wish,
        }
    }

    /// Whether the reply is to name the prompt's tokens.
    pub(crate) fn names_tokens(&self) -> bool {
        matches!(self, Self::Context(_))
    }

    /// Hands the prompt over once it is read; gives what the reply says of it.
    ///
    /// # Errors
    /// No other engine came for it in time.
    pub(crate) async fn end(self, app: &Arc<App>, generation: &mut Generation) -> Result<Handover, ApiError> {
        let patience = app.config.kv_transfer.as_ref().map(KvTransfer::timeout).unwrap_or_default();
        match self {
            Self::None | Self::Received(_) => Ok(Handover::None),
            Self::Context(context) => {
                generation.finish().await;
                context.hold(app, generation.usage().prompt)
            }
            Self::Offered(room) => {
                generation.finish().await;
                room.leave(app, generation.usage().prompt, patience);
                Ok(Handover::None)
            }
            Self::Held => {
                generation.finish().await;
                let tokens = generation.usage().prompt;
                let request = app.id("kv-");
                app.transfers.held.put(&request, tokens)?;
                let address = app.transfers.address.get().copied().unwrap_or(app.config.listen);
                let blocks: Vec<u32> = (0..tokens.div_ceil(app.config.block_size.max(1))).collect();
                Ok(Handover::KvTransferParams(json!({
                    "do_remote_prefill": true, "do_remote_decode": false, "remote_block_ids": [blocks],
                    "remote_engine_id": app.config.name, "remote_request_id": request,
                    "remote_host": address.ip().to_string(), "remote_port": address.port(), "tp_size": 1,
                })))
            }
            Self::Room(room) => {
                generation.finish().await;
                room.hand_over(generation.usage().prompt, patience).await?;
                app.transfers.sent.fetch_add(1, Ordering::Relaxed);
                Ok(Handover::None)
            }
        }
    }
}

#[derive(Deserialize)]
struct Fetch {
    engine_id: String,
    request_id: String,
}

#[derive(Deserialize)]
struct Join {
    room: u64,
    engine_id: Option<String>,
}

/// `POST /sim/kv/fetch`: an engine takes a prompt that is held for it.
pub(crate) fn fetch(app: &App, call: &Call) -> Reply {
    let wanted: Fetch = call.json()?;
    let held = (wanted.engine_id == app.config.name).then(|| app.transfers.held.take(&wanted.request_id)).flatten();
    let tokens = held.ok_or_else(|| exchange::lost("the remote blocks are not known"))?;
    app.transfers.sent.fetch_add(1, Ordering::Relaxed);
    reply_json(&json!({"tokens": tokens}))
}

/// `POST /sim/kv/join`: an engine waits for the prompt of a room.
pub(crate) async fn join(app: &App, call: &Call) -> Reply {
    let wanted: Join = call.json()?;
    if wanted.engine_id.is_some_and(|engine| engine != app.config.name) {
        return Err(exchange::lost("the engine is not known"));
    }
    let tokens = app.transfers.rooms.join(wanted.room).await?;
    reply_json(&json!({"tokens": tokens}))
}
