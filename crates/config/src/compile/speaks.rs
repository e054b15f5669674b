//! What listeners speak, as far as it can be served.

use crate::resources::listener::{Listener, Protocol};

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http,
    Https,
}

impl Speaks {
    /// What a listener asks to speak; `None` where that cannot be served.
    pub(crate) fn of(spec: &Listener) -> Option<Self> {
        match spec.protocol {
            Protocol::Http => Some(Self::Http),
            Protocol::Https => Some(Self::Https),
            _ => None,
        }
    }

    /// Whether clients' TLS ends at the listener, which needs certificates for that.
    pub(crate) fn ends_tls(self) -> bool {
        self == Self::Https
    }
}
