//! Algorithms of signatures. Sources: RFC 7518 section 3, RFC 8037.

use ring::{hmac, signature};

/// Algorithms of signatures that are verified. `none` is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// The algorithm in ring's terms.
pub(crate) enum PublicKeyAlgorithm {
    Rsa(&'static signature::RsaParameters),
    Other(&'static dyn signature::VerificationAlgorithm),
}

impl Algorithm {
    /// The algorithm of a name, which is case-sensitive (RFC 7515, section 4.1.1).
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    /// Length of the hash, in bytes.
    pub(crate) fn hash_length(self) -> usize {
        use Algorithm as A;
        match self {
            A::Hs256 | A::Rs256 | A::Ps256 | A::Es256 => 32,
            A::Hs384 | A::Rs384 | A::Ps384 | A::Es384 => 48,
            A::Hs512 | A::Rs512 | A::Ps512 | A::EdDsa => 64,
        }
    }

    pub(crate) fn with_public_key(self) -> Option<PublicKeyAlgorithm> {
        use PublicKeyAlgorithm::{Other, Rsa};
        Some(match self {
            Self::Rs256 => Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Other(&signature::ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Other(&signature::ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Other(&signature::ED25519),
            Self::Hs256 | Self::Hs384 | Self::Hs512 => return None,
        })
    }

    pub(crate) fn with_symmetric_key(self) -> Option<hmac::Algorithm> {
        Some(match self {
            Self::Hs256 => hmac::HMAC_SHA256,
            Self::Hs384 => hmac::HMAC_SHA384,
            Self::Hs512 => hmac::HMAC_SHA512,
            _ => return None,
        })
    }
}
