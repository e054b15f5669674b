//! Settlement of a forwarded connection, or of a client's datagrams: once, on every way out.

use std::{
    net::SocketAddr,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use crate::{
    context::Context,
    gateway_log,
    session_record::{Protocol, SessionRecord},
};

/// A session's record. Settled when dropped.
pub(crate) struct Session {
    context: Arc<Context>,
    record: SessionRecord,
}

impl Session {
    /// A session that has just begun.
    pub(super) fn new(context: Arc<Context>, protocol: Protocol, peer: SocketAddr, sni: Option<Arc<str>>) -> Self {
        context.metrics.sessions.opened();
        Self { context, record: SessionRecord::new(protocol, peer, sni) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.context.metrics.settle_session(&self.record);
        gateway_log::write_session(&self.context, &self.record);
    }
}

impl Deref for Session {
    type Target = SessionRecord;

    fn deref(&self) -> &SessionRecord {
        &self.record
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut SessionRecord {
        &mut self.record
    }
}
