//! Prefix caches of inference engines, known by the events that the engines publish.
//!
//! Nothing here does IO or reads a clock. `decode` reads one batch of events (vLLM, SGLang, TensorRT-LLM by ZeroMQ; MessagePack) as
//! borrowed events, without allocation.
//!
//! Engines' block hashes are never reproduced: they differ by engine, version, flag and random seed. They serve to find a block's
//! parent and to remove a block.

mod decode;

pub use self::decode::{
    Batch, BlockExtraKeys, BlockHash, BlockHashes, BlockRemoved, BlockStored, Event, ExtraKey, ExtraKeys, MalformedBatch, Tier,
    TokenIds, Undecoded,
};
