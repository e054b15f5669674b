//! A batch of KV events, from an engine that may be anything: the decoder ends, and reads no more than the batch has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pailou_kv_events::{Batch, Event};

fuzz_target!(|payload: &[u8]| {
    let Ok(batch) = Batch::new(payload) else { return };
    let mut read = 0;
    for event in batch {
        match event {
            Ok(Event::Stored(mut stored)) => {
                let hashes = stored.hashes.len();
                assert_eq!(stored.hashes.count(), hashes as usize);
                assert_eq!(stored.tokens.count(), stored.tokens.len() as usize);
                assert!(stored.tokens.is_empty() || stored.tokens.len() == hashes * stored.block_size);
                let extra: usize = (0..hashes).map(|_| stored.extra_keys.next_block().count()).sum();
                read += hashes as usize + stored.tokens.len() as usize + extra;
            }
            Ok(Event::Removed(removed)) => {
                assert_eq!(removed.hashes.count(), removed.hashes.len() as usize);
                read += removed.hashes.len() as usize;
            }
            Ok(Event::Cleared) | Err(_) => read += 1,
        }
    }
    assert!(read <= payload.len());
});
