//! Addresses of one turn's processes, and configuration files with them filled in.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
};

use crate::{error::Error, process::free_address, template::repeated};

/// Addresses of the processes of one turn.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) engines: u16,
    /// Ports that all engines share; their addresses differ.
    pub(super) engine_port: u16,
    pub(super) events_port: u16,
    pub(super) replay_port: u16,
    /// The gateway's, or router's.
    pub(super) gateway: SocketAddr,
    pub(super) admin: SocketAddr,
    /// The picker's, for gateways, for health and for metrics.
    pub(super) picker: [SocketAddr; 3],
    /// Configurations and logs.
    pub(super) directory: PathBuf,
    /// Lines of configurations that begin with `@exact` or `@external` are kept.
    pub(super) exact: bool,
    pub(super) external: bool,
}

impl Site {
    /// Free addresses.
    ///
    /// # Errors
    /// No address is free.
    pub(super) fn new(engines: u16, directory: &Path, exact: bool, external: bool) -> io::Result<Self> {
        let port = || Ok::<_, io::Error>(free_address()?.port());
        Ok(Self {
            engines,
            engine_port: port()?,
            events_port: port()?,
            replay_port: port()?,
            gateway: free_address()?,
            admin: free_address()?,
            picker: [free_address()?, free_address()?, free_address()?],
            directory: directory.to_owned(),
            exact,
            external,
        })
    }

    /// An engine's address.
    pub(super) fn engine(&self, index: u16) -> SocketAddrV4 {
        // As `127.0.1.1@ENGINE@` in configurations.
        let last = format!("1{index}").parse().unwrap_or(u8::MAX);
        SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, last), self.engine_port)
    }

    /// A text with everything filled in.
    pub(super) fn fill(&self, text: &str) -> String {
        let kept: Vec<&str> = text.lines().filter_map(|line| self.kept(line)).collect();
        let mut filled = repeated(&(kept.join("\n") + "\n"), "engine", self.engines.into(), &|block| block.to_owned());
        let [picker, ..] = self.picker;
        let ports = [
            ("@PORT@", self.gateway.port()),
            ("@ADMIN_PORT@", self.admin.port()),
            ("@PICKER_PORT@", picker.port()),
            ("@ENGINE_PORT@", self.engine_port),
            ("@EVENTS_PORT@", self.events_port),
            ("@REPLAY_PORT@", self.replay_port),
        ];
        for (name, port) in ports {
            filled = filled.replace(name, &port.to_string());
        }
        filled.replace("@DIR@", &self.directory.to_string_lossy())
    }

    fn kept<'l>(&self, line: &'l str) -> Option<&'l str> {
        if let Some(rest) = line.strip_prefix("@exact ") {
            self.exact.then_some(rest)
        } else if let Some(rest) = line.strip_prefix("@external ") {
            self.external.then_some(rest)
        } else {
            Some(line)
        }
    }

    /// Writes a configuration, and says where.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf, Error> {
        let path = self.directory.join(name);
        fs::write(&path, self.fill(text)).map_err(|source| Error::Write { path: path.clone(), source })?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_have_the_addresses_of_configurations() {
        let site = Site::new(12, Path::new("/d"), true, false).unwrap();
        let text = site.fill("@for engine\n- 127.0.1.1@ENGINE@:@ENGINE_PORT@\n@end engine\n@exact events\n@external picker\n");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 13, "{text}");
        assert_eq!(lines[12], "events");
        for index in 0..12 {
            assert_eq!(lines[usize::from(index)], format!("- {}", site.engine(index)));
        }
    }
}
