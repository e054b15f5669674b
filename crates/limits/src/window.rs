//! Windows of time that limits count in.

/// Length of a window, and its begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Length, seconds; at least 1.
    pub seconds: u64,
    /// Begin.
    pub kind: WindowKind,
}

/// Begin of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// At multiples of its length since 1970, as Envoy's rate limit service counts: the same for all replicas.
    Epoch,
    /// With the first request, as Envoy's token buckets are filled: each client has its own.
    First,
}

impl Window {
    /// Begin of the window at a time, seconds since 1970. `begin` is that of the window before, if there was one.
    pub(crate) fn begin(self, now: u64, begin: Option<u64>) -> u64 {
        match (self.kind, begin) {
            (WindowKind::Epoch, _) => now - now % self.seconds,
            (WindowKind::First, None) => now,
            (WindowKind::First, Some(begin)) => now - now.saturating_sub(begin) % self.seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_on_the_epoch_or_begin_with_the_first_request() {
        let epoch = Window { seconds: 60, kind: WindowKind::Epoch };
        assert_eq!([epoch.begin(119, None), epoch.begin(120, Some(60))], [60, 120]);
        let first = Window { seconds: 60, kind: WindowKind::First };
        assert_eq!(
            [first.begin(119, None), first.begin(178, Some(119)), first.begin(179, Some(119)), first.begin(400, Some(119))],
            [119, 119, 179, 359]
        );
        // A clock that is set back begins no window in the future.
        assert_eq!(first.begin(100, Some(119)), 100);
    }
}
