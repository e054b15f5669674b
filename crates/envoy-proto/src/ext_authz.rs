//! The messages of `envoy.service.auth.v3`, as far as Pailou writes or reads them. Names and numbers are Envoy's.

use std::collections::HashMap;

use bytes::Bytes;

use crate::core::{Address, HeaderValueOption, HttpStatus, Metadata, Status};

/// The request to the server.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckRequest {
    /// The request.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<AttributeContext>,
}

/// A request and its circumstances.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttributeContext {
    /// The client.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    /// The gateway.
    #[prost(message, optional, tag = "2")]
    pub destination: Option<Peer>,
    /// The request.
    #[prost(message, optional, tag = "4")]
    pub request: Option<attribute_context::Request>,
    /// Texts of the configuration, by name.
    #[prost(map = "string, string", tag = "10")]
    pub context_extensions: HashMap<String, String>,
    /// The route, as the configuration describes it.
    #[prost(message, optional, tag = "13")]
    pub route_metadata_context: Option<Metadata>,
}

/// Parts of [`AttributeContext`].
pub mod attribute_context {
    use super::{Bytes, HashMap};

    /// A request and when it came.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        /// When.
        #[prost(message, optional, tag = "1")]
        pub time: Option<prost_types::Timestamp>,
        /// The HTTP request.
        #[prost(message, optional, tag = "2")]
        pub http: Option<HttpRequest>,
    }

    /// A request of HTTP.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct HttpRequest {
        /// Its id.
        #[prost(string, tag = "1")]
        pub id: String,
        /// Its method.
        #[prost(string, tag = "2")]
        pub method: String,
        /// Its headers, by names in lower case; of several of one name the values are joined.
        #[prost(map = "string, string", tag = "3")]
        pub headers: HashMap<String, String>,
        /// Its path with its query.
        #[prost(string, tag = "4")]
        pub path: String,
        /// Its host.
        #[prost(string, tag = "5")]
        pub host: String,
        /// Its scheme.
        #[prost(string, tag = "6")]
        pub scheme: String,
        /// The length of its body, in bytes; -1 where that is not known.
        #[prost(int64, tag = "9")]
        pub size: i64,
        /// The version of HTTP.
        #[prost(string, tag = "10")]
        pub protocol: String,
        /// Its body, where that is text.
        #[prost(string, tag = "11")]
        pub body: String,
        /// Its body, where it is not.
        #[prost(bytes = "bytes", tag = "12")]
        pub raw_body: Bytes,
    }
}

/// One end of a connection.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Peer {
    /// Address.
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
}

/// The server's response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckResponse {
    /// Consent, where its code is OK or there is none.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// More about it.
    #[prost(oneof = "check_response::HttpResponse", tags = "2, 3, 5")]
    pub http_response: Option<check_response::HttpResponse>,
}

/// Parts of [`CheckResponse`].
pub mod check_response {
    use super::{DeniedHttpResponse, OkHttpResponse};

    /// More about a decision.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum HttpResponse {
        /// Answer for the client.
        #[prost(message, tag = "2")]
        Denied(DeniedHttpResponse),
        /// Changes of the request.
        #[prost(message, tag = "3")]
        Ok(OkHttpResponse),
        /// There is no decision.
        #[prost(message, tag = "5")]
        Error(DeniedHttpResponse),
    }
}

/// Answer for the client in place of the backend's.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeniedHttpResponse {
    /// Its status; 403 where there is none.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// Its headers.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Its body.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// Changes of a request that may pass.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OkHttpResponse {
    /// Headers of the request to set. They overwrite, unless they say otherwise.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// Headers of the request to remove.
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
    /// Headers of the response to the client.
    #[prost(message, repeated, tag = "6")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Parameters of the query to set.
    #[prost(message, repeated, tag = "7")]
    pub query_parameters_to_set: Vec<QueryParameter>,
    /// Parameters of the query to remove.
    #[prost(string, repeated, tag = "8")]
    pub query_parameters_to_remove: Vec<String>,
}

/// A parameter of a query.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryParameter {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}
