//! Answers of the admin endpoint, asked for by a thread of its own: keys work while the endpoint is slow.

use std::{
    io,
    net::SocketAddr,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use pailou_snapshot::Name;
use serde_json::Value;
use tokio::sync::mpsc::Sender;

use super::view::View;
use crate::{admin::client, exit::Error, overview::Overview};

/// Rows that are asked for.
const MAX_ROWS: usize = 200;

/// An admin endpoint.
pub(super) struct Source {
    pub(super) admin: SocketAddr,
    pub(super) token: Option<String>,
    /// The Gateway whose proxies are looked at; those of all where absent.
    pub(super) gateway: Option<Name>,
}

/// View that is looked at, and its filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) view: View,
    pub(super) filter: String,
}

/// Something that was asked for has come.
pub(super) struct News {
    pub(super) overview: io::Result<Overview>,
    /// Rows of a view that has a path of its own; `None` for all others.
    pub(super) rows: Option<(View, io::Result<Value>)>,
}

impl Source {
    /// The document at a path.
    pub(super) fn get(&self, path: &str) -> io::Result<Value> {
        let path = client::of_gateway(path, self.gateway.as_ref());
        let answer = client::get(self.admin, &path, self.token.as_deref())?;
        if answer.status == 200 { Ok(serde_json::from_slice(&answer.body)?) } else { Err(answer.refusal()) }
    }

    /// A sample of the process as a whole.
    pub(super) fn overview(&self) -> io::Result<Overview> {
        Ok(serde_json::from_value(self.get("/overview")?)?)
    }

    pub(super) fn error(&self, source: io::Error) -> Error {
        Error::Admin { address: self.admin, source }
    }

    /// Asks in intervals, and at once when something else is wanted, until nobody listens.
    pub(super) fn follow(&self, interval: Duration, mut wanted: Wanted, changes: &Receiver<Wanted>, news: &Sender<News>) {
        loop {
            let rows = path(&wanted).map(|path| (wanted.view, self.get(&path)));
            if news.blocking_send(News { overview: self.overview(), rows }).is_err() {
                return;
            }
            match changes.recv_timeout(interval) {
                // Of several changes the last one counts.
                Ok(change) => wanted = changes.try_iter().last().unwrap_or(change),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// Path of a view's own rows.
fn path(wanted: &Wanted) -> Option<String> {
    let escaped: String = wanted.filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
    match wanted.view {
        View::Now | View::Pools | View::Models => None,
        View::Routes => Some(format!("/routes?limit={MAX_ROWS}&search={escaped}")),
        View::Requests => Some(format!("/receipts?limit={MAX_ROWS}")),
        View::Limits => Some(format!("/limits?limit={MAX_ROWS}")),
    }
}
