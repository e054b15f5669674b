//! How the program ends: exit status, and errors as the user reads them.

use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode, slice};

use pailou_snapshot::PortKey;

/// How a command that met no trouble ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitOutcome {
    /// All is well: status 0.
    Done,
    /// Something was not accepted: status 1.
    NotAccepted,
}

impl From<ExitOutcome> for ExitCode {
    fn from(outcome: ExitOutcome) -> Self {
        match outcome {
            ExitOutcome::Done => ExitCode::SUCCESS,
            ExitOutcome::NotAccepted => ExitCode::from(1),
        }
    }
}

/// Trouble: status 2, and a sentence on standard error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Output could not be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// A file given on the command line cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A model's files given on the command line are of no use.
    #[error("--tokenizer {}: {source}", path.display())]
    Tokenizer {
        /// Their directory.
        path: PathBuf,
        /// Why.
        source: pailou_tokenizer::FileError,
    },
    /// The picker's configuration file is wrong.
    #[error("{0}")]
    PickerConfiguration(String),
    /// The default namespace is not a name.
    #[error("--namespace: {0}")]
    Namespace(pailou_api::names::InvalidString),
    /// A file given on the command line cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A socket cannot be bound.
    #[error("cannot listen on {port} ({purpose}): {}", reason(source))]
    Bind {
        /// The socket.
        port: PortKey,
        /// Its purpose.
        purpose: String,
        /// Why.
        source: io::Error,
        /// The remedy.
        hint: String,
    },
    /// The process cannot take over another's sockets, or offer its own to a successor.
    #[error("--handover: {0}")]
    Handover(io::Error),
    /// An entry of --resolve is none.
    #[error("--resolve: {0}")]
    Resolve(pailou_proxy::dns::OverrideError),
    /// The URL of the store of limits is none.
    #[error("--rate-limit-redis-url: {0}")]
    LimitStore(pailou_snapshot::StoreUrlError),
    /// A flag of the store of limits without the store's URL.
    #[error("{0} has no effect without a store: add --rate-limit-redis-url or --rate-limit-redis-url-file")]
    LimitStoreFlag(&'static str),
    /// The URL of the rate limit service is none.
    #[error("--rate-limit-service: {0}")]
    LimitService(pailou_snapshot::LimitServiceUrlError),
    /// The certificates for the rate limit service are of no use.
    #[error("--rate-limit-service: {0}")]
    LimitServiceTls(pailou_compile::LimitServiceTlsError),
    /// A flag of the rate limit service without its URL.
    #[error("{0} has no effect without a rate limit service: add --rate-limit-service")]
    LimitServiceFlag(&'static str),
    /// A variable of OpenTelemetry's is of no use.
    #[error("{variable}: {problem}")]
    TelemetryVariable {
        /// The variable.
        variable: String,
        /// The fault, and the remedy.
        problem: String,
    },
    /// Something for a user at a terminal goes elsewhere.
    #[error("standard input and output are no terminal")]
    NoTerminal,
    /// The admin endpoint of a gateway does not answer.
    #[error("the admin endpoint at {address} cannot be read: {source}")]
    Admin {
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A request cannot be explained.
    #[error("{0}")]
    Explain(pailou_proxy::explanation::ExplainError),
    /// A file is no HTTP request.
    #[error("{}: no HTTP request: a request line, headers with Host, an empty line, a body", .0.display())]
    RequestFile(PathBuf),
    /// A header of a flag is none.
    #[error("-H {0:?}: no header; write NAME: VALUE")]
    RequestHeader(String),
    /// The demo cannot make its certificate.
    #[error("cannot make a certificate for the demo: {0}")]
    Certificate(pailou_sim::selfsigned::CertificateError),
    /// The picker has no certificate.
    #[error("{0}")]
    PickerCertificate(pailou_epp::CertificateError),
    /// There is no way to the cluster.
    #[cfg(feature = "cluster")]
    #[error("{0}")]
    Cluster(pailou_control::Error),
    /// A command of a cluster, in a program without that part.
    #[cfg(not(feature = "cluster"))]
    #[error("this program was built without the part that follows a cluster")]
    WithoutCluster,
    /// Something that was there cannot be read.
    #[error("some files or documents were not read; the conditions are of the rest")]
    Unreadable,
    /// Several sockets cannot be bound: the first with the rest in its hint would hide them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
    /// The log's filter is not one.
    #[error("--log {filter:?} is not a log filter: {source}")]
    LogFilter {
        /// The filter.
        filter: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// A fault for a simulated engine is none.
    #[error("--fault {text} is not a fault: {source}")]
    Fault {
        /// The JSON.
        text: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A simulated engine cannot be started as asked.
    #[error("cannot start the simulated engine: {0}")]
    Sim(pailou_sim::StartError),
    /// The runtime or a thread could not be started.
    #[error("cannot start {what}: {source}")]
    Start {
        /// The part that did not start.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// Remedy for the user.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Bind { hint, .. } => Some(hint),
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => Some("name a kubeconfig with --kubeconfig or KUBECONFIG, or run in a pod with a service account"),
            #[cfg(not(feature = "cluster"))]
            Self::WithoutCluster => Some("build it without --no-default-features"),
            Self::NoTerminal => Some("print once with --once, or samples with -o json"),
            Self::Admin { .. } => Some("name the address that the gateway was started with: --admin IP:PORT"),
            Self::Several(errors) => errors.iter().find_map(Self::hint),
            _ => None,
        }
    }

    /// The errors that the user reads one by one.
    pub(crate) fn parts(&self) -> &[Self] {
        match self {
            Self::Several(errors) => errors,
            one => slice::from_ref(one),
        }
    }

    /// Whether the reader of our output has gone, which is no trouble.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// The usual reasons in plain words, any other as the system has it.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is taken".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have the address".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied; ports below 1024 may need a privilege".to_owned(),
        _ => error.to_string(),
    }
}
