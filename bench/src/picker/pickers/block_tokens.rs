//! Blocks of the simulation as engines and prompts name them for our picker: by their tokens.
//!
//! A block's tokens follow from its hash, so that prompts have equal tokens as far as they have equal blocks.

use rmp::encode::{ValueWriteError, write_array_len, write_f64, write_nil, write_str, write_uint};

use crate::picker::{
    kv::KvEvent,
    policy::PickCall,
    prompt::{BLOCK_TOKENS, mix},
};

/// The tokens of a prompt.
pub(super) fn of_prompt(call: &PickCall<'_>) -> Vec<u32> {
    let full = (call.prompt_tokens / BLOCK_TOKENS) as usize;
    let rest = u64::from(call.prompt_tokens % BLOCK_TOKENS);
    // No other prompt has those after its last full block.
    let last = (0..rest).map(|place| token(call.id as u64, BLOCK_TOKENS.into()).wrapping_add(place as u32));
    call.blocks[..full].iter().flat_map(|hash| tokens(*hash)).chain(last).collect()
}

fn tokens(block: u64) -> impl Iterator<Item = u32> {
    (0..u64::from(BLOCK_TOKENS)).map(move |place| token(block, place))
}

fn token(block: u64, place: u64) -> u32 {
    (mix(block, place) % 150_000) as u32
}

/// A batch of events, as vLLM publishes it.
pub(super) fn encode(events: &[KvEvent], into: &mut Vec<u8>) {
    into.clear();
    // Writing to memory cannot fail.
    let _ = write_batch(events, into);
}

fn write_batch(events: &[KvEvent], out: &mut Vec<u8>) -> Result<(), ValueWriteError> {
    write_array_len(out, 2)?;
    write_f64(out, 0.0)?;
    write_array_len(out, events.len() as u32)?;
    for event in events {
        match *event {
            KvEvent::Stored { hash, parent } => {
                write_array_len(out, 6)?;
                write_str(out, "BlockStored")?;
                write_array_len(out, 1)?;
                write_uint(out, hash)?;
                match parent {
                    Some(parent) => drop(write_uint(out, parent)?),
                    None => write_nil(out).map_err(ValueWriteError::InvalidMarkerWrite)?,
                }
                write_array_len(out, BLOCK_TOKENS)?;
                tokens(hash).try_for_each(|token| write_uint(out, token.into()).map(drop))?;
                write_uint(out, BLOCK_TOKENS.into())?;
                write_nil(out).map_err(ValueWriteError::InvalidMarkerWrite)?;
            }
            KvEvent::Removed(hash) => {
                write_array_len(out, 2)?;
                write_str(out, "BlockRemoved")?;
                write_array_len(out, 1)?;
                write_uint(out, hash)?;
            }
        }
    }
    Ok(())
}
