//! Connections of the admin endpoint. One that waits for its peer makes room for a new one, so that probes always get an answer.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{self, Instant},
};

/// Connections at the same time.
pub(super) const MAX_CONNECTIONS: usize = 256;

/// All connections, the oldest first.
#[derive(Default)]
pub(super) struct Connections(Mutex<VecDeque<Arc<Connection>>>);

struct Connection {
    work: Mutex<Work>,
    /// Another needs its place.
    displaced: Notify,
}

/// Work for a connection's peer.
struct Work {
    /// Requests without the end of their responses.
    requests: usize,
    /// When the last one began, or the connection did.
    began: Instant,
}

/// A connection's place among them.
pub(super) struct Place {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

/// A request that is worked on, until its response's body has been taken.
pub(super) struct RequestGuard(Arc<Connection>);

impl Connections {
    /// A place. If there is none, the oldest connection that is idle has to go; `None` where all are at work.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut all = self.0.lock();
        if all.len() >= MAX_CONNECTIONS {
            let idle = all.iter().position(|one| one.work.lock().requests == 0)?;
            if let Some(idle) = all.remove(idle) {
                idle.displaced.notify_one();
            }
        }
        let work = Mutex::new(Work { requests: 0, began: Instant::now() });
        let connection = Arc::new(Connection { work, displaced: Notify::new() });
        all.push_back(connection.clone());
        Some(Place { connections: self.clone(), connection })
    }
}

impl Place {
    /// Notes a request.
    pub(super) fn begin(&self) -> RequestGuard {
        let mut work = self.connection.work.lock();
        work.requests += 1;
        work.began = Instant::now();
        RequestGuard(self.connection.clone())
    }

    /// Waits until the connection has to end: another needs its place, or nothing was asked for that long.
    pub(super) async fn over(&self, limit: Duration) {
        let is_late = async {
            loop {
                let end = self.connection.work.lock().began + limit;
                if end <= Instant::now() {
                    return;
                }
                time::sleep_until(end).await;
            }
        };
        tokio::select! {
            () = self.connection.displaced.notified() => {}
            () = is_late => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.0.lock().retain(|one| !Arc::ptr_eq(one, &self.connection));
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.work.lock().requests -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_idle_connection_makes_room_and_none_at_work_does() {
        let all = Arc::new(Connections::default());
        let places: Vec<_> = (0..MAX_CONNECTIONS).map(|_| Connections::enter(&all).unwrap()).collect();
        let mut work: Vec<_> = places.iter().map(Place::begin).collect();
        assert!(Connections::enter(&all).is_none());
        work.remove(7);
        let new = Connections::enter(&all).unwrap();
        let _more = new.begin();
        places[7].over(Duration::from_secs(3600)).await;
        drop(places);
        assert_eq!(all.0.lock().len(), 1);
    }

    #[tokio::test]
    async fn the_time_of_a_connection_begins_with_each_request() {
        let all = Arc::new(Connections::default());
        let place = Connections::enter(&all).unwrap();
        let connected = place.connection.work.lock().began;
        drop(place.begin());
        assert!(place.connection.work.lock().began > connected);
        place.over(Duration::ZERO).await;
    }
}
