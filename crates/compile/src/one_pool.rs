//! One InferencePool by itself, as an endpoint picker sees it: no Gateway and no route need lead to it.

use std::sync::Arc;

use crate::{endpoint_picker_config::PickerConfiguration, store::Store};
use pailou_api::{
    InferencePool,
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP},
};
use pailou_snapshot::{OnePool, PickerKind};

use super::{
    endpoints,
    index::{Index, Objects},
    models::Models,
    pool_configuration::{self, ConfigurationOf},
    pools,
    upstream_tls::TlsPolicies,
};

/// The pool of this name; `group` is one of the two API groups, or `None` for whichever has it, the newer first. `configuration` goes before
/// that which the pool names.
pub fn one_pool(
    store: &Store,
    group: Option<&str>,
    (namespace, name): (&str, &str),
    configuration: Option<&Arc<PickerConfiguration>>,
) -> Option<OnePool> {
    Objects::of(store).track(|index| in_index(index, group, (namespace, name), configuration)).0
}

fn in_index(
    index: &Index<'_>,
    group: Option<&str>,
    (namespace, name): (&str, &str),
    configuration: Option<&Arc<PickerConfiguration>>,
) -> Option<OnePool> {
    let groups = [INFERENCE_GROUP, INFERENCE_X_GROUP].into_iter().filter(|known| group.is_none_or(|group| group == *known));
    let object: &InferencePool = groups.filter_map(|group| index.pool(group, namespace, name)).next()?;
    let of = ConfigurationOf::Picker(configuration);
    let noted = pools::pool(index, &Models::new(index), object, PickerKind::BuiltIn, of);
    let configuration = pool_configuration::read(index, object, of).configuration;
    let tls = TlsPolicies::new(index).of_pool(object.spec.version.group(), &object.meta.namespace, &object.meta.name);
    let tls = tls.map_or(Ok(None), |(_, tls)| tls.map(Some));
    let warnings = noted.problem.map(|problem| problem.message).into_iter().chain(noted.warnings).collect();
    Some(OnePool { pool: noted.pool, endpoints: endpoints::of_object(index, object, configuration.as_deref()), tls, warnings })
}
