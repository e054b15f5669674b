//! How much a client may use: limits of requests and of tokens.
//!
//! Nothing here does IO or reads a clock, or knows Kubernetes. The compiler makes [`RateLimits`]; the proxy lends a request's facts, asks
//! [`Counters`] to admit it, and settles its [`Reservation`]s once the cost is known. A reservation that is dropped goes back.

mod cost;
mod counted_elsewhere;
mod counter_view;
mod counters;
mod descriptor;
mod lease;
mod llm_cost;
mod model_prices;
mod reservation;
mod rule;
mod rule_counters;
mod selector;
mod service_entry;
mod sharing;
mod stable_id;
mod typical;
mod window;

pub use cost::{Cost, MetadataKey, TokenCount, Tokens};
pub use counter_view::{CounterQuery, CounterView};
pub use counters::{Admission, Charge, Counters, ExpectedCost, Experience, Rate};
pub use descriptor::Descriptor;
pub use lease::{Claim, Grant};
pub use llm_cost::{CostExpression, CostExpressionError, LlmCost, LlmCostEntry, LlmCostError, LlmCostFailure, LlmCosts, ModelCall};
pub use model_prices::{ModelPrice, ModelPrices, PriceListError};
pub use reservation::Reservation;
pub use rule::{LimitRule, RateLimits, Reach};
pub use selector::{AddressSelector, ClientSelector, RequestFacts, ValueSelector};
pub use service_entry::ServiceEntry;
pub use sharing::{CounterClaim, Sharing, Unleased};
pub use stable_id::StableId;
pub use window::{Window, WindowKind};
