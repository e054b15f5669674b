//! Stages of a request that an endpoint serves, where prefill and decode are apart.

/// Role of an endpoint in a pool whose engines prefill and decode apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EndpointRole {
    /// None: does all of a request.
    #[default]
    Whole,
    /// Generates tokens.
    Decode,
    /// Computes prompts' KV cache for others.
    Prefill,
    /// Both.
    PrefillDecode,
    /// Neither: encodes images and sound for others.
    Encode,
}

impl EndpointRole {
    /// The role of this name; `None` where there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "decode" => Self::Decode,
            "prefill" | "encode-prefill" => Self::Prefill,
            "prefill-decode" | "encode-prefill-decode" | "both" => Self::PrefillDecode,
            "encode" => Self::Encode,
            _ => return None,
        })
    }

    /// Its name; empty where there is none.
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::PrefillDecode => "prefill-decode",
            Self::Encode => "encode",
        }
    }

    /// Whether clients' requests may go there.
    pub fn can_decode(self) -> bool {
        matches!(self, Self::Whole | Self::Decode | Self::PrefillDecode)
    }

    /// Whether it computes prompts for other endpoints.
    pub fn can_prefill(self) -> bool {
        matches!(self, Self::Prefill | Self::PrefillDecode)
    }
}
