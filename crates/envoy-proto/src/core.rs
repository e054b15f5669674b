//! `envoy.config.core.v3`.

use std::collections::HashMap;

use bytes::Bytes;
use prost_types::Struct;

/// One header.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeaderValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value; not used where `raw_value` is.
    #[prost(string, tag = "2")]
    pub value: String,
    /// Its value, which need not be UTF-8.
    #[prost(bytes = "bytes", tag = "3")]
    pub raw_value: Bytes,
}

impl HeaderValue {
    /// A header, its value in `raw_value` as Envoy sends it.
    pub fn new(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: String::new(), raw_value: value.into() }
    }

    /// The value, in whichever field it is.
    pub fn bytes(&self) -> &[u8] {
        if self.raw_value.is_empty() { self.value.as_bytes() } else { &self.raw_value }
    }
}

/// A header to set, and how.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// The older way to say how: `true` appends, `false` overwrites.
    #[prost(message, optional, tag = "2")]
    pub append: Option<bool>,
    /// How to append. `APPEND_IF_EXISTS_OR_ADD` looks like an absent field, and overwrites: external processing's default.
    #[prost(enumeration = "HeaderAppendAction", tag = "3")]
    pub append_action: i32,
    /// An empty value is kept, and does not remove the header.
    #[prost(bool, tag = "4")]
    pub keep_empty_value: bool,
}

/// How a header is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum HeaderAppendAction {
    /// Added to what is there.
    AppendIfExistsOrAdd = 0,
    /// Left alone where it is there.
    AddIfAbsent = 1,
    /// In place of what is there.
    OverwriteIfExistsOrAdd = 2,
    /// In place of what is there, and only there.
    OverwriteIfExists = 3,
}

/// Headers in order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HeaderMap {
    /// The headers.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderValue>,
}

/// State of filters about a request, by namespace.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metadata {
    /// By namespace.
    #[prost(map = "string, message", tag = "1")]
    pub filter_metadata: HashMap<String, Struct>,
}

/// An address.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Address {
    /// A socket's.
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

/// An address of a socket; TCP's, as the protocol is not said.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SocketAddress {
    /// The IP address.
    #[prost(string, tag = "2")]
    pub address: String,
    /// The port.
    #[prost(uint32, tag = "3")]
    pub port_value: u32,
}

/// An HTTP status.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HttpStatus {
    /// Its number.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Status {
    /// A code of gRPC.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Meaning, for people.
    #[prost(string, tag = "2")]
    pub message: String,
}
