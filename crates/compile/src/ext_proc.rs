//! External processors of a rule: those of its EnvoyExtensionPolicy, with their clusters.

use pailou_snapshot::{ClusterKey, ExtProc};

use crate::{
    policies::ext_proc::{Processor, Processors, referrer},
    resolver::Load,
    rule_context::RuleContext,
    status::Problem,
};

/// The processors of a rule, in the policy's order. One that may fail open is left out where it cannot be had.
///
/// # Errors
/// The first that cannot be had, and without which no request may pass.
pub(crate) fn of_rule(context: &mut RuleContext<'_, '_, '_>, processors: &Processors) -> Result<Vec<ExtProc>, Problem> {
    let mut found = Vec::with_capacity(processors.list.len());
    for processor in &*processors.list {
        match backends(context, processor) {
            Ok(backends) => found.push(ExtProc { backends: backends.into(), ..processor.settings.clone() }),
            Err(problem) => {
                let message = format!("EnvoyExtensionPolicy: {}: {}", processor.field, problem.message);
                let problem = Problem { message, ..problem };
                if !processor.settings.fail_open {
                    return Err(problem);
                }
                context.problem(problem);
            }
        }
    }
    Ok(found)
}

fn backends(context: &mut RuleContext<'_, '_, '_>, processor: &Processor) -> Result<Vec<(u32, ClusterKey)>, Problem> {
    let from = referrer(&processor.namespace);
    let backends = processor.refs.iter().map(|to| {
        let cluster = context.resolver.policy_server(from, &to.target(), Load::Grpc, &processor.traffic)?;
        Ok((to.weight, context.resolver.held(cluster)))
    });
    backends.collect()
}
