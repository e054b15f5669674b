//! Names that the user points elsewhere (`--resolve`).

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// Addresses to use for names, whatever DNS says: `host:port:address[:port][,address[:port]…]`, as curl has it, and a port where
/// the target's is another. An IPv6 address stands in brackets.
#[derive(Clone, Debug, Default)]
pub struct Overrides(HashMap<(String, u16), Vec<SocketAddr>>);

/// Why an override cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// A part is missing.
    #[error("`{0}` is not of the form host:port:address[:port]")]
    Form(String),
    /// The port is none.
    #[error("`{port}` in `{entry}` is not a port (1 to 65535)")]
    Port {
        /// The text in the port's place.
        port: String,
        /// The whole.
        entry: String,
    },
    /// The address is none.
    #[error("`{address}` in `{entry}` is not an IP address, alone or with a port (IPv6 in brackets)")]
    Address {
        /// The text in the address's place.
        address: String,
        /// The whole.
        entry: String,
    },
}

impl Overrides {
    /// Reads overrides; a later one replaces an earlier one of the same host and port.
    ///
    /// # Errors
    /// The first that cannot be read.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, OverrideError> {
        entries.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Addresses that replace a name and port, if they are overridden.
    pub fn find(&self, host: &str, port: u16) -> Option<&[SocketAddr]> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(host.to_ascii_lowercase(), port)).map(Vec::as_slice)
    }
}

impl FromStr for Overrides {
    type Err = OverrideError;

    fn from_str(entry: &str) -> Result<Self, OverrideError> {
        Self::parse([entry])
    }
}

fn parse(entry: &str) -> Result<((String, u16), Vec<SocketAddr>), OverrideError> {
    let form = || OverrideError::Form(entry.to_owned());
    let (host, rest) = entry.split_once(':').filter(|(host, _)| !host.is_empty()).ok_or_else(form)?;
    let (port, addresses) = rest.split_once(':').ok_or_else(form)?;
    let port = match port.parse() {
        Ok(port) if port > 0 => port,
        _ => return Err(OverrideError::Port { port: port.to_owned(), entry: entry.to_owned() }),
    };
    let addresses = addresses
        .split(',')
        .map(|address| {
            socket(address, port).ok_or_else(|| OverrideError::Address { address: address.to_owned(), entry: entry.to_owned() })
        })
        .collect::<Result<_, _>>()?;
    Ok(((host.to_ascii_lowercase(), port), addresses))
}

fn socket(address: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(socket) = address.parse::<SocketAddr>() {
        return (socket.port() > 0).then_some(socket);
    }
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_bring_its_own_port() {
        let overrides = Overrides::parse(["API.example.com:443:127.0.0.1:8443", "b:80:[::1],127.0.0.2:81", "c:80:::1"]).unwrap();
        assert_eq!(overrides.find("api.EXAMPLE.com", 443), Some(&["127.0.0.1:8443".parse().unwrap()][..]));
        assert_eq!(overrides.find("b", 80), Some(&["[::1]:80".parse().unwrap(), "127.0.0.2:81".parse().unwrap()][..]));
        assert_eq!(overrides.find("c", 80), Some(&["[::1]:80".parse().unwrap()][..]));
        assert_eq!(overrides.find("b", 81), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |entry: &str| Overrides::parse([entry]).unwrap_err().to_string();
        assert_eq!(error("host"), "`host` is not of the form host:port:address[:port]");
        assert_eq!(error("host:443"), "`host:443` is not of the form host:port:address[:port]");
        assert_eq!(error("host:0:127.0.0.1"), "`0` in `host:0:127.0.0.1` is not a port (1 to 65535)");
        assert_eq!(
            error("host:443:example.com"),
            "`example.com` in `host:443:example.com` is not an IP address, alone or with a port (IPv6 in brackets)"
        );
    }
}
