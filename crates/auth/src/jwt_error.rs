//! Reasons why a token is not valid.

/// Reason why a token is not valid. Its text is Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// There is no token.
    #[error("Jwt is missing")]
    Missing,
    /// Not three parts, or longer than 64 KiB.
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    Form,
    /// The header is not encoded as it should be.
    #[error("Jwt header is an invalid Base64url encoded")]
    HeaderBase64,
    /// The header is no JSON object, or has a member twice.
    #[error("Jwt header is an invalid JSON")]
    HeaderJson,
    /// No `alg`.
    #[error("Jwt header [alg] field is required and must be a string")]
    NoAlgorithm,
    /// An algorithm that is not verified; `none` is one.
    #[error("Jwt header [alg] is not supported")]
    Algorithm,
    /// `kid` is no string.
    #[error("Jwt header [kid] field is not a string")]
    KeyId,
    /// `crit` asks for an extension.
    #[error("Jwt header [crit] field names an extension that is not supported")]
    Critical,
    /// The payload is not encoded as it should be.
    #[error("Jwt payload is an invalid Base64url encoded")]
    PayloadBase64,
    /// The payload is no JSON object, or has a member twice.
    #[error("Jwt payload is an invalid JSON")]
    PayloadJson,
    /// A registered claim has another type.
    #[error("Jwt payload [{0}] field has a wrong type")]
    Claim(&'static str),
    /// The signature is not encoded as it should be.
    #[error("Jwt signature is an invalid Base64url encoded")]
    SignatureBase64,
    /// No key fits the token.
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoKey,
    /// The signature is wrong.
    #[error("Jwt verification fails")]
    Signature,
    /// Another issuer.
    #[error("Jwt issuer is not configured")]
    Issuer,
    /// Another audience.
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    /// `exp` is past.
    #[error("Jwt is expired")]
    Expired,
    /// `nbf` is to come.
    #[error("Jwt not yet valid")]
    NotYetValid,
    /// There are no keys to verify it with.
    #[error("Jwks remote fetch is failed")]
    KeysUnavailable,
}

impl JwtError {
    /// Of the errors of several providers the client gets the one that says most.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Missing => 0,
            Self::Issuer => 1,
            _ => 2,
        }
    }
}
