//! The pool in its cluster.

use std::sync::Arc;

use pailou_api::NamespaceName;
use pailou_control::{
    Connection,
    pool::{PoolFollower, PoolName},
};
use pailou_epp::EndpointPicker;

use super::followed::Followed;
use crate::{cli::PickerArgs, exit::Error};

/// Follows the pool in its cluster for as long as the runtime lives.
pub(super) async fn follow_cluster(args: &PickerArgs, picker: Arc<EndpointPicker>) -> Result<(), Error> {
    let connection = Connection::new(args.kubeconfig.as_deref()).await.map_err(Error::Cluster)?;
    let namespace = match &args.pool_namespace {
        Some(namespace) => namespace.clone(),
        None => NamespaceName::try_from(connection.namespace.as_str()).map_err(Error::Namespace)?,
    };
    tracing::info!("following InferencePool {}/{} of {}", namespace.as_str(), args.pool_name, connection.origin);
    let mut followed = Followed::new(picker, args, namespace.clone())?;
    let pool = PoolName { group: args.pool_group, namespace, name: args.pool_name.clone() };
    let follower = PoolFollower::start(connection, pool);
    tokio::spawn(async move {
        let mut objects = follower.objects();
        loop {
            let now = objects.borrow_and_update().clone();
            if let Some(now) = now {
                followed.take(&now);
            }
            if objects.changed().await.is_err() {
                tracing::error!("cannot follow the cluster any more; using the last known objects");
                return;
            }
        }
    });
    Ok(())
}
