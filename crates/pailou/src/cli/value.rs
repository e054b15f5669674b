//! Values of flags that have a syntax.

use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use pailou_api::names::is_dns_subdomain;

/// A flag's value that does not have its syntax.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    /// The parts are not there.
    #[error("expected {0}")]
    Shape(&'static str),
    /// An address is none.
    #[error("{0:?} is not an IP address")]
    Ip(String),
    /// A name is none.
    #[error("{0:?} is not a name of an object: lower-case letters, digits, '-' and '.'")]
    Name(String),
}

/// `[NAMESPACE/]NAME[:KEY]=PATH`: a key of a Secret from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretFile {
    /// The Secret's namespace, if it is not the default one.
    pub(crate) namespace: Option<String>,
    /// The Secret's name.
    pub(crate) name: String,
    /// The key in its data.
    pub(crate) key: String,
    /// The file that holds the value.
    pub(crate) path: PathBuf,
}

impl FromStr for SecretFile {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const SHAPE: ValueError = ValueError::Shape("[NAMESPACE/]NAME[:KEY]=PATH");
        let (object, path) = text.split_once('=').ok_or(SHAPE)?;
        let (object, key) = object.split_once(':').unwrap_or((object, "credential"));
        let (namespace, name) = split_namespace(object)?;
        if key.is_empty() || path.is_empty() {
            return Err(SHAPE);
        }
        Ok(Self { namespace, name, key: key.to_owned(), path: path.into() })
    }
}

/// `[NAMESPACE/]GATEWAY=IP`: the address of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GatewayAddress {
    /// The Gateway's namespace, if it is not the default one.
    pub(crate) namespace: Option<String>,
    /// The Gateway's name.
    pub(crate) name: String,
    /// Addresses of its listeners.
    pub(crate) address: IpAddr,
}

impl FromStr for GatewayAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const SHAPE: ValueError = ValueError::Shape("[NAMESPACE/]GATEWAY=IP");
        let (object, address) = text.split_once('=').ok_or(SHAPE)?;
        let (namespace, name) = split_namespace(object)?;
        Ok(Self { namespace, name, address: ip(address)? })
    }
}

fn split_namespace(object: &str) -> Result<(Option<String>, String), ValueError> {
    let checked = |name: &str| match is_dns_subdomain(name) {
        true => Ok(name.to_owned()),
        false => Err(ValueError::Name(name.to_owned())),
    };
    match object.split_once('/') {
        Some((namespace, name)) => Ok((Some(checked(namespace)?), checked(name)?)),
        None => Ok((None, checked(object)?)),
    }
}

fn ip(text: &str) -> Result<IpAddr, ValueError> {
    text.parse().map_err(|_| ValueError::Ip(text.to_owned()))
}

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) Option<SocketAddr>);

impl FromStr for Listen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "off" => Ok(Self(None)),
            _ => text.parse().map(|address| Self(Some(address))).map_err(|_| ValueError::Shape("IP:PORT or off")),
        }
    }
}

/// Destination of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessLog {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// A file, appended to.
    File(PathBuf),
}

impl FromStr for AccessLog {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "stdout" | "-" => Self::Stdout,
            "stderr" => Self::Stderr,
            "off" => Self::Off,
            path => Self::File(path.into()),
        })
    }
}

impl fmt::Display for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::Off => f.write_str("off"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_names_object_key_and_path() {
        let secret = |text: &str| text.parse::<SecretFile>();
        let plain = secret("bailian-credential=key=1.txt").unwrap();
        assert_eq!((plain.namespace, plain.key.as_str(), plain.path), (None, "credential", "key=1.txt".into()));
        let full = secret("team/tls:tls.key=/a:b").unwrap();
        assert_eq!((full.namespace.as_deref(), full.name.as_str(), full.key.as_str()), (Some("team"), "tls", "tls.key"));
        assert!(secret("name").is_err() && secret("=path").is_err() && secret("name:=path").is_err());
    }

    #[test]
    fn listen_is_an_address_or_off() {
        assert_eq!("off".parse(), Ok(Listen(None)));
        assert_eq!("127.0.0.1:1".parse(), Ok(Listen(Some(SocketAddr::from(([127, 0, 0, 1], 1))))));
        assert!("localhost".parse::<Listen>().is_err());
    }
}
