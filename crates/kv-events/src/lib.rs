//! Prefix caches of inference engines, known by the events that the engines publish.
//!
//! Nothing here does IO or reads a clock. In reading order:
//!
//! - `decode`: one batch of events (vLLM, SGLang, TensorRT-LLM by ZeroMQ; MessagePack) as borrowed events, without allocation;
//! - `index`: blocks by the tokens from the beginning of the prompt up to their end, and the longest cached run of a prompt for each
//!   publisher;
//! - `ingest`: a batch's payload into the index, and the alarm when nothing of it is understood;
//! - `sequence`: a publisher's batches without gaps: restarts, joins, replays;
//! - `zmtp`: the protocol by which batches come.
//!
//! Engines' block hashes are never reproduced: they differ by engine, version, flag and random seed. They serve to find a block's
//! parent and to remove a block; the index has keys of its own, made of the tokens that events carry.

mod decode;
mod index;
mod ingest;
mod sequence;
#[cfg(test)]
mod testing;
mod zmtp;

pub use self::decode::{
    Batch, BlockExtraKeys, BlockHash, BlockHashes, BlockRemoved, BlockStored, Event, ExtraKey, ExtraKeys, MalformedBatch, Tier,
    TokenIds, Undecoded,
};
pub use self::index::{ApplyOutcome, CachedPrefix, Index, IndexCounters, Prompt, PromptImage, PublisherId};
pub use self::ingest::{Ingest, IngestBatch, IngestCounters};
pub use self::sequence::{SequenceAction, SequenceCounters, SequenceKeeper};
pub use self::zmtp::{
    Publication, ReplayMessage, Subscription, ZmtpError, ZmtpEvent, ZmtpReader, ZmtpSocket, ask_for_replay, end_replay,
    open_connection, publish, replay, replay_start, subscribe_to_all,
};
