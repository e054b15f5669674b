//! llm-d's `EndpointPickerConfig`, as far as the built-in picker acts on it. The rest is named.

mod flow_control;
mod parsed;
mod plugin;
mod scorers;

use std::sync::Arc;

use pailou_api::endpoint_picker_config::{EndpointPickerConfig, PluginSpec, SchedulingProfile};
use pailou_snapshot::{KvEvents, ModelServer, Pool, Queueing, RoutingStrategy, ScorerWeights};

pub(crate) use self::parsed::ParsedConfigurations;
use self::plugin::PluginUse;

/// Profile that counts where there are several.
const DECODE_PROFILE: &str = "decode";
/// Profile that counts where a name is not given.
const DEFAULT_PROFILE: &str = "default";

/// Settings of a picker that its configuration file has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PickerConfiguration {
    scorers: Option<ScorerWeights>,
    kv_events: Option<KvEvents>,
    queueing: Option<Queueing>,
    max_concurrency: Option<u32>,
    runtime: Option<ModelServer>,
    /// Parts of the file that the picker does not act on, and why.
    pub unsupported: Vec<String>,
}

impl PickerConfiguration {
    /// Reads a file.
    ///
    /// # Errors
    /// It does not decode, names a field, plugin type or feature gate that does not exist, or refers to a plugin that it does not have.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config = EndpointPickerConfig::parse(text)?;
        let mut configuration = Self::default();
        for (place, plugin) in config.plugins.iter().enumerate() {
            if config.plugins[..place].iter().any(|earlier| earlier.name() == plugin.name()) {
                return Err(format!("plugins[{place}]: there are two plugins {:?}", plugin.name()));
            }
            configuration.take_plugin(place, plugin)?;
        }
        configuration.scorers = scorers::weights(&config, configuration.profile(&config)?)?;
        configuration.queueing = flow_control::queueing(&config, configuration.max_concurrency, &mut configuration.unsupported)?;
        for (field, is_there) in [("dataLayer", config.data_layer.is_some()), ("requestHandler", config.request_handler.is_some())]
        {
            if is_there {
                configuration
                    .note(field, "the picker reads engines' metrics and all forms of requests that it knows, without settings");
            }
        }
        for (field, reference) in [("parser", &config.parser), ("saturationDetector", &config.saturation_detector)] {
            if let Some(reference) = reference {
                plugin::find(&config.plugins, &reference.plugin_ref, field)?;
            }
        }
        Ok(configuration)
    }

    /// Gives a pool these settings. What the configuration does not have stays as the pool's annotations say it.
    pub fn apply(&self, pool: &mut Pool) {
        match self.scorers {
            Some(weights) if weights.prefix == 0.0 && weights.no_hit == 0.0 => pool.strategy = RoutingStrategy::Load,
            Some(_) => pool.strategy = RoutingStrategy::PrefixCache,
            None => {}
        }
        pool.runtime = self.runtime.unwrap_or(pool.runtime);
        pool.scorers = self.scorers.map(Arc::new);
        pool.kv_events = self.kv_events.or(pool.kv_events);
        pool.queueing = self.queueing.or(pool.queueing);
    }

    fn note(&mut self, what: &str, why: &str) {
        self.unsupported.push(format!("{what}: {why}"));
    }

    fn take_plugin(&mut self, place: usize, plugin: &PluginSpec) -> Result<(), String> {
        let at = format!("plugins[{place}]");
        let effect = plugin::effect(plugin, &format!("{at}.parameters"))
            .map_err(|error| if error.starts_with(&at) { error } else { format!("{at}.type: {error}") })?;
        match effect {
            PluginUse::Honoured => {}
            PluginUse::KvEvents(events) => self.kv_events = Some(events),
            PluginUse::MaxConcurrency(most) => self.max_concurrency = Some(most),
            PluginUse::Engine(engine) => self.runtime = Some(engine),
            PluginUse::Unsupported(why) => self.note(&format!("plugin {}", plugin.name()), &why),
        }
        Ok(())
    }

    /// The profile whose scorers count; `None`: all plugins.
    fn profile<'a>(&mut self, config: &'a EndpointPickerConfig) -> Result<Option<&'a SchedulingProfile>, String> {
        let profiles = &config.scheduling_profiles;
        for (place, profile) in profiles.iter().enumerate() {
            for (at, plugin) in profile.plugins.iter().enumerate() {
                plugin::find(&config.plugins, &plugin.plugin_ref, &format!("schedulingProfiles[{place}].plugins[{at}]"))?;
            }
        }
        let named = |name: &str| profiles.iter().find(|profile| profile.name == name);
        let chosen = match profiles.len() {
            0 | 1 => profiles.first(),
            _ => named(DECODE_PROFILE).or_else(|| named(DEFAULT_PROFILE)).or(profiles.first()),
        };
        let others = profiles.iter().filter(|profile| chosen.is_some_and(|chosen| chosen.name != profile.name));
        for other in others {
            self.note(
                &format!("profile {}", other.name),
                "one profile's scorers choose all endpoints, those that prefill by their role as well",
            );
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests;
