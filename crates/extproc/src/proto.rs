//! The messages of `envoy.service.ext_proc.v3` and of `envoy.config.core.v3`, in as much as the endpoint picker protocol needs. Names
//! and numbers are Envoy's.

mod core;
mod ext_proc;
mod mode;
mod mutation;
mod structs;

pub use core::{HeaderAppendAction, HeaderMap, HeaderValue, HeaderValueOption, Metadata};
pub use ext_proc::{
    BodyResponse, HeadersResponse, HttpBody, HttpHeaders, HttpTrailers, ImmediateResponse, ProcessingRequest, ProcessingResponse,
    TrailersResponse, processing_request, processing_response,
};
pub use mode::{BodySendMode, HeaderSendMode, ProcessingMode, ProtocolConfiguration};
pub use mutation::{
    BodyMutation, CommonResponse, GrpcStatus, HeaderMutation, HttpStatus, ResponseStatus, StreamedBodyResponse, body_mutation,
};
pub use prost_types::{Struct, Value};
pub use structs::{list, string, strings, structure};
