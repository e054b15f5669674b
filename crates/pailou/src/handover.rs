//! A process takes over the listening sockets of another by a Unix socket.
//!
//! Both hold them for a while, so that one of them always accepts from the queue of connections, which the system keeps with
//! the socket. (With sockets of its own at the same addresses, `SO_REUSEPORT`, each process would have a queue, and the system
//! resets the connections of one that closes.)
//!
//! Protocol: the former process sends each socket with one byte, then a byte without one. The successor serves, and sends a
//! byte. Only then the former drains. If either side breaks off before, the former goes on as it was.

mod wire;

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pailou_proxy::{Proxy, server::Sockets};
use tokio::net::UnixListener;

/// Bound on the sockets' way, which takes no time.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Bound on a successor's start: it reads its whole configuration meanwhile.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// A process that still serves on the sockets it handed over.
pub(crate) struct Former(UnixStream);

/// Unix socket at which a successor asks for sockets.
pub(crate) struct HandoverSocket {
    path: PathBuf,
    listener: UnixListener,
    /// It is another's by now, and not to be removed.
    handed: bool,
}

/// Takes the sockets of the process that serves at a path, if there is one.
///
/// # Errors
/// There is one, but it does not hand them over.
pub(crate) fn take(path: &Path) -> io::Result<Option<(Sockets, Former)>> {
    let former = match UnixStream::connect(path) {
        Ok(former) => former,
        // Nobody was here before, or did not tidy up.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(error),
    };
    former.set_read_timeout(Some(SEND_TIMEOUT))?;
    let mut sockets = Sockets::default();
    while let Some(socket) = wire::receive(&former)? {
        sockets.insert(socket)?;
    }
    Ok(Some((sockets, Former(former))))
}

impl Former {
    /// Tells it that it is no longer needed.
    ///
    /// # Errors
    /// It has gone already, which does no harm.
    pub(crate) fn confirm(self) -> io::Result<()> {
        wire::say(&self.0)
    }
}

impl HandoverSocket {
    /// Binds the path, in the place of a former process if there is one. Needs the runtime.
    ///
    /// # Errors
    /// The path cannot be bound.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}", std::process::id()));
        let fresh = PathBuf::from(fresh);
        let listener = UnixListener::bind(&fresh)?;
        // Takes the former's place at once, when nobody else can connect to it any more.
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).and_then(|()| fs::rename(&fresh, path)).inspect_err(
            |_| {
                let _ = fs::remove_file(&fresh);
            },
        )?;
        Ok(Self { path: path.to_owned(), listener, handed: false })
    }

    /// Ready when a successor serves on these sockets. `admin` is that of the admin endpoint.
    pub(crate) async fn successor(&mut self, proxy: &Arc<Proxy>, admin: Option<&std::net::TcpListener>) {
        loop {
            match self.hand_over(proxy, admin).await {
                Ok(()) => {
                    self.handed = true;
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "a successor connected, but did not take over");
                    // Nor are those who come again and again to keep this one busy.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn hand_over(&self, proxy: &Arc<Proxy>, admin: Option<&std::net::TcpListener>) -> io::Result<()> {
        let (stream, _) = self.listener.accept().await?;
        if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        let mut sockets = proxy.sockets()?;
        if let Some(admin) = admin {
            sockets.insert(admin.try_clone()?.into())?;
        }
        let stream = stream.into_std()?;
        tokio::task::spawn_blocking(move || give(&stream, &sockets)).await?
    }
}

impl Drop for HandoverSocket {
    fn drop(&mut self) {
        if !self.handed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives sockets to a successor, and waits until it serves.
fn give(successor: &UnixStream, sockets: &Sockets) -> io::Result<()> {
    successor.set_nonblocking(false)?;
    successor.set_write_timeout(Some(SEND_TIMEOUT))?;
    successor.set_read_timeout(Some(START_TIMEOUT))?;
    for socket in sockets.iter() {
        wire::send(successor, socket)?;
    }
    wire::say(successor)?;
    wire::hear(successor)
}

#[cfg(test)]
mod tests;
