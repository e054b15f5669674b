//! Profiles and the handler that runs them: which chooses where a request is decoded, and which where its prompt is prefilled.

use pailou_api::endpoint_picker_config::{EndpointPickerConfig, PluginSpec, SchedulingProfile, plugin_parameters};
use serde::Deserialize;

use super::plugin;

/// Types of handlers that run profiles by stages.
const STAGE_HANDLERS: [&str; 2] = ["disagg-profile-handler", "pd-profile-handler"];
/// Types of all other handlers.
const OTHER_HANDLERS: [&str; 4] =
    [SINGLE_HANDLER, "header-profile-handler", "header-phase-profile-handler", "data-parallel-profile-handler"];
const SINGLE_HANDLER: &str = "single-profile-handler";
/// Profile that counts where a handler's own choice has no part here.
const DEFAULT_PROFILE: &str = "default";

/// Profiles by stage.
#[derive(Default)]
pub(super) struct StageProfiles<'a> {
    /// Chooses where requests are decoded; `None`: every plugin does.
    pub(super) decode: Option<&'a SchedulingProfile>,
    /// Chooses where prompts are prefilled; `None`: the same.
    pub(super) prefill: Option<&'a SchedulingProfile>,
    pub(super) prefills: Prefills,
}

/// Prompts that another endpoint prefills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Prefills {
    /// As the pool has it.
    #[default]
    AsPool,
    /// None.
    Never,
    /// Those of which so many tokens are not cached.
    From(u32),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DisaggParameters {
    stage_order: Option<String>,
    profiles: StageNames,
    deciders: StageNames,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StageNames {
    decode: Option<String>,
    prefill: Option<String>,
    encode: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PdParameters {
    decode_profile: Option<String>,
    prefill_profile: Option<String>,
    decider_plugin_name: Option<String>,
    primary_port: Option<u32>,
    prefix_plugin_type: Option<String>,
    prefix_plugin_name: Option<String>,
    prefix_match_info_producer_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PrefixDeciderParameters {
    non_cached_tokens: u32,
    prompt_tokens: u32,
    prefix_match_info_producer_name: Option<String>,
}

/// Profiles of a configuration by stage; parts without effect are noted.
///
/// # Errors
/// Profiles without a handler that runs them, a handler's parameters are wrong, or a name leads nowhere.
pub(super) fn by_stage<'a>(config: &'a EndpointPickerConfig, notes: &mut Vec<String>) -> Result<StageProfiles<'a>, String> {
    let profiles = &config.scheduling_profiles;
    for (place, profile) in profiles.iter().enumerate() {
        let at = format!("schedulingProfiles[{place}]");
        if profiles[..place].iter().any(|earlier| earlier.name == profile.name) {
            return Err(format!("{at}.name: there are two profiles {:?}", profile.name));
        }
        for (number, plugin) in profile.plugins.iter().enumerate() {
            plugin::find(&config.plugins, &plugin.plugin_ref, &format!("{at}.plugins[{number}]"))?;
        }
    }
    let is_handler = |kind: &str| STAGE_HANDLERS.contains(&kind) || OTHER_HANDLERS.contains(&kind);
    let mut handlers = config.plugins.iter().enumerate().filter(|(_, plugin)| is_handler(&plugin.kind));
    let handler = handlers.next();
    if let Some((place, second)) = handlers.next() {
        return Err(format!("plugins[{place}]: {:?} is a second profile handler", second.kind));
    }
    let stages = match handler {
        Some((place, handler)) if STAGE_HANDLERS.contains(&handler.kind.as_str()) => {
            of_stages(config, handler, &format!("plugins[{place}].parameters"), notes)?
        }
        Some((_, handler)) if handler.kind != SINGLE_HANDLER => {
            let default = profiles.iter().find(|profile| profile.name == DEFAULT_PROFILE).or(profiles.first());
            StageProfiles { decode: default, ..StageProfiles::default() }
        }
        _ if profiles.len() > 1 => {
            let count = profiles.len();
            return Err(format!("schedulingProfiles: {count} profiles need a handler that runs them, as disagg-profile-handler"));
        }
        _ => StageProfiles { decode: profiles.first(), ..StageProfiles::default() },
    };
    let is_run = |profile: &SchedulingProfile| {
        [stages.decode, stages.prefill].into_iter().flatten().any(|known| std::ptr::eq(known, profile))
    };
    for other in profiles.iter().filter(|profile| !is_run(profile)) {
        notes.push(format!("profile {}: it is run neither for decode nor for prefill", other.name));
    }
    Ok(stages)
}

/// Profiles that a handler runs by stages.
fn of_stages<'a>(
    config: &'a EndpointPickerConfig,
    handler: &PluginSpec,
    root: &str,
    notes: &mut Vec<String>,
) -> Result<StageProfiles<'a>, String> {
    let (names, decider) = if handler.kind == STAGE_HANDLERS[0] {
        let DisaggParameters { stage_order, profiles, deciders } = plugin_parameters(handler, root)?;
        if stage_order.as_deref().is_some_and(|order| order != "decode-first") {
            notes.push(format!("plugin {}: stageOrder: the endpoint that decodes is chosen first", handler.name()));
        }
        if let Some(encode) = deciders.encode {
            plugin::find(&config.plugins, &encode, &format!("{root}.deciders.encode"))?;
            notes.push(format!("plugin {}: deciders.encode: no endpoints encode for others", handler.name()));
        }
        (profiles, deciders.prefill.map(|decider| (decider, "deciders.prefill")))
    } else {
        let PdParameters {
            decode_profile: decode,
            prefill_profile: prefill,
            decider_plugin_name,
            primary_port,
            prefix_plugin_type: _,
            prefix_plugin_name: _,
            prefix_match_info_producer_name: _,
        } = plugin_parameters(handler, root)?;
        if primary_port.is_some_and(|port| port != 0) {
            notes.push(format!("plugin {}: primaryPort: requests go to the endpoint's own port", handler.name()));
        }
        let decider = decider_plugin_name.unwrap_or_else(|| "prefix-based-pd-decider".to_owned());
        let names = StageNames { decode, prefill, encode: None };
        (names, Some((decider, "deciderPluginName")))
    };
    let prefills = match decider {
        None => Prefills::Never,
        Some((decider, field)) => {
            let found = config.plugins.iter().enumerate().find(|(_, plugin)| plugin.name() == decider);
            let (place, decider) = found.ok_or_else(|| format!("{root}.{field}: there is no plugin {decider:?}"))?;
            decided(decider, &format!("plugins[{place}].parameters"), notes)?
        }
    };
    let profiles = &config.scheduling_profiles;
    if profiles.len() < 2 {
        return Ok(StageProfiles { decode: profiles.first(), prefill: None, prefills });
    }
    let named = |name: Option<String>, default: &str| {
        let name = name.unwrap_or_else(|| default.to_owned());
        (profiles.iter().find(|profile| profile.name == name), name)
    };
    let ((decode, name), (prefill, _)) = (named(names.decode, "decode"), named(names.prefill, "prefill"));
    match decode {
        None => Err(format!("schedulingProfiles: there is no profile {name:?}, which {} runs for every request", handler.name())),
        Some(decode) => Ok(StageProfiles { decode: Some(decode), prefill, prefills }),
    }
}

fn decided(decider: &PluginSpec, root: &str, notes: &mut Vec<String>) -> Result<Prefills, String> {
    match decider.kind.as_str() {
        "always-disagg-pd-decider" => Ok(Prefills::From(1)),
        "prefix-based-pd-decider" => {
            let PrefixDeciderParameters { non_cached_tokens, prompt_tokens, prefix_match_info_producer_name: _ } =
                plugin_parameters(decider, root)?;
            if prompt_tokens > non_cached_tokens {
                let why = "prompts are prefilled elsewhere by their uncached tokens alone";
                notes.push(format!("plugin {}: promptTokens: {why}", decider.name()));
            }
            Ok(if non_cached_tokens == 0 { Prefills::Never } else { Prefills::From(non_cached_tokens) })
        }
        other => Err(format!("plugin {}: {other:?} decides on no prefill", decider.name())),
    }
}
